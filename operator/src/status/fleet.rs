//! The pods of one gateway and what they say, looked through once: a question about one of ten thousand backends then costs
//! the same for a thousand pods as for one. Changes when status asks another question about pods.

use std::collections::{BTreeMap, HashMap};

use bridge_snapshot::push::{BackendReport, Problem, Rejection, Report, Server};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

use super::backend::{change_of, concerns};
use super::{Lag, Lags, PodFact, PodFacts, Progress, Published, is_ready};

/// The pods of one gateway.
#[derive(Debug)]
pub struct Fleet<'a> {
    published: &'a Published,
    /// The last change.
    latest: u64,
    members: Vec<Member<'a>>,
    /// What is so for every backend: of ready pods that serve all that was published, and of those without a stream.
    common: Progress<'a>,
    /// Positions of ready pods that refuse nothing, by the change up to which they have everything.
    behind: BTreeMap<Option<u64>, Vec<usize>>,
    /// Positions of the other pods.
    others: Vec<usize>,
    backends: HashMap<&'a str, Seen<'a>>,
    totals: Totals,
}

/// A pod that is not about to end.
#[derive(Debug)]
struct Member<'a> {
    pod: &'a Pod,
    ready: bool,
    fact: Option<&'a PodFact>,
    lag: Lag,
}

impl<'a> Member<'a> {
    fn name(&self) -> &'a str {
        self.pod.metadata.name.as_deref().unwrap_or_default()
    }
}

/// What ready pods say about one backend, taken together.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen<'a> {
    /// Pods that say something about it.
    pub(super) pods: usize,
    /// Of these, with a healthy endpoint.
    pub(super) healthy: usize,
    /// Why a pod has none.
    pub(super) problem: Option<Problem>,
    /// The most endpoints that one pod leaves alone.
    pub(super) ejected: u32,
    /// What the pod says that sees most tools.
    pub(super) most: Option<&'a BackendReport>,
    pub(super) protocol: Option<&'a str>,
    pub(super) server: Option<&'a Server>,
}

/// Tools, as the pod says that sees most of each. Pods see the same servers.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Totals {
    pub(super) discovered: u32,
    pub(super) exposed: u32,
    pub(super) filtered: u32,
    pub(super) conflicts: u32,
}

