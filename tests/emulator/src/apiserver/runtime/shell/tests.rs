#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::sync::Arc;
use std::time::Duration;

use crate::apiserver::runtime::{ContainerSpec, PodRef, Process, Runtime};

fn runtime() -> Arc<Runtime> {
    let runtime = Runtime::new();
    let pod = PodRef {
        namespace: "default".to_owned(),
        name: "web-0".to_owned(),
        uid: "uid".to_owned(),
    };
    let container = ContainerSpec {
        name: "app".to_owned(),
        image: "nginx".to_owned(),
        env: vec![("GREETING".to_owned(), "hello there".to_owned())],
        ..ContainerSpec::default()
    };
    runtime.start_pod(pod, vec![container]);
    runtime
}

async fn read(reader: &mut crate::apiserver::runtime::pipe::Reader) -> String {
    let mut all = Vec::new();
    while let Some(chunk) = reader.chunk(usize::MAX).await {
        all.extend_from_slice(&chunk);
    }
    String::from_utf8_lossy(&all).into_owned()
}

async fn finish(mut process: Process, stdin: &str) -> (String, String, u8) {
    let writer = process.stdin.take();
    let feed = async {
        if let Some(writer) = writer {
            // A command may end without having read everything.
            let _ = writer.write(stdin.as_bytes().to_vec()).await;
        }
    };
    let ((), stdout, stderr) =
        futures_util::join!(feed, read(&mut process.stdout), read(&mut process.stderr));
    (stdout, stderr, process.wait().await)
}

async fn run(runtime: &Runtime, line: &[&str], stdin: &str) -> (String, String, u8) {
    let line = line.iter().map(|word| (*word).to_owned()).collect();
    let process = runtime.exec("uid", "app", line, true, false).unwrap();
    let limit = Duration::from_secs(20);
    tokio::time::timeout(limit, finish(process, stdin))
        .await
        .unwrap()
}

async fn script(script: &str) -> (String, String, u8) {
    run(&runtime(), &["sh", "-c", script], "").await
}

/// Runs scripts and compares what they write to standard output, and their exit codes.
async fn check(scripts: &[(&str, &str, u8)]) {
    for (text, output, code) in scripts {
        let (stdout, stderr, status) = script(text).await;
        assert_eq!(
            (stdout.as_str(), status),
            (*output, *code),
            "{text}: {stderr}"
        );
    }
}

#[tokio::test]
async fn scripts_flow_as_in_a_shell() {
    check(&[
        ("echo hello; echo world", "hello\nworld\n", 0),
        ("exit 3", "", 3),
        ("exit 259", "", 3),
        ("false || echo rescued && echo on", "rescued\non\n", 0),
        ("true && false; echo $?", "1\n", 0),
        ("! true", "", 1),
        ("echo -n a; echo -e 'b\\tc'", "ab\tc\n", 0),
        ("for i in 1 2 3; do echo $i; done | tail -n 1", "3\n", 0),
        (
            "i=0; while [ $i -lt 3 ]; do i=$((i+1)); done; echo $i",
            "3\n",
            0,
        ),
        ("while true; do echo once; break; done", "once\n", 0),
        (
            "for i in 1 2 3; do [ $i = 2 ] && continue; echo $i; done",
            "1\n3\n",
            0,
        ),
        (
            "if false; then :; elif true; then echo elif; fi",
            "elif\n",
            0,
        ),
        ("ls /nowhere 2>&1 | grep -c 'No such'", "1\n", 0),
        ("ls /nowhere 2> /dev/null; echo $?", "1\n", 0),
        ("echo to-stderr 1>&2", "", 0),
        ("set -e; false; echo unreached", "", 1),
    ])
    .await;
}

