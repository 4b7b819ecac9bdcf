//! What has been granted and not yet redeemed: codes, device codes, refresh tokens.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::error::Aadsts;
use super::refusals;
use crate::names::random_hex;

/// An authorization code lives this many seconds.
const CODE_SECONDS: u64 = 600;

/// A device code lives this many seconds.
pub(super) const DEVICE_SECONDS: u64 = 900;

/// A client that waits for a user on another device asks again after this long.
pub(super) const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The letters of user codes: none that is easily taken for another.
const USER_CODE_LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";

/// Everything that was granted to one user through one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) upn: String,
    pub(super) client_id: String,
    pub(super) scope: String,
    pub(super) nonce: Option<String>,
    /// The authentication contexts that the sign-in satisfied.
    pub(super) contexts: Vec<String>,
}

/// An authorization code's grant, and what its redeemer has to show.
#[derive(Debug, Clone)]
pub(super) struct Code {
    pub(super) grant: Grant,
    pub(super) redirect_uri: String,
    pub(super) challenge: Option<String>,
    pub(super) issued: u64,
    redeemed: bool,
}

/// A sign-in that waits for its user on another device.
#[derive(Debug)]
struct Device {
    user_code: String,
    client_id: String,
    scope: String,
    contexts: Vec<String>,
    issued: u64,
    polled: Option<Instant>,
    verdict: Option<Verdict>,
}

/// What the user decided.
#[derive(Debug, Clone)]
pub(super) enum Verdict {
    /// To sign in, as this user.
    Approved(String),
    /// Not to.
    Declined,
}

#[derive(Debug, Clone)]
struct Refresh {
    grant: Grant,
    issued: u64,
    revoked: Option<(u64, Revocation)>,
}

/// Why a user's refresh tokens are of no use any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revocation {
    /// The user changed the password or an administrator revoked the sessions.
    Revoked,
    /// A policy wants users to sign in more often.
    SignInFrequency,
}

/// The store of grants.
#[derive(Debug, Default)]
pub(super) struct Grants {
    codes: HashMap<String, Code>,
    devices: HashMap<String, Device>,
    refreshes: HashMap<String, Refresh>,
    busy: u32,
}

impl Grants {
    /// Makes an authorization code.
    pub(super) fn add_code(
        &mut self,
        grant: Grant,
        redirect_uri: &str,
        challenge: Option<&str>,
        now: u64,
    ) -> String {
        let code = format!("1.AXcode{}", random_hex::<32>());
        self.codes.insert(
            code.clone(),
            Code {
                grant,
                redirect_uri: redirect_uri.to_owned(),
                challenge: challenge.map(str::to_owned),
                issued: now,
                redeemed: false,
            },
        );
        code
    }

    /// Redeems an authorization code, which works once.
    pub(super) fn redeem_code(&mut self, code: &str, now: u64) -> Result<Code, Aadsts> {
        let found = self
            .codes
            .get_mut(code)
            .ok_or_else(refusals::malformed_grant)?;
        if found.redeemed {
            return Err(refusals::code_redeemed());
        }
        found.redeemed = true;
        if now > found.issued + CODE_SECONDS {
            return Err(refusals::code_expired());
        }
        Ok(found.clone())
    }

    /// Starts a sign-in on another device: the device code and the user code.
    pub(super) fn add_device(
        &mut self,
        client_id: &str,
        scope: &str,
        contexts: Vec<String>,
        now: u64,
    ) -> (String, String) {
        let device_code = format!("AXdevice{}", random_hex::<32>());
        let mut random = [0; 9];
        aws_lc_rs::rand::fill(&mut random).expect("the system has randomness");
        let user_code: String = random
            .iter()
            .map(|byte| USER_CODE_LETTERS[usize::from(*byte) % USER_CODE_LETTERS.len()])
            .map(char::from)
            .collect();
        self.devices.insert(
            device_code.clone(),
            Device {
                user_code: user_code.clone(),
                client_id: client_id.to_owned(),
                scope: scope.to_owned(),
                contexts,
                issued: now,
                polled: None,
                verdict: None,
            },
        );
        (device_code, user_code)
    }

    /// Tells the next `times` clients that ask for a device's token to slow down.
    pub(super) fn slow_down(&mut self, times: u32) {
        self.busy = times;
    }

    /// Enters what the user decided; whether the code is one that waits.
    pub(super) fn decide_device(&mut self, user_code: &str, verdict: Verdict) -> bool {
        let waiting = self.devices.values_mut().find(|device| {
            device.verdict.is_none() && device.user_code.eq_ignore_ascii_case(user_code.trim())
        });
        let found = waiting.is_some();
        if let Some(device) = waiting {
            device.verdict = Some(verdict);
        }
        found
    }

