//! A connection to a server of the original's binary protocol, as the wire of a conversation. Changes when such servers are
//! spoken to differently.
//!
//! [`bridge_mcp::original::client`] knows the protocol; here are its socket and its clock.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bridge_mcp::error::{code, error_response};
use bridge_mcp::frame::Frame;
use bridge_mcp::framing::FramingError;
use bridge_mcp::limits::Limits;
use bridge_mcp::original::binary::{BinaryFrame, Dialect, MAX_PAYLOAD};
use bridge_mcp::original::client::{Client, ClientError, Effect};
use bridge_mcp::original::input::{InvalidInput, Token};
use bridge_policy::refusal::{Reason, Refusal};
use bridge_runtime::tasks;
use bridge_snapshot::TcpBackend;
use bridge_transport::backend::tcp::{Stream, TcpConnector};
use bridge_transport::binary::{self, BinaryIoError};
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Wire;

/// Messages that wait in either direction; then whoever has more waits.
const QUEUE: usize = 64;
/// Bytes that are written together.
const TOGETHER: usize = 64 * 1024;
/// Silence after which the server is asked for a sign of life, and after as much again given up.
const IDLE: Duration = Duration::from_secs(30);

type Reader = binary::Reader<Box<dyn Stream>>;
type Writer = binary::Writer<Box<dyn Stream>>;

