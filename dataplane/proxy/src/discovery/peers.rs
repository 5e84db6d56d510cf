//! The other pods of this pod's gateway, for whoever has to find one of them. Changes when pods know something else of each
//! other.
//!
//! An operator names all of them when a stream begins, and says what is different after that. They stay as they are while no
//! stream is there: pods live on without an operator.

use std::collections::BTreeMap;
use std::sync::Arc;

use bridge_snapshot::push::Peer;
use tokio::sync::watch;

/// The other pods; cheap to clone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Peers(Arc<BTreeMap<String, Peer>>);

/// Where the latest [`Peers`] are; `None` before an operator has named any.
pub(crate) type PeersReceiver = watch::Receiver<Option<Peers>>;

impl Peers {
    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// Names of some of them, in order.
    pub(crate) fn names(&self, most: usize) -> Vec<&str> {
        let mut names: Vec<_> = self.0.values().map(|peer| &*peer.pod).collect();
        names.sort_unstable();
        names.truncate(most);
        names
    }
}

/// Takes over what the state machine knows. Nobody is woken when that is the same.
pub(super) fn publish(latest: &watch::Sender<Option<Peers>>, known: Option<&BTreeMap<String, Peer>>) {
    latest.send_if_modified(|before| {
        if before.as_ref().map(|before| &*before.0) == known {
            return false;
        }
        *before = known.map(|known| Peers(Arc::new(known.clone())));
        let count = before.as_ref().map_or(0, Peers::count);
        tracing::debug!(peers = count, "other pods of the gateway");
        true
    });
}
