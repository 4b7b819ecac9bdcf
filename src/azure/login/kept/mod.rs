//! Sign-ins that are kept from one run to the next, so that the next one asks nothing.
//!
//! One small document holds them all: in the desktop's keyring where there is one, else in a file of
//! mode 0600. A lock lets runs side by side change it one after the other; a reader never sees half
//! of it. What cannot be kept is no failure: the next run asks again. Access tokens are not kept.

mod file;
mod keyring;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use serde::{Deserialize, Serialize, Serializer};
use tokio::sync::OnceCell;
use url::Url;
use zeroize::Zeroizing;

use crate::error::{Code, Error};
use crate::secret::Secret;
use crate::settings::Environment;

use file::Folder;
use keyring::Keyring;

/// How many sign-ins are kept.
const SIGN_INS: usize = 16;

/// Where sign-ins are kept; by default nowhere.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    folder: Option<Folder>,
    keyring: Option<Keyring>,
    /// What was there when it was first looked for somebody who need not be asked.
    known: Arc<OnceCell<SignIns>>,
}

/// What a sign-in is kept under: who asks, where, for users of which tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    authority: String,
    tenant: String,
    client_id: String,
    /// Whether somebody named the tenant: nobody who signed in elsewhere is meant then.
    is_given: bool,
}

/// Somebody who has signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Person {
    /// The name that they sign in with, where Entra told it.
    pub(super) name: Option<String>,
    /// What a new token is had with.
    pub(super) refresh: Secret,
}

/// All that is kept, by place.
type SignIns = BTreeMap<String, SignIn>;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct SignIn {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(serialize_with = "expose")]
    refresh_token: Secret,
    /// When it was kept, seconds since 1970.
    since: u64,
}

fn expose<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose())
}

impl Place {
    /// `tenant_is_given` is for a tenant that somebody named.
    pub(super) fn new(
        authority: &Url,
        tenant: &str,
        client_id: &str,
        tenant_is_given: bool,
    ) -> Self {
        let origin = authority.origin().ascii_serialization();
        let path = authority.path().trim_end_matches('/');
        Self {
            authority: format!("{origin}{path}").to_ascii_lowercase(),
            tenant: tenant.to_ascii_lowercase(),
            client_id: client_id.to_ascii_lowercase(),
            is_given: tenant_is_given,
        }
    }

    fn name(&self) -> String {
        self.name_in(&self.tenant)
    }

    fn name_in(&self, tenant: &str) -> String {
        format!("{}/{tenant} {}", self.authority, self.client_id)
    }

    /// Who of `sign_ins` has signed in here, or else, unless the tenant is given, who did so last
    /// in any tenant: many a person's account is known in several.
    fn pick(&self, sign_ins: &SignIns) -> Option<Person> {
        let same_but_the_tenant = |name: &str| {
            let tenant = name
                .split(' ')
                .next()
                .and_then(|url| url.rsplit('/').next());
            tenant.is_some_and(|tenant| self.name_in(tenant) == name)
        };
        let newest = || {
            let others = sign_ins
                .iter()
                .filter(|(name, _)| !self.is_given && same_but_the_tenant(name));
            others.map(|(_, one)| one).max_by_key(|one| one.since)
        };
        let sign_in = sign_ins.get(&self.name()).or_else(newest)?;
        Some(Person {
            name: sign_in.user.clone(),
            refresh: sign_in.refresh_token.clone(),
        })
    }
}

impl Kept {
    /// Keeps sign-ins in the desktop's keyring, if `environment` tells of one, else in `folder`, if
    /// there is one. It need not exist.
    pub fn new(environment: &Environment, folder: Option<PathBuf>) -> Self {
        let folder = folder.map(Folder);
        let mark = folder.as_ref().map(Folder::mark);
        Self {
            folder,
            keyring: Keyring::find(environment, mark),
            known: Arc::default(),
        }
    }

    /// The same, but nobody is asked to unlock a keyring, and none is waited for for long.
    pub(super) fn quietly(mut self) -> Self {
        if let Some(keyring) = &mut self.keyring {
            keyring.asks = false;
        }
        self
    }

    /// Who has signed in under `place`, or may be known there.
    ///
    /// Cancel safe, but that a keyring may be asked for in vain.
    pub(super) async fn person(&self, place: &Place) -> Option<Person> {
        place.pick(&self.all().await)
    }

