//! What there is: the cloud, subscriptions, groups and clusters.

use http::{Method, StatusCode};
use serde_json::json;

use super::{Cloud, VERSION, assert_error};

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
