//! State of the process and of one legacy session. Changes when fixtures need to remember something else.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use rmcp::RoleServer;
use rmcp::model::RequestStateCodec;
use rmcp::service::Peer;
use rmcp::task_manager::TaskManager;
use tokio_util::sync::CancellationToken;

use crate::changes::{Early, Hub};
use crate::era::Era;
use crate::logging::Level;
use crate::tools::Registry;

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
    pub(crate) extra_tool: Toggle,
    pub(crate) extra_prompt: Toggle,
    pub(crate) extra_resource: Toggle,
    /// Counts the updates of the watched resource; part of its text.
    pub(crate) watched_revision: AtomicU64,
    /// Counts the pages that users were sent to.
    visits: AtomicU64,
    /// What users have agreed to on a page, by the key of `test_url_required`.
    pub(crate) agreed: Mutex<HashSet<String>>,
    /// Calls of `sleep` that ended by cancellation.
    pub(crate) cancelled_sleeps: AtomicU64,
    /// Fires when the process is asked to stop; open subscriptions then end with their final result.
    pub(crate) stopping: CancellationToken,
}

impl Shared {
    /// Fails only when the system has no randomness.
    pub(crate) fn new(era: Era, page_size: Option<NonZeroUsize>) -> anyhow::Result<Arc<Self>> {
        let mut key = vec![0; RequestStateCodec::MIN_KEY_LENGTH];
        let mut instance = [0; 8];
        for buffer in [&mut key[..], &mut instance[..]] {
            getrandom::fill(buffer).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
        }
        Ok(Arc::new(Self {
            era,
            page_size,
            instance: format!("{:016x}", u64::from_be_bytes(instance)),
            tools: Registry::new(),
            tasks: TaskManager::new(),
            state_codec: RequestStateCodec::try_new(key)?,
            hub: Hub::new(),
            extra_tool: Toggle::default(),
            extra_prompt: Toggle::default(),
            extra_resource: Toggle::default(),
            watched_revision: AtomicU64::new(0),
            visits: AtomicU64::new(0),
            agreed: Mutex::default(),
            cancelled_sleeps: AtomicU64::new(0),
            stopping: CancellationToken::new(),
        }))
    }

    /// An `elicitationId` that this process has not used yet.
    pub(crate) fn next_visit(&self) -> String {
        format!("visit-{}", self.visits.fetch_add(1, Ordering::AcqRel) + 1)
    }
}

/// A list entry that a trigger tool adds and removes.
#[derive(Default)]
pub(crate) struct Toggle(AtomicBool);

impl Toggle {
    pub(crate) fn is_on(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    pub(crate) fn flip(&self) {
        self.0.fetch_xor(true, Ordering::AcqRel);
    }
}

/// One legacy session. A modern request gets an empty one of its own.
#[derive(Default)]
pub(crate) struct Session {
    /// Set once the client has said `notifications/initialized`.
    pub(crate) peer: OnceLock<Peer<RoleServer>>,
    pub(crate) log_level: Mutex<Option<Level>>,
    pub(crate) watched: Mutex<HashSet<String>>,
    pub(crate) early: Early,
}
