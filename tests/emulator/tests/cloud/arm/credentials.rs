//! The credentials that lead to a cluster.

use arc_emulator::arm::RELAY;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use http::{Method, StatusCode};
use serde_json::Value;

use super::{Cloud, VERSION, assert_error};

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
    let samples: Value = serde_json::from_str(include_str!(
        "../../../../fixtures/arm-list-credentials.json"
    ))
    .unwrap();
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
