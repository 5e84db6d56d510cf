//! Backends that are child processes: a child for each conversation. Changes when children are started or ended
//! differently.

use std::sync::Arc;
use std::time::Duration;

use bridge_mcp::version::Era;
use bridge_policy::refusal::{Reason, Refusal};
use bridge_runtime::tasks;
use bridge_snapshot::StdioBackend;
use bridge_transport::stdio::{Child, ChildSpec, StartError};
use tokio_util::sync::CancellationToken;

use super::Cluster;
use super::endpoint::{Endpoint, Reach};
use crate::upstream::{Guests, Handshake, Hello, Link, Owner, Room, Wire};

/// How long a child may take to end after its input was closed, and again after each stronger signal.
const GRACE: Duration = Duration::from_secs(2);

impl Cluster {
    /// Starts a child, and a conversation with it, which ends with `stop`.
    pub(super) async fn start_child(
        &self,
        stdio: &StdioBackend,
        era: Era,
        owner: Arc<dyn Owner>,
        stop: CancellationToken,
    ) -> Result<Arc<Link>, Refusal> {
        let spec = self.child_spec(stdio);
        let child = self.start_with_room(&spec).await.map_err(|error| self.not_started(&error))?;
        let control = child.control;
        let wire = Wire { outbound: child.input, inbound: child.output };
        let link = self.start_channel(era, wire, owner, stop.clone())?;
        let (name, freed) = (Arc::clone(&self.name), Arc::clone(&self.pool.freed));
        tasks::spawn("child", async move {
            let exit = tokio::select! {
                exit = control.exited() => exit,
                () = stop.cancelled() => control.stop(GRACE).await,
            };
            stop.cancel();
            tracing::info!(backend = %name, pid = control.pid(), %exit, "child ended");
            freed.notify_one();
        });
        Ok(link)
    }

    /// Whether all clients share one process.
    pub(crate) fn shares_process(&self) -> bool {
        let shares = |endpoint: &Endpoint| matches!(&endpoint.reach, Reach::Stdio(stdio) if stdio.shared);
        self.places.load().endpoints().any(shares)
    }

    /// A part in the legacy conversation with that process. `None` when it is spoken to in the other generation.
    pub(super) async fn take_seat(
        &self,
        owner: Arc<dyn Owner>,
    ) -> Result<Option<(Arc<Link>, Handshake)>, Refusal> {
        // One process serves one generation, and the newer is asked for first.
        let asked = tokio::time::timeout(self.config.connect_timeout, self.modern_catalogue.settled()).await;
        asked.map_err(|_| self.silent())?;
        if self.modern_catalogue.lists().is_some() {
            return Ok(None);
        }
        let opened = self.room.open(|| async {
            let guests = Arc::<Guests>::default();
            let opened = self.open_own(&Hello::gateway(), Arc::clone(&guests) as Arc<dyn Owner>).await?;
            let (link, handshake) = opened.ok_or_else(|| self.era_mismatch(Era::Legacy))?;
            Ok(Arc::new(Room::new(self.limits.clone(), link, handshake, guests)))
        });
        match Box::pin(opened).await {
            Ok((room, _)) => Ok(Some(room.seat(owner))),
            Err(refusal) if refusal.reason == Reason::EraMismatch => Ok(None),
            Err(refusal) => Err(refusal),
        }
    }

    /// Starts a child. When there are as many as may be, one that only waits for another call of its client makes room.
    async fn start_with_room(&self, spec: &ChildSpec) -> Result<Child, StartError> {
        loop {
            let freed = self.pool.freed.notified();
            match self.shared.supervisor.start(spec).await {
                Err(error @ StartError::TooMany { .. }) => {
                    match self.pool.evict() {
                        Some(idle) => idle.close().await,
                        // The one that asked for the generation is about to end.
                        None if self.shares_process() => {}
                        None => return Err(error),
                    }
                    // Whoever opens has a time limit of its own; a child that does not end is killed before.
                    freed.await;
                }
                started => return started,
            }
        }
    }

    fn child_spec(&self, stdio: &StdioBackend) -> ChildSpec {
        ChildSpec {
            name: self.name.to_string(),
            command: stdio.command.clone(),
            working_dir: stdio.working_dir.clone(),
            env: stdio.env.iter().map(|(key, value)| (key.clone(), value.expose().to_owned())).collect(),
            max_line: self.limits.max_bytes,
            max_processes: stdio.max_processes,
        }
    }

    fn not_started(&self, error: &StartError) -> Refusal {
        tracing::warn!(backend = %self.name, %error, "child not started");
        if let StartError::TooMany { limit, .. } = error {
            let text = format_args!("{limit} of its processes run, its limit; try again");
            return Refusal::backend(Reason::BackendBusy, &self.name, text);
        }
        Refusal::backend(
            Reason::BackendUnavailable,
            &self.name,
            "it could not be started; the gateway's log says why",
        )
    }
}
