//! The writer: what the leader tells the API server. Changes when another kind of object is written.
//!
//! Each pass compares what should be with what the watches have seen, and writes the difference. A pass that fails is
//! repeated; nothing is remembered that a new leader would need.

mod backoff;
mod cold;
mod events;
mod monitors;
mod owned;
mod pace;
mod rival;
mod services;
mod status;
mod unseen;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge_api::condition::Accepted;
use bridge_api::v1alpha1::McpGateway;
use kube::Client;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::apply::{Applier, ApplyError};
use crate::compile::{Compilation, Finding};
use crate::desired::Installation;
use crate::engine::View;
use crate::lease::{Claim, fenced};
use crate::metrics::OperatorMetrics;
use crate::status::lag;
use crate::watch::pulse::Pulse;
use crate::world::ObjectName;
use backoff::Backoff;
use cold::Saving;
use events::Events;
use pace::Pace;
use services::Told;
use unseen::Unseen;

/// Everything is compared again after so long, in case a watch has missed something.
const SWEEP: Duration = Duration::from_mins(10);
/// Passes begin at least so long after one another.
const PACE: Duration = Duration::from_millis(50);
/// Between passes is so many times as long as one takes: whatever there is to compare, pods get their changes meanwhile.
const SHARE: u32 = 3;
/// But no longer than this.
const MOST: Duration = Duration::from_millis(500);
/// After a failure.
const RETRY: Duration = Duration::from_secs(2);

/// Writes for as long as the claim holds.
pub struct Writer {
    client: Client,
    applier: Applier,
    installation: Installation,
    /// Who vouches for operators, PEM.
    authorities: watch::Receiver<String>,
    events: Events,
    metrics: OperatorMetrics,
    view: watch::Receiver<Arc<View>>,
    claim: watch::Receiver<Claim>,
    /// Another installation of the class, while it keeps this one from writing.
    rivals: watch::Sender<Option<String>>,
    /// Gateways that have an object which cannot be applied, and why, if a person has to do something about it.
    conflicts: BTreeMap<ObjectName, Finding<Accepted>>,
    /// The same of stdio backends.
    stuck: BTreeMap<ObjectName, Finding<Accepted>>,
    backoff: Backoff,
    pace: Pace,
    unseen: Unseen,
    clock: lag::Clock,
    /// Gateways of which it was told that a pod is behind.
    noted: BTreeSet<ObjectName>,
    /// Pods, by uid, of which it was told that they have left.
    drained: VecDeque<String>,
    /// When the definition of `ServiceMonitor`s was last looked for.
    monitors_looked_at: Option<Instant>,
    /// Gateways, by uid, that are known to have no `ServiceMonitor`.
    unmonitored: BTreeSet<String>,
    /// Configurations that were compared with the cold-start Secrets.
    saved: BTreeMap<ObjectName, Saving>,
    /// What owners of Services were told.
    told: Told,
    /// When something put off is due.
    wake: Option<Instant>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Writer")
    }
}

impl Writer {
    /// A writer that has written nothing. `replica` names it in Events.
    pub fn new(
        client: &Client,
        (installation, authorities): (Installation, watch::Receiver<String>),
        replica: &str,
        metrics: OperatorMetrics,
        view: watch::Receiver<Arc<View>>,
        (claim, pulse): (watch::Receiver<Claim>, Pulse),
    ) -> Self {
        let client = fenced(client, claim.clone());
        Self {
            applier: Applier::new(client.clone(), claim.clone(), pulse),
            events: Events::new(client.clone(), replica),
            client,
            installation,
            authorities,
            metrics,
            view,
            claim,
            rivals: watch::Sender::new(None),
            conflicts: BTreeMap::new(),
            stuck: BTreeMap::new(),
            backoff: Backoff::default(),
            pace: Pace::default(),
            unseen: Unseen::default(),
            clock: lag::Clock::default(),
            noted: BTreeSet::new(),
            drained: VecDeque::new(),
            monitors_looked_at: None,
            unmonitored: BTreeSet::new(),
            saved: BTreeMap::new(),
            told: Told::default(),
            wake: None,
        }
    }

    /// The other installation to which the gateways belong, if they do.
    pub fn rivals(&self) -> watch::Receiver<Option<String>> {
        self.rivals.subscribe()
    }