/// Why there is no connection, or none any more. Names no address: it may reach a client.
#[derive(Debug, thiserror::Error)]
enum TcpError {
    /// It cannot be reached.
    #[error("cannot connect: {0}")]
    Connect(#[from] std::io::Error),
    /// The configured token cannot be sent.
    #[error(transparent)]
    Token(#[from] InvalidInput),
    /// The handshake failed, or the server is silent.
    #[error(transparent)]
    Protocol(#[from] ClientError),
    /// The connection was lost or speaks something else.
    #[error(transparent)]
    Lost(#[from] BinaryIoError),
    /// The server closed the connection.
    #[error("the server closed the connection")]
    Closed,
}

/// A server with what every conversation with it shares.
pub(crate) struct TcpTarget {
    backend: Arc<str>,
    server: ArcSwap<TcpBackend>,
    connector: TcpConnector,
    limits: Limits,
}

impl TcpTarget {
    pub(crate) fn new(
        backend: Arc<str>,
        server: TcpBackend,
        connector: TcpConnector,
        limits: Limits,
    ) -> Self {
        Self { backend, server: ArcSwap::from_pointee(server), connector, limits }
    }

    /// Shows from now on what `newer` shows. Connections that are open have shown theirs.
    pub(crate) fn renew(&self, newer: &Self) {
        self.server.store(newer.server.load_full());
    }

    /// Connects and negotiates. The connection ends with `stop`, and `stop` with the connection.
    pub(crate) async fn open(&self, stop: CancellationToken) -> Result<Wire, Refusal> {
        let (client, reader, writer) = self.connect().await.map_err(|error| {
            tracing::warn!(backend = %self.backend, %error, "not connected");
            Refusal::backend(Reason::BackendUnavailable, &self.backend, error)
        })?;
        let (outbound, to_server) = mpsc::channel(QUEUE);
        let (from_server, inbound) = mpsc::channel(QUEUE);
        let pump = Pump { name: Arc::clone(&self.backend), client, to_server, from_server };
        tasks::spawn("tcp-backend", pump.run(reader, writer, stop));
        Ok(Wire { outbound, inbound })
    }

    async fn connect(&self) -> Result<(Client, Reader, Writer), TcpError> {
        let Self { connector, limits, .. } = self;
        let server = self.server.load_full();
        let token = server.token.as_ref().map(|token| Token::parse(token.expose())).transpose()?.flatten();
        let stream = connector.connect(&server.host, server.port, server.tls).await?;
        let (mut reader, mut writer) =
            binary::connected(stream, Dialect::G, limits.max_bytes.min(MAX_PAYLOAD));
        let (mut client, offer) = Client::connect(token, limits.clone());
        put(&mut writer, &offer).await?;
        while !client.is_open() {
            let frame = reader.next().await?.ok_or(TcpError::Closed)?;
            match client.receive(frame) {
                Some(Effect::Send(frame)) => put(&mut writer, &frame).await?,
                Some(Effect::Close(error)) => return Err(error.into()),
                _ => {}
            }
        }
        Ok((client, reader, writer))
    }
}

async fn put(writer: &mut Writer, frame: &BinaryFrame) -> Result<(), BinaryIoError> {
    writer.queue(frame)?;
    writer.flush().await
}

/// Moves messages between an open connection and its conversation.
struct Pump {
    name: Arc<str>,
    client: Client,
    to_server: mpsc::Receiver<Bytes>,
    from_server: mpsc::Sender<Result<Bytes, FramingError>>,
}

impl Pump {
    async fn run(mut self, mut reader: Reader, mut writer: Writer, stop: CancellationToken) {
        let ended = tokio::select! {
            ended = self.pump(&mut reader, &mut writer) => ended,
            () = stop.cancelled() => Ok(()),
        };
        stop.cancel();
        match ended {
            Ok(()) => drop(writer.close().await),
            Err(error) => tracing::info!(backend = %self.name, %error, "connection to backend ended"),
        }
    }

    async fn pump(&mut self, reader: &mut Reader, writer: &mut Writer) -> Result<(), TcpError> {
        let mut heard = Instant::now();
        // A message that its conversation has no room for yet; meanwhile nothing more is read.
        let mut held = None;
        let from_server = self.from_server.clone();
        loop {
            tokio::select! {
                message = self.to_server.recv(), if held.is_none() && writer.queued() < TOGETHER => match message {
                    Some(message) => self.queue(writer, message, &mut held),
                    None => return Ok(()),
                },
                frame = reader.next(), if held.is_none() => {
                    heard = Instant::now();
                    let frame = frame?.ok_or(TcpError::Closed)?;
                    held = self.take(frame)?;
                    continue;
                }
                room = from_server.reserve(), if held.is_some() => match (room, held.take()) {
                    (Ok(room), Some(message)) => {
                        room.send(Ok(message));
                        continue;
                    }
                    _ => return Ok(()),
                },
                flushed = writer.flush(), if writer.queued() > 0 => {
                    flushed?;
                    continue;
                }
                () = sleep_until(heard + IDLE), if held.is_none() => {
                    heard = Instant::now();
                    match self.client.idle() {
                        Some(Effect::Send(frame)) => writer.queue(&frame).map_err(BinaryIoError::from)?,
                        Some(Effect::Close(error)) => return Err(error.into()),
                        _ => {}
                    }
                }
            }
            while writer.queued() < TOGETHER
                && held.is_none()
                && let Ok(message) = self.to_server.try_recv()
            {
                self.queue(writer, message, &mut held);
            }
        }
    }

    /// What of a frame is for the conversation.
    fn take(&mut self, frame: BinaryFrame) -> Result<Option<Bytes>, TcpError> {
        match self.client.receive(frame) {
            Some(Effect::Deliver(message)) => Ok(Some(message)),
            Some(Effect::Close(error)) => Err(error.into()),
            Some(Effect::Leaving) => {
                tracing::info!(backend = %self.name, "the backend is shutting down");
                Ok(None)
            }
            Some(Effect::Send(_) | Effect::Open) | None => Ok(None),
        }
    }

    /// Queues a message for the server. One that no server would take is answered here.
    fn queue(&self, writer: &mut Writer, message: Bytes, held: &mut Option<Bytes>) {
        let frame = Client::frame(message);
        let Err(error) = writer.queue(&frame) else { return };
        tracing::warn!(backend = %self.name, %error, "message not sent");
        let limits = Limits::backend(usize::MAX, usize::MAX);
        let sent = Frame::parse(frame.payload, &limits).ok().filter(|sent| !sent.is_response());
        if let Some(id) = sent.as_ref().and_then(Frame::raw_id) {
            let text = "the request is too large for this backend's protocol; it was not sent";
            *held = Some(error_response(Some(id), code::INVALID_REQUEST, text, None));
        }
    }
}
