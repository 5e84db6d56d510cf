//! `bridge-bench`: what one hop through the gateway costs, beside a direct call, nginx and bare hyper.
//! Changes when a subcommand or an option is added.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool: its output is its product"
)]
#![allow(
    clippy::cast_precision_loss,
    reason = "figures for people: counts and microseconds stay far below 2^53, where f64 is exact"
)]

mod backend;
mod calls;
mod histogram;
mod idle;
mod load;
mod process;
mod procfs;
mod proxy;
mod report;
mod server;
mod stats;
mod suite;
mod targets;
mod wire;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};

use crate::wire::Endpoint;

/// Measures the gateway and the physical limits around it.
#[derive(Parser)]
#[command(name = "bridge-bench", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// A minimal MCP server for both protocol generations, with one tool, `echo`.
    Backend {
        /// Port on 127.0.0.1; 0 takes a free one. The address is printed on stdout.
        #[arg(long, default_value_t = 0)]
        port: u16,
        #[command(flatten)]
        lifetime: server::Lifetime,
    },
    /// A reverse proxy of nothing but hyper: the physical reference.
    Proxy {
        /// Port on 127.0.0.1; 0 takes a free one. The address is printed on stdout.
        #[arg(long, default_value_t = 0)]
        port: u16,
        /// Where requests go, such as `http://127.0.0.1:8080`; the path of each request is kept.
        #[arg(long)]
        to: Endpoint,
        /// Read both bodies whole and parse them into JSON trees before passing them on.
        #[arg(long)]
        parse: bool,
        #[command(flatten)]
        lifetime: server::Lifetime,
    },
    /// Closed-loop load on one URL: each connection sends its next call when the last is answered.
    Load(LoadArgs),
    /// Measures every target in turn and writes the report.
    All(suite::Options),
}

#[derive(clap::Args)]
struct LoadArgs {
    /// The MCP endpoint, such as `http://127.0.0.1:8080/mcp`.
    #[arg(long)]
    url: Endpoint,
    /// What the calls look like on the wire.
    #[arg(long, value_enum, default_value_t = calls::Mode::Legacy)]
    mode: calls::Mode,
    /// Keep-alive connections, each with one call in flight.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    connections: u32,
    /// Seconds measured, after half a second of warm-up.
    #[arg(long, default_value_t = 5.0, value_parser = suite::positive_seconds)]
    duration: f64,
    /// Size of the serialised `arguments` object.
    #[arg(long, default_value_t = 256, value_parser = calls::arguments_size)]
    args_bytes: usize,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bridge-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Backend { port, lifetime } => {
            lifetime.apply()?;
            // One worker: the cost of the far end stays the same whatever stands in front of it.
            server::runtime(Some(1))?.block_on(backend::serve(port))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Proxy { port, to, parse, lifetime } => {
            lifetime.apply()?;
            server::runtime(None)?.block_on(proxy::serve(port, to, parse))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Load(args) => measuring_runtime()?.block_on(single_load(args)),
        Command::All(options) => measuring_runtime()?.block_on(suite::run(options)),
    }
}

/// The load generator runs on one thread: it is not the thing measured, and must take as little as it can.
fn measuring_runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")
}

async fn single_load(args: LoadArgs) -> Result<ExitCode> {
    let plan = load::Plan {
        endpoint: args.url,
        mode: args.mode,
        connections: args.connections,
        warm_up: Duration::from_millis(500),
        window: Duration::from_secs_f64(args.duration),
        arguments_size: args.args_bytes,
    };
    let (outcome, ..) = load::run(&plan, || ()).await?;
    println!("{outcome}");
    Ok(if outcome.failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
