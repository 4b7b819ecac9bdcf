//! The loop that writes frames.

use std::io;

use bytes::BytesMut;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::frame;
use super::headers::Deflater;
use super::stream::{DATA, Order};

/// Writes frames until the session closes, control frames first.
pub(super) async fn write<W: AsyncWrite + Unpin>(
    mut output: W,
    mut controls: mpsc::Receiver<Order>,
    mut orders: mpsc::Receiver<Order>,
    closing: &CancellationToken,
) -> io::Result<()> {
    let mut deflater = Deflater::new();
    let mut out = BytesMut::with_capacity(DATA * 2);
    let mut last = 0;
    loop {
        let order = tokio::select! {
            biased;
            Some(order) = controls.recv() => order,
            Some(order) = orders.recv() => order,
            () = closing.cancelled() => break,
        };
        put(&mut out, order, &mut deflater, &mut last)?;
        while out.len() < DATA {
            let Ok(order) = controls.try_recv().or_else(|_| orders.try_recv()) else {
                break;
            };
            put(&mut out, order, &mut deflater, &mut last)?;
        }
        output.write_all_buf(&mut out).await?;
        output.flush().await?;
    }
    frame::put_go_away(&mut out, last);
    output.write_all_buf(&mut out).await?;
    output.shutdown().await
}

fn put(
    out: &mut BytesMut,
    order: Order,
    deflater: &mut Deflater,
    last: &mut u32,
) -> io::Result<()> {
    match order {
        Order::Reply { stream } => {
            *last = stream.max(*last);
            frame::put_reply(out, stream, deflater).map_err(io::Error::other)?;
        }
        Order::Reset { stream, reason } => frame::put_reset(out, stream, reason),
        Order::Ping { id } => frame::put_ping(out, id),
        Order::Data { stream, data, fin } => frame::put_data(out, stream, &data, fin),
    }
    Ok(())
}
