//! People who sign in: in a browser, on another device, and silently afterwards.

use arc_emulator::entra::{Revocation, SERVER_APP};
use aws_lc_rs::digest;
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use http::StatusCode;
use serde_json::{Value, json};
use url::Url;

use crate::client::{Answer, Tenant, assert_refused, claims};

const CLIENT: &str = "04b07795-8ddb-461a-bbee-02f9e1bf7b46";
const REDIRECT: &str = "http://localhost:8400";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const SCOPE: &str = "https://management.core.windows.net//.default openid profile offline_access";

/// The authorize page with `more` fields, which replace the usual ones of the same name.
async fn authorize(tenant: &Tenant, more: &[(&str, &str)]) -> Answer {
    let challenge =
        BASE64_URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, VERIFIER.as_bytes()));
    let mut fields = vec![
        ("client_id", CLIENT),
        ("response_type", "code"),
        ("redirect_uri", REDIRECT),
        ("scope", SCOPE),
        ("state", "s 1"),
        ("nonce", "n-1"),
        ("code_challenge", challenge.as_str()),
        ("code_challenge_method", "S256"),
    ];
    fields.retain(|(name, _)| more.iter().all(|(other, _)| other != name));
    fields.extend(more);
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(&fields)
        .finish();
    tenant
        .get(&format!("organizations/oauth2/v2.0/authorize?{query}"))
        .await
}

/// What the page sends back to the client in the redirect's query.
fn sent_back(answer: &Answer) -> Vec<(String, String)> {
    assert_eq!(answer.status, StatusCode::FOUND, "{}", answer.body);
    let url = Url::parse(answer.header("location")).unwrap();
    assert_eq!(url.origin(), Url::parse(REDIRECT).unwrap().origin());
    url.query_pairs().into_owned().collect()
}

fn value(fields: &[(String, String)], name: &str) -> String {
    let found = fields.iter().find(|(key, _)| key == name);
    found.map(|(_, value)| value.clone()).unwrap_or_default()
}

async fn code_for(tenant: &Tenant, upn: &str, more: &[(&str, &str)]) -> String {
    let mut fields = vec![("username", upn)];
    fields.extend(more);
    value(&sent_back(&authorize(tenant, &fields).await), "code")
}

async fn redeem(tenant: &Tenant, code: &str, more: &[(&str, &str)]) -> Answer {
    let mut form = vec![
        ("grant_type", "authorization_code"),
        ("client_id", CLIENT),
        ("code", code),
        ("redirect_uri", REDIRECT),
        ("code_verifier", VERIFIER),
        ("client_info", "1"),
    ];
    form.retain(|(name, _)| more.iter().all(|(other, _)| other != name));
    form.extend(more);
    tenant.post("organizations/oauth2/v2.0/token", &form).await
}

async fn refresh(tenant: &Tenant, token: &str, scope: &str) -> Answer {
    tenant
        .token(&[
            ("grant_type", "refresh_token"),
            ("client_id", CLIENT),
            ("refresh_token", token),
            ("scope", scope),
        ])
        .await
}

/// Signs `upn` in and gives the refresh token.
async fn signed_in(tenant: &Tenant, upn: &str) -> String {
    let code = code_for(tenant, upn, &[]).await;
    let answer = redeem(tenant, &code, &[]).await.json();
    answer["refresh_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_page_offers_users_and_sends_the_chosen_one_back() {
    let tenant = Tenant::start().await;
    let page = authorize(&tenant, &[]).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.body.contains("ana@contoso.com"), "{}", page.body);
    assert!(
        page.body.contains("name=\"state\" value=\"s 1\""),
        "{}",
        page.body
    );

    let fields = sent_back(&authorize(&tenant, &[("username", "ana@contoso.com")]).await);
    assert_eq!(value(&fields, "state"), "s 1");
    let answer = redeem(&tenant, &value(&fields, "code"), &[]).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let answer = answer.json();
    assert_eq!(answer["token_type"], "Bearer");
    assert_eq!(answer["foci"], "1");
    let access = claims(answer["access_token"].as_str().unwrap());
    assert_eq!(access["upn"], "ana@contoso.com");
    assert_eq!(access["idtyp"], "user");
    assert_eq!(access["scp"], "user_impersonation");
    assert_eq!(access["groups"].as_array().unwrap().len(), 1);
    assert_ne!(access["sub"], access["oid"]);
    let id = claims(answer["id_token"].as_str().unwrap());
    assert_eq!(id["aud"], CLIENT);
    assert_eq!(id["nonce"], "n-1");
    assert_eq!(id["preferred_username"], "ana@contoso.com");
    let info = BASE64_URL_SAFE_NO_PAD
        .decode(answer["client_info"].as_str().unwrap())
        .unwrap();
    let info: Value = serde_json::from_slice(&info).unwrap();
    assert_eq!(
        info,
        json!({ "uid": id["oid"], "utid": tenant.entra.tenant() })
    );
    tenant.entra.stop().await;
}

