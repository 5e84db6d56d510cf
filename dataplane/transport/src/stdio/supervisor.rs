//! The one owner of child processes. Changes when children are started or counted differently.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bridge_runtime::tasks;
use parking_lot::Mutex;
use rustix::process::getpid;
use tokio::process::Command;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::child::{Child, Control, Guard, StopRequest, TERM_GRACE};
use super::program::ProgramError;
use super::{ChildSpec, environment, guard, log_lines, program, pump};

/// Messages in each direction that wait for the other side; the rest waits in the pipe and then in the sender.
const QUEUE: usize = 64;
/// Starts that wait for the spawning thread.
const STARTS: usize = 64;

/// Why a child was not started. Nothing is left running.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The program cannot be found or executed.
    #[error("backend `{name}`: {source}")]
    Program {
        /// Backend name.
        name: String,
        /// What is wrong with the program.
        source: ProgramError,
    },
    /// The configured working directory is not one.
    #[error("backend `{name}`: working directory `{directory}` does not exist or is not a directory")]
    WorkingDirectory {
        /// Backend name.
        name: String,
        /// As configured.
        directory: PathBuf,
    },
    /// The backend has all the children it may have.
    #[error("backend `{name}` already has {limit} children, its limit (`max_processes`); try again later")]
    TooMany {
        /// Backend name.
        name: String,
        /// The limit.
        limit: usize,
    },
    /// The gateway is stopping.
    #[error("backend `{name}`: no children are started any more, the gateway is stopping")]
    Stopping {
        /// Backend name.
        name: String,
    },
    /// The system refused to start a process.
    #[error("backend `{name}`: cannot start a process: {source}")]
    System {
        /// Backend name.
        name: String,
        /// The system's error.
        source: io::Error,
    },
}

/// Starts children and knows all that live; cheap to clone. Each runs below a [`guard`], so it ends with this process,
/// however that ends.
#[derive(Debug, Clone)]
pub struct Supervisor(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    guard: Vec<OsString>,
    spawner: mpsc::Sender<Start>,
    live: Mutex<Live>,
    tasks: TaskTracker,
}

#[derive(Debug, Default)]
struct Live {
    next_id: u64,
    stopping: bool,
    children: HashMap<u64, (String, StopRequest)>,
}

struct Start {
    command: Command,
    reply: oneshot::Sender<io::Result<Guard>>,
}

/// A place among the living children of a backend.
struct Slot {
    shared: Arc<Shared>,
    id: u64,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.shared.live.lock().children.remove(&self.id);
    }
}

impl Supervisor {
    /// `guard` is how to start a guard: [`guard::command`] in a program whose `main` begins with [`guard::dispatch`].
    /// Must be called inside a tokio runtime; fails when the system gives no thread.
    pub fn new(guard: Vec<OsString>) -> io::Result<Self> {
        let (spawner, starts) = mpsc::channel(STARTS);
        let runtime = tokio::runtime::Handle::current();
        // Parent-death signals are sent when the *thread* that started a process ends (prctl(2)), so this one lives as
        // long as the supervisor or any child, while the runtime's own threads come and go.
        std::thread::Builder::new()
            .name("stdio-spawner".to_owned())
            .spawn(move || spawn_all(starts, &runtime))?;
        Ok(Self(Arc::new(Shared {
            guard,
            spawner,
            live: Mutex::new(Live::default()),
            tasks: TaskTracker::new(),
        })))
    }

    /// Starts a child. That the program runs and speaks the protocol is for its first answer to show: one that ends at
    /// once is a child with a short [`Child::output`] and a [`Control::exit`].
    pub async fn start(&self, spec: &ChildSpec) -> Result<Child, StartError> {
        let stop = StopRequest::new();
        let slot = self.reserve(spec, &stop)?;
        let command = self.command(spec)?;
        let mut guarded = self
            .spawn(command)
            .await
            .map_err(|source| StartError::System { name: spec.name.clone(), source })?;
        let process = guarded.process();
        let pid = process.id().unwrap_or_default();
        tracing::info!(backend = spec.name, pid, program = %spec.program().display(), "started");

        let (exited, exit) = watch::channel(None);
        let close_input = CancellationToken::new();
        let (input, messages) = mpsc::channel(QUEUE);
        let (lines, output) = mpsc::channel(QUEUE);
        if let Some(pipe) = process.stdin.take() {
            let (backend, close) = (spec.name.clone(), close_input.clone());
            tasks::spawn("stdio-input", async move {
                if let Err(error) = pump::write(pipe, messages, close).await {
                    tracing::debug!(backend, %error, "the child closed its input");
                }
            });
        }
        if let Some(pipe) = process.stdout.take() {
            tasks::spawn("stdio-output", pump::read(pipe, lines, spec.max_line, exit.clone()));
        }
        if let Some(pipe) = process.stderr.take() {
            tasks::spawn("stdio-log", log_lines::forward(pipe, spec.name.clone(), spec.secrets()));
        }
        let (backend, requests) = (spec.name.clone(), stop.clone());
        tasks::spawn(
            "stdio-child",
            self.0.tasks.track_future(async move {
                let end = guarded.oversee(&backend, requests, close_input).await;
                tracing::info!(backend, pid, "{end}");
                drop(slot);
                exited.send_replace(Some(end));
            }),
        );
        Ok(Child { input, output, control: Control { pid, stop, exit } })
    }

