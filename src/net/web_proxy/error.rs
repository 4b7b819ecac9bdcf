//! What a web proxy can do wrong, and what to do about it.

use std::fmt;

use http::StatusCode;

use super::WebProxy;
use crate::error::Code;
use crate::net::ConnectError;

/// Why a web proxy did not open the way.
#[derive(Debug)]
pub struct WebProxyError {
    /// The proxy's address and what named it.
    proxy: String,
    /// The host and port that it was to connect to.
    target: String,
    failure: Failure,
}

#[derive(Debug)]
pub(in super::super) enum Failure {
    /// There is no connection to the proxy itself.
    Unreachable(Box<ConnectError>),
    /// It did not answer in time.
    Deadline,
    /// It ended the connection, or did not answer as a proxy does.
    Broken(String),
    /// It wants credentials, or others.
    Credentials {
        /// Whether some were sent.
        sent: bool,
        /// Whether it takes those of the Basic scheme.
        takes_basic: bool,
    },
    /// It answered with a status that opens nothing.
    Refused(StatusCode, String),
}

impl WebProxyError {
    pub(in super::super) fn new(proxy: &WebProxy, target: &str, failure: Failure) -> Self {
        Self {
            proxy: proxy.to_string(),
            target: target.to_owned(),
            failure,
        }
    }

    /// The kind of failure.
    pub fn code(&self) -> Code {
        match self.failure {
            Failure::Unreachable(_) | Failure::Deadline | Failure::Broken(_) => {
                Code::WebProxyUnreachable
            }
            Failure::Credentials { .. } => Code::WebProxyCredentials,
            Failure::Refused(..) => Code::WebProxyRefused,
        }
    }

    /// What to do, where more is known than the code's own hint.
    pub fn hint(&self) -> Option<&'static str> {
        match &self.failure {
            Failure::Unreachable(error) => error.hint(),
            Failure::Credentials {
                takes_basic: false, ..
            } => Some(
                "the proxy takes no Basic credentials (it may want NTLM or Kerberos): run a helper that signs in to it, such as cntlm or px, and name that as the proxy",
            ),
            Failure::Credentials { sent: true, .. } => Some(
                "check the user and password in the proxy's address; special characters are percent-encoded there (%40 for @)",
            ),
            Failure::Refused(status, _) if may_pass(*status) => Some(
                "the proxy allows the connection but cannot open it: it has to resolve and reach this host itself; if it stays, ask those who run it",
            ),
            _ => None,
        }
    }

    /// Whether the proxy may do better soon.
    pub(in super::super) fn may_pass(&self) -> bool {
        match &self.failure {
            Failure::Unreachable(error) => error.may_pass(),
            Failure::Broken(_) => true,
            Failure::Refused(status, _) => may_pass(*status),
            Failure::Deadline | Failure::Credentials { .. } => false,
        }
    }

    /// Whether the same will happen until somebody changes something.
    pub(crate) fn is_final(&self) -> bool {
        match &self.failure {
            Failure::Credentials { .. } => true,
            Failure::Refused(status, _) => !may_pass(*status),
            Failure::Unreachable(_) | Failure::Deadline | Failure::Broken(_) => false,
        }
    }
}

fn may_pass(status: StatusCode) -> bool {
    crate::net::may_pass(status)
}

impl fmt::Display for WebProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            proxy,
            target,
            failure,
        } = self;
        write!(f, "web proxy {proxy} ")?;
        match failure {
            Failure::Unreachable(error) => write!(f, "is out of reach: {error}"),
            Failure::Deadline => write!(f, "did not answer in time for {target}"),
            Failure::Broken(why) => write!(f, "opened no way to {target}: {why}"),
            Failure::Credentials { sent: false, .. } => {
                write!(f, "asks for credentials on the way to {target}")
            }
            Failure::Credentials { sent: true, .. } => {
                write!(
                    f,
                    "does not take the credentials in its address for {target}"
                )
            }
            Failure::Refused(status, reason) => {
                write!(f, "refused a connection to {target}: {}", status.as_u16())?;
                if reason.is_empty() {
                    return Ok(());
                }
                write!(f, " {reason}")
            }
        }
    }
}

impl std::error::Error for WebProxyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.failure {
            Failure::Unreachable(error) => error.source(),
            _ => None,
        }
    }
}
