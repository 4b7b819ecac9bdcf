//! How one part of the emulator reaches another: at a socket, or through memory.
//!
//! The emulated cloud and the emulated cluster live in one process. What passes between their
//! parts needs no network: sockets there would cost this machine what the cloud's own machines
//! pay, and say nothing about the client. Clients always come to sockets.

use std::io;
use std::net::SocketAddr;

use tokio::io::{DuplexStream, duplex};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_util::either::Either;

/// What each direction of a connection through memory holds, in bytes.
const CAPACITY: usize = 256 << 10;

/// A connection to a part.
pub(crate) type Stream = Either<TcpStream, DuplexStream>;

/// Where a part is reached. Clones lead to the same part.
#[derive(Debug, Clone)]
pub struct Door {
    address: SocketAddr,
    inlet: Option<mpsc::UnboundedSender<Arrival>>,
}

/// A connection that came through memory.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) stream: DuplexStream,
    /// Whether what comes is HTTP itself, with no TLS around it.
    pub(crate) is_plain: bool,
}

impl Door {
    /// A door to the part that listens on `address`, and where its connections arrive.
    pub(crate) fn beside(address: SocketAddr) -> (Self, mpsc::UnboundedReceiver<Arrival>) {
        let (inlet, arrivals) = mpsc::unbounded_channel();
        let door = Self {
            address,
            inlet: Some(inlet),
        };
        (door, arrivals)
    }

    /// The socket that the part listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether connections pass through memory, where no one else can read them.
    pub(crate) fn is_private(&self) -> bool {
        self.inlet.is_some()
    }

    /// Opens a connection on which TLS follows.
    ///
    /// # Errors
    ///
    /// When nobody listens.
    pub(crate) async fn open(&self) -> io::Result<Stream> {
        if let Some(inlet) = &self.inlet {
            return enter(inlet, false);
        }
        let tcp = TcpStream::connect(self.address).await?;
        tcp.set_nodelay(true)?;
        Ok(Either::Left(tcp))
    }

    /// Opens a connection for plain HTTP, if the door [is private](Self::is_private), and else
    /// one on which TLS follows.
    ///
    /// # Errors
    ///
    /// When nobody listens.
    pub(crate) async fn open_plain(&self) -> io::Result<Stream> {
        match &self.inlet {
            Some(inlet) => enter(inlet, true),
            None => self.open().await,
        }
    }
}

fn enter(inlet: &mpsc::UnboundedSender<Arrival>, is_plain: bool) -> io::Result<Stream> {
    let (ours, stream) = duplex(CAPACITY);
    inlet
        .send(Arrival { stream, is_plain })
        .map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))?;
    Ok(Either::Right(ours))
}

impl From<SocketAddr> for Door {
    /// A socket.
    fn from(address: SocketAddr) -> Self {
        Self {
            address,
            inlet: None,
        }
    }
}
