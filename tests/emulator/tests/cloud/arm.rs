//! Resource Manager, asked as its clients ask it.
//!
//! Long, because every answer that it gives has its test here, beside the others of its kind.

use std::sync::Arc;

use arc_emulator::arm::{Arm, ArmConfig, RELAY};
use arc_emulator::entra::{DemoApp, Entra, EntraConfig, SERVER_APP};
use arc_emulator::faults::Faults;
use arc_emulator::names::Names;
use arc_emulator::relay::{Relay, RelayConfig};
use arc_emulator::shape::Shaper;
use arc_emulator::tls::Authority;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use http::{Method, StatusCode};
use rustls::ClientConfig;
use serde_json::{Value, json};

use crate::client::{Answer, post, send};

const VERSION: &str = "api-version=2024-01-01";
const SCOPE: &str = "https://management.azure.com/.default";

/// Entra, the relay and ARM, and a client that is signed in as the demo app.
struct Cloud {
    entra: Arc<Entra>,
    relay: Arc<Relay>,
    arm: Arm,
    faults: Faults,
    tls: ClientConfig,
    proxy_ca: String,
    token: String,
}

impl Cloud {
    async fn start() -> Self {
        let authority = Arc::new(Authority::new("test").unwrap());
        let proxy_ca = Authority::new("ca").unwrap().pem().to_owned();
        let faults = Faults::default();
        let shaper = Shaper::new(faults.clone());
        let names = Names::new(7);
        let tls = authority.client_config(&["http/1.1"]).unwrap();
        let entra = Arc::new(
            Entra::start(EntraConfig {
                authority: Arc::clone(&authority),
                faults: faults.clone(),
                shaper: shaper.clone(),
                names,
            })
            .await
            .unwrap(),
        );
        let relay = Relay::start(RelayConfig {
            authority: Arc::clone(&authority),
            faults: faults.clone(),
            shaper: shaper.clone(),
        })
        .await
        .unwrap();
        let arm = Arm::start(ArmConfig {
            authority,
            faults: faults.clone(),
            shaper,
            names,
            entra: Arc::clone(&entra),
            relay: Arc::clone(&relay),
            proxy_ca: proxy_ca.clone(),
        })
        .await
        .unwrap();
        let token = String::new();
        let mut cloud = Self {
            entra,
            relay,
            arm,
            faults,
            tls,
            proxy_ca,
            token,
        };
        cloud.token = cloud.token_of(DemoApp::Demo, SCOPE).await;
        cloud
    }

    async fn token_of(&self, app: DemoApp, scope: &str) -> String {
        let app = self.entra.credentials(app);
        let url = format!(
            "{}/{}/oauth2/v2.0/token",
            self.entra.url(),
            self.entra.tenant()
        );
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", app.client_id.as_str()),
            ("client_secret", app.client_secret.as_str()),
            ("scope", scope),
        ];
        let answer = post(&self.tls, &url, &form).await.json();
        answer["access_token"].as_str().unwrap().to_owned()
    }

    async fn ask(&self, token: &str, method: Method, path: &str, body: &str) -> Answer {
        let bearer = format!("Bearer {token}");
        let mut headers = vec![("content-type", "application/json")];
        if !token.is_empty() {
            headers.push(("authorization", bearer.as_str()));
        }
        let url = format!("{}{path}", self.arm.url());
        send(&self.tls, method, &url, &headers, body).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(&self.token, Method::GET, path, "").await
    }

    fn cluster(&self, name: &str) -> String {
        format!(
            "/subscriptions/{}/resourceGroups/demo/providers/Microsoft.Kubernetes/connectedClusters/{name}",
            self.arm.subscriptions()[0].id
        )
    }

    async fn credentials_as(&self, token: &str, name: &str) -> Answer {
        let path = format!("{}/listClusterUserCredential?{VERSION}", self.cluster(name));
        let body = json!({ "authenticationMethod": "AAD", "clientProxy": true });
        self.ask(token, Method::POST, &path, &body.to_string())
            .await
    }

    async fn credentials(&self, name: &str) -> Answer {
        self.credentials_as(&self.token, name).await
    }

    async fn stop(self) {
        self.arm.stop().await;
        self.relay.stop().await;
        self.entra.stop().await;
    }
}

