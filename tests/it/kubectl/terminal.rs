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
        .kill_on_drop(true);
    converse(script, keys, false).await
}

/// Runs `kubectl` without a terminal of its own, types `keys` once there is a prompt, and ends the
/// input at the next one; gives the exit code and all that it printed.
pub(super) async fn type_and_leave(kubectl: Command, keys: &str) -> (Option<i32>, String) {
    converse(kubectl, keys, true).await
}

async fn converse(mut command: Command, keys: &str, leave: bool) -> (Option<i32>, String) {
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (mut input, mut output) = (child.stdin.take(), child.stdout.take().unwrap());
    let mut screen = Vec::new();
    let talk = async {
        let mut told = false;
        while output.read_buf(&mut screen).await.unwrap() > 0 {
            if !screen.ends_with(b"# ") {
                continue;
            }
            if !told {
                let input = input.as_mut().unwrap();
                input.write_all(keys.as_bytes()).await.unwrap();
                told = true;
            } else if leave {
                input = None;
            }
        }
        child.wait().await.unwrap().code()
    };
    let ended = timeout(DEADLINE, talk).await;
    let screen = String::from_utf8_lossy(&screen).into_owned();
    let code = ended.unwrap_or_else(|_| panic!("it goes on after: {screen}"));
    (code, screen)
}
