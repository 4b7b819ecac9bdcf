#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::time::Duration;

use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

fn start(containers: Vec<ContainerSpec>) -> Arc<Runtime> {
    let runtime = Runtime::new();
    let pod = PodRef {
        namespace: "default".to_owned(),
        name: "web-0".to_owned(),
        uid: "uid".to_owned(),
    };
    runtime.start_pod(pod, containers);
    runtime
}

fn container(image: &str) -> ContainerSpec {
    ContainerSpec {
        name: "app".to_owned(),
        image: image.to_owned(),
        ports: vec![8000],
        ..ContainerSpec::default()
    }
}

async fn log(runtime: &Runtime, options: LogOptions) -> String {
    let body = runtime.logs("uid", "app", options).unwrap();
    let bytes = body.collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn a_main_process_runs_into_the_log_and_its_exit_code_is_told() {
    let runtime = start(vec![ContainerSpec {
        command: vec!["sh".to_owned(), "-c".to_owned()],
        args: vec!["echo out; echo err 1>&2; exit 4".to_owned()],
        ..container("busybox")
    }]);
    let mut exit = runtime.exit_code("uid", "app").unwrap();
    let code = *exit.wait_for(Option::is_some).await.unwrap();
    assert_eq!(code, Some(4));
    let follow = LogOptions {
        follow: true,
        ..LogOptions::default()
    };
    let mut lines: Vec<String> = log(&runtime, follow)
        .await
        .lines()
        .map(str::to_owned)
        .collect();
    lines.sort();
    assert_eq!(lines, ["err", "out"]);
}

#[tokio::test]
async fn logs_of_no_container_are_none() {
    let runtime = start(vec![container("nginx")]);
    let previous = LogOptions {
        previous: true,
        ..LogOptions::default()
    };
    assert!(runtime.logs("uid", "app", previous).is_none());
    assert!(
        runtime
            .logs("uid", "other", LogOptions::default())
            .is_none()
    );
    assert!(
        runtime
            .logs("other", "app", LogOptions::default())
            .is_none()
    );
    let text = log(&runtime, LogOptions::default()).await;
    assert!(text.contains("start worker processes"), "{text}");
}

#[tokio::test]
async fn stopping_a_pod_ends_what_runs_in_it() {
    let runtime = start(vec![container("nginx")]);
    let line = vec!["sleep".to_owned(), "infinity".to_owned()];
    let mut process = runtime.exec("uid", "app", line, false, false).unwrap();
    let mut echo = runtime.connect("uid", 7).unwrap();
    let follow = LogOptions {
        follow: true,
        ..LogOptions::default()
    };
    let body = runtime.logs("uid", "app", follow).unwrap();
    runtime.stop_pod("uid");
    assert_eq!(process.wait().await, 137);
    body.collect().await.unwrap();
    assert_eq!(echo.read(&mut [0; 8]).await.unwrap(), 0);
    assert!(runtime.connect("uid", 7).is_err());
}

#[tokio::test]
async fn attaching_runs_the_main_process_that_reads() {
    let runtime = start(vec![ContainerSpec {
        stdin: true,
        ..container("busybox")
    }]);
    let mut process = runtime.attach("uid", "app", true).unwrap();
    let stdin = process.stdin.take().unwrap();
    stdin.write(&b"echo attached; exit 6\n"[..]).await.unwrap();
    let chunk = process.stdout.chunk(usize::MAX).await.unwrap();
    assert_eq!(chunk, "attached\n");
    assert_eq!(process.wait().await, 6);
    let mut exit = runtime.exit_code("uid", "app").unwrap();
    assert_eq!(*exit.wait_for(Option::is_some).await.unwrap(), Some(6));
}

#[tokio::test(start_paused = true)]
async fn attaching_to_a_service_shows_what_it_writes() {
    let runtime = start(vec![container("example/app:1")]);
    let mut process = runtime.attach("uid", "app", false).unwrap();
    let chunk = process.stdout.chunk(usize::MAX).await.unwrap();
    assert!(chunk.ends_with(b"heartbeat seq=0\n"), "{chunk:?}");
    runtime.stop_pod("uid");
    while process.stdout.chunk(usize::MAX).await.is_some() {}
}

#[tokio::test]
async fn ports_answer_as_their_servers_do() {
    let runtime = start(vec![container("nginx")]);
    let mut web = runtime.connect("uid", 8000).unwrap();
    web.write_all(b"GET /bytes/300 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    web.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
    let body: Vec<u8> = (0..=255).cycle().take(300).collect();
    assert!(answer.ends_with(&body));

    let mut echo = runtime.connect("uid", 7).unwrap();
    echo.write_all(b"there and back").await.unwrap();
    echo.shutdown().await.unwrap();
    let mut back = String::new();
    echo.read_to_string(&mut back).await.unwrap();
    assert_eq!(back, "there and back");

    let mut sink = runtime.connect("uid", 9).unwrap();
    sink.write_all(&vec![0; 100_000]).await.unwrap();
    sink.shutdown().await.unwrap();
    let mut count = String::new();
    sink.read_to_string(&mut count).await.unwrap();
    assert_eq!(count, "100000\n");

    let refused = runtime.connect("uid", 8001).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn images_without_a_shell_run_nothing() {
    let runtime = start(vec![container("gcr.io/distroless/static")]);
    let started = runtime.exec("uid", "app", vec!["sh".to_owned()], false, false);
    assert_eq!(
        started.unwrap_err(),
        StartError::NoExecutable("sh".to_owned())
    );
}

#[tokio::test]
async fn a_command_that_nobody_reads_stands_still_and_ends_with_its_client() {
    let runtime = start(vec![container("nginx")]);
    let process = runtime
        .exec("uid", "app", vec!["yes".to_owned()], false, false)
        .unwrap();
    let weak = {
        let pods = runtime.lock();
        Arc::downgrade(&pods["uid"].containers[0])
    };
    drop(process);
    runtime.stop_pod("uid");
    let gone = async {
        while weak.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone)
        .await
        .unwrap();
}
