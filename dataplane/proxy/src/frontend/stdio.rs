//! Clients on the same machine: newline-framed JSON-RPC on standard input and output, or on a Unix socket. Changes when
//! local clients are served differently.
//!
//! ```text
//! reading ──end of input──▶ finishing what is in flight ──▶ ended
//!    └──────── drain, stop: the connection is over ───────────┘
//! ```

mod socket;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bridge_mcp::error::{code, error_response};
use bridge_mcp::framing::{self, Decoder};
use bridge_policy::route::Scope;
use bridge_runtime::tasks;
use bridge_snapshot::{LocalListener, Place};
use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{Connection, Destination, Inbound, Outbound, Outbox, Sender};
use crate::gateway::Gateway;
use socket::Socket;

/// One read of input.
const READ: usize = 16 * 1024;
/// Messages that wait are written together up to this size.
const WRITE: usize = 64 * 1024;

/// A local listener could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on `{path}` for `{name}`: {problem}")]
pub struct LocalError {
    name: String,
    path: String,
    problem: String,
}

/// A place that is open and not served yet.
pub(crate) enum Opened {
    Streams(LocalListener),
    Socket(LocalListener, Socket),
}

/// A place that is served.
struct Local {
    config: LocalListener,
    stop: CancellationToken,
    clients: TaskTracker,
    /// Cancelled when the one client of the standard streams has left.
    left: Option<CancellationToken>,
}

/// All places that are served.
#[derive(Default)]
pub(crate) struct Locals(Vec<Local>);

impl Locals {
    /// Opens what is wanted and not served yet.
    pub(crate) async fn open(&self, wanted: &[LocalListener]) -> Result<Vec<Opened>, LocalError> {
        let mut opened = Vec::new();
        for config in wanted {
            if !self.0.iter().any(|local| local.config.place == config.place) {
                opened.push(Opened::open(config.clone()).await?);
            }
        }
        Ok(opened)
    }

    /// Serves what was opened, and gives up what is not wanted any more.
    pub(crate) fn take_over(
        &mut self,
        wanted: &[LocalListener],
        opened: Vec<Opened>,
        gateway: &Arc<Gateway>,
    ) {
        self.0.retain(|local| {
            let is_wanted = wanted.iter().any(|config| local.config.place == config.place);
            if !is_wanted {
                local.stop.cancel();
            }
            is_wanted
        });
        self.0.extend(opened.into_iter().map(|opened| opened.serve(gateway)));
    }

    /// Accepts no more; clients are left once nothing of theirs is in flight.
    pub(crate) fn stop(&self) {
        self.0.iter().for_each(|local| local.stop.cancel());
    }

    /// Waits until no client is left. Call [`Locals::stop`] first.
    pub(crate) async fn ended(&self) {
        for local in &self.0 {
            local.clients.close();
            local.clients.wait().await;
        }
    }

    /// The client of the standard streams, when it is served: cancelled once it has left.
    pub(crate) fn streams(&self) -> Option<&CancellationToken> {
        self.0.iter().find_map(|local| local.left.as_ref())
    }

    /// Whether there are others.
    pub(crate) fn has_sockets(&self) -> bool {
        self.0.iter().any(|local| local.left.is_none())
    }
}

impl Opened {
    async fn open(config: LocalListener) -> Result<Self, LocalError> {
        match &config.place {
            Place::StandardStreams => Ok(Self::Streams(config)),
            Place::UnixSocket(path) => {
                let opened = Socket::bind(path.clone()).await.map_err(|problem| LocalError {
                    name: config.name.clone(),
                    path: path.display().to_string(),
                    problem: problem.to_string(),
                });
                Ok(Self::Socket(config, opened?))
            }
        }
    }

