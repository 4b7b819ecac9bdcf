//! Asking a web proxy with CONNECT (RFC 9110 §9.3.6).

use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::ext::ReasonPhrase;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::{Failure, WebProxy};

/// How long the proxy may take to resolve the name and to connect.
const ANSWER_DEADLINE: Duration = Duration::from_secs(20);
/// The largest head of an answer that is read.
const HEAD_LIMIT: usize = 16 << 10;
/// As many characters of the proxy's words as are shown.
const WORDS: usize = 120;
/// Headers in which proxies say more than the status does; the first is RFC 9209's.
const DETAILS: [&str; 2] = ["proxy-status", "x-squid-error"];

/// Has `proxy`, at the other end of `stream`, connect to `target`, a host and a port. What is
/// given back leads to that.
///
/// Cancel safe: dropping the future closes the connection.
pub(in super::super) async fn ask<S>(
    stream: S,
    proxy: &WebProxy,
    target: &str,
) -> Result<S, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let request = request(proxy, target).map_err(|error| Failure::Broken(error.to_string()))?;
    let (response, stream) = timeout(ANSWER_DEADLINE, exchange(stream, request))
        .await
        .map_err(|_| Failure::Deadline)?
        .map_err(|error| Failure::Broken(why(&error)))?;
    if !response.status().is_success() {
        return Err(refusal(&response, proxy.authorization.is_some()));
    }
    let (stream, early) = stream;
    // In TLS the client speaks first.
    if !early.is_empty() {
        let why = "it speaks where the host should".to_owned();
        return Err(Failure::Broken(why));
    }
    Ok(stream)
}

fn request(proxy: &WebProxy, target: &str) -> Result<Request<Empty<Bytes>>, http::Error> {
    let mut request = Request::builder()
        .method(Method::CONNECT)
        .uri(target)
        .header(header::HOST, target)
        .header(
            header::USER_AGENT,
            HeaderValue::from_static(concat!("arcproxy/", env!("CARGO_PKG_VERSION"))),
        );
    if let Some(authorization) = &proxy.authorization {
        request = request.header(header::PROXY_AUTHORIZATION, authorization.header()?);
    }
    request.body(Empty::new())
}

/// The answer, and the stream with what was read beyond it.
async fn exchange<S>(
    stream: S,
    request: Request<Empty<Bytes>>,
) -> hyper::Result<(Response<Incoming>, (S, Bytes))>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, mut connection) = http1::Builder::new()
        .max_buf_size(HEAD_LIMIT)
        .handshake(TokioIo::new(stream))
        .await?;
    let asking = sender.send_request(request);
    tokio::pin!(asking);
    let driving = poll_fn(|context| connection.poll_without_shutdown(context));
    let response = tokio::select! {
        biased;
        response = &mut asking => response?,
        ended = driving => {
            ended?;
            asking.await?
        }
    };
    let parts = connection.into_parts();
    Ok((response, (parts.io.into_inner(), parts.read_buf)))
}

fn why(error: &hyper::Error) -> String {
    if error.is_incomplete_message() || error.is_canceled() {
        return "it ended the connection".to_owned();
    }
    if error.is_parse_too_large() {
        return "its answer does not end".to_owned();
    }
    if error.is_parse() {
        return "it does not answer as an HTTP proxy does".to_owned();
    }
    let first: &(dyn std::error::Error + 'static) = error;
    std::iter::successors(Some(first), |cause| cause.source())
        .last()
        .map_or_else(String::new, ToString::to_string)
}

fn refusal(response: &Response<Incoming>, sent: bool) -> Failure {
    let status = response.status();
    if status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
        let offers = response.headers().get_all(header::PROXY_AUTHENTICATE);
        let takes_basic = offers
            .iter()
            .any(|offer| offer.to_str().is_ok_and(offers_basic));
        return Failure::Credentials { sent, takes_basic };
    }
    let phrase = match response.extensions().get::<ReasonPhrase>() {
        Some(phrase) => String::from_utf8_lossy(phrase.as_bytes()).into_owned(),
        None => status.canonical_reason().unwrap_or_default().to_owned(),
    };
    let detail = DETAILS
        .iter()
        .find_map(|name| response.headers().get(*name))
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let words = match detail {
        Some(detail) => format!("{phrase} ({detail})"),
        None => phrase,
    };
    Failure::Refused(status, one_line(&words))
}

/// Whether a `Proxy-Authenticate` header names the Basic scheme, alone or among others.
fn offers_basic(offer: &str) -> bool {
    offer.split(',').any(|challenge| {
        challenge
            .split_whitespace()
            .next()
            .is_some_and(|scheme| scheme.eq_ignore_ascii_case("basic"))
    })
}

