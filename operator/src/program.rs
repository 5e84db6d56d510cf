//! A program that is the operator: flags, log, signals. Changes when a program says or hears something else of its surroundings.

use std::io::Write as _;
use std::process::ExitCode;

use bridge_api::manifest;
use bridge_runtime::log;
use bridge_runtime::signal::Shutdown;
use clap::{CommandFactory as _, FromArgMatches as _};
use http::HeaderValue;
use http::header::{InvalidHeaderValue, USER_AGENT};
use kube::{Client, Config};

use crate::args::{Args, Command, Run};
use crate::rbac;
use crate::run::Operator;

/// Wrong usage, as clap and sysexits.h have it.
const EXIT_USAGE: u8 = 2;

/// Does what the command line of this process asks for. `version` is the program's: it is on what the operator makes, in its
/// pages and metrics, and in what the API server logs.
pub fn main(version: &'static str) -> ExitCode {
    let matches = Args::command().version(version).get_matches();
    let args = match Args::from_arg_matches(&matches) {
        Ok(args) => args,
        Err(error) => error.exit(),
    };
    match args.command {
        Command::Run(args) => serve(&Run { version, ..*args }),
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
        Command::Version => print(&format!("mcp-operator {version}\n")),
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
        let client = match connect(args.version).await {
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

/// Why there is no way to the API server.
#[derive(Debug, thiserror::Error)]
enum ConnectError {
    #[error(transparent)]
    Config(#[from] kube::config::InferConfigError),
    #[error(transparent)]
    Client(#[from] kube::Error),
    #[error("the version of this program: {0}")]
    Version(#[from] InvalidHeaderValue),
}

/// A client of the cluster that this process is in, or that `KUBECONFIG` names, which says who asks.
async fn connect(version: &str) -> Result<Client, ConnectError> {
    let mut config = Config::infer().await?;
    let agent = HeaderValue::from_str(&format!("mcp-operator/{version}"))?;
    config.headers.push((USER_AGENT, agent));
    Ok(Client::try_from(config)?)
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
