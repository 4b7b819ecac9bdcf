//! A person who signs in: asked once, and from then on known by a refresh token.
//!
//! How the person is asked is an [`Ask`]; the rest is the same for all. Whoever needs a token while
//! somebody is being asked waits for that answer instead of asking again.

mod cure;
pub(super) mod id_token;

use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Mutex, OnceCell};
use tokio::time::{Instant, timeout};

use super::cache::BearerCache;
use super::kept::{Kept, Person, Place};
use super::presence;
use super::token_endpoint::{self, Granted, Refused, Sending, TokenEndpoint, Ungranted};
use super::{AccessToken, Auth, Gear, Made, SignIn, Unavailable};
use crate::azure::pop::PopKey;
use crate::error::{Code, Error};
use crate::secret::Secret;

use cure::Cure;
pub(super) use cure::has_declined;
pub(super) use id_token::claims;

/// The client that users of Azure's developer tools sign in with, in every tenant.
const CLIENT_ID: &str = "04b07795-8ddb-461a-bbee-02f9e1bf7b46";
/// Users of every tenant, but no personal accounts.
const ANY_TENANT: &str = "organizations";
/// What is asked for beside a resource: an ID token, and a refresh token.
const IDENTITY_SCOPES: &str = "offline_access openid profile";
/// Who did not answer is not asked again by itself for this long.
const UNANSWERED: Duration = Duration::from_mins(15);

/// Who needs a token waits this long for a new one while the old one still lives: longer than Entra
/// takes, and shorter than a person.
const PATIENCE: Duration = Duration::from_secs(3);

/// A way to ask a person to sign in.
#[async_trait]
pub(super) trait Ask: std::fmt::Debug + Send + Sync {
    /// Asks, and gives what Entra granted.
    ///
    /// # Errors
    /// Nobody answered, somebody declined, or Entra refused or could not be reached.
    async fn ask(&self, wish: &Wish<'_>) -> Result<Granted, Error>;
}

/// What is asked for.
#[derive(Debug)]
pub(super) struct Wish<'a> {
    pub(super) scope: &'a str,
    pub(super) key: Option<&'a PopKey>,
    /// What the sign-in has to show, in Entra's own words.
    pub(super) claims: Option<&'a str>,
    /// Who signed in before.
    pub(super) name: Option<&'a str>,
}

/// What a method of a person asks with.
#[derive(Debug, Clone)]
pub(super) struct Desk {
    pub(super) endpoint: TokenEndpoint,
    pub(super) client_id: String,
    pub(super) tenant: String,
}

impl Desk {
    pub(super) fn new(gear: &Gear<'_>) -> Result<Self, Error> {
        let settings = gear.settings;
        let tenant = settings.tenant.as_deref().unwrap_or(ANY_TENANT);
        Ok(Self {
            endpoint: gear.endpoint(tenant)?,
            client_id: settings
                .client_id
                .as_deref()
                .unwrap_or(CLIENT_ID)
                .to_owned(),
            tenant: tenant.to_owned(),
        })
    }

    /// Who `granted` tells of.
    pub(super) fn name(&self, granted: &Granted) -> Option<String> {
        id_token::name(granted.identity.as_ref()?, &self.client_id)
    }

    /// Entra's refusal for people, in its own `words`.
    pub(super) fn refusal(&self, purpose: &str, words: &str) -> Error {
        let what = format!("{} refused the sign-in{purpose}", self.endpoint.host());
        let error = token_endpoint::refusal(Code::SignInRefused, &what, words);
        if error.hint() == Code::SignInRefused.hint() {
            return error.hinted(
                "try again with another account, or ask an administrator of the tenant; `--debug` shows the ids that they find the attempt by",
            );
        }
        error
    }

    /// The error for people; `purpose` follows "refused the sign-in".
    pub(super) fn told(&self, error: Ungranted, purpose: &str) -> Error {
        match error {
            Ungranted::Refused(refused) => {
                let words = match refused.error_description.as_str() {
                    "" => &refused.error,
                    description => description,
                };
                self.refusal(purpose, words)
            }
            Ungranted::Unreachable(error) => error,
        }
    }
}

/// A person.
#[derive(Debug)]
pub(super) struct User {
    me: Weak<Self>,
    method: Auth,
    desk: Desk,
    way: Box<dyn Ask>,
    /// Why nobody is to be asked, if so.
    nobody: Option<&'static str>,
    kept: Kept,
    place: Place,
    known: OnceCell<()>,
    person: RwLock<Option<Person>>,
    /// Held while the person is replaced, here and where it is kept.
    replacing: Mutex<()>,
    /// Held while somebody is asked; how that failed last, and when.
    asking: Mutex<Option<(Instant, Error)>>,
    bearers: BearerCache,
}

