//! Status of gateways and backends, from what was compiled and what pods say. Changes when a condition has another cause.
//! Pure: equal facts give equal status, so nothing is written when nothing has changed.

mod backend;
mod fleet;
mod gateway;
pub mod lag;
mod publications;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bridge_api::condition::{self, Programmed, Reason};
use bridge_snapshot::push::{Key, Rejection, Report};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

pub use backend::{BackendFacts, GatewayOfBackend, backend};
pub use fleet::Fleet;
pub use gateway::{GatewayFacts, gateway};
pub use lag::{Lag, Lags};
pub use publications::{Publications, Seen};

/// What is known of one pod through its stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PodFact {
    /// Change of this replica's publisher up to which it has everything. Others count differently, so it is not told.
    #[serde(skip)]
    pub change: Option<u64>,
    /// Fingerprint of what it has of what the replica has published that it is connected to.
    #[serde(default)]
    pub digest: Option<String>,
    /// What it was sent and does not serve.
    #[serde(default)]
    pub rejected: Vec<Rejection>,
    /// What it told last. Shared, because it names every backend and is looked at whenever any pod says something.
    #[serde(default, with = "shared")]
    pub report: Option<Arc<Report>>,
    /// Its name, when it was leaving and its stream has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parted: Option<String>,
}

/// Something shared, as its content.
mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[allow(clippy::ref_option, reason = "the trait calls it so")]
    pub(super) fn serialize<T: Serialize, S: Serializer>(
        value: &Option<Arc<T>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.as_deref().serialize(serializer)
    }

    pub(super) fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Arc<T>>, D::Error> {
        Ok(Option::deserialize(deserializer)?.map(Arc::new))
    }
}

/// The sentence about fields that this version does not act on.
fn not_in_force(fields: &BTreeSet<&'static str>) -> String {
    let fields: Vec<_> = fields.iter().copied().collect();
    format!("without effect in this version: {}", fields.join(", "))
}

/// Facts by the uid of the pod.
pub type PodFacts = BTreeMap<String, PodFact>;

/// What was published for one gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Published {
    /// Change of the publisher at which each resource changed last.
    pub changed: BTreeMap<Key, u64>,
    /// That at which the last one went.
    pub removed: u64,
    /// Revision of the cluster at which something of it changed last.
    pub revision: u64,
    /// Fingerprint of all of it.
    pub digest: String,
    /// Pods that were lost with a change of who gets in, which no other pod gets for that reason.
    pub stopped: Vec<String>,
}

impl PodFact {
    /// Whether it serves what was published up to `change`.
    fn serves(&self, published: &Published, change: u64) -> bool {
        self.digest.as_ref() == Some(&published.digest) || self.change.is_some_and(|served| served >= change)
    }
}

impl Published {
    /// The last change.
    pub fn latest(&self) -> u64 {
        self.changed.values().copied().fold(self.removed, u64::max)
    }
}

/// The ready pods of a gateway that do not have all that was published, by uid. One that refuses has what it was sent.
pub fn behind<'a>(
    pods: impl Iterator<Item = &'a Pod>,
    facts: &PodFacts,
    published: &Published,
) -> Vec<String> {
    let latest = published.latest();
    let lacks = |uid: &String| facts.get(uid).is_none_or(|fact| !fact.serves(published, latest));
    pods.filter(|pod| is_ready(pod)).filter_map(kube::ResourceExt::uid).filter(lacks).collect()
}

/// How far the pods of a gateway are with something: the ready ones, and others as far as they refuse it.
#[derive(Debug, Clone, Default)]
struct Progress<'a> {
    pods: usize,
    ready: usize,
    serving: usize,
    /// Without a stream, and not for long.
    coming: usize,
    behind: Named<'a>,
    /// Without a stream for so long that nobody waits for them.
    lost: Named<'a>,
    refusals: Vec<&'a Rejection>,
}

/// Pods of which some are named: nobody reads a thousand names.
#[derive(Debug, Clone, Default)]
struct Named<'a> {
    count: usize,
    some: Vec<&'a str>,
}

impl<'a> Named<'a> {
    const MOST: usize = 10;

    fn push(&mut self, name: &'a str) {
        self.count += 1;
        if self.some.len() < Self::MOST {
            self.some.push(name);
        }
    }

    fn push_all(&mut self, count: usize, names: impl Iterator<Item = &'a str>) {
        self.count += count;
        self.some.extend(names.take(Self::MOST - self.some.len().min(Self::MOST)));
    }

    fn extend(&mut self, other: Self) {
        self.count += other.count;
        self.some.extend(other.some);
        self.some.truncate(Self::MOST);
    }
}

impl Progress<'_> {
    /// Names of pods that somebody should look at, not more than ten.
    fn laggards(&self) -> Vec<String> {
        let mut names: Vec<_> = self.behind.some.iter().chain(&self.lost.some).take(Named::MOST).collect();
        names.sort();
        names.into_iter().map(|name| (*name).to_owned()).collect()
    }

    fn finding(&self, stale: bool) -> (Programmed, String) {
        let count = format!("{}/{} ready pods", self.serving, self.ready);
        if stale {
            return (Programmed::OperatorDegraded, "the operator cannot see the cluster".to_owned());
        }
        if let Some(rejection) = self.refusals.first() {
            let (refusals, key) = (self.refusals.len(), rejection.key());
            let message = format!("{refusals} of {} pods refuse {key}: {}", self.pods, rejection.message);
            return (Programmed::Rejected, message);
        }
        if self.ready == 0 {
            return (Programmed::Pending, "no pod is ready yet".to_owned());
        }
        let laggards = self.laggards();
        let message = match (laggards.is_empty(), self.coming) {
            (true, 0) => count,
            (true, coming) => format!("{count}; {coming} not connected yet"),
            (false, _) => format!("{count}; behind: {}", laggards.join(", ")),
        };
        match (self.behind.count + self.coming, self.serving) {
            (0, 1..) => (Programmed::Programmed, message),
            (0, 0) => (Programmed::PartiallyAcknowledged, message),
            (_, 0) if self.behind.count == 0 => (Programmed::Pending, message),
            _ => (Programmed::PartiallyAcknowledged, message),
        }
    }
}

/// Whether a pod gets traffic.
fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready = conditions.into_iter().flatten().any(|one| one.type_ == "Ready" && one.status == "True");
    ready && pod.metadata.deletion_timestamp.is_none()
}

/// Conditions of one object, written for one generation.
struct Conditions<'a> {
    generation: i64,
    previous: &'a [Condition],
    now: &'a Time,
    list: Vec<Condition>,
}

impl<'a> Conditions<'a> {
    fn new(generation: i64, previous: &'a [Condition], now: &'a Time) -> Self {
        Self { generation, previous, now, list: Vec::new() }
    }

    fn push<R: Reason>(&mut self, reason: R, message: impl Into<String>) {
        self.list.push(condition::condition(reason, message, self.generation, self.previous, self.now));
    }
}

/// A number as status has it.
fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
