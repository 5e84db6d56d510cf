//! Connections of the original's binary protocol: whole frames in both directions over any byte stream, TCP or TLS.
//!
//! Changes when frames are read or written differently. What they mean is [`bridge_mcp::original::connection`]'s.

use std::io;
use std::time::Duration;

use bridge_mcp::original::binary::{BinaryError, BinaryFrame, Decoder, Dialect, encode};
use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::time::timeout;

/// One read between frames; a connection that is idle holds no more.
const READ: usize = 4 * 1024;
/// One read in the middle of a frame.
const READ_MORE: usize = 64 * 1024;
/// Room for frames to be written that a connection keeps.
const KEEP: usize = 64 * 1024;
/// A peer that takes nothing for so long is lost.
const STALL: Duration = Duration::from_mins(1);

/// Why a connection is over.
#[derive(Debug, thiserror::Error)]
pub enum BinaryIoError {
    /// The connection was lost.
    #[error("connection lost: {0}")]
    Lost(#[from] io::Error),
    /// The peer closed in the middle of a frame.
    #[error("connection ended inside a frame")]
    Cut,
    /// The peer speaks something else.
    #[error(transparent)]
    Protocol(#[from] BinaryError),
    /// The peer does not read.
    #[error("the peer takes nothing")]
    Stalled,
}

/// The half that reads.
pub struct Reader<S> {
    stream: ReadHalf<S>,
    decoder: Decoder,
    chunk: Vec<u8>,
}

/// The half that writes.
pub struct Writer<S> {
    stream: WriteHalf<S>,
    dialect: Dialect,
    queued: BytesMut,
}

/// Both halves of a connection whose dialect the peer's first frame tells: see [`Reader::dialect`] and [`Writer::speak`].
pub fn accepted<S: AsyncRead + AsyncWrite>(stream: S, max_payload: usize) -> (Reader<S>, Writer<S>) {
    split(stream, Decoder::new(max_payload), Dialect::G)
}

/// Both halves of a connection that this end opened.
pub fn connected<S>(stream: S, dialect: Dialect, max_payload: usize) -> (Reader<S>, Writer<S>)
where
    S: AsyncRead + AsyncWrite,
{
    split(stream, Decoder::of(dialect, max_payload), dialect)
}

fn split<S: AsyncRead + AsyncWrite>(stream: S, decoder: Decoder, dialect: Dialect) -> (Reader<S>, Writer<S>) {
    let (read, write) = tokio::io::split(stream);
    let reader = Reader { stream: read, decoder, chunk: vec![0; READ] };
    (reader, Writer { stream: write, dialect, queued: BytesMut::new() })
}

impl<S: AsyncRead> Reader<S> {
    /// The next frame; `None` when the peer has closed. May be dropped and called again at any time.
    pub async fn next(&mut self) -> Result<Option<BinaryFrame>, BinaryIoError> {
        loop {
            if let Some(frame) = self.decoder.next()? {
                return Ok(Some(frame));
            }
            let size = if self.decoder.is_mid_frame() { READ_MORE } else { READ };
            if self.chunk.len() != size {
                self.chunk = vec![0; size];
            }
            let count = self.stream.read(&mut self.chunk).await?;
            match self.chunk.get(..count) {
                None | Some([]) if self.decoder.is_mid_frame() => return Err(BinaryIoError::Cut),
                None | Some([]) => return Ok(None),
                Some(read) => self.decoder.push(read),
            }
        }
    }

    /// The dialect, once the first bytes have come.
    pub fn dialect(&self) -> Option<Dialect> {
        self.decoder.dialect()
    }

    /// Whether a frame has begun and not ended.
    pub fn is_mid_frame(&self) -> bool {
        self.decoder.is_mid_frame()
    }
}

impl<S: AsyncWrite> Writer<S> {
    /// Chooses the dialect of what is written from now on.
    pub fn speak(&mut self, dialect: Dialect) {
        self.dialect = dialect;
    }

    /// Queues a frame; it is written by [`Writer::flush`].
    pub fn queue(&mut self, frame: &BinaryFrame) -> Result<(), BinaryError> {
        encode(&mut self.queued, self.dialect, frame)
    }

    /// Bytes that wait to be written.
    pub fn queued(&self) -> usize {
        self.queued.len()
    }

    /// Writes what is queued. May be dropped and called again at any time: no byte is written twice or left out.
    pub async fn flush(&mut self) -> Result<(), BinaryIoError> {
        while self.queued.has_remaining() {
            let written = timeout(STALL, self.stream.write_buf(&mut self.queued)).await;
            if written.map_err(|_| BinaryIoError::Stalled)?? == 0 {
                return Err(BinaryIoError::Lost(io::ErrorKind::WriteZero.into()));
            }
        }
        if self.queued.capacity() > KEEP {
            // One huge message must not hold its memory for the life of the connection.
            self.queued = BytesMut::new();
        }
        timeout(STALL, self.stream.flush()).await.map_err(|_| BinaryIoError::Stalled)??;
        Ok(())
    }

    /// Writes what is queued and says that nothing more follows.
    pub async fn close(&mut self) -> Result<(), BinaryIoError> {
        self.flush().await?;
        timeout(STALL, self.stream.shutdown()).await.map_err(|_| BinaryIoError::Stalled)??;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bridge_mcp::original::binary::FrameKind;
    use tokio::io::{DuplexStream, duplex};

    use super::*;

    fn pair(room: usize) -> (Writer<DuplexStream>, Reader<DuplexStream>) {
        let (one, other) = duplex(room);
        let (_, writer) = connected(one, Dialect::R, 100);
        (writer, accepted(other, 100_000).0)
    }

    fn frame(length: usize) -> BinaryFrame {
        BinaryFrame::new(FrameKind::Request, vec![b'x'; length])
    }

    #[tokio::test]
    async fn frames_arrive_whole_until_the_end() {
        let (mut writer, mut reader) = pair(7);
        let sent = [frame(0), frame(90_000), frame(1)];
        let sending = async {
            for frame in &sent {
                writer.queue(frame).unwrap();
            }
            writer.close().await.unwrap();
        };
        let receiving = async {
            for frame in &sent {
                assert_eq!(reader.next().await.unwrap().as_ref(), Some(frame));
            }
            assert_eq!(reader.next().await.unwrap(), None);
        };
        tokio::join!(sending, receiving);
        assert_eq!(reader.dialect(), Some(Dialect::R));
    }

    #[tokio::test]
    async fn a_write_that_is_given_up_goes_on_where_it_was() {
        let (mut writer, mut reader) = pair(10);
        writer.queue(&frame(1000)).unwrap();
        // Somebody else is ready first, again and again.
        loop {
            tokio::select! {
                biased;
                flushed = writer.flush() => break flushed.unwrap(),
                read = timeout(Duration::ZERO, reader.next()) => {
                    assert!(read.is_err(), "not whole yet");
                }
            }
        }
        assert_eq!(reader.next().await.unwrap(), Some(frame(1000)));
    }

    #[tokio::test]
    async fn the_end_inside_a_frame_is_an_error() {
        let (one, other) = duplex(100);
        let (mut reader, _writer) = accepted(other, 100);
        let (_, mut end) = tokio::io::split(one);
        end.write_all(b"MCPB\0\x01").await.unwrap();
        end.shutdown().await.unwrap();
        assert!(matches!(reader.next().await, Err(BinaryIoError::Cut)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_reads_nothing_is_given_up() {
        let (mut writer, _reader) = pair(10);
        writer.queue(&frame(1000)).unwrap();
        assert!(matches!(writer.flush().await, Err(BinaryIoError::Stalled)));
    }
}
