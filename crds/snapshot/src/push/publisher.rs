//! The operator's end: who has what, and what to send next. Changes when the operator's side of the protocol does.
//!
//! ```text
//!            Hello                       Ack of the last part, Nack
//!  greeted ────────▶ in step ◀───────────────────────────────┐
//!                      │  the catalogue is ahead              │
//!                      └───────▶ sending ── Ack of a part ──┐ │
//!                                  ▲  │ ◀──────────────────┘ │
//!                                  │  ├──────────────────────┘
//!                 time, or newer   │  │ Nack {held}
//!                                  └ waiting
//! ```

mod stream;
mod trial;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use self::stream::Stream;
use self::trial::{Overlay, Trial};
use super::catalogue::Catalogue;
use super::roster::Roster;
use super::{
    Debounce, Digest, Entry, FromPod, GoAway, Held, Key, Nack, PROTOCOL, Peer, Rejection, Report,
    ServerHello, ToPod,
};

/// One connection of a pod. The driver chooses the number and never uses it again.
pub type StreamId = u64;

/// What can be chosen.
#[derive(Debug, Clone)]
pub struct PublisherSettings {
    /// Time without a change after which changes are published.
    pub quiet: Duration,
    /// Longest time between a change and its publication.
    pub most: Duration,
    /// Bytes of the bodies in one delta; a larger body goes alone. Whoever sends and receives it keeps a buffer of as much
    /// for each stream.
    pub delta_bytes: usize,
    /// Pods that get their first change at once; the others wait.
    pub first_at_once: usize,
    /// Pods that one message names, which bounds its size.
    pub peers_at_once: usize,
}

impl Default for PublisherSettings {
    fn default() -> Self {
        Self {
            quiet: Duration::from_millis(10),
            most: Duration::from_millis(100),
            delta_bytes: 128 * 1024,
            first_at_once: 50,
            peers_at_once: 256,
        }
    }
}

/// What the driver has to do, or to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Send a message.
    Send(StreamId, ToPod),
    /// End a stream, because its peer does not keep to the protocol. The text says how.
    Close(StreamId, &'static str),
    /// A pod serves a revision, with these exceptions.
    Serves(StreamId, u64, Vec<Rejection>),
    /// A pod does not serve what it was sent yet.
    Holds(StreamId, Held),
    /// A pod told of itself.
    Reported(StreamId, Report),
}

/// How far a pod is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamState<'a> {
    /// The stream.
    pub stream: StreamId,
    /// Name of the pod.
    pub pod: &'a str,
    /// Uid of the pod.
    pub uid: &'a str,
    /// Version of its program.
    pub build: &'a str,
    /// Change of this publisher up to which it has everything; `None` before it is known to have anything of it.
    pub change: Option<u64>,
    /// Whether it serves everything that was published (but what it rejected).
    pub current: bool,
    /// What it was sent and does not serve.
    pub rejected: Vec<&'a Rejection>,
}

/// Configuration of one gateway, and the pods that get it.
#[derive(Debug)]
pub struct Publisher {
    settings: PublisherSettings,
    epoch: String,
    revision: u64,
    catalogue: Catalogue,
    /// The pods of the gateway, connected or not.
    roster: Roster,
    pending: BTreeMap<Key, Option<Entry>>,
    pending_revision: u64,
    debounce: Debounce,
    complete: bool,
    streams: BTreeMap<StreamId, Stream>,
    /// Streams with their first change on its way, which is the large one.
    first: BTreeSet<StreamId>,
    /// Streams that wait until one of those is done.
    queued: BTreeSet<StreamId>,
    /// Streams whose pod held a change.
    held: BTreeSet<StreamId>,
    /// What of what is pending could lock everybody out.
    careful: BTreeSet<Key>,
    /// A change that one pod tries before the others get it.
    trial: Option<Trial>,
    /// Streams that were asked to end.
    away: BTreeSet<StreamId>,
}

