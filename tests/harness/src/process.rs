//! A child program with captured output that cannot outlive its test. Changes when processes are supervised otherwise.
//!
//! Each child leads its own process group, and dropping the value kills the whole group. A test run that is itself
//! killed runs no destructors, so each child also asks the kernel for SIGKILL at the death of this process (through
//! `setpriv` of util-linux, because the direct call is `unsafe`).

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use parking_lot::{Condvar, Mutex};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
pub use rustix::process::Signal;
use rustix::process::{Pid, PidfdFlags, kill_process, kill_process_group, pidfd_open};

/// How many captured lines an error message quotes.
const QUOTED_LINES: usize = 40;

/// A running program; killed with its whole process group on drop.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: Pid,
    stdin: Option<ChildStdin>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<String>,
    open_outputs: usize,
    exit: Option<ExitStatus>,
    reaped: bool,
}

impl Process {
    /// Starts `command`, whose program and arguments are taken and whose environment and directory are kept. Standard
    /// output and error are captured line by line into one log; standard input is a pipe held open until
    /// [`Process::close_stdin`]. `name` is for messages.
    pub fn spawn(name: &str, command: &Command) -> Result<Self> {
        let mut guarded = Command::new("setpriv");
        guarded.args(["--pdeathsig", "KILL", "--"]).arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => guarded.env(key, value),
                None => guarded.env_remove(key),
            };
        }
        if let Some(dir) = command.get_current_dir() {
            guarded.current_dir(dir);
        }
        guarded.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);

        let mut child =
            spawn_from_lasting_thread(guarded).with_context(|| format!("starting {name}: {command:?}"))?;
        let pid =
            i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("a process id is positive")?;
        let shared = Arc::new(Shared::default());
        shared.state.lock().open_outputs = 2;
        if let Some(stdout) = child.stdout.take() {
            capture(stdout, &shared);
        }
        if let Some(stderr) = child.stderr.take() {
            capture(stderr, &shared);
        }
        let stdin = child.stdin.take();
        let reaper = Arc::clone(&shared);
        thread::spawn(move || {
            let exit = child.wait().ok();
            let mut state = reaper.state.lock();
            state.exit = exit;
            state.reaped = true;
            drop(state);
            reaper.changed.notify_all();
        });
        Ok(Self { name: name.to_owned(), pid, stdin, shared })
    }

    /// The process id, which is also the id of its process group.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// What it printed so far, standard output and error interleaved as they came.
    pub fn log(&self) -> Vec<String> {
        self.shared.state.lock().lines.clone()
    }

    /// How it ended, if it did.
    pub fn exit(&self) -> Option<ExitStatus> {
        self.shared.state.lock().exit
    }

    /// Writes to its standard input.
    pub fn write_stdin(&mut self, bytes: &[u8]) -> Result<()> {
        let stdin = self.stdin.as_mut().context("standard input was closed")?;
        stdin
            .write_all(bytes)
            .and_then(|()| stdin.flush())
            .with_context(|| format!("writing to {}", self.name))
    }

    /// Closes its standard input.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Waits for the first line, printed already or still to come, that `find` turns into something. Fails when the
    /// output ends or the time is over, quoting the end of the log.
    pub fn wait_line<T>(&self, within: Duration, mut find: impl FnMut(&str) -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + within;
        let mut seen = 0;
        let mut state = self.shared.state.lock();
        loop {
            while let Some(line) = state.lines.get(seen) {
                if let Some(found) = find(line) {
                    return Ok(found);
                }
                seen += 1;
            }
            if state.open_outputs == 0 {
                let exit = state.exit;
                drop(state);
                return Err(self.complain(&format!("ended ({exit:?}) without printing the awaited line")));
            }
            if self.shared.changed.wait_until(&mut state, deadline).timed_out() && state.lines.len() == seen {
                drop(state);
                return Err(self.complain(&format!("did not print the awaited line within {within:?}")));
            }
        }
    }

    /// The next line after the `seen` first ones, which is counted then; `None` when the output has ended.
    pub fn next_line(&self, seen: &mut usize, within: Duration) -> Result<Option<String>> {
        let deadline = Instant::now() + within;
        let mut state = self.shared.state.lock();
        loop {
            if let Some(line) = state.lines.get(*seen) {
                *seen += 1;
                return Ok(Some(line.clone()));
            }
            if state.open_outputs == 0 {
                return Ok(None);
            }
            if self.shared.changed.wait_until(&mut state, deadline).timed_out() && state.lines.len() == *seen
            {
                bail!("{} printed nothing more within {within:?}", self.name);
            }
        }
    }

    /// Waits for its end.
    pub fn wait_exit(&self, within: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + within;
        let mut state = self.shared.state.lock();
        loop {
            if let Some(exit) = state.exit
                && state.open_outputs == 0
            {
                return Ok(exit);
            }
            if self.shared.changed.wait_until(&mut state, deadline).timed_out() {
                // A grandchild may hold the pipes open after the program itself has ended.
                if let Some(exit) = state.exit {
                    return Ok(exit);
                }
                drop(state);
                return Err(self.complain(&format!("did not end within {within:?}")));
            }
        }
    }

    /// Sends a signal to the program alone, not to its children.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        if self.exit().is_some() {
            bail!("{} has already ended", self.name);
        }
        kill_process(self.pid, signal).with_context(|| format!("signalling {}", self.name))
    }

    /// An error about this process that quotes the end of its log.
    pub fn complain(&self, what: &str) -> anyhow::Error {
        let lines = self.log();
        let mut quoted = String::new();
        for line in lines.iter().skip(lines.len().saturating_sub(QUOTED_LINES)) {
            let _ = write!(quoted, "\n    | {line}");
        }
        anyhow!("{} (pid {}) {what}; its output:{quoted}", self.name, self.pid())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The group can outlive its leader; an empty group is what we want, hence errors mean nothing here.
        let _ = kill_process_group(self.pid, Signal::KILL);
        let mut state = self.shared.state.lock();
        while !state.reaped {
            self.shared.changed.wait(&mut state);
        }
    }
}

