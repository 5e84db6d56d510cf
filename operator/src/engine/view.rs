//! What the index shows to whoever writes. Changes when writers have to know more.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use bridge_snapshot::push::Entry;

use crate::compile::Compilation;
use crate::serve::peer::{Facts, GONE};
use crate::status::{PodFacts, Publications, Published, Seen};
use crate::watch::pulse::Sight;
use crate::world::{ObjectName, World};

/// What the index knows, for whoever writes status.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// The cluster.
    pub world: Arc<World>,
    /// What it was compiled to; absent before every watch has reported.
    pub compilation: Option<Arc<Compilation>>,
    /// What was published, by gateway.
    pub published: BTreeMap<ObjectName, Arc<Published>>,
    /// The states of that, by gateway.
    pub publications: BTreeMap<ObjectName, Arc<Publications>>,
    /// How far the watches have been seen.
    pub seen: Arc<Seen>,
    /// What the pods of the streams of this replica say, by gateway.
    pub pods: BTreeMap<ObjectName, PodFacts>,
    /// What other replicas say of theirs, and when they did.
    pub peers: Arc<BTreeMap<String, (Instant, Facts)>>,
    /// What a cold start needs, by gateway: epoch, revision and resources.
    pub saved: BTreeMap<ObjectName, (String, u64, Arc<Vec<Entry>>)>,
    /// What all this is worth.
    pub sight: Sight,
}

impl View {
    /// What every known pod of a gateway says, whichever replica it is connected to. What this replica hears itself is
    /// newest.
    pub fn pods_of(&self, gateway: &ObjectName, now: Instant) -> PodFacts {
        let mut facts = PodFacts::new();
        if let Some(publications) = self.publications.get(gateway) {
            let told = self.peers.values().filter(|(at, _)| now < *at + GONE);
            facts.extend(told.flat_map(|(_, peer)| peer.pods_of(gateway, publications)));
        }
        facts.extend(self.pods.get(gateway).cloned().unwrap_or_default());
        facts
    }
}
