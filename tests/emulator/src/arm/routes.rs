//! Which operation answers which request, whatever the case of its path.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::access::{Caller, Expected, authenticate};
use super::error::{self, ArmError};
use super::fleet::{Cluster, GROUPS, Group};
use super::metadata::{self, Cloud};
use super::paging::page;
use super::{State, Subscription, credentials};
use crate::http::{Body, empty, json as answer_json};
use crate::names::random_guid;
use crate::request::{self, Fields, date, header_value, read_body};

/// Versions of ARM's own resources.
const ARM_VERSIONS: [&str; 7] = [
    "2016-06-01",
    "2019-11-01",
    "2020-01-01",
    "2021-01-01",
    "2021-04-01",
    "2022-09-01",
    "2022-12-01",
];

/// Versions of connected clusters.
const CLUSTER_VERSIONS: [&str; 11] = [
    "2021-03-01",
    "2021-10-01",
    "2022-05-01-preview",
    "2022-10-01-preview",
    "2023-11-01-preview",
    "2024-01-01",
    "2024-06-01-preview",
    "2024-07-15-preview",
    "2024-12-01-preview",
    "2025-08-01-preview",
    "2026-05-01",
];

/// Answers one request, and never without an answer.
pub(super) async fn answer(state: Arc<State>, request: Request<Incoming>) -> Response<Body> {
    let id = random_guid();
    let correlation_id = request::header(request.headers(), "x-ms-correlation-request-id")
        .map_or_else(|| id.clone(), str::to_owned);
    let (operation, outcome) = route(&state, request).await;
    let mut response = match outcome {
        Ok(None) => {
            let mut response = Response::new(empty());
            *response.status_mut() = StatusCode::NO_CONTENT;
            response
        }
        Ok(Some(value)) => answer_json(StatusCode::OK, &value),
        Err(refusal) => {
            tracing::debug!(operation, code = refusal.code, "refused");
            refusal.response(state.entra.url(), &state.tenant)
        }
    };
    state.count(operation, response.status().as_u16());
    let headers = response.headers_mut();
    headers.insert(header::DATE, date(state.faults.cloud_time()));
    headers.insert("x-ms-request-id", header_value(&id));
    headers.insert("x-ms-correlation-request-id", header_value(&correlation_id));
    let routing = format!(
        "LOCAL:{}:{id}",
        request::timestamp(state.faults.cloud_time())
    );
    headers.insert("x-ms-routing-request-id", header_value(&routing));
    response
}

type Outcome = Result<Option<Value>, ArmError>;

async fn route(state: &State, request: Request<Incoming>) -> (&'static str, Outcome) {
    let (parts, body) = request.into_parts();
    let segments: Vec<String> = parts
        .uri
        .path()
        .trim_matches('/')
        .split('/')
        .map(|segment| percent_decode_str(segment).decode_utf8_lossy().into_owned())
        .collect();
    let lower: Vec<String> = segments
        .iter()
        .map(|part| part.to_ascii_lowercase())
        .collect();
    let lower: Vec<&str> = lower.iter().map(String::as_str).collect();
    let Some(operation) = Operation::of(&lower) else {
        return ("unknown", Err(error::no_such_path(parts.uri.path())));
    };
    let call = Call {
        state,
        path: parts.uri.path(),
        segments: &segments,
        query: Fields::parse(parts.uri.query().unwrap_or_default().as_bytes()),
    };
    let outcome = async {
        let version = call.version(operation)?;
        if let Some(refusal) = state.faults.strike(|set| &mut set.arm).await {
            return Err(error::fault(refusal));
        }
        if operation == Operation::Metadata {
            return Ok(Some(call.metadata(version)));
        }
        if operation.has_subscription() && !parts.headers.contains_key(header::AUTHORIZATION) {
            // Whom to ask for a token is said of what exists only.
            call.subscription()?;
        }
        let now = state.faults.cloud_time();
        let caller = authenticate(
            &parts.headers,
            &Expected {
                keys: &state.entra.keys(),
                issuer: &state.entra.issuer(),
                audiences: &state.audiences(),
                context: state.context().as_deref(),
                now,
            },
        )?;
        operation.check_method(&parts.method)?;
        if operation == Operation::ListCredentials {
            let body = read_body(body)
                .await
                .ok_or_else(|| error::invalid_content("the body"))?;
            return call.credentials(&caller, version, &body).map(Some);
        }
        let value = call.read(operation, now)?;
        Ok((parts.method != Method::HEAD).then_some(value))
    };
    (operation.name(), outcome.await)
}

