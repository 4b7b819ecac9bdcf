//! Part of a fuzz target: how a stream begins.

use tokio::io::AsyncReadExt as _;

use super::dialect::{FirstBytes, greet};
use crate::fuzzing::{Wire, block_on};

/// What the far end says first. The first byte says how it comes.
pub(crate) fn dialect(data: &[u8]) {
    let Some((piece, said)) = data.split_first() else {
        return;
    };
    block_on(async {
        let greeted = greet(&mut Wire::new(said, *piece), "443").await;
        match said.get(..3) {
            Some([1, 0, 0]) => assert!(greeted.is_ok_and(|is_bridge| is_bridge)),
            Some([0, 0, 0]) => assert!(greeted.is_err()),
            _ => assert!(greeted.is_ok_and(|is_bridge| !is_bridge)),
        }
        let mut stream = FirstBytes::new(Wire::new(said, *piece));
        let mut read = Vec::new();
        stream.read_to_end(&mut read).await.expect("reads");
        assert_eq!(read, said);
        assert_eq!(stream.is_bridge_refusal(), said.starts_with(&[0, 0, 0]));
    });
}