#[tokio::test]
async fn words_expand_as_in_a_shell() {
    check(&[
        (
            "echo \"$GREETING\" $GREETING '$GREETING'",
            "hello there hello there $GREETING\n",
            0,
        ),
        ("X='a  b'; echo $X; echo \"$X\"", "a b\na  b\n", 0),
        ("echo ${UNSET:-fallback} ${#GREETING}", "fallback 11\n", 0),
        (
            "echo $(echo inner; echo more) `echo back`",
            "inner more back\n",
            0,
        ),
        (
            "echo $((2 + 3 * 4)); i=1; i=$((i+1)); echo $i",
            "14\n2\n",
            0,
        ),
        ("echo a b c | { read x y; echo $y; }", "b c\n", 0),
        (
            "cd /tmp; touch x.log y.log z.txt; echo *.log; echo *.none",
            "x.log y.log\n*.none\n",
            0,
        ),
        (
            "export A=1; B=2; env | grep -c -e '^A=' ; sh -c 'echo $A-$B'",
            "1\n1-\n",
            0,
        ),
        ("A=tmp sh -c 'echo $A'; echo \"[$A]\"", "tmp\n[]\n", 0),
        ("sh -c 'echo $0 $1 $#' zero one", "zero one 1\n", 0),
        ("echo # a comment\necho next", "\nnext\n", 0),
        ("echo 'a\nb' \\\n  c", "a\nb c\n", 0),
        ("eval 'echo eval'; x=$(false); echo $?", "eval\n1\n", 0),
    ])
    .await;
}

#[tokio::test]
async fn commands_pass_text_on() {
    check(&[
        (
            "if [ -d /tmp ]; then echo yes; else echo no; fi",
            "yes\n",
            0,
        ),
        ("{ echo a; echo b; } | wc -l", "2\n", 0),
        (
            "seq 3 | head -n 2; seq 5 | tail -2; seq 1 2 5",
            "1\n2\n4\n5\n1\n3\n5\n",
            0,
        ),
        ("yes | head -n 3", "y\ny\ny\n", 0),
        ("yes | head -c 5", "y\ny\ny", 0),
        (
            "dd if=/dev/zero bs=1M count=3 status=none | wc -c",
            "3145728\n",
            0,
        ),
        ("printf '%s-%03d\\n' a 7 b 8", "a-007\nb-008\n", 0),
        (
            "printf abc | sha256sum",
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  -\n",
            0,
        ),
        ("echo hello | base64 | base64 -d", "hello\n", 0),
        (
            "printf 'b\\na\\nb\\n' | sort | uniq -c",
            "      1 a\n      2 b\n",
            0,
        ),
        (
            "echo a:b:c | cut -d: -f2,3; echo abc | tr a-c A-C",
            "b:c\nABC\n",
            0,
        ),
        ("echo 1 2 3 | xargs -n 1 echo n", "n 1\nn 2\nn 3\n", 0),
    ])
    .await;
}

#[tokio::test]
async fn commands_work_on_files() {
    check(&[
        ("(cd /tmp; pwd); pwd", "/tmp\n/\n", 0),
        (
            "echo one > /tmp/f; echo two >> /tmp/f; cat < /tmp/f",
            "one\ntwo\n",
            0,
        ),
        (
            "mkdir -p /tmp/a/b && touch /tmp/a/b/c /tmp/a/b/d && ls /tmp/a/b",
            "c\nd\n",
            0,
        ),
        (
            "echo data > /tmp/m; mv /tmp/m /tmp/n; cp /tmp/n /tmp/o; cat /tmp/n /tmp/o; rm -rf /tmp/n; test -e /tmp/n",
            "data\ndata\n",
            1,
        ),
        ("echo one | tee /tmp/t; cat /tmp/t", "one\none\n", 0),
        (
            "ln -s /etc/hostname /tmp/l; cat /tmp/l; ls -l /tmp/l | cut -c1",
            "web-0\nl\n",
            0,
        ),
        (
            "cd /tmp; printf '#!/bin/sh\\necho ran $1\\n' > s; chmod +x s; ./s it",
            "ran it\n",
            0,
        ),
        (
            "cd /tmp && tar cf a.tar --directory=/etc hostname && tar tf a.tar",
            "hostname\n",
            0,
        ),
    ])
    .await;
}

#[tokio::test]
async fn commands_tell_about_the_container() {
    check(&[
        (
            "hostname; whoami; id -u; uname",
            "web-0\nroot\n0\nLinux\n",
            0,
        ),
        (
            "cat /etc/hostname; printenv GREETING",
            "web-0\nhello there\n",
            0,
        ),
        ("which sh; which nothing", "/bin/sh\n", 1),
        ("timeout 0.01 sleep 100; echo $?", "124\n", 0),
        ("basename /a/b.txt .txt; dirname /a/b", "b\n/a\n", 0),
        ("sleep 0; echo slept", "slept\n", 0),
        ("find /etc -name 'host*'", "/etc/hostname\n/etc/hosts\n", 0),
    ])
    .await;
}