    /// As [`Kept::person`], but looks only once in a run, as [quietly](Kept::quietly): for whoever
    /// has yet to decide whom to ask.
    pub(super) async fn known(&self, place: &Place) -> Option<Person> {
        let look = || async { self.clone().quietly().all().await };
        place.pick(self.known.get_or_init(look).await)
    }

    /// Keeps `person` under `place`, in the place of whoever was there.
    ///
    /// Cancel safe: it is kept as a whole or not at all.
    pub(super) async fn keep(&self, place: &Place, person: &Person) {
        self.write_down(place, None, person).await;
    }

    /// Keeps what renewed the sign-in with `used`, if that is the one that is still kept: one that
    /// somebody made meanwhile may show more, and one that was removed stays so.
    ///
    /// Cancel safe: it is kept as a whole or not at all.
    pub(super) async fn renew(&self, place: &Place, used: &Secret, person: &Person) {
        self.write_down(place, Some(used), person).await;
    }

    async fn write_down(&self, place: &Place, used: Option<&Secret>, person: &Person) {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
        let sign_in = SignIn {
            user: person.name.clone(),
            refresh_token: person.refresh.clone(),
            since: since_1970.unwrap_or_default().as_secs(),
        };
        if let Err(error) = self.put(place, used, &sign_in).await {
            tracing::warn!(%error, "the sign-in cannot be kept for the next run");
        }
    }

    /// Forgets the sign-in with `refused`, wherever it is kept.
    pub(super) async fn forget(&self, refused: &Secret) {
        if let Err(error) = self.remove(refused).await {
            tracing::debug!(%error, "a sign-in that is of no use is still kept");
        }
    }

    /// Removes all that is kept; gives who was signed in, and where, and whether that is all.
    ///
    /// # Errors
    /// Something is still there, or may be.
    pub async fn remove_all(&self) -> (Vec<(String, String)>, Result<(), Error>) {
        let is_there = self.folder.as_ref().is_some_and(Folder::is_there);
        // Who is at it for long is not waited for: what is to go goes.
        let _turn = if is_there {
            self.lock().await.ok()
        } else {
            None
        };
        let in_keyring = self
            .folder
            .as_ref()
            .is_some_and(|folder| folder.mark().exists());
        let mut left = None;
        if in_keyring && self.keyring.is_none() {
            left = Some(io::Error::other(
                "one is in a keyring that is out of reach here",
            ));
        }
        let mut gone = SignIns::new();
        for source in self.sources() {
            let cleared = async {
                let found = read(source).await?;
                source.clear().await?;
                Ok::<_, io::Error>(found)
            };
            match cleared.await {
                Ok(found) => gone.extend(found),
                // Where there is no keyring nothing can be in it, as far as is known.
                Err(error) if error.kind() == io::ErrorKind::NotFound && !in_keyring => {}
                Err(error) => left = Some(error),
            }
        }
        let told = |(place, sign_in): (String, SignIn)| {
            let (address, _client) = place.split_once(' ').unwrap_or((&place, ""));
            let who = sign_in.user.unwrap_or_else(|| "somebody".to_owned());
            (who, address.to_owned())
        };
        let left = left.map_or(Ok(()), |error: io::Error| {
            Err(Error::new(Code::Unexpected, "cannot remove every sign-in that was kept")
                .caused_by(&error)
                .hinted(
                    "run `arcproxy logout` on the desktop where you signed in, and unlock its keyring; docs/sign-in.md says where sign-ins are kept",
                ))
        });
        (gone.into_iter().map(told).collect(), left)
    }

    async fn put(&self, place: &Place, used: Option<&Secret>, sign_in: &SignIn) -> io::Result<()> {
        let _turn = self.lock().await?;
        if let Some(used) = used {
            let kept = self.person(place).await;
            if kept.is_none_or(|kept| kept.refresh != *used) {
                return Ok(());
            }
        }
        let mut outcome = Ok(());
        let mut is_kept = false;
        for source in self.sources() {
            let mut sign_ins = match read(source).await {
                Ok(sign_ins) => sign_ins,
                Err(error) => {
                    outcome = Err(error);
                    continue;
                }
            };
            if !is_kept {
                sign_ins.insert(place.name(), sign_in.clone());
                outcome = save(source, sign_ins).await;
                is_kept = outcome.is_ok();
            } else if sign_ins.remove(&place.name()).is_some() {
                // The better place has it.
                outcome = save(source, sign_ins).await;
            }
        }
        outcome
    }

