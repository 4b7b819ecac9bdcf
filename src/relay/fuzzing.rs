//! Part of a fuzz target: a hybrid connection's WebSocket frames.

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::RelayStream;
use crate::fuzzing::{Wire, block_on};

/// What the relay sends. The first two bytes say how it comes, and how much of it with the
/// upgrade's answer.
pub(crate) fn frames(data: &[u8]) {
    let [piece, early, sent @ ..] = data else {
        return;
    };
    let (early, later) = sent.split_at(usize::from(*early).min(sent.len()));
    block_on(async {
        let early = Bytes::copy_from_slice(early);
        let mut stream = RelayStream::new(Wire::new(later, *piece), early);
        let _ = stream.write_all(b"hello").await;
        let _ = stream.flush().await;
        let mut read = Vec::new();
        let ended = stream.read_to_end(&mut read).await;
        // Frames are longer than what is in them.
        assert!(read.len() <= sent.len());
        if ended.is_ok() {
            let more = stream.read(&mut [0; 1]).await;
            assert!(more.is_ok_and(|more| more == 0), "an end ends");
        }
        let _ = stream.shutdown().await;
    });
}
