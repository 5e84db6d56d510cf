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

mod stage;
mod stream;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use self::stage::Stage;
use self::stream::Stream;
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
    /// Revision that it serves; `None` before it is known to serve anything of this publisher's.
    pub revision: Option<u64>,
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
    /// What is pending could lock everybody out.
    careful: bool,
    /// A change that one pod gets first.
    stage: Option<Stage>,
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
            careful: false,
            stage: None,
        }
    }

    /// Something was compiled anew, from a cluster as it was at `revision`; `None` when it is gone.
    pub fn set(&mut self, key: Key, entry: Option<Entry>, revision: u64, now: Instant) {
        self.pending.insert(key, entry);
        self.pending_revision = self.pending_revision.max(revision);
        self.debounce.touch(now);
    }

    /// What is pending could lock everybody out: one pod gets it first, the others when that one has served it for a few
    /// seconds. A pod that begins gets all of it at once.
    pub fn careful(&mut self) {
        self.careful = true;
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
        self.stage = None;
        let ids: Vec<_> = self.streams.keys().copied().collect();
        ids.into_iter()
            .map(|id| {
                self.forget(id);
                Effect::Close(id, "the epoch has changed")
            })
            .collect()
    }

    /// A pod has connected; it speaks first.
    pub fn connect(&mut self, id: StreamId) {
        self.streams.insert(id, Stream::default());
    }

    /// A stream has ended.
    pub fn disconnect(&mut self, id: StreamId, now: Instant) -> Vec<Effect> {
        self.forget(id);
        let mut effects = self.advance_staged(now);
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
            self.forget(id);
            effects.push(Effect::Close(id, problem));
            effects.extend(self.advance_staged(now));
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
        if self.stage.take_if(|stage| stage.until().is_some_and(|until| until <= now)).is_some() {
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
        let staged = self.stage.as_ref().and_then(Stage::until);
        debounced.into_iter().chain(wakes).chain(staged).min()
    }

    /// Says goodbye on every stream. `spread` gives each a number of milliseconds, so that not all come back at once.
    pub fn go_away(&self, mut spread: impl FnMut(StreamId) -> u64) -> Vec<Effect> {
        let goodbye = |&id: &StreamId| Effect::Send(id, ToPod::GoAway(GoAway { retry_after_ms: spread(id) }));
        self.streams.keys().map(goodbye).collect()
    }

    /// Every pod that has said who it is.
    pub fn streams(&self) -> impl Iterator<Item = StreamState<'_>> {
        self.streams.iter().filter_map(|(&id, stream)| stream.state(id, self.catalogue.latest()))
    }

    /// Number of the latest change that was published.
    pub fn latest(&self) -> u64 {
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
        for (key, entry) in std::mem::take(&mut self.pending) {
            self.catalogue.set(key, entry);
        }
        self.revision = self.revision.max(self.pending_revision);
        self.debounce.clear();
        // Where one pod serves, nobody else can be spared.
        let several = self.streams.values().filter(|stream| !stream.is_new()).count() > 1;
        if std::mem::take(&mut self.careful) && several {
            self.stage = Some(Stage::new(self.catalogue.latest()));
        }
        let needed = self.streams.values().filter_map(Stream::needs_since).min();
        self.catalogue.prune(needed.unwrap_or(self.catalogue.latest()));
    }

    fn forget(&mut self, id: StreamId) {
        self.streams.remove(&id);
        if let Some(stage) = &mut self.stage {
            stage.gone(id);
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

    /// Finds another first pod, when the one before has gone.
    fn advance_staged(&mut self, now: Instant) -> Vec<Effect> {
        let open = self.stage.as_ref().is_some_and(Stage::is_open);
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
            if let (Some(stage), Some(cursor)) = (&mut self.stage, stream.cursor()) {
                stage.serves(id, cursor, now);
            }
        }
        if self.complete && stream.may_begin(self.catalogue.latest(), self.revision, now) {
            // It has waited long enough, whoever else it waits for now.
            stream.has_waited();
            if stream.has_to_tell(self.catalogue.digest()) {
                effects.push(Effect::Send(id, ToPod::Recount));
                return;
            }
            let full = self.first.len() >= self.settings.first_at_once && !self.first.contains(&id);
            if stream.is_new() && full {
                self.queued.insert(id);
            } else if stream.is_new() || self.stage.as_mut().is_none_or(|stage| stage.admits(id, now)) {
                stream.begin(&self.catalogue, self.revision);
            }
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
