//! HTTP to a service on this machine: plain, direct, and told from a service that is not there.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

/// A service that is there takes a connection at once; an address without one may stay silent.
const CONNECT: Duration = Duration::from_secs(2);
/// How long an answer may take: the service asks Entra itself.
const ANSWER: Duration = Duration::from_secs(30);
/// The largest answer that is read.
const LIMIT: usize = 1 << 20;
/// The pauses between tries. Those behind the third are for 410 alone: a machine's service is being
/// updated then, for up to 70 seconds.
const PAUSES: [Duration; 6] = [
    Duration::from_millis(500),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(15),
    Duration::from_secs(25),
    Duration::from_secs(25),
];

/// Sends `request` until it is answered by something that is not to pass.
///
/// # Errors
/// Why there is no answer.
pub(super) async fn send_patiently(
    request: &Request<Bytes>,
) -> Result<(StatusCode, Bytes), String> {
    let mut tried = 0;
    loop {
        let (status, body) = send(request.clone()).await?;
        let Some(pause) = pause(tried, status) else {
            return Ok((status, body));
        };
        tracing::info!(%status, "the managed identity's service asks to come again");
        sleep(pause).await;
        tried += 1;
    }
}

/// How long to wait after `tried` pauses and the answer `status`, as the metadata service's
/// documents have it; `None` where that is the last word.
fn pause(tried: usize, status: StatusCode) -> Option<Duration> {
    let patience = match status {
        StatusCode::GONE => PAUSES.len(),
        StatusCode::NOT_FOUND | StatusCode::TOO_MANY_REQUESTS => 3,
        _ if status.is_server_error() => 3,
        _ => 0,
    };
    PAUSES[..patience].get(tried).copied()
}

async fn send(mut request: Request<Bytes>) -> Result<(StatusCode, Bytes), String> {
    let uri = request.uri().clone();
    let (Some(host), Some(path)) = (uri.host(), uri.path_and_query()) else {
        return Err("its address has no host".to_owned());
    };
    let place = (host.trim_matches(['[', ']']), uri.port_u16().unwrap_or(80));
    let stream = timeout(CONNECT, TcpStream::connect(place))
        .await
        .map_err(|_| "nothing takes the connection".to_owned())?
        .map_err(|error| error.to_string())?;
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let named = HeaderValue::from_str(authority).map_err(|error| error.to_string())?;
    request.headers_mut().insert(header::HOST, named);
    *request.uri_mut() = path.clone().into();
    let exchange = async {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
        let response = sender.send_request(request.map(Full::new)).await?;
        let (parts, body) = response.into_parts();
        Ok::<_, hyper::Error>((parts.status, Limited::new(body, LIMIT).collect().await))
    };
    let (status, body) = timeout(ANSWER, exchange)
        .await
        .map_err(|_| "it does not answer".to_owned())?
        .map_err(|error| error.to_string())?;
    let body = body.map_err(|error| error.to_string())?;
    Ok((status, body.to_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_is_being_updated_has_seventy_seconds() {
        let waited = |status| {
            let pauses = (0..).map_while(|tried| pause(tried, status));
            pauses.sum::<Duration>().as_secs()
        };
        assert!(waited(StatusCode::GONE) >= 70);
        assert_eq!(waited(StatusCode::NOT_FOUND), 7);
        assert_eq!(waited(StatusCode::TOO_MANY_REQUESTS), 7);
        assert_eq!(waited(StatusCode::BAD_GATEWAY), 7);
        assert_eq!(waited(StatusCode::OK), 0);
        assert_eq!(waited(StatusCode::BAD_REQUEST), 0);
    }
}
