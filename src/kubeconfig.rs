//! Putting arcproxy's entries into a kubeconfig without disturbing anything else in it.
//!
//! [`merge`] is pure: text in, text out. It changes only what it must, by cutting and inserting at
//! byte positions, so comments, order, quoting, anchors, line endings and unknown fields of
//! everything else stay as the person left them. [`write()`] does the same to a file, under kubectl's
//! lock and with an atomic rename.
//!
//! # Why splicing
//!
//! An editor that keeps a syntax tree (yaml-edit was tried) prints new nodes in block-style YAML
//! scalars even into a JSON kubeconfig, which then is JSON no more, and drops the comments of a
//! node whose fields change. `granit_parser`, which serde-saphyr reads with anyway, tells the byte
//! range of every node instead; the text between the edits is never printed again, it is copied.
//!
//! # Why it can be trusted
//!
//! No result leaves [`merge`] before the text before and after has been read through serde-saphyr
//! into plain values and found to differ in exactly the intended entries (the `proof` module). A
//! wrong position therefore ends as [`MergeError::Unfaithful`], not as somebody's lost cluster.
//! Both readers share one grammar, so this catches wrong edits, not a wrong reading of YAML.

mod edit;
mod emit;
mod error;
mod file;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod lock;
mod proof;
mod splice;
#[cfg(test)]
mod tests;
mod tree;

pub use error::{MergeError, WriteError};
pub use file::{Warning, Written, check, write};

/// What arcproxy puts into a kubeconfig: one cluster, one user, and the context that joins them.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    /// The name of the context and of the cluster, which az names alike.
    pub context: &'a str,
    /// The name of the user, see [`user_name`].
    pub user: &'a str,
    /// The URL of the local listener.
    pub server: &'a str,
    /// The PEM certificates that vouch for the local listener.
    pub certificate_authority_pem: &'a str,
    /// The bearer token that the local listener asks for.
    pub token: &'a str,
}

impl std::fmt::Debug for Entry<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry")
            .field("context", &self.context)
            .field("user", &self.user)
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

/// The user's name for a cluster: the one in the kubeconfig that ARM hands to az, so that
/// whichever of the two tools runs next replaces the entry instead of adding a second one.
pub fn user_name(resource_group: &str, cluster: &str) -> String {
    format!("clusterUser_{resource_group}_{cluster}")
}

/// A kubeconfig that holds this entry and nothing else.
pub fn fresh(entry: &Entry<'_>) -> String {
    emit::document(entry, "\n")
}

/// `existing` with the entry added, or replaced where the names match, and made current.
///
/// The context's `namespace` is the person's choice rather than arcproxy's: it survives the
/// replacement. Names that occur more than once, with which kubectl refuses the whole file, end
/// up once.
///
/// # Errors
///
/// Fails if `existing` is not one YAML document shaped like a kubeconfig, or if something outside
/// the entry refers to an anchor inside it.
pub fn merge(existing: &str, entry: &Entry<'_>) -> Result<String, MergeError> {
    const BYTE_ORDER_MARK: char = '\u{feff}';
    let text = existing.strip_prefix(BYTE_ORDER_MARK).unwrap_or(existing);
    let before = proof::read(text);
    let document = tree::parse(text)?;
    let mut merged = splice::merge(text, &document, entry)?;
    let after = proof::read(&merged).map_err(|_| MergeError::Unfaithful)?;
    if proof::expected(before?, entry).as_ref() != Some(&after) {
        return Err(MergeError::Unfaithful);
    }
    if text.len() != existing.len() {
        merged.insert(0, BYTE_ORDER_MARK);
    }
    Ok(merged)
}
