//! Faults, the clock, and the ids of requests.

use arc_emulator::entra::DemoApp;
use http::{Method, StatusCode};

use super::{Cloud, SCOPE, VERSION, assert_error};
use crate::client::send;

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
