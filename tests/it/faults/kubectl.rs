//! What kubectl itself makes of a hundred lost tunnels. It takes nothing up again: each command ends
//! with its tunnel, and is started anew, as a script would do it.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use arc_emulator::pattern::Pattern;
use arc_emulator::relay::Cut;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::views::{LOSSES, direct, lose, map, sees_everything_once, tell, watch_path};
use crate::harness::{DEADLINE, Ran, World};

const WATCH: &str = "get configmaps -n demo -w --output-watch-events";
const FOLLOW: &str = "logs -f counting -n demo --tail=50";
const FORWARD: &str = "port-forward --address=127.0.0.1 -n demo shell :7";

/// A pod whose log counts.
const COUNTING: &str = "\
apiVersion: v1
kind: Pod
metadata: {name: counting, namespace: demo}
spec:
  containers:
  - name: main
    image: busybox:1.37
    command: [sh, -c, 'i=0; while true; do echo line $i; i=$((i+1)); sleep 0.01; done']
";

/// What was forwarded for long enough, in bytes.
const ENOUGH: u64 = 256 << 10;
const CHUNK: usize = 32 << 10;

/// A kubectl that goes on until something ends it.
struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    errors: JoinHandle<String>,
}

/// How it ended.
#[derive(Debug)]
struct End {
    /// The lines that had not been read.
    rest: Vec<String>,
    code: Option<i32>,
    stderr: String,
}

impl Running {
    fn start(mut kubectl: Command) -> Self {
        let mut child = kubectl
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut stderr = child.stderr.take().unwrap();
        let errors = tokio::spawn(async move {
            let mut text = String::new();
            stderr.read_to_string(&mut text).await.unwrap();
            text
        });
        Self {
            child,
            lines,
            errors,
        }
    }

    /// The next line; none at the end.
    async fn line(&mut self) -> Option<String> {
        let line = timeout(DEADLINE, self.lines.next_line()).await;
        line.expect("a line or the end").unwrap()
    }

    async fn ended(mut self) -> End {
        let mut rest = Vec::new();
        while let Some(line) = self.line().await {
            rest.push(line);
        }
        let status = timeout(DEADLINE, self.child.wait()).await;
        End {
            rest,
            code: status.expect("it ends").unwrap().code(),
            stderr: self.errors.await.unwrap(),
        }
    }
}

/// The words of a command line without quotes.
fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

/// A row that tells of an event: its kind, and the object's name.
fn row(line: &str) -> (&str, &str) {
    let mut words = line.split_whitespace();
    (words.next().unwrap(), words.next().unwrap())
}

async fn start_to_count(world: &World) {
    std::fs::write(world.path("counting.yaml"), COUNTING).unwrap();
    for line in [
        "apply -f counting.yaml",
        "wait pod/counting -n demo --for=condition=Ready --timeout=30s",
    ] {
        Ran::of(&mut world.direct(&words(line))).await.ok();
    }
}

