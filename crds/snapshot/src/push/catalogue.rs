//! What every pod of a gateway should have, indexed by the order of its changes: what a pod lacks is found from one
//! number, and a change of it costs the same for a thousand pods as for one. Changes when the index does.

use std::collections::BTreeMap;

use super::{Digest, Entry, Key, Version};

/// Resources, and when each changed.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    slots: BTreeMap<Key, Slot>,
    /// The keys in the order of their latest change, each once.
    order: BTreeMap<u64, Key>,
    latest: u64,
    digest: Digest,
}

#[derive(Debug)]
struct Slot {
    /// Absent for what is gone, as long as somebody may still have it.
    entry: Option<Entry>,
    changed: u64,
}

/// What somebody lacks.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) upsert: Vec<Entry>,
    pub(super) remove: Vec<Key>,
}

impl Catalogue {
    /// Number of the latest change.
    pub(super) fn latest(&self) -> u64 {
        self.latest
    }

    /// Of everything that is here.
    pub(super) fn digest(&self) -> Digest {
        self.digest
    }

    /// What is here, in the order of types and names.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.slots.values().filter_map(|slot| slot.entry.as_ref())
    }

    /// What is here under a key.
    pub(super) fn get(&self, key: &Key) -> Option<&Entry> {
        self.slots.get(key)?.entry.as_ref()
    }

    /// The version of what is here under a key.
    pub(super) fn version(&self, key: &Key) -> Option<Version> {
        self.get(key).map(|entry| entry.version)
    }

    /// Keeps `entry`, or forgets it. The same content again is no change.
    pub(super) fn set(&mut self, key: Key, entry: Option<Entry>) -> bool {
        let old = self.slots.get(&key);
        let version = |entry: &Option<Entry>| entry.as_ref().map(|entry| entry.version);
        let before = old.and_then(|slot| version(&slot.entry));
        if before == version(&entry) {
            return false;
        }
        for version in before.into_iter().chain(version(&entry)) {
            self.digest.toggle(&key, version);
        }
        if let Some(slot) = old {
            self.order.remove(&slot.changed);
        }
        self.latest += 1;
        self.order.insert(self.latest, key.clone());
        self.slots.insert(key, Slot { entry, changed: self.latest });
        true
    }

    /// What somebody lacks who has everything up to change `cursor`.
    pub(super) fn since(&self, cursor: u64) -> Difference {
        let mut difference = Difference::default();
        for key in self.order.range(cursor + 1..).map(|(_, key)| key) {
            match self.slots.get(key).and_then(|slot| slot.entry.as_ref()) {
                Some(entry) => difference.upsert.push(entry.clone()),
                None => difference.remove.push(key.clone()),
            }
        }
        difference.upsert.sort_by(|a, b| a.key.cmp(&b.key));
        difference
    }

    /// What somebody lacks who was sent exactly `offered`.
    pub(super) fn beyond(&self, offered: &BTreeMap<Key, Version>) -> Difference {
        let gone = |key: &&Key| self.slots.get(key).is_none_or(|slot| slot.entry.is_none());
        Difference {
            upsert: self
                .entries()
                .filter(|entry| offered.get(&entry.key) != Some(&entry.version))
                .cloned()
                .collect(),
            remove: offered.keys().filter(gone).cloned().collect(),
        }
    }

    /// Forgets what is gone, as far as nobody can lack its removal who has everything up to change `cursor`.
    pub(super) fn prune(&mut self, cursor: u64) {
        let gone = |(change, key): (&u64, &Key)| {
            let gone = self.slots.get(key).is_none_or(|slot| slot.entry.is_none());
            gone.then(|| (*change, key.clone()))
        };
        let gone: Vec<_> = self.order.range(..=cursor).filter_map(gone).collect();
        for (change, key) in gone {
            self.order.remove(&change);
            self.slots.remove(&key);
        }
    }
}
