//! The first process of a pod, above the one that does the work: it passes signals on, and sees to the processes that
//! lost everybody else. Changes when the duties of such a process change.
//!
//! ```text
//! init (child subreaper; as a container's process 1 it is one anyway)
//!   ├── worker (parent-death signal KILL)
//!   │     └── guards, each with its server
//!   └── what a guard left that was killed itself: ended at once
//! ```

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::Duration;

use rustix::process::{
    Pid, Signal, getpid, getppid, kill_process, set_child_subreaper, set_parent_process_death_signal,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use super::{Family, OWN_BINARY, StopSignals, descendants};

/// How often it looks for processes that have become its own without a signal.
const LOOK: Duration = Duration::from_secs(5);
/// What guards get to end their servers when the worker has gone.
const GUARDS: Duration = Duration::from_secs(10);

/// The flag with which the worker is started, in front of all others.
pub const FLAG: &str = "--child-of";

/// Starts this program again with the same arguments behind [`FLAG`], and stays until it and all that it started have
/// ended. Gives its exit code, as shells do.
///
/// Call it before any thread or runtime exists.
pub fn run() -> io::Result<u8> {
    tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?.block_on(oversee())
}

/// Ties this process to the one that started it, which has to be `parent`: it ends with it.
pub fn tie_to(parent: i32) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    if getppid().map(Pid::as_raw_pid) == Some(parent) {
        return Ok(());
    }
    Err(io::Error::other(format!("process {parent} did not start this one")))
}

async fn oversee() -> io::Result<u8> {
    let mut stop = StopSignals::listen()?;
    let mut changed = signal(SignalKind::child())?;
    set_child_subreaper(Some(getpid()))?;
    let mut worker = Command::new(OWN_BINARY);
    worker
        .arg0("mcp-gateway")
        .arg(format!("{FLAG}={}", getpid().as_raw_pid()))
        .args(std::env::args_os().skip(1));
    // A terminal signals its whole group; the worker gets each signal once, from here.
    let mut family = Family::spawn(worker.process_group(0))?;
    let mut look = tokio::time::interval(LOOK);
    loop {
        // In this order: with the worker gone its guards are ours, and have work to do.
        family.alive()?;
        if family.status.is_some() {
            break;
        }
        // The worker starts all others, so each other child of ours lost its guard.
        descendants::signal_children_but(family.leader, Signal::KILL)?;
        tokio::select! {
            _ = changed.recv() => {}
            _ = look.tick() => {}
            signal = stop.recv() => {
                // Fails when it has ended, which is noticed next.
                let _ = kill_process(family.leader, signal);
            }
        }
    }
    let deadline = Instant::now() + GUARDS;
    while family.alive()? {
        tokio::select! {
            _ = changed.recv() => {}
            () = tokio::time::sleep_until(deadline) => break,
        }
    }
    family.end(&mut changed).await?;
    Ok(family.exit_code())
}
