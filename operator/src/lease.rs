//! Which replica writes: a Lease, renewed while its holder lives. Changes when the election does.
//!
//! Time is measured by each replica's own monotonic clock: a Lease is expired when nobody has changed it for its duration
//! *as seen here*. A holder stops writing well before anybody else can begin.

use std::time::{Duration, Instant};

use http::Request;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::client::Body;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::layout::INSTALLATION;
use crate::watch::pulse::Pulse;
use crate::world::ObjectName;

/// After so long without a renewal somebody else may take it.
const DURATION: Duration = Duration::from_secs(15);
/// For so long after the beginning of a renewal its holder may write.
const CLAIM: Duration = Duration::from_secs(10);
/// Between attempts.
const RETRY: Duration = Duration::from_secs(2);

/// Annotation of the Lease: where its holder is, as `host:port`.
const ADDRESS: &str = "mcp.bridge/address";
/// Annotation of the Lease: which history of the cluster this is. Whoever notices that another one has begun writes it.
const HISTORY: &str = "mcp.bridge/history";

/// Who writes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Leader {
    /// Nobody that is known of.
    #[default]
    Nobody,
    /// This replica.
    Me,
    /// The replica at this address.
    Other(String),
}

/// Why an operator must not go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Ending {
    /// Another installation holds the Lease of the class, and only one may write.
    #[error("the installation {0} serves the same class; give one of them another --class, or remove one")]
    Rival(String),
    /// The Lease is older than it was: so is everything else, and watches that go on where they were see none of it.
    #[error("the cluster was restored to an earlier state; whatever is known of it is to be read again")]
    Restored,
    /// A task has ended that never should.
    #[error("the task {0} has ended; it cannot go on without")]
    Ended(&'static str),
}

/// The right to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Claim {
    until: Option<Instant>,
}

impl Claim {
    /// One that holds until then.
    pub fn until(until: Instant) -> Self {
        Self { until: Some(until) }
    }

    /// When it may not be used any more, unless it is renewed.
    pub fn expires(&self) -> Option<Instant> {
        self.until
    }

    /// Whether it may still be used.
    pub fn holds(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }
}

/// A request that only the holder of the Lease may make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Forfeit {
    /// Not sent.
    #[error("this replica does not hold the Lease")]
    NotHeld,
    /// Not answered in time. The API server may get it still.
    #[error("the API server did not answer for as long as this replica was sure of the Lease")]
    RanOut,
}

/// A client whose requests are made with a claim only, and given up when the claim runs out that they were made with.
pub fn fenced(client: &Client, claim: watch::Receiver<Claim>) -> Client {
    let inner = client.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let (inner, claim) = (inner.clone(), *claim.borrow());
        async move {
            let until = claim.until.filter(|_| claim.holds(Instant::now())).ok_or(Forfeit::NotHeld)?;
            let sent = tokio::time::timeout_at(until.into(), inner.send(request)).await;
            Ok::<_, tower::BoxError>(sent.map_err(|_elapsed| Forfeit::RanOut)??)
        }
    });
    Client::new(service, client.default_namespace().to_owned())
}

/// What a replica remembers of the Lease.
#[derive(Debug, Default)]
struct Memory {
    observed: Option<Observed>,
    /// Newest resource version.
    newest: u64,
    /// Holder, and when it renewed it by its own clock.
    renewed: Option<(Option<String>, Option<MicroTime>)>,
    /// Which history this is.
    history: Option<String>,
}

impl Memory {
    /// Whether a Lease is no older than the one before, and nobody has seen one that was.
    fn goes_on(&mut self, lease: &Lease) -> bool {
        let version = lease.metadata.resource_version.as_deref().and_then(|version| version.parse().ok());
        let version = version.unwrap_or(self.newest);
        let renewed = lease.spec.as_ref().map(|spec| (spec.holder_identity.clone(), spec.renew_time.clone()));
        let earlier = self.renewed.as_ref().zip(renewed.as_ref());
        let earlier = earlier.is_some_and(|(before, now)| before.0 == now.0 && now.1 < before.1);
        let goes_on = self.newest <= version && !earlier && history(lease) == self.history.as_ref();
        (self.newest, self.renewed) = (self.newest.max(version), renewed);
        goes_on
    }
}

/// Which history of the cluster this is, according to its Lease.
pub(crate) fn history(lease: &Lease) -> Option<&String> {
    lease.metadata.annotations.as_ref()?.get(HISTORY)
}

/// A Lease as it was seen, and since when it has been so.
#[derive(Debug, Clone, PartialEq)]
pub struct Observed {
    spec: LeaseSpec,
    since: Instant,
}

