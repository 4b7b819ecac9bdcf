//! kubectl cp, both ways.

use std::path::Path;

use crate::front::{Front, TRANSPORTS, Transport};

/// Bytes that do not compress, the same ones every time.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .flatten()
    .take(length)
    .collect()
}

async fn copy(front: &Front, transport: Transport, from: &str, to: &str) {
    let finished = front
        .run(transport, &["cp", "-c", "app", from, to], b"")
        .await;
    assert_eq!(finished.code, 0, "{transport:?} {from} {to}: {finished:?}");
}

async fn inside(front: &Front, script: &str) -> String {
    let line = ["exec", "web-0", "-c", "app", "--", "sh", "-c", script];
    let finished = front.run(Transport::WebSocket, &line, b"").await;
    assert_eq!(finished.code, 0, "{finished:?}");
    finished.text().to_owned()
}

#[tokio::test]
async fn a_file_goes_in_and_comes_back() {
    let front = Front::start().await;
    let bytes = noise(8 * 1024 * 1024);
    std::fs::write(front.home.path().join("there"), &bytes).unwrap();
    for transport in TRANSPORTS {
        copy(&front, transport, "there", "web-0:/tmp/in").await;
        assert_eq!(inside(&front, "wc -c < /tmp/in").await, "8388608\n");
        copy(&front, transport, "web-0:/tmp/in", "back").await;
        let back = front.home.path().join("back");
        assert!(std::fs::read(&back).unwrap() == bytes, "{transport:?}");
        std::fs::remove_file(back).unwrap();
        inside(&front, "rm /tmp/in").await;
    }
}

#[tokio::test]
async fn a_directory_goes_in_and_comes_back() {
    let front = Front::start().await;
    let source = front.home.path().join("source");
    std::fs::create_dir_all(source.join("a/b")).unwrap();
    std::fs::create_dir(source.join("empty")).unwrap();
    for number in 0..40 {
        std::fs::write(source.join(format!("a/{number}")), noise(number * 997)).unwrap();
    }
    std::fs::write(source.join("a/b/deep ä"), "deep").unwrap();
    for transport in TRANSPORTS {
        copy(&front, transport, "source", "web-0:/tmp/tree").await;
        assert_eq!(inside(&front, "cat '/tmp/tree/a/b/deep ä'").await, "deep");
        // Into a directory that is there already, a copy goes under its own name.
        copy(&front, transport, "source", "web-0:/tmp/tree").await;
        assert_eq!(inside(&front, "ls /tmp/tree").await, "a\nempty\nsource\n");
        inside(&front, "rm -r /tmp/tree/source").await;
        copy(&front, transport, "web-0:/tmp/tree", "back").await;
        let back = front.home.path().join("back");
        same(&source, &back);
        std::fs::remove_dir_all(back).unwrap();
        inside(&front, "rm -r /tmp/tree").await;
    }
}

fn same(one: &Path, other: &Path) {
    let names = |directory: &Path| {
        let mut names: Vec<_> = std::fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(one), names(other));
    for name in names(one) {
        let (one, other) = (one.join(&name), other.join(&name));
        if one.is_dir() {
            same(&one, &other);
        } else {
            assert!(
                std::fs::read(&one).unwrap() == std::fs::read(&other).unwrap(),
                "{}",
                one.display()
            );
        }
    }
}

#[tokio::test]
async fn what_is_not_there_is_not_packed() {
    let front = Front::start().await;
    for transport in TRANSPORTS {
        // kubectl cp itself forgets the status of tar if the end of the archive comes first.
        let line = [
            "exec",
            "web-0",
            "-c",
            "app",
            "--",
            "tar",
            "cf",
            "-",
            "/tmp/missing",
        ];
        let finished = front.run(transport, &line, b"").await;
        assert_eq!(finished.code, 1, "{finished:?}");
        assert!(
            finished
                .stderr
                .contains("tar: /tmp/missing: No such file or directory"),
            "{finished:?}"
        );
    }
}
