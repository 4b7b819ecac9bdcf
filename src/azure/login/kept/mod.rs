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
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize, Serializer};
use tokio::task::spawn_blocking;
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
}

/// What a sign-in is kept under: who asks, where, for users of which tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place(String);

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
    pub(super) fn new(authority: &Url, tenant: &str, client_id: &str) -> Self {
        let origin = authority.origin().ascii_serialization();
        let path = authority.path().trim_end_matches('/');
        Self(format!("{origin}{path}/{tenant} {client_id}").to_ascii_lowercase())
    }
}

impl Kept {
    /// Keeps sign-ins in the desktop's keyring, if `environment` tells of one, else in `folder`, if
    /// there is one. It need not exist.
    pub fn new(environment: &Environment, folder: Option<PathBuf>) -> Self {
        Self {
            folder: folder.map(Folder),
            keyring: Keyring::find(environment),
        }
    }

    /// Who has signed in under `place`. May block the thread until a keyring is unlocked.
    pub(super) fn person(&self, place: &Place) -> Option<Person> {
        let sign_in = self
            .sources()
            .find_map(|source| readable(source).remove(&place.0))?;
        Some(Person {
            name: sign_in.user,
            refresh: sign_in.refresh_token,
        })
    }

    /// As [`Kept::person`], off the async workers.
    pub(super) async fn find(&self, place: &Place) -> Option<Person> {
        let (kept, place) = (self.clone(), place.clone());
        spawn_blocking(move || kept.person(&place)).await.ok()?
    }

    /// Keeps `person` under `place`, in the place of whoever was there.
    ///
    /// Not cancel safe in that it may go on for a moment.
    pub(super) async fn keep(&self, place: &Place, person: &Person) {
        self.write_down(place, None, person).await;
    }

    /// Keeps what renewed the sign-in with `used`, if that is the one that is still kept: one that
    /// somebody made meanwhile may show more, and one that was removed stays so.
    ///
    /// Not cancel safe in that it may go on for a moment.
    pub(super) async fn renew(&self, place: &Place, used: &Secret, person: &Person) {
        self.write_down(place, Some(used.clone()), person).await;
    }

    async fn write_down(&self, place: &Place, used: Option<Secret>, person: &Person) {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
        let sign_in = SignIn {
            user: person.name.clone(),
            refresh_token: person.refresh.clone(),
            since: since_1970.unwrap_or_default().as_secs(),
        };
        let (kept, place) = (self.clone(), place.clone());
        let kept = spawn_blocking(move || kept.put(&place, used.as_ref(), &sign_in)).await;
        match kept {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the sign-in cannot be kept for the next run"),
            Err(error) => tracing::debug!(%error, "the sign-in is not kept"),
        }
    }

    /// Forgets the sign-in under `place`, if it is still the one with `refused`.
    pub(super) async fn forget(&self, place: &Place, refused: &Secret) {
        let (kept, place, refused) = (self.clone(), place.clone(), refused.clone());
        let forgotten = spawn_blocking(move || kept.remove(&place, &refused)).await;
        if let Ok(Err(error)) = forgotten {
            tracing::debug!(%error, "a sign-in that is of no use is still kept");
        }
    }

    /// Removes all that is kept, and gives who was signed in, and where.
    ///
    /// # Errors
    /// It is still there.
    pub fn remove_all(&self) -> Result<Vec<(String, String)>, Error> {
        let still = |error: &io::Error| {
            Error::new(Code::Unexpected, "cannot remove the sign-ins that are kept")
                .caused_by(error)
                .hinted("docs/sign-in.md says where they are; remove them there")
        };
        let is_there = self.folder.as_ref().is_some_and(Folder::is_there);
        let _turn = if is_there { self.lock() } else { Ok(None) };
        let mut gone = SignIns::new();
        for source in self.sources() {
            gone.extend(readable(source));
            source.clear().map_err(|error| still(&error))?;
        }
        let told = |(place, sign_in): (String, SignIn)| {
            let (address, _client) = place.split_once(' ').unwrap_or((&place, ""));
            let who = sign_in.user.unwrap_or_else(|| "somebody".to_owned());
            (who, address.to_owned())
        };
        Ok(gone.into_iter().map(told).collect())
    }

    fn put(&self, place: &Place, used: Option<&Secret>, sign_in: &SignIn) -> io::Result<()> {
        let _turn = self.lock()?;
        if let Some(used) = used
            && self.person(place).is_none_or(|kept| kept.refresh != *used)
        {
            return Ok(());
        }
        let mut done: Option<io::Result<()>> = None;
        for source in self.sources() {
            let mut sign_ins = readable(source);
            if let Some(Ok(())) = done {
                // The better place has it.
                if sign_ins.remove(&place.0).is_some() {
                    save(source, &sign_ins)?;
                }
                continue;
            }
            sign_ins.insert(place.0.clone(), sign_in.clone());
            while sign_ins.len() > SIGN_INS {
                let oldest = sign_ins.iter().min_by_key(|(_, one)| one.since);
                let Some(oldest) = oldest.map(|(place, _)| place.clone()) else {
                    break;
                };
                sign_ins.remove(&oldest);
            }
            done = Some(save(source, &sign_ins));
        }
        done.unwrap_or(Ok(()))
    }

    fn remove(&self, place: &Place, refused: &Secret) -> io::Result<()> {
        let _turn = self.lock()?;
        for source in self.sources() {
            let mut sign_ins = readable(source);
            let is_it = |one: &SignIn| one.refresh_token == *refused;
            if sign_ins.get(&place.0).is_some_and(is_it) {
                sign_ins.remove(&place.0);
                save(source, &sign_ins)?;
            }
        }
        Ok(())
    }

    /// The best first.
    fn sources(&self) -> impl Iterator<Item = &dyn Source> {
        let keyring = self.keyring.as_ref().map(|keyring| keyring as &dyn Source);
        let folder = self.folder.as_ref().map(|folder| folder as &dyn Source);
        keyring.into_iter().chain(folder)
    }

    /// The turn to change what is kept; it ends when the value is dropped.
    fn lock(&self) -> io::Result<Option<std::fs::File>> {
        match self.folder.as_ref().map(Folder::lock).transpose() {
            // Without a folder there are no turns, but there is a keyring.
            Err(_) if self.keyring.is_some() => Ok(None),
            turn => turn,
        }
    }
}

/// Where the document can be.
trait Source: std::fmt::Debug {
    /// The document; `None` where there is none.
    fn read(&self) -> io::Result<Option<Zeroizing<String>>>;
    /// Replaces the document.
    fn write(&self, text: &str) -> io::Result<()>;
    /// Removes the document. That there is none is no error.
    fn clear(&self) -> io::Result<()>;
}

/// What `source` has; nothing where it makes no sense.
fn readable(source: &dyn Source) -> SignIns {
    let read = source.read().and_then(|text| match text {
        Some(text) => Ok(serde_json::from_str(&text)?),
        None => Ok(SignIns::new()),
    });
    read.unwrap_or_else(|error| {
        tracing::info!(?source, %error, "what is kept there cannot be read");
        SignIns::new()
    })
}

fn save(source: &dyn Source, sign_ins: &SignIns) -> io::Result<()> {
    if sign_ins.is_empty() {
        return source.clear();
    }
    source.write(&Zeroizing::new(serde_json::to_string(sign_ins)?))
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