/// What to do about the Lease.
#[derive(Debug, Clone, PartialEq)]
pub enum Attempt {
    /// Write this, unless somebody has written in the meantime.
    Write(LeaseSpec),
    /// Somebody else has it.
    Wait,
}

/// Decides, and takes note of what was seen. `now` is both clocks at once: the monotonic one decides, the other is written
/// down for people.
pub fn attempt(
    observed: &mut Option<Observed>,
    seen: Option<&LeaseSpec>,
    me: &str,
    now: Instant,
    wall: Timestamp,
) -> Attempt {
    let holder = seen.and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
    let transitions = seen.and_then(|spec| spec.lease_transitions).unwrap_or_default();
    let fresh = |acquired: Option<MicroTime>, transitions: i32| LeaseSpec {
        holder_identity: Some(me.to_owned()),
        lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
        acquire_time: Some(acquired.unwrap_or(MicroTime(wall))),
        renew_time: Some(MicroTime(wall)),
        lease_transitions: Some(transitions),
        ..LeaseSpec::default()
    };
    if holder == me {
        return Attempt::Write(fresh(seen.and_then(|spec| spec.acquire_time.clone()), transitions));
    }
    if let Some(spec) = seen
        && observed.as_ref().is_none_or(|observed| observed.spec != *spec)
    {
        *observed = Some(Observed { spec: spec.clone(), since: now });
    }
    let duration =
        seen.and_then(|spec| spec.lease_duration_seconds).and_then(|seconds| u64::try_from(seconds).ok());
    let duration = duration.map_or(DURATION, Duration::from_secs);
    let expired = observed.as_ref().is_none_or(|observed| now >= observed.since + duration);
    if holder.is_empty() || expired {
        return Attempt::Write(fresh(None, transitions + i32::from(seen.is_some())));
    }
    Attempt::Wait
}

/// What came of an attempt.
enum Turn {
    Mine,
    Theirs,
    /// The history of the cluster, and with it this election.
    Over,
}

/// Takes part in the election.
pub struct Election {
    api: Api<Lease>,
    name: String,
    me: String,
    address: String,
    installation: String,
    leader: watch::Sender<Leader>,
    history: Option<String>,
    ending: watch::Sender<Option<Ending>>,
    pulse: Pulse,
}

impl std::fmt::Debug for Election {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Election").field("name", &self.name).field("me", &self.me).finish_non_exhaustive()
    }
}

impl Election {
    /// For this Lease, which said this of the `history`; `me` is a name that no other replica ever has, `address` where the
    /// others find it, and `installation` what they have in common. Whoever does not see the cluster, says `pulse`, does not
    /// take part.
    pub fn new(
        client: Client,
        (lease, history): (&ObjectName, Option<String>),
        (me, address, installation): (String, String, String),
        pulse: Pulse,
    ) -> Self {
        let leader = watch::Sender::new(Leader::Nobody);
        let (api, name) = (Api::namespaced(client, &lease.namespace), lease.name.clone());
        let ending = watch::Sender::new(None);
        Self { api, name, me, address, installation, leader, history, ending, pulse }
    }

    /// Who writes, as far as this replica knows.
    pub fn leader(&self) -> watch::Receiver<Leader> {
        self.leader.subscribe()
    }

    /// Why this replica must end, if it must.
    pub fn ending(&self) -> watch::Receiver<Option<Ending>> {
        self.ending.subscribe()
    }

    /// Runs until `stop`; then lets go of the Lease if it is held.
    pub async fn run(self, claim: watch::Sender<Claim>, stop: CancellationToken) {
        let mut memory = Memory { history: self.history.clone(), ..Memory::default() };
        loop {
            let before = Instant::now();
            if self.pulse.sight(before).is_blind() {
                self.step_down(&claim, before).await;
            } else {
                self.take_part(&claim, &mut memory, before).await;
            }
            tokio::select! {
                () = tokio::time::sleep(RETRY) => {}
                () = stop.cancelled() => break,
            }
        }
        self.step_down(&claim, Instant::now()).await;
    }

    async fn take_part(&self, claim: &watch::Sender<Claim>, memory: &mut Memory, before: Instant) {
        // A later answer gives no claim any more.
        let Ok(tried) = tokio::time::timeout(CLAIM, self.try_once(memory, before)).await else {
            return tracing::warn!(lease = self.name, "cannot renew the Lease in time");
        };
        match tried {
            Ok(Turn::Mine) => {
                self.leader.send_replace(Leader::Me);
                let had = claim.borrow().holds(before);
                claim.send_replace(Claim::until(before + CLAIM));
                if !had {
                    tracing::info!(lease = self.name, "this replica writes");
                }
            }
            Ok(Turn::Over) => {
                claim.send_replace(Claim::default());
                self.leader.send_replace(Leader::Nobody);
                self.begin_history().await;
                self.ending.send_replace(Some(Ending::Restored));
            }
            Ok(Turn::Theirs) => {
                let had = claim.borrow().holds(before);
                claim.send_replace(Claim::default());
                if had {
                    tracing::warn!(lease = self.name, "another replica has taken the Lease");
                }
            }
            // The claim runs out by itself.
            Err(error) => tracing::warn!(lease = self.name, %error, "cannot renew the Lease"),
        }
    }

