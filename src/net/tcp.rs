//! From a host's name to a TCP connection.
//!
//! `localhost` and every name below it are loopback (RFC 6761), whatever the resolver says.
//! Addresses of both families race as RFC 8305 has it: the next attempt starts a quarter of a
//! second after the last one or as soon as that has failed, and the first to succeed is taken.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::ConnectError;

/// How long resolving and TCP may take together.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long an attempt has before the next address is tried beside it.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Connects to `host`, a name or an address, in brackets or not.
///
/// Cancel safe: dropping the future closes whatever was open.
pub(super) async fn open(host: &str, port: u16) -> Result<TcpStream, ConnectError> {
    let tcp = open_by(host, port, TcpStream::connect).await?;
    // Small frames must not wait for the acknowledgement of earlier ones.
    tcp.set_nodelay(true)
        .map_err(|error| ConnectError::Tcp(format!("{host}:{port}"), error))?;
    Ok(tcp)
}

async fn open_by<T, F: Future<Output = io::Result<T>>>(
    host: &str,
    port: u16,
    connect: impl Fn(SocketAddr) -> F,
) -> Result<T, ConnectError> {
    let at = || format!("{host}:{port}");
    let opening = async {
        let addresses = resolve(host, port).await?;
        race(interleave(addresses), connect)
            .await
            .map_err(|error| ConnectError::Tcp(at(), error))
    };
    timeout(DEADLINE, opening)
        .await
        .map_err(|_| ConnectError::Deadline(at(), "a TCP connection"))?
}

async fn race<T, F: Future<Output = io::Result<T>>>(
    addresses: Vec<SocketAddr>,
    connect: impl Fn(SocketAddr) -> F,
) -> io::Result<T> {
    let mut attempts = FuturesUnordered::new();
    let mut waiting = addresses.into_iter();
    let mut last = None;
    loop {
        if let Some(address) = waiting.next() {
            attempts.push(connect(address));
        } else if attempts.is_empty() {
            return Err(last.unwrap_or_else(|| io::Error::other("it has no address")));
        }
        let more = waiting.len() > 0;
        tokio::select! {
            Some(attempt) = attempts.next() => match attempt {
                Ok(connected) => return Ok(connected),
                Err(error) => last = Some(error),
            },
            () = sleep(ATTEMPT_DELAY), if more => {}
        }
    }
}

async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    if is_localhost(bare) {
        let loopback: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        return Ok(loopback
            .map(|address| SocketAddr::new(address, port))
            .into());
    }
    match tokio::net::lookup_host((bare, port)).await {
        Ok(found) => Ok(found.collect()),
        Err(error) => Err(ConnectError::Resolve(host.to_owned(), error)),
    }
}

/// Whether a name means this machine whatever a resolver says.
pub(super) fn is_localhost(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost")
}

/// Alternates between the families, in the resolver's order, beginning with its first.
fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|address| address.is_ipv6() == first_is_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut ordered = Vec::new();
    loop {
        let pair = [first.next(), second.next()];
        if pair == [None, None] {
            return ordered;
        }
        ordered.extend(pair.into_iter().flatten());
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::net::TcpListener;
    use tokio::time::Instant;

    use super::*;

    fn addresses() -> [SocketAddr; 3] {
        ["[2001:db8::1]:1", "192.0.2.1:1", "[2001:db8::2]:1"]
            .map(|text| text.parse().expect("an address"))
    }

    #[tokio::test]
    async fn names_below_localhost_are_loopback() {
        for host in ["localhost", "relay.localhost", "A.B.LOCALHOST."] {
            let found = resolve(host, 443).await.expect("loopback");
            assert!(
                found.iter().all(|address| address.ip().is_loopback()),
                "{host}"
            );
        }
        assert!(!is_localhost("notlocalhost"));
    }

    #[test]
    fn families_alternate_from_the_resolvers_first() {
        let parse = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let (a6, b6) = (parse("[2001:db8::1]:1"), parse("[2001:db8::2]:1"));
        let (a4, b4) = (parse("192.0.2.1:1"), parse("192.0.2.2:1"));
        assert_eq!(interleave(vec![a6, b6, a4, b4]), [a6, a4, b6, b4]);
        assert_eq!(interleave(vec![a4]), [a4]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_is_silent_holds_the_next_one_up_for_a_moment_only() {
        let [silent, good, unused] = addresses();
        let started = Instant::now();
        let connected = race(vec![silent, good, unused], |address| async move {
            assert_ne!(address, unused);
            if address == silent {
                pending::<()>().await;
            }
            Ok(address)
        });
        let connected = timeout(DEADLINE, connected).await.expect("in time");
        assert_eq!(connected.expect("the second"), good);
        let took = started.elapsed();
        assert!(
            took >= ATTEMPT_DELAY && took < 2 * ATTEMPT_DELAY,
            "{took:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_address_may_still_win() {
        let [slow, silent, _] = addresses();
        let connected = race(vec![slow, silent], |address| async move {
            if address == silent {
                pending::<()>().await;
            }
            sleep(ATTEMPT_DELAY * 3).await;
            Ok(address)
        });
        assert_eq!(connected.await.expect("the first"), slow);
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_refuses_holds_nothing_up() {
        let [refusing, good, _] = addresses();
        let started = Instant::now();
        let connected = race(vec![refusing, good], |address| async move {
            if address == refusing {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            Ok(address)
        });
        assert_eq!(connected.await.expect("the second"), good);
        assert_eq!(started.elapsed(), Duration::ZERO);
    }

    #[tokio::test]
    async fn the_last_refusal_is_told_when_all_refuse() {
        let [one, two, _] = addresses();
        let connected = race(vec![one, two], |address| async move {
            Err::<(), _>(io::Error::other(address.to_string()))
        });
        let error = connected.await.expect_err("all refuse");
        assert_eq!(error.to_string(), two.to_string());
        let nowhere = race(Vec::new(), |_| async { Ok(()) }).await;
        assert!(nowhere.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_that_stay_silent_have_a_deadline() {
        let started = Instant::now();
        let opened = open_by("localhost", 443, |_| pending::<io::Result<()>>()).await;
        let error = opened.expect_err("silence");
        assert_eq!(
            error.to_string(),
            "localhost:443 did not answer in time for a TCP connection"
        );
        assert_eq!(started.elapsed().as_secs(), 10);
    }

    /// Sockets: `localhost` is two addresses, and here one of them alone listens.
    #[tokio::test]
    async fn either_loopback_address_will_do() {
        for only in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(only).await else {
                assert!(only.starts_with('['), "{only} can always be listened on");
                continue;
            };
            let address = listener.local_addr().expect("an address");
            let tcp = open("service.localhost", address.port()).await;
            assert_eq!(
                tcp.expect("it connects").peer_addr().expect("a peer"),
                address
            );
        }
    }
}
