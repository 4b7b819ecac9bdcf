//! kubectl on a terminal, which `script` gives it.

use std::process::Stdio;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::time::timeout;

use crate::harness::DEADLINE;

/// Runs `kubectl` on a terminal and types `keys` once there is a prompt; gives the exit code and
/// all that the terminal showed.
pub(super) async fn type_in(kubectl: &Command, keys: &str) -> (Option<i32>, String) {
    let kubectl = kubectl.as_std();
    let line: Vec<_> = std::iter::once(kubectl.get_program())
        .chain(kubectl.get_args())
        .map(|word| word.to_str().unwrap())
        .collect();
    let mut script = Command::new("script");
    script
        .args(["-qec", &line.join(" "), "/dev/null"])
        .env_clear()
        .envs(
            kubectl
                .get_envs()
                .map(|(name, value)| (name, value.unwrap())),
        )
        .current_dir(kubectl.get_current_dir().unwrap())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    let mut child = script.spawn().unwrap();
    let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut screen = Vec::new();
    let talk = async {
        let mut told = false;
        while output.read_buf(&mut screen).await.unwrap() > 0 {
            let prompted = screen.ends_with(b"# ") || screen.ends_with(b"$ ");
            if prompted && !std::mem::replace(&mut told, prompted) {
                input.write_all(keys.as_bytes()).await.unwrap();
            }
        }
    };
    let ended = timeout(DEADLINE, talk).await;
    let screen = String::from_utf8_lossy(&screen).into_owned();
    ended.unwrap_or_else(|_| panic!("the terminal goes on after: {screen}"));
    (child.wait().await.unwrap().code(), screen)
}
