//! One request, from the client to the apiserver and back.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode, Version};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use super::Shared;
use super::access_token::Identity;
use super::authenticate::Caller;
use super::cut::Cut;
use super::pool::Pool;
use super::status;
use super::upstream::Protocol;
use crate::http::Body;

/// How much an upgraded connection copies at once.
const BUFFER: usize = 32 << 10;

/// Headers that concern one connection only. `Trailer` is left: it announces what follows the body.
const HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Answers `request`: with what the apiserver says, or else with a `Status` of the proxy's own.
pub(super) async fn answer(
    shared: Arc<Shared>,
    pool: Arc<Pool>,
    mut request: Request<Incoming>,
) -> Response<Body> {
    shared.counters.requests.fetch_add(1, Ordering::Relaxed);
    match shared.authenticator.authenticate(request.headers()) {
        Ok(Caller::Entra(identity)) => {
            let authorization = shared.upstream.authorization.as_deref();
            impersonate(request.headers_mut(), &identity, authorization);
        }
        Ok(Caller::Other) => {
            shared
                .counters
                .passed_through
                .fetch_add(1, Ordering::Relaxed);
        }
        Err(message) => {
            shared.counters.refused.fetch_add(1, Ordering::Relaxed);
            return status::unauthorized(&message);
        }
    }
    let answered = if let Some(protocol) = upgrade_of(&request) {
        upgrade(&shared, request, protocol).await
    } else {
        if strip(request.headers_mut()) {
            let trailers = HeaderValue::from_static("trailers");
            request.headers_mut().insert(header::TE, trailers);
        }
        match &shared.upstream.handler {
            Some(apiserver) => Ok(apiserver.answer(request).await),
            None => pool.send(request).await,
        }
    };
    match answered {
        Ok(mut response) => {
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                return response;
            }
            strip(response.headers_mut());
            match shared.faults.now().cut_body_after_bytes {
                Some(bytes) => response.map(|body| Cut::new(body, bytes).boxed_unsync()),
                None => response,
            }
        }
        Err(error) => status::bad_gateway(&format!("the apiserver did not answer: {error}")),
    }
}

/// Makes a request that of `identity`, in the name of a user who may impersonate.
fn impersonate(headers: &mut HeaderMap, identity: &Identity, authorization: Option<&str>) {
    headers.remove(header::AUTHORIZATION);
    if let Some(Ok(value)) = authorization.map(HeaderValue::from_str) {
        headers.insert(header::AUTHORIZATION, value);
    }
    // Whoever impersonates by hand is taken at their word.
    if headers
        .keys()
        .any(|name| name.as_str().starts_with("impersonate-"))
    {
        return;
    }
    let mut add = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.append(HeaderName::from_static(name), value);
        }
    };
    add("impersonate-user", &identity.user);
    for group in &identity.groups {
        add("impersonate-group", group);
    }
    add("impersonate-group", "system:authenticated");
    if let Some(object_id) = &identity.object_id {
        add("impersonate-extra-oid", object_id);
    }
}

/// Removes what concerns one connection only; says whether the other side takes trailers.
fn strip(headers: &mut HeaderMap) -> bool {
    let takes_trailers = headers
        .get(header::TE)
        .and_then(|te| te.to_str().ok())
        .is_some_and(|te| te.split(',').any(|te| te.trim() == "trailers"));
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
    takes_trailers
}

/// The protocol that `request` wants to change to.
fn upgrade_of<B>(request: &Request<B>) -> Option<HeaderValue> {
    let wants = request.version() == Version::HTTP_11
        && request
            .headers()
            .get_all(header::CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|name| name.trim().eq_ignore_ascii_case("upgrade"));
    wants
        .then(|| request.headers().get(header::UPGRADE).cloned())
        .flatten()
}

/// Takes an upgrade to the apiserver over a connection of its own and, if it is granted, copies
/// bytes both ways until both have ended.
async fn upgrade(
    shared: &Arc<Shared>,
    mut request: Request<Incoming>,
    protocol: HeaderValue,
) -> io::Result<Response<Body>> {
    let client = hyper::upgrade::on(&mut request);
    let headers = request.headers_mut();
    strip(headers);
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, protocol);
    shared.upstream.address(&mut request, Protocol::Http1);
    let (stream, _) = shared.upstream.connect(&["http/1.1"]).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    let stop = shared.stop.clone();
    shared.tasks.spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            // Its failure is the request's.
            _ = connection.with_upgrades() => {}
        }
    });
    let mut response = sender
        .send_request(request)
        .await
        .map_err(io::Error::other)?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        shared.counters.upgrades.fetch_add(1, Ordering::Relaxed);
        let server = hyper::upgrade::on(&mut response);
        let stop = shared.stop.clone();
        shared.tasks.spawn(async move {
            let copying = async {
                let (client, server) =
                    tokio::try_join!(client, server).map_err(io::Error::other)?;
                let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
                tokio::io::copy_bidirectional_with_sizes(&mut client, &mut server, BUFFER, BUFFER)
                    .await
            };
            tokio::select! {
                () = stop.cancelled() => {}
                copied = copying => if let Err(error) = copied {
                    tracing::debug!(%error, "upgraded connection ended");
                },
            }
        });
    }
    Ok(response.map(|body| body.map_err(Into::into).boxed_unsync()))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    fn identity() -> Identity {
        Identity {
            user: "ana@contoso.com".to_owned(),
            groups: vec!["admins".to_owned()],
            object_id: Some("1234".to_owned()),
            end: 0,
        }
    }

    fn all(headers: &HeaderMap, name: &str) -> Vec<String> {
        let values = headers.get_all(name).iter();
        values
            .map(|value| value.to_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn a_caller_is_impersonated() {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", "Bearer pop".parse().unwrap());
        impersonate(&mut headers, &identity(), Some("Bearer proxy"));
        assert_eq!(all(&headers, "authorization"), ["Bearer proxy"]);
        assert_eq!(all(&headers, "impersonate-user"), ["ana@contoso.com"]);
        assert_eq!(
            all(&headers, "impersonate-group"),
            ["admins", "system:authenticated"]
        );
        assert_eq!(all(&headers, "impersonate-extra-oid"), ["1234"]);
    }

    #[test]
    fn a_caller_may_impersonate_by_hand() {
        let mut headers = HeaderMap::new();
        headers.insert("impersonate-user", "system:admin".parse().unwrap());
        impersonate(&mut headers, &identity(), Some("Bearer proxy"));
        assert_eq!(all(&headers, "impersonate-user"), ["system:admin"]);
        assert!(all(&headers, "impersonate-group").is_empty());
        assert_eq!(all(&headers, "authorization"), ["Bearer proxy"]);
    }

    #[test]
    fn what_concerns_one_connection_stays_there() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Private"),
            ("x-private", "1"),
            ("te", "gzip, trailers"),
            ("trailer", "x-checksum"),
            ("accept", "*/*"),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        assert!(strip(&mut headers));
        let left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(left, ["trailer", "accept"]);
    }
}