#[tokio::test]
async fn a_code_is_bound_to_its_verifier_its_redirect_and_one_use() {
    let tenant = Tenant::start().await;
    let ana = "ana@contoso.com";
    let code = code_for(&tenant, ana, &[]).await;
    let answer = redeem(&tenant, &code, &[("code_verifier", "wrong")]).await;
    assert_refused(&answer, "invalid_grant", 501_481);
    let answer = redeem(&tenant, &code, &[]).await;
    assert_refused(&answer, "invalid_grant", 54_005);

    let code = code_for(&tenant, ana, &[]).await;
    let answer = redeem(&tenant, &code, &[("code_verifier", "")]).await;
    assert_refused(&answer, "invalid_request", 900_144);

    let code = code_for(&tenant, ana, &[]).await;
    let elsewhere = [("redirect_uri", "http://localhost:9")];
    let answer = redeem(&tenant, &code, &elsewhere).await;
    assert_refused(&answer, "invalid_grant", 70_000);

    let code = code_for(&tenant, ana, &[]).await;
    let other = [("client_id", "3f4439ff-e698-4d6d-84fe-09c9d574f06b")];
    assert_refused(
        &redeem(&tenant, &code, &other).await,
        "invalid_grant",
        70_000,
    );

    let code = code_for(&tenant, ana, &[]).await;
    tenant.faults.update(|set| set.clock_offset_seconds = 601);
    assert_refused(&redeem(&tenant, &code, &[]).await, "invalid_grant", 70_008);

    let answer = redeem(&tenant, "made-up", &[]).await;
    assert_refused(&answer, "invalid_grant", 9_002_313);
    tenant.entra.stop().await;
}

#[tokio::test]
async fn the_page_never_redirects_to_an_address_that_is_not_registered() {
    let tenant = Tenant::start().await;
    for redirect in [
        "https://evil.example.com/",
        "http://localhost:8400/callback",
        "http://127.0.0.1:8400",
        "not a url",
    ] {
        let fields = [("redirect_uri", redirect), ("username", "ana@contoso.com")];
        let answer = authorize(&tenant, &fields).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{redirect}");
        assert!(answer.body.contains("AADSTS50011"), "{}", answer.body);
        assert_eq!(answer.header("location"), "");
    }
    let unknown = [("client_id", "22222222-2222-4222-8222-222222222222")];
    let answer = authorize(&tenant, &unknown).await;
    assert!(answer.body.contains("AADSTS700016"), "{}", answer.body);
    tenant.entra.stop().await;
}

#[tokio::test]
async fn a_refusal_on_the_page_goes_back_to_the_client() {
    let tenant = Tenant::start().await;
    let fields = sent_back(&authorize(&tenant, &[("decline", "1")]).await);
    assert_eq!(value(&fields, "error"), "access_denied");
    assert!(value(&fields, "error_description").starts_with("AADSTS65004: "));
    assert_eq!(value(&fields, "state"), "s 1");

    let fields = sent_back(&authorize(&tenant, &[("prompt", "none")]).await);
    assert_eq!(value(&fields, "error"), "login_required");

    let vault = [
        ("scope", "https://vault.azure.net/.default"),
        ("username", "ana@contoso.com"),
    ];
    let fields = sent_back(&authorize(&tenant, &vault).await);
    assert_eq!(value(&fields, "error"), "invalid_resource");
    tenant.entra.stop().await;
}

#[tokio::test]
async fn someone_who_sits_at_the_browser_needs_no_click() {
    let tenant = Tenant::start().await;
    tenant.entra.seat(Some("ben@contoso.com"));
    let fields = sent_back(&authorize(&tenant, &[("prompt", "select_account")]).await);
    let answer = redeem(&tenant, &value(&fields, "code"), &[]).await.json();
    let access = claims(answer["access_token"].as_str().unwrap());
    assert_eq!(access["upn"], "ben@contoso.com");
    tenant.entra.seat(None);
    assert_eq!(authorize(&tenant, &[]).await.status, StatusCode::OK);
    tenant.entra.stop().await;
}

