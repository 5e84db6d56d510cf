//! The index: one task that owns what is known of the cluster, compiles it, and tells pods. Changes when another kind of
//! event has to be answered. What it decides is in `compile` and in the publishers; here is when.

mod fetched;
mod gateway;
mod peers;
mod propagation;
mod sightings;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge_snapshot::push::{Debounce, Effect, FromPod, StreamId, ToPod};
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::compile::{Compilation, Memo, Options, compile};
use crate::metrics::OperatorMetrics;
use crate::serve::peer::{Facts, GONE};
use crate::watch::Change;
use crate::watch::pulse::{Pulse, Sight};
use crate::world::{ObjectName, Objects, Shared, World};
use fetched::Unwatched;
use gateway::Gateway;
use sightings::Sightings;

pub use fetched::Fetched;
pub use view::View;

/// Time without a change after which the world is compiled.
const QUIET: Duration = Duration::from_millis(10);
/// Longest time between a change and its compilation.
const MOST: Duration = Duration::from_millis(100);
/// Time in which what pods say is collected before it is shown: a change is acknowledged by all of them at once, and what is
/// shown names each.
const COLLECT: Duration = Duration::from_millis(50);
/// Longest time between two looks at the clock.
const IDLE: Duration = Duration::from_secs(5);
/// Pods come back within so long after they were asked to try another replica.
const SPREAD: Duration = Duration::from_secs(5);

/// What others tell the index.
#[derive(Debug)]
pub enum Event {
    /// A pod of this gateway has connected. What is to be sent goes into the queue; a stream whose queue is full has ended.
    Connected(ObjectName, StreamId, mpsc::Sender<ToPod>),
    /// A pod has said something.
    Message(ObjectName, StreamId, Box<FromPod>),
    /// A stream has ended.
    Disconnected(ObjectName, StreamId),
    /// Values that no watch delivers were read. Absent means that there is no such object.
    Fetched(Vec<Fetched>),
    /// Another replica says what its pods say.
    Peer(Box<Facts>),
    /// Say goodbye on every stream; each pod comes back after a time of its own below this one.
    Leave(Duration),
}

/// The index.
pub struct Engine {
    options: Options,
    epoch: String,
    metrics: OperatorMetrics,
    world: Arc<World>,
    /// The world as it was compiled, with what was fetched.
    compiled: Arc<World>,
    memo: Memo,
    /// Something has changed since that compiling does not look at.
    aged: bool,
    /// The pods that were told of each other.
    introduced: Option<Shared<Objects<Pod>>>,
    missing: BTreeSet<Arc<str>>,
    pulse: Pulse,
    sight: Sight,
    looked: Instant,
    revision: u64,
    sightings: Sightings,
    debounce: Debounce,
    gateways: BTreeMap<ObjectName, Gateway>,
    compilation: Option<Arc<Compilation>>,
    unwatched: Unwatched,
    peers: Arc<BTreeMap<String, (Instant, Facts)>>,
    view: watch::Sender<Arc<View>>,
    /// When what pods have said is shown.
    unseen: Option<Instant>,
    random: fn() -> u64,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("revision", &self.revision).finish_non_exhaustive()
    }
}

impl Engine {
    /// Nothing is known yet. `watches` have to report before anything is compiled: what is missing until then may be
    /// merely unknown. They begin after `start`, a resource version. `reads`: what no watch delivers is read.
    pub fn new(
        options: Options,
        (epoch, start): (String, u64),
        (watches, pulse, reads): (&[Arc<str>], Pulse, bool),
        metrics: OperatorMetrics,
        random: fn() -> u64,
    ) -> (Self, watch::Receiver<Arc<View>>) {
        let (view, seen) = watch::channel(Arc::default());
        let engine = Self {
            options,
            epoch,
            metrics,
            world: Arc::default(),
            compiled: Arc::default(),
            memo: Memo::default(),
            aged: false,
            introduced: None,
            missing: watches.iter().cloned().collect(),
            pulse,
            sight: Sight::Clear,
            looked: Instant::now(),
            revision: 0,
            sightings: Sightings::new(start),
            debounce: Debounce::new(QUIET, MOST),
            gateways: BTreeMap::new(),
            compilation: None,
            unwatched: Unwatched::new(reads),
            peers: Arc::default(),
            view,
            unseen: None,
            random,
        };
        (engine, seen)
    }

