//! How long the changes of one gateway take from their publication until every pod serves them. Changes when another
//! moment counts as the end.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bridge_snapshot::push::StreamId;

use super::Engine;
use crate::world::ObjectName;

/// Changes that are waited for. While so many are, later ones are not measured: the oldest say most.
const MOST: usize = 64;

impl Engine {
    /// A pod has said something: perhaps that it serves a change.
    pub(super) fn answered(&mut self, name: &ObjectName, stream: StreamId, now: Instant) {
        let Some(gateway) = self.gateways.get_mut(name) else { return };
        let Some(number) = gateway.publisher.serves(stream) else { return };
        for took in gateway.propagation.serves(stream, number, now) {
            self.metrics.acknowledged(took);
        }
    }

    /// A stream has ended: nobody waits for its pod.
    pub(super) fn parted(&mut self, name: &ObjectName, stream: StreamId, now: Instant) {
        let Some(gateway) = self.gateways.get_mut(name) else { return };
        for took in gateway.propagation.left(stream, now) {
            self.metrics.acknowledged(took);
        }
    }
}

/// Changes on their way, and how far pods are.
#[derive(Debug, Default)]
pub(super) struct Propagation {
    /// The latest change that was published.
    latest: Option<u64>,
    /// The change up to which the pod of each stream serves everything; of those that have begun.
    serves: BTreeMap<StreamId, u64>,
    /// Oldest first. Whoever lacks one lacks the later ones, too.
    changes: VecDeque<Change>,
}

#[derive(Debug)]
struct Change {
    number: u64,
    published: Instant,
    /// Streams that were there when it was published, and whose pods do not serve it yet.
    lacking: usize,
}

impl Propagation {
    /// Everything up to this change is published. Whether that is a change: what a gateway begins with is none.
    pub(super) fn published(&mut self, number: u64, now: Instant) -> bool {
        let before = self.latest.replace(number);
        let is_change = before.is_some_and(|before| before != number);
        // Without a pod that could serve it there is nothing to wait for.
        if is_change && !self.serves.is_empty() && self.changes.len() < MOST {
            self.changes.push_back(Change { number, published: now, lacking: self.serves.len() });
        }
        is_change
    }

    /// A pod serves everything up to a change. How long each change took that all pods serve by that.
    pub(super) fn serves(&mut self, stream: StreamId, number: u64, now: Instant) -> Vec<Duration> {
        // Nobody waits for a pod that began after the publication.
        let begins_with = self.latest.map_or(number, |latest| latest.max(number));
        let before = *self.serves.entry(stream).or_insert(begins_with);
        if number <= before {
            return Vec::new();
        }
        self.serves.insert(stream, number);
        self.settle(before, number, now)
    }

    /// A stream has ended. How long each change took that only its pod did not serve.
    pub(super) fn left(&mut self, stream: StreamId, now: Instant) -> Vec<Duration> {
        let Some(before) = self.serves.remove(&stream) else { return Vec::new() };
        if self.serves.is_empty() {
            // Nobody is left who serves them.
            self.changes.clear();
        }
        self.settle(before, u64::MAX, now)
    }

    /// One stream less lacks the changes after `before` up to `number`.
    fn settle(&mut self, before: u64, number: u64, now: Instant) -> Vec<Duration> {
        for change in self.changes.iter_mut().filter(|it| before < it.number && it.number <= number) {
            change.lacking = change.lacking.saturating_sub(1);
        }
        let mut took = Vec::new();
        while let Some(change) = self.changes.pop_front_if(|change| change.lacking == 0) {
            took.push(now.saturating_duration_since(change.published));
        }
        took
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [u64; 0] = [];

    struct Case(Propagation, Instant);

    impl Case {
        /// Three pods that serve the first change.
        fn new() -> Self {
            let mut case = Self(Propagation::default(), Instant::now());
            assert!(!case.published(1, 0), "what it begins with");
            for stream in 1..=3 {
                assert_eq!(case.serves(stream, 1, 0), NONE);
            }
            case
        }

        fn published(&mut self, number: u64, second: u64) -> bool {
            self.0.published(number, self.1 + Duration::from_secs(second))
        }

        fn serves(&mut self, stream: StreamId, number: u64, second: u64) -> Vec<u64> {
            let took = self.0.serves(stream, number, self.1 + Duration::from_secs(second));
            took.iter().map(Duration::as_secs).collect()
        }

        fn left(&mut self, stream: StreamId, second: u64) -> Vec<u64> {
            let took = self.0.left(stream, self.1 + Duration::from_secs(second));
            took.iter().map(Duration::as_secs).collect()
        }
    }

    #[test]
    fn a_change_takes_until_the_last_pod_serves_it_and_counts_once() {
        let mut case = Case::new();
        assert!(case.published(2, 10));
        assert!(!case.published(2, 11), "the same again");
        assert_eq!(case.serves(1, 2, 11), NONE);
        assert_eq!(case.serves(2, 2, 11), NONE);
        assert_eq!(case.serves(2, 2, 12), NONE, "the same again");
        assert_eq!(case.serves(3, 2, 14), [4]);
        assert_eq!(case.serves(3, 2, 15), NONE);
    }

    #[test]
    fn changes_that_a_slow_pod_takes_at_once_are_measured_each() {
        let mut case = Case::new();
        for (number, second) in [(2, 10), (5, 11), (6, 12)] {
            case.published(number, second);
            case.serves(1, number, second);
            case.serves(2, number, second);
        }
        assert_eq!(case.serves(3, 5, 20), [10, 9]);
        assert_eq!(case.serves(3, 6, 21), [9]);
    }

    #[test]
    fn nobody_waits_for_pods_that_are_gone_or_came_later() {
        let mut case = Case::new();
        case.published(2, 10);
        assert_eq!(case.serves(4, 1, 11), NONE, "it began before the publication and was ready after it");
        assert_eq!(case.serves(4, 2, 11), NONE);
        assert_eq!(case.serves(1, 2, 12), NONE);
        assert_eq!(case.serves(2, 2, 12), NONE);
        assert_eq!(case.left(3, 13), [3]);
        case.published(3, 20);
        assert_eq!(case.left(1, 21), NONE);
        assert_eq!(case.left(2, 21), NONE);
        assert_eq!(case.left(4, 21), NONE, "nobody ever served it");
        case.published(4, 30);
        assert_eq!(case.serves(5, 4, 31), NONE, "nobody was there");
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_oldest_change_stays() {
        let mut case = Case::new();
        for number in 2..1000 {
            case.published(number, number);
        }
        assert_eq!(case.0.changes.len(), MOST);
        case.serves(1, 999, 1000);
        case.serves(2, 999, 1000);
        let took = case.serves(3, 999, 1000);
        assert_eq!((took.len(), took.first()), (MOST, Some(&998)));
    }
}
