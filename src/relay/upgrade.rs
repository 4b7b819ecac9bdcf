//! The WebSocket upgrade that meets the listener.
//!
//! hyper speaks it, because the relay says in the status line's reason phrase why it refuses, and
//! most WebSocket clients drop that.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::ext::ReasonPhrase;
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::time::timeout;
use tungstenite::handshake::client::generate_key;
use tungstenite::handshake::derive_accept_key;

use super::dial::{DialError, Rendezvous};
use super::stream::RelayStream;
use crate::net::Connection;

/// The listener has 30 seconds to meet the sender; a little more lets the relay's own answer win.
const RENDEZVOUS_DEADLINE: Duration = Duration::from_secs(35);
/// As long as a refusal's body is waited for,
const REFUSAL_DEADLINE: Duration = Duration::from_secs(5);
/// and as much of it as is read.
const REFUSAL_LIMIT: usize = 16 << 10;
/// What TLS takes in before it is written: as much as frames gather, and their records' heads.
const TLS_BUFFER: usize = 192 << 10;
const AUTHORIZATION: HeaderName = HeaderName::from_static("servicebusauthorization");
/// Path characters that stay as they are: the relay expects slashes and `$hc` literally.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// The relay's answer to the upgrade, whatever it is.
pub(super) struct Answer {
    response: Response<Incoming>,
    /// Of the request.
    key: String,
}

/// Sends the upgrade's request and waits for the answer.
pub(super) async fn ask(stream: Connection, rendezvous: &Rendezvous) -> Result<Answer, DialError> {
    let host = &rendezvous.host;
    let broken = |why: &dyn fmt::Display| DialError::Broken(host.clone(), why.to_string());
    let key = generate_key();
    let request = request(rendezvous, &key).map_err(|error| broken(&error))?;
    let asking = async {
        let (mut sender, connection) = http1::Builder::new()
            .handshake(TokioIo::new(stream))
            .await?;
        // Ends with the upgrade or with the connection, whose only other owner is the answer.
        tokio::spawn(connection.with_upgrades());
        sender.send_request(request).await
    };
    let response = timeout(RENDEZVOUS_DEADLINE, asking)
        .await
        .map_err(|_| DialError::Deadline(host.clone()))?
        .map_err(|error| broken(&error))?;
    Ok(Answer { response, key })
}

/// The stream that the answer makes of the connection.
pub(super) async fn meet(
    Answer { response, key }: Answer,
    host: &str,
) -> Result<RelayStream<Connection>, DialError> {
    let broken = |why: &dyn fmt::Display| DialError::Broken(host.to_owned(), why.to_string());
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(refusal(response, host).await);
    }
    let accept = response.headers().get(header::SEC_WEBSOCKET_ACCEPT);
    if accept.is_none_or(|accept| accept.as_bytes() != derive_accept_key(key.as_bytes()).as_bytes())
    {
        return Err(broken(
            &"its answer to the WebSocket upgrade does not match the request",
        ));
    }
    let upgraded = hyper::upgrade::on(response)
        .await
        .map_err(|error| broken(&error))?;
    let parts = upgraded
        .downcast::<TokioIo<Connection>>()
        .map_err(|_| broken(&"the upgrade gave another stream back"))?;
    let mut stream = parts.io.into_inner();
    stream.get_mut().1.set_buffer_limit(Some(TLS_BUFFER));
    Ok(RelayStream::new(stream, parts.read_buf))
}

async fn refusal(response: Response<Incoming>, host: &str) -> DialError {
    let status = response.status();
    let phrase = response
        .extensions()
        .get::<ReasonPhrase>()
        .map(|phrase| String::from_utf8_lossy(phrase.as_bytes()).into_owned());
    let body = Limited::new(response.into_body(), REFUSAL_LIMIT).collect();
    let reason = match phrase {
        Some(phrase) => phrase,
        None => timeout(REFUSAL_DEADLINE, body)
            .await
            .ok()
            .and_then(Result::ok)
            .map(|body| String::from_utf8_lossy(&body.to_bytes()).trim().to_owned())
            .unwrap_or_default(),
    };
    DialError::Refused {
        host: host.to_owned(),
        status,
        reason,
    }
}

fn request(rendezvous: &Rendezvous, key: &str) -> Result<Request<Empty<Bytes>>, http::Error> {
    let Rendezvous {
        host,
        port,
        path,
        token,
    } = rendezvous;
    let path = utf8_percent_encode(path.trim_start_matches('/'), PATH);
    let id = uuid::Uuid::new_v4();
    let authority = if *port == 443 {
        host.clone()
    } else {
        format!("{host}:{port}")
    };
    Request::builder()
        .uri(format!("/$hc/{path}?sb-hc-action=connect&sb-hc-id={id}"))
        .header(header::HOST, authority)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .header(header::SEC_WEBSOCKET_KEY, key)
        .header(AUTHORIZATION, token.header()?)
        .body(Empty::new())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::secret::Secret;

    #[test]
    fn the_upgrade_is_the_protocols_own() {
        let golden = include_str!("../../tests/fixtures/relay-upgrade-request.txt");
        let (line, headers) = golden.split_once('\n').expect("a request line");
        let headers: BTreeMap<_, _> = headers
            .lines()
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let target = line.split(' ').nth(1).expect("a target");
        let (path, _) = target["/$hc/".len()..].split_once('?').expect("a query");
        let rendezvous = Rendezvous {
            host: headers["host"].clone(),
            port: 443,
            path: path.to_owned(),
            token: Secret::from(headers["servicebusauthorization"].as_str()),
        };
        let request = request(&rendezvous, &headers["sec-websocket-key"]).expect("a request");
        // The id is new each time; everything else is as in the golden bytes.
        let anonymous = |target: &str| target.rsplit_once('=').expect("an id").0.to_owned();
        assert_eq!(anonymous(&request.uri().to_string()), anonymous(target));
        let sent: BTreeMap<_, _> = request
            .headers()
            .iter()
            .map(|(name, value)| {
                let value = value.to_str().expect("text");
                (name.as_str().to_owned(), value.to_owned())
            })
            .collect();
        assert_eq!(sent, headers);
        assert!(request.headers()[AUTHORIZATION].is_sensitive());
    }

    #[test]
    fn the_address_is_that_of_azures_own_client() {
        let golden = include_str!("../../tests/fixtures/sas.json");
        let golden: serde_json::Value = serde_json::from_str(golden).expect("JSON");
        let address = golden["addresses"]["send"].as_str().expect("an address");
        let rendezvous = Rendezvous {
            host: "contoso.servicebus.windows.net".to_owned(),
            port: 443,
            path: "hyco".to_owned(),
            token: Secret::from(golden["tokens"][1]["token"].as_str().expect("a token")),
        };
        let request = request(&rendezvous, "key").expect("a request");
        let host = request.headers()[header::HOST].to_str().expect("text");
        // That client always names the port, which for 443 is the same address.
        let ours = format!("wss://{host}:443{}", request.uri());
        let anonymous = |address: &str| address.rsplit_once('=').expect("an id").0.to_owned();
        assert_eq!(anonymous(&ours), anonymous(address));
    }

    #[test]
    fn a_token_cannot_add_headers() {
        let rendezvous = Rendezvous {
            host: "h".to_owned(),
            port: 1,
            path: "p".to_owned(),
            token: Secret::from("x\r\nHost: evil"),
        };
        assert!(request(&rendezvous, "key").is_err());
    }
}