    /// Runs until `stop`, or until nobody is left who could tell anything.
    pub async fn run(
        mut self,
        mut changes: mpsc::Receiver<Change>,
        mut events: mpsc::Receiver<Event>,
        stop: CancellationToken,
    ) {
        loop {
            let due = self.due();
            // Not biased: no pod that talks without pause may keep the index from the cluster, nor the other way round.
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep_until(due.into()) => self.tick(Instant::now()),
                event = events.recv() => match event {
                    Some(event) => self.event(event, Instant::now()),
                    None => return,
                },
                change = changes.recv() => match change {
                    Some(change) => self.change(change, Instant::now()),
                    None => return,
                },
            }
        }
    }

    fn due(&self) -> Instant {
        let compiling = self.debounce.due().filter(|_| self.missing.is_empty() && self.sight.is_clear());
        let publishing = self.gateways.values().filter_map(|gateway| gateway.publisher.next_tick());
        compiling.into_iter().chain(publishing).chain(self.unseen).fold(self.looked + IDLE, Instant::min)
    }

    /// The cluster has changed.
    pub fn change(&mut self, change: Change, now: Instant) {
        let matters = (change.apply)(Arc::make_mut(&mut self.world));
        self.revision = self.revision.max(change.revision);
        let complete = self.missing.remove(&change.watch);
        self.sightings.saw(&change.watch, change.revision, matters);
        if matters || complete {
            self.debounce.touch(now);
        } else {
            self.aged = true;
            self.unseen.get_or_insert(now + COLLECT);
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant) {
        self.look(now);
        if self.missing.is_empty()
            && self.sight.is_clear()
            && self.debounce.due().is_some_and(|due| due <= now)
        {
            let since = self.debounce.since().unwrap_or(now);
            self.debounce.clear();
            self.compile(now, since);
        }
        for name in self.gateways.keys().cloned().collect::<Vec<_>>() {
            self.with(&name, |gateway| gateway.publisher.tick(now));
            let Some(gateway) = self.gateways.get_mut(&name) else { continue };
            let before = gateway.publications.latest().cloned();
            gateway.remember(&self.sightings);
            if gateway.publications.latest() != before.as_ref() {
                // What one pod has tried goes to the others.
                gateway.propagation.published(gateway.publisher.change(), now);
                self.unseen.get_or_insert(now + COLLECT);
            }
        }
        if self.unseen.is_some_and(|due| due <= now) {
            self.show();
        }
    }

    /// Finds out whether what is known may be relied on. A replica that sees less than another compiles nothing, because
    /// what it misses is not gone, and lets its pods look for a better one; those that find none come back.
    fn look(&mut self, now: Instant) {
        self.looked = now;
        let sight = self.pulse.sight(now);
        if sight == self.sight {
            return;
        }
        match &sight {
            Sight::Clear => tracing::info!("the cluster is seen again"),
            Sight::Waiting(kind) => tracing::error!(%kind, "the definition is missing; what is known stays"),
            Sight::Stale(watch) => {
                tracing::error!(%watch, "the API server does not answer; nothing new is compiled");
                self.part(SPREAD);
            }
            Sight::Blind(watch) => {
                tracing::error!(%watch, "the API server does not answer; nothing is written");
            }
        }
        self.sight = sight;
        self.show();
    }

    /// Says goodbye on every stream.
    fn part(&mut self, within: Duration) {
        let most = u64::try_from(within.as_millis()).unwrap_or(u64::MAX).max(1);
        let random = self.random;
        for name in self.gateways.keys().cloned().collect::<Vec<_>>() {
            self.with(&name, |gateway| gateway.publisher.go_away(|_| random() % most));
        }
    }

    /// Somebody has said something.
    pub fn event(&mut self, event: Event, now: Instant) {
        // That a pod has heard of others is nothing that anybody is shown.
        let shows =
            !matches!(&event, Event::Message(.., message) if matches!(**message, FromPod::PeersAck(_)));
        match event {
            Event::Connected(name, id, sender) => {
                // A gateway that is not compiled yet gets its publisher then; its pods come back.
                self.with(&name, |gateway| {
                    gateway.senders.insert(id, sender);
                    gateway.publisher.connect(id);
                    Vec::new()
                });
            }
            Event::Message(name, id, message) => {
                self.with(&name, |gateway| gateway.publisher.receive(id, *message, now));
                self.answered(&name, id, now);
            }
            Event::Disconnected(name, id) => {
                let world = Arc::clone(&self.world);
                let leaves = |uid: &str| {
                    let pod = world.pods.values().find(|pod| pod.metadata.uid.as_deref() == Some(uid));
                    pod.is_none_or(|pod| pod.metadata.deletion_timestamp.is_some())
                };
                self.with(&name, |gateway| gateway.part(id, leaves, now));
                self.parted(&name, id, now);
            }
            Event::Fetched(values) => {
                for value in values {
                    self.revision = self.revision.max(value.revision());
                    self.unwatched.read(value);
                }
                self.debounce.touch(now);
            }
            Event::Peer(facts) => {
                let peers = Arc::make_mut(&mut self.peers);
                peers.retain(|_, (at, _)| now < *at + GONE);
                peers.insert(facts.replica.clone(), (now, *facts));
            }
            Event::Leave(within) => self.part(within),
        }
        self.metrics.streams(self.gateways.values().map(|gateway| gateway.senders.len()).sum());
        if shows {
            self.unseen.get_or_insert(now + COLLECT);
        }
    }

    fn with(&mut self, name: &ObjectName, act: impl FnOnce(&mut Gateway) -> Vec<Effect>) {
        let Some(gateway) = self.gateways.get_mut(name) else { return };
        let effects = act(gateway);
        gateway.tell_stopped();
        for effect in effects {
            match effect {
                Effect::Send(id, message) => {
                    // A pod that does not take its messages gets no more of them; what it has is known when it is back.
                    if gateway.senders.get(&id).is_some_and(|sender| sender.try_send(message).is_err()) {
                        gateway.senders.remove(&id);
                    }
                }
                Effect::Close(id, reason) => {
                    tracing::warn!(gateway = %name, stream = id, reason, "stream closed");
                    gateway.senders.remove(&id);
                    gateway.reports.remove(&id);
                }
                Effect::Serves(id, revision, rejected) => {
                    self.metrics.served(rejected.is_empty());
                    for rejection in &rejected {
                        let (key, message) = (rejection.key(), &rejection.message);
                        tracing::warn!(gateway = %name, stream = id, revision, %key, message, "a pod refuses a resource");
                    }
                }
                Effect::Holds(id, held) => {
                    tracing::warn!(gateway = %name, stream = id, reason = ?held.reason, "a pod holds a change");
                }
                Effect::Reported(id, report) => drop(gateway.reports.insert(id, Arc::new(report))),
            }
        }
    }

    /// Compiles what has changed `since`.
    fn compile(&mut self, now: Instant, since: Instant) {
        let started = Instant::now();
        let world = self.completed();
        let compilation = match compile(&world, &self.options, &mut self.memo) {
            Ok(compilation) => compilation,
            Err(error) => {
                return tracing::error!(%error, "a resource cannot be encoded; pods keep what they have");
            }
        };
        self.sightings.compiled();
        self.gateways.retain(|name, _| compilation.gateways.contains_key(name));
        self.unwatched.forget_all_but(&compilation.references);
        for (name, plan) in &compilation.gateways {
            let epoch = &self.epoch;
            let gateway = self.gateways.entry(name.clone()).or_insert_with(|| Gateway::new(epoch));
            gateway.publish(plan, self.revision, now);
            let known = gateway.publisher.published().1 > 0;
            self.with(name, |gateway| {
                if known { gateway.publisher.tick(now) } else { gateway.publisher.complete(now) }
            });
            if let Some(gateway) = self.gateways.get_mut(name) {
                gateway.remember(&self.sightings);
                let at = now + started.elapsed();
                if gateway.propagation.published(gateway.publisher.change(), at) {
                    self.metrics.published(at.saturating_duration_since(since));
                }
            }
        }
        self.compilation = Some(Arc::new(compilation));
        self.compiled = world;
        self.aged = false;
        self.introduced = None;
        self.metrics.compiled(started.elapsed(), self.gateways.len());
        self.show();
    }

    fn completed(&mut self) -> Arc<World> {
        let references = self.compilation.as_ref().map(|compilation| &compilation.references);
        self.unwatched.complete(&self.world, &self.compiled, references)
    }

    fn show(&mut self) {
        self.unseen = None;
        self.introduce();
        // Whoever writes compares with what is there now. What has not been compiled yet would be compared with an outcome
        // that is not its own.
        if self.aged && self.debounce.due().is_none() {
            self.compiled = self.completed();
            self.sightings.compiled();
            self.aged = false;
        }
        let facts = |gateway: &Gateway| gateway.facts();
        let view = View {
            world: Arc::clone(&self.compiled),
            compilation: self.compilation.clone(),
            published: self
                .gateways
                .iter()
                .map(|(name, gateway)| (name.clone(), Arc::clone(&gateway.published)))
                .collect(),
            publications: self
                .gateways
                .iter()
                .map(|(name, gateway)| (name.clone(), Arc::clone(&gateway.publications)))
                .collect(),
            seen: Arc::clone(self.sightings.seen()),
            pods: self.gateways.iter().map(|(name, gateway)| (name.clone(), facts(gateway))).collect(),
            peers: Arc::clone(&self.peers),
            saved: self
                .gateways
                .iter()
                .map(|(name, gateway)| {
                    let (epoch, revision, ..) = gateway.publisher.published();
                    (name.clone(), (epoch.to_owned(), revision, Arc::clone(&gateway.saved)))
                })
                .collect(),
            sight: self.sight.clone(),
        };
        self.metrics.lag(self.gateways.values().map(Gateway::behind).sum());
        self.metrics.streams(self.gateways.values().map(|gateway| gateway.senders.len()).sum());
        self.view.send_replace(Arc::new(view));
    }
}
