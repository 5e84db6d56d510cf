//! At which of its places a conversation with a backend opens. Changes when another failure sends it on to the next.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use bridge_policy::refusal::{Reason, Refusal};

use super::Cluster;
use super::open::Greeting;
use super::places::Places;
use crate::upstream::{Handshake, Link, Opening, Owner};

/// Why no endpoint answered.
pub(super) struct Failure {
    pub(super) refusal: Refusal,
    pub(super) kind: FailureKind,
}

/// How the last endpoint failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FailureKind {
    /// It was reached and said nothing.
    Silent,
    /// It failed at the greeting, and may know another.
    InDoubt,
    /// In any other way.
    Plain,
}

impl Cluster {
    /// Greets the endpoints in turn until one answers. `None` when it answers in another generation.
    pub(super) async fn open_somewhere(
        &self,
        greeting: Greeting<'_>,
        owner: Arc<dyn Owner>,
    ) -> Result<Option<(Arc<Link>, Handshake)>, Failure> {
        let deadline = Instant::now() + self.config.connect_timeout;
        loop {
            let places = self.places.load_full();
            let opening = self.open_at(&places, deadline, greeting, Arc::clone(&owner));
            // Erased: what requests are made of is nested deeply enough.
            let opening: Pin<Box<dyn Future<Output = _> + Send + '_>> = Box::pin(opening);
            let opened = opening.await;
            let are_current = Arc::ptr_eq(&places, &self.places.load());
            if opened.is_ok() || are_current || deadline <= Instant::now() {
                return opened;
            }
        }
    }

    async fn open_at(
        &self,
        places: &Places,
        deadline: Instant,
        greeting: Greeting<'_>,
        owner: Arc<dyn Owner>,
    ) -> Result<Option<(Arc<Link>, Handshake)>, Failure> {
        let order = self.standing.order(places.places(), Instant::now()).into_iter();
        let endpoints: Vec<_> = order
            .filter_map(|position| Some((position, places.get(position)?)))
            .filter(|(_, endpoint)| endpoint.may_speak(greeting.era(), self.config.era))
            .collect();
        let mut failed: Option<Failure> = None;
        for (tried, (position, endpoint)) in endpoints.iter().enumerate() {
            // A silent endpoint leaves time for the others.
            let share = deadline.saturating_duration_since(Instant::now())
                / u32::try_from(endpoints.len() - tried).unwrap_or(u32::MAX);
            let greeted = self.greet(endpoint, greeting, Arc::clone(&owner));
            let opening = tokio::time::timeout(share, async {
                tokio::select! {
                    greeted = greeted => greeted,
                    () = endpoint.place.left() => Err(self.left()),
                }
            });
            let failure = match opening.await {
                Ok(Ok((link, Opening::Open(handshake)))) => {
                    endpoint.place.reached(Instant::now());
                    return Ok(Some((link, handshake)));
                }
                Ok(Ok((_, Opening::OtherEra))) => return Ok(None),
                Ok(Ok((_, Opening::InDoubt(refusal)))) => {
                    Failure { refusal: self.named(refusal), kind: FailureKind::InDoubt }
                }
                Ok(Ok((_, Opening::Failed(refusal))) | Err(refusal)) => {
                    Failure { refusal: self.named(refusal), kind: FailureKind::Plain }
                }
                Err(_) => Failure { refusal: self.silent(), kind: FailureKind::Silent },
            };
            // What it answers may be due to the client's own words; that it cannot be reached is not.
            let is_away = matches!(
                failure.refusal.reason,
                Reason::BackendUnavailable | Reason::BackendCredential | Reason::BackendLost
            );
            if is_away && failure.kind != FailureKind::InDoubt {
                endpoint.place.failed(Instant::now());
            }
            if endpoints.len() > 1 {
                tracing::warn!(backend = %self.name, endpoint = position + 1, error = %failure.refusal, "endpoint failed");
            }
            failed = Some(failure);
        }
        let none = || {
            let refusal = if places.is_empty() { self.deserted() } else { self.era_mismatch(greeting.era()) };
            Failure { refusal, kind: FailureKind::Plain }
        };
        Err(failed.unwrap_or_else(none))
    }

    /// That it is reached nowhere.
    fn deserted(&self) -> Refusal {
        Refusal::backend(Reason::BackendUnavailable, &self.name, "no endpoint of it is ready")
    }

    /// That it is not any more where it was just asked.
    fn left(&self) -> Refusal {
        Refusal::backend(Reason::BackendUnavailable, &self.name, "this endpoint of it has gone")
    }
}
