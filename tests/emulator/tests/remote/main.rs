//! exec, attach, cp, port-forward and logs, driven by the real kubectl, which must be on the path (as
//! must `script`, which makes terminals), and by clients of our own where kubectl is too polite.
//!
//! `front` is the little of an apiserver that kubectl asks for on the way to a pod.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod exec;
mod files;
mod forward;
mod front;
mod protocol;
