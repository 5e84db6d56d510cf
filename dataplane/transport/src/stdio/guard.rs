//! The guard: a small process between the gateway and a stdio server that outlives neither.
//! Changes when the rules for ending a server's processes change.
//!
//! The gateway cannot clean up after its own SIGKILL, so every server is started through a guard, which is the
//! gateway's own binary under another name ([`dispatch`]):
//!
//! ```text
//! gateway ── guard (parent-death signal TERM, child subreaper)
//!              └── program (own process group, parent-death signal KILL)
//!                    └── whatever it starts, daemons included: they fall to the guard when their parents end
//! ```
//!
//! The guard ends when the program does, or after TERM, and before that ends every descendant: TERM to all, a grace
//! period, then KILL until none is left. It has one thread and runs nothing but this.

mod descendants;
pub mod init;
mod invocation;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, getpid, getppid, kill_process_group, set_child_subreaper,
    set_parent_process_death_signal, wait,
};
use tokio::signal::unix::{Signal as SignalStream, SignalKind, signal};
use tokio::time::Instant;

use invocation::{Invocation, Role, SUBCOMMAND};

/// The gateway's binary, wherever it is, even if the file was replaced since it was started.
const OWN_BINARY: &str = "/proc/self/exe";
/// What remains after the program ended by itself gets this long: its caller waits to learn of the end.
const LEFTOVER_GRACE: Duration = Duration::from_millis(200);
/// How often living descendants are looked up again while they are being killed.
const KILL_AGAIN: Duration = Duration::from_millis(20);
/// Processes that KILL does not end within this time sit in the kernel; waiting longer does not help.
const GIVE_UP: Duration = Duration::from_secs(5);

/// The guard's own failures; 64 to 78 are the codes of sysexits.h, 126 and 127 those of the shell.
const EXIT_USAGE: u8 = 64;
const EXIT_OS_ERROR: u8 = 71;
/// The program exists but cannot be executed.
pub(super) const EXIT_CANNOT_EXECUTE: u8 = 126;
/// The program, or the interpreter that its first line names, does not exist.
pub(super) const EXIT_NOT_FOUND: u8 = 127;

/// Exit codes above this mean that the program was ended by the signal with the rest's number.
pub(super) const SIGNAL_BASE: i32 = 128;

/// How to start a guard: the gateway's own binary and the argument that [`dispatch`] looks for.
pub fn command() -> Vec<OsString> {
    vec![OWN_BINARY.into(), SUBCOMMAND.into()]
}

/// Runs the guard if this process was started as one, and returns its exit code; else `None`.
///
/// Call it first in `main`, before any thread or runtime exists.
pub fn dispatch() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != SUBCOMMAND {
        return None;
    }
    let code = match Invocation::parse(arguments) {
        Ok(invocation) => run(&invocation).unwrap_or_else(|error| {
            report(&format!("cannot guard {}: {error}", invocation.program_name()));
            EXIT_OS_ERROR
        }),
        Err(problem) => {
            report(&format!("{problem}; this command is started by the gateway, not by people"));
            EXIT_USAGE
        }
    };
    Some(ExitCode::from(code))
}

/// Arguments of a guard, without the ones of [`command`].
pub(super) fn arguments(gateway: Pid, grace: Duration, program: Vec<OsString>) -> Vec<OsString> {
    let mut arguments = Invocation { role: Role::Guard { grace }, parent: gateway, program }.to_arguments();
    arguments.remove(0);
    arguments
}

/// Standard error is the server's log, which the gateway reads line by line.
fn report(problem: &str) {
    // Without standard error there is nobody to tell.
    let _ = writeln!(io::stderr(), "{SUBCOMMAND}: {problem}");
}

impl Invocation {
    fn program_name(&self) -> std::borrow::Cow<'_, str> {
        self.program.first().map(|name| name.to_string_lossy()).unwrap_or_default()
    }
}

fn run(invocation: &Invocation) -> io::Result<u8> {
    match invocation.role {
        Role::Exec => become_program(invocation),
        Role::Guard { grace } => tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()?
            .block_on(guard(invocation, grace)),
    }
}

/// The last step before the program runs. The parent-death signal has to be set by the process itself and is kept
/// across exec (prctl(2)).
fn become_program(invocation: &Invocation) -> io::Result<u8> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    if getppid() != Some(invocation.parent) {
        // The guard died before the line above; nobody would end us.
        return Ok(EXIT_OS_ERROR);
    }
    let Some((program, arguments)) = invocation.program.split_first() else { return Ok(EXIT_USAGE) };
    let error = Command::new(program).args(arguments).exec();
    report(&format!(
        "cannot execute {}: {error}; if it is a script, check that the interpreter named in its first line exists",
        invocation.program_name()
    ));
    Ok(if error.kind() == io::ErrorKind::NotFound { EXIT_NOT_FOUND } else { EXIT_CANNOT_EXECUTE })
}

