//! How old what is known of the cluster is: when the API server last answered each watch. Changes when a replica trusts its
//! view for another reason.
//!
//! A watch is asked anew every [`ROUND`], so one that is quiet and one that is broken can be told apart.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Request, StatusCode};
use kube::Client;
use kube::client::Body;
use parking_lot::Mutex;

/// A watch is asked anew so often.
pub const ROUND: Duration = Duration::from_secs(20);
/// A view that is older compiles nothing new, and its pods are asked to try another replica.
pub const STALE: Duration = Duration::from_secs(30);
/// A view that is older writes nothing at all.
pub const BLIND: Duration = Duration::from_mins(1);

/// What a replica may do with what it knows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Sight {
    /// It is as new as it can be.
    #[default]
    Clear,
    /// The definition of this kind is missing: its objects are neither there nor gone.
    Waiting(Arc<str>),
    /// This watch has not been answered for [`STALE`].
    Stale(Arc<str>),
    /// This watch has not been answered for [`BLIND`].
    Blind(Arc<str>),
}

impl Sight {
    /// Whether what is missing in the view is missing in the cluster.
    pub fn is_clear(&self) -> bool {
        *self == Self::Clear
    }

    /// Whether nothing may be written.
    pub fn is_blind(&self) -> bool {
        matches!(self, Self::Blind(_))
    }
}

/// The watches of a replica; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Pulse(Arc<Mutex<Watches>>);

#[derive(Debug, Default)]
struct Watches {
    answered: BTreeMap<Arc<str>, Instant>,
    undefined: BTreeSet<Arc<str>>,
}

impl Pulse {
    /// The API server has answered a watch. The first time counts from the start of the watch.
    pub fn beat(&self, watch: &Arc<str>, now: Instant) {
        self.0.lock().answered.insert(Arc::clone(watch), now);
    }

    /// Whether the kind of a watch is defined; says whether that is new.
    pub fn defined(&self, watch: &Arc<str>, defined: bool) -> bool {
        let undefined = &mut self.0.lock().undefined;
        if defined { undefined.remove(watch) } else { undefined.insert(Arc::clone(watch)) }
    }

    /// What may be done now.
    pub fn sight(&self, now: Instant) -> Sight {
        let watches = self.0.lock();
        let oldest = watches.answered.iter().min_by_key(|(_, at)| **at);
        match oldest.map(|(watch, at)| (Arc::clone(watch), now.saturating_duration_since(*at))) {
            Some((watch, age)) if age >= BLIND => Sight::Blind(watch),
            Some((watch, age)) if age >= STALE => Sight::Stale(watch),
            _ => match watches.undefined.first() {
                Some(watch) => Sight::Waiting(Arc::clone(watch)),
                None => Sight::Clear,
            },
        }
    }

    /// Age of each watch.
    pub fn ages(&self, now: Instant) -> Vec<(Arc<str>, Duration)> {
        let watches = self.0.lock();
        let age =
            |(watch, at): (&Arc<str>, &Instant)| (Arc::clone(watch), now.saturating_duration_since(*at));
        watches.answered.iter().map(age).collect()
    }

    /// A client for the requests of one watch, whose answers are its pulse.
    pub(super) fn client(&self, client: &Client, watch: &Arc<str>) -> Client {
        let (pulse, inner, watch) = (self.clone(), client.clone(), Arc::clone(watch));
        let service = tower::service_fn(move |request: Request<Body>| {
            let (pulse, inner, watch) = (pulse.clone(), inner.clone(), Arc::clone(&watch));
            async move {
                let response = inner.send(request).await?;
                // A kind that is not defined is an answer, too.
                let undefined = response.status() == StatusCode::NOT_FOUND;
                if undefined {
                    pulse.defined(&watch, false);
                }
                if undefined || response.status().is_success() {
                    pulse.beat(&watch, Instant::now());
                }
                Ok::<_, kube::Error>(response)
            }
        });
        Client::new(service, client.default_namespace().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_watch_without_an_answer_is_enough_to_see_nothing() {
        let (pulse, start) = (Pulse::default(), Instant::now());
        let (pods, slices): (Arc<str>, Arc<str>) = ("pods".into(), "endpointslices".into());
        let at = |seconds| start + Duration::from_secs(seconds);
        pulse.beat(&pods, at(0));
        pulse.beat(&slices, at(0));
        assert_eq!(pulse.sight(at(29)), Sight::Clear);
        pulse.beat(&pods, at(29));
        assert_eq!(pulse.sight(at(30)), Sight::Stale(Arc::clone(&slices)));
        assert_eq!(pulse.sight(at(60)), Sight::Blind(Arc::clone(&slices)));
        pulse.beat(&slices, at(60));
        assert_eq!(pulse.sight(at(60)), Sight::Stale(Arc::clone(&pods)));
        pulse.beat(&pods, at(60));
        assert_eq!(pulse.sight(at(60)), Sight::Clear);
    }

    #[test]
    fn a_kind_that_is_not_defined_is_waited_for() {
        let (pulse, now) = (Pulse::default(), Instant::now());
        let watch: Arc<str> = "mcpbackends".into();
        pulse.beat(&watch, now);
        pulse.defined(&watch, false);
        assert_eq!(pulse.sight(now), Sight::Waiting(Arc::clone(&watch)));
        pulse.defined(&watch, true);
        assert_eq!(pulse.sight(now), Sight::Clear);
    }

    #[test]
    fn a_quiet_watch_is_asked_anew_before_it_counts_as_broken() {
        assert!(ROUND + Duration::from_secs(5) < STALE);
    }
}
