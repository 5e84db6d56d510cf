//! The life of a pod: which configuration it begins with, what changes it, how it leaves. Changes with the order of these.

use std::collections::{BTreeSet, VecDeque};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge_policy::backoff::{Backoff, Schedule};
use bridge_runtime::log::LogHandle;
use bridge_runtime::signal::{Reload, Shutdown};
use bridge_snapshot::push::{
    Change, FromPod, Key, Leave, Nack, Rejection, RejectionCode, Report, Resource, Saved, Step, Subscriber,
    SubscriberSettings, ToPod,
};
use tokio::sync::watch;

use super::Bootstrap;
use super::apply::Served;
use super::dial::Dialer;
use super::link::{Event, Link};
use super::peers::{self, Peers};
use super::report::report;
use super::saved::Store;
use super::standing::{Source, Standing};
use crate::config::LogLevel;
use crate::run::{Server, StartError};

/// How long a pod that starts waits for an operator before it serves what was saved. An operator that cannot be reached
/// at all is not waited for.
const FIRST: Duration = Duration::from_secs(3);
/// How often the pod looks at itself.
const LOOK: Duration = Duration::from_secs(1);
/// Shortest time between two writes of the last good configuration.
const BETWEEN_SAVES: Duration = Duration::from_secs(1);
/// How often it looks at the files that its configuration names. Mounts change within a minute or so.
const LOOK_AT_FILES: Duration = Duration::from_secs(2);
/// How often a report is sent that only counts sessions anew.
const SESSIONS: Duration = Duration::from_secs(5);
/// How often a report that says nothing new is sent.
const REPEAT: Duration = Duration::from_secs(30);
/// How what could not be had here is asked for again.
const AGAIN: Schedule = Schedule {
    first: Duration::from_secs(2),
    max: Duration::from_mins(2),
    stable_after: Duration::from_mins(2),
};
/// How long the operator may take to read the last words.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How the pod's log is set.
pub struct Logging<'a> {
    /// The level that the command line insists on.
    pub level: Option<LogLevel>,
    /// Changes the level.
    pub handle: &'a LogHandle,
}

/// A pod of a gateway.
struct Pod<'a> {
    server: Server,
    subscriber: Subscriber,
    served: Served,
    standing: Arc<Standing>,
    peers: watch::Sender<Option<Peers>>,
    link: Link,
    store: Store,
    /// What was saved before the start, until something is served.
    saved: Option<(Source, Saved)>,
    /// When what was saved is served; `None` once something is, or nothing was saved.
    patience: Option<Instant>,
    /// When what is served is saved.
    save_at: Option<Instant>,
    saved_at: Option<Instant>,
    /// When what could not be had here is asked for again.
    again_at: Option<Instant>,
    again: Backoff,
    reported: Option<(Report, Instant)>,
    files_at: Option<Instant>,
    logging: Logging<'a>,
    /// The level that the bootstrap file names.
    level: LogLevel,
}

/// Runs a pod until a signal asks it to leave.
pub async fn run(
    bootstrap: &Bootstrap,
    logging: Logging<'_>,
    mut shutdown: Shutdown,
    mut reload: Reload,
) -> Result<(), StartError> {
    let now = Instant::now();
    let (peers, latest) = watch::channel(None);
    let standing = Arc::new(Standing::new(now, latest));
    let server = Server::start_empty(&bootstrap.process(), Arc::clone(&standing)).await?;
    let seed = getrandom::u64().map_err(StartError::Random)?;
    let store = Store::new(bootstrap);
    let mut pod = Pod {
        server,
        subscriber: Subscriber::new(bootstrap.identity(), &SubscriberSettings::default()),
        served: Served::default(),
        standing,
        peers,
        link: Link::new(Dialer::new(bootstrap, seed), random, now),
        saved: None,
        patience: Some(now + FIRST),
        store,
        save_at: None,
        saved_at: None,
        again_at: None,
        again: Backoff::new(AGAIN),
        reported: None,
        files_at: None,
        logging,
        level: bootstrap.log_level,
    };
    pod.remember().await;
    pod.follow(&mut reload, async {
        shutdown.recv().await;
    })
    .await;
    let drained = pod.server.drain();
    pod.follow(&mut reload, async {
        tokio::select! {
            () = drained => {}
            _ = shutdown.recv() => tracing::warn!("stopping at once"),
        }
    })
    .await;
    pod.leave().await;
    Ok(())
}

