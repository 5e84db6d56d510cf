//! What was published for a gateway, one state after the other, and how far a pod of another replica is by that. Changes when
//! replicas compare what they have seen in another way.
//!
//! Each replica sees the changes of the cluster in batches of its own, and its watches do not advance together: a number that
//! one replica gives to a state says nothing at another. Equal fingerprints do; and whoever compiled after all that had been
//! seen here when a state was made has everything that is in it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// How far each watch had been seen: resource versions by the name of the watch. They are only compared watch by watch.
pub type Seen = BTreeMap<String, u64>;

/// So many states are kept, the newest of them one by one.
const KEPT: usize = 1024;

/// One state.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Publication {
    digest: String,
    /// Change of the publisher that made it.
    change: u64,
    /// What had been seen that can be in it.
    mattered: Arc<Seen>,
    /// All that had been seen.
    seen: Arc<Seen>,
}

/// States in the order in which they were published.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Publications {
    states: VecDeque<Publication>,
    /// The newest lacks what was seen since it was published.
    holds: bool,
}

impl Publications {
    /// The next state: its fingerprint and the change of the publisher that made it. Of `seen` only `mattered` can be in it.
    pub fn add(&mut self, digest: String, change: u64, mattered: Arc<Seen>, seen: Arc<Seen>) {
        self.states.push_back(Publication { digest, change, mattered, seen });
        if self.states.len() > KEPT {
            // Of what is old every second one is enough: a state counts for those that came after it.
            let mut position = 0;
            self.states.retain(|_| {
                position += 1;
                position > KEPT / 2 || position % 2 == 1
            });
        }
    }

    /// Fingerprint of the newest.
    pub fn latest(&self) -> Option<&String> {
        self.states.back().map(|publication| &publication.digest)
    }

    /// Fingerprint of the state that a pod has which has everything up to a change.
    pub fn at(&self, change: u64) -> Option<&str> {
        let after = self.states.partition_point(|publication| publication.change <= change);
        self.states.get(after.checked_sub(1)?).map(|publication| &*publication.digest)
    }

    /// Whether the newest lacks what was seen since it was published, because that is kept back.
    pub fn hold(&mut self, holds: bool) {
        self.holds = holds;
    }

    /// Whether it does.
    pub fn holds(&self) -> bool {
        self.holds
    }

    /// What had been seen for a state; for the newest that is `now`, because what came since has made no difference.
    pub fn seen_for<'a>(&'a self, digest: &str, now: &'a Seen) -> Option<&'a Seen> {
        let is = |publication: &Publication| publication.digest == digest;
        let newest = !self.holds && self.states.back().is_some_and(is);
        if newest { Some(now) } else { self.states.iter().rfind(|state| is(state)).map(|state| &*state.seen) }
    }

    /// The change up to which a state of another replica has everything: its fingerprint, and what had been seen for it.
    /// `None` when that cannot be told.
    pub fn change_of(&self, digest: &str, seen: Option<&Seen>) -> Option<u64> {
        // A replica may have seen more than it has published.
        let same = self.states.iter().rfind(|publication| publication.digest == digest);
        let has = |publication: &&Publication| {
            seen.is_some_and(|seen| {
                let saw = |(watch, at): (&String, &u64)| seen.get(watch).is_some_and(|seen| seen >= at);
                publication.mattered.iter().all(saw)
            })
        };
        same.or_else(|| self.states.iter().rfind(has)).map(|publication| publication.change)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(backends: u64, slices: u64) -> Arc<Seen> {
        Arc::new([("mcpbackends".into(), backends), ("endpointslices".into(), slices)].into())
    }

    fn published(states: &[(&str, u64, Arc<Seen>)]) -> Publications {
        let mut publications = Publications::default();
        for (digest, change, seen) in states {
            publications.add((*digest).to_owned(), *change, Arc::clone(seen), Arc::clone(seen));
        }
        publications
    }

    #[test]
    fn a_replica_whose_one_watch_lags_has_not_what_that_watch_brings() {
        let here = published(&[("a", 1, seen(10, 10)), ("b", 2, seen(20, 10)), ("c", 3, seen(20, 40))]);
        // Its slices are newer than any here; its backends are from before `b`.
        assert_eq!(here.change_of("x", Some(&seen(15, 50))), Some(1));
        assert_eq!(here.change_of("x", Some(&seen(20, 30))), Some(2));
        assert_eq!(here.change_of("x", Some(&seen(99, 99))), Some(3));
        assert_eq!(here.change_of("x", Some(&seen(5, 99))), None);
        assert_eq!(here.change_of("x", None), None, "of which nothing is known but that it is different");
    }

    #[test]
    fn equal_fingerprints_are_equal_whatever_was_seen() {
        let here = published(&[("a", 1, seen(10, 10)), ("b", 2, seen(20, 10)), ("a", 3, seen(30, 10))]);
        assert_eq!(here.change_of("b", Some(&seen(0, 0))), Some(2));
        assert_eq!(here.change_of("b", Some(&seen(99, 99))), Some(2), "it keeps back what it has seen");
        assert_eq!(here.change_of("a", None), Some(3), "what came back is the newest");
    }

    #[test]
    fn a_pod_between_two_states_has_the_one_before() {
        let here = published(&[("a", 4, seen(10, 10)), ("b", 9, seen(20, 10))]);
        assert_eq!(here.at(3), None);
        assert_eq!(here.at(8), Some("a"));
        assert_eq!(here.at(9), Some("b"));
    }

    #[test]
    fn what_makes_no_difference_is_in_the_newest_state() {
        let (here, now) = (published(&[("a", 1, seen(10, 10)), ("b", 2, seen(20, 10))]), seen(20, 70));
        assert_eq!(here.seen_for("a", &now), Some(&*seen(10, 10)));
        assert_eq!(here.seen_for("b", &now), Some(&*now));
        assert_eq!(here.seen_for("x", &now), None);
        let mut here = here;
        here.hold(true);
        assert_eq!(here.seen_for("b", &now), Some(&*seen(20, 10)), "unless it is kept back");
    }

    #[test]
    fn old_states_are_thinned_out_and_not_forgotten() {
        let mut here = Publications::default();
        for change in 1..=100_000 {
            here.add(change.to_string(), change, seen(change, 1), seen(change, 1));
        }
        assert!(here.states.len() <= KEPT);
        let old = here.change_of("x", Some(&seen(50_000, 1)));
        assert!(old.is_some_and(|old| old > 0 && old <= 50_000), "{old:?}");
        assert_eq!(here.change_of("x", Some(&seen(99_990, 1))), Some(99_990), "the newest are all there");
    }
}
