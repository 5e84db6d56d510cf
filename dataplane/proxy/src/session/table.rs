//! All sessions of this process. Changes when sessions are stored elsewhere.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bridge_policy::principal::Principal;
use bridge_policy::route::Scope;
use bridge_runtime::tasks;
use parking_lot::Mutex;

use super::Session;

const SHARDS: usize = 64;

/// Sessions by id, in shards so that no request waits for a lock that all requests take.
pub(crate) struct SessionTable {
    shards: Vec<Mutex<HashMap<Box<str>, Arc<Session>>>>,
    hasher: RandomState,
    count: AtomicUsize,
}

impl SessionTable {
    pub(crate) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            count: AtomicUsize::new(0),
        }
    }

    fn shard(&self, id: &str) -> Option<&Mutex<HashMap<Box<str>, Arc<Session>>>> {
        let hash = usize::try_from(self.hasher.hash_one(id) % SHARDS as u64).unwrap_or_default();
        self.shards.get(hash)
    }

    /// Adds a session unless there are `max` already.
    pub(crate) fn insert(&self, session: Arc<Session>, max: usize) -> bool {
        if self.count.fetch_add(1, Ordering::Relaxed) >= max {
            self.count.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        if let Some(shard) = self.shard(session.id.as_str()) {
            shard.lock().insert(session.id.as_str().into(), session);
        }
        true
    }

    /// The session with this id, if it is this principal's and serves this endpoint. Any other reason for `None` looks
    /// the same from outside: an id alone proves nothing and reveals nothing.
    pub(crate) fn get(&self, id: &str, principal: &Principal, scope: &Scope) -> Option<Arc<Session>> {
        let session = self.shard(id)?.lock().get(id).cloned()?;
        (session.principal == *principal && session.scope == *scope && !session.is_closed())
            .then_some(session)
    }

    /// Takes a session out and closes it.
    pub(crate) fn remove(&self, id: &str) -> bool {
        let removed = self.shard(id).and_then(|shard| shard.lock().remove(id));
        if let Some(session) = &removed {
            self.count.fetch_sub(1, Ordering::Relaxed);
            for link in session.close() {
                tasks::spawn("close-link", async move { link.close().await });
            }
        }
        removed.is_some()
    }

    /// Closes sessions that nobody has used for `ttl`; returns how many.
    pub(crate) fn sweep(&self, now: Instant, ttl: Duration) -> usize {
        let idle: Vec<_> = self
            .shards
            .iter()
            .flat_map(|shard| {
                let sessions = shard.lock();
                let idle = sessions.values().filter(|session| session.is_idle(now, ttl));
                idle.map(Arc::clone).collect::<Vec<_>>()
            })
            .collect();
        idle.iter().filter(|session| self.remove(session.id.as_str())).count()
    }

    /// Visits every session.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(&Arc<Session>)) {
        for shard in &self.shards {
            let sessions: Vec<_> = shard.lock().values().cloned().collect();
            sessions.iter().for_each(&mut visit);
        }
    }

    /// Sessions at once.
    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}
