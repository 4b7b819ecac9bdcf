//! Who may do what: the role-based rules that the store holds.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

use super::auth::User;
use super::request::Target;
use super::resources;
use super::status::{Result, Status};
use super::store::{Key, Store};
use super::value;

/// One thing that somebody wants to do.
#[derive(Debug, Clone, Default)]
pub(super) struct Access {
    /// The verb.
    pub(super) verb: String,
    /// The API group.
    pub(super) group: String,
    /// The resource, with its subresource after a slash.
    pub(super) resource: String,
    /// The namespace, empty for the cluster.
    pub(super) namespace: String,
    /// The name, empty for all.
    pub(super) name: String,
    /// The path, for what is no resource.
    pub(super) path: Option<String>,
}

impl Access {
    /// What `verb` on `target` asks for.
    pub(super) fn to(target: &Target, verb: &str) -> Self {
        let mut resource = target.resource.plural.to_owned();
        if !target.subresource.is_empty() {
            resource = format!("{resource}/{}", target.subresource);
        }
        Self {
            verb: verb.to_owned(),
            group: target.resource.group.to_owned(),
            resource,
            namespace: target.namespace.clone(),
            name: target.name.clone(),
            path: None,
        }
    }

    /// What `verb` on a path that is no resource asks for.
    pub(super) fn to_path(path: &str, verb: &str) -> Self {
        Self {
            verb: verb.to_owned(),
            path: Some(path.to_owned()),
            ..Self::default()
        }
    }

    /// The refusal of this to `user`, in the words of the real server.
    pub(super) fn refusal(&self, user: &User) -> Status {
        let Self {
            verb,
            group,
            resource,
            namespace,
            name,
            path,
        } = self;
        if let Some(path) = path {
            let message = format!(
                "forbidden: User \"{}\" cannot {verb} path \"{path}\"",
                user.name
            );
            return Status::forbidden(message, None, "");
        }
        let scope = if namespace.is_empty() {
            "at the cluster scope".to_owned()
        } else {
            format!("in the namespace \"{namespace}\"")
        };
        let plural = resource.split('/').next().unwrap_or_default();
        let qualified = if group.is_empty() {
            plural.to_owned()
        } else {
            format!("{plural}.{group}")
        };
        let named = if name.is_empty() {
            String::new()
        } else {
            format!(" \"{name}\"")
        };
        let message = format!(
            "{qualified}{named} is forbidden: User \"{}\" cannot {verb} resource \"{resource}\" in API group \"{group}\" {scope}",
            user.name
        );
        let known = resources::RESOURCES
            .iter()
            .find(|known| known.plural == plural && known.group == group);
        Status::forbidden(message, known, name)
    }
}

/// The kinds that say who may do what.
const KINDS: [&str; 4] = [
    "clusterroles",
    "clusterrolebindings",
    "roles",
    "rolebindings",
];

/// How many callers' roles are remembered.
const REMEMBERED: usize = 1024;

/// The roles that somebody has.
type Roles = Arc<[Arc<Value>]>;

/// Somebody in a namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Who {
    name: String,
    groups: Vec<String>,
    namespace: String,
}

/// The verdicts, with the roles of those who called lately.
#[derive(Debug)]
pub(super) struct Authorizer {
    store: Arc<Store>,
    /// The roles, and the version of the store that they were read at.
    remembered: Mutex<HashMap<Who, (u64, Roles)>>,
}

impl Authorizer {
    /// Judges by the rules in `store`.
    pub(super) fn new(store: Arc<Store>) -> Self {
        Self {
            store,
            remembered: Mutex::default(),
        }
    }

    /// Refuses what `user` may not do.
    pub(super) fn check(&self, user: &User, access: &Access) -> Result<()> {
        if self.allows(user, access) {
            Ok(())
        } else {
            Err(access.refusal(user))
        }
    }

    /// Whether `user` may do this.
    pub(super) fn allows(&self, user: &User, access: &Access) -> bool {
        is_administrator(user)
            || self
                .roles(user, &access.namespace)
                .iter()
                .flat_map(|role| value::list(role, "/rules"))
                .any(|rule| permits(rule, access))
    }

    /// All rules that hold for `user` in `namespace`.
    pub(super) fn rules(&self, user: &User, namespace: &str) -> Vec<Value> {
        if is_administrator(user) {
            return vec![
                json!({ "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"] }),
                json!({ "verbs": ["*"], "nonResourceURLs": ["*"] }),
            ];
        }
        self.roles(user, namespace)
            .iter()
            .flat_map(|role| value::list(role, "/rules").iter().cloned())
            .collect()
    }

    fn roles(&self, user: &User, namespace: &str) -> Roles {
        let who = Who {
            name: user.name.clone(),
            groups: user.groups.clone(),
            namespace: namespace.to_owned(),
        };
        let version = self.store.version_of(&KINDS);
        let mut remembered = self
            .remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match remembered.get(&who) {
            Some((known, roles)) if *known == version => Arc::clone(roles),
            _ => {
                let roles = roles(&self.store, user, namespace);
                if remembered.len() >= REMEMBERED {
                    remembered.clear();
                }
                remembered.insert(who, (version, Arc::clone(&roles)));
                roles
            }
        }
    }
}

