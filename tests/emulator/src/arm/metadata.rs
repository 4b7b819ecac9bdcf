//! `GET /metadata/endpoints`: what the cloud says about itself to whoever asks.

use serde_json::{Value, json};

/// The addresses of the emulator's cloud.
#[derive(Debug)]
pub(super) struct Cloud<'a> {
    pub(super) resource_manager: &'a str,
    pub(super) authority: &'a str,
    pub(super) relay_suffix: &'a str,
    pub(super) tenant: &'a str,
    pub(super) audiences: &'a [String],
}

/// The document of `version`: versions before 2022-09-01 list all clouds, later ones show one.
pub(super) fn endpoints(cloud: &Cloud<'_>, version: &str) -> Value {
    let one = json!({
        "name": "emulator",
        "resourceManager": cloud.resource_manager,
        "portal": "https://portal.azure.com",
        "graph": "https://graph.windows.net/",
        "microsoftGraphResourceId": "https://graph.microsoft.com/",
        "authentication": {
            "loginEndpoint": cloud.authority,
            "audiences": cloud.audiences,
            "tenant": cloud.tenant,
            "identityProvider": "AAD",
        },
        "suffixes": {
            "relayEndpointSuffix": cloud.relay_suffix,
            "storage": "core.windows.net",
            "keyVaultDns": "vault.azure.net",
        },
    });
    if version < "2022-09-01" {
        json!([one])
    } else {
        one
    }
}
