//! Which replica writes: a Lease, renewed while its holder lives. Changes when the election does.
//!
//! Time is measured by each replica's own monotonic clock: a Lease is expired when nobody has changed it for its duration
//! *as seen here*. A holder stops writing well before anybody else can begin.

use std::time::{Duration, Instant};

use http::Request;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
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

/// Takes part in the election.
pub struct Election {
    api: Api<Lease>,
    name: String,
    me: String,
    address: String,
    installation: String,
    leader: watch::Sender<Leader>,
    rivals: watch::Sender<Option<String>>,
    pulse: Pulse,
}

impl std::fmt::Debug for Election {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Election").field("name", &self.name).field("me", &self.me).finish_non_exhaustive()
    }
}

impl Election {
    /// For this Lease; `me` is a name that no other replica ever has, `address` where the others find
    /// it, and `installation` what they have in common. Whoever does
    /// not see the cluster, says `pulse`, does not take part.
    pub fn new(
        client: Client,
        lease: &ObjectName,
        (me, address, installation): (String, String, String),
        pulse: Pulse,
    ) -> Self {
        let leader = watch::Sender::new(Leader::Nobody);
        let (api, name) = (Api::namespaced(client, &lease.namespace), lease.name.clone());
        let rivals = watch::Sender::new(None);
        Self { api, name, me, address, installation, leader, rivals, pulse }
    }

    /// Who writes, as far as this replica knows.
    pub fn leader(&self) -> watch::Receiver<Leader> {
        self.leader.subscribe()
    }

    /// The other installation that holds the Lease, if one does.
    pub fn rivals(&self) -> watch::Receiver<Option<String>> {
        self.rivals.subscribe()
    }

    /// Runs until `stop`; then lets go of the Lease if it is held.
    pub async fn run(self, claim: watch::Sender<Claim>, stop: CancellationToken) {
        let mut observed = None;
        loop {
            let before = Instant::now();
            if self.pulse.sight(before).is_blind() {
                self.step_down(&claim, before).await;
            } else {
                self.take_part(&claim, &mut observed, before).await;
            }
            tokio::select! {
                () = tokio::time::sleep(RETRY) => {}
                () = stop.cancelled() => break,
            }
        }
        self.step_down(&claim, Instant::now()).await;
    }

