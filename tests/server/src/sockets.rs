//! Serving on connections that carry whole messages both ways, or nearly so: WebSocket, HTTP+SSE, the original gateway's
//! binary protocol. Changes when such a transport is added.
//!
//! Each client has a conversation of its own over an in-memory pipe of lines; what a transport puts around a message is
//! added and taken off at the pipe's other end.

mod binary;
mod sse;
mod websocket;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{
    AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream, ReadHalf, WriteHalf, duplex, split,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::state::Shared;
use crate::{StopSignal, announce, conversation};

/// Bytes between a conversation and its transport; then whoever has more waits.
const PIPE: usize = 64 * 1024;

/// What carries the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    WebSocket,
    Sse,
    Binary,
}

/// Serves until the process is asked to stop. Says on standard error where, once it accepts connections.
pub(crate) async fn run(shared: Arc<Shared>, address: SocketAddr, kind: Kind) -> anyhow::Result<()> {
    let mut signal = StopSignal::watch()?;
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let stop = shared.stopping.clone();
    let serving = async {
        match kind {
            Kind::Sse => {
                announce(&format!("listening on http://{address}{}", sse::STREAM))?;
                sse::serve(shared, listener).await
            }
            Kind::WebSocket => {
                announce(&format!("listening on ws://{address}/"))?;
                accept(shared, listener, websocket::serve).await
            }
            Kind::Binary => {
                announce(&format!("listening on tcp://{address}"))?;
                accept(shared, listener, binary::serve).await
            }
        }
    };
    tokio::select! {
        outcome = serving => outcome,
        () = signal.received() => {
            stop.cancel();
            Ok(())
        }
    }
}

/// Serves every connection by itself. One that fails is its client's loss only.
async fn accept<F>(
    shared: Arc<Shared>,
    listener: TcpListener,
    serve: impl Fn(Line, TcpStream) -> F,
) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let clients = TaskTracker::new();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (line, conversation) = Line::open(&shared);
        clients.spawn(together(conversation, serve(line, stream)));
    }
}

/// Both ends of a conversation. When either fails the other sees its end.
async fn together(
    conversation: impl Future<Output = anyhow::Result<()>>,
    transport: impl Future<Output = anyhow::Result<()>>,
) {
    let told = |end, outcome: anyhow::Result<()>| {
        if let Err(error) = outcome {
            tracing::debug!("{end} lost: {error:#}");
        }
    };
    let conversation = async { told("conversation", conversation.await) };
    let transport = async { told("client", transport.await) };
    tokio::join!(conversation, transport);
}

/// The transport's end of a conversation: whole messages both ways. Dropped, it ends the conversation.
struct Line {
    reader: BufReader<ReadHalf<DuplexStream>>,
    writer: WriteHalf<DuplexStream>,
}

impl Line {
    /// The conversation moves only while its future is polled.
    fn open(shared: &Arc<Shared>) -> (Self, impl Future<Output = anyhow::Result<()>> + Send + 'static) {
        let (near, far) = duplex(PIPE);
        let (input, output) = split(far);
        let conversation = conversation::serve(Arc::clone(shared), input, output, CancellationToken::new());
        let (reader, writer) = split(near);
        (Self { reader: BufReader::new(reader), writer }, conversation)
    }

    fn halves(self) -> (FromServer, ToServer) {
        (FromServer { reader: self.reader, line: Vec::new() }, ToServer(self.writer))
    }
}

/// What the server says.
struct FromServer {
    reader: BufReader<ReadHalf<DuplexStream>>,
    /// What was read of the next line, kept when its reader gave up.
    line: Vec<u8>,
}

impl FromServer {
    /// The next message; `None` at the end.
    async fn next(&mut self) -> anyhow::Result<Option<String>> {
        self.reader.read_until(b'\n', &mut self.line).await?;
        let mut line = String::from_utf8(std::mem::take(&mut self.line))?;
        line.truncate(line.trim_end().len());
        Ok((!line.is_empty()).then_some(line))
    }
}

/// What the server is told.
struct ToServer(WriteHalf<DuplexStream>);

impl ToServer {
    /// Hands over one message, which may be written over several lines.
    async fn send(&mut self, message: &[u8]) -> anyhow::Result<()> {
        // Between tokens a line break is as good as a space; inside a text JSON has none.
        let mut line: Vec<_> =
            message.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }).collect();
        line.push(b'\n');
        Ok(self.0.write_all(&line).await?)
    }

    /// No more will come.
    async fn end(mut self) -> anyhow::Result<()> {
        Ok(self.0.shutdown().await?)
    }
}
