//! Who and what a tenant knows: apps, users, and the resources that tokens are for.

use crate::names::{Names, random_hex};

/// The application that kube-aad-proxy stands behind, in every tenant.
pub const SERVER_APP: &str = "6256c85f-0aad-4d50-b960-e6e9b21efe35";

/// What ARM's tokens are for, by every name that it goes by.
const ARM_RESOURCES: [&str; 2] = [
    "https://management.core.windows.net",
    "https://management.azure.com",
];

/// Microsoft Graph: the resource of a request that asks for no other.
pub(super) const GRAPH: &str = "https://graph.microsoft.com";

/// Microsoft's clients that anyone may use without a secret, and their names.
const PUBLIC_CLIENTS: [(&str, &str); 2] = [
    (
        "04b07795-8ddb-461a-bbee-02f9e1bf7b46",
        "Microsoft Azure CLI",
    ),
    (
        "3f4439ff-e698-4d6d-84fe-09c9d574f06b",
        "Azure Kubernetes Service AAD Client",
    ),
];

/// The tenant.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) tenant: String,
    pub(super) domains: [&'static str; 2],
    pub(super) apps: Vec<App>,
    pub(super) users: Vec<User>,
    pub(super) resources: Vec<String>,
}

/// An application, with its service principal in the tenant.
#[derive(Debug, Clone)]
pub(super) struct App {
    pub(super) client_id: String,
    pub(super) object_id: String,
    pub(super) name: String,
    pub(super) public: bool,
    pub(super) secret: Option<Secret>,
    pub(super) certificates: Vec<super::certificate::Certificate>,
    pub(super) federated: Vec<super::FederatedIdentity>,
    pub(super) membership: Membership,
    pub(super) may_connect: bool,
}

/// A client secret.
#[derive(Debug, Clone)]
pub(super) struct Secret {
    pub(super) value: String,
    pub(super) expired: bool,
}

/// A person.
#[derive(Debug, Clone)]
pub(super) struct User {
    pub(super) upn: String,
    pub(super) object_id: String,
    pub(super) name: &'static str,
    pub(super) membership: Membership,
    pub(super) policy: Policy,
    pub(super) may_connect: bool,
}

/// The groups that a principal is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Membership {
    /// Few enough to be listed in a token, by object id.
    Listed(Vec<String>),
    /// More than 200: a token only says where they can be looked up.
    Overage,
}

/// What the tenant's policies ask of a user who wants to reach a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Policy {
    /// Nothing more.
    Open,
    /// A fresh sign-in with a second factor: a refresh token is not enough.
    StepUp,
    /// No token at all.
    Blocked,
    /// Consent, which only an interactive sign-in can ask for.
    Consent,
    /// No token of this tenant: the user is of another and no guest here.
    Foreign,
}

impl Directory {
    /// The tenant that every emulator starts with.
    pub(super) fn demo(names: Names) -> Self {
        let app = |key: &str, name: &str| App {
            client_id: names.guid(&format!("app/{key}/client")),
            object_id: names.guid(&format!("app/{key}/object")),
            name: name.to_owned(),
            public: false,
            secret: Some(Secret {
                value: format!("{}~{}", &random_hex::<2>()[..3], random_hex::<18>()),
                expired: false,
            }),
            certificates: Vec::new(),
            federated: Vec::new(),
            membership: Membership::Listed(Vec::new()),
            may_connect: true,
        };
        let mut expired = app("expired", "expired");
        expired.secret = expired.secret.map(|secret| Secret {
            expired: true,
            ..secret
        });
        let overage = App {
            membership: Membership::Overage,
            ..app("overage", "overage")
        };
        let stranger = App {
            may_connect: false,
            ..app("stranger", "stranger")
        };
        let public = PUBLIC_CLIENTS.map(|(client_id, name)| App {
            client_id: client_id.to_owned(),
            public: true,
            secret: None,
            ..app(client_id, name)
        });
        let mut apps = vec![app("demo", "arcproxy-demo"), expired, overage, stranger];
        apps.extend(public);
        Self {
            tenant: names.guid("tenant"),
            domains: ["contoso.com", "contoso.onmicrosoft.com"],
            apps,
            users: users(names),
            resources: ARM_RESOURCES
                .into_iter()
                .chain([GRAPH, SERVER_APP])
                .map(str::to_owned)
                .collect(),
        }
    }