/// What can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Metadata,
    ListTenants,
    ListSubscriptions,
    GetSubscription,
    ListGroups,
    GetGroup,
    ListClusters,
    ListClustersOfGroup,
    GetCluster,
    ListCredentials,
}

impl Operation {
    /// The operation of a path in lower case.
    fn of(path: &[&str]) -> Option<Self> {
        const CLUSTERS: &str = "connectedclusters";
        const PROVIDER: &str = "microsoft.kubernetes";
        const GROUPS: &str = "resourcegroups";
        Some(match path {
            ["metadata", "endpoints"] => Self::Metadata,
            ["tenants"] => Self::ListTenants,
            ["subscriptions"] => Self::ListSubscriptions,
            ["subscriptions", _] => Self::GetSubscription,
            ["subscriptions", _, GROUPS] => Self::ListGroups,
            ["subscriptions", _, GROUPS, _] => Self::GetGroup,
            ["subscriptions", _, "providers", PROVIDER, CLUSTERS] => Self::ListClusters,
            [
                "subscriptions",
                _,
                GROUPS,
                _,
                "providers",
                PROVIDER,
                CLUSTERS,
                rest @ ..,
            ] => match rest {
                [] => Self::ListClustersOfGroup,
                [_] => Self::GetCluster,
                [_, "listclusterusercredential"] => Self::ListCredentials,
                _ => return None,
            },
            _ => return None,
        })
    }

    /// Its name in what was seen.
    fn name(self) -> &'static str {
        match self {
            Self::Metadata => "metadata",
            Self::ListTenants => "tenants.list",
            Self::ListSubscriptions => "subscriptions.list",
            Self::GetSubscription => "subscriptions.get",
            Self::ListGroups => "resourceGroups.list",
            Self::GetGroup => "resourceGroups.get",
            Self::ListClusters | Self::ListClustersOfGroup => "connectedClusters.list",
            Self::GetCluster => "connectedClusters.get",
            Self::ListCredentials => "connectedClusters.listClusterUserCredential",
        }
    }

    /// Whether its path names a subscription.
    fn has_subscription(self) -> bool {
        !matches!(
            self,
            Self::Metadata | Self::ListTenants | Self::ListSubscriptions
        )
    }

    fn check_method(self, method: &Method) -> Result<(), ArmError> {
        let fits = match self {
            Self::ListCredentials => method == Method::POST,
            Self::GetGroup => method == Method::GET || method == Method::HEAD,
            _ => method == Method::GET,
        };
        fits.then_some(())
            .ok_or_else(|| error::method_not_allowed(method))
    }
}

/// One request.
struct Call<'a> {
    state: &'a State,
    path: &'a str,
    segments: &'a [String],
    query: Fields,
}