impl Publisher {
    /// Nothing is known yet, and nothing is sent before [`Publisher::complete`].
    pub fn new(epoch: impl Into<String>, settings: PublisherSettings) -> Self {
        Self {
            debounce: Debounce::new(settings.quiet, settings.most),
            roster: Roster::new(settings.peers_at_once),
            settings,
            epoch: epoch.into(),
            revision: 0,
            catalogue: Catalogue::default(),
            pending: BTreeMap::new(),
            pending_revision: 0,
            complete: false,
            streams: BTreeMap::new(),
            first: BTreeSet::new(),
            queued: BTreeSet::new(),
            held: BTreeSet::new(),
            careful: BTreeSet::new(),
            trial: None,
            away: BTreeSet::new(),
        }
    }

    /// Something was compiled anew, from a cluster as it was at `revision`; `None` when it is gone.
    pub fn set(&mut self, key: Key, entry: Option<Entry>, revision: u64, now: Instant) {
        self.pending.insert(key, entry);
        self.pending_revision = self.pending_revision.max(revision);
        self.debounce.touch(now);
    }

    /// What is pending for `keys` could lock everybody out: one pod tries it, and the others, and those that begin, get it
    /// when that one has served it for a few seconds. They never do when that one refuses it, or when pods are lost with it.
    pub fn careful(&mut self, keys: impl IntoIterator<Item = Key>) {
        self.careful.extend(keys);
    }

    /// The cluster was seen as it was at `revision`, whether or not that changed anything here.
    pub fn observe(&mut self, revision: u64, now: Instant) {
        self.pending_revision = self.pending_revision.max(revision);
        if !self.held.is_empty() {
            self.debounce.touch(now);
        }
    }