#[tokio::test]
async fn failures_are_said_on_standard_error() {
    for (text, message, code) in [
        ("foo", "sh: foo: not found\n", 127),
        ("bash -c foo", "bash: foo: command not found\n", 127),
        ("/nowhere/x", "sh: /nowhere/x: not found\n", 127),
        (
            "/etc/hostname",
            "sh: /etc/hostname: Permission denied\n",
            126,
        ),
        (
            "cat /nowhere",
            "cat: /nowhere: No such file or directory\n",
            1,
        ),
        (
            "cd /nowhere",
            "sh: cd: can't cd to /nowhere: No such file or directory\n",
            1,
        ),
        ("echo (", "sh: syntax error: unexpected \"(\"\n", 2),
        (
            "echo 'open",
            "sh: syntax error: unexpected \"end of file\"\n",
            2,
        ),
        (
            "x=aaaaaaaa; while x=$x$x; do :; done",
            "sh: Argument list too long\n",
            0,
        ),
        ("echo $((1/0))", "sh: divide by zero\n", 1),
        (
            "cat < /nowhere",
            "sh: can't open /nowhere: No such file or directory\n",
            1,
        ),
        ("rm /tmp", "rm: can't remove '/tmp': Is a directory\n", 1),
        ("echo err 1>&2", "err\n", 0),
    ] {
        let (stdout, stderr, status) = script(text).await;
        assert_eq!(
            (stderr.as_str(), status),
            (message, code),
            "{text}: {stdout}"
        );
    }
}

#[tokio::test]
async fn scripts_come_from_standard_input_too() {
    let runtime = runtime();
    let input = "echo one\nfor i in 1 2; do\necho $i\ndone\ncat\nthis is for cat\n";
    let (stdout, _, code) = run(&runtime, &["sh"], input).await;
    assert_eq!(stdout, "one\n1\n2\nthis is for cat\n");
    assert_eq!(code, 0);
    let (_, _, code) = run(&runtime, &["/bin/sh"], "exit 9\necho unreached\n").await;
    assert_eq!(code, 9);
}

#[tokio::test]
async fn scripts_that_call_themselves_end() {
    let text = "echo 'sh /tmp/again' > /tmp/again; sh /tmp/again";
    let (_, stderr, code) = script(text).await;
    assert!(
        stderr.contains("Resource temporarily unavailable"),
        "{stderr}"
    );
    assert_eq!(code, 126);
}

#[tokio::test]
async fn archives_go_out_and_come_back_whole() {
    let runtime = runtime();
    let text = "mkdir -p /tmp/d/e; dd if=/dev/urandom of=/tmp/d/e/r bs=1k count=300 status=none; echo x > /tmp/d/x; \
        cd /tmp && tar cf - d | (mkdir -p /tmp/out && tar xmf - -C /tmp/out) && \
        sha256sum < /tmp/d/e/r && sha256sum < /tmp/out/d/e/r && cat out/d/x";
    let (stdout, stderr, code) = run(&runtime, &["sh", "-c", text], "").await;
    assert_eq!(code, 0, "{stderr}");
    let lines: Vec<&str> = stdout.lines().collect();
    assert_eq!(lines.len(), 3, "{stdout}");
    assert_eq!(lines[0], lines[1]);
    assert_eq!(lines[2], "x");
}

#[tokio::test]
async fn archive_names_do_not_climb_out() {
    let runtime = runtime();
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(4);
    header.set_mode(0o644);
    let name = b"../../etc/evil";
    header.as_mut_bytes()[..name.len()].copy_from_slice(name);
    header.set_cksum();
    archive.append(&header, &b"evil"[..]).unwrap();
    let archive = archive.into_inner().unwrap();
    let line = ["tar", "xf", "-", "-C", "/tmp"].map(str::to_owned).to_vec();
    let mut process = runtime.exec("uid", "app", line, true, false).unwrap();
    process.stdin.take().unwrap().write(archive).await.unwrap();
    assert_eq!(process.wait().await, 0);
    let (stdout, _, _) = run(&runtime, &["find", "/tmp", "-type", "f"], "").await;
    assert_eq!(stdout, "/tmp/etc/evil\n");
    let (_, _, code) = run(&runtime, &["test", "-e", "/etc/evil"], "").await;
    assert_eq!(code, 1);
}

#[tokio::test]
async fn a_full_disk_is_told() {
    let text = "dd if=/dev/zero of=/tmp/full bs=1M count=600";
    let (_, stderr, code) = script(text).await;
    assert_eq!(code, 1);
    assert!(stderr.contains("No space left on device"), "{stderr}");
}

