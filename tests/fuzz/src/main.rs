#![cfg_attr(fuzzing, no_main)]
//! libFuzzer's way into `arcproxy::fuzzing`. `tests/fuzz/run` builds and runs it.
//!
//! One binary for all targets: `ARCPROXY_FUZZ_TARGET` names the one to run.

#[cfg(not(fuzzing))]
fn main() {}

#[cfg(fuzzing)]
mod target {
    use std::sync::LazyLock;

    use arcproxy::fuzzing::{Target, target};

    pub(crate) static CHOSEN: LazyLock<Target> = LazyLock::new(|| {
        let name = std::env::var("ARCPROXY_FUZZ_TARGET").unwrap_or_default();
        target(&name).unwrap_or_else(|| panic!("ARCPROXY_FUZZ_TARGET={name:?} is no target"))
    });
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| target::CHOSEN(data));
