//! One running child and its end. Changes when the way to stop a child changes.

use std::io;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use bridge_mcp::framing::FramingError;
use bytes::Bytes;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child as Process;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::Exit;

/// Between TERM and KILL.
pub(super) const TERM_GRACE: Duration = Duration::from_secs(2);
/// What a child gets between the end of its input and TERM when it is dropped without [`Control::stop`].
const DROP_GRACE: Duration = Duration::from_secs(2);
/// A guard that has not ended this long after TERM is stuck; it needs [`TERM_GRACE`] and its own limit for KILL.
const GUARD_LIMIT: Duration = Duration::from_secs(10);

/// A running child: a pipe of messages each way, and control over its life. The parts can be taken apart; the child
/// lives until [`Control`] is dropped or it ends by itself.
#[derive(Debug)]
pub struct Child {
    /// Messages to the child, one line each; line breaks inside become spaces. Sending waits while the child does not
    /// read and fails when it is gone. Dropping all senders closes the child's input.
    pub input: mpsc::Sender<Bytes>,
    /// Lines from the child without their ends, whatever they contain. A line over the limit is an error once and is
    /// skipped; more lines follow. Ends after the child and everything it wrote.
    pub output: mpsc::Receiver<Result<Bytes, FramingError>>,
    /// The child's life.
    pub control: Control,
}

/// The life of a child. Dropping it stops the child in the background.
#[derive(Debug)]
pub struct Control {
    pub(super) pid: u32,
    pub(super) stop: StopRequest,
    pub(super) exit: watch::Receiver<Option<Exit>>,
}

impl Control {
    /// Process id of the child's guard; the program is its only child.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// How the child ended, if it has.
    pub fn exit(&self) -> Option<Exit> {
        *self.exit.borrow()
    }

    /// Waits until the child and all its descendants have ended. Its last output may still be in the channel.
    pub async fn exited(&self) -> Exit {
        wait_for_exit(self.exit.clone()).await
    }

    /// A separate handle to wait with.
    pub fn watch_exit(&self) -> impl Future<Output = Exit> + Send + use<> {
        wait_for_exit(self.exit.clone())
    }

    /// Closes the child's input, sends TERM after `grace`, and KILL two seconds after that, each to all its
    /// descendants; completes when none is left. Cancelling the wait does not cancel the stop.
    pub async fn stop(&self, grace: Duration) -> Exit {
        self.stop.after(grace);
        self.exited().await
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.stop.after(DROP_GRACE);
    }
}

async fn wait_for_exit(mut exit: watch::Receiver<Option<Exit>>) -> Exit {
    let known = exit.wait_for(Option::is_some).await.ok().and_then(|exit| *exit);
    // Without its task (the runtime is shutting down) nobody can learn how the child ends.
    known.unwrap_or(Exit { code: None, signal: None })
}

/// When TERM is due; the earliest request counts.
#[derive(Debug, Clone)]
pub(super) struct StopRequest(Arc<watch::Sender<Option<Instant>>>);

impl StopRequest {
    pub(super) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }

    pub(super) fn after(&self, grace: Duration) {
        let now = Instant::now();
        let due = now.checked_add(grace).unwrap_or(now);
        self.0.send_if_modified(|term_at| {
            let earlier = term_at.is_none_or(|term_at| due < term_at);
            if earlier {
                *term_at = Some(due);
            }
            earlier
        });
    }

    /// Completes when TERM is due; `close_input` is cancelled as soon as a stop is requested.
    async fn due(&self, close_input: &CancellationToken) {
        let mut requests = self.0.subscribe();
        loop {
            let term_at = *requests.borrow_and_update();
            let changed = requests.changed();
            let Some(term_at) = term_at else {
                // An error would mean that the sender is gone, which `self` keeps alive.
                let _ = changed.await;
                continue;
            };
            close_input.cancel();
            tokio::select! {
                () = sleep_until(term_at) => return,
                _ = changed => {}
            }
        }
    }
}

/// The guard of a child. Dropped before its end (its starter was cancelled, the runtime is shutting down) it gets TERM,
/// upon which it ends the program and everything below.
#[derive(Debug)]
pub(super) struct Guard(Process);

impl Guard {
    pub(super) fn new(process: Process) -> Self {
        Self(process)
    }

    pub(super) fn process(&mut self) -> &mut Process {
        &mut self.0
    }

    fn terminate(&self) {
        // There is an id as long as the guard was not waited for, so the number is still its own.
        if let Some(pid) = self.0.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw) {
            // Fails only when the guard has just ended.
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    /// Waits for the end and brings it about when asked to.
    pub(super) async fn oversee(
        mut self,
        backend: &str,
        stop: StopRequest,
        close_input: CancellationToken,
    ) -> Exit {
        let ended = tokio::select! {
            status = self.0.wait() => Some(status),
            () = stop.due(&close_input) => None,
        };
        let ended = match ended {
            Some(ended) => ended,
            None => self.end(backend).await,
        };
        close_input.cancel();
        match ended {
            Ok(status) => Exit::from_guard(status),
            Err(error) => {
                tracing::error!(backend, %error, "the end of a child cannot be observed");
                Exit { code: None, signal: None }
            }
        }
    }

    async fn end(&mut self, backend: &str) -> io::Result<ExitStatus> {
        tracing::debug!(backend, "the child did not end with its input; sending TERM");
        self.terminate();
        if let Ok(ended) = timeout(GUARD_LIMIT, self.0.wait()).await {
            return ended;
        }
        tracing::error!(
            backend,
            "the guard of a child does not end; killing it, some of its processes may remain"
        );
        self.0.start_kill()?;
        self.0.wait().await
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.terminate();
    }
}
