//! A process with its client's wishes, whatever protocol the client speaks.

use bytes::Bytes;
use serde::Deserialize;

use super::options::Options;
use super::status::Status;
use super::{Remote, Runtime};
use crate::apiserver::runtime::terminal::Size;
use crate::apiserver::runtime::{Process, StartError};

/// What a client wants to run or to attach to.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) kind: Remote,
    pub(super) uid: String,
    pub(super) container: String,
    pub(super) options: Options,
}

impl Wanted {
    /// Starts the process.
    ///
    /// # Errors
    ///
    /// The status that tells the client why not.
    pub(super) fn start(&self, runtime: &Runtime) -> Result<Process, Status> {
        let options = &self.options;
        let started = match self.kind {
            Remote::Attach => runtime.attach(&self.uid, &self.container, options.stdin),
            Remote::Exec | Remote::PortForward => runtime.exec(
                &self.uid,
                &self.container,
                options.command.clone(),
                options.stdin,
                options.tty,
            ),
        };
        started.map_err(|error| Status::internal(self.words(&error)))
    }

    /// How the process ended.
    pub(super) fn ended(&self, code: u8) -> Status {
        match self.kind {
            // An attachment ends well, however the process ends: its code is in the pod's status.
            Remote::Attach => Status::exited(&[], 0),
            Remote::Exec | Remote::PortForward => Status::exited(&self.options.command, code),
        }
    }

    /// What a kubelet on containerd says.
    fn words(&self, error: &StartError) -> String {
        match error {
            StartError::NoContainer(_) if self.kind == Remote::Attach => {
                format!("error attaching to container: {error}")
            }
            StartError::NoContainer(_) | StartError::NoCommand => {
                format!("error executing command in container: {error}")
            }
            StartError::NoExecutable(_) | StartError::NotExecutable(_) => format!(
                "error executing command in container: failed to exec in container: failed to start exec \"{}\": OCI runtime exec failed: exec failed: unable to start container process: {error}: unknown",
                uuid::Uuid::new_v4().simple()
            ),
        }
    }
}

/// The message that tells a terminal's size.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Resize {
    width: u16,
    height: u16,
}

/// Terminal sizes as they come: JSON objects one after another, in any pieces.
#[derive(Debug, Default)]
pub(super) struct Sizes {
    pending: Vec<u8>,
}

impl Sizes {
    /// The latest size that `bytes` complete.
    pub(super) fn take(&mut self, bytes: &Bytes) -> Option<Size> {
        // A size is some thirty bytes; what is this long is none.
        if self.pending.len() + bytes.len() > 4096 {
            self.pending.clear();
            return None;
        }
        self.pending.extend_from_slice(bytes);
        let mut latest = None;
        let mut sizes = serde_json::Deserializer::from_slice(&self.pending).into_iter::<Resize>();
        let mut used = 0;
        loop {
            match sizes.next() {
                Some(Ok(size)) => {
                    used = sizes.byte_offset();
                    latest = Some(Size {
                        columns: size.width,
                        rows: size.height,
                    });
                }
                Some(Err(error)) if error.is_eof() => break,
                // What is no size is dropped, as a decoder gives up on it.
                None | Some(Err(_)) => {
                    used = self.pending.len();
                    break;
                }
            }
        }
        self.pending.drain(..used);
        latest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_come_in_any_pieces() {
        let mut sizes = Sizes::default();
        let size = |columns, rows| Some(Size { columns, rows });
        let take = |sizes: &mut Sizes, text: &'static str| {
            sizes.take(&Bytes::from_static(text.as_bytes()))
        };
        assert_eq!(take(&mut sizes, "{\"Width\":10,\"Hei"), None);
        assert_eq!(take(&mut sizes, "ght\":5}\n"), size(10, 5));
        assert_eq!(
            take(
                &mut sizes,
                "{\"Width\":1,\"Height\":2}{\"Width\":3,\"Height\":4}{"
            ),
            size(3, 4)
        );
        assert_eq!(take(&mut sizes, "\"Width\":7,\"Height\":8}"), size(7, 8));
        assert_eq!(take(&mut sizes, "nonsense"), None);
        assert_eq!(take(&mut sizes, "{\"Width\":9,\"Height\":9}"), size(9, 9));
    }
}