    /// Runs until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut sweep = tokio::time::interval(SWEEP);
        loop {
            let now = Instant::now();
            // Nothing else may happen when the claim runs out, and then nobody is to be told that it holds.
            let expires = self.claim.borrow().expires().filter(|at| *at > now);
            let due = expires.into_iter().chain(self.wake).min().unwrap_or(now + SWEEP);
            tokio::select! {
                changed = self.view.changed() => if changed.is_err() { return },
                changed = self.claim.changed() => if changed.is_err() { return },
                changed = self.authorities.changed() => if changed.is_err() { return },
                _ = sweep.tick() => {}
                () = tokio::time::sleep_until(due.into()) => {}
                () = stop.cancelled() => return,
            }
            let leads = self.claim.borrow().holds(Instant::now());
            self.metrics.leads(leads);
            if leads {
                let began = Instant::now();
                self.pass().await;
                tokio::time::sleep((began.elapsed() * SHARE).clamp(PACE, MOST)).await;
            } else {
                self.wake = None;
                self.saved.clear();
                self.applier.follow();
                self.told.follow(self.view.borrow().compilation.as_ref());
            }
        }
    }

    /// Compares everything once, and writes what differs.
    pub async fn pass(&mut self) {
        self.wake = None;
        let view = Arc::clone(&self.view.borrow_and_update());
        let Some(compilation) = view.compilation.clone().filter(|_| !view.sight.is_blind()) else { return };
        if let Some(rival) = rival::rival(&view.world, compilation.gateways.keys(), &self.installation.name) {
            drop(self.rivals.send_replace(Some(rival)));
            return;
        }
        self.installation.authorities.clone_from(&self.authorities.borrow());
        let said = self.listen(&view, &compilation, Instant::now()).await;
        let fleets = said.fleets(&view);
        let mut statuses = Vec::new();
        for (name, gateway) in
            view.world.gateways.iter().filter(|(name, _)| compilation.gateways.contains_key(name))
        {
            if gateway.metadata.deletion_timestamp.is_some() {
                continue;
            }
            // Whoever does not see the cluster says so in the status, and changes nothing else.
            if view.sight.is_clear() {
                let written = self.gateway(&view, name, gateway).await;
                self.done("gateway", name, written);
            }
            statuses.extend(self.gateway_status(&view, &compilation, &fleets, name));
        }
        for name in compilation.backends.keys() {
            if let Some(backend) = view.world.backends.get(name).filter(|_| view.sight.is_clear()) {
                let written = self.adapter(&view, &compilation, backend).await;
                self.done("backend", name, written);
            }
            statuses.extend(self.backend_status(&view, &compilation, &fleets, name));
        }
        self.write_all(statuses).await;
        if view.sight.is_clear() {
            self.tell_services(&view, &compilation).await;
        }
        self.forget(&view, &compilation);
    }

    async fn gateway(
        &mut self,
        view: &View,
        name: &ObjectName,
        gateway: &Arc<McpGateway>,
    ) -> Result<(), ApplyError> {
        let objects = self.objects(view, name, gateway).await;
        let saved = self.save(view, name, gateway).await?;
        match objects?.or(saved) {
            Some(obstacle) => drop(self.conflicts.insert(name.clone(), obstacle)),
            None => drop(self.conflicts.remove(name)),
        }
        Ok(())
    }

    fn done(&mut self, what: &'static str, name: &ObjectName, result: Result<(), ApplyError>) {
        if let Err(error) = result {
            if !matches!(error, ApplyError::NotLeader | ApplyError::Blind) {
                tracing::warn!(what, %name, %error, "cannot write; tried again");
                self.metrics.wrote(what, false);
            }
            self.wake_at(Instant::now() + RETRY);
        }
    }

    fn wake_at(&mut self, at: Instant) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }

    fn forget(&mut self, view: &View, compilation: &Compilation) {
        let gateways = &compilation.gateways;
        self.conflicts.retain(|name, _| gateways.contains_key(name));
        self.stuck.retain(|name, _| compilation.backends.contains_key(name));
        self.backoff.retain(|(kind, name)| match *kind {
            "McpGateway" => gateways.contains_key(name),
            _ => compilation.backends.contains_key(name),
        });
        self.applier.retain(&view.world);
        self.clock.retain(|name| gateways.contains_key(name));
        self.noted.retain(|name| gateways.contains_key(name));
        self.saved.retain(|name, _| gateways.contains_key(name));
        self.unseen.retain(&view.world);
        self.pace.retain(|name| gateways.contains_key(name) || compilation.backends.contains_key(name));
    }
}