#[track_caller]
fn assert_error(answer: &Answer, status: StatusCode, code: &str) {
    assert_eq!(answer.status, status, "{}", answer.body);
    let body = answer.json();
    assert_eq!(body["error"]["code"], code);
    assert!(!body["error"]["message"].as_str().unwrap().is_empty());
    assert_eq!(answer.header("x-ms-request-id").len(), 36);
    assert!(!answer.header("x-ms-correlation-request-id").is_empty());
}

#[tokio::test]
async fn only_a_good_token_for_arm_is_let_in() {
    let cloud = Cloud::start().await;
    let path = format!("/subscriptions?{VERSION}");
    let unauthorized = StatusCode::UNAUTHORIZED;

    let answer = cloud.ask("", Method::GET, &path, "").await;
    assert_error(&answer, unauthorized, "AuthenticationFailed");
    let challenge = answer.header("www-authenticate");
    let uri = format!(
        "Bearer authorization_uri=\"{}/{}\", error=\"invalid_token\"",
        cloud.entra.url(),
        cloud.entra.tenant()
    );
    assert!(challenge.starts_with(&uri), "{challenge}");

    let answer = cloud.ask("made.up.token", Method::GET, &path, "").await;
    assert_error(&answer, unauthorized, "InvalidAuthenticationToken");
    assert!(!answer.header("www-authenticate").is_empty());

    let mut forged = cloud.token.clone();
    let last = if forged.pop() == Some('A') { 'B' } else { 'A' };
    forged.insert(forged.len() - 10, last);
    let answer = cloud.ask(&forged, Method::GET, &path, "").await;
    assert_error(&answer, unauthorized, "InvalidAuthenticationToken");

    let scope = format!("{SERVER_APP}/.default");
    let other = cloud.token_of(DemoApp::Demo, &scope).await;
    let answer = cloud.ask(&other, Method::GET, &path, "").await;
    assert_error(&answer, unauthorized, "InvalidAuthenticationTokenAudience");

    for resource in [
        "https://management.core.windows.net/".to_owned(),
        "https://management.azure.com".to_owned(),
        cloud.arm.url().to_owned(),
    ] {
        let token = cloud
            .token_of(DemoApp::Demo, &format!("{resource}/.default"))
            .await;
        let answer = cloud.ask(&token, Method::GET, &path, "").await;
        assert_eq!(answer.status, StatusCode::OK, "{resource}");
    }

    cloud.faults.update(|set| set.clock_offset_seconds = 7_200);
    let answer = cloud.get(&path).await;
    assert_error(&answer, unauthorized, "ExpiredAuthenticationToken");
    cloud.stop().await;
}

