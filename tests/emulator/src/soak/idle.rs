//! Local connections that are opened and left alone.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::Error;
use super::endpoint::Endpoint;

/// What is needed besides, on either side.
const BESIDES: u64 = 2_000;
/// Every so many connections one has come as far as TLS.
const SECURED: usize = 10;
/// How long one may take to be opened.
const DEADLINE: Duration = Duration::from_secs(10);

/// A connection that is left alone.
enum Idle {
    Bare(TcpStream),
    Secured(Box<TlsStream<TcpStream>>),
}

/// What became of the connections.
#[derive(Debug, Clone, Copy, Default, serde::Serialize)]
pub(crate) struct Left {
    pub(crate) opened: usize,
    pub(crate) refused: usize,
    /// How many the client had not closed when the load ended.
    pub(crate) open_at_the_end: usize,
}

/// Sees to it that this process, and the client that it starts, may have so many connections.
///
/// # Errors
///
/// When the machine does not let them.
pub(crate) fn make_room(connections: usize) -> Result<(), Error> {
    if connections == 0 {
        return Ok(());
    }
    let needed = connections as u64 + BESIDES;
    let limit = getrlimit(Resource::Nofile);
    if limit.maximum.is_some_and(|most| most < needed) {
        let most = limit.maximum.unwrap_or_default();
        return Err(format!(
            "{connections} idle connections need {needed} descriptors, and no more than {most} \
             are allowed: raise the hard limit (ulimit -Hn) or open fewer"
        )
        .into());
    }
    if limit.current.is_some_and(|now| now < needed) {
        let raised = Rlimit {
            current: Some(needed),
            maximum: limit.maximum,
        };
        setrlimit(Resource::Nofile, raised).map_err(io::Error::from)?;
    }
    Ok(())
}

/// The connections, while they are left alone.
#[derive(Default)]
pub(super) struct Crowd {
    idle: Vec<Idle>,
    refused: usize,
}

impl Crowd {
    /// Opens one after the other.
    pub(super) async fn grow(&mut self, endpoint: &Arc<Endpoint>, connections: usize) {
        for number in 0..connections {
            let opening = async {
                if number % SECURED == 0 {
                    let secured = endpoint.connect_http1().await?;
                    return Ok(Idle::Secured(Box::new(secured)));
                }
                TcpStream::connect(endpoint.address).await.map(Idle::Bare)
            };
            match tokio::time::timeout(DEADLINE, opening).await {
                Ok(Ok::<_, io::Error>(idle)) => self.idle.push(idle),
                Ok(Err(_)) | Err(_) => self.refused += 1,
            }
        }
    }

    /// What became of them.
    pub(super) fn left(&self) -> Left {
        let is_open = |idle: &&Idle| {
            let tcp = match idle {
                Idle::Bare(tcp) => tcp,
                Idle::Secured(tls) => tls.get_ref().0,
            };
            let mut buffer = [0; 4096];
            // Session tickets may stand before the end.
            loop {
                match tcp.try_read(&mut buffer) {
                    Ok(1..) => {}
                    Ok(0) => return false,
                    Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
                }
            }
        };
        Left {
            opened: self.idle.len(),
            refused: self.refused,
            open_at_the_end: self.idle.iter().filter(is_open).count(),
        }
    }
}
