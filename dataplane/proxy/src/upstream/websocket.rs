//! A WebSocket server as a wire. Changes when its failures are treated differently.
//!
//! ```text
//! open ──either end closes, no sign of life──▶ lost (calls in flight get an error, the next one opens another)
//! ```

use std::sync::Arc;

use bridge_mcp::framing::FramingError;
use bridge_policy::refusal::{Reason, Refusal};
use bridge_runtime::tasks;
use bridge_transport::backend::websocket::{Io, OpenError, WebSocketServer};
use bridge_transport::websocket::handshake::NotOpened;
use bridge_transport::websocket::{Closing, Reader, SocketError, Writer, close};
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Wire;
use super::http::refused;

/// Messages that may wait in each direction; what comes on top waits in the socket.
const QUEUE: usize = 64;

/// A server with what every conversation with it shares.
pub(crate) struct WebSocketTarget {
    pub(crate) backend: Arc<str>,
    server: WebSocketServer,
}

impl WebSocketTarget {
    pub(crate) fn new(backend: Arc<str>, server: WebSocketServer) -> Self {
        Self { backend, server }
    }

    /// Shows from now on what `newer` shows. Connections that are open have shown theirs.
    pub(crate) fn renew(&self, newer: &Self) {
        self.server.headers.replace(&newer.server.headers);
    }

    /// Opens a connection. The wire ends when it does, and is ended by `stop`.
    pub(crate) async fn open(&self, stop: CancellationToken) -> Result<Wire, Refusal> {
        let (mut reader, mut writer) = self.server.open().await.map_err(|error| self.not_opened(&error))?;
        let (outbound, mut messages_out) = mpsc::channel(QUEUE);
        let (messages_in, inbound) = mpsc::channel(QUEUE);
        let backend = Arc::clone(&self.backend);
        tasks::spawn("websocket-backend", async move {
            let ended = tokio::select! {
                read = read(&mut reader, messages_in) => read,
                written = write(&mut writer, &mut messages_out) => written,
                () = stop.cancelled() => Ok(()),
            };
            // However it ends, the other half takes no more messages.
            stop.cancel();
            drop(messages_out);
            match ended {
                Ok(()) => close(reader, writer, Closing::Normal, "").await,
                Err(error) => {
                    tracing::warn!(%backend, %error, "websocket connection lost");
                    close(reader, writer, error.closing(), "").await;
                }
            }
        });
        Ok(Wire { outbound, inbound })
    }

    fn not_opened(&self, error: &OpenError) -> Refusal {
        tracing::warn!(backend = %self.backend, %error, "websocket connection not opened");
        let (reason, detail) = match error {
            OpenError::NotOpened(NotOpened::Status(status)) if !status.is_success() => refused(*status),
            OpenError::NotOpened(_) => (Reason::BackendProtocol, error.to_string()),
            OpenError::Send(_) | OpenError::Lost(_) | OpenError::Random(_) => {
                (Reason::BackendUnavailable, "it cannot be reached".to_owned())
            }
        };
        Refusal::backend(reason, &self.backend, detail)
    }
}

/// Takes messages until the server closes. The sender goes with it, so what was read is still dispatched.
async fn read(
    reader: &mut Reader<Io>,
    inbound: mpsc::Sender<Result<Bytes, FramingError>>,
) -> Result<(), SocketError> {
    while let Some(message) = reader.next().await? {
        if inbound.send(Ok(message)).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Sends what comes, and pings in between.
async fn write(writer: &mut Writer<Io>, outbound: &mut mpsc::Receiver<Bytes>) -> Result<(), SocketError> {
    loop {
        let message = tokio::select! {
            biased;
            message = outbound.recv() => message,
            beat = writer.beat() => {
                beat?;
                continue;
            }
        };
        let Some(message) = message else { return Ok(()) };
        writer.feed(message).await?;
        while let Ok(message) = outbound.try_recv() {
            writer.feed(message).await?;
        }
        writer.flush().await?;
    }
}