    /// Redeems a device code if its user has approved.
    ///
    /// A client that comes back in less than half the interval is told to slow down: the other
    /// half is left to the network.
    pub(super) fn redeem_device(
        &mut self,
        device_code: &str,
        client_id: &str,
        now: u64,
    ) -> Result<Grant, Aadsts> {
        let device = self
            .devices
            .get_mut(device_code)
            .filter(|device| device.client_id.eq_ignore_ascii_case(client_id))
            .ok_or_else(refusals::unknown_device_code)?;
        if now > device.issued + DEVICE_SECONDS {
            return Err(refusals::device_expired());
        }
        let before = device.polled.replace(Instant::now());
        if self.busy > 0 {
            self.busy -= 1;
            return Err(refusals::slow_down());
        }
        match &device.verdict {
            None if before.is_some_and(|before| before.elapsed() < POLL_INTERVAL / 2) => {
                Err(refusals::slow_down())
            }
            None => Err(refusals::pending()),
            Some(Verdict::Declined) => Err(refusals::device_declined()),
            Some(Verdict::Approved(upn)) => {
                let grant = Grant {
                    upn: upn.clone(),
                    client_id: device.client_id.clone(),
                    scope: device.scope.clone(),
                    nonce: None,
                    contexts: device.contexts.clone(),
                };
                self.devices.remove(device_code);
                Ok(grant)
            }
        }
    }

    /// Makes a refresh token. Earlier ones stay good.
    pub(super) fn add_refresh(&mut self, grant: Grant, now: u64) -> String {
        let token = format!("1.AXrefresh{}", random_hex::<48>());
        let refresh = Refresh {
            grant,
            issued: now,
            revoked: None,
        };
        self.refreshes.insert(token.clone(), refresh);
        token
    }

    /// What a refresh token was granted for.
    pub(super) fn refresh(&self, token: &str) -> Result<&Grant, Aadsts> {
        let refresh = self
            .refreshes
            .get(token)
            .ok_or_else(refusals::malformed_grant)?;
        match refresh.revoked {
            None => Ok(&refresh.grant),
            Some((at, Revocation::Revoked)) => Err(refusals::grant_revoked(refresh.issued, at)),
            Some((_, Revocation::SignInFrequency)) => {
                Err(refusals::refresh_token_expired(refresh.issued))
            }
        }
    }

    /// Makes the refresh tokens that `upn` holds useless.
    pub(super) fn revoke(&mut self, upn: &str, why: Revocation, now: u64) {
        for refresh in self.refreshes.values_mut() {
            if refresh.grant.upn.eq_ignore_ascii_case(upn) {
                refresh.revoked = Some((now, why));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_790_000_000;

    fn grant() -> Grant {
        Grant {
            upn: "ana@contoso.com".to_owned(),
            client_id: "client".to_owned(),
            scope: "openid".to_owned(),
            nonce: None,
            contexts: Vec::new(),
        }
    }

    fn number<T>(result: Result<T, Aadsts>) -> Option<u32> {
        result.err().map(|refusal| refusal.number)
    }

    #[test]
    fn a_code_works_once_and_for_ten_minutes() {
        let mut grants = Grants::default();
        let code = grants.add_code(grant(), "http://localhost", None, NOW);
        assert_eq!(number(grants.redeem_code("1.other", NOW)), Some(9_002_313));
        assert_eq!(number(grants.redeem_code(&code, NOW + 600)), None);
        assert_eq!(number(grants.redeem_code(&code, NOW)), Some(54_005));
        let late = grants.add_code(grant(), "http://localhost", None, NOW);
        assert_eq!(number(grants.redeem_code(&late, NOW + 601)), Some(70_008));
    }

    #[test]
    fn a_device_code_waits_for_its_user() {
        let mut grants = Grants::default();
        let (device, user) = grants.add_device("client", "openid", Vec::new(), NOW);
        let error = |result: Result<Grant, Aadsts>| result.err().map(|refusal| refusal.error);
        assert_eq!(
            error(grants.redeem_device(&device, "client", NOW)),
            Some("authorization_pending")
        );
        assert_eq!(
            error(grants.redeem_device(&device, "client", NOW)),
            Some("slow_down")
        );
        assert_eq!(
            error(grants.redeem_device(&device, "other", NOW)),
            Some("bad_verification_code")
        );
        assert_eq!(
            error(grants.redeem_device(&device, "client", NOW + 901)),
            Some("expired_token")
        );
        let approval = Verdict::Approved("ana@contoso.com".to_owned());
        assert!(grants.decide_device(&user.to_ascii_lowercase(), approval));
        assert!(!grants.decide_device(&user, Verdict::Declined));
        let granted = grants.redeem_device(&device, "client", NOW);
        assert_eq!(granted.map_err(|refusal| refusal.number), Ok(grant()));
    }

    #[test]
    fn a_revocation_ends_what_was_issued_before_it() {
        let mut grants = Grants::default();
        let token = grants.add_refresh(grant(), NOW);
        assert_eq!(number(grants.refresh(&token)), None);
        grants.revoke("Ana@contoso.com", Revocation::Revoked, NOW);
        assert_eq!(number(grants.refresh(&token)), Some(50_173));
        grants.revoke("ana@contoso.com", Revocation::SignInFrequency, NOW);
        assert_eq!(number(grants.refresh(&token)), Some(70_043));
        let fresh = grants.add_refresh(grant(), NOW);
        assert_eq!(number(grants.refresh(&fresh)), None);
    }
}
