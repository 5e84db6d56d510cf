//! Messages to and from a child's standard streams. Changes when the framing or its bounds change.

use std::io;
use std::time::Duration;

use bridge_mcp::framing::{self, Decoder, FramingError};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Exit;

/// One read of standard output.
const READ: usize = 16 * 1024;
/// Messages that wait in the queue are written together up to this size.
const WRITE: usize = 64 * 1024;
/// After a child's end its output is complete, unless a process that escaped holds the pipe open; then this much
/// silence counts as the end.
const SILENCE: Duration = Duration::from_secs(1);

/// Writes each message as one line. Ends, and thereby closes the pipe, when the senders are gone, the child stops
/// reading, or `close` is cancelled; what is queued then is dropped.
pub(super) async fn write(
    mut pipe: impl AsyncWrite + Unpin,
    mut messages: mpsc::Receiver<Bytes>,
    close: CancellationToken,
) -> io::Result<()> {
    let work = async {
        let mut lines = BytesMut::new();
        while let Some(message) = messages.recv().await {
            framing::encode(&mut lines, &message);
            while lines.len() < WRITE
                && let Ok(message) = messages.try_recv()
            {
                framing::encode(&mut lines, &message);
            }
            pipe.write_all(&lines).await?;
            // One huge message must not hold its memory for the life of the child.
            if lines.capacity() > 2 * WRITE {
                lines = BytesMut::new();
            } else {
                lines.clear();
            }
        }
        pipe.flush().await
    };
    tokio::select! {
        result = work => result,
        () = close.cancelled() => Ok(()),
    }
}

/// Reads lines until the end of the stream. When nobody receives them any more it goes on reading, so that the child
/// can still write while it shuts down.
pub(super) async fn read(
    mut pipe: impl AsyncRead + Unpin,
    lines: mpsc::Sender<Result<Bytes, FramingError>>,
    max_line: usize,
    mut exit: watch::Receiver<Option<Exit>>,
) {
    let mut decoder = Decoder::new(max_line);
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(READ);
        let length = tokio::select! {
            length = pipe.read_buf(&mut buffer) => length,
            () = ended(&mut exit) => {
                match timeout(SILENCE, pipe.read_buf(&mut buffer)).await {
                    Ok(length) => length,
                    Err(_silence) => break,
                }
            }
        };
        if !matches!(length, Ok(1..)) {
            break;
        }
        decoder.push_bytes(buffer.split().freeze());
        while let Some(line) = decoder.next().transpose() {
            // An error is a receiver that is gone.
            let _ = lines.send(line).await;
        }
    }
    if let Some(rest) = decoder.finish() {
        let _ = lines.send(Ok(rest)).await;
    }
}

/// Completes once the child has ended, or nobody can tell any more.
async fn ended(exit: &mut watch::Receiver<Option<Exit>>) {
    let _ = exit.wait_for(Option::is_some).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn queued_messages_become_one_line_each() {
        let (sender, receiver) = mpsc::channel(8);
        for message in ["{\n\"a\":1}", "{}", "[]"] {
            sender.send(Bytes::from_static(message.as_bytes())).await.unwrap();
        }
        drop(sender);
        let mut written = Vec::new();
        write(&mut written, receiver, CancellationToken::new()).await.unwrap();
        assert_eq!(written, b"{ \"a\":1}\n{}\n[]\n");
    }

    #[tokio::test]
    async fn a_child_that_does_not_read_does_not_hold_the_close() {
        let (pipe, _never_read) = tokio::io::duplex(4);
        let (sender, receiver) = mpsc::channel(8);
        let close = CancellationToken::new();
        sender.send(Bytes::from_static(b"more than four bytes")).await.unwrap();
        let writing = bridge_runtime::tasks::spawn("test", write(pipe, receiver, close.clone()));
        close.cancel();
        writing.await.unwrap().unwrap();
        assert!(sender.is_closed());
    }

    #[tokio::test]
    async fn lines_errors_and_the_rest_arrive_in_order() {
        let (sender, mut lines) = mpsc::channel(8);
        let (_exit, exit) = watch::channel(None);
        read(&b"one\ntoo long a line\r\ntwo\r\nrest"[..], sender, 5, exit).await;
        assert_eq!(lines.recv().await, Some(Ok(Bytes::from_static(b"one"))));
        assert_eq!(lines.recv().await, Some(Err(FramingError::TooLong { limit: 5 })));
        assert_eq!(lines.recv().await, Some(Ok(Bytes::from_static(b"two"))));
        assert_eq!(lines.recv().await, Some(Ok(Bytes::from_static(b"rest"))));
        assert_eq!(lines.recv().await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pipe_that_stays_open_after_the_exit_ends_too() {
        let (pipe, mut child) = tokio::io::duplex(64);
        let (sender, mut lines) = mpsc::channel(8);
        let (exited, exit) = watch::channel(None);
        let reading = bridge_runtime::tasks::spawn("test", read(pipe, sender, 100, exit));
        exited.send_replace(Some(Exit::from_guard_code(0)));
        child.write_all(b"last words\n").await.unwrap();
        assert_eq!(lines.recv().await, Some(Ok(Bytes::from_static(b"last words"))));
        assert_eq!(lines.recv().await, None);
        reading.await.unwrap();
    }
}
