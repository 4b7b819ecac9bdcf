//! Whether somebody is there to be asked, and can see a browser.

use std::io::{IsTerminal as _, stderr, stdin};

use crate::settings::Environment;

/// Why nobody can answer a question, if so.
pub(super) fn nobody(environment: &Environment) -> Option<&'static str> {
    let is_ci = environment
        .text("CI")
        .is_some_and(|value| !matches!(value.as_str(), "0" | "false"));
    if is_ci {
        return Some("CI is set, so nobody can answer");
    }
    if !stdin().is_terminal() || !stderr().is_terminal() {
        return Some("stdin and stderr are no terminal, so nobody can answer");
    }
    None
}

/// Why a browser that is opened here cannot be seen, if so.
pub(super) fn no_desktop(environment: &Environment) -> Option<&'static str> {
    let is_set = |name| environment.text(name).is_some();
    if cfg!(any(target_os = "macos", windows)) {
        return is_set("SSH_CONNECTION")
            .then_some("SSH_CONNECTION is set, so the desktop is elsewhere");
    }
    (!is_set("DISPLAY") && !is_set("WAYLAND_DISPLAY"))
        .then_some("there is no desktop: neither DISPLAY nor WAYLAND_DISPLAY is set")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipeline_is_nobody_and_a_display_is_a_desktop() {
        let with = |name: &str, value: &str| Environment::of([(name, value)]);
        assert!(nobody(&with("CI", "true")).is_some_and(|why| why.starts_with("CI ")));
        // Tests run without a terminal, or with one: CI is not the reason then.
        assert!(nobody(&with("CI", "false")).is_none_or(|why| !why.starts_with("CI ")));
        let linux = cfg!(target_os = "linux");
        assert_eq!(no_desktop(&with("HOME", "/")).is_some(), linux);
        for name in ["DISPLAY", "WAYLAND_DISPLAY"] {
            assert_eq!(no_desktop(&with(name, ":0")), None);
        }
    }
}
