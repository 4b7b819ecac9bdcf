//! Apps that sign in for themselves: secrets, certificates, other issuers' tokens.

use arc_emulator::entra::{DemoApp, SERVER_APP};
use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use http::{Method, StatusCode};
use rcgen::{CertificateParams, PKCS_RSA_SHA256, RsaKeySize};
use rsa::BoxedUint;
use rsa::signature::Verifier as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};

use crate::client::{Tenant, assert_refused, claims, send};

const ARM_SCOPE: &str = "https://management.core.windows.net//.default";
pub(crate) const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

fn server_scope() -> String {
    format!("{SERVER_APP}/.default")
}

/// Asks for a token for the demo app with its secret, and `more`.
async fn with_secret(tenant: &Tenant, more: &[(&str, &str)]) -> crate::client::Answer {
    let demo = tenant.entra.credentials(DemoApp::Demo);
    let mut form = vec![
        ("grant_type", "client_credentials"),
        ("client_id", demo.client_id.as_str()),
        ("client_secret", demo.client_secret.as_str()),
    ];
    form.extend(more);
    tenant.token(&form).await
}

#[tokio::test]
async fn a_secret_buys_a_bearer_token_with_the_claims_of_version_1() {
    let tenant = Tenant::start().await;
    let demo = tenant.entra.credentials(DemoApp::Demo);
    let answer = with_secret(&tenant, &[("scope", ARM_SCOPE)]).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let body = answer.json();
    assert_eq!(body["token_type"], "Bearer");
    assert_eq!(body["expires_in"], 3_599);
    assert_eq!(body["refresh_token"], Value::Null);
    let claims = claims(body["access_token"].as_str().unwrap());
    assert_eq!(claims["aud"], "https://management.core.windows.net/");
    let id = tenant.entra.tenant();
    assert_eq!(claims["iss"], format!("https://sts.windows.net/{id}/"));
    assert_eq!(claims["tid"], id.as_str());
    assert_eq!(claims["appid"], demo.client_id.as_str());
    assert_eq!(claims["oid"], demo.object_id.as_str());
    assert_eq!(claims["sub"], claims["oid"]);
    assert_eq!(claims["idtyp"], "app");
    assert_eq!(claims["ver"], "1.0");
    assert_eq!(claims["cnf"], Value::Null);
    let seconds = |name: &str| claims[name].as_u64().unwrap();
    assert_eq!(seconds("exp") - seconds("iat"), 3_599);
    assert_eq!(seconds("nbf"), seconds("iat"));
    tenant.entra.stop().await;
}

#[tokio::test]
async fn another_library_verifies_the_signature_with_the_published_key() {
    let tenant = Tenant::start().await;
    let answer = with_secret(&tenant, &[("scope", ARM_SCOPE)]).await.json();
    let token = answer["access_token"].as_str().unwrap();
    let (input, signature) = token.rsplit_once('.').unwrap();
    let header = BASE64_URL_SAFE_NO_PAD
        .decode(input.split('.').next().unwrap())
        .unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    let keys = tenant.get("common/discovery/v2.0/keys").await.json();
    let key = &keys["keys"][0];
    assert_eq!(header["kid"], key["kid"]);
    assert_eq!(header["alg"], "RS256");
    let number = |name: &str| {
        let bytes = BASE64_URL_SAFE_NO_PAD
            .decode(key[name].as_str().unwrap())
            .unwrap();
        BoxedUint::from_be_slice_vartime(&bytes)
    };
    let key = rsa::PublicKey::new(number("n"), number("e")).unwrap();
    let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
    let signature = rsa::pkcs1v15::Signature::try_from(signature.as_slice()).unwrap();
    rsa::pkcs1v15::VerifyingKey::<sha2::Sha256>::new(key)
        .verify(input.as_bytes(), &signature)
        .unwrap();
    tenant.entra.stop().await;
}