impl Call<'_> {
    fn version(&self, operation: Operation) -> Result<&str, ArmError> {
        let version = self
            .query
            .get("api-version")
            .ok_or_else(error::missing_api_version)?;
        let clusters = matches!(
            operation,
            Operation::ListClusters
                | Operation::ListClustersOfGroup
                | Operation::GetCluster
                | Operation::ListCredentials
        );
        if clusters && !CLUSTER_VERSIONS.contains(&version) {
            return Err(error::unsupported_api_version(version, &CLUSTER_VERSIONS));
        }
        let dated = version.len() >= 10 && version.as_bytes()[..4].iter().all(u8::is_ascii_digit);
        if !clusters && !dated {
            return Err(error::invalid_api_version(version, &ARM_VERSIONS));
        }
        Ok(version)
    }

    fn metadata(&self, version: &str) -> Value {
        let cloud = Cloud {
            resource_manager: self.state.url(),
            authority: self.state.entra.url(),
            relay_suffix: &self.state.relay_suffix,
            tenant: &self.state.tenant,
            audiences: &self.state.audiences(),
        };
        metadata::endpoints(&cloud, version)
    }

    fn read(&self, operation: Operation, now: u64) -> Result<Value, ArmError> {
        match operation {
            Operation::ListTenants => Ok(json!({ "value": [{
                "id": format!("/tenants/{}", self.state.tenant),
                "tenantId": self.state.tenant,
                "displayName": "Contoso",
                "defaultDomain": "contoso.com",
            }]})),
            Operation::ListSubscriptions => {
                let all = &self.state.subscriptions;
                let items: Vec<_> = all.iter().map(|one| self.subscription_json(one)).collect();
                self.page(&items)
            }
            Operation::GetSubscription => Ok(self.subscription_json(self.subscription()?)),
            Operation::ListGroups => {
                let subscription = self.subscription()?;
                let items: Vec<_> = self
                    .groups(subscription)
                    .iter()
                    .map(|group| group_json(subscription, group))
                    .collect();
                self.page(&items)
            }
            Operation::GetGroup => Ok(group_json(self.subscription()?, self.group()?)),
            Operation::ListClusters => {
                let subscription = self.subscription()?;
                let groups = self.groups(subscription);
                self.page(&self.clusters(now, |cluster| {
                    groups.iter().any(|group| group.name == cluster.group)
                }))
            }
            Operation::ListClustersOfGroup => {
                let group = self.group()?;
                self.page(&self.clusters(now, |cluster| cluster.group == group.name))
            }
            Operation::GetCluster => {
                let cluster = self.cluster()?;
                Ok(cluster.resource(self.state.names, &self.state.tenant, now))
            }
            Operation::Metadata | Operation::ListCredentials => Err(error::no_such_path(self.path)),
        }
    }

    fn credentials(&self, caller: &Caller, version: &str, body: &Bytes) -> Result<Value, ArmError> {
        credentials::list(self.state, self.cluster()?, caller, version, body)
    }

    fn subscription(&self) -> Result<&Subscription, ArmError> {
        let wanted = &self.segments[1];
        if uuid::Uuid::try_parse(wanted).is_err() {
            return Err(error::invalid_subscription(wanted));
        }
        self.state
            .subscriptions
            .iter()
            .find(|subscription| subscription.id.eq_ignore_ascii_case(wanted))
            .ok_or_else(|| error::subscription_not_found(wanted))
    }

    /// The groups of `subscription`: only the first has any.
    fn groups(&self, subscription: &Subscription) -> &'static [Group] {
        if subscription.id == self.state.subscriptions[0].id {
            &GROUPS
        } else {
            &[]
        }
    }

    fn group(&self) -> Result<&'static Group, ArmError> {
        let wanted = &self.segments[3];
        self.groups(self.subscription()?)
            .iter()
            .find(|group| group.name.eq_ignore_ascii_case(wanted))
            .ok_or_else(|| error::group_not_found(wanted))
    }

    fn cluster(&self) -> Result<&Cluster, ArmError> {
        let group = self.group()?;
        let wanted = &self.segments[7];
        self.state
            .clusters
            .iter()
            .filter(|cluster| cluster.group == group.name)
            .find(|cluster| cluster.name.eq_ignore_ascii_case(wanted))
            .ok_or_else(|| error::resource_not_found(wanted, group.name))
    }

    fn clusters(&self, now: u64, wanted: impl Fn(&Cluster) -> bool) -> Vec<Value> {
        let all = self.state.clusters.iter();
        all.filter(|cluster| wanted(cluster))
            .map(|cluster| cluster.resource(self.state.names, &self.state.tenant, now))
            .collect()
    }

    fn page(&self, items: &[Value]) -> Result<Value, ArmError> {
        let url = format!("{}{}", self.state.url(), self.path);
        page(items, &url, &self.query)
    }

    fn subscription_json(&self, subscription: &Subscription) -> Value {
        json!({
            "id": format!("/subscriptions/{}", subscription.id),
            "subscriptionId": subscription.id,
            "displayName": subscription.name,
            "tenantId": self.state.tenant,
            "state": "Enabled",
            "authorizationSource": "RoleBased",
        })
    }
}

fn group_json(subscription: &Subscription, group: &Group) -> Value {
    json!({
        "id": format!("/subscriptions/{}/resourceGroups/{}", subscription.id, group.name),
        "name": group.name,
        "type": "Microsoft.Resources/resourceGroups",
        "location": group.location,
        "properties": { "provisioningState": "Succeeded" },
    })
}