/// Randomness spreads attempts; without any they are merely less spread.
fn random() -> u64 {
    getrandom::u64().unwrap_or_default()
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

impl Pod<'_> {
    /// Takes what the operator sends until `ended`. A pod that drains does, too: a key that is revoked counts at once.
    async fn follow(&mut self, reload: &mut Reload, ended: impl Future<Output = ()>) {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut ended = pin!(ended);
        loop {
            let deadline = self.next_deadline();
            tokio::select! {
                () = &mut ended => return,
                () = reload.recv() => self.served.read_again(true, &mut self.server).await,
                event = self.link.next() => self.happened(event).await,
                () = until(deadline) => self.tick(Instant::now()).await,
                _ = look.tick() => self.look(Instant::now()).await,
            }
        }
    }

    /// Looks for a saved configuration, so that an operator need only send what is different.
    async fn remember(&mut self) {
        let Some((source, saved)) = self.store.load().await else { return };
        let unreadable = saved.entries.iter().filter_map(|entry| Resource::decode(entry).err()).collect();
        match self.subscriber.restore(saved.clone(), unreadable) {
            Ok(()) => {
                let revision = saved.revision;
                tracing::info!(source = source.as_str(), revision, "saved configuration found");
                self.saved = Some((source, saved));
            }
            Err(error) => tracing::error!(source = source.as_str(), %error, "saved configuration ignored"),
        }
    }

    async fn happened(&mut self, event: Event) {
        let now = Instant::now();
        match event {
            Event::Opened(id) => {
                self.standing.connected(true, now);
                // The operator knows nothing of what an earlier one was told.
                self.reported = None;
                let steps = self.subscriber.connect(id, now);
                self.carry_out(steps).await;
            }
            Event::Message(id, message) => {
                if let ToPod::Hello(hello) = &message {
                    tracing::debug!(epoch = %hello.epoch, "the operator greets");
                }
                let is_about_peers = matches!(message, ToPod::Peers(_));
                let steps = self.subscriber.receive(id, message, now);
                if is_about_peers {
                    peers::publish(&self.peers, self.subscriber.peers());
                }
                self.carry_out(steps).await;
            }
            Event::Lost(id) => {
                self.subscriber.disconnect(id);
                self.standing.connected(false, now);
            }
            // There is nobody to wait for.
            Event::Failed if self.patience.is_some() && self.link.has_tried_all() => self.fall_back().await,
            Event::Failed => {}
        }
    }

    async fn carry_out(&mut self, steps: Vec<Step>) {
        let mut steps = VecDeque::from(steps);
        while let Some(step) = steps.pop_front() {
            match step {
                Step::Send(message) => self.send(message),
                Step::Apply(change) => steps.extend(self.apply(&change).await),
                Step::Leave(leave) => self.part(&leave),
            }
        }
    }

    fn send(&mut self, message: FromPod) {
        if let FromPod::Nack(Nack { held: Some(held), .. }) = &message {
            self.standing.holds();
            tracing::warn!(reason = ?held.reason, retry_ms = held.retry_after_ms, "change held");
        }
        self.link.send(message);
    }

    fn part(&mut self, leave: &Leave) {
        self.standing.connected(false, Instant::now());
        match leave {
            Leave::Asked(after) => self.link.leave(Some(*after), "the operator goes away"),
            Leave::Protocol(version) => {
                let why = format!("the operator speaks version {version} of the protocol");
                self.link.leave(None, &why);
            }
            Leave::Misbehaviour(why) => self.link.leave(None, why),
        }
    }

    async fn apply(&mut self, change: &Change) -> Vec<Step> {
        if let Some(reason) = change.despite {
            tracing::warn!(?reason, "the operator insists on a change that was held");
        }
        // What was saved is part of what is served from now on.
        let saved = self.saved.take().map(|(_, saved)| saved.entries).unwrap_or_default();
        let sent: BTreeSet<&Key> =
            change.upsert.iter().map(|entry| &entry.key).chain(&change.remove).collect();
        let kept = saved.iter().filter(|entry| !sent.contains(&entry.key));
        let upsert: Vec<_> = kept.chain(&change.upsert).cloned().collect();
        let rejected = self.served.apply(&upsert, &change.remove, &mut self.server).await;
        self.note(&rejected);
        let steps = self.subscriber.settle(rejected);
        self.look_again();
        self.now_serves(Source::Stream);
        // What cannot be served is no good configuration, and must not hide the one for cold starts.
        if self.served.hash.is_some() {
            let now = Instant::now();
            self.save_at.get_or_insert(self.saved_at.map_or(now, |before| now.max(before + BETWEEN_SAVES)));
        }
        steps
    }

    /// Serves what was saved, or says that nothing was.
    async fn fall_back(&mut self) {
        self.patience = None;
        let Some((source, saved)) = self.saved.take() else {
            let why = if self.standing.facts().connected {
                "nothing that the operator sent can be served"
            } else {
                "no operator answers"
            };
            tracing::error!("{why} and no configuration is saved: this pod stays unready until that changes");
            return;
        };
        let rejected = self.served.apply(&saved.entries, &[], &mut self.server).await;
        self.note(&rejected);
        if let Err(error) = self.subscriber.restore(saved, rejected) {
            tracing::error!(%error, "the saved configuration was damaged in memory");
        }
        self.look_again();
        tracing::warn!(source = source.as_str(), "no operator answers; serving a saved configuration");
        self.now_serves(source);
    }

    fn note(&self, rejected: &[Rejection]) {
        self.standing.rejects(rejected.len());
        for rejection in rejected {
            let Rejection { kind, name, message, .. } = rejection;
            tracing::error!(r#type = kind.as_str(), %name, problem = %message, "resource rejected");
        }
    }

    fn now_serves(&mut self, source: Source) {
        let Some(hash) = &self.served.hash else { return };
        self.patience = None;
        let rejected = self.subscriber.rejected().count();
        self.standing.serves(source, self.subscriber.revision(), hash.short(), rejected);
        self.server.configured();
        self.set_level();
    }

    fn set_level(&self) {
        let configured = self.server.snapshot().log_level.map(bridge_snapshot::LogLevel::as_str);
        let level = self.logging.level.map(LogLevel::name).or(configured).unwrap_or(self.level.name());
        if let Err(error) = self.logging.handle.set_level(level) {
            tracing::error!(%error, "log level not changed");
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        [self.patience, self.save_at, self.again_at, self.subscriber.next_tick()].into_iter().flatten().min()
    }

    async fn tick(&mut self, now: Instant) {
        if self.patience.is_some_and(|patience| patience <= now) {
            self.fall_back().await;
        }
        if self.save_at.is_some_and(|at| at <= now) {
            self.save().await;
        }
        let mut steps = self.subscriber.tick(now);
        if self.again_at.is_some_and(|at| at <= now) {
            // Until it has come, or nothing comes: then it is asked for once more.
            self.again_at = Some(now + self.again.failed(now, random()));
            steps.extend(self.subscriber.ask_again());
        }
        self.carry_out(steps).await;
    }

    /// Some things could not be had here, a port for example, which may be otherwise soon.
    fn look_again(&mut self) {
        let waits = self.subscriber.rejected().any(|rejection| rejection.code == RejectionCode::Unavailable);
        if !waits {
            (self.again_at, self.again) = (None, Backoff::new(AGAIN));
        } else if self.again_at.is_none() {
            let now = Instant::now();
            self.again_at = Some(now + self.again.failed(now, random()));
        }
    }

    async fn save(&mut self) {
        self.save_at = None;
        self.saved_at = Some(Instant::now());
        if let Some(saved) = self.subscriber.save() {
            self.store.save(saved).await;
        }
    }

    /// Tells the operator what is new, and notices files that were replaced.
    async fn look(&mut self, now: Instant) {
        if self.files_at.is_none_or(|at| at <= now) {
            self.files_at = Some(now + LOOK_AT_FILES);
            self.served.read_again(false, &mut self.server).await;
        }
        if !self.link.is_open() {
            return;
        }
        let report = report(&self.server, 0);
        if self.is_news(&report, now) {
            self.reported = Some((report.clone(), now));
            for step in self.subscriber.report(report, now) {
                if let Step::Send(message) = step {
                    self.send(message);
                }
            }
        }
    }

    /// Whether a report is to be sent. Sessions change all the time.
    fn is_news(&self, report: &Report, now: Instant) -> bool {
        let Some((before, at)) = &self.reported else { return true };
        let age = now.saturating_duration_since(*at);
        let same = Report { sessions: before.sessions, ..report.clone() } == *before;
        !same || age >= REPEAT || (report.sessions != before.sessions && age >= SESSIONS)
    }

    /// Ends, and tells the operator how that went.
    async fn leave(mut self) {
        if self.save_at.is_some() {
            self.save().await;
        }
        let last = report(&self.server, 0);
        let Self { server, mut subscriber, mut link, .. } = self;
        let dropped = server.end().await;
        let last = Report { sessions: 0, dropped, ..last };
        let mut steps = subscriber.report(last, Instant::now());
        if let Some(at) = subscriber.next_tick() {
            tokio::time::sleep_until(at.into()).await;
            steps = subscriber.tick(Instant::now());
        }
        for step in steps {
            if let Step::Send(message) = step {
                link.send(message);
            }
        }
        link.end(LAST_WORDS).await;
    }
}