impl<'a> Fleet<'a> {
    /// The pods of a gateway in the order of their names, what they say, how long those that are behind have been so, and what
    /// was published.
    pub fn new(
        pods: impl IntoIterator<Item = &'a Pod>,
        facts: &'a PodFacts,
        lags: &Lags,
        published: &'a Published,
    ) -> Self {
        let member = |pod: &'a Pod| {
            let uid = pod.metadata.uid.as_deref().unwrap_or_default();
            let lag = lags.get(uid).copied().unwrap_or(Lag::Fresh);
            Member { pod, ready: is_ready(pod), fact: facts.get(uid), lag }
        };
        let stays = |pod: &&Pod| pod.metadata.deletion_timestamp.is_none();
        let members: Vec<_> = pods.into_iter().filter(stays).map(member).collect();
        let mut fleet = Self {
            published,
            latest: published.latest(),
            common: Progress { pods: members.len(), ..Progress::default() },
            behind: BTreeMap::new(),
            others: Vec::new(),
            backends: HashMap::new(),
            totals: Totals::default(),
            members: Vec::new(),
        };
        for (position, member) in members.iter().enumerate() {
            let is_current = member.fact.is_some_and(|fact| {
                fact.digest.as_ref() == Some(&published.digest) && fact.rejected.is_empty()
            });
            fleet.common.ready += usize::from(member.ready);
            match member.fact {
                _ if member.ready && is_current => fleet.common.serving += 1,
                Some(fact) if member.ready && fact.rejected.is_empty() => {
                    fleet.behind.entry(fact.change).or_default().push(position);
                }
                Some(_) => fleet.others.push(position),
                None if member.ready => fleet.common.add(member, published, fleet.latest, |_| false),
                None => {}
            }
            if let Some(report) = member.fact.and_then(|fact| fact.report.as_ref()).filter(|_| member.ready) {
                fleet.take(report);
            }
        }
        Self { members, ..fleet }
    }

    fn take(&mut self, report: &'a Report) {
        let mut sum = Totals::default();
        for backend in &report.backends {
            sum.discovered += backend.tools;
            sum.exposed += backend.exposed;
            sum.filtered += backend.filtered;
            sum.conflicts += backend.conflicts;
            self.backends.entry(&backend.name).or_default().take(backend);
        }
        self.totals = Totals {
            discovered: self.totals.discovered.max(sum.discovered),
            exposed: self.totals.exposed.max(sum.exposed),
            filtered: self.totals.filtered.max(sum.filtered),
            conflicts: self.totals.conflicts.max(sum.conflicts),
        };
    }

    /// Revision of the cluster at which something changed last.
    pub(super) fn revision(&self) -> u64 {
        self.published.revision
    }

    /// Fingerprint of all that was published.
    pub(super) fn digest(&self) -> &'a str {
        &self.published.digest
    }

    /// Pods that were lost with a change which no other pod gets for that reason.
    pub(super) fn stopped(&self) -> &'a [String] {
        &self.published.stopped
    }

    pub(super) fn totals(&self) -> Totals {
        self.totals
    }

    /// Ready pods, and what each says.
    pub(super) fn ready(&self) -> impl Iterator<Item = (&'a Pod, Option<&'a PodFact>)> {
        self.members.iter().filter(|member| member.ready).map(|member| (member.pod, member.fact))
    }

    /// Names of ready pods that have been behind for long, in order.
    pub(super) fn stale(&self) -> Vec<String> {
        let stale = self.members.iter().filter(|member| member.ready && member.lag == Lag::Stale);
        let mut stale: Vec<_> = stale.map(|member| member.pod.name_any()).collect();
        stale.sort();
        stale
    }

    /// How far pods are with everything.
    pub(super) fn progress(&self) -> Progress<'a> {
        self.progress_with(self.latest, |_| true)
    }

    /// How far pods are with one backend.
    pub(super) fn progress_of(&self, backend: &str) -> Progress<'a> {
        self.progress_with(change_of(self.published, backend), |rejection| concerns(backend, rejection))
    }

    /// How far pods are with what was published up to a change, as far as `concerns` says so of a rejection.
    fn progress_with(&self, change: u64, concerns: impl Fn(&Rejection) -> bool) -> Progress<'a> {
        let mut progress = self.common.clone();
        for (at, positions) in &self.behind {
            if at.is_some_and(|at| at >= change) {
                progress.serving += positions.len();
                continue;
            }
            let members = positions.iter().filter_map(|position| self.members.get(*position));
            progress.behind.push_all(positions.len(), members.map(Member::name));
        }
        for member in self.others.iter().filter_map(|position| self.members.get(*position)) {
            progress.add(member, self.published, change, &concerns);
        }
        progress
    }

    /// What ready pods say about a backend.
    pub(super) fn seen(&self, backend: &str) -> Seen<'a> {
        self.backends.get(backend).copied().unwrap_or_default()
    }

    /// Whether most ready pods have a healthy endpoint of a backend.
    pub(super) fn is_available(&self, backend: &str) -> bool {
        self.seen(backend).healthy * 2 > self.common.ready
    }
}

impl<'a> Seen<'a> {
    fn take(&mut self, report: &'a BackendReport) {
        self.pods += 1;
        self.healthy += usize::from(report.healthy > 0);
        if report.healthy == 0 {
            self.problem = self.problem.or(report.problem);
        }
        self.ejected = self.ejected.max(report.ejected);
        if self.most.is_none_or(|most| most.tools <= report.tools) {
            self.most = Some(report);
        }
        self.protocol = self.protocol.or(report.protocol.as_deref());
        self.server = self.server.or(report.server.as_ref());
    }

    /// With what the pods of another gateway say.
    pub(super) fn and(self, other: Self) -> Self {
        let tools = |seen: &Self| seen.most.map(|most| most.tools);
        Self {
            pods: self.pods + other.pods,
            healthy: self.healthy + other.healthy,
            problem: self.problem.or(other.problem),
            ejected: self.ejected.max(other.ejected),
            most: if tools(&other) > tools(&self) { other.most } else { self.most },
            protocol: self.protocol.or(other.protocol),
            server: self.server.or(other.server),
        }
    }
}

impl<'a> Progress<'a> {
    fn add(
        &mut self,
        member: &Member<'a>,
        published: &Published,
        change: u64,
        concerns: impl Fn(&Rejection) -> bool,
    ) {
        let rejected = member.fact.into_iter().flat_map(|fact| &fact.rejected);
        let refused = rejected.into_iter().find(|rejection| concerns(rejection));
        if !member.ready {
            // It may be what keeps the pod from being ready.
            self.refusals.extend(refused);
            return;
        }
        let has = member.fact.is_some_and(|fact| fact.serves(published, change));
        match (refused, member.fact) {
            (Some(rejection), _) => self.refusals.push(rejection),
            (None, _) if has => self.serving += 1,
            (None, None) if member.lag < Lag::Laggard => self.coming += 1,
            (None, None) if member.lag == Lag::Stale => self.lost.push(member.name()),
            (None, _) => self.behind.push(member.name()),
        }
    }
}