    /// Living children of the backend `name`.
    pub fn count(&self, name: &str) -> usize {
        self.0.live.lock().count(name)
    }

    /// Refuses new children and stops all that live: input closed at once, TERM after `grace`, KILL two seconds later.
    /// Completes when none is left.
    pub async fn shutdown(&self, grace: Duration) {
        {
            let mut live = self.0.live.lock();
            live.stopping = true;
            for (_, stop) in live.children.values() {
                stop.after(grace);
            }
        }
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    fn reserve(&self, spec: &ChildSpec, stop: &StopRequest) -> Result<Slot, StartError> {
        let mut live = self.0.live.lock();
        if live.stopping {
            return Err(StartError::Stopping { name: spec.name.clone() });
        }
        if live.count(&spec.name) >= spec.max_processes {
            return Err(StartError::TooMany { name: spec.name.clone(), limit: spec.max_processes });
        }
        let id = live.next_id;
        live.next_id += 1;
        live.children.insert(id, (spec.name.clone(), stop.clone()));
        Ok(Slot { shared: Arc::clone(&self.0), id })
    }

    fn command(&self, spec: &ChildSpec) -> Result<Command, StartError> {
        let own_directory = Path::new(".");
        let directory = spec.working_dir.as_deref().unwrap_or(own_directory);
        if !directory.is_dir() {
            return Err(StartError::WorkingDirectory {
                name: spec.name.clone(),
                directory: directory.to_owned(),
            });
        }
        let inherited: Vec<(OsString, OsString)> = environment::inherited(std::env::vars_os()).collect();
        let path =
            spec.env.get("PATH").map(OsStr::new).or_else(|| {
                inherited.iter().find(|(name, _)| name == "PATH").map(|(_, path)| path.as_os_str())
            });
        let file = program::find(spec.program(), path, directory)
            .and_then(|file| std::path::absolute(&file).map_err(|_error| ProgramError::Missing(file)))
            .map_err(|source| StartError::Program { name: spec.name.clone(), source })?;
        let mut argv = vec![file.into_os_string()];
        argv.extend(spec.command.iter().skip(1).map(OsString::from));

        let mut guard = self.0.guard.iter();
        let mut command =
            std::process::Command::new(guard.next().map_or(OsStr::new(""), OsString::as_os_str));
        command
            .arg0("mcp-stdio-guard")
            .args(guard)
            .args(guard::arguments(getpid(), TERM_GRACE, argv))
            .current_dir(directory)
            .env_clear()
            .envs(inherited)
            .envs(&spec.env)
            // Signals of a terminal are for the gateway, which stops its children in order.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Ok(Command::from(command))
    }

    async fn spawn(&self, command: Command) -> io::Result<Guard> {
        let gone = || io::Error::other("the thread that starts children is gone");
        let (reply, started) = oneshot::channel();
        self.0.spawner.send(Start { command, reply }).await.map_err(|_closed| gone())?;
        started.await.map_err(|_closed| gone())?
    }
}

impl Live {
    fn count(&self, name: &str) -> usize {
        self.children.values().filter(|(backend, _)| backend == name).count()
    }
}

fn spawn_all(mut starts: mpsc::Receiver<Start>, runtime: &tokio::runtime::Handle) {
    while let Some(Start { mut command, reply }) = starts.blocking_recv() {
        let _context = runtime.enter();
        // A child that nobody waits for any more is dropped, and thereby ended, here.
        let _ = reply.send(command.spawn().map(Guard::new));
    }
}
