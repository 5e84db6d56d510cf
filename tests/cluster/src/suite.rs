//! Tests that share a cluster: a `main` for test binaries. Changes when tests are run otherwise.

use std::future::Future;
use std::os::unix::process::CommandExt as _;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::{env, io};

use anyhow::{Context as _, Result};
use libtest_mimic::{Arguments, Failed, Trial};
use parking_lot::RwLock;
use tokio::runtime::Builder;

use crate::cluster::{Cluster, Settings};
use crate::namespace;

/// A test: an asynchronous function of the cluster.
pub type Test = fn(&'static Cluster) -> Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// Makes the list for [`main`](crate::suite::main) from names of `async fn(&'static Cluster) -> Result<()>`.
#[macro_export]
macro_rules! tests {
    ($($test:path),* $(,)?) => {
        vec![$((stringify!($test), (|cluster| Box::pin($test(cluster))) as $crate::suite::Test)),*]
    };
}

/// Runs tests against one cluster in a namespace of its own. Those of `shared` run at the same time, at most one per core;
/// each of `alone` has the cluster for itself, to take parts of it away.
pub fn main(
    settings: impl FnOnce() -> Result<Settings>,
    shared: Vec<(&'static str, Test)>,
    alone: Vec<(&'static str, Test)>,
) -> ExitCode {
    match run(settings, shared, alone) {
        Ok(code) => code,
        Err(error) => {
            let _ = io::Write::write_fmt(&mut io::stderr(), format_args!("{error:#}\n"));
            ExitCode::FAILURE
        }
    }
}

fn run(
    settings: impl FnOnce() -> Result<Settings>,
    shared: Vec<(&'static str, Test)>,
    alone: Vec<(&'static str, Test)>,
) -> Result<ExitCode> {
    let arguments = Arguments::from_args();
    if arguments.list {
        let all = shared.into_iter().chain(alone);
        let listed = all.map(|(name, _)| Trial::test(name, || Ok(()))).collect();
        return Ok(libtest_mimic::run(&arguments, listed).exit_code());
    }
    if !namespace::inside() {
        // It returns only when it fails.
        let error = namespace::command(env::args_os().skip(1))?.exec();
        return Err(error)
            .context("entering a namespace needs root, setpriv and unshare (package util-linux)");
    }
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let cluster: &'static Cluster = Box::leak(Box::new(runtime.block_on(Cluster::start(settings()?))?));
    // As the first process of its namespace it would ignore the signal.
    runtime.spawn(async {
        let _ = tokio::signal::ctrl_c().await;
        std::process::exit(130)
    });
    let gate = Arc::new(RwLock::new(()));
    let trial = |(name, test): (&'static str, Test), alone: bool| {
        let (gate, handle) = (Arc::clone(&gate), runtime.handle().clone());
        Trial::test(name, move || {
            let _held = if alone { (Some(gate.write()), None) } else { (None, Some(gate.read())) };
            handle.block_on(test(cluster)).map_err(|error| Failed::from(format!("{error:#}")))
        })
    };
    let mut trials: Vec<_> = shared.into_iter().map(|test| trial(test, false)).collect();
    trials.extend(alone.into_iter().map(|test| trial(test, true)));
    Ok(libtest_mimic::run(&arguments, trials).exit_code())
}
