//! The `mcp-gateway` binary: flags, log, signals; everything else is in the library.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use bridge_runtime::log::{self, Format, LogHandle};
use bridge_runtime::signal::{Reload, Shutdown, Stop};
use bridge_transport::stdio::guard::{self, init};
use clap::Parser as _;
use mcp_gateway::adapter::{self, StdioAdapter};
use mcp_gateway::admin::Admin;
use mcp_gateway::args::{Args, Command, version};
use mcp_gateway::config::{self, LogFormat, LogSettings};
use mcp_gateway::discovery::{self, Bootstrap, Logging};
use mcp_gateway::{Server, welcome};

/// Wrong usage or configuration, as clap and sysexits.h have it.
const EXIT_CONFIG: u8 = 2;

fn main() -> ExitCode {
    if let Some(code) = guard::dispatch() {
        return code;
    }
    let args = Args::parse();
    if args.version {
        return print(&version());
    }
    match &args.command {
        Some(Command::Check) => {
            let report = config::check(&args.config, &environment);
            let printed = print(&report.to_string());
            if report.is_usable() { printed } else { ExitCode::from(1) }
        }
        Some(Command::Admin(command)) => administer(command),
        Some(Command::StdioAdapter(adapter)) => serve_beside(&args, adapter),
        Some(Command::Schema) => print(&format!("{:#}\n", config::schema())),
        None => match &args.cluster_config {
            Some(bootstrap) => serve_pod(&args, bootstrap),
            None => serve(&args),
        },
    }
}

fn administer(command: &Admin) -> ExitCode {
    match command.run(&environment, std::time::SystemTime::now()) {
        Ok(output) => {
            if let Some(warning) = output.warning {
                complain(warning);
            }
            print(&output.text)
        }
        Err(error) => {
            complain(&error.to_string());
            ExitCode::from(1)
        }
    }
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Output that a person or a pipe asked for. A reader that has gone away is no failure.
fn print(text: &str) -> ExitCode {
    let written = std::io::stdout().write_all(text.as_bytes());
    if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn complain(text: &str) -> ExitCode {
    // Without standard error there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "{text}");
    ExitCode::from(EXIT_CONFIG)
}

fn serve(args: &Args) -> ExitCode {
    // Before the file is read, so that no change in between is missed.
    let changes = config::watch(&args.config);
    let loaded = match config::load(&args.config, &environment) {
        Ok(loaded) => loaded,
        Err(error) => return complain(&error.to_string()),
    };
    let log = match start_log(args, loaded.process.log) {
        Ok(log) => log,
        Err(error) => return complain(&error),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&format!("cannot start: {error}")),
    };
    let code = runtime.block_on(run(args, loaded, changes, &log));
    // A read of standard input cannot be called off; it must not hold the process.
    runtime.shutdown_background();
    code
}

/// Serves one stdio server, or puts this program where the server's image finds it.
fn serve_beside(args: &Args, adapter: &StdioAdapter) -> ExitCode {
    if let Some(path) = &adapter.install {
        return match adapter::install(path) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                complain(&error.to_string());
                ExitCode::FAILURE
            }
        };
    }
    let settings = match adapter.settings(std::env::vars_os()) {
        Ok(settings) => settings,
        Err(error) => return complain(&error.to_string()),
    };
    // In a container it is the first process, and has more to do than to serve.
    let tied = match args.child_of {
        Some(parent) => init::tie_to(parent),
        None => match init::run() {
            Ok(code) => return ExitCode::from(code),
            Err(error) => Err(error),
        },
    };
    if let Err(error) = tied {
        return complain(&format!("cannot start: {error}"));
    }
    if let Err(error) = start_log(args, settings.log()) {
        return complain(&error);
    }
    for name in &settings.unreadable {
        tracing::warn!(name, "this variable is not UTF-8; the server does not get it");
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
        match settings.start().await {
            Ok(server) => {
                shutdown.recv().await;
                finish(server, shutdown).await
            }
            Err(error) => {
                tracing::error!(%error, "cannot start");
                complain(&error.to_string())
            }
        }
    })
}

