//! Resource Manager, asked as its clients ask it.

mod access;
mod credentials;
mod faults;
mod relay_tokens;
mod resources;

use std::sync::Arc;

use arc_emulator::arm::{Arm, ArmConfig};
use arc_emulator::entra::{DemoApp, Entra, EntraConfig};
use arc_emulator::faults::Faults;
use arc_emulator::names::Names;
use arc_emulator::relay::{Relay, RelayConfig};
use arc_emulator::shape::Shaper;
use arc_emulator::tls::Authority;
use http::{Method, StatusCode};
use rustls::ClientConfig;
use serde_json::json;

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
