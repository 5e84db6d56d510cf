//! The `mcp-operator` binary: flags, log, signals; everything else is in the library.

use std::io::Write as _;
use std::process::ExitCode;

use bridge_api::manifest;
use bridge_runtime::log;
use bridge_runtime::signal::Shutdown;
use clap::Parser as _;
use mcp_operator::args::{Args, Command, Run};
use mcp_operator::rbac;
use mcp_operator::run::Operator;

/// Wrong usage, as clap and sysexits.h have it.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    match Args::parse().command {
        Command::Run(args) => serve(&args),
        Command::Crds => match manifest::files() {
            Ok(files) => print(&files.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join("---\n")),
            Err(error) => complain(&error.to_string()),
        },
        Command::Rbac { namespace, class, namespaces } => {
            // JSON is YAML.
            let documents = rbac::manifests(&namespace, &class, &namespaces)
                .into_iter()
                .map(|document| format!("{document:#}\n"));
            print(&documents.collect::<Vec<_>>().join("---\n"))
        }
        Command::Version => print(concat!("mcp-operator ", env!("CARGO_PKG_VERSION"), "\n")),
    }
}

fn serve(args: &Run) -> ExitCode {
    let settings = log::Settings {
        service: "mcp-operator",
        level: &args.log_level,
        format: args.log_format,
        caller: false,
    };
    if let Err(error) = log::init(settings) {
        return complain(&error.to_string());
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&format!("cannot start: {error}")),
    };
    runtime.block_on(async {
        let mut shutdown = match Shutdown::listen() {
            Ok(shutdown) => shutdown,
            Err(error) => return complain(&format!("cannot listen for signals: {error}")),
        };
        let client = match kube::Client::try_default().await {
            Ok(client) => client,
            Err(error) => return complain(&format!("no way to the API server: {error}; set KUBECONFIG")),
        };
        let mut operator = match Operator::start(args, client).await {
            Ok(operator) => operator,
            Err(error) => {
                tracing::error!(%error, "cannot start");
                return ExitCode::FAILURE;
            }
        };
        let ending = tokio::select! {
            ending = operator.tend() => Some(ending),
            _ = shutdown.recv() => None,
        };
        if let Some(reason) = &ending {
            tracing::error!(%reason, "this replica ends");
        }
        let hurry = async move {
            shutdown.recv().await;
        };
        operator.stop(hurry).await;
        if ending.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    })
}

/// Output that a person or a pipe asked for. A reader that has gone away is no failure.
fn print(text: &str) -> ExitCode {
    let written = std::io::stdout().write_all(text.as_bytes());
    if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn complain(text: &str) -> ExitCode {
    // Without standard error there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "{text}");
    ExitCode::from(EXIT_USAGE)
}