#[tokio::test]
async fn commands_that_cannot_start_say_why() {
    let runtime = runtime();
    for (command, error) in [
        ("foo", "exec: \"foo\": executable file not found in $PATH"),
        (
            "/foo",
            "exec: \"/foo\": stat /foo: no such file or directory",
        ),
        ("cd", "exec: \"cd\": executable file not found in $PATH"),
        ("/etc/hosts", "exec: \"/etc/hosts\": permission denied"),
    ] {
        let started = runtime.exec("uid", "app", vec![command.to_owned()], false, false);
        assert_eq!(started.unwrap_err().to_string(), error);
    }
    let started = runtime.exec("uid", "other", vec!["ls".to_owned()], false, false);
    assert_eq!(
        started.unwrap_err().to_string(),
        "container not found (\"other\")"
    );
}

/// A terminal and what has been shown on it.
struct Screen {
    _runtime: Arc<Runtime>,
    process: Process,
    shown: String,
}

impl Screen {
    fn start(line: &[&str]) -> Self {
        let runtime = runtime();
        let line = line.iter().map(|word| (*word).to_owned()).collect();
        Self {
            process: runtime.exec("uid", "app", line, true, true).unwrap(),
            shown: String::new(),
            _runtime: runtime,
        }
    }

    async fn type_in(&self, keys: &str) {
        let stdin = self.process.stdin.as_ref().unwrap();
        stdin.write(keys.as_bytes().to_vec()).await.unwrap();
    }

    /// Waits until `text` has been shown since the last wait.
    async fn wait_for(&mut self, text: &str) {
        let limit = Duration::from_secs(20);
        while !self.shown.contains(text) {
            let chunk = tokio::time::timeout(limit, self.process.stdout.chunk(usize::MAX))
                .await
                .unwrap_or_else(|_| panic!("waiting for {text:?}, shown: {:?}", self.shown))
                .unwrap_or_else(|| panic!("ended before {text:?}, shown: {:?}", self.shown));
            self.shown += &String::from_utf8_lossy(&chunk);
        }
        let end = self.shown.find(text).unwrap() + text.len();
        self.shown.drain(..end);
    }
}

#[tokio::test]
async fn a_shell_on_a_terminal_prompts_echoes_and_ends() {
    let mut screen = Screen::start(&["bash"]);
    screen.wait_for("root@web-0:/# ").await;
    screen.type_in("cd /tmp; pwd\r").await;
    screen.wait_for("cd /tmp; pwd\r\n/tmp\r\n").await;
    screen.wait_for("root@web-0:/tmp# ").await;
    screen.type_in("cat\rline\r\x04").await;
    screen.wait_for("line\r\n").await;
    screen.wait_for("root@web-0:/tmp# ").await;
    screen.type_in("false\r\x04").await;
    screen.wait_for("root@web-0:/tmp# ").await;
    assert_eq!(screen.process.wait().await, 1);
}

#[tokio::test]
async fn an_interrupt_ends_the_command_and_not_the_shell() {
    let mut screen = Screen::start(&["sh", "-c", "sh"]);
    screen.wait_for("/ # ").await;
    screen.type_in("yes > /dev/null\r").await;
    screen.wait_for("yes > /dev/null\r\n").await;
    screen.type_in("\x03").await;
    screen.wait_for("^C").await;
    screen.wait_for("/ # ").await;
    screen.type_in("echo status=$?\r").await;
    screen.wait_for("status=130\r\n").await;
    screen.wait_for("/ # ").await;
    screen.type_in("half a li\x03").await;
    screen.wait_for("^C\r\n/ # ").await;
    screen.type_in("exit 5\r").await;
    assert_eq!(screen.process.wait().await, 5);
}

#[tokio::test]
async fn an_interrupt_ends_a_command_on_a_terminal() {
    let mut screen = Screen::start(&["sleep", "infinity"]);
    screen.type_in("\x03").await;
    assert_eq!(screen.process.wait().await, 130);
}

#[tokio::test]
async fn a_terminal_tells_its_size() {
    let mut screen = Screen::start(&["sh"]);
    screen.wait_for("# ").await;
    let size = crate::apiserver::runtime::terminal::Size {
        columns: 132,
        rows: 43,
    };
    screen.process.size.send_replace(size);
    screen.type_in("stty size; echo c=$COLUMNS\r").await;
    screen.wait_for("43 132\r\nc=132\r\n").await;
}
