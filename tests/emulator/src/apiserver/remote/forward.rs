//! port-forward over SPDY: for each connection an error stream and a data stream, paired by their
//! request identifier.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::BytesMut;
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::spdy::{Connection, Gone, Opened, Receiving, Sending};
use super::upgrade::spdy;
use crate::apiserver::runtime::{PodRef, Runtime};
use crate::http::Body;

const PROTOCOL: &str = "portforward.k8s.io";

/// What is read from a pod at once, bytes.
const BUFFER: usize = 32 * 1024;

/// How long a client may go on once the server has ended its side.
const GRACE: Duration = Duration::from_secs(1);

/// The pod whose ports are forwarded.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pod: PodRef,
    runtime: Weak<Runtime>,
    stopped: CancellationToken,
}

impl Target {
    pub(super) fn new(pod: PodRef, runtime: &Arc<Runtime>) -> Self {
        // A pod that has just stopped has nothing to forward to.
        let stopped = runtime.stopped(&pod.uid).unwrap_or_else(|| {
            let stopped = CancellationToken::new();
            stopped.cancel();
            stopped
        });
        Self {
            pod,
            runtime: Arc::downgrade(runtime),
            stopped,
        }
    }

    /// Completes when the pod has stopped.
    pub(super) async fn stopped(&self) {
        self.stopped.cancelled().await;
    }

    /// Connects to a port of the pod.
    ///
    /// # Errors
    ///
    /// What containerd says of a port that it cannot connect to.
    pub(super) fn connect(&self, port: u16) -> Result<DuplexStream, String> {
        let connected = match self.runtime.upgrade() {
            Some(runtime) => runtime.connect(&self.pod.uid, port),
            None => Err(io::ErrorKind::NotFound.into()),
        };
        connected.map_err(|error| self.words(port, &error))
    }

    /// What containerd says of a port that it cannot connect to.
    fn words(&self, port: u16, error: &io::Error) -> String {
        let PodRef { name, uid, .. } = &self.pod;
        let namespace = format!("/var/run/netns/cni-{uid}");
        let reason = if error.kind() == io::ErrorKind::ConnectionRefused {
            "connection refused".to_owned()
        } else {
            error.to_string()
        };
        format!(
            "error forwarding port {port} to pod {name}, uid {uid}: failed to execute portforward in network namespace \"{namespace}\": failed to connect to localhost:{port} inside namespace \"{uid}\", IPv4: dial tcp4 127.0.0.1:{port}: connect: {reason} IPv6 dial tcp6 [::1]:{port}: connect: {reason} "
        )
    }
}

/// Answers a port-forward request that wants SPDY.
pub(super) fn serve(
    request: Request<Incoming>,
    pod: PodRef,
    runtime: &Arc<Runtime>,
) -> Response<Body> {
    let target = Target::new(pod, runtime);
    spdy(request, &[PROTOCOL], move |io, _| session(io, target))
}

/// One forwarded connection whose streams are not both there yet.
#[derive(Debug, Default)]
struct Pair {
    error: Option<Sending>,
    data: Option<(Receiving, Sending)>,
}

/// Serves a port-forward session over `io` until its client is gone or the pod stops.
pub(super) async fn session<T>(io: T, target: Target)
where
    T: AsyncRead + AsyncWrite + Send + 'static,
{
    let mut connection = Connection::new(io);
    let mut pairs: HashMap<String, Pair> = HashMap::new();
    let mut forwards = JoinSet::new();
    loop {
        let opened = tokio::select! {
            opened = connection.opened() => opened,
            Some(_) = forwards.join_next() => continue,
            () = target.stopped.cancelled() => None,
        };
        let Some(opened) = opened else {
            break;
        };
        match pair(opened, &mut pairs).await {
            Ok(Some((port, error, data))) => {
                forwards.spawn(forward(target.clone(), port, error, data));
            }
            Ok(None) => {}
            Err(Gone) => break,
        }
    }
    forwards.shutdown().await;
    connection.close().await;
}

/// Accepts a stream, and returns it with its other half once both are there.
async fn pair(
    opened: Opened,
    pairs: &mut HashMap<String, Pair>,
) -> Result<Option<(u16, Sending, (Receiving, Sending))>, Gone> {
    let Some((port, kind, id)) = labels(&opened) else {
        opened.refuse().await?;
        return Ok(None);
    };
    // Accepted at once: clients open the second stream after the reply to the first.
    let (receiving, sending) = opened.accept().await?;
    let pair = pairs.entry(id.clone()).or_default();
    match kind {
        Kind::Error => pair.error = Some(sending),
        Kind::Data => pair.data = Some((receiving, sending)),
    }
    if pair.error.is_none() || pair.data.is_none() {
        return Ok(None);
    }
    let pair = pairs.remove(&id).unwrap_or_default();
    Ok(pair
        .error
        .zip(pair.data)
        .map(|(error, data)| (port, error, data)))
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Error,
    Data,
}

/// The port, the kind and the request identifier of a stream, if it has proper ones.
fn labels(opened: &Opened) -> Option<(u16, Kind, String)> {
    let port = opened
        .header("port")?
        .parse()
        .ok()
        .filter(|port| *port > 0)?;
    let kind = match opened.header("streamtype")? {
        "error" => Kind::Error,
        "data" => Kind::Data,
        _ => return None,
    };
    // Old clients name no request: their streams come in pairs, the error stream first.
    let id = match (opened.header("requestid"), kind) {
        (Some(id), _) => id.to_owned(),
        (None, Kind::Error) => opened.id().to_string(),
        (None, Kind::Data) => opened.id().checked_sub(2)?.to_string(),
    };
    Some((port, kind, id))
}

async fn forward(
    target: Target,
    port: u16,
    mut error: Sending,
    (receiving, sending): (Receiving, Sending),
) {
    match target.connect(port) {
        Ok(stream) => {
            let (reader, writer) = tokio::io::split(stream);
            let (done, ended) = oneshot::channel();
            let up = async {
                tokio::select! {
                    uploaded = upload(receiving, writer) => uploaded,
                    () = grace(ended) => Ok(()),
                }
            };
            let down = async {
                download(reader, sending).await?;
                // The upload may be over already.
                let _ = done.send(());
                Ok(())
            };
            // A client that resets the stream wants neither direction any more.
            let _ = futures_util::try_join!(up, down);
        }
        Err(words) => {
            // A client that is gone ends the session; there is nothing to tell it here.
            let _ = error.send(words.into()).await;
            let _ = sending.finish().await;
        }
    }
    // Clients wait for the end of the error stream, empty or not.
    let _ = error.finish().await;
}

/// What the upload still gets once the server has ended its side: older clients keep theirs open
/// until the error stream ends, and containerd does not wait for them any longer either.
async fn grace(ended: oneshot::Receiver<()>) {
    if ended.await.is_err() {
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(GRACE).await;
}

async fn upload(mut stream: Receiving, mut port: impl AsyncWrite + Unpin) -> Result<(), Gone> {
    while let Some(data) = stream.data().await? {
        if port.write_all(&data).await.is_err() {
            // The server has stopped listening and may still be answering.
            return Ok(());
        }
    }
    // As above.
    let _ = port.shutdown().await;
    Ok(())
}

async fn download(mut port: impl AsyncRead + Unpin, mut stream: Sending) -> Result<(), Gone> {
    let mut buffer = BytesMut::with_capacity(BUFFER);
    while let Ok(1..) = port.read_buf(&mut buffer).await {
        stream.send(buffer.split().freeze()).await?;
        buffer.reserve(BUFFER);
    }
    stream.finish().await
}