    /// The app of `client_id`.
    pub(super) fn app(&self, client_id: &str) -> Option<&App> {
        self.apps
            .iter()
            .find(|app| app.client_id.eq_ignore_ascii_case(client_id))
    }

    /// The user of `upn`.
    pub(super) fn user(&self, upn: &str) -> Option<&User> {
        self.users
            .iter()
            .find(|user| user.upn.eq_ignore_ascii_case(upn))
    }

    /// Whether `resource`, with or without a slash at its end, is one that tokens are made for.
    pub(super) fn knows_resource(&self, resource: &str) -> bool {
        let plain = |text: &str| text.trim_end_matches('/').to_ascii_lowercase();
        let wanted = plain(resource);
        self.resources.iter().any(|known| plain(known) == wanted)
    }

    /// Whether `tenant` names this tenant, by id or by domain.
    pub(super) fn is_tenant(&self, tenant: &str) -> bool {
        tenant.eq_ignore_ascii_case(&self.tenant)
            || self
                .domains
                .iter()
                .any(|domain| tenant.eq_ignore_ascii_case(domain))
    }

    /// Whether the principal of `object_id` holds the role that lets it reach clusters.
    pub(super) fn may_connect(&self, object_id: &str) -> bool {
        let app = self.apps.iter().find(|app| app.object_id == object_id);
        let user = self.users.iter().find(|user| user.object_id == object_id);
        app.is_some_and(|app| app.may_connect) || user.is_some_and(|user| user.may_connect)
    }
}

fn users(names: Names) -> Vec<User> {
    let operators = names.guid("group/edge-operators");
    let user = |first: &str, name: &'static str| User {
        upn: format!("{first}@contoso.com"),
        object_id: names.guid(&format!("user/{first}")),
        name,
        membership: Membership::Listed(vec![operators.clone()]),
        policy: Policy::Open,
        may_connect: true,
    };
    vec![
        user("ana", "Ana Ferreira"),
        user("ben", "Ben Adeyemi"),
        User {
            policy: Policy::StepUp,
            ..user("mara", "Mara Lindqvist")
        },
        User {
            policy: Policy::Blocked,
            ..user("blake", "Blake Moreau")
        },
        User {
            policy: Policy::Consent,
            ..user("cora", "Cora Petrov")
        },
        User {
            membership: Membership::Overage,
            ..user("olga", "Olga Haddad")
        },
        User {
            may_connect: false,
            ..user("nora", "Nora Sato")
        },
        User {
            upn: "gina@fabrikam.com".to_owned(),
            policy: Policy::Foreign,
            ..user("gina", "Gina Okafor")
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_the_seed_and_secrets_do_not() {
        let (one, again) = (
            Directory::demo(Names::new(7)),
            Directory::demo(Names::new(7)),
        );
        assert_eq!(one.tenant, again.tenant);
        assert_eq!(one.apps[0].client_id, again.apps[0].client_id);
        let secret = |directory: &Directory| {
            directory.apps[0]
                .secret
                .as_ref()
                .map(|secret| secret.value.clone())
        };
        assert_ne!(secret(&one), secret(&again));
    }

    #[test]
    fn resources_are_known_with_and_without_a_slash() {
        let directory = Directory::demo(Names::new(7));
        assert!(directory.knows_resource("https://management.core.windows.net/"));
        assert!(directory.knows_resource("https://management.azure.com"));
        assert!(directory.knows_resource(&SERVER_APP.to_ascii_uppercase()));
        assert!(!directory.knows_resource("https://vault.azure.net"));
    }
}
