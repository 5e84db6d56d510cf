//! The pod's end: what is served, and what becomes of a change. Changes when the pod's side of the protocol does.
//!
//! ```text
//!  away ──connect──▶ greeting ──Hello──▶ in step ◀───────────────┬───────────────────┐
//!    ▲                                     │ Delta                │ Nack {held}       │ Ack, Nack
//!    │                                     ▼                      │                   │
//!    │  lost, GoAway, misbehaviour      gathering ─ last part ─▶ judging ─ Apply ─▶ applying
//!    └───────── from anywhere              └─▶ Ack of a part                    (until settled)
//! ```
//!
//! What is served, and what is being applied, survives every end of a stream; what was gathered does not.

mod outcome;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

pub use self::outcome::{Change, Identity, Leave, Step, SubscriberSettings};
use super::peers::PeerBook;
use super::{
    Ack, Damage, Delta, Digest, Entry, FromPod, Have, Held, HeldReason, Key, Nack, PROTOCOL, Peer, Peers,
    PodHello, RegressionGuard, Rejection, RejectionCode, RemovalGuard, Report, Saved, ToPod, Verdict,
};

/// Configuration of a pod, and the stream it comes from.
#[derive(Debug)]
pub struct Subscriber {
    identity: Identity,
    epoch: Option<String>,
    revision: u64,
    served: BTreeMap<Key, Entry>,
    rejected: BTreeMap<Key, Rejection>,
    /// Of everything that was sent: what is served, and what was rejected instead of it.
    digest: Digest,
    applying: Option<Applying>,
    regression: RegressionGuard,
    removal: RemovalGuard,
    link: Option<Link>,
    peers: PeerBook,
    report: Option<Report>,
    report_interval: Duration,
    report_after: Option<Instant>,
}

/// A stream.
#[derive(Debug, Default)]
struct Link {
    id: u64,
    /// Of the operator; absent until it has said it.
    epoch: Option<String>,
    seq: u64,
    upsert: BTreeMap<Key, Entry>,
    remove: BTreeSet<Key>,
    /// The pod has said what it has.
    greeted: bool,
    /// The pod has already asked once for everything that it lacks.
    resynced: bool,
    /// Rejected since the pod said what it has; the next answer names them.
    untold: BTreeSet<Key>,
}

/// A change that the driver puts into effect.
#[derive(Debug)]
struct Applying {
    link: u64,
    seq: u64,
    epoch: String,
    revision: u64,
    digest: Digest,
    upsert: BTreeMap<Key, Entry>,
    remove: BTreeSet<Key>,
}

/// How a pod says what it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Telling {
    /// By one fingerprint.
    Whole,
    /// Name by name.
    Each,
}

impl Subscriber {
    /// Nothing is served.
    pub fn new(identity: Identity, settings: &SubscriberSettings) -> Self {
        Self {
            identity,
            epoch: None,
            revision: 0,
            served: BTreeMap::new(),
            rejected: BTreeMap::new(),
            digest: Digest::default(),
            applying: None,
            regression: RegressionGuard::new(settings.regression_patience),
            removal: RemovalGuard::new(settings.removal_patience),
            link: None,
            peers: PeerBook::default(),
            report: None,
            report_interval: settings.report_interval,
            report_after: None,
        }
    }

    /// Begins with what was saved. The driver puts it into effect; what it cannot use, it names in `rejected`, here or in
    /// [`Subscriber::settle`] when it tries only then.
    pub fn restore(&mut self, saved: Saved, rejected: Vec<Rejection>) -> Result<(), Damage> {
        saved.verify(&self.identity.gateway)?;
        self.digest = saved.digest;
        self.served = saved.entries.into_iter().map(|entry| (entry.key.clone(), entry)).collect();
        for rejection in rejected {
            self.served.remove(&rejection.key());
            if let Some(link) = self.link.as_mut().filter(|link| link.greeted) {
                link.untold.insert(rejection.key());
            }
            self.rejected.insert(rejection.key(), rejection);
        }
        (self.epoch, self.revision) = (Some(saved.epoch), saved.revision);
        Ok(())
    }

