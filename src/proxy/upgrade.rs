//! Forwarding a request that turns its connection into a stream: `exec`, `attach`, `cp`,
//! `port-forward`, over SPDY or WebSocket. What is inside is not looked at.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version, header};
use http_body_util::{Either, Empty, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::listener::Visitor;
use super::{AnswerBody, Upstream, forward, respond};
use crate::shutdown::Drain;

/// The copy buffer of each direction; TLS records hold as much.
const BUFFER: usize = 16 << 10;
/// How often an idle direction is flushed; shorter than the relay's patience with idle streams.
const NUDGE: Duration = Duration::from_secs(10);

/// How long one direction may be silent after the other has ended: by then a far side that is gone
/// without a word is not coming back, and a client pings more often.
const LAST_WORDS: Duration = Duration::from_mins(1);

/// Whether `request` asks for an upgrade (RFC 9110, section 7.8).
pub(super) fn is_upgrade<B>(request: &Request<B>) -> bool {
    request.version() == Version::HTTP_11
        && request.headers().contains_key(header::UPGRADE)
        && names_upgrade(request.headers())
}

fn names_upgrade(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|name| name.trim().eq_ignore_ascii_case("upgrade"))
}

/// Sends `request` on; once both sides have switched, copies between them until both have ended,
/// and keeps `visitor` for as long.
pub(super) async fn answer<U: Upstream>(
    upstream: &U,
    mut request: Request<Incoming>,
    drain: &Drain,
    visitor: Arc<Visitor>,
) -> Response<AnswerBody<U::Body>> {
    let client = hyper::upgrade::on(&mut request);
    let (mut parts, _) = request.into_parts();
    let wanted = parts.headers.get(header::UPGRADE).cloned();
    keep_upgrade(&mut parts.headers);
    // No body goes along: kubectl sends none, and the stream begins behind the headers.
    for name in [header::CONTENT_LENGTH, header::EXPECT] {
        parts.headers.remove(name);
    }
    let outgoing = Request::from_parts(parts, Either::Right(Empty::<Bytes>::new()));
    let mut response = match upstream.upgrade(outgoing).await {
        Ok(response) => response,
        Err(error) => {
            tracing::warn!(%error, "an upgrade could not be forwarded");
            return respond::failed(&error);
        }
    };
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let mut response = response.map(|body| Either::Left(U::body(body)));
        forward::strip(response.headers_mut());
        return response;
    }
    if !is_granted(wanted.as_ref(), response.headers()) {
        tracing::warn!(granted = ?response.headers().get(header::UPGRADE), "not the protocol that was asked for");
        return respond::refused(StatusCode::BAD_GATEWAY, respond::UNASKED);
    }
    let far = hyper::upgrade::on(&mut response);
    drain.spawn(async move {
        let _visitor = visitor;
        let (client, far) = match tokio::try_join!(client, far) {
            Ok(both) => both,
            Err(error) => return tracing::debug!(%error, "an upgrade did not come about"),
        };
        copy(TokioIo::new(client), TokioIo::new(far)).await;
    });
    keep_upgrade(response.headers_mut());
    response.map(|_| Either::Right(Full::default()))
}

/// Whether the answer's `headers` change to a protocol that was `wanted` (RFC 9110, section 7.8).
fn is_granted(wanted: Option<&HeaderValue>, headers: &HeaderMap) -> bool {
    let (Some(wanted), Some(granted)) = (wanted, headers.get(header::UPGRADE)) else {
        return false;
    };
    let (Ok(wanted), Ok(granted)) = (wanted.to_str(), granted.to_str()) else {
        return false;
    };
    names_upgrade(headers)
        && wanted
            .split(',')
            .any(|wanted| wanted.trim().eq_ignore_ascii_case(granted.trim()))
}

/// How one direction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Its source has ended, and its sink was told.
    Source,
    /// Its source broke.
    SourceBroke,
    /// Its sink broke; the sink's own words may still be on their way.
    SinkBroke,
}

/// Copies both ways. Each direction ends by itself: one that has ended, or whose sink takes no
/// more, leaves the other one running for as long as it has something to say, so that no word
/// already said is lost.
async fn copy<C, F>(client: C, far: F)
where
    C: AsyncRead + AsyncWrite,
    F: AsyncRead + AsyncWrite,
{
    let (client_reader, client_writer) = split(client);
    let (far_reader, far_writer) = split(far);
    let (sent, heard) = (AtomicU64::new(0), AtomicU64::new(0));
    let mut up = pin!(pump(client_reader, far_writer, &sent));
    let mut down = pin!(pump(far_reader, client_writer, &heard));
    tokio::select! {
        // A client that is gone wants nothing more.
        end = &mut up => if end != End::SourceBroke {
            finish(down, &heard).await;
        },
        end = &mut down => if end == End::Source {
            finish(up, &sent).await;
        },
    }
}

/// Lets `pumping` go on until it ends, or `moved` says that it has moved nothing for long.
async fn finish(mut pumping: Pin<&mut impl Future<Output = End>>, moved: &AtomicU64) {
    loop {
        let before = moved.load(Ordering::Relaxed);
        let ended = timeout(LAST_WORDS, pumping.as_mut()).await.is_ok();
        if ended || moved.load(Ordering::Relaxed) == before {
            return;
        }
    }
}

