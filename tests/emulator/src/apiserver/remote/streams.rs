//! exec and attach over SPDY: one stream for each of the process' and one for its end.

use std::sync::{Arc, Weak};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::sync::watch;

use super::session::{Sizes, Wanted};
use super::spdy::{Connection, Gone, Receiving, Sending};
use super::upgrade::{Io, spdy};
use crate::apiserver::runtime::Runtime;
use crate::apiserver::runtime::pipe::{Reader, Writer};
use crate::apiserver::runtime::terminal::Size;
use crate::http::Body;

const V4: &str = "v4.channel.k8s.io";
const V3: &str = "v3.channel.k8s.io";
const V2: &str = "v2.channel.k8s.io";
const V1: &str = "channel.k8s.io";

/// How long a client has to open the streams that it asked for.
const OPENING: Duration = Duration::from_secs(30);

/// Answers an exec or attach request that wants SPDY.
pub(super) fn serve(
    request: Request<Incoming>,
    wanted: Wanted,
    runtime: &Arc<Runtime>,
) -> Response<Body> {
    let runtime = Arc::downgrade(runtime);
    spdy(request, &[V4, V3, V2, V1], move |io, protocol| async move {
        if session(io, protocol, &wanted, &runtime).await.is_err() {
            tracing::debug!("a client left its session");
        }
    })
}

/// The streams of a session.
#[derive(Debug, Default)]
struct Streams {
    error: Option<Sending>,
    stdin: Option<Receiving>,
    stdout: Option<Sending>,
    stderr: Option<Sending>,
    resize: Option<Receiving>,
    /// Halves that nobody uses, kept so that their streams are not reset.
    unused: Vec<Sending>,
}

impl Streams {
    /// Takes the streams that the client opens until there are `count`.
    async fn open(connection: &mut Connection, count: usize) -> Result<Self, Gone> {
        let mut streams = Self::default();
        for _ in 0..count {
            let opened = connection.opened().await.ok_or(Gone)?;
            let kind = opened.header("streamtype").unwrap_or_default().to_owned();
            let (receiving, sending) = opened.accept().await?;
            match kind.as_str() {
                "error" => streams.error = Some(sending),
                "stdout" => streams.stdout = Some(sending),
                "stderr" => streams.stderr = Some(sending),
                "stdin" | "resize" => {
                    let place = if kind == "stdin" {
                        &mut streams.stdin
                    } else {
                        &mut streams.resize
                    };
                    *place = Some(receiving);
                    streams.unused.push(sending);
                }
                other => {
                    tracing::debug!(other, "unexpected stream type");
                    streams.unused.push(sending);
                }
            }
        }
        Ok(streams)
    }
}

async fn session(
    io: Io,
    protocol: &'static str,
    wanted: &Wanted,
    runtime: &Weak<Runtime>,
) -> Result<(), Gone> {
    let mut connection = Connection::new(io);
    let options = &wanted.options;
    let resizes = options.tty && matches!(protocol, V4 | V3);
    let count = [options.stdin, options.stdout, options.stderr, resizes, true]
        .into_iter()
        .filter(|wanted| *wanted)
        .count();
    let mut streams = tokio::time::timeout(OPENING, Streams::open(&mut connection, count))
        .await
        .map_err(|_| Gone)??;
    let started = wanted.start(&*runtime.upgrade().ok_or(Gone)?);
    let status = match started {
        Err(status) => status,
        Ok(mut process) => {
            let stdin = feed(streams.stdin.take(), process.stdin.take());
            let sizes = resize(streams.resize.take(), process.size.clone());
            let inputs = async {
                futures_util::join!(stdin, sizes);
                std::future::pending::<()>().await;
            };
            let outputs = async {
                let (stdout, stderr) = futures_util::join!(
                    show(&mut process.stdout, streams.stdout.take()),
                    show(&mut process.stderr, streams.stderr.take())
                );
                stdout.and(stderr)?;
                Ok(process.wait().await)
            };
            let gone = async {
                // More streams than asked for are not answered.
                while connection.opened().await.is_some() {}
            };
            let code: Result<u8, Gone> = tokio::select! {
                biased;
                code = outputs => code,
                () = inputs => Err(Gone),
                () = gone => Err(Gone),
            };
            wanted.ended(code?)
        }
    };
    let unused = [streams.stdout.take(), streams.stderr.take()];
    for output in unused.into_iter().flatten() {
        output.finish().await?;
    }
    if let Some(mut error) = streams.error.take() {
        let bytes = if protocol == V4 {
            status.json()
        } else {
            status.text()
        };
        error.send(bytes.into()).await?;
        error.finish().await?;
    }
    drop(streams);
    connection.close().await;
    Ok(())
}

async fn feed(stream: Option<Receiving>, stdin: Option<Writer>) {
    let (Some(mut stream), Some(stdin)) = (stream, stdin) else {
        return;
    };
    while let Ok(Some(data)) = stream.data().await {
        if stdin.write(data).await.is_err() {
            break;
        }
    }
}

async fn resize(stream: Option<Receiving>, size: watch::Sender<Size>) {
    let Some(mut stream) = stream else {
        return;
    };
    let mut sizes = Sizes::default();
    while let Ok(Some(data)) = stream.data().await {
        if let Some(told) = sizes.take(&data) {
            size.send_replace(told);
        }
    }
}

/// Sends an output of the process, or drops it if the client did not ask for it.
async fn show(output: &mut Reader, stream: Option<Sending>) -> Result<(), Gone> {
    let Some(mut stream) = stream else {
        while output.chunk(usize::MAX).await.is_some() {}
        return Ok(());
    };
    while let Some(chunk) = output.chunk(usize::MAX).await {
        stream.send(chunk).await?;
    }
    stream.finish().await
}