    /// What is served, to be saved; `None` as long as that is nothing.
    pub fn save(&self) -> Option<Saved> {
        let entries = self.served.values().cloned().collect();
        self.epoch.as_ref().map(|epoch| Saved::new(&*self.identity.gateway, &**epoch, self.revision, entries))
    }

    /// What is served, in the order of types and names.
    pub fn served(&self) -> impl Iterator<Item = &Entry> {
        self.served.values()
    }

    /// What was sent and is not served.
    pub fn rejected(&self) -> impl Iterator<Item = &Rejection> {
        self.rejected.values()
    }

    /// Revision of what is served; 0 for nothing.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The other pods of the gateway by uid, as an operator named them last; `None` before one did.
    pub fn peers(&self) -> Option<&BTreeMap<String, Peer>> {
        self.peers.known()
    }

    /// A stream is open. The driver chooses its number and never uses it again.
    pub fn connect(&mut self, id: u64, now: Instant) -> Vec<Step> {
        self.peers.begin();
        // What is being applied belongs to what the pod has; it says hello when it knows what came of it.
        let greeted = self.applying.is_none();
        self.link = Some(Link { id, greeted, ..Link::default() });
        let mut steps: Vec<_> = greeted.then(|| Step::Send(self.hello(Telling::Whole))).into_iter().collect();
        steps.extend(self.tick(now));
        steps
    }

    /// A stream has ended. What it began is forgotten.
    pub fn disconnect(&mut self, id: u64) {
        self.link.take_if(|link| link.id == id);
    }

    /// A message has come. Messages of other streams than the present one are ignored.
    pub fn receive(&mut self, id: u64, message: ToPod, now: Instant) -> Vec<Step> {
        let Some(link) = self.link.as_mut().filter(|link| link.id == id) else { return Vec::new() };
        let outcome = match message {
            ToPod::Hello(hello) if hello.protocol != PROTOCOL => Err(Leave::Protocol(hello.protocol)),
            ToPod::Hello(hello) => {
                link.epoch.get_or_insert(hello.epoch);
                Ok(None)
            }
            ToPod::Recount if self.applying.is_some() => {
                Err(Leave::Misbehaviour("a question in the middle of a change"))
            }
            ToPod::Recount => Ok(Some(Step::Send(self.hello(Telling::Each)))),
            ToPod::GoAway(away) => Err(Leave::Asked(Duration::from_millis(away.retry_after_ms))),
            ToPod::Delta(delta) => self.delta(delta, now).map_err(Leave::Misbehaviour),
            ToPod::Peers(peers) => self.meet(peers).map_err(Leave::Misbehaviour),
        };
        match outcome {
            Ok(step) => step.into_iter().collect(),
            Err(leave) => {
                self.link = None;
                vec![Step::Leave(leave)]
            }
        }
    }

    /// The change that [`Step::Apply`] asked for is in effect, except for what is named.
    pub fn settle(&mut self, rejected: Vec<Rejection>) -> Vec<Step> {
        let Some(applied) = self.applying.take() else { return Vec::new() };
        for key in applied.remove.iter().chain(applied.upsert.keys()) {
            self.rejected.remove(key);
        }
        for key in &applied.remove {
            self.served.remove(key);
        }
        let mut untold = BTreeSet::new();
        for rejection in rejected {
            let key = rejection.key();
            // Only what was sent can be rejected: now or before, and then it was saved and nobody had tried it yet, or
            // it cannot be had here any more.
            let is_new = applied.upsert.contains_key(&key);
            let sent = applied.upsert.get(&key).or_else(|| self.served.get(&key));
            if sent.is_none_or(|entry| entry.version != rejection.version) {
                continue;
            }
            untold.insert(key.clone());
            if is_new || !self.rejected.contains_key(&key) {
                if !is_new && rejection.code != RejectionCode::Unavailable {
                    self.served.remove(&key);
                }
                self.rejected.insert(key, rejection);
            }
        }
        let good = applied.upsert.into_iter().filter(|(key, _)| !self.rejected.contains_key(key));
        self.served.extend(good);
        self.epoch = Some(applied.epoch);
        (self.revision, self.digest) = (applied.revision, applied.digest);
        self.regression.applied();
        self.removal.applied();
        let Some(link) = &mut self.link else { return Vec::new() };
        if link.id != applied.link {
            let late = !std::mem::replace(&mut link.greeted, true);
            return late.then(|| Step::Send(self.hello(Telling::Whole))).into_iter().collect();
        }
        untold.append(&mut link.untold);
        let rejected: Vec<_> = untold.iter().filter_map(|key| self.rejected.get(key)).cloned().collect();
        let answer = if rejected.is_empty() {
            FromPod::Ack(Ack { seq: applied.seq })
        } else {
            FromPod::Nack(Nack { seq: applied.seq, rejected, held: None })
        };
        vec![Step::Send(answer)]
    }

