//! The documents by which clients find their way, and what carries across all of Entra.

use http::StatusCode;
use serde_json::json;

use crate::client::Tenant;

#[tokio::test]
async fn the_configuration_names_endpoints_that_answer() {
    let tenant = Tenant::start().await;
    let id = tenant.entra.tenant();
    let url = tenant.entra.url().to_owned();
    for (name, version) in [(id.as_str(), "/v2.0"), ("contoso.com", "/v2.0"), (&id, "")] {
        let path = format!("{name}{version}/.well-known/openid-configuration");
        let document = tenant.get(&path).await.json();
        assert_eq!(
            document["token_endpoint"],
            format!("{url}/{id}/oauth2/v2.0/token"),
            "{path}"
        );
        let keys = document["jwks_uri"].as_str().unwrap();
        let keys = tenant.get(&keys[url.len() + 1..]).await.json();
        assert_eq!(keys["keys"][0]["kty"], "RSA");
    }
    let common = tenant.get("organizations/v2.0/.well-known/openid-configuration");
    let endpoint = format!("{url}/organizations/oauth2/v2.0/authorize");
    assert_eq!(common.await.json()["authorization_endpoint"], endpoint);
    tenant.entra.stop().await;
}

#[tokio::test]
async fn instance_discovery_knows_only_its_own_authority() {
    let tenant = Tenant::start().await;
    let url = tenant.entra.url().to_owned();
    let ask = |authority: &str| {
        let path = format!(
            "common/discovery/instance?api-version=1.1&authorization_endpoint={authority}/{}/oauth2/v2.0/authorize",
            tenant.entra.tenant()
        );
        let tenant = &tenant;
        async move { tenant.get(&path).await }
    };
    let own = ask(&url).await.json();
    assert_eq!(
        own["tenant_discovery_endpoint"],
        format!(
            "{url}/{}/v2.0/.well-known/openid-configuration",
            tenant.entra.tenant()
        )
    );
    let host = url.strip_prefix("https://").unwrap();
    assert_eq!(own["metadata"][0]["aliases"], json!([host]));
    let other = ask("https://login.example.com").await;
    assert_eq!(other.json()["error"], "invalid_instance");
    tenant.entra.stop().await;
}

#[tokio::test]
async fn a_tenant_that_does_not_exist_is_not_found_anywhere() {
    let tenant = Tenant::start().await;
    let nobody = "11111111-1111-4111-8111-111111111111";
    for path in [
        format!("{nobody}/v2.0/.well-known/openid-configuration"),
        format!("{nobody}/discovery/v2.0/keys"),
    ] {
        let answer = tenant.get(&path).await;
        assert_eq!(answer.json()["error_codes"], json!([90_002]), "{path}");
    }
    tenant.entra.stop().await;
}

#[tokio::test]
async fn answers_carry_the_clouds_time_and_the_callers_id() {
    let tenant = Tenant::start().await;
    tenant
        .faults
        .update(|set| set.clock_offset_seconds = 86_400);
    let answer = crate::client::send(
        &tenant.tls,
        http::Method::GET,
        &tenant.url("common/discovery/v2.0/keys"),
        &[("client-request-id", "mine")],
        "",
    )
    .await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("client-request-id"), "mine");
    let date = httpdate::parse_http_date(answer.header("date")).unwrap();
    let ahead = date
        .duration_since(std::time::SystemTime::now())
        .unwrap()
        .as_secs();
    assert!((86_300..=86_400).contains(&ahead), "{ahead}");
    tenant.entra.stop().await;
}