    /// These are the pods of the gateway now, connected or not. What is published has no part in that.
    pub fn peers(&mut self, peers: impl IntoIterator<Item = Peer>) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.roster.set(peers) {
            for id in self.streams.keys().copied().collect::<Vec<_>>() {
                self.tell(id, &mut effects);
            }
        }
        effects
    }

    /// Everything that exists has been compiled at least once. Before, whatever is missing might be merely unknown.
    pub fn complete(&mut self, now: Instant) -> Vec<Effect> {
        self.complete = true;
        self.publish();
        self.advance_all(now)
    }

    /// The history of the cluster is another one: it was restored. Streams begin again, so that no pod compares revisions
    /// of two histories.
    pub fn restore(&mut self, epoch: impl Into<String>, revision: u64) -> Vec<Effect> {
        self.epoch = epoch.into();
        self.revision = revision;
        self.pending_revision = revision;
        self.try_no_more();
        for set in [&mut self.first, &mut self.queued, &mut self.held, &mut self.away] {
            set.clear();
        }
        let streams = std::mem::take(&mut self.streams).into_keys();
        streams.map(|id| Effect::Close(id, "the epoch has changed")).collect()
    }

    /// A pod has connected; it speaks first.
    pub fn connect(&mut self, id: StreamId) {
        self.streams.insert(id, Stream::default());
    }

    /// A stream has ended. The pod is `lost` when nothing is known that would have ended it.
    pub fn disconnect(&mut self, id: StreamId, lost: bool, now: Instant) -> Vec<Effect> {
        self.forget(id, lost, now);
        let mut effects = self.advance_tried(now);
        self.advance_queued(now, &mut effects);
        effects
    }

    /// A message has come. Messages of streams that have ended are ignored.
    pub fn receive(&mut self, id: StreamId, message: FromPod, now: Instant) -> Vec<Effect> {
        let Some(stream) = self.streams.get_mut(&id) else { return Vec::new() };
        let mut effects = Vec::new();
        let outcome = match message.bounded() {
            FromPod::Hello(hello) if hello.protocol != PROTOCOL => Err("another version of the protocol"),
            FromPod::Hello(hello) => {
                if stream.greet(hello) {
                    let hello = ServerHello { protocol: PROTOCOL, epoch: self.epoch.clone() };
                    effects.push(Effect::Send(id, ToPod::Hello(hello)));
                }
                Ok(())
            }
            FromPod::Ack(ack) => stream.acknowledged(ack.seq, Vec::new(), &self.catalogue),
            FromPod::Nack(Nack { seq, rejected, held: None }) => {
                stream.acknowledged(seq, rejected, &self.catalogue)
            }
            FromPod::Nack(Nack { seq, held: Some(held), .. }) => {
                let outcome = stream.held(seq, &held, now);
                if outcome == Ok(true) {
                    self.held.insert(id);
                    let until = stream.wakes().unwrap_or(now);
                    self.trial.iter_mut().for_each(|trial| trial.waits(id, until));
                    effects.push(Effect::Holds(id, held));
                }
                outcome.map(drop)
            }
            FromPod::Report(report) => {
                effects.push(Effect::Reported(id, report));
                Ok(())
            }
            FromPod::PeersAck(ack) => stream.heard_of_peers(ack.seq),
        };
        if let Err(problem) = outcome {
            self.forget(id, true, now);
            effects.push(Effect::Close(id, problem));
            effects.extend(self.advance_tried(now));
        } else {
            self.advance(id, now, &mut effects);
            self.tell(id, &mut effects);
        }
        self.advance_queued(now, &mut effects);
        effects
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant) -> Vec<Effect> {
        if self.complete && self.debounce.due().is_some_and(|due| due <= now) {
            self.publish();
            return self.advance_all(now);
        }
        if let Some(trial) =
            self.trial.as_mut().filter(|trial| trial.until().is_some_and(|until| until <= now))
        {
            let name = |id| self.streams.get(&id).and_then(Stream::name).unwrap_or_default().to_owned();
            if trial.is_over(name, now) {
                self.try_no_more();
            }
            return self.advance_all(now);
        }
        let mut effects = Vec::new();
        for id in self.held.clone() {
            self.advance(id, now, &mut effects);
        }
        effects
    }

    /// When [`Publisher::tick`] has something to do.
    pub fn next_tick(&self) -> Option<Instant> {
        let debounced = self.debounce.due().filter(|_| self.complete);
        let wakes = self.held.iter().filter_map(|id| self.streams.get(id)?.wakes());
        let tried = self.trial.as_ref().and_then(Trial::until);
        debounced.into_iter().chain(wakes).chain(tried).min()
    }

    /// Says goodbye on every stream. `spread` gives each a number of milliseconds, so that not all come back at once.
    pub fn go_away(&mut self, mut spread: impl FnMut(StreamId) -> u64) -> Vec<Effect> {
        self.away.extend(self.streams.keys());
        let goodbye = |&id: &StreamId| Effect::Send(id, ToPod::GoAway(GoAway { retry_after_ms: spread(id) }));
        self.streams.keys().map(goodbye).collect()
    }

    /// Every pod that has said who it is.
    pub fn streams(&self) -> impl Iterator<Item = StreamState<'_>> {
        self.streams.iter().filter_map(|(&id, stream)| stream.state(id, self.catalogue.latest()))
    }

    /// Number of the latest change. Each change of a resource is one, here and in this process only.
    pub fn change(&self) -> u64 {
        self.catalogue.latest()
    }

    /// Number of the change up to which the pod of a stream serves everything, but what it rejected; `None` before its first
    /// is done.
    pub fn serves(&self, id: StreamId) -> Option<u64> {
        self.streams.get(&id)?.cursor()
    }

    /// What is published: epoch, revision, digest and resources, for the cold-start Secret.
    pub fn published(&self) -> (&str, u64, Digest, impl Iterator<Item = &Entry>) {
        (&self.epoch, self.revision, self.catalogue.digest(), self.catalogue.entries())
    }

    fn publish(&mut self) {
        let several = self.are_several();
        let careful = std::mem::take(&mut self.careful);
        let before = self.trial.take();
        let mut tried = before.as_ref().map(|trial| trial.overlay().clone()).unwrap_or_default();
        for (key, entry) in std::mem::take(&mut self.pending) {
            if careful.contains(&key) || tried.contains_key(&key) {
                tried.insert(key, entry);
            } else {
                self.catalogue.set(key, entry);
            }
        }
        let version = |entry: &Option<Entry>| entry.as_ref().map(|entry| entry.version);
        tried.retain(|key, entry| self.catalogue.version(key) != version(entry));
        let same = before.filter(|trial| trial::is_that(&trial::versions(trial.overlay()), &tried));
        let same = same.filter(|trial| several || !trial.is_open());
        let begins = (several && !tried.is_empty()).then(|| Trial::new(tried.clone()));
        self.trial = same.or(begins);
        if self.trial.is_none() {
            for (key, entry) in tried {
                self.catalogue.set(key, entry);
            }
        }
        self.revision = self.revision.max(self.pending_revision);
        self.debounce.clear();
        let needed = self.streams.values().filter_map(Stream::needs_since).min();
        self.catalogue.prune(needed.unwrap_or(self.catalogue.latest()));
    }

    fn forget(&mut self, id: StreamId, lost: bool, now: Instant) {
        let stream = self.streams.remove(&id);
        let lost = !self.away.remove(&id) && lost;
        if let Some(trial) = &mut self.trial {
            let name = stream.as_ref().and_then(Stream::name).filter(|_| lost);
            trial.gone(id, name, now);
        }
        for set in [&mut self.first, &mut self.queued, &mut self.held] {
            set.remove(&id);
        }
    }

    fn advance_all(&mut self, now: Instant) -> Vec<Effect> {
        let mut effects = Vec::new();
        for id in self.streams.keys().copied().collect::<Vec<_>>() {
            self.advance(id, now, &mut effects);
        }
        effects
    }

    /// Finds another pod that tries what is tried, when the one before has gone.
    fn advance_tried(&mut self, now: Instant) -> Vec<Effect> {
        let open = self.trial.as_ref().is_some_and(Trial::is_open);
        if open && !self.are_several() {
            self.try_no_more();
        }
        if open { self.advance_all(now) } else { Vec::new() }
    }

    fn advance_queued(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        while self.first.len() < self.settings.first_at_once
            && let Some(next) = self.queued.pop_first()
        {
            self.advance(next, now, effects);
        }
    }

    /// Sends what is new about the pods of the gateway, if the stream is to hear it.
    fn tell(&mut self, id: StreamId, effects: &mut Vec<Effect>) {
        let told = self.streams.get_mut(&id).and_then(Stream::told);
        if let Some(message) = told.and_then(|told| self.roster.next(told)) {
            effects.push(Effect::Send(id, ToPod::Peers(message)));
        }
    }

    /// Says what a stream has completed, and sends what can be sent on it.
    fn advance(&mut self, id: StreamId, now: Instant, effects: &mut Vec<Effect>) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if let Some((revision, rejected)) = stream.completed() {
            effects.push(Effect::Serves(id, revision, rejected));
            if let Some(trial) = &mut self.trial {
                trial.answered(id, stream.instead(), |key| stream.refuses(key), now);
            }
        }
        let nothing = Overlay::new();
        let latest = self.catalogue.latest();
        if let Some(trial) = self.trial.as_mut().filter(|trial| !stream.is_new() && trial.may_go_to(id))
            && stream.may_begin(latest, trial.overlay(), self.revision, now)
        {
            trial.goes_to(id, now);
        }
        let trial = self.trial.as_ref().filter(|trial| trial.is_for(id));
        let overlay = trial.map_or(&nothing, Trial::overlay);
        if self.complete && stream.may_begin(latest, overlay, self.revision, now) {
            // It has waited long enough, whoever else it waits for now.
            stream.has_waited();
            if stream.has_to_tell(self.catalogue.digest()) {
                effects.push(Effect::Send(id, ToPod::Recount));
                return;
            }
            let full = self.first.len() >= self.settings.first_at_once && !self.first.contains(&id);
            if stream.is_new() && full {
                self.queued.insert(id);
            } else {
                stream.begin(&self.catalogue, overlay, self.revision);
            }
        }
        if stream.wakes().is_some_and(|until| until <= now) {
            // What it held is wanted no more.
            stream.has_waited();
        }
        if stream.wakes().is_none() {
            self.held.remove(&id);
        }
        if stream.is_new() && stream.is_sending() {
            self.first.insert(id);
        } else {
            self.first.remove(&id);
        }
        if let Some(delta) = stream.next_part(self.settings.delta_bytes) {
            effects.push(Effect::Send(id, ToPod::Delta(delta)));
        }
    }
}