/// What a refresh token led to.
enum Silently {
    Granted(AccessToken),
    /// The person has to be asked.
    Ask(Refused),
}

/// The method `auth`, whose way to ask is `way`. With `auto` it is taken where `unfit` tells no
/// reason against it, or where somebody is known already.
pub(super) async fn make(
    gear: &Gear<'_>,
    auth: Auth,
    desk: Desk,
    way: Box<dyn Ask>,
    unfit: Option<&'static str>,
) -> Made {
    let environment = &gear.settings.environment;
    let is_given = gear.settings.tenant.is_some() && !gear.settings.tenant_is_found;
    let place = Place::new(
        &gear.cloud.authority,
        &desk.tenant,
        &desk.client_id,
        is_given,
    );
    let mut kept = gear.settings.kept.clone();
    let chosen = gear.settings.auth == auth;
    let nobody = presence::nobody(environment).filter(|_| !chosen);
    let mut person = None;
    if let Some(why) = nobody {
        person = kept.known(&place).await;
        if person.is_none() {
            return Err(Unavailable::NotConfigured(why.to_owned()));
        }
        kept = kept.quietly();
    } else if let Some(why) = unfit.filter(|_| !chosen) {
        return Err(Unavailable::NotConfigured(why.to_owned()));
    }
    Ok(Arc::new_cyclic(|me| User {
        me: me.clone(),
        method: auth,
        desk,
        way,
        nobody,
        kept,
        place,
        known: OnceCell::new_with(person.is_some().then_some(())),
        person: RwLock::new(person),
        replacing: Mutex::default(),
        asking: Mutex::default(),
        bearers: BearerCache::new(gear.clock.clone()),
    }))
}

impl User {
    /// A token for `scope`: by the refresh token where that is enough, else by asking. `claims` are
    /// what a service wants the sign-in to show.
    async fn token(
        &self,
        scope: &str,
        key: Option<&PopKey>,
        claims: Option<&str>,
    ) -> Result<AccessToken, Error> {
        let scope = format!("{scope} {IDENTITY_SCOPES}");
        let before = self.person().await;
        let mut refused = None;
        if let (Some(person), None) = (&before, claims) {
            match self.silently(person, &scope, key).await? {
                Silently::Granted(token) => return Ok(token),
                Silently::Ask(why) => refused = Some(why),
            }
        }
        if let Some(nobody) = self.nobody {
            return Err(self.unasked(refused, nobody));
        }
        let mut unanswered = self.asking.lock().await;
        let now = self.current();
        if let (Some(person), None) = (&now, claims)
            && before.as_ref() != Some(person)
        {
            // Somebody was asked meanwhile.
            match self.silently(person, &scope, key).await? {
                Silently::Granted(token) => return Ok(token),
                Silently::Ask(why) => refused = Some(why),
            }
        }
        if let Some((when, error)) = &*unanswered
            && when.elapsed() < UNANSWERED
        {
            return Err(error.clone());
        }
        // An account that is not known here is not asked for again.
        let is_another = refused
            .as_ref()
            .is_some_and(|why| Cure::of(why) == Cure::Another);
        let now = now.filter(|_| !is_another);
        let wanted = refused.as_ref().and_then(|why| why.claims.as_deref());
        let wish = Wish {
            scope: &scope,
            key,
            claims: claims.or(wanted),
            name: now.as_ref().and_then(|person| person.name.as_deref()),
        };
        let answer = self.way.ask(&wish).await;
        *unanswered = answer
            .as_ref()
            .err()
            .filter(|error| is_an_answer(error))
            .map(|error| (Instant::now(), error.clone()));
        let granted = answer?;
        if let Some(person) = renewed(&self.desk, &granted, now) {
            let _turn = self.replacing.lock().await;
            self.set(person.clone());
            self.kept.keep(&self.place, &person).await;
        }
        Ok(granted.access)
    }

    /// The bearer token for `scope`, fetched if need be.
    async fn fetched(&self, scope: &str) -> Result<AccessToken, Error> {
        self.bearers
            .get(scope, || self.token(scope, None, None))
            .await
    }