async fn guard(invocation: &Invocation, grace: Duration) -> io::Result<u8> {
    let mut stop = StopSignals::listen()?;
    let mut changed = signal(SignalKind::child())?;
    set_child_subreaper(Some(getpid()))?;
    set_parent_process_death_signal(Some(Signal::TERM))?;
    if getppid() != Some(invocation.parent) {
        // The gateway died before the line above, so its death will not be signalled any more.
        return Ok(EXIT_OS_ERROR);
    }
    let mut family = Family::start(&invocation.program)?;
    release_standard_streams()?;

    let mut asked_to_stop = false;
    while family.alive()? && family.status.is_none() {
        tokio::select! {
            _ = changed.recv() => {}
            _ = stop.recv() => { asked_to_stop = true; break }
        }
    }
    if family.alive()? {
        family.terminate();
    }
    let deadline = Instant::now() + if asked_to_stop { grace } else { LEFTOVER_GRACE };
    while family.alive()? {
        tokio::select! {
            _ = changed.recv() => {}
            () = tokio::time::sleep_until(deadline) => break,
        }
    }
    family.end(&mut changed).await?;
    Ok(family.exit_code())
}

struct StopSignals {
    terminate: SignalStream,
    interrupt: SignalStream,
    hangup: SignalStream,
}

impl StopSignals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn recv(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::TERM,
            _ = self.interrupt.recv() => Signal::INT,
            _ = self.hangup.recv() => Signal::HUP,
        }
    }
}

/// The guard keeps no end of the server's pipes, so that both sides see the other one closing them.
fn release_standard_streams() -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    Ok(())
}

/// The program and all its descendants.
struct Family {
    /// The program, and the number of its process group.
    leader: Pid,
    /// How the program ended.
    status: Option<WaitStatus>,
}

impl Family {
    fn start(program: &[OsString]) -> io::Result<Self> {
        let invocation = Invocation { role: Role::Exec, parent: getpid(), program: program.to_vec() };
        Self::spawn(Command::new(OWN_BINARY).args(invocation.to_arguments()).process_group(0))
    }

    fn spawn(command: &mut Command) -> io::Result<Self> {
        #[allow(clippy::zombie_processes, reason = "`alive` reaps every child")]
        let child = command.spawn()?;
        let leader = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(Errno::RANGE)?;
        Ok(Self { leader, status: None })
    }

    /// Reaps whatever has ended; whether anything is left. A subreaper has a child as long as it has a descendant, so
    /// "no children" means that nothing is left at all.
    fn alive(&mut self) -> io::Result<bool> {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == self.leader => self.status = Some(status),
                Ok(Some(_adopted)) => {}
                Ok(None) => return Ok(true),
                Err(Errno::CHILD) => return Ok(false),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// One TERM for each, because some programs take a second one as "drop everything".
    fn terminate(&self) {
        if let Err(error) = descendants::signal_descendants(Signal::TERM) {
            report(&format!("cannot read /proc ({error}): only the server's process group can be ended"));
            self.signal_group(Signal::TERM);
        }
    }

    /// Kills until none is left.
    async fn end(&mut self, changed: &mut SignalStream) -> io::Result<()> {
        let deadline = Instant::now() + GIVE_UP;
        while self.alive()? {
            // A process that is being killed may have started another one since the last look, and nothing tells us when
            // that one becomes ours: hence the tick.
            self.kill();
            tokio::select! {
                _ = changed.recv() => {}
                () = tokio::time::sleep(KILL_AGAIN) => {}
                () = tokio::time::sleep_until(deadline) => {
                    report("some processes of this server do not react to SIGKILL and are left behind");
                    break;
                }
            }
        }
        Ok(())
    }

    /// The group at once, which no member can escape by forking meanwhile; then those who left it.
    fn kill(&self) {
        self.signal_group(Signal::KILL);
        // `terminate` reported what keeps this from working.
        let _ = descendants::signal_descendants(Signal::KILL);
    }

    /// The group's number belongs to the program until we reap it, and to nobody for sure after that.
    fn signal_group(&self, signal: Signal) {
        if self.status.is_none() {
            // Fails only when every member has ended.
            let _ = kill_process_group(self.leader, signal);
        }
    }

    /// The shell's convention: the program's code, or 128 plus the signal that ended it.
    fn exit_code(&self) -> u8 {
        let code = self.status.and_then(|status| {
            status.exit_status().or_else(|| status.terminating_signal().map(|signal| SIGNAL_BASE + signal))
        });
        code.and_then(|code| u8::try_from(code).ok()).unwrap_or(EXIT_OS_ERROR)
    }
}
