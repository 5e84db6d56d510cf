//! What the index keeps of one gateway: its publisher, and the streams of its pods. Changes when pods get or tell something
//! else.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge_snapshot::push::{Entry, Key, Publisher, PublisherSettings, Report, StreamId, ToPod};
use tokio::sync::mpsc;

use crate::status::{PodFact, PodFacts, Published};

/// One gateway.
pub(super) struct Gateway {
    pub(super) publisher: Publisher,
    entries: BTreeMap<Key, Entry>,
    pub(super) published: Published,
    pub(super) senders: BTreeMap<StreamId, mpsc::Sender<ToPod>>,
    pub(super) reports: BTreeMap<StreamId, Report>,
    pub(super) saved: Arc<Vec<Entry>>,
}

impl Gateway {
    pub(super) fn new(epoch: &str) -> Self {
        // The index waits for quiet itself.
        let settings =
            PublisherSettings { quiet: Duration::ZERO, most: Duration::ZERO, ..PublisherSettings::default() };
        Self {
            publisher: Publisher::new(epoch, settings),
            entries: BTreeMap::new(),
            published: Published::default(),
            senders: BTreeMap::new(),
            reports: BTreeMap::new(),
            saved: Arc::default(),
        }
    }

    /// Tells the publisher what is different.
    pub(super) fn publish(&mut self, entries: &BTreeMap<Key, Entry>, revision: u64, now: Instant) {
        let gone: Vec<_> = self.entries.keys().filter(|key| !entries.contains_key(key)).cloned().collect();
        for key in gone {
            self.entries.remove(&key);
            self.published.changed.insert(key.clone(), revision);
            self.publisher.set(key, None, revision, now);
        }
        for (key, entry) in entries {
            if self.entries.get(key).is_none_or(|known| known.version != entry.version) {
                self.entries.insert(key.clone(), entry.clone());
                self.published.changed.insert(key.clone(), revision);
                self.publisher.set(key.clone(), Some(entry.clone()), revision, now);
            }
        }
        self.publisher.observe(revision, now);
    }

    pub(super) fn remember(&mut self) {
        let (_, _, digest, entries) = self.publisher.published();
        let digest = digest.to_string();
        if self.published.digest != digest {
            self.saved = Arc::new(entries.cloned().collect());
            self.published.digest = digest;
        }
    }

    pub(super) fn facts(&self) -> PodFacts {
        let facts = self.publisher.streams().map(|stream| {
            let fact = PodFact {
                revision: stream.revision,
                digest: stream.current.then(|| self.published.digest.clone()),
                rejected: stream.rejected.into_iter().cloned().collect(),
                report: self.reports.get(&stream.stream).cloned(),
            };
            (stream.uid.to_owned(), fact)
        });
        facts.collect()
    }
}