    /// Asks Entra with the refresh token.
    async fn silently(
        &self,
        person: &Person,
        scope: &str,
        key: Option<&PopKey>,
    ) -> Result<Silently, Error> {
        let grant = [
            ("grant_type", "refresh_token"),
            ("client_id", &self.desk.client_id),
            ("refresh_token", person.refresh.expose()),
        ];
        let endpoint = &self.desk.endpoint;
        // A refresh token is not used up by being sent.
        match endpoint.ask(&grant, scope, key, Sending::Patiently).await {
            Ok(granted) => {
                self.renew(person, &granted).await;
                Ok(Silently::Granted(granted.access))
            }
            Err(Ungranted::Refused(refused)) => match Cure::of(&refused) {
                Cure::None => Err(self.told(refused, key.is_some())),
                cure => {
                    tracing::info!(
                        error = refused.error,
                        "a new sign-in is needed: {}",
                        refused.error_description
                    );
                    if cure == Cure::Anew {
                        self.kept.forget(&person.refresh).await;
                    }
                    Ok(Silently::Ask(refused))
                }
            },
            Err(error) => Err(self.desk.told(error, purpose(key.is_some()))),
        }
    }

    fn told(&self, refused: Refused, is_bound: bool) -> Error {
        let refused = Ungranted::Refused(refused);
        self.desk.told(refused, purpose(is_bound))
    }

    /// Why there is no token where nobody can be asked for one.
    fn unasked(&self, refused: Option<Refused>, nobody: &str) -> Error {
        let error = match refused {
            Some(refused) => self.told(refused, false),
            None => super::challenge_refused(&self.description()),
        };
        let method = self.method;
        error.hinted(format!(
            "{nobody}: sign in on a terminal, where `--auth {method}` asks anew and keeps it for later runs"
        ))
    }

    /// Who is known; on the first call, who was kept.
    async fn person(&self) -> Option<Person> {
        let find = async {
            if let Some(person) = self.kept.person(&self.place).await {
                self.set(person);
            }
        };
        self.known.get_or_init(|| find).await;
        self.current()
    }

    fn current(&self) -> Option<Person> {
        self.person
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set(&self, person: Person) {
        *self.person.write().unwrap_or_else(PoisonError::into_inner) = Some(person);
    }

    /// Takes the new refresh token in the place of `used`, here and for the next run. Whoever was
    /// asked meanwhile may have shown more, and stays.
    async fn renew(&self, used: &Person, granted: &Granted) {
        let Some(person) = renewed(&self.desk, granted, Some(used.clone())) else {
            return;
        };
        let _turn = self.replacing.lock().await;
        if self.current().as_ref() == Some(used) {
            self.set(person.clone());
            self.kept.renew(&self.place, &used.refresh, &person).await;
        }
    }
}

/// Whether somebody failed to answer, or answered and was refused: a fault on the way is neither.
fn is_an_answer(error: &Error) -> bool {
    matches!(error.code(), Code::NotSignedIn | Code::SignInRefused)
}

/// The person that `granted` tells of, who was `before`.
fn renewed(desk: &Desk, granted: &Granted, before: Option<Person>) -> Option<Person> {
    let told = desk.name(granted);
    Some(Person {
        name: told.or(before.and_then(|person| person.name)),
        refresh: granted.refresh.clone()?,
    })
}

#[async_trait]
impl SignIn for User {
    fn description(&self) -> String {
        let name = self.current().and_then(|person| person.name);
        format!("{} ({})", name.as_deref().unwrap_or("a user"), self.method)
    }

    async fn bearer(&self, scope: &str) -> Result<AccessToken, Error> {
        if self.bearers.is_due_but_lives(scope)
            && let Some(user) = self.me.upgrade()
        {
            // It goes on by itself: somebody may have to be asked, who has minutes.
            let renewed = scope.to_owned();
            let renewing = tokio::spawn(async move { user.fetched(&renewed).await });
            if let Ok(Ok(renewed)) = timeout(PATIENCE, renewing).await {
                return renewed;
            }
        }
        self.fetched(scope).await
    }

    async fn replaced(&self, scope: &str, refused: &Secret) -> Result<AccessToken, Error> {
        self.bearers
            .replace(scope, refused, || self.token(scope, None, None))
            .await
    }

    async fn bound(&self, scope: &str, key: &PopKey) -> Result<AccessToken, Error> {
        self.token(scope, Some(key), None).await
    }

    async fn challenged(
        &self,
        scope: &str,
        refused: &Secret,
        claims: &str,
    ) -> Result<AccessToken, Error> {
        self.bearers
            .replace(scope, refused, || self.token(scope, None, Some(claims)))
            .await
    }
}

fn purpose(is_bound: bool) -> &'static str {
    if is_bound { " for the cluster" } else { "" }
}
