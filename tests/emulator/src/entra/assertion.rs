//! Proving who a confidential client is: by secret, by certificate, by another issuer's token.

use serde_json::Value;

use super::certificate::verifies;
use super::directory::App;
use super::error::Aadsts;
use super::jws::Jws;
use super::refusals;
use crate::request::Fields;

/// The only kind of assertion that there is.
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Clocks may differ by this many seconds.
const SKEW: u64 = 300;

/// How a client proved who it is, in the words of a token's `appidacr`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    /// Not at all: a public client.
    None,
    /// With a secret.
    Secret,
    /// With a certificate or with another issuer's token.
    Assertion,
}

/// Checks the client's own credentials in `form`.
///
/// `audiences` are the addresses that a certificate's assertion may be meant for.
pub(super) fn authenticate(
    app: &App,
    form: &Fields,
    audiences: &[String],
    now: u64,
) -> Result<Proof, Aadsts> {
    match (form.get("client_secret"), form.get("client_assertion")) {
        (None, None) if app.public => Ok(Proof::None),
        _ if app.public => Err(refusals::public_client()),
        (None, None) => Err(refusals::no_client_credential()),
        (Some(secret), _) => check_secret(app, secret).map(|()| Proof::Secret),
        (None, Some(assertion)) => {
            match form.get("client_assertion_type") {
                Some(JWT_BEARER) => {}
                Some(_) => return Err(refusals::malformed()),
                None => return Err(refusals::missing("client_assertion_type")),
            }
            let jws = Jws::parse(assertion).ok_or_else(refusals::not_an_assertion)?;
            // An app that vouches for itself names itself as the issuer; other issuers are URLs.
            if jws
                .claim("iss")
                .is_some_and(|issuer| issuer.contains("://"))
            {
                check_federated(app, &jws, now)?;
            } else {
                check_certificate(app, &jws, audiences, now)?;
            }
            Ok(Proof::Assertion)
        }
    }
}

fn check_secret(app: &App, presented: &str) -> Result<(), Aadsts> {
    match &app.secret {
        Some(secret) if secret.value != presented => Err(refusals::wrong_secret(&app.client_id)),
        Some(secret) if secret.expired => Err(refusals::expired_secret(&app.client_id)),
        Some(_) => Ok(()),
        None => Err(refusals::wrong_secret(&app.client_id)),
    }
}

fn check_certificate(
    app: &App,
    jws: &Jws<'_>,
    audiences: &[String],
    now: u64,
) -> Result<(), Aadsts> {
    let thumbprint = ["x5t#S256", "x5t"]
        .iter()
        .find_map(|name| jws.header.get(name)?.as_str())
        .ok_or_else(refusals::not_an_assertion)?;
    let certificate = app
        .certificates
        .iter()
        .find(|certificate| certificate.is_named(&jws.header))
        .ok_or_else(|| refusals::unregistered_certificate(&app.client_id, thumbprint))?;
    if !certificate.verifies(algorithm(jws), jws.signing_input, &jws.signature) {
        return Err(refusals::bad_signature(thumbprint));
    }
    check_times(jws, now)?;
    let itself = Some(app.client_id.as_str());
    if jws.claim("iss") != itself || jws.claim("sub") != itself {
        return Err(refusals::wrong_assertion_issuer());
    }
    let audience = jws.claim("aud").unwrap_or_default();
    if audiences.iter().any(|known| known == audience) {
        Ok(())
    } else {
        let expected = audiences.first().map_or("", String::as_str);
        Err(refusals::wrong_assertion_audience(audience, expected))
    }
}

fn check_federated(app: &App, jws: &Jws<'_>, now: u64) -> Result<(), Aadsts> {
    let (issuer, subject) = (
        jws.claim("iss").unwrap_or_default(),
        jws.claim("sub").unwrap_or_default(),
    );
    let mut records: Vec<_> = app.federated.iter().collect();
    records.retain(|record| record.issuer == issuer);
    if records.is_empty() {
        return Err(refusals::no_federated_identity("issuer", issuer));
    }
    records.retain(|record| record.subject == subject);
    if records.is_empty() {
        return Err(refusals::no_federated_identity("subject", subject));
    }
    records.retain(|record| names(&jws.claims["aud"], &record.audience));
    let Some(record) = records.first() else {
        let audience = jws.claims["aud"].as_str().unwrap_or_default();
        return Err(refusals::no_federated_identity("audience", audience));
    };
    if !verifies(
        &record.key,
        algorithm(jws),
        jws.signing_input,
        &jws.signature,
    ) {
        let kid = jws.header.get("kid").and_then(Value::as_str);
        return Err(refusals::bad_signature(kid.unwrap_or_default()));
    }
    check_times(jws, now)
}

fn check_times(jws: &Jws<'_>, now: u64) -> Result<(), Aadsts> {
    let until = jws
        .seconds("exp")
        .ok_or_else(refusals::assertion_without_expiry)?;
    let from = jws.seconds("nbf").or(jws.seconds("iat")).unwrap_or(0);
    if from > now + SKEW || until.saturating_add(SKEW) < now {
        return Err(refusals::assertion_not_in_time(now, from, until));
    }
    Ok(())
}

fn algorithm<'a>(jws: &'a Jws<'_>) -> &'a str {
    jws.header
        .get("alg")
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// Whether `claim`, one audience or several, has `audience`.
fn names(claim: &Value, audience: &str) -> bool {
    claim == audience
        || claim
            .as_array()
            .is_some_and(|several| several.iter().any(|one| one == audience))
}
