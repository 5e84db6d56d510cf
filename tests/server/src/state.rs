//! State of the process and of one legacy session. Changes when fixtures need to remember something else.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rmcp::RoleServer;
use rmcp::model::RequestStateCodec;
use rmcp::service::Peer;
use rmcp::task_manager::TaskManager;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::changes::{Early, Hub};
use crate::era::Era;
use crate::logging::Level;
use crate::tools::Registry;
use crate::world::World;

/// What all connections of this process share.
pub(crate) struct Shared {
    pub(crate) era: Era,
    pub(crate) page_size: Option<NonZeroUsize>,
    /// Random per process, so that a test can tell a restarted server from the old one.
    pub(crate) instance: String,
    pub(crate) tools: Registry,
    pub(crate) tasks: TaskManager,
    pub(crate) state_codec: RequestStateCodec,
    pub(crate) hub: Hub,
    pub(crate) world: World,
    /// Counts the pages that users were sent to.
    visits: AtomicU64,
    /// Calls of tools under way.
    pub(crate) calls: TaskTracker,
    /// Fires when the process is asked to stop; open subscriptions then end with their final result.
    pub(crate) stopping: CancellationToken,
}

impl Shared {
    /// Fails only when the system has no randomness.
    pub(crate) fn new(
        era: Era,
        page_size: Option<NonZeroUsize>,
        state_dir: Option<&Path>,
        more_tools: &[String],
    ) -> anyhow::Result<Arc<Self>> {
        let mut key = vec![0; RequestStateCodec::MIN_KEY_LENGTH];
        let mut instance = [0; 8];
        for buffer in [&mut key[..], &mut instance[..]] {
            getrandom::fill(buffer).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
        }
        Ok(Arc::new(Self {
            era,
            page_size,
            instance: format!("{:016x}", u64::from_be_bytes(instance)),
            tools: Registry::new(more_tools),
            tasks: TaskManager::new(),
            state_codec: RequestStateCodec::try_new(key)?,
            hub: Hub::new(),
            world: World::new(state_dir),
            visits: AtomicU64::new(0),
            calls: TaskTracker::new(),
            stopping: CancellationToken::new(),
        }))
    }

    /// An `elicitationId` that this process has not used yet.
    pub(crate) fn next_visit(&self) -> String {
        format!("visit-{}", self.visits.fetch_add(1, Ordering::AcqRel) + 1)
    }
}

/// One legacy session. A modern request gets an empty one of its own.
#[derive(Default)]
pub(crate) struct Session {
    /// It has begun with `initialize`.
    pub(crate) greeted: OnceLock<()>,
    /// Set once the client has said `notifications/initialized`.
    pub(crate) peer: OnceLock<Peer<RoleServer>>,
    pub(crate) log_level: Mutex<Option<Level>>,
    pub(crate) watched: Mutex<HashSet<String>>,
    pub(crate) early: Early,
}
