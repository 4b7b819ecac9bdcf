//! Signing in on another device: a code that is entered in any browser.
//!
//! Follows RFC 8628 as Entra has it: the server says how often to ask, and when to ask more rarely.

use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use tokio::time::{Instant, sleep};
use url::Url;
use url::form_urlencoded::Serializer;

use super::token_endpoint::{self, Granted, Sending, Ungranted};
use super::user::{self, Ask, Desk, Wish};
use super::{Auth, Gear, Made, Prompt, Teller};
use crate::error::{Code, Error};
use crate::secret::Secret;

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// What is added to the interval each time that the server asks for it (RFC 8628, 3.5).
const SLOWER: Duration = Duration::from_secs(5);
/// The longest pause while the server cannot be reached.
const LONGEST: Duration = Duration::from_secs(30);

/// The longest that a code is taken to be good for, whatever the server says,
const LONGEST_LIFE: Duration = Duration::from_hours(1);
/// and the longest pause between two questions.
const LONGEST_INTERVAL: Duration = Duration::from_mins(1);

const PENDING: &str = "authorization_pending";
const SLOW_DOWN: &str = "slow_down";

/// A code for another device.
#[derive(Debug)]
struct DeviceCode {
    desk: Desk,
    start: Url,
    teller: Teller,
}

/// What Entra begins such a sign-in with.
#[derive(Debug, Deserialize)]
struct Started {
    device_code: Secret,
    user_code: String,
    verification_uri: String,
    expires_in: u64,
    #[serde(default = "five")]
    interval: u64,
}

/// The interval where the server names none (RFC 8628, 3.2).
fn five() -> u64 {
    5
}

impl Started {
    /// How long the code is good.
    fn life(&self) -> Duration {
        Duration::from_secs(self.expires_in).min(LONGEST_LIFE)
    }

    /// How long to wait before the server is asked.
    fn interval(&self) -> Duration {
        let interval = Duration::from_secs(self.interval.max(1));
        interval.min(LONGEST_INTERVAL)
    }
}

pub(super) async fn make(gear: &Gear<'_>) -> Made {
    let desk = Desk::new(gear)?;
    let path = ["oauth2", "v2.0", "devicecode"];
    let device = DeviceCode {
        start: token_endpoint::endpoint(gear.cloud, &desk.tenant, &path)?,
        teller: gear.teller.clone(),
        desk: desk.clone(),
    };
    user::make(gear, Auth::DeviceCode, desk, Box::new(device), None).await
}

#[async_trait]
impl Ask for DeviceCode {
    async fn ask(&self, wish: &Wish<'_>) -> Result<Granted, Error> {
        let started = self.start(wish).await?;
        self.teller.tell(&Prompt::DeviceCode {
            url: &started.verification_uri,
            code: &started.user_code,
            minutes: started.life().as_secs() / 60,
        });
        self.poll(wish, &started).await
    }
}

impl DeviceCode {
    async fn start(&self, wish: &Wish<'_>) -> Result<Started, Error> {
        let endpoint = &self.desk.endpoint;
        let form = Serializer::new(String::new())
            .append_pair("client_id", &self.desk.client_id)
            .append_pair("scope", wish.scope)
            .extend_pairs(wish.claims.map(|claims| ("claims", claims)))
            .finish();
        let started = async {
            // A code that nobody saw does no harm.
            let answer = endpoint.post(&self.start, form, Sending::Patiently).await?;
            if !answer.status.is_success() {
                return Err(endpoint.ungranted(&answer));
            }
            endpoint.read(&answer, "a device code")
        };
        started.await.map_err(|error| self.desk.told(error, ""))
    }

    async fn poll(&self, wish: &Wish<'_>, started: &Started) -> Result<Granted, Error> {
        let mut grant = vec![
            ("grant_type", GRANT_TYPE),
            ("client_id", &self.desk.client_id),
            ("device_code", started.device_code.expose()),
        ];
        grant.extend(wish.claims.map(|claims| ("claims", claims)));
        let endpoint = &self.desk.endpoint;
        let end = Instant::now() + started.life();
        let mut interval = started.interval();
        loop {
            sleep(interval).await;
            let answer = endpoint
                .ask(&grant, wish.scope, wish.key, Sending::Once)
                .await;
            interval = match answer {
                Ok(granted) => return Ok(granted),
                Err(error) if Instant::now() < end => match patience(&error, interval) {
                    Some(interval) => interval,
                    None => return Err(self.told(error)),
                },
                Err(error) => return Err(self.told(error)),
            };
        }
    }

    fn told(&self, error: Ungranted) -> Error {
        let Ungranted::Refused(refused) = &error else {
            return self.desk.told(error, "");
        };
        let (code, what, hint) = match refused.error.as_str() {
            error if user::has_declined(error, &refused.error_description) => (
                Code::SignInRefused,
                "the sign-in was declined on the other device",
                "try again, and approve it there",
            ),
            "expired_token" | PENDING | SLOW_DOWN => (
                Code::NotSignedIn,
                "nobody entered the code while it was good",
                "try again: there will be a new code",
            ),
            _ => return self.desk.told(error, ""),
        };
        token_endpoint::refusal(code, what, &refused.error_description).hinted(hint)
    }
}

/// How long to wait before the server is asked again, where `error` says that it may be.
fn patience(error: &Ungranted, interval: Duration) -> Option<Duration> {
    match error {
        Ungranted::Refused(refused) => match refused.error.as_str() {
            PENDING => Some(interval),
            SLOW_DOWN => Some((interval + SLOWER).min(LONGEST_INTERVAL)),
            _ => None,
        },
        // The code is good still; the network is asked more rarely (RFC 8628, 3.5).
        Ungranted::Unreachable(error) => {
            tracing::warn!(%error, "cannot ask whether the code was entered; trying again");
            Some((interval * 2).min(LONGEST))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::token_endpoint::Refused;
    use super::*;

    fn refused(error: &str) -> Ungranted {
        Ungranted::Refused(Refused {
            error: error.to_owned(),
            error_description: String::new(),
            claims: None,
        })
    }

    #[test]
    fn the_server_is_asked_as_often_as_it_wants() {
        let (five, ten) = (Duration::from_secs(5), Duration::from_secs(10));
        assert_eq!(
            patience(&refused("authorization_pending"), five),
            Some(five)
        );
        assert_eq!(patience(&refused("slow_down"), five), Some(ten));
        let away = || Ungranted::Unreachable(Error::new(Code::SignInUnreachable, "away"));
        assert_eq!(patience(&away(), five), Some(ten));
        assert_eq!(patience(&away(), LONGEST), Some(LONGEST));
        for ended in ["authorization_declined", "expired_token", "invalid_grant"] {
            assert_eq!(patience(&refused(ended), five), None);
        }
    }

    #[test]
    fn no_number_of_the_servers_is_taken_at_its_word() {
        let started = |seconds: u64| Started {
            device_code: "code".into(),
            user_code: String::new(),
            verification_uri: String::new(),
            expires_in: seconds,
            interval: seconds,
        };
        assert_eq!(started(0).interval(), Duration::from_secs(1));
        assert_eq!(started(30).interval(), Duration::from_secs(30));
        assert_eq!(started(900).life(), Duration::from_mins(15));
        let endless = started(u64::MAX);
        assert_eq!(endless.life(), Duration::from_hours(1));
        assert_eq!(endless.interval(), Duration::from_mins(1));
        let slower = patience(&refused("slow_down"), endless.interval());
        assert_eq!(slower, Some(Duration::from_mins(1)));
    }
}