/// Serves what an operator sends.
fn serve_pod(args: &Args, file: &Path) -> ExitCode {
    let bootstrap = match Bootstrap::load(file, &environment) {
        Ok(bootstrap) => bootstrap,
        Err(error) => return complain(&error.to_string()),
    };
    let log = match start_log(args, bootstrap.process().log) {
        Ok(log) => log,
        Err(error) => return complain(&error),
    };
    for key in bootstrap.unknown_keys() {
        tracing::warn!(file = %file.display(), key, "this version knows no such key");
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&format!("cannot start: {error}")),
    };
    let code = runtime.block_on(async {
        let (shutdown, reload) = match (Shutdown::listen(), Reload::listen()) {
            (Ok(shutdown), Ok(reload)) => (shutdown, reload),
            (Err(error), _) | (_, Err(error)) => {
                return complain(&format!("cannot listen for signals: {error}"));
            }
        };
        let logging = Logging { level: args.log_level, handle: &log };
        match discovery::run(&bootstrap, logging, shutdown, reload).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                tracing::error!(%error, "cannot start");
                complain(&error.to_string())
            }
        }
    });
    runtime.shutdown_background();
    code
}

fn start_log(args: &Args, settings: LogSettings) -> Result<LogHandle, String> {
    let level = args.log_level.unwrap_or(settings.level);
    let format = match settings.format {
        LogFormat::Json => Format::Json,
        LogFormat::Text => Format::Text,
    };
    let settings = log::Settings {
        service: "mcp-gateway",
        level: level.name(),
        format,
        caller: settings.include_caller,
    };
    log::init(settings).map_err(|error| error.to_string())
}

async fn run(
    args: &Args,
    loaded: config::Loaded,
    changes: Result<config::ConfigWatch, config::WatchError>,
    log: &LogHandle,
) -> ExitCode {
    let (mut shutdown, mut reload) = match (Shutdown::listen(), Reload::listen()) {
        (Ok(shutdown), Ok(reload)) => (shutdown, reload),
        (Err(error), _) | (_, Err(error)) => return complain(&format!("cannot listen for signals: {error}")),
    };
    let misspelt =
        config::misspelt_variables(std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()));
    for warning in loaded.warnings.iter().chain(&misspelt) {
        tracing::warn!("{warning}");
    }
    let mut server = match Server::start(loaded).await {
        Ok(server) => server,
        Err(error) => {
            tracing::error!(%error, "cannot start");
            return complain(&error.to_string());
        }
    };
    let mut changes = match changes {
        Ok(changes) => Some(changes),
        Err(error) => {
            tracing::warn!(%error, "file changes are not noticed; SIGHUP reloads");
            None
        }
    };
    if args.welcome && !server.speaks_on_stdout() {
        let backends = tokio::select! {
            backends = server.settled() => backends,
            _ = shutdown.recv() => return finish(server, shutdown).await,
        };
        if let Some((_, address, tls)) = server.addresses().next() {
            print(&welcome::text(address, tls, &backends));
        }
    }
    loop {
        tokio::select! {
            stop = shutdown.recv() => match stop {
                Stop::Graceful | Stop::Immediate => break,
            },
            () = server.left() => {
                tracing::info!("standard input has ended");
                break;
            }
            () = reload.recv() => reload_from(&args.config, args, &mut server, log).await,
            news = changed(&mut changes) => match news {
                Ok(()) => reload_from(&args.config, args, &mut server, log).await,
                Err(error) => {
                    tracing::warn!(%error, "file changes are not noticed any more; SIGHUP reloads");
                    changes = None;
                }
            },
        }
    }
    finish(server, shutdown).await
}

async fn changed(changes: &mut Option<config::ConfigWatch>) -> Result<(), config::WatchError> {
    match changes {
        Some(changes) => changes.changed().await,
        None => std::future::pending().await,
    }
}

async fn finish(server: Server, mut shutdown: Shutdown) -> ExitCode {
    server
        .stop(async move {
            shutdown.recv().await;
        })
        .await;
    ExitCode::SUCCESS
}

async fn reload_from(path: &Path, args: &Args, server: &mut Server, log: &LogHandle) {
    let loaded = match config::load(path, &environment) {
        Ok(loaded) => loaded,
        Err(error) => {
            tracing::error!(%error, "configuration refused; the running one stays");
            return;
        }
    };
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let level = args.log_level.unwrap_or(loaded.process.log.level);
    if let Err(error) = server.reload(loaded).await {
        tracing::error!(%error, "configuration refused; the running one stays");
        return;
    }
    if let Err(error) = log.set_level(level.name()) {
        tracing::error!(%error, "log level not changed");
    }
}