    fn serve(self, gateway: &Arc<Gateway>) -> Local {
        let (stop, clients) = (CancellationToken::new(), TaskTracker::new());
        match self {
            Self::Streams(config) => {
                tracing::info!(listener = %config.name, "listening on standard input");
                let left = CancellationToken::new();
                let client =
                    client(Arc::clone(gateway), stop.clone(), tokio::io::stdin(), tokio::io::stdout());
                let ended = left.clone().drop_guard();
                let served = async move {
                    client.await;
                    drop(ended);
                };
                tasks::spawn("stdio-client", clients.track_future(served));
                Local { config, stop, clients, left: Some(left) }
            }
            Self::Socket(config, socket) => {
                tracing::info!(listener = %config.name, path = %socket.path().display(), "listening on a Unix socket");
                let accepting =
                    socket.accept(Arc::clone(gateway), config.max_clients, stop.clone(), clients.clone());
                tasks::spawn("unix-listener", clients.track_future(accepting));
                Local { config, stop, clients, left: None }
            }
        }
    }
}

/// Serves one client to its end.
async fn client(
    gateway: Arc<Gateway>,
    stop: CancellationToken,
    input: impl AsyncRead + Unpin,
    output: impl AsyncWrite + Unpin,
) {
    let _open = gateway.metrics.connection();
    let (connection, mut outbox) = Connection::open(&gateway, stop);
    let finished = async {
        read(input, &connection).await;
        // What it has asked before the end of its input is answered, as far as it can be.
        let limit = gateway.plan.load().snapshot.limits.drain_timeout;
        if tokio::time::timeout(limit, connection.finished()).await.is_err() {
            tracing::warn!(
                ?limit,
                "a local client has closed its input, and not everything was answered in time"
            );
        }
    };
    let over = async {
        tokio::select! {
            () = finished => {}
            _ = connection.over() => {}
        }
    };
    if let Err(error) = write(output, &mut outbox, over).await {
        tracing::debug!(%error, "local client left");
    }
}

/// Takes the client's messages until its input ends.
async fn read(mut input: impl AsyncRead + Unpin, connection: &Connection) {
    let mut decoder = Decoder::new(connection.limits().max_bytes);
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(READ);
        match input.read_buf(&mut buffer).await {
            Ok(1..) => decoder.push_bytes(buffer.split().freeze()),
            Ok(0) => break,
            Err(error) => {
                tracing::debug!(%error, "input lost");
                break;
            }
        }
        while let Some(line) = decoder.next().transpose() {
            match line {
                Ok(message) => receive(message, connection).await,
                Err(error) => {
                    let answer = error_response(None, code::INVALID_REQUEST, &error.to_string(), None);
                    connection.answer(Outbound::mcp(answer)).await;
                }
            }
        }
    }
    if let Some(rest) = decoder.finish() {
        receive(rest, connection).await;
    }
}

async fn receive(message: bytes::Bytes, connection: &Connection) {
    let inbound = Inbound {
        message,
        destination: Destination::Scope(&Scope::Merged),
        sender: Sender::Unknown,
        token: None,
        id: None,
        unasked: false,
    };
    connection.receive(inbound).await;
}

/// Writes each message as one line until the connection is over, and then the rest.
async fn write(
    mut output: impl AsyncWrite + Unpin,
    outbox: &mut Outbox,
    over: impl Future<Output = ()>,
) -> io::Result<()> {
    tokio::pin!(over);
    let mut lines = BytesMut::new();
    let mut is_over = false;
    while !is_over {
        let first = tokio::select! {
            biased;
            next = outbox.next() => next,
            () = &mut over => {
                is_over = true;
                outbox.waiting()
            }
        };
        let mut next = first;
        let mut held = Vec::new();
        while let Some(outbound) = next {
            framing::encode(&mut lines, &outbound.message);
            held.push(outbound);
            next = if lines.len() < WRITE || is_over { outbox.waiting() } else { None };
        }
        output.write_all(&lines).await?;
        output.flush().await?;
        lines = if lines.capacity() > 2 * WRITE { BytesMut::new() } else { lines };
        lines.clear();
    }
    // A client that reads no more is not waited for.
    tokio::time::timeout(Duration::from_secs(1), output.shutdown()).await.unwrap_or(Ok(()))
}

#[cfg(test)]
mod tests;