    async fn remove(&self, refused: &Secret) -> io::Result<()> {
        let _turn = self.lock().await?;
        for source in self.sources() {
            let Ok(mut sign_ins) = read(source).await else {
                continue;
            };
            let before = sign_ins.len();
            sign_ins.retain(|_, one| one.refresh_token != *refused);
            if sign_ins.len() < before {
                save(source, sign_ins).await?;
            }
        }
        Ok(())
    }

    /// All that can be read, the newest of each place.
    async fn all(&self) -> SignIns {
        let mut all = SignIns::new();
        for source in self.sources() {
            let found = read(source).await.unwrap_or_else(|error| {
                tracing::info!(?source, %error, "what is kept there cannot be read");
                SignIns::new()
            });
            for (place, one) in found {
                if all.get(&place).is_none_or(|other| other.since < one.since) {
                    all.insert(place, one);
                }
            }
        }
        all
    }

    /// The best first.
    fn sources(&self) -> impl Iterator<Item = &dyn Source> {
        let keyring = self.keyring.as_ref().map(|keyring| keyring as &dyn Source);
        let folder = self.folder.as_ref().map(|folder| folder as &dyn Source);
        keyring.into_iter().chain(folder)
    }

    /// The turn to change what is kept; it ends when the value is dropped.
    async fn lock(&self) -> io::Result<Option<std::fs::File>> {
        let Some(folder) = &self.folder else {
            return Ok(None);
        };
        match folder.lock().await {
            Ok(turn) => Ok(Some(turn)),
            // Without a folder there are no turns, but there is a keyring.
            Err(error) if self.keyring.is_some() && error.kind() != io::ErrorKind::TimedOut => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// Where the document can be.
#[async_trait]
trait Source: std::fmt::Debug + Send + Sync {
    /// The longest document that it keeps, in bytes.
    fn limit(&self) -> usize;
    /// The document; `None` where there is none, or none that could be used.
    async fn read(&self) -> io::Result<Option<Zeroizing<String>>>;
    /// Replaces the document.
    async fn write(&self, text: &str) -> io::Result<()>;
    /// Removes the document. That there is none is no error.
    async fn clear(&self) -> io::Result<()>;
}

/// What `source` has; nothing where it makes no sense.
async fn read(source: &dyn Source) -> io::Result<SignIns> {
    let Some(text) = source.read().await? else {
        return Ok(SignIns::new());
    };
    Ok(serde_json::from_str(&text).unwrap_or_else(|error| {
        tracing::info!(?source, %error, "what is kept there makes no sense");
        SignIns::new()
    }))
}

/// Writes as many of `sign_ins` as there is room for, the newest.
async fn save(source: &dyn Source, mut sign_ins: SignIns) -> io::Result<()> {
    loop {
        if sign_ins.is_empty() {
            return source.clear().await;
        }
        let text = Zeroizing::new(serde_json::to_string(&sign_ins)?);
        if sign_ins.len() <= SIGN_INS && text.len() <= source.limit() {
            return source.write(&text).await;
        }
        if sign_ins.len() == 1 {
            return Err(io::Error::other("it is too long"));
        }
        let oldest = sign_ins.iter().min_by_key(|(_, one)| one.since);
        if let Some(place) = oldest.map(|(place, _)| place.clone()) {
            sign_ins.remove(&place);
        }
    }
}

/// Any document in the place of ours: what is read of it is written and read again the same.
#[cfg(fuzzing)]
pub(super) fn fuzzing(data: &[u8]) {
    let Ok(sign_ins) = serde_json::from_slice::<SignIns>(data) else {
        return;
    };
    let text = serde_json::to_string(&sign_ins).expect("what was read can be written");
    let again: SignIns = serde_json::from_str(&text).expect("and read");
    let all = |sign_ins: &SignIns| -> Vec<(String, Option<String>, Secret, u64)> {
        let all = sign_ins.iter().map(|(place, one)| {
            let SignIn {
                user,
                refresh_token,
                since,
            } = one.clone();
            (place.clone(), user, refresh_token, since)
        });
        all.collect()
    };
    assert!(all(&sign_ins) == all(&again));
}

#[cfg(test)]
mod tests;
