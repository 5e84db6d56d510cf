//! `mcp-test-server`: a fixture MCP server in either protocol generation. Changes when its command line does.
//!
//! It is the backend that the gateway's conformance, interop and failure tests talk to, and one of the quickstart's
//! backends. The protocol comes from the published SDK; this crate adds the fixtures and what the SDK leaves out.

mod call;
mod changes;
mod completion;
mod conversation;
mod era;
mod fixture;
mod http;
mod input_required;
mod logging;
mod paging;
mod prompts;
mod resources;
mod samples;
mod sockets;
mod state;
mod stdio;
mod tasks;
mod tools;
mod world;

use std::net::IpAddr;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, ValueEnum};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::era::Era;
use crate::state::Shared;

/// A complete MCP fixture server for tests.
#[derive(Debug, Parser)]
#[command(name = "mcp-test-server", version)]
struct Args {
    /// How clients connect.
    #[arg(long, value_enum, default_value_t = TransportKind::Stdio)]
    transport: TransportKind,
    /// Which protocol generations are served; the other one is refused as a real server of that age would.
    #[arg(long, value_enum, default_value_t = Era::Both)]
    era: Era,
    /// Address to listen on (not stdio).
    #[arg(long, default_value = "127.0.0.1")]
    host: IpAddr,
    /// Port to listen on (not stdio); 0 picks a free one, which the `listening on` line names.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// More names by which clients may address it (http only); without it, the address and those of this machine.
    #[arg(long = "allow-host", value_name = "NAME")]
    allow_hosts: Vec<String>,
    /// Form of the replies to modern requests (http only); a reply that has to stream always does.
    #[arg(long, value_enum, default_value_t = ReplyKind::Stream)]
    reply: ReplyKind,
    /// Entries per page of every list; without it each list is one page.
    #[arg(long)]
    page_size: Option<std::num::NonZeroUsize>,
    /// Directory for what tools change, so that several processes of one server see the same; without it, memory.
    #[arg(long)]
    state_dir: Option<std::path::PathBuf>,
    /// Another name for the tool echo; may be repeated.
    #[arg(long = "tool", value_name = "NAME")]
    tools: Vec<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum TransportKind {
    Stdio,
    Http,
    /// HTTP+SSE of 2024-11-05
    Sse,
    Websocket,
    /// The original gateway's binary protocol, dialect G
    Tcp,
}

/// Content type of a modern reply that is one message.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum ReplyKind {
    /// `text/event-stream`
    Stream,
    /// `application/json`
    Json,
}

fn main() -> ExitCode {
    let args = Args::parse();
    // Standard output belongs to the protocol. The SDK warns of every error response and of every client that leaves
    // early, which is what tests do all day; RUST_LOG=rmcp=warn shows it.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,rmcp=off"));
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(std::io::stderr).init();
    match serve(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(args: &Args) -> anyhow::Result<()> {
    let shared = Shared::new(args.era, args.page_size, args.state_dir.as_deref(), &args.tools)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let address = (args.host, args.port).into();
    let outcome = runtime.block_on(async {
        let watching = Arc::clone(&shared);
        let serving = async {
            match args.transport {
                TransportKind::Stdio => stdio::run(shared).await,
                TransportKind::Http => http::run(shared, address, &args.allow_hosts, args.reply).await,
                TransportKind::Sse => sockets::run(shared, address, sockets::Kind::Sse).await,
                TransportKind::Websocket => sockets::run(shared, address, sockets::Kind::WebSocket).await,
                TransportKind::Tcp => sockets::run(shared, address, sockets::Kind::Binary).await,
            }
        };
        tokio::select! {
            outcome = serving => outcome,
            () = watching.world.watch(&watching.hub) => Ok(()),
        }
    });
    // A read of standard input may still be blocked on its thread; waiting for it would hold the exit.
    runtime.shutdown_background();
    outcome
}

/// Says something that tests wait for.
fn announce(line: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    writeln!(std::io::stderr(), "{line}")
}

/// SIGTERM and Ctrl-C, watched from its creation on: made before a client can know of the process.
struct StopSignal {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignal {
    fn watch() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Resolves when the process is asked to stop.
    async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