    /// Lets go of the Lease if it is held, so that another replica need not wait until it expires.
    async fn step_down(&self, claim: &watch::Sender<Claim>, now: Instant) {
        let held = claim.borrow().holds(now);
        self.leader.send_replace(Leader::Nobody);
        claim.send_replace(Claim::default());
        if !held {
            return;
        }
        let (lease, consequence) = (&self.name, "another replica waits until it expires");
        match tokio::time::timeout(CLAIM, self.release()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(lease, %error, consequence, "cannot let go of the Lease"),
            Err(_elapsed) => tracing::warn!(lease, consequence, "cannot let go of the Lease in time"),
        }
    }

    async fn try_once(&self, memory: &mut Memory, now: Instant) -> Result<Turn, kube::Error> {
        let lease = self.api.get_opt(&self.name).await?;
        if lease.as_ref().is_some_and(|lease| !memory.goes_on(lease)) {
            return Ok(Turn::Over);
        }
        let seen = lease.as_ref().and_then(|lease| lease.spec.as_ref());
        let Attempt::Write(spec) = attempt(&mut memory.observed, seen, &self.me, now, Timestamp::now())
        else {
            let annotations = lease.as_ref().and_then(|lease| lease.metadata.annotations.as_ref());
            let installation = annotations.and_then(|all| all.get(INSTALLATION));
            if let Some(other) = installation.filter(|other| **other != self.installation) {
                self.ending.send_replace(Some(Ending::Rival(other.clone())));
            }
            let address = annotations.and_then(|all| all.get(ADDRESS)).cloned();
            self.leader.send_replace(address.map_or(Leader::Nobody, Leader::Other));
            return Ok(Turn::Theirs);
        };
        let mut says = vec![(ADDRESS, &self.address), (INSTALLATION, &self.installation)];
        says.extend(self.history.as_ref().map(|history| (HISTORY, history)));
        match self.write(lease, spec, &says).await {
            Ok(written) if memory.goes_on(&written) => Ok(Turn::Mine),
            Ok(_) => Ok(Turn::Over),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(Turn::Theirs),
            Err(error) => Err(error),
        }
    }

    /// Writes the Lease with its resource version, so that of two replicas one fails.
    async fn write(
        &self,
        seen: Option<Lease>,
        spec: LeaseSpec,
        says: &[(&str, &String)],
    ) -> Result<Lease, kube::Error> {
        let exists = seen.is_some();
        let mut lease = seen.unwrap_or_default();
        lease.metadata.name = Some(self.name.clone());
        lease.spec = Some(spec);
        let says = says.iter().map(|(name, value)| ((*name).to_owned(), (*value).clone()));
        lease.metadata.annotations.get_or_insert_default().extend(says);
        if exists {
            self.api.replace(&self.name, &PostParams::default(), &lease).await
        } else {
            self.api.create(&PostParams::default(), &lease).await
        }
    }

    /// Says in the Lease that another history has begun, unless another replica has done so.
    async fn begin_history(&self) {
        let beginning = async {
            loop {
                let seen = self.api.get_opt(&self.name).await?;
                if seen.as_ref().and_then(history) != self.history.as_ref() {
                    return Ok(());
                }
                let spec = seen.as_ref().and_then(|lease| lease.spec.clone()).unwrap_or_default();
                match self.write(seen, spec, &[(HISTORY, &self.me)]).await {
                    // It may have been merely renewed.
                    Err(kube::Error::Api(status)) if status.code == 409 => {}
                    written => return written.map(drop),
                }
            }
        };
        let consequence = "pods hold what is older for a minute";
        match tokio::time::timeout(CLAIM, beginning).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, consequence, "cannot say that another history has begun");
            }
            Err(_elapsed) => tracing::warn!(consequence, "cannot say that another history has begun in time"),
        }
    }

    async fn release(&self) -> Result<(), kube::Error> {
        let Some(mut lease) = self.api.get_opt(&self.name).await? else { return Ok(()) };
        let Some(spec) = lease.spec.as_mut().filter(|spec| spec.holder_identity.as_ref() == Some(&self.me))
        else {
            return Ok(());
        };
        spec.holder_identity = Some(String::new());
        spec.lease_duration_seconds = Some(1);
        self.api.replace(&self.name, &PostParams::default(), &lease).await.map(drop)
    }
}

#[cfg(test)]
mod tests;