#[tokio::test]
async fn a_token_is_bound_to_the_key_that_the_request_names() {
    let tenant = Tenant::start().await;
    let vectors: Value = serde_json::from_str(include_str!("../../../fixtures/pop.json")).unwrap();
    let scope = server_scope();
    let answer = with_secret(
        &tenant,
        &[
            ("scope", &scope),
            ("token_type", "pop"),
            ("req_cnf", vectors["req_cnf"].as_str().unwrap()),
        ],
    )
    .await
    .json();
    assert_eq!(answer["token_type"], "pop");
    let claims = claims(answer["access_token"].as_str().unwrap());
    assert_eq!(claims["aud"], SERVER_APP);
    assert_eq!(
        claims["cnf"],
        json!({ "kid": vectors["thumbprint"], "xms_ksl": "sw" })
    );
    assert_eq!(tenant.entra.seen().pop_tokens, 1);
    let unreadable = [
        ("scope", scope.as_str()),
        ("token_type", "pop"),
        ("req_cnf", "!"),
    ];
    let answer = with_secret(&tenant, &unreadable).await;
    assert_refused(&answer, "invalid_request", 9_002_313);
    tenant.entra.stop().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_told_by_number() {
    let tenant = Tenant::start().await;
    let demo = tenant.entra.credentials(DemoApp::Demo);
    let expired = tenant.entra.credentials(DemoApp::Expired);
    let grant = ("grant_type", "client_credentials");
    let scope = ("scope", ARM_SCOPE);
    let id = ("client_id", demo.client_id.as_str());
    let secret = ("client_secret", demo.client_secret.as_str());

    let answer = tenant
        .token(&[grant, id, ("client_secret", "no"), scope])
        .await;
    assert_refused(&answer, "invalid_client", 7_000_215);

    let id_of_expired = ("client_id", expired.client_id.as_str());
    let its_secret = ("client_secret", expired.client_secret.as_str());
    let answer = tenant
        .token(&[grant, id_of_expired, its_secret, scope])
        .await;
    assert_refused(&answer, "invalid_client", 7_000_222);

    let nobody = ("client_id", "22222222-2222-4222-8222-222222222222");
    let answer = tenant.token(&[grant, nobody, secret, scope]).await;
    assert_refused(&answer, "unauthorized_client", 700_016);

    let vault = ("scope", "https://vault.azure.net/.default");
    let answer = tenant.token(&[grant, id, secret, vault]).await;
    assert_refused(&answer, "invalid_resource", 500_011);

    let permission = ("scope", "https://management.azure.com/user_impersonation");
    let answer = tenant.token(&[grant, id, secret, permission]).await;
    assert_refused(&answer, "invalid_scope", 1_002_012);

    let answer = tenant.token(&[grant, id, scope]).await;
    assert_refused(&answer, "invalid_client", 7_000_218);

    let answer = tenant
        .token(&[("grant_type", "password"), id, secret])
        .await;
    assert_refused(&answer, "unsupported_grant_type", 70_003);

    let answer = tenant.token(&[id, secret, scope]).await;
    assert_refused(&answer, "invalid_request", 900_144);

    let public = ("client_id", "04b07795-8ddb-461a-bbee-02f9e1bf7b46");
    let answer = tenant.token(&[grant, public, secret, scope]).await;
    assert_refused(&answer, "invalid_client", 700_025);

    let elsewhere = "33333333-3333-4333-8333-333333333333/oauth2/v2.0/token";
    let answer = tenant.post(elsewhere, &[grant, id, secret, scope]).await;
    assert_refused(&answer, "invalid_request", 90_002);

    let anywhere = "organizations/oauth2/v2.0/token";
    let answer = tenant.post(anywhere, &[grant, id, secret, scope]).await;
    assert_refused(&answer, "invalid_request", 50_059);

    let answer = tenant.get("common/oauth2/v2.0/token").await;
    assert_refused(&answer, "invalid_request", 900_561);

    let seen = tenant.entra.seen();
    assert_eq!(seen.refusals[&7_000_215], 1);
    assert_eq!(seen.grants.len(), 0);
    tenant.entra.stop().await;
}

/// A certificate with its key.
pub(crate) struct Signer {
    key: KeyPair,
    pem: String,
    sha1: String,
    pub(crate) sha256: String,
}

impl Signer {
    fn new() -> Self {
        let pair = rcgen::KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
        let certificate = CertificateParams::default().self_signed(&pair).unwrap();
        Self::from_pem(&format!("{}{}", pair.serialize_pem(), certificate.pem()))
    }

    /// Reads a certificate and its key.
    pub(crate) fn from_pem(pem: &str) -> Self {
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        let key = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).unwrap();
        let hash =
            |algorithm| BASE64_URL_SAFE_NO_PAD.encode(digest::digest(algorithm, &certificate));
        Self {
            key: KeyPair::from_pkcs8(key.secret_pkcs8_der()).unwrap(),
            pem: pem.to_owned(),
            sha1: hash(&digest::SHA1_FOR_LEGACY_USE_ONLY),
            sha256: hash(&digest::SHA256),
        }
    }

    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        let padding: &dyn RsaEncoding = match header["alg"].as_str().unwrap() {
            "PS256" => &RSA_PSS_SHA256,
            _ => &RSA_PKCS1_SHA256,
        };
        let input = format!(
            "{}.{}",
            BASE64_URL_SAFE_NO_PAD.encode(header.to_string()),
            BASE64_URL_SAFE_NO_PAD.encode(claims.to_string())
        );
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(
                padding,
                &SystemRandom::new(),
                input.as_bytes(),
                &mut signature,
            )
            .unwrap();
        format!("{input}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }
}

async fn with_assertion(tenant: &Tenant, assertion: &str) -> crate::client::Answer {
    let demo = tenant.entra.credentials(DemoApp::Demo);
    tenant
        .token(&[
            ("grant_type", "client_credentials"),
            ("client_id", &demo.client_id),
            ("client_assertion_type", ASSERTION),
            ("client_assertion", assertion),
            ("scope", ARM_SCOPE),
        ])
        .await
}

#[tokio::test]
async fn a_registered_certificate_signs_in() {
    let tenant = Tenant::start().await;
    let demo = tenant.entra.credentials(DemoApp::Demo);
    let (signer, stranger) = (Signer::new(), Signer::new());
    assert!(
        tenant
            .entra
            .register_certificate(&demo.client_id, &signer.pem)
            .unwrap()
    );
    let now = tenant.faults.cloud_time();
    let audience = tenant.url(&format!("{}/oauth2/v2.0/token", tenant.entra.tenant()));
    let good = json!({
        "iss": demo.client_id, "sub": demo.client_id, "aud": audience,
        "nbf": now, "exp": now + 600, "jti": "1",
    });
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        claims
    };
    let modern = json!({ "alg": "PS256", "typ": "JWT", "x5t#S256": signer.sha256 });
    let classic = json!({ "alg": "RS256", "typ": "JWT", "x5t": signer.sha1 });
    for header in [&modern, &classic] {
        let answer = with_assertion(&tenant, &signer.sign(header, &good)).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        let token = answer.json()["access_token"].as_str().unwrap().to_owned();
        assert_eq!(claims(&token)["appidacr"], "2");
    }

    let unknown = json!({ "alg": "RS256", "x5t": stranger.sha1 });
    let answer = with_assertion(&tenant, &stranger.sign(&unknown, &good)).await;
    assert_refused(&answer, "invalid_client", 700_027);

    let forged = with_assertion(&tenant, &stranger.sign(&classic, &good)).await;
    assert_refused(&forged, "invalid_client", 700_027);
    assert!(forged.body.contains("invalid signature"), "{}", forged.body);

    let late = with("exp", json!(now - 600));
    let answer = with_assertion(&tenant, &signer.sign(&classic, &late)).await;
    assert_refused(&answer, "invalid_client", 700_024);

    let forever = with("exp", json!(u64::MAX));
    let answer = with_assertion(&tenant, &signer.sign(&classic, &forever)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);

    let early = with("nbf", json!(now + 3_600));
    let answer = with_assertion(&tenant, &signer.sign(&classic, &early)).await;
    assert_refused(&answer, "invalid_client", 700_024);

    let elsewhere = with("aud", json!("https://login.example.com/"));
    let answer = with_assertion(&tenant, &signer.sign(&classic, &elsewhere)).await;
    assert_refused(&answer, "invalid_client", 700_023);

    let other = with("sub", json!("someone-else"));
    let answer = with_assertion(&tenant, &signer.sign(&classic, &other)).await;
    assert_refused(&answer, "invalid_client", 700_021);

    let answer = with_assertion(&tenant, "not.a.token").await;
    assert_refused(&answer, "invalid_request", 50_027);
    tenant.entra.stop().await;
}

