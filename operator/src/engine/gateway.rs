//! What the index keeps of one gateway: its publisher, and the streams of its pods. Changes when pods get or tell something
//! else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge_snapshot::push::{
    Effect, Entry, Key, Publisher, PublisherSettings, Report, StreamId, ToPod, Version,
};
use tokio::sync::mpsc;

use super::propagation::Propagation;
use super::sightings::Sightings;
use crate::compile::GatewayPlan;
use crate::status::{PodFact, PodFacts, Publications, Published, Seen};

/// What a pod said last is known for so long after it has left.
const REMEMBERED: Duration = Duration::from_mins(1);

/// One gateway.
pub(super) struct Gateway {
    pub(super) publisher: Publisher,
    pub(super) propagation: Propagation,
    exposure: Option<Version>,
    /// The resources that say who gets in.
    guards: BTreeSet<Key>,
    entries: BTreeMap<Key, Entry>,
    /// Shared with every view: it is as large as the configuration, and a view is made for whatever a pod says.
    pub(super) published: Arc<Published>,
    /// The states of it.
    pub(super) publications: Arc<Publications>,
    /// What had been seen when nothing was tried.
    settled: Arc<Seen>,
    /// What the publisher was told and may not have published.
    touched: BTreeSet<Key>,
    pub(super) senders: BTreeMap<StreamId, mpsc::Sender<ToPod>>,
    pub(super) reports: BTreeMap<StreamId, Arc<Report>>,
    /// Pods that have left, and when.
    parted: BTreeMap<String, (Instant, PodFact)>,
    pub(super) saved: Arc<Vec<Entry>>,
}

impl Gateway {
    pub(super) fn new(epoch: &str) -> Self {
        // The index waits for quiet itself.
        let settings =
            PublisherSettings { quiet: Duration::ZERO, most: Duration::ZERO, ..PublisherSettings::default() };
        Self {
            publisher: Publisher::new(epoch, settings),
            propagation: Propagation::default(),
            exposure: None,
            guards: BTreeSet::new(),
            entries: BTreeMap::new(),
            published: Arc::default(),
            publications: Arc::default(),
            settled: Arc::default(),
            touched: BTreeSet::new(),
            senders: BTreeMap::new(),
            reports: BTreeMap::new(),
            parted: BTreeMap::new(),
            saved: Arc::default(),
        }
    }

    /// Tells the publisher what is different.
    pub(super) fn publish(&mut self, plan: &GatewayPlan, revision: u64, now: Instant) {
        let entries = &plan.entries;
        if self.exposure.replace(plan.exposure).is_some_and(|before| before != plan.exposure) {
            // What goes with it is not to go before it.
            self.publisher.careful(self.guards.union(&plan.guards).cloned());
        }
        self.guards.clone_from(&plan.guards);
        let gone: Vec<_> = self.entries.keys().filter(|key| !entries.contains_key(key)).cloned().collect();
        for key in gone {
            self.entries.remove(&key);
            self.touch(key.clone(), revision);
            self.publisher.set(key, None, revision, now);
        }
        for (key, entry) in entries {
            if self.entries.get(key).is_none_or(|known| known.version != entry.version) {
                self.entries.insert(key.clone(), entry.clone());
                self.touch(key.clone(), revision);
                self.publisher.set(key.clone(), Some(entry.clone()), revision, now);
            }
        }
        self.publisher.observe(revision, now);
    }

    fn touch(&mut self, key: Key, revision: u64) {
        self.touched.insert(key);
        if self.published.revision != revision {
            Arc::make_mut(&mut self.published).revision = revision;
        }
    }

    /// Takes note of what the publisher has published.
    pub(super) fn remember(&mut self, sightings: &Sightings) {
        let change = self.publisher.change();
        let tried: BTreeSet<_> = self.publisher.tried().cloned().collect();
        if tried.is_empty() {
            self.settled = Arc::clone(sightings.seen());
        }
        if self.publications.holds() == tried.is_empty() {
            Arc::make_mut(&mut self.publications).hold(!tried.is_empty());
        }
        let digest = self.publisher.published().2.to_string();
        if self.publications.latest() != Some(&digest) {
            self.saved = Arc::new(self.publisher.published().3.cloned().collect());
            let (mattered, seen) = (Arc::clone(sightings.mattered()), Arc::clone(&self.settled));
            Arc::make_mut(&mut self.publications).add(digest, change, mattered, seen);
        }
        let wanted = self.publisher.wanted().to_string();
        if self.published.digest != wanted {
            Arc::make_mut(&mut self.published).digest = wanted;
        }
        for key in std::mem::take(&mut self.touched) {
            // What is tried by one pod is served by all of them at no change that there was.
            let at = if tried.contains(&key) { u64::MAX } else { change };
            let kept = self.entries.contains_key(&key);
            let known = self.published.changed.get(&key).copied();
            if kept && known != Some(at) {
                Arc::make_mut(&mut self.published).changed.insert(key, at);
            } else if !kept && (known.is_some() || self.published.removed != at) {
                let published = Arc::make_mut(&mut self.published);
                published.changed.remove(&key);
                published.removed = at;
            }
        }
        self.touched = tried;
        self.tell_stopped();
    }

    /// Takes note of whether a change goes no further.
    pub(super) fn tell_stopped(&mut self) {
        let stopped = self.publisher.stopped().unwrap_or_default();
        if self.published.stopped != stopped {
            Arc::make_mut(&mut self.published).stopped = stopped.to_owned();
        }
    }

    /// Streams whose pods do not serve yet what was published.
    pub(super) fn behind(&self) -> usize {
        let current = self.publisher.streams().filter(|stream| stream.current).count();
        self.senders.len().saturating_sub(current)
    }

    pub(super) fn facts(&self) -> PodFacts {
        let facts = self.publisher.streams().map(|stream| {
            let fact = PodFact {
                change: stream.change,
                digest: stream.change.and_then(|change| self.publications.at(change)).map(str::to_owned),
                rejected: stream.rejected.into_iter().cloned().collect(),
                report: self.reports.get(&stream.stream).cloned(),
                parted: None,
            };
            (stream.uid.to_owned(), fact)
        });
        let parted = self.parted.iter().map(|(uid, (_, fact))| (uid.clone(), fact.clone()));
        parted.chain(facts).collect()
    }

    /// A stream has ended. What a pod said last that `leaves` counts for a while longer.
    pub(super) fn part(&mut self, id: StreamId, leaves: impl Fn(&str) -> bool, now: Instant) -> Vec<Effect> {
        self.parted.retain(|_, (at, _)| now < *at + REMEMBERED);
        self.senders.remove(&id);
        let ends = self.publisher.streams().any(|stream| stream.stream == id && leaves(stream.uid));
        let report = self.reports.remove(&id);
        let pod = self.publisher.streams().find(|stream| stream.stream == id);
        if let Some(pod) = pod.filter(|pod| report.is_some() && leaves(pod.uid)) {
            let fact = PodFact { report, parted: Some(pod.pod.to_owned()), ..PodFact::default() };
            self.parted.insert(pod.uid.to_owned(), (now, fact));
        }
        self.publisher.disconnect(id, !ends, now)
    }
}