/// Copies until one side ends or breaks, and counts in `moved` what it has passed on.
async fn pump(
    mut source: impl AsyncRead + Unpin,
    mut sink: impl AsyncWrite + Unpin,
    moved: &AtomicU64,
) -> End {
    let mut buffer = vec![0; BUFFER];
    let mut nudge = interval(NUDGE);
    nudge.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let read = tokio::select! {
            read = source.read(&mut buffer) => read,
            // Flushing lets the stream beneath send its pings though nothing else is sent.
            _ = nudge.tick() => {
                if sink.flush().await.is_err() {
                    return End::SinkBroke;
                }
                continue;
            }
        };
        let Ok(count) = read else {
            // The sink learns of it when its connection is dropped, not by a clean end.
            return End::SourceBroke;
        };
        let passed = async {
            if count == 0 {
                return sink.shutdown().await;
            }
            sink.write_all(&buffer[..count]).await?;
            moved.fetch_add(count as u64, Ordering::Relaxed);
            sink.flush().await
        };
        match passed.await {
            Ok(()) if count == 0 => return End::Source,
            Ok(()) => {}
            Err(_) => return End::SinkBroke,
        }
    }
}

/// Strips what is about the connection but for the upgrade itself.
fn keep_upgrade(headers: &mut HeaderMap) {
    let upgrade = headers.get(header::UPGRADE).cloned();
    forward::strip(headers);
    if let Some(upgrade) = upgrade {
        headers.insert(header::UPGRADE, upgrade);
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;
    use tokio::time::sleep;

    use super::*;

    #[tokio::test]
    async fn a_client_that_has_said_all_still_hears_the_answer() {
        let (mut client, near) = duplex(64);
        let (far, mut cluster) = duplex(64);
        let copying = tokio::spawn(copy(near, far));
        client.write_all(b"question").await.expect("writes");
        client.shutdown().await.expect("half-closes");
        let mut heard = String::new();
        cluster
            .read_to_string(&mut heard)
            .await
            .expect("reads to the half-close");
        cluster.write_all(b"answer to ").await.expect("answers");
        cluster.write_all(heard.as_bytes()).await.expect("answers");
        drop(cluster);
        let mut answer = String::new();
        client
            .read_to_string(&mut answer)
            .await
            .expect("reads to the end");
        assert_eq!(answer, "answer to question");
        copying.await.expect("ends");
    }

    /// A far side that takes nothing more and still has something to say.
    #[tokio::test]
    async fn words_already_said_outlive_a_far_side_that_takes_no_more() {
        let (mut client, near) = duplex(64);
        let (said, mut speaking) = duplex(64);
        let (taken, taking) = duplex(64);
        drop(taking);
        let far = tokio::io::join(said, taken);
        let copying = tokio::spawn(copy(near, far));
        client.write_all(b"too late").await.expect("writes");
        let last = [7; 200];
        let speaking = async {
            speaking.write_all(&last).await.expect("speaks");
            drop(speaking);
        };
        let mut heard = Vec::new();
        let (heard_all, ()) = tokio::join!(client.read_to_end(&mut heard), speaking);
        heard_all.expect("reads to the end");
        assert_eq!(heard, last);
        copying.await.expect("ends");
    }

    #[tokio::test(start_paused = true)]
    async fn a_direction_that_is_left_over_may_speak_on_and_not_be_silent() {
        for is_client_first in [true, false] {
            let (client, near) = duplex(64);
            let (far, cluster) = duplex(64);
            let copying = tokio::spawn(copy(near, far));
            let (mut first, mut second) = if is_client_first {
                (client, cluster)
            } else {
                (cluster, client)
            };
            first.shutdown().await.expect("half-closes");
            for _ in 0..10 {
                sleep(Duration::from_secs(50)).await;
                second.write_all(b"more").await.expect("it is taken");
                first.read_exact(&mut [0; 4]).await.expect("it comes");
            }
            let ended = timeout(2 * LAST_WORDS, copying).await;
            ended.expect("it ends in time").expect("no panic");
        }
    }

    fn request(version: Version, connection: &str, upgrade: Option<&str>) -> Request<()> {
        let mut builder = Request::builder()
            .version(version)
            .header("connection", connection);
        if let Some(upgrade) = upgrade {
            builder = builder.header("upgrade", upgrade);
        }
        builder.body(()).expect("a request")
    }

    #[test]
    fn only_what_was_asked_for_is_granted() {
        let granted = |wanted: &'static str, answer: &[(&'static str, &'static str)]| {
            let answer: Vec<_> = answer
                .iter()
                .map(|(name, value)| {
                    let name = http::HeaderName::from_static(name);
                    (name, HeaderValue::from_static(value))
                })
                .collect();
            is_granted(
                Some(&HeaderValue::from_static(wanted)),
                &HeaderMap::from_iter(answer),
            )
        };
        let switched = ("connection", "Upgrade");
        assert!(granted("SPDY/3.1", &[switched, ("upgrade", "spdy/3.1")]));
        assert!(granted(
            "h2c, websocket",
            &[switched, ("upgrade", "websocket")]
        ));
        assert!(!granted("websocket", &[switched, ("upgrade", "SPDY/3.1")]));
        assert!(!granted("websocket", &[switched, ("upgrade", "")]));
        assert!(!granted("websocket", &[("upgrade", "websocket")]));
        assert!(!granted("websocket", &[switched]));
        assert!(!is_granted(None, &HeaderMap::new()));
    }

    #[test]
    fn an_upgrade_is_named_twice_and_is_http_1() {
        let spdy = Some("SPDY/3.1");
        assert!(is_upgrade(&request(
            Version::HTTP_11,
            "keep-alive, Upgrade",
            spdy
        )));
        assert!(!is_upgrade(&request(Version::HTTP_11, "keep-alive", spdy)));
        assert!(!is_upgrade(&request(Version::HTTP_11, "upgrade", None)));
        assert!(!is_upgrade(&request(Version::HTTP_2, "upgrade", spdy)));
    }
}
