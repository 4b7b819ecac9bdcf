//! Who is let in, and with what words the others are not.

use arc_emulator::entra::{DemoApp, SERVER_APP};
use http::{Method, StatusCode};

use super::{Cloud, SCOPE, VERSION, assert_error};

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
async fn without_a_token_a_subscription_tells_its_tenant_if_there_is_one() {
    let cloud = Cloud::start().await;
    let known = format!(
        "/subscriptions/{}?{VERSION}",
        cloud.arm.subscriptions()[0].id
    );
    let answer = cloud.ask("", Method::GET, &known, "").await;
    assert_error(&answer, StatusCode::UNAUTHORIZED, "AuthenticationFailed");
    let challenge = answer.header("www-authenticate");
    assert!(challenge.contains(&cloud.entra.tenant()), "{challenge}");

    let unknown = format!("/subscriptions/11111111-1111-4111-8111-111111111111?{VERSION}");
    let answer = cloud.ask("", Method::GET, &unknown, "").await;
    assert_error(&answer, StatusCode::NOT_FOUND, "SubscriptionNotFound");
    assert_eq!(answer.header("www-authenticate"), "");
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
