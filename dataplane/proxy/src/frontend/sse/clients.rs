//! The clients of all HTTP+SSE streams that are open, by the token in the endpoint that each was given. Changes when a
//! POST finds its stream in another way.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use bridge_policy::principal::Principal;
use bridge_policy::route::Scope;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::frontend::connection::Connection;
use crate::session::SessionId;

const SHARDS: usize = 16;

/// One client, as long as its stream is open.
pub(super) struct Client {
    pub(super) id: SessionId,
    pub(super) connection: Connection,
    /// Who opened the stream. Nobody else's messages belong to it.
    pub(super) principal: Principal,
    pub(super) scope: Scope,
    /// Its stream is open on a path where the original's clients look for it.
    pub(super) original: bool,
    /// Cancelled when the stream has ended.
    pub(super) gone: CancellationToken,
}

/// All of them.
pub(crate) struct Clients {
    shards: Vec<Mutex<HashMap<Box<str>, Arc<Client>>>>,
    hasher: RandomState,
}

impl Clients {
    pub(crate) fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), hasher: RandomState::new() }
    }

    fn shard(&self, id: &str) -> Option<&Mutex<HashMap<Box<str>, Arc<Client>>>> {
        let hash = usize::try_from(self.hasher.hash_one(id) % SHARDS as u64).unwrap_or_default();
        self.shards.get(hash)
    }

    pub(super) fn insert(&self, client: &Arc<Client>) {
        if let Some(shard) = self.shard(client.id.as_str()) {
            shard.lock().insert(client.id.as_str().into(), Arc::clone(client));
        }
    }

    pub(super) fn remove(&self, id: &SessionId) {
        if let Some(shard) = self.shard(id.as_str()) {
            shard.lock().remove(id.as_str());
        }
    }

    /// The client with this token, if it is this principal's. Any other reason for `None` looks the same from outside.
    pub(super) fn get(&self, id: &str, principal: &Principal) -> Option<Arc<Client>> {
        let client = self.shard(id)?.lock().get(id).cloned()?;
        (client.principal == *principal).then_some(client)
    }

    /// The one stream that a message without a token can be for: the original knew users only. Of several streams any
    /// could be meant, and without authentication any could be somebody else's, so then there is none.
    pub(super) fn sole(&self, principal: &Principal) -> Option<Arc<Client>> {
        let mut found = None;
        for shard in &self.shards {
            for client in shard.lock().values() {
                if client.original
                    && client.principal == *principal
                    && found.replace(Arc::clone(client)).is_some()
                {
                    return None;
                }
            }
        }
        found
    }
}