    /// Asks for what is fine and was not to be had here, which may be otherwise by now: the operator sends it again, and
    /// learns from the answer what came of it. Nothing while there is no such thing, or nobody to ask.
    pub fn ask_again(&self) -> Vec<Step> {
        let is_due = |rejection: &Rejection| rejection.code == RejectionCode::Unavailable;
        let may_ask = self.is_greeted() && self.applying.is_none();
        let asks = may_ask && self.rejected.values().any(is_due);
        asks.then(|| Step::Send(self.hello_without(Telling::Each, is_due))).into_iter().collect()
    }

    /// The pod's state. Only the latest counts, and it is not sent more often than was chosen.
    pub fn report(&mut self, report: Report, now: Instant) -> Vec<Step> {
        self.report = Some(report);
        self.tick(now)
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant) -> Vec<Step> {
        if !self.is_greeted() || self.report_after.is_some_and(|after| after > now) {
            return Vec::new();
        }
        let Some(report) = self.report.take() else { return Vec::new() };
        self.report_after = Some(now + self.report_interval);
        vec![Step::Send(FromPod::Report(report))]
    }

    /// When [`Subscriber::tick`] has something to do.
    pub fn next_tick(&self) -> Option<Instant> {
        self.report_after.filter(|_| self.report.is_some() && self.is_greeted())
    }

