//! The relay's verdict on the tokens that come with a cluster's credentials.

use http::{Method, StatusCode};
use serde_json::Value;

use super::Cloud;
use crate::client::send;

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
    let samples: Value =
        serde_json::from_str(include_str!("../../../../fixtures/sas.json")).unwrap();
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