#[tokio::test]
async fn the_answer_comes_back_as_the_client_wants_it() {
    let tenant = Tenant::start().await;
    let ana = ("username", "ana@contoso.com");
    let answer = authorize(&tenant, &[ana, ("response_mode", "form_post")]).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(answer.body.contains("name=\"code\""), "{}", answer.body);
    assert!(
        answer.body.contains("action=\"http://localhost:8400/\""),
        "{}",
        answer.body
    );
    let answer = authorize(&tenant, &[ana, ("response_mode", "fragment")]).await;
    let url = Url::parse(answer.header("location")).unwrap();
    assert!(url.fragment().unwrap().contains("code="));
    assert_eq!(url.query(), None);
    tenant.entra.stop().await;
}

#[tokio::test]
async fn a_refresh_token_buys_tokens_for_other_resources_bound_to_a_key() {
    let tenant = Tenant::start().await;
    let token = signed_in(&tenant, "ana@contoso.com").await;
    let cnf = BASE64_URL_SAFE_NO_PAD.encode(r#"{"kid":"thumb","xms_ksl":"sw"}"#);
    let scope = format!("{SERVER_APP}/.default");
    let answer = tenant
        .token(&[
            ("grant_type", "refresh_token"),
            ("client_id", CLIENT),
            ("refresh_token", &token),
            ("scope", &scope),
            ("token_type", "pop"),
            ("req_cnf", &cnf),
        ])
        .await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let answer = answer.json();
    assert_eq!(answer["token_type"], "pop");
    let access = claims(answer["access_token"].as_str().unwrap());
    assert_eq!(access["aud"], SERVER_APP);
    assert_eq!(access["cnf"]["kid"], "thumb");
    assert_eq!(access["upn"], "ana@contoso.com");
    assert!(answer["refresh_token"].is_string());

    let answer = refresh(&tenant, "made-up", SCOPE).await;
    assert_refused(&answer, "invalid_grant", 9_002_313);
    tenant.entra.stop().await;
}

#[tokio::test]
async fn revoked_refresh_tokens_are_refused_until_the_user_signs_in_again() {
    let tenant = Tenant::start().await;
    let ana = "ana@contoso.com";
    let token = signed_in(&tenant, ana).await;
    tenant.entra.revoke(ana, Revocation::Revoked);
    let answer = refresh(&tenant, &token, SCOPE).await;
    assert_refused(&answer, "invalid_grant", 50_173);
    tenant.entra.revoke(ana, Revocation::SignInFrequency);
    let answer = refresh(&tenant, &token, SCOPE).await;
    assert_refused(&answer, "invalid_grant", 70_043);
    let token = signed_in(&tenant, ana).await;
    assert_eq!(refresh(&tenant, &token, SCOPE).await.status, StatusCode::OK);
    tenant.entra.stop().await;
}

#[tokio::test]
async fn policies_meet_a_user_at_the_cluster_and_not_before() {
    let tenant = Tenant::start().await;
    let scope = format!("{SERVER_APP}/.default");
    for (upn, error, number, suberror, helps) in [
        (
            "mara@contoso.com",
            "interaction_required",
            50_076,
            "basic_action",
            true,
        ),
        (
            "blake@contoso.com",
            "interaction_required",
            53_003,
            "message_only",
            false,
        ),
        (
            "cora@contoso.com",
            "invalid_grant",
            65_001,
            "consent_required",
            true,
        ),
    ] {
        let token = signed_in(&tenant, upn).await;
        assert_eq!(refresh(&tenant, &token, SCOPE).await.status, StatusCode::OK);
        let answer = refresh(&tenant, &token, &scope).await;
        assert_refused(&answer, error, number);
        assert_eq!(answer.json()["suberror"], suberror, "{upn}");
        assert_eq!(
            answer.json()["claims"].is_string(),
            number == 50_076,
            "{upn}"
        );
        let code = code_for(&tenant, upn, &[("scope", &scope)]).await;
        let again = redeem(&tenant, &code, &[]).await;
        assert_eq!(
            again.status == StatusCode::OK,
            helps,
            "{upn}: {}",
            again.body
        );
    }
    tenant.entra.stop().await;
}

#[tokio::test]
async fn a_device_signs_in_once_its_user_has_approved() {
    let tenant = Tenant::start().await;
    let started = tenant
        .post(
            "organizations/oauth2/v2.0/devicecode",
            &[("client_id", CLIENT), ("scope", SCOPE)],
        )
        .await
        .json();
    let (code, user_code) = (
        started["device_code"].as_str().unwrap(),
        started["user_code"].as_str().unwrap(),
    );
    assert!(started["message"].as_str().unwrap().contains(user_code));
    let poll = || {
        let tenant = &tenant;
        async move {
            tenant
                .token(&[
                    ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
                    ("client_id", CLIENT),
                    ("device_code", code),
                ])
                .await
        }
    };
    assert_refused(&poll().await, "authorization_pending", 70_016);
    assert_refused(&poll().await, "slow_down", 70_016);

    let page = started["verification_uri"].as_str().unwrap();
    let page = &page[tenant.entra.url().len() + 1..];
    let form = tenant.get(&format!("{page}?user_code={user_code}")).await;
    assert!(form.body.contains(user_code), "{}", form.body);
    let approval = [("user_code", user_code), ("username", "ben@contoso.com")];
    assert_eq!(tenant.post(page, &approval).await.status, StatusCode::OK);
    let answer = poll().await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let access = claims(answer.json()["access_token"].as_str().unwrap());
    assert_eq!(access["upn"], "ben@contoso.com");
    assert_refused(&poll().await, "bad_verification_code", 70_019);

    let wrong = [("user_code", "WRONG"), ("username", "ben@contoso.com")];
    assert_eq!(
        tenant.post(page, &wrong).await.status,
        StatusCode::BAD_REQUEST
    );
    tenant.entra.stop().await;
}

#[tokio::test]
async fn a_device_learns_that_its_user_declined_or_took_too_long() {
    let tenant = Tenant::start().await;
    let form = [("client_id", CLIENT), ("scope", SCOPE)];
    let start = || {
        let tenant = &tenant;
        async move {
            let path = "organizations/oauth2/v2.0/devicecode";
            let started = tenant.post(path, &form).await.json();
            let text = |name: &str| started[name].as_str().unwrap().to_owned();
            (text("device_code"), text("user_code"))
        }
    };
    let poll = |code: String| {
        let tenant = &tenant;
        async move {
            let form = [
                ("grant_type", "device_code"),
                ("client_id", CLIENT),
                ("device_code", code.as_str()),
            ];
            tenant.token(&form).await
        }
    };
    let (code, user_code) = start().await;
    assert!(tenant.entra.decline_device(&user_code));
    assert_refused(&poll(code).await, "authorization_declined", 70_018);

    let (code, user_code) = start().await;
    tenant.faults.update(|set| set.clock_offset_seconds = 901);
    assert_refused(&poll(code).await, "expired_token", 70_020);
    assert!(tenant.entra.approve_device(&user_code, "ana@contoso.com"));
    tenant.entra.stop().await;
}

#[tokio::test]
async fn a_client_is_told_to_slow_down_when_a_test_wants_it() {
    let tenant = Tenant::start().await;
    tenant.entra.slow_down(1);
    let path = "organizations/oauth2/v2.0/devicecode";
    let form = [("client_id", CLIENT), ("scope", SCOPE)];
    let started = tenant.post(path, &form).await.json();
    let text = |name: &str| started[name].as_str().unwrap();
    let poll = [
        ("grant_type", "device_code"),
        ("client_id", CLIENT),
        ("device_code", text("device_code")),
    ];
    assert!(
        tenant
            .entra
            .approve_device(text("user_code"), "ana@contoso.com")
    );
    assert_refused(&tenant.token(&poll).await, "slow_down", 70_016);
    assert_eq!(tenant.token(&poll).await.status, StatusCode::OK);
    tenant.entra.stop().await;
}

#[tokio::test]
async fn a_sign_in_shows_the_contexts_that_were_asked_of_it() {
    let tenant = Tenant::start().await;
    let shown = |answer: &Answer| {
        let token = claims(answer.json()["access_token"].as_str().unwrap());
        token.get("acrs").cloned()
    };
    let ana = "ana@contoso.com";
    let code = code_for(&tenant, ana, &[]).await;
    assert_eq!(shown(&redeem(&tenant, &code, &[]).await), None);

    let asked = r#"{"access_token":{"acrs":{"essential":true,"value":"c1"}}}"#;
    let code = code_for(&tenant, ana, &[("claims", asked)]).await;
    let answer = redeem(&tenant, &code, &[]).await;
    assert_eq!(shown(&answer), Some(json!(["c1"])));
    let token = answer.json()["refresh_token"].as_str().unwrap().to_owned();
    let renewed = refresh(&tenant, &token, SCOPE).await;
    assert_eq!(shown(&renewed), Some(json!(["c1"])));

    let broken = authorize(&tenant, &[("username", ana), ("claims", "{")]).await;
    assert_eq!(value(&sent_back(&broken), "error"), "invalid_request");
    tenant.entra.stop().await;
}