/// Words of another program's, fit for a terminal.
fn one_line(words: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    words.chars().take(WORDS).map(plain).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::task::JoinHandle;

    use super::*;

    const TARGET: &str = "arm.example:443";

    /// A proxy that reads a request's head, gives `answer`, and gives back the head and its end of
    /// the stream.
    fn proxy(answer: &'static [u8]) -> (DuplexStream, JoinHandle<(String, DuplexStream)>) {
        let (near, mut far) = duplex(64 << 10);
        let answering = tokio::spawn(async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(far.read_u8().await.expect("a head"));
            }
            far.write_all(answer).await.expect("it is read");
            (String::from_utf8(head).expect("text"), far)
        });
        (near, answering)
    }

    async fn asked(url: &str, answer: &'static [u8]) -> Result<DuplexStream, Failure> {
        let address = WebProxy::parse("--proxy", url).expect("a proxy");
        let (near, answering) = proxy(answer);
        let ending = async { drop(answering.await) };
        tokio::join!(ask(near, &address, TARGET), ending).0
    }

    #[tokio::test]
    async fn what_the_proxy_opens_carries_both_ways() {
        for answer in [
            &b"HTTP/1.1 200 Connection established\r\n\r\n"[..],
            b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\nProxy-Agent: x\r\n\r\n",
            b"HTTP/1.1 204\r\n\r\n",
        ] {
            let address = WebProxy::parse("--proxy", "http://ana:secret@p").expect("a proxy");
            let (near, answering) = proxy(answer);
            let mut near = ask(near, &address, TARGET).await.expect("a way");
            let (head, mut far) = answering.await.expect("it answered");
            // Nothing but this is ever said to it.
            let agent = concat!("user-agent: arcproxy/", env!("CARGO_PKG_VERSION"));
            let expected = [
                "CONNECT arm.example:443 HTTP/1.1",
                "host: arm.example:443",
                agent,
                "proxy-authorization: Basic YW5hOnNlY3JldA==",
                "",
            ];
            assert_eq!(head.lines().collect::<Vec<_>>(), expected);
            near.write_all(b"there").await.expect("it carries");
            far.write_all(b"and back").await.expect("it carries");
            let (mut there, mut back) = ([0; 5], [0; 8]);
            far.read_exact(&mut there).await.expect("it arrives");
            near.read_exact(&mut back).await.expect("it arrives");
            assert_eq!((&there, &back), (b"there", b"and back"));
        }
    }

    #[tokio::test]
    async fn a_refusal_is_told_in_one_line_of_its_own_words() {
        let answer = b"HTTP/1.1 403 Blocked\tby policy\r\nX-Squid-Error: ERR_ACCESS_DENIED 0\r\nContent-Length: 5\r\n\r\n<html";
        let failure = asked("http://p", answer).await.expect_err("refused");
        let Failure::Refused(StatusCode::FORBIDDEN, words) = failure else {
            panic!("{failure:?}");
        };
        assert_eq!(words, "Blocked by policy (ERR_ACCESS_DENIED 0)");
        assert_eq!(one_line(&"\u{1b}[31m".repeat(100)).chars().count(), WORDS);
        assert!(!one_line("\u{1b}[31m\u{9b}").contains(char::is_control));
    }

    #[tokio::test]
    async fn credentials_that_are_asked_for_are_told_apart() {
        let basic = b"HTTP/1.1 407 x\r\nProxy-Authenticate: Negotiate\r\nProxy-Authenticate: NTLM, basic realm=\"x\"\r\n\r\n";
        let other = b"HTTP/1.1 407 x\r\nProxy-Authenticate: Negotiate\r\nProxy-Authenticate: Digest realm=\"basic\"\r\n\r\n";
        for (url, answer, expected) in [
            ("http://p", &basic[..], (false, true)),
            ("http://ana:x@p", basic, (true, true)),
            ("http://ana:x@p", other, (true, false)),
        ] {
            let failure = asked(url, answer).await.expect_err("refused");
            let Failure::Credentials { sent, takes_basic } = failure else {
                panic!("{failure:?}");
            };
            assert_eq!((sent, takes_basic), expected);
        }
    }

    #[tokio::test]
    async fn what_is_no_answer_is_told() {
        for (answer, word) in [
            (&b"SSH-2.0-OpenSSH\r\n\r\n"[..], "as an HTTP proxy"),
            (b"HTTP/1.1 200 OK\r\n\r\nearly", "speaks"),
            (b"HTTP/1.1 2", "ended"),
            (b"", "ended"),
        ] {
            let failure = asked("http://p", answer).await.expect_err("no answer");
            assert!(
                matches!(&failure, Failure::Broken(why) if why.contains(word)),
                "{failure:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_head_that_does_not_end_is_not_read_for_ever() {
        let address = Arc::new(WebProxy::parse("--proxy", "http://p").expect("a proxy"));
        let (near, mut far) = duplex(64 << 10);
        let endless = async {
            far.write_all(b"HTTP/1.1 200 OK\r\n").await?;
            loop {
                far.write_all(b"X-More: and more\r\n").await?;
            }
        };
        let (failure, ended): (_, std::io::Result<()>) =
            tokio::join!(ask(near, &address, TARGET), endless);
        let failure = failure.expect_err("no way");
        assert!(
            matches!(&failure, Failure::Broken(why) if why.contains("does not end")),
            "{failure:?}"
        );
        ended.expect_err("the connection is closed");
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_proxy_has_its_own_deadline() {
        let address = WebProxy::parse("--proxy", "http://p").expect("a proxy");
        let (near, _far) = duplex(64 << 10);
        let started = tokio::time::Instant::now();
        let failure = ask(near, &address, TARGET).await.expect_err("silence");
        assert!(matches!(failure, Failure::Deadline), "{failure:?}");
        assert_eq!(started.elapsed().as_secs(), ANSWER_DEADLINE.as_secs());
    }
}