#[tokio::test]
async fn the_api_version_is_required_and_has_to_be_known() {
    let cloud = Cloud::start().await;
    let bad = StatusCode::BAD_REQUEST;
    let cluster = cloud.cluster("edge-demo");
    let answer = cloud.get(&cluster).await;
    assert_error(&answer, bad, "MissingApiVersionParameter");
    let answer = cloud
        .get(&format!("{cluster}?api-version=1999-01-01"))
        .await;
    assert_error(&answer, bad, "NoRegisteredProviderFound");
    let answer = cloud.get("/subscriptions?api-version=latest").await;
    assert_error(&answer, bad, "InvalidApiVersionParameter");
    for version in ["2024-01-01", "2024-07-15-preview", "2026-05-01"] {
        let answer = cloud.get(&format!("{cluster}?api-version={version}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{version}");
    }
    cloud.stop().await;
}

#[tokio::test]
async fn the_cloud_describes_itself_to_whoever_asks() {
    let cloud = Cloud::start().await;
    let ask = |version: &str| {
        let path = format!("/metadata/endpoints?api-version={version}");
        let cloud = &cloud;
        async move { cloud.ask("", Method::GET, &path, "").await.json() }
    };
    let one = ask("2022-09-01").await;
    assert_eq!(one["authentication"]["loginEndpoint"], cloud.entra.url());
    assert_eq!(
        one["suffixes"]["relayEndpointSuffix"],
        cloud.arm.relay_suffix()
    );
    assert_eq!(one["resourceManager"], cloud.arm.url());
    assert_eq!(ask("2019-05-01").await, json!([one]));
    cloud.stop().await;
}

#[tokio::test]
async fn subscriptions_and_groups_are_found_or_said_to_be_missing() {
    let cloud = Cloud::start().await;
    let missing = StatusCode::NOT_FOUND;
    let list = cloud.get(&format!("/subscriptions?{VERSION}")).await.json();
    let names: Vec<_> = list["value"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["displayName"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["Contoso Edge", "Contoso Sandbox"]);
    let id = list["value"][0]["subscriptionId"].as_str().unwrap();
    let one = cloud.get(&format!("/subscriptions/{id}?{VERSION}")).await;
    assert_eq!(one.json(), list["value"][0]);
    assert_eq!(one.json()["tenantId"], cloud.entra.tenant());
    assert_eq!(one.json()["state"], "Enabled");

    let nobody = "22222222-2222-4222-8222-222222222222";
    let answer = cloud
        .get(&format!("/subscriptions/{nobody}?{VERSION}"))
        .await;
    assert_error(&answer, missing, "SubscriptionNotFound");
    let answer = cloud.get(&format!("/subscriptions/edge?{VERSION}")).await;
    assert_error(&answer, StatusCode::BAD_REQUEST, "InvalidSubscriptionId");

    let group = format!("/SUBSCRIPTIONS/{id}/RESOURCEGROUPS/DEMO?{VERSION}");
    assert_eq!(cloud.get(&group).await.json()["name"], "demo");
    let answer = cloud.ask(&cloud.token, Method::HEAD, &group, "").await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    let group = format!("/subscriptions/{id}/resourceGroups/nowhere?{VERSION}");
    let answer = cloud.get(&group).await;
    assert_error(&answer, missing, "ResourceGroupNotFound");
    let sandbox = list["value"][1]["subscriptionId"].as_str().unwrap();
    let group = format!("/subscriptions/{sandbox}/resourceGroups/demo?{VERSION}");
    let answer = cloud.get(&group).await;
    assert_error(&answer, missing, "ResourceGroupNotFound");

    let answer = cloud.get(&format!("/providers/x?{VERSION}")).await;
    assert_error(&answer, missing, "InvalidResourceType");
    let answer = cloud
        .ask(
            &cloud.token,
            Method::DELETE,
            &format!("/subscriptions?{VERSION}"),
            "",
        )
        .await;
    assert_error(&answer, StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed");
    cloud.stop().await;
}

#[tokio::test]
async fn a_cluster_is_found_whatever_the_case_and_shows_its_state() {
    let cloud = Cloud::start().await;
    for (name, status, private) in [
        ("edge-demo", "Connected", "Disabled"),
        ("edge-second", "Connected", "Disabled"),
        ("edge-offline", "Offline", "Disabled"),
        ("edge-expired", "Expired", "Disabled"),
        ("edge-private", "Connected", "Enabled"),
        ("edge-disabled", "Connected", "Disabled"),
        ("edge-forbidden", "Connected", "Disabled"),
        ("edge-badcert", "Connected", "Disabled"),
        ("edge-nowhere", "Connected", "Disabled"),
    ] {
        let id = cloud.cluster(name);
        let path = format!("{}?{VERSION}", id.to_ascii_uppercase());
        let cluster = cloud.get(&path).await.json();
        assert_eq!(cluster["id"], id);
        assert_eq!(cluster["name"], name);
        assert_eq!(cluster["location"], "eastus");
        let properties = &cluster["properties"];
        assert_eq!(properties["connectivityStatus"], status, "{name}");
        assert_eq!(properties["privateLinkState"], private, "{name}");
        assert_eq!(
            properties["privateLinkScopeResourceId"].is_string(),
            private == "Enabled"
        );
        for field in ["agentVersion", "kubernetesVersion", "lastConnectivityTime"] {
            assert!(properties[field].is_string(), "{name}: {field}");
        }
    }
    let answer = cloud
        .get(&format!("{}?{VERSION}", cloud.cluster("edge-x")))
        .await;
    assert_error(&answer, StatusCode::NOT_FOUND, "ResourceNotFound");
    assert!(
        answer.body.contains("connectedClusters/edge-x"),
        "{}",
        answer.body
    );
    cloud.stop().await;
}

#[tokio::test]
async fn lists_come_in_pages_that_follow_each_other() {
    let cloud = Cloud::start().await;
    let subscription = format!("/subscriptions/{}", cloud.arm.subscriptions()[0].id);
    for (scope, count) in [
        (subscription.clone(), 51),
        (format!("{subscription}/resourceGroups/Factories"), 42),
        (format!("{subscription}/resourceGroups/demo"), 9),
    ] {
        let list = "providers/Microsoft.Kubernetes/connectedClusters";
        let mut path = format!("{scope}/{list}?{VERSION}");
        let (mut names, mut pages) = (Vec::new(), 0);
        loop {
            let page = cloud.get(&path).await.json();
            pages += 1;
            for cluster in page["value"].as_array().unwrap() {
                names.push(cluster["name"].as_str().unwrap().to_owned());
            }
            let Some(next) = page["nextLink"].as_str() else {
                break;
            };
            next.strip_prefix(cloud.arm.url())
                .unwrap()
                .clone_into(&mut path);
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count, "{scope}");
        assert_eq!(pages, count.div_ceil(10), "{scope}");
    }
    cloud.stop().await;
}

#[tokio::test]
async fn credentials_lead_through_the_relay_to_the_clusters_own_certificate() {
    let cloud = Cloud::start().await;
    let answer = cloud.credentials("edge-demo").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let answer = answer.json();
    let connection = &answer["hybridConnectionConfig"];
    assert_eq!(connection["relay"], RELAY);
    let now = cloud.faults.cloud_time();
    let expires = connection["expirationTime"].as_u64().unwrap();
    assert!((10_700..=10_800).contains(&(expires - now)), "{expires}");
    let name = connection["hybridConnectionName"].as_str().unwrap();
    let parts: Vec<_> = name.split('/').collect();
    let ["microsoft.kubernetes", "connectedclusters", hex, digits] = parts[..] else {
        panic!("{name}");
    };
    assert_eq!(hex.len(), 64);
    assert!(hex.bytes().all(|byte| byte.is_ascii_hexdigit()), "{hex}");
    assert_eq!(digits.len(), 19);
    assert!(digits.bytes().all(|byte| byte.is_ascii_digit()), "{digits}");

    let again = cloud.credentials("edge-demo").await.json();
    let newer = again["hybridConnectionConfig"]["hybridConnectionName"]
        .as_str()
        .unwrap();
    assert_ne!(newer, name);
    assert!(newer.contains(hex));

    let kubeconfig = &answer["kubeconfigs"][0]["value"];
    let kubeconfig = BASE64_STANDARD
        .decode(kubeconfig.as_str().unwrap())
        .unwrap();
    let kubeconfig: Value = serde_saphyr::from_slice(&kubeconfig).unwrap();
    let cluster = &kubeconfig["clusters"][0]["cluster"];
    let ca = cluster["certificate-authority-data"].as_str().unwrap();
    let ca = BASE64_STANDARD.decode(ca).unwrap();
    assert_eq!(String::from_utf8(ca).unwrap(), cloud.proxy_ca);
    assert_eq!(cluster["server"], "https://kube-aad-proxy.azure-arc:443");
    assert!(kubeconfig["users"][0]["user"]["token"].is_string());
    assert_eq!(kubeconfig["current-context"], "edge-demo");
    cloud.stop().await;
}

#[tokio::test]
async fn credentials_have_the_shape_of_the_published_examples() {
    fn fields(value: &Value) -> Vec<String> {
        let mut names: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
        names.sort_unstable();
        names
    }
    let cloud = Cloud::start().await;
    let samples: Value =
        serde_json::from_str(include_str!("../../../fixtures/arm-list-credentials.json")).unwrap();
    for (version, sample) in [
        ("2024-01-01", "without_optional_fields"),
        ("2026-05-01", "spec_example"),
    ] {
        let path = format!(
            "{}/listClusterUserCredential?api-version={version}",
            cloud.cluster("edge-demo")
        );
        let body = r#"{"authenticationMethod":"Token","clientProxy":true}"#;
        let answer = cloud
            .ask(&cloud.token, Method::POST, &path, body)
            .await
            .json();
        let sample = &samples[sample];
        assert_eq!(fields(&answer), fields(sample));
        assert_eq!(
            fields(&answer["hybridConnectionConfig"]),
            fields(&sample["hybridConnectionConfig"]),
            "{version}"
        );
        assert_eq!(
            fields(&answer["kubeconfigs"][0]),
            fields(&sample["kubeconfigs"][0])
        );
    }
    cloud.stop().await;
}

/// What the relay says to a dial with the credentials that ARM gave out, changed by `change`.
async fn dial(cloud: &Cloud, name: &str, change: fn(&mut String)) -> (StatusCode, String) {
    let answer = cloud.credentials(name).await.json();
    let connection = &answer["hybridConnectionConfig"];
    let text = |field: &str| connection[field].as_str().unwrap().to_owned();
    let url = format!(
        "https://{}.{}/$hc/{}?sb-hc-action=connect&sb-hc-id={}",
        text("relay"),
        cloud.arm.relay_suffix(),
        text("hybridConnectionName"),
        "4cb542c3-047a-4d40-a19f-bdc66441e736",
    );
    let mut token = text("token");
    change(&mut token);
    let headers = [
        ("servicebusauthorization", token.as_str()),
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let answer = send(&cloud.tls, Method::GET, &url, &headers, "").await;
    (answer.status, answer.reason)
}

#[tokio::test]
async fn the_relay_takes_the_tokens_that_arm_gives_out() {
    let cloud = Cloud::start().await;
    let samples: Value = serde_json::from_str(include_str!("../../../fixtures/sas.json")).unwrap();
    let sample = samples["tokens"][0]["token"].as_str().unwrap();
    let answer = cloud.credentials("edge-demo").await.json();
    let connection = &answer["hybridConnectionConfig"];
    let fields = |token: &str| -> Vec<(String, String)> {
        let pairs = token.strip_prefix("SharedAccessSignature ").unwrap();
        url::form_urlencoded::parse(pairs.as_bytes())
            .into_owned()
            .collect()
    };
    let (own, sample) = (
        fields(connection["token"].as_str().unwrap()),
        fields(sample),
    );
    let names = |fields: &[(String, String)]| -> Vec<String> {
        fields.iter().map(|(name, _)| name.clone()).collect()
    };
    assert_eq!(names(&own), names(&sample));
    let expires = connection["expirationTime"].as_u64().unwrap();
    assert_eq!(own[2].1, expires.to_string());
    let path = connection["hybridConnectionName"].as_str().unwrap();
    assert!(own[0].1.trim_end_matches('/').ends_with(path), "{own:?}");

    // Nobody listens here: the relay says so only to those whose token is good.
    let (status, reason) = dial(&cloud, "edge-disabled", |_| {}).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(reason.contains("no listeners connected"), "{reason}");
    let forge = |token: &mut String| *token = token.replace("sig=", "sig=AA");
    let (status, _) = dial(&cloud, "edge-disabled", forge).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let (status, reason) = dial(&cloud, "edge-nowhere", |_| {}).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(reason.contains("Endpoint does not exist"), "{reason}");
    cloud.faults.update(|set| set.relay_token_seconds = Some(0));
    let (status, _) = dial(&cloud, "edge-disabled", |_| {}).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    cloud.stop().await;
}

#[tokio::test]
async fn the_body_of_a_credentials_request_is_checked() {
    let cloud = Cloud::start().await;
    let path = format!(
        "{}/listClusterUserCredential?{VERSION}",
        cloud.cluster("edge-demo")
    );
    for body in [
        "",
        "{}",
        r#"{"authenticationMethod":"AAD"}"#,
        r#"{"authenticationMethod":"aad","clientProxy":true}"#,
        r#"{"authenticationMethod":"AAD","clientProxy":"yes"}"#,
    ] {
        let answer = cloud.ask(&cloud.token, Method::POST, &path, body).await;
        assert_error(&answer, StatusCode::BAD_REQUEST, "InvalidRequestContent");
    }
    let direct = r#"{"authenticationMethod":"AAD","clientProxy":false}"#;
    let answer = cloud
        .ask(&cloud.token, Method::POST, &path, direct)
        .await
        .json();
    assert_eq!(answer["hybridConnectionConfig"], Value::Null);
    let answer = cloud.get(&path).await;
    assert_error(&answer, StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed");
    cloud.stop().await;
}

#[tokio::test]
async fn a_caller_without_the_role_is_told_what_is_missing_and_where() {
    let cloud = Cloud::start().await;
    let stranger = cloud.entra.credentials(DemoApp::Stranger);
    let token = cloud.token_of(DemoApp::Stranger, SCOPE).await;
    let path = format!("{}?{VERSION}", cloud.cluster("edge-demo"));
    let readable = cloud.ask(&token, Method::GET, &path, "").await;
    assert_eq!(readable.status, StatusCode::OK);
    let demo = cloud.entra.credentials(DemoApp::Demo);
    for (token, app, name) in [
        (&token, &stranger, "edge-demo"),
        (&cloud.token, &demo, "edge-forbidden"),
    ] {
        let answer = cloud.credentials_as(token, name).await;
        assert_error(&answer, StatusCode::FORBIDDEN, "AuthorizationFailed");
        let message = answer.json()["error"]["message"]
            .as_str()
            .unwrap()
            .to_owned();
        for part in [
            app.client_id.as_str(),
            &app.object_id,
            "Microsoft.Kubernetes/connectedClusters/listClusterUserCredentials/action",
            &cloud.cluster(name),
        ] {
            assert!(message.contains(part), "{part} in {message}");
        }
    }
    cloud.stop().await;
}

#[tokio::test]
async fn some_clusters_have_credentials_that_lead_nowhere() {
    let cloud = Cloud::start().await;
    let bad = cloud.credentials("edge-badcert").await.json();
    let kubeconfig = BASE64_STANDARD
        .decode(bad["kubeconfigs"][0]["value"].as_str().unwrap())
        .unwrap();
    let kubeconfig: Value = serde_saphyr::from_slice(&kubeconfig).unwrap();
    let ca = &kubeconfig["clusters"][0]["cluster"]["certificate-authority-data"];
    let ca = BASE64_STANDARD.decode(ca.as_str().unwrap()).unwrap();
    assert_ne!(ca, cloud.proxy_ca.as_bytes());
    let nowhere = cloud.credentials("edge-nowhere").await.json();
    assert_eq!(
        nowhere["hybridConnectionConfig"]["relay"],
        "azgnrelay-nowhere-l1"
    );
    cloud.stop().await;
}

#[tokio::test]
async fn faults_throttle_and_shorten_relay_tokens() {
    let cloud = Cloud::start().await;
    cloud.faults.update(|set| {
        set.arm.status = Some(429);
        set.arm.retry_after_seconds = Some(3);
        set.arm.times = Some(1);
        set.relay_token_seconds = Some(60);
    });
    let answer = cloud.credentials("edge-demo").await;
    assert_error(&answer, StatusCode::TOO_MANY_REQUESTS, "TooManyRequests");
    assert_eq!(answer.header("retry-after"), "3");
    let answer = cloud.credentials("edge-demo").await.json();
    let expires = answer["hybridConnectionConfig"]["expirationTime"].as_u64();
    let left = expires.unwrap() - cloud.faults.cloud_time();
    assert!(left <= 60, "{left}");
    let seen = cloud.arm.seen();
    assert_eq!(seen.statuses[&429], 1);
    assert_eq!(
        seen.operations["connectedClusters.listClusterUserCredential"],
        2
    );
    cloud.stop().await;
}

#[tokio::test]
async fn ids_of_the_caller_come_back_and_the_clock_is_the_clouds() {
    let cloud = Cloud::start().await;
    cloud.faults.update(|set| set.clock_offset_seconds = -1_000);
    let url = format!("{}/metadata/endpoints?{VERSION}", cloud.arm.url());
    let headers = [("x-ms-correlation-request-id", "mine")];
    let answer = send(&cloud.tls, Method::GET, &url, &headers, "").await;
    assert_eq!(answer.header("x-ms-correlation-request-id"), "mine");
    let date = httpdate::parse_http_date(answer.header("date")).unwrap();
    let behind = std::time::SystemTime::now().duration_since(date).unwrap();
    assert!((1_000..1_100).contains(&behind.as_secs()), "{behind:?}");
    cloud.stop().await;
}

#[tokio::test]
async fn no_clock_and_no_lifetime_is_too_far_off() {
    let cloud = Cloud::start().await;
    for (offset, seconds) in [(i64::MIN, u64::MAX), (i64::MAX, u64::MAX), (i64::MAX, 0)] {
        cloud.faults.update(|set| {
            set.clock_offset_seconds = offset;
            set.access_token_seconds = Some(seconds);
            set.relay_token_seconds = Some(seconds);
        });
        let token = cloud.token_of(DemoApp::Demo, SCOPE).await;
        let expected = if seconds == 0 {
            StatusCode::UNAUTHORIZED
        } else {
            StatusCode::OK
        };
        let path = format!("{}?{VERSION}", cloud.cluster("edge-expired"));
        let cluster = cloud.ask(&token, Method::GET, &path, "").await;
        assert_eq!(cluster.status, expected, "{offset}");
        let credentials = cloud.credentials_as(&token, "edge-demo").await;
        assert_eq!(credentials.status, expected, "{offset}");
    }
    cloud.stop().await;
}
