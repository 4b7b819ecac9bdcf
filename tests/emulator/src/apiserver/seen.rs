//! What the server was asked, for tests to look at.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use http::{Request, Version};

/// Requests that are remembered.
const REMEMBERED: usize = 512;

/// What a server has been asked so far.
#[derive(Debug, Clone, Default)]
pub struct ApiSeen {
    /// How many requests came.
    pub requests: u64,
    /// How many of them came over HTTP/2.
    pub http2: u64,
    /// The last few hundred of them, oldest first.
    pub recent: Vec<SeenRequest>,
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenRequest {
    /// The method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The user as whom it was answered; none if it came without valid credentials.
    pub user: Option<String>,
    /// The groups of that user.
    pub groups: Vec<String>,
}

#[derive(Debug, Default)]
struct State {
    requests: u64,
    http2: u64,
    recent: VecDeque<SeenRequest>,
}

/// The memory of a server.
#[derive(Debug, Default)]
pub(super) struct Seen(Mutex<State>);

impl Seen {
    /// Remembers a request.
    pub(super) fn note<B>(&self, request: &Request<B>, user: Option<&super::auth::User>) {
        let uri = request.uri();
        let path = uri
            .path_and_query()
            .map_or_else(|| uri.path(), |path| path.as_str());
        let seen = SeenRequest {
            method: request.method().to_string(),
            path: path.to_owned(),
            user: user.map(|user| user.name.clone()),
            groups: user.map(|user| user.groups.clone()).unwrap_or_default(),
        };
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.requests += 1;
        state.http2 += u64::from(request.version() == Version::HTTP_2);
        if state.recent.len() == REMEMBERED {
            state.recent.pop_front();
        }
        state.recent.push_back(seen);
    }

    /// What is remembered.
    pub(super) fn now(&self) -> ApiSeen {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ApiSeen {
            requests: state.requests,
            http2: state.http2,
            recent: state.recent.iter().cloned().collect(),
        }
    }
}
