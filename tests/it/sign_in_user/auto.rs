//! What `auto` takes where no service principal is configured and az is not installed.

use std::os::unix::fs::symlink;

use tokio::process::Command;

use super::TRUE;
use crate::harness::{Ran, World};

impl World {
    /// arcproxy with a PATH on which hardly anything is.
    fn bare(&self, arguments: &[&str]) -> Command {
        let tools = self.path("tools");
        if !tools.exists() {
            std::fs::create_dir(&tools).unwrap();
            for tool in ["sh", "true", "env"] {
                let found = ["/usr/bin", "/bin"].map(|folder| format!("{folder}/{tool}"));
                let found = found
                    .iter()
                    .find(|path| std::path::Path::new(path).exists());
                symlink(found.unwrap(), tools.join(tool)).unwrap();
            }
        }
        let mut command = self.by_person(arguments);
        command.env("PATH", tools);
        command
    }

    /// arcproxy on a terminal, which `script` gives it.
    fn on_a_terminal(&self, arguments: &[&str]) -> Command {
        let inner = self.bare(arguments);
        let inner = inner.as_std();
        let words = std::iter::once(inner.get_program()).chain(inner.get_args());
        let line: Vec<_> = words.map(|word| word.to_str().unwrap()).collect();
        let mut script = Command::new("/usr/bin/script");
        let variables = inner
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?)));
        script
            .args(["-qec", &line.join(" "), "/dev/null"])
            .env_clear()
            .envs(variables)
            .current_dir(self.home())
            .stdin(std::process::Stdio::null())
            .kill_on_drop(true);
        script
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_asked_where_nobody_can_answer() {
    let world = World::new().await;
    let mut command = world.bare(&TRUE);
    let ran = Ran::of(command.env("DISPLAY", ":0")).await;
    let ran = ran.failed(3, &["no sign-in method is configured"]);
    for method in ["browser", "device-code"] {
        let why = format!("{method}: stdin and stderr are no terminal, so nobody can answer");
        assert!(ran.stderr.contains(&why), "{}", ran.stderr);
    }
    let mut command = world.on_a_terminal(&TRUE);
    let ran = Ran::of(command.env("DISPLAY", ":0").env("CI", "true")).await;
    assert_eq!(ran.code, Some(3), "{}", ran.stdout);
    for method in ["browser", "device-code"] {
        let why = format!("{method}: CI is set, so nobody can answer");
        assert!(ran.stdout.contains(&why), "{}", ran.stdout);
    }
    assert_eq!(world.emulator.entra().seen().token_requests, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_desktop_it_is_the_browser() {
    let world = World::new().await;
    let shown = first_words(&world, |command| {
        command.env("WAYLAND_DISPLAY", "wayland-0");
    });
    let shown = shown.await;
    assert!(shown.contains("/oauth2/v2.0/authorize?"), "{shown}");
    assert!(
        shown.contains("device-code") || !shown.contains("│"),
        "{shown}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_terminal_without_a_desktop_it_is_a_code() {
    let world = World::new().await;
    let shown = first_words(&world, |_| {}).await;
    assert!(shown.contains("/deviceauth"), "{shown}");
    let why = "there is no desktop: neither DISPLAY nor WAYLAND_DISPLAY is set";
    assert!(shown.contains(why), "-v says why not the browser: {shown}");
}

/// What is shown on a terminal up to the page that somebody is to open.
async fn first_words(world: &World, change: impl FnOnce(&mut Command)) -> String {
    use tokio::io::AsyncReadExt as _;
    let mut command = world.on_a_terminal(&[&["-v"], &TRUE[..]].concat());
    change(&mut command);
    let mut child = command
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = child.stdout.take().unwrap();
    let mut shown = Vec::new();
    let reading = async {
        loop {
            let read = output.read_buf(&mut shown).await.unwrap();
            let text = String::from_utf8_lossy(&shown);
            let page = text.split_once("\r\n  https://");
            if read == 0 || page.is_some_and(|(_, rest)| rest.contains('\n')) {
                break;
            }
        }
    };
    let read = tokio::time::timeout(crate::harness::DEADLINE, reading).await;
    let shown = String::from_utf8_lossy(&shown).into_owned();
    read.unwrap_or_else(|_| panic!("it goes on after: {shown}"));
    shown
}