    fn meet(&mut self, message: Peers) -> Result<Option<Step>, &'static str> {
        if self.link.as_ref().is_none_or(|link| link.epoch.is_none()) {
            return Err("pods are named before the operator said hello");
        }
        let seq = message.seq;
        let is_new = self.peers.hear(message, &self.identity.uid)?;
        Ok(is_new.then_some(Step::Send(FromPod::PeersAck(Ack { seq }))))
    }

    fn is_greeted(&self) -> bool {
        self.link.as_ref().is_some_and(|link| link.greeted)
    }

    fn hello(&self, telling: Telling) -> FromPod {
        self.hello_without(telling, |_| false)
    }

    /// What the pod has, but for what was rejected so.
    fn hello_without(&self, telling: Telling, wanted: impl Fn(&Rejection) -> bool) -> FromPod {
        let left_out = |key: &Key| self.rejected.get(key).is_some_and(&wanted);
        let Identity { gateway, pod, uid, build, features } = self.identity.clone();
        let have = |entry: &Entry| Have {
            kind: entry.key.kind,
            name: entry.key.name.clone(),
            version: entry.version,
        };
        FromPod::Hello(PodHello {
            protocol: PROTOCOL,
            gateway,
            pod,
            uid,
            build,
            features,
            epoch: self.epoch.clone(),
            revision: self.revision,
            digest: (telling == Telling::Whole).then_some(self.digest),
            have: match telling {
                Telling::Whole => Vec::new(),
                Telling::Each => {
                    self.served.values().filter(|entry| !left_out(&entry.key)).map(have).collect()
                }
            },
            rejected: self.rejected.values().filter(|rejection| !wanted(rejection)).cloned().collect(),
        })
    }

    /// Takes a part; with the last one judges the whole.
    fn delta(&mut self, delta: Delta, now: Instant) -> Result<Option<Step>, &'static str> {
        let Some(link) = self.link.as_mut() else { return Ok(None) };
        let Some(epoch) = link.epoch.clone() else { return Err("a change before the operator said hello") };
        if delta.seq <= link.seq {
            return Ok(None);
        }
        if delta.seq != link.seq + 1 {
            return Err("a message is missing");
        }
        if self.applying.is_some() {
            return Err("a change before the one before was answered");
        }
        if !delta.upsert.iter().all(Entry::is_intact) {
            return Err("a resource is not the one that its version was made of");
        }
        link.seq = delta.seq;
        link.upsert.extend(delta.upsert.into_iter().map(|entry| (entry.key.clone(), entry)));
        link.remove.extend(delta.remove);
        if !delta.last {
            return Ok(Some(Step::Send(FromPod::Ack(Ack { seq: delta.seq }))));
        }
        let (mut upsert, remove) = (std::mem::take(&mut link.upsert), std::mem::take(&mut link.remove));
        upsert.retain(|key, _| !remove.contains(key));
        let id = link.id;
        if self.digest_after(&upsert, &remove) != delta.digest {
            return self.resync();
        }
        let (verdict, reason) = self.judge(&epoch, delta.revision, &upsert, &remove, now);
        if let Verdict::Hold(wait) = verdict {
            return Ok(Some(Step::Send(self.hold(delta.seq, reason, wait))));
        }
        // The same content is the same configuration, however old the operator's view of it is.
        let same = upsert.is_empty() && remove.is_empty() && self.epoch.as_ref() == Some(&epoch);
        let revision = if same { delta.revision.max(self.revision) } else { delta.revision };
        let change = Change {
            upsert: upsert.values().cloned().collect(),
            remove: remove.iter().cloned().collect(),
            despite: (verdict == Verdict::Insisted).then_some(reason),
        };
        let (seq, digest) = (delta.seq, delta.digest);
        self.applying = Some(Applying { link: id, seq, epoch, revision, digest, upsert, remove });
        Ok(Some(Step::Apply(change)))
    }

    fn judge(
        &mut self,
        epoch: &str,
        revision: u64,
        upsert: &BTreeMap<Key, Entry>,
        remove: &BTreeSet<Key>,
        now: Instant,
    ) -> (Verdict, HeldReason) {
        if upsert.is_empty() && remove.is_empty() {
            return (Verdict::Pass, HeldReason::Other);
        }
        let age = match &self.epoch {
            Some(served) if served == epoch => self.regression.judge(revision, self.revision, now),
            _ => Verdict::Pass,
        };
        if let Verdict::Hold(_) = age {
            return (age, HeldReason::Older);
        }
        match self.removal.judge(remove, self.served.keys(), now) {
            Verdict::Pass => (age, HeldReason::Older),
            removal => (removal, HeldReason::MassRemoval),
        }
    }

    fn hold(&self, seq: u64, reason: HeldReason, wait: Duration) -> FromPod {
        let retry_after_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        let held = Held { reason, revision: self.revision, retry_after_ms };
        FromPod::Nack(Nack { seq, rejected: Vec::new(), held: Some(held) })
    }

    /// The operator believes that the pod has something else than it has: it is told once, then the stream ends.
    fn resync(&mut self) -> Result<Option<Step>, &'static str> {
        let hello = self.hello(Telling::Each);
        let Some(link) = self.link.as_mut() else { return Ok(None) };
        if std::mem::replace(&mut link.resynced, true) {
            return Err("the digest is not that of the change, even after a new beginning");
        }
        Ok(Some(Step::Send(hello)))
    }

    /// Of everything that will have been sent.
    fn digest_after(&self, upsert: &BTreeMap<Key, Entry>, remove: &BTreeSet<Key>) -> Digest {
        let sent = |key: &Key| {
            let rejected = self.rejected.get(key).map(|rejection| rejection.version);
            rejected.or_else(|| self.served.get(key).map(|entry| entry.version))
        };
        let mut digest = self.digest;
        for key in remove.iter().chain(upsert.keys()) {
            let after = upsert.get(key).map(|entry| entry.version);
            for version in sent(key).into_iter().chain(after) {
                digest.toggle(key, version);
            }
        }
        digest
    }
}
