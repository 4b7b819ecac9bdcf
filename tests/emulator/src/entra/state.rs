//! What Entra's endpoints share.

use std::sync::{
    Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
};

use super::directory::{App, Directory};
use super::grants::Grants;
use super::{EntraSeen, Keys};
use crate::faults::Faults;
use crate::names::random_hex;

/// What the endpoints share.
#[derive(Debug)]
pub(super) struct State {
    pub(super) keys: Arc<Keys>,
    pub(super) faults: Faults,
    directory: RwLock<Directory>,
    grants: Mutex<Grants>,
    seen: Mutex<EntraSeen>,
    url: OnceLock<String>,
    person: Mutex<Option<String>>,
    pub(super) ci_token: String,
}

impl State {
    /// Of an Entra that nothing has happened at.
    pub(super) fn new(keys: Arc<Keys>, faults: Faults, directory: Directory) -> Self {
        Self {
            keys,
            faults,
            directory: RwLock::new(directory),
            grants: Mutex::default(),
            seen: Mutex::default(),
            url: OnceLock::new(),
            person: Mutex::default(),
            ci_token: random_hex::<16>(),
        }
    }

    /// Its own address; empty until it listens.
    pub(super) fn url(&self) -> &str {
        self.url.get().map_or("", String::as_str)
    }

    /// Sets the address, once.
    pub(super) fn set_url(&self, url: String) {
        self.url.get_or_init(|| url);
    }

    /// The tenant.
    pub(super) fn directory(&self) -> RwLockReadGuard<'_, Directory> {
        self.directory
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes tokens for `resource`, too.
    pub(super) fn add_resource(&self, resource: &str) {
        self.write_directory().resources.push(resource.to_owned());
    }

    /// What was granted.
    pub(super) fn grants(&self) -> MutexGuard<'_, Grants> {
        lock(&self.grants)
    }

    /// Who sits at the browser.
    pub(super) fn person(&self) -> Option<String> {
        lock(&self.person).clone()
    }

    /// Seats `upn`, or nobody, at the browser.
    pub(super) fn seat(&self, upn: Option<&str>) {
        *lock(&self.person) = upn.map(str::to_owned);
    }

    /// What was counted.
    pub(super) fn seen(&self) -> EntraSeen {
        lock(&self.seen).clone()
    }

    /// Counts what happened.
    pub(super) fn count(&self, change: impl FnOnce(&mut EntraSeen)) {
        change(&mut lock(&self.seen));
    }

    /// Changes the app of `client_id`; whether there is one.
    pub(super) fn change_app(&self, client_id: &str, change: impl FnOnce(&mut App)) -> bool {
        let mut directory = self.write_directory();
        let app = directory
            .apps
            .iter_mut()
            .find(|app| app.client_id.eq_ignore_ascii_case(client_id));
        let found = app.is_some();
        if let Some(app) = app {
            change(app);
        }
        found
    }

    fn write_directory(&self) -> RwLockWriteGuard<'_, Directory> {
        self.directory
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The addresses that an assertion sent to `tenant` may be meant for.
    pub(super) fn assertion_audiences(&self, tenant: &str, id: &str) -> Vec<String> {
        let mut audiences = Vec::new();
        for name in [tenant, id] {
            for path in ["oauth2/v2.0/token", "v2.0", "oauth2/token"] {
                audiences.push(format!("{}/{name}/{path}", self.url()));
            }
        }
        audiences
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