#[tokio::test]
async fn the_clouds_clock_decides_whether_an_assertion_is_in_time() {
    let tenant = Tenant::start().await;
    let demo = tenant.entra.credentials(DemoApp::Demo);
    let signer = Signer::new();
    tenant
        .entra
        .register_certificate(&demo.client_id, &signer.pem)
        .unwrap();
    let now = tenant.faults.cloud_time();
    let audience = tenant.url(&format!("{}/v2.0", tenant.entra.tenant()));
    let assertion = signer.sign(
        &json!({ "alg": "RS256", "x5t": signer.sha1 }),
        &json!({
            "iss": demo.client_id, "sub": demo.client_id, "aud": audience,
            "nbf": now, "exp": now + 600,
        }),
    );
    let answer = with_assertion(&tenant, &assertion).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    tenant.faults.update(|set| set.clock_offset_seconds = 3_600);
    let answer = with_assertion(&tenant, &assertion).await;
    assert_refused(&answer, "invalid_client", 700_024);
    tenant.entra.stop().await;
}

#[tokio::test]
async fn another_issuers_token_signs_in_where_it_is_federated() {
    let tenant = Tenant::start().await;
    let token = tenant.entra.workload_token();
    let answer = with_assertion(&tenant, &token).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);

    let signer = Signer::new();
    let header = json!({ "alg": "RS256", "kid": "theirs" });
    let good = claims(&token);
    let with = |name: &str, value: &str| {
        let mut claims = good.clone();
        claims[name] = value.into();
        signer.sign(&header, &claims)
    };
    for (name, number) in [("iss", 700_211), ("aud", 700_212), ("sub", 700_213)] {
        let answer = with_assertion(&tenant, &with(name, "https://other")).await;
        assert_refused(&answer, "invalid_client", number);
    }
    let forged = with_assertion(&tenant, &signer.sign(&header, &good)).await;
    assert_refused(&forged, "invalid_client", 700_027);

    tenant.faults.update(|set| set.clock_offset_seconds = 7_200);
    let answer = with_assertion(&tenant, &token).await;
    assert_refused(&answer, "invalid_client", 700_024);
    tenant.entra.stop().await;
}

