//! Running az and azd: within a deadline, with no more output than makes sense, and with nothing
//! that runs on when nobody waits any more.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use async_trait::async_trait;
use azure_identity::Executor;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

/// How long a tool has. az takes seconds to start on a slow disk.
pub(super) const DEADLINE: Duration = Duration::from_secs(30);
/// How long what a tool left running may hold its output open once it has ended: a browser may.
const REST: Duration = Duration::from_millis(500);
/// The most that is read of each output, in bytes.
const LIMIT: usize = 1 << 20;

/// Where the program `name` is, if it is on the `PATH`.
pub(super) fn find(name: &str, path: Option<&OsStr>) -> Option<PathBuf> {
    std::env::split_paths(path?)
        // A relative folder would be another one for each folder that arcproxy is started in.
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    file.is_file() && rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok()
}

/// Runs `command` to its end, without stdin. `listen` hears each line of stderr as it comes, and
/// may grant another time from then on.
///
/// Cancel safe: when this is dropped, the program and those that it has started are killed.
///
/// # Errors
/// It cannot be run, does not end in time ([`io::ErrorKind::TimedOut`]) or says too much.
pub(super) async fn run(
    command: &mut Command,
    mut listen: impl FnMut(&str) -> Option<Duration>,
) -> io::Result<Output> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let mut group = Group::of(&child);
    let (Some(mut stdout), Some(mut stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(io::Error::other("its output cannot be read"));
    };
    let mut ended: Option<ExitStatus> = None;
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let (mut out_open, mut err_open, mut heard) = (true, true, 0);
    let mut allowed = DEADLINE;
    let mut deadline = Box::pin(sleep(allowed));
    loop {
        tokio::select! {
            read = stdout.read_buf(&mut out), if out_open => out_open = read? > 0,
            read = stderr.read_buf(&mut err), if err_open => {
                err_open = read? > 0;
                while let Some(length) = err[heard..].iter().position(|byte| *byte == b'\n') {
                    let line = String::from_utf8_lossy(&err[heard..heard + length]);
                    if let Some(more) = listen(&line) {
                        allowed = more;
                        deadline.as_mut().reset(Instant::now() + allowed);
                    }
                    heard += length + 1;
                }
            }
            status = child.wait(), if ended.is_none() => {
                ended = Some(status?);
                deadline.as_mut().reset(Instant::now() + REST);
            }
            () = &mut deadline => {
                if ended.is_none() {
                    let late = format!("it did not answer within {} seconds", allowed.as_secs());
                    return Err(io::Error::new(io::ErrorKind::TimedOut, late));
                }
                (out_open, err_open) = (false, false);
            }
        }
        if out.len() > LIMIT || err.len() > LIMIT {
            return Err(io::Error::other("it printed far too much"));
        }
        if let Some(status) = ended
            && !out_open
            && !err_open
        {
            group.leave();
            return Ok(Output {
                status,
                stdout: out,
                stderr: err,
            });
        }
    }
}

/// What a program has started, itself included. It is killed when this is dropped.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self(id.and_then(Pid::from_raw))
    }

    fn leave(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _gone = kill_process_group(group, Signal::KILL);
        }
    }
}

/// Runs `azure_identity`'s commands, and takes from their output what it can read.
#[derive(Debug)]
pub(super) struct Tools;

#[async_trait]
impl Executor for Tools {
    async fn run(&self, program: &OsStr, arguments: &[&OsStr]) -> io::Result<Output> {
        let mut output = run(Command::new(program).args(arguments), |_| None).await?;
        if output.status.success() {
            output.stdout = object(&output.stdout).to_vec();
        } else {
            output.stderr = complaint(&String::from_utf8_lossy(&output.stderr)).into_bytes();
        }
        Ok(output)
    }
}

/// The JSON object in `stdout`, without the noise around it.
fn object(stdout: &[u8]) -> &[u8] {
    let begin = stdout.iter().position(|byte| *byte == b'{');
    let end = stdout.iter().rposition(|byte| *byte == b'}');
    match (begin, end) {
        (Some(begin), Some(end)) if begin < end => &stdout[begin..=end],
        _ => b"{}",
    }
}

/// What follows the last "ERROR:" of az, without the warnings before it.
fn complaint(stderr: &str) -> String {
    let said = stderr
        .rsplit_once("ERROR:")
        .map_or(stderr, |(_, said)| said);
    said.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn output_is_read_and_lines_are_heard_as_they_come() {
        let mut heard = Vec::new();
        let mut command = shell("echo out; echo one >&2; echo two >&2; printf three >&2; exit 3");
        let output = run(&mut command, |line| {
            heard.push(line.to_owned());
            None
        })
        .await
        .expect("it runs");
        assert_eq!(output.stdout, b"out\n");
        assert_eq!(output.stderr, b"one\ntwo\nthree");
        assert_eq!(output.status.code(), Some(3));
        assert_eq!(heard, ["one", "two"]);
    }

    #[tokio::test]
    async fn what_hangs_is_ended_with_all_that_it_started() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("pid");
        // A child of the shell's own, which would outlive it.
        let script = format!(
            "sh -c 'echo $$ >{0}.new; mv {0}.new {0}; exec cat <>{1}' & echo now >&2; wait",
            file.display(),
            folder.path().join("pipe").display()
        );
        rustix::fs::mknodat(
            rustix::fs::CWD,
            folder.path().join("pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .expect("a pipe");
        let mut command = shell(&script);
        let ran = run(&mut command, |_| Some(Duration::from_millis(200))).await;
        let error = ran.expect_err("it hangs");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let pid: i32 = std::fs::read_to_string(&file)
            .expect("it ran")
            .trim()
            .parse()
            .expect("a number");
        let proc = PathBuf::from(format!("/proc/{pid}/stat"));
        let gone = || {
            // A zombie that nobody has collected yet is gone too.
            std::fs::read_to_string(&proc).map_or(true, |stat| stat.contains(") Z "))
        };
        while !gone() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn what_never_stops_talking_is_ended() {
        let ran = run(&mut shell("exec yes"), |_| None).await;
        assert!(ran.expect_err("too much").to_string().contains("too much"));
    }

    #[tokio::test]
    async fn what_a_tool_leaves_running_is_not_waited_for() {
        let started = std::time::Instant::now();
        let mut command = shell("sleep 20 & echo $!");
        let output = run(&mut command, |_| None).await.expect("it ends");
        assert!(started.elapsed() < Duration::from_secs(10));
        let pid = String::from_utf8(output.stdout).expect("text");
        let pid = Pid::from_raw(pid.trim().parse().expect("a number")).expect("a process");
        // A browser stays open.
        rustix::process::kill_process(pid, Signal::KILL).expect("it runs still");
    }

    #[test]
    fn noise_is_left_out() {
        assert_eq!(object(b"hm\n{\"a\": {}}\nbye\n"), b"{\"a\": {}}");
        assert_eq!(object(b"}{"), b"{}");
        let said = complaint("WARNING: old\nERROR: Please run 'az login'.\nand more\n");
        assert_eq!(said, "Please run 'az login'.\nand more");
        assert_eq!(complaint(" so what\n"), "so what");
    }

    #[test]
    fn programs_are_found_on_absolute_paths_alone() {
        assert!(find("sh", Some(OsStr::new("/nonexistent:/bin"))).is_some());
        assert!(find("sh", Some(OsStr::new("bin:."))).is_none());
        assert!(find("no such program", Some(OsStr::new("/bin"))).is_none());
        assert!(find("sh", None).is_none());
    }
}