/// What stands behind a row that says how a watch ended, if it broke.
fn broke(end: &mut End) -> bool {
    let is_error = |line: &String| row(line).0 == "ERROR";
    let told = end.rest.pop_if(|line| is_error(line)).is_some();
    // The columns of what is not a configmap.
    told && end.rest.pop_if(|line| row(line).0 == "EVENT").is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_shows_each_event_once_and_that_it_broke() {
    let world = World::new().await;
    let _proxy = world.proxy(&[]).await;
    let maps: Api<ConfigMap> = Api::namespaced(direct(&world).await, "demo");
    let create = async |name: &str| {
        let created = maps.create(&PostParams::default(), &map(name)).await;
        created.unwrap();
    };
    let delete = async |name: &str| {
        maps.delete(name, &DeleteParams::default()).await.unwrap();
    };
    for number in 0..LOSSES {
        let name = |map: ConfigMap| map.metadata.name.unwrap();
        let all = maps.list(&ListParams::default()).await.unwrap();
        let there: Vec<_> = all.items.into_iter().map(name).collect();

        let mut watch = Running::start(world.kubectl(&words(WATCH)));
        assert_eq!(row(&watch.line().await.unwrap()).0, "EVENT");
        for name in &there {
            let line = watch.line().await.expect("what is there");
            assert_eq!(row(&line), ("ADDED", name.as_str()));
        }
        let seen = format!("seen-{number}");
        create(&seen).await;
        delete(&seen).await;
        for kind in ["ADDED", "DELETED"] {
            let line = watch.line().await.expect("what happens");
            assert_eq!(row(&line), (kind, seen.as_str()));
        }

        lose(&world, number);
        let mut ending = Box::pin(watch.ended());
        let mut lost = Vec::new();
        let mut end = loop {
            // In the midst of the loss.
            lost.push(format!("lost-{number}-{}", lost.len()));
            create(lost.last().unwrap()).await;
            if let Ok(end) = timeout(Duration::from_millis(10), &mut ending).await {
                break end;
            }
        };
        assert!(broke(&mut end), "loss {number}: {end:?}");
        assert!(end.rest.len() <= lost.len(), "{end:?}");
        for (line, name) in end.rest.iter().zip(&lost) {
            assert_eq!(row(line), ("ADDED", name.as_str()));
        }
        for name in lost.iter().skip(number % 2) {
            delete(name).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_a_script_takes_up_again_sees_everything_once() {
    let world = World::new().await;
    let _proxy = world.proxy(&[]).await;
    sees_everything_once(&world, async |version, seen| {
        let path = watch_path(version);
        let mut watch = Running::start(world.kubectl(&["get", "--raw", &path]));
        let mut torn = None;
        while let Some(line) = watch.line().await {
            assert_eq!(
                torn.replace(line.clone()),
                None,
                "it goes on after a torn line"
            );
            if line.ends_with('}') && serde_json::from_str::<Value>(&line).is_ok() {
                torn = None;
                tell(line.as_bytes(), seen);
            }
        }
        let end = watch.ended().await;
        assert_eq!(end.code, Some(1), "{end:?}");
        assert!(end.stderr.contains("rror"), "{end:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_counts_on_until_it_breaks_and_that_is_an_error() {
    let world = World::new().await;
    let _proxy = world.proxy(&[]).await;
    start_to_count(&world).await;
    for number in 0..LOSSES {
        let mut log = Running::start(world.kubectl(&words(FOLLOW)));
        let mut lines = Vec::new();
        // What there was, and some that come while it runs.
        while lines.len() < 52 {
            lines.push(log.line().await.expect("it goes on"));
        }
        lose(&world, number);
        let end = log.ended().await;
        assert_eq!(end.code, Some(1), "loss {number}: {end:?}");
        assert!(end.stderr.contains("error: "), "{end:?}");
        lines.extend(end.rest);
        let first: u64 = lines[0].strip_prefix("line ").unwrap().parse().unwrap();
        let last = lines.len() - 1;
        for ((at, line), count) in lines.iter().enumerate().zip(first..) {
            let expected = format!("line {count}");
            // The last one may be torn.
            let is_right = *line == expected || at == last && expected.starts_with(line);
            assert!(is_right, "{line:?}, and not {expected:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forwarded_port_carries_the_right_bytes_until_it_breaks() {
    let world = World::new().await;
    let _proxy = world.proxy(&[]).await;
    for number in 0..LOSSES {
        let mut forward = Running::start(world.kubectl(&words(FORWARD)));
        let line = forward.line().await.expect("where it listens");
        let port = line.split([':', ' ']).find_map(|word| word.parse().ok());
        let local: (_, u16) = ("127.0.0.1", port.unwrap());
        let (mut from, mut to) = TcpStream::connect(local).await.unwrap().into_split();
        let (mut sent, mut came) = (Pattern::new(7), Pattern::new(7));
        let mut buffer = vec![0; CHUNK];
        while came.position() < ENOUGH {
            to.write_all(&sent.take(CHUNK)).await.unwrap();
            while came.position() < sent.position() {
                let read = timeout(DEADLINE, from.read(&mut buffer)).await;
                let read = read.expect("an echo").unwrap();
                assert!(read > 0, "it ends before the loss");
                came.check(&buffer[..read]).unwrap();
            }
        }
        // In the midst of what goes and comes. What waits for the next answer has not all cuts.
        lose(&world, number % 4);
        let writing = async { while to.write_all(&sent.take(CHUNK)).await.is_ok() {} };
        let reading = async {
            while let Ok(read @ 1..) = from.read(&mut buffer).await {
                came.check(&buffer[..read]).unwrap();
            }
        };
        let both = async { tokio::join!(writing, reading) };
        timeout(DEADLINE, both).await.expect("it breaks");
        let end = forward.ended().await;
        assert_eq!(end.code, Some(1), "loss {number}: {end:?}");
        assert!(end.stderr.contains("lost connection to pod"), "{end:?}");
    }
}

/// A way to the apiserver that can be cut.
struct Wire {
    server: String,
    cuts: watch::Sender<()>,
}

impl Wire {
    async fn to(server: &str) -> Self {
        let target: SocketAddr = server.strip_prefix("https://").unwrap().parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("https://{}", listener.local_addr().unwrap());
        let cuts = watch::Sender::new(());
        let cutting = cuts.clone();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut cuts = cutting.subscribe();
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(target).await.unwrap();
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        Ok(()) = cuts.changed() => near.set_zero_linger().unwrap(),
                    }
                });
            }
        });
        Self { server, cuts }
    }
}

/// Starts what `line` says, lets it run, and gives how it ended after `loss`.
async fn ended_by(kubectl: Command, line: &str, seen: &Api<ConfigMap>, loss: impl Fn()) -> End {
    let mut running = Running::start(kubectl);
    match line {
        WATCH => {
            // The columns come before the watch.
            running.line().await.unwrap();
            let name = "happens";
            seen.create(&PostParams::default(), &map(name))
                .await
                .unwrap();
            while row(&running.line().await.expect("the event")).1 != name {}
            seen.delete(name, &DeleteParams::default()).await.unwrap();
            while row(&running.line().await.expect("the event")).0 != "DELETED" {}
        }
        FOLLOW => {
            for _ in 0..52 {
                running.line().await.expect("a line");
            }
        }
        _ => assert!(running.line().await.is_some()),
    }
    loss();
    running.ended().await
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_end_no_better_and_no_worse_than_without_a_tunnel() {
    let world = World::new().await;
    let _proxy = world.proxy(&[]).await;
    start_to_count(&world).await;
    let maps: Api<ConfigMap> = Api::namespaced(direct(&world).await, "demo");
    let server = world.emulator.apiserver().unwrap().url();
    let wire = Wire::to(&server).await;
    let admin = std::fs::read_to_string(world.emulator.admin_kubeconfig().unwrap()).unwrap();
    let file = world.path("wire.yaml");
    std::fs::write(&file, admin.replace(&server, &wire.server)).unwrap();
    for line in [WATCH, FOLLOW, FORWARD] {
        let through = world.kubectl(&words(line));
        let cut = || world.emulator.relay().drop_tunnels(Cut::Reset);
        let mut through = ended_by(through, line, &maps, cut).await;
        let mut direct = world.kubectl(&words(line));
        direct.env("KUBECONFIG", &file);
        let direct = ended_by(direct, line, &maps, || wire.cuts.send_modify(|()| {})).await;
        assert_eq!(through.code, direct.code, "{line}: {through:?} {direct:?}");
        // kubectl calls every end of a watch a good one. What it prints of it is the more.
        if line == WATCH {
            assert_eq!((through.code, broke(&mut through)), (Some(0), true));
        }
    }
}