#[tokio::test]
async fn ci_jobs_get_identity_tokens_that_sign_in() {
    let tenant = Tenant::start().await;
    let value = |env: &[(String, String)], name: &str| {
        let found = env.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.clone()).unwrap()
    };
    let github = tenant.entra.github_env();
    let url = value(&github, "ACTIONS_ID_TOKEN_REQUEST_URL");
    let url = format!("{url}&audience=api://AzureADTokenExchange");
    let bearer = format!(
        "Bearer {}",
        value(&github, "ACTIONS_ID_TOKEN_REQUEST_TOKEN")
    );
    let refused = send(&tenant.tls, Method::GET, &url, &[], "").await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    let headers = [("authorization", bearer.as_str())];
    let answer = send(&tenant.tls, Method::GET, &url, &headers, "")
        .await
        .json();
    let signed_in = with_assertion(&tenant, answer["value"].as_str().unwrap()).await;
    assert_eq!(signed_in.status, StatusCode::OK, "{}", signed_in.body);

    let pipelines = tenant.entra.pipelines_env();
    let url = value(&pipelines, "SYSTEM_OIDCREQUESTURI");
    let url = format!("{url}?api-version=7.1&serviceConnectionId=demo");
    let bearer = format!("Bearer {}", value(&pipelines, "SYSTEM_ACCESSTOKEN"));
    let headers = [("authorization", bearer.as_str())];
    let answer = send(&tenant.tls, Method::POST, &url, &headers, "")
        .await
        .json();
    let signed_in = with_assertion(&tenant, answer["oidcToken"].as_str().unwrap()).await;
    assert_eq!(signed_in.status, StatusCode::OK, "{}", signed_in.body);
    tenant.entra.stop().await;
}

#[tokio::test]
async fn faults_shorten_tokens_and_refuse_requests() {
    let tenant = Tenant::start().await;
    tenant.faults.update(|set| {
        set.access_token_seconds = Some(30);
        set.entra.status = Some(503);
        set.entra.retry_after_seconds = Some(2);
        set.entra.times = Some(1);
    });
    let refused = with_secret(&tenant, &[("scope", ARM_SCOPE)]).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.header("retry-after"), "2");
    let answer = with_secret(&tenant, &[("scope", ARM_SCOPE)]).await.json();
    assert_eq!(answer["expires_in"], 30);
    let claims = claims(answer["access_token"].as_str().unwrap());
    let lifetime = claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap();
    assert_eq!(lifetime, 30);
    tenant.entra.stop().await;
}

#[tokio::test]
async fn a_principal_in_too_many_groups_is_told_by_its_token() {
    let tenant = Tenant::start().await;
    let app = tenant.entra.credentials(DemoApp::Overage);
    let answer = tenant
        .token(&[
            ("grant_type", "client_credentials"),
            ("client_id", &app.client_id),
            ("client_secret", &app.client_secret),
            ("scope", &server_scope()),
        ])
        .await
        .json();
    let claims = claims(answer["access_token"].as_str().unwrap());
    assert_eq!(claims["_claim_names"], json!({ "groups": "src1" }));
    assert_eq!(claims["groups"], Value::Null);
    tenant.entra.stop().await;
}