/// People of Entra administrate the cluster, as whoever tries the emulator expects; `ben@…` is the
/// colleague who may not, and has only what the stored bindings give him.
fn is_administrator(user: &User) -> bool {
    user.is_in("system:masters")
        || !(user.name.starts_with("system:") || user.name.starts_with("ben@"))
}

/// The roles that the stored bindings give `user` in `namespace`.
fn roles(store: &Store, user: &User, namespace: &str) -> Roles {
    let mut bindings = store.all("clusterrolebindings", None);
    if !namespace.is_empty() {
        bindings.extend(store.all("rolebindings", Some(namespace)));
    }
    bindings
        .iter()
        .filter(|binding| {
            value::list(binding, "/subjects")
                .iter()
                .any(|subject| is_meant(subject, user, value::namespace(binding)))
        })
        .filter_map(|binding| {
            let name = value::text(binding, "/roleRef/name");
            if value::text(binding, "/roleRef/kind") == "Role" {
                store.get("roles", &Key::new(value::namespace(binding), name))
            } else {
                store.get("clusterroles", &Key::new("", name))
            }
        })
        .collect()
}

fn is_meant(subject: &Value, user: &User, binding_namespace: &str) -> bool {
    let name = value::text(subject, "/name");
    match value::text(subject, "/kind") {
        // Entra's user principal names differ from tenant to tenant: the part before the @ is
        // enough for the demo's bindings.
        "User" => name == user.name || (name.ends_with('@') && user.name.starts_with(name)),
        "Group" => user.is_in(name),
        "ServiceAccount" => {
            let namespace = match value::text(subject, "/namespace") {
                "" => binding_namespace,
                own => own,
            };
            user.name == format!("system:serviceaccount:{namespace}:{name}")
        }
        _ => false,
    }
}

fn permits(rule: &Value, access: &Access) -> bool {
    let lists = |field: &str, wanted: &str| {
        value::list(rule, field)
            .iter()
            .filter_map(Value::as_str)
            .any(|listed| listed == "*" || listed == wanted)
    };
    if !lists("/verbs", &access.verb) {
        return false;
    }
    if let Some(path) = &access.path {
        return value::list(rule, "/nonResourceURLs")
            .iter()
            .filter_map(Value::as_str)
            .any(|listed| match listed.strip_suffix('*') {
                Some(prefix) => path.starts_with(prefix),
                None => path == listed,
            });
    }
    let any_subresource = access
        .resource
        .split_once('/')
        .is_some_and(|(_, subresource)| lists("/resources", &format!("*/{subresource}")));
    let names = value::list(rule, "/resourceNames");
    lists("/apiGroups", &access.group)
        && (lists("/resources", &access.resource) || any_subresource)
        && (names.is_empty() || names.iter().any(|name| *name == access.name))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    fn authorizer() -> Authorizer {
        let store = Store::new(0);
        let role = json!({
            "metadata": { "name": "view" },
            "rules": [{ "verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods", "pods/log"] }],
        });
        store.insert("clusterroles", role).unwrap();
        let binding = json!({
            "metadata": { "namespace": "demo", "name": "ben" },
            "roleRef": { "kind": "ClusterRole", "name": "view" },
            "subjects": [{ "kind": "User", "name": "ben@" }],
        });
        store.insert("rolebindings", binding).unwrap();
        Authorizer::new(Arc::new(store))
    }

    fn pods(verb: &str, namespace: &str) -> Access {
        Access {
            verb: verb.to_owned(),
            resource: "pods".to_owned(),
            namespace: namespace.to_owned(),
            ..Access::default()
        }
    }

    fn user(name: &str) -> User {
        User {
            name: name.to_owned(),
            ..User::default()
        }
    }

    #[test]
    fn a_binding_in_a_namespace_holds_there_alone() {
        let (authorizer, ben) = (authorizer(), user("ben@contoso.com"));
        assert!(authorizer.allows(&ben, &pods("list", "demo")));
        assert!(!authorizer.allows(&ben, &pods("delete", "demo")));
        let refused = authorizer.check(&ben, &pods("list", "")).unwrap_err();
        assert_eq!(
            refused.message(),
            "pods is forbidden: User \"ben@contoso.com\" cannot list resource \"pods\" in API group \"\" at the cluster scope"
        );
    }

    #[test]
    fn people_administrate_and_unbound_accounts_do_not() {
        let authorizer = authorizer();
        assert!(authorizer.allows(&user("ana@contoso.com"), &pods("delete", "kube-system")));
        assert!(!authorizer.allows(
            &user("system:serviceaccount:demo:default"),
            &pods("get", "demo")
        ));
    }

    #[test]
    fn a_change_of_the_rules_holds_at_once() {
        let (authorizer, ben) = (authorizer(), user("ben@contoso.com"));
        assert!(authorizer.allows(&ben, &pods("list", "demo")));
        let key = Key::new("demo", "ben");
        authorizer.store.remove("rolebindings", &key).unwrap();
        assert!(!authorizer.allows(&ben, &pods("list", "demo")));
    }
}
