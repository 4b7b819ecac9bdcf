//! Why there is no tunnel, or no answer through one.

use std::fmt;
use std::io;
use std::sync::Arc;

use http::StatusCode;

use crate::error::{Code, Error};
use crate::net::ConnectError;
use crate::relay::DialError;

/// A failure of the tunnel. Cheap to clone: all who waited for one dial get the same.
#[derive(Debug, Clone)]
pub enum TunnelError {
    /// The agent could not be reached through the relay.
    Dial(Arc<DialError>),
    /// Fresh credentials could not be had.
    Credentials(Arc<Error>),
    /// The agent's bridge refused, or the stream broke before TLS.
    Bridge(Arc<io::Error>),
    /// kube-aad-proxy's certificate does not verify, or the TLS handshake broke.
    Tls(Arc<io::Error>),
    /// Nothing came back in time while the tunnel was set up.
    Deadline(&'static str),
    /// The HTTP exchange broke.
    Http(Arc<hyper::Error>),
}

impl TunnelError {
    /// Whether trying again soon may help, when nothing has been sent yet.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Dial(error) => match &**error {
                DialError::Refused { status, .. } => status.is_server_error(),
                DialError::Connect(connect) => !connect.is_final(),
                DialError::Deadline(_) | DialError::Broken(..) => true,
            },
            Self::Bridge(_) | Self::Deadline(_) | Self::Http(_) => true,
            Self::Tls(_) => !self.is_certificate(),
            Self::Credentials(_) => false,
        }
    }

    /// Whether the far side says that it has not acted upon the request: it refused the stream, or
    /// went away before it (RFC 9113, section 8.7).
    pub(super) fn is_untouched(&self) -> bool {
        let Self::Http(error) = self else {
            return false;
        };
        std::iter::successors(std::error::Error::source(&**error), |error| error.source())
            .filter_map(|error| error.downcast_ref::<h2::Error>())
            .any(|error| {
                let is_refused = error.reason() == Some(h2::Reason::REFUSED_STREAM);
                error.is_remote() && (error.is_go_away() || (error.is_reset() && is_refused))
            })
    }

    /// Whether the far side's certificate is what failed.
    pub(super) fn is_certificate(&self) -> bool {
        matches!(self, Self::Tls(error) if crate::net::is_certificate(error))
    }

    /// Whether nothing came back in time.
    pub(super) fn is_late(&self) -> bool {
        match self {
            Self::Deadline(_) => true,
            Self::Dial(error) => matches!(
                **error,
                DialError::Deadline(_) | DialError::Connect(ConnectError::Deadline(..))
            ),
            _ => false,
        }
    }

    /// Whether the relay knows of no agent that listens.
    pub(super) fn is_agent_away(&self) -> bool {
        matches!(
            self,
            Self::Dial(error)
                if matches!(**error, DialError::Refused { status: StatusCode::NOT_FOUND, .. })
        )
    }

    /// The failure as the user sees it.
    pub fn explain(&self, cluster: &str) -> Error {
        match self {
            Self::Credentials(error) => (**error).clone(),
            Self::Dial(error) => explain_dial(error, cluster),
            Self::Bridge(error) => {
                Error::new(Code::Tunnel, format!("the agent of {cluster} did not bridge the connection"))
                    .caused_by(&**error)
            }
            Self::Tls(error) if self.is_certificate() => Error::new(
                Code::ProxyCertificate,
                format!("the certificate that {cluster} presents does not verify against the authority that Azure names"),
            )
            .caused_by(&**error),
            Self::Tls(error) => {
                Error::new(Code::Tunnel, format!("TLS with {cluster} broke")).caused_by(&**error)
            }
            Self::Deadline(what) => {
                Error::new(Code::Tunnel, format!("{cluster} did not answer in time for {what}"))
            }
            Self::Http(error) => {
                Error::new(Code::Tunnel, format!("the tunnel to {cluster} broke")).caused_by(&**error)
            }
        }
    }
}

fn explain_dial(error: &DialError, cluster: &str) -> Error {
    match error {
        DialError::Connect(connect) => {
            let code = connect.code().unwrap_or(Code::RelayUnreachable);
            Error::new(code, "cannot reach the relay")
                .caused_by(connect)
                .maybe_hinted(connect.hint())
        }
        DialError::Refused { status, reason, .. }
            if *status == StatusCode::NOT_FOUND && reason.contains("Endpoint does not exist") =>
        {
            Error::new(
                Code::RelayRefused,
                format!("the relay does not know the connection that Azure named for {cluster}"),
            )
            .because(reason.clone())
        }
        DialError::Refused { status, reason, .. } if *status == StatusCode::NOT_FOUND => {
            Error::new(
                Code::AgentAway,
                format!("no agent of {cluster} listens at the relay"),
            )
            .because(reason.clone())
        }
        DialError::Deadline(_) => Error::new(
            Code::AgentAway,
            format!("the agent of {cluster} did not answer"),
        )
        .caused_by(error),
        DialError::Refused { .. } | DialError::Broken(..) => Error::new(
            Code::RelayRefused,
            format!("no way through the relay to {cluster}"),
        )
        .caused_by(error),
    }
}

impl fmt::Display for TunnelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.explain("the cluster").fmt(f)
    }
}

impl std::error::Error for TunnelError {}

impl From<hyper::Error> for TunnelError {
    fn from(error: hyper::Error) -> Self {
        Self::Http(Arc::new(error))
    }
}
