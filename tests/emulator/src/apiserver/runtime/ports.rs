//! What listens in a pod: a small web server on every declared port, 80 and 8080, an echo on 7 and
//! a sink on 9.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http::{Method, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_util::sync::CancellationToken;

use super::chatter;
use super::container::Container;
use crate::http::{Body, BodyError, full};

/// What a connection holds in each direction, bytes.
const BUFFER: usize = 64 * 1024;

/// Connects to `port` of a pod. The other side lives until it is done, the stream is dropped or
/// the pod stops.
pub(super) fn connect(
    containers: &[Arc<Container>],
    port: u16,
    stopped: CancellationToken,
) -> io::Result<DuplexStream> {
    let container = containers
        .iter()
        .find(|container| container.spec.ports.contains(&port))
        .or_else(|| containers.first())
        .cloned()
        .ok_or(io::ErrorKind::ConnectionRefused)?;
    let declared = container.spec.ports.contains(&port);
    let (near, far) = tokio::io::duplex(BUFFER);
    match port {
        7 => spawn(stopped, echo(far)),
        9 => spawn(stopped, sink(far, container)),
        80 | 8080 => spawn(stopped, web(far, container)),
        _ if declared => spawn(stopped, web(far, container)),
        _ => return Err(io::ErrorKind::ConnectionRefused.into()),
    }
    Ok(near)
}

/// Runs a server until it is done; its end of the stream going away is what ends it early.
fn spawn(stopped: CancellationToken, server: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(async move {
        tokio::select! {
            () = server => {}
            () = stopped.cancelled() => {}
        }
    });
}

async fn echo(stream: DuplexStream) {
    let (mut input, mut output) = tokio::io::split(stream);
    // An error is the client's leaving, and there is nobody to tell.
    if tokio::io::copy(&mut input, &mut output).await.is_ok() {
        let _ = output.shutdown().await;
    }
}

async fn sink(mut stream: DuplexStream, container: Arc<Container>) {
    let mut buffer = vec![0; 16 * 1024];
    let mut count = 0_u64;
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        count += read as u64;
    }
    container.log.write(format!("discard: {count} bytes"));
    let _ = stream.write_all(format!("{count}\n").as_bytes()).await;
}

async fn web(stream: DuplexStream, container: Arc<Container>) {
    let service = service_fn(move |request| {
        let container = Arc::clone(&container);
        async move { Ok::<_, Infallible>(answer(request, &container)) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "connection to a pod ended");
    }
}

fn answer(request: Request<Incoming>, container: &Container) -> Response<Body> {
    let line = format!(
        "{} {} {:?}",
        request.method(),
        request.uri(),
        request.version()
    );
    let agent = request
        .headers()
        .get(header::USER_AGENT)
        .and_then(|agent| agent.to_str().ok())
        .unwrap_or("-")
        .to_owned();
    let (status, length, body) = page(request, container);
    let mut response = Response::new(body);
    *response.status_mut() = status;
    if let Some(length) = length {
        response
            .headers_mut()
            .insert(header::CONTENT_LENGTH, length.into());
    }
    container.log.write(chatter::access(
        "127.0.0.1",
        Timestamp::now(),
        &line,
        status.as_u16(),
        length.unwrap_or(0),
        &agent,
    ));
    response
}

fn page(request: Request<Incoming>, container: &Container) -> (StatusCode, Option<u64>, Body) {
    let text = |status, text: String| (status, Some(text.len() as u64), full(text));
    let path = request.uri().path().to_owned();
    if let Some(count) = path.strip_prefix("/bytes/") {
        return match count.parse() {
            Ok(count) => (StatusCode::OK, Some(count), pattern(count)),
            Err(_) => text(StatusCode::BAD_REQUEST, "how many?\n".to_owned()),
        };
    }
    match (request.method(), path.as_str()) {
        (_, "/echo") => {
            let length = request
                .headers()
                .get(header::CONTENT_LENGTH)
                .and_then(|length| length.to_str().ok()?.parse().ok());
            let body = request.into_body().map_err(BodyError::from).boxed_unsync();
            (StatusCode::OK, length, body)
        }
        (&Method::GET | &Method::HEAD, "/") => text(
            StatusCode::OK,
            format!(
                "Hello from {} in {}\n",
                container.pod.name, container.pod.namespace
            ),
        ),
        (&Method::GET | &Method::HEAD, "/healthz") => text(StatusCode::OK, "ok\n".to_owned()),
        (_, "/" | "/healthz") => text(StatusCode::METHOD_NOT_ALLOWED, String::new()),
        _ => text(StatusCode::NOT_FOUND, "404 page not found\n".to_owned()),
    }
}

/// A body of `count` bytes that repeat the numbers from 0 to 255.
fn pattern(count: u64) -> Body {
    let bytes: Bytes = (0..=255_u8)
        .cycle()
        .take(BUFFER / 2)
        .collect::<Vec<_>>()
        .into();
    let frames = stream::unfold(count, move |left| {
        let length = left.min(bytes.len() as u64);
        let chunk = bytes.slice(..usize::try_from(length).unwrap_or(bytes.len()));
        let frame = Ok::<_, BodyError>(Frame::data(chunk));
        std::future::ready((left > 0).then_some((frame, left - length)))
    });
    StreamBody::new(frames).boxed_unsync()
}