/// Process ids of all living processes whose command line satisfies `wanted`; zombies do not count.
pub fn find_processes(wanted: impl Fn(&str) -> bool) -> Result<Vec<i32>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").context("listing processes")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        // A process may end between the listing and the look at it.
        let Ok(raw) = std::fs::read(format!("/proc/{pid}/cmdline")) else { continue };
        let words: Vec<_> = raw.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
        if wanted(&words.join(" ")) {
            found.push(pid);
        }
    }
    Ok(found)
}

/// Waits until none of these processes runs any more (a zombie does not run). For processes that are not our children.
pub fn wait_gone(pids: &[i32], within: Duration) -> Result<()> {
    let deadline = Instant::now() + within;
    for &pid in pids {
        let Some(id) = Pid::from_raw(pid) else { bail!("{pid} is not a process id") };
        let Ok(handle) = pidfd_open(id, PidfdFlags::empty()) else { continue };
        // The handle becomes readable when the process ends.
        let left = Timespec::try_from(deadline.saturating_duration_since(Instant::now()))?;
        let ready =
            poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&left)).context("waiting for a process")?;
        ensure!(ready == 1, "process {pid} still runs after {within:?}");
    }
    Ok(())
}

fn capture(output: impl Read + Send + 'static, shared: &Arc<Shared>) {
    let shared = Arc::clone(shared);
    thread::spawn(move || {
        let mut reader = BufReader::new(output);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            line.clear();
            shared.state.lock().lines.push(text);
            shared.changed.notify_all();
        }
        shared.state.lock().open_outputs -= 1;
        shared.changed.notify_all();
    });
}

/// The kernel sends the parent-death signal when the *thread* that forked ends, and a test's thread ends with the test.
/// One thread that lasts as long as this process therefore does all the forking.
fn spawn_from_lasting_thread(command: Command) -> Result<Child> {
    type Order = (Command, Sender<std::io::Result<Child>>);
    static SPAWNER: OnceLock<Mutex<Sender<Order>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (orders, inbox) = channel::<Order>();
        thread::spawn(move || {
            for (mut command, reply) in inbox {
                let _ = reply.send(command.spawn());
            }
        });
        Mutex::new(orders)
    });
    let (reply, answer) = channel();
    spawner.lock().send((command, reply)).context("the spawning thread is gone")?;
    Ok(answer.recv().context("the spawning thread is gone")??)
}