    async fn take_part(
        &self,
        claim: &watch::Sender<Claim>,
        observed: &mut Option<Observed>,
        before: Instant,
    ) {
        // A later answer gives no claim any more.
        let Ok(tried) = tokio::time::timeout(CLAIM, self.try_once(observed, before)).await else {
            return tracing::warn!(lease = self.name, "cannot renew the Lease in time");
        };
        match tried {
            Ok(true) => {
                self.leader.send_replace(Leader::Me);
                let had = claim.borrow().holds(before);
                claim.send_replace(Claim::until(before + CLAIM));
                if !had {
                    tracing::info!(lease = self.name, "this replica writes");
                }
            }
            Ok(false) => {
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

    async fn try_once(&self, observed: &mut Option<Observed>, now: Instant) -> Result<bool, kube::Error> {
        let lease = self.api.get_opt(&self.name).await?;
        let seen = lease.as_ref().and_then(|lease| lease.spec.as_ref());
        let Attempt::Write(spec) = attempt(observed, seen, &self.me, now, Timestamp::now()) else {
            let annotations = lease.as_ref().and_then(|lease| lease.metadata.annotations.as_ref());
            let installation = annotations.and_then(|all| all.get(INSTALLATION));
            if let Some(other) = installation.filter(|other| **other != self.installation) {
                self.rivals.send_replace(Some(other.clone()));
            }
            let address = annotations.and_then(|all| all.get(ADDRESS)).cloned();
            self.leader.send_replace(address.map_or(Leader::Nobody, Leader::Other));
            return Ok(false);
        };
        let says = [(ADDRESS, &self.address), (INSTALLATION, &self.installation)];
        let says = says.map(|(name, value)| (name.to_owned(), value.clone()));
        let written = match lease {
            Some(mut lease) => {
                lease.spec = Some(spec);
                lease.metadata.annotations.get_or_insert_default().extend(says);
                // With its resource version, so that of two replicas one fails.
                self.api.replace(&self.name, &PostParams::default(), &lease).await
            }
            None => {
                let annotations = Some(says.into());
                let metadata =
                    ObjectMeta { name: Some(self.name.clone()), annotations, ..ObjectMeta::default() };
                let lease = Lease { metadata, spec: Some(spec) };
                self.api.create(&PostParams::default(), &lease).await
            }
        };
        match written {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error),
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
mod tests {
    use super::*;

    fn spec(holder: &str, renewed: i64) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(15),
            renew_time: Some(MicroTime(Timestamp::from_second(renewed).unwrap())),
            ..LeaseSpec::default()
        }
    }

    #[test]
    fn a_lease_expires_when_nobody_has_changed_it_for_its_duration_as_seen_here() {
        let (start, wall) = (Instant::now(), Timestamp::from_second(0).unwrap());
        let mut observed = None;
        let mut at = |seconds, renewed| {
            let now = start + Duration::from_secs(seconds);
            attempt(&mut observed, Some(&spec("other", renewed)), "me", now, wall)
        };
        // Its own time of renewal is long past, or in the future: another clock, which proves nothing.
        assert_eq!(at(0, -1000), Attempt::Wait);
        assert_eq!(at(14, -1000), Attempt::Wait);
        assert_eq!(at(14, -998), Attempt::Wait, "renewed");
        assert_eq!(at(28, -998), Attempt::Wait);
        assert!(matches!(at(29, -998), Attempt::Write(spec) if spec.lease_transitions == Some(1)));
    }

    #[test]
    fn what_is_free_or_mine_is_taken_at_once() {
        let (now, wall) = (Instant::now(), Timestamp::from_second(0).unwrap());
        for seen in [None, Some(spec("", 0)), Some(spec("me", 0))] {
            let decided = attempt(&mut None, seen.as_ref(), "me", now, wall);
            assert!(matches!(decided, Attempt::Write(spec) if spec.holder_identity.as_deref() == Some("me")));
        }
    }

    /// A client whose requests are never answered, and how many there were.
    fn silent() -> (Client, watch::Receiver<u32>) {
        let (sent, count) = watch::channel(0);
        let service = tower::service_fn(move |_: Request<Body>| {
            sent.send_modify(|count| *count += 1);
            std::future::pending::<Result<http::Response<Body>, kube::Error>>()
        });
        (Client::new(service, "default"), count)
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_without_an_answer_does_not_outlive_the_claim_that_it_was_made_with() {
        let (client, sent) = silent();
        let (claims, claim) = watch::channel(Claim::default());
        let fenced: Api<Lease> = Api::namespaced(fenced(&client, claim), "here");
        let refused = fenced.get("x").await.unwrap_err();
        assert!(refused.to_string().contains(&Forfeit::NotHeld.to_string()), "{refused}");
        assert_eq!(*sent.borrow(), 0);

        claims.send_replace(Claim { until: Some(Instant::now() + CLAIM) });
        let given_up = tokio::time::timeout(DURATION, fenced.get("x")).await.unwrap().unwrap_err();
        assert!(given_up.to_string().contains(&Forfeit::RanOut.to_string()), "{given_up}");
        assert_eq!(*sent.borrow(), 1);
    }

    #[test]
    fn a_holder_stops_before_anybody_else_begins() {
        let start = Instant::now();
        let claim = Claim { until: Some(start + CLAIM) };
        assert!(claim.holds(start + Duration::from_secs(9)));
        assert!(!claim.holds(start + Duration::from_secs(10)));
        // Whoever saw the renewal later than it began waits even longer.
        assert!(CLAIM + RETRY < DURATION);
        assert!(crate::deadline::DEADLINE < DURATION);
        assert!(!Claim::default().holds(start));
    }
}
