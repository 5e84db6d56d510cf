//! At which of several endpoints of one backend a conversation opens. Pure: time and random bits are arguments. Changes
//! when endpoints are chosen differently.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::backoff::{Backoff, Schedule};

/// What is known of the endpoints of one backend, and whose turn it is. Endpoints are told apart by numbers of the
/// caller's, which stay the same while others come and go.
#[derive(Debug, Clone)]
pub struct Balance {
    schedule: Schedule,
    known: HashMap<u64, Backoff>,
    next: usize,
}

impl Balance {
    /// Nothing is known of any endpoint. A failing one is left alone for the delays of `schedule`.
    pub fn new(schedule: Schedule) -> Self {
        Self { schedule, known: HashMap::new(), next: 0 }
    }

    /// The order in which one conversation tries `endpoints`, as positions among them: in turn those that are not known
    /// to be failing, then the others, the one first whose delay ends first. They are not left out, because a refusal
    /// helps nobody.
    pub fn order(&mut self, endpoints: &[u64], now: Instant) -> Vec<usize> {
        let count = endpoints.len();
        let wait = |at: &usize| endpoints.get(*at).and_then(|endpoint| self.wait(*endpoint, now));
        let mut order: Vec<usize> = (0..count).map(|step| (self.next + step) % count).collect();
        order.sort_by_key(|at| wait(at).unwrap_or_default());
        // The turn passes on behind the one that was chosen: a failing endpoint does not double the share of the one
        // behind it.
        self.next = order.first().map_or(0, |chosen| (chosen + 1) % count);
        order
    }

    /// A conversation opened at an endpoint.
    pub fn succeeded(&mut self, endpoint: u64, now: Instant) {
        if let Some(backoff) = self.known.get_mut(&endpoint) {
            backoff.succeeded(now);
        }
    }

    /// An endpoint could not be reached. `random` is 64 uniform bits. Returns for how long others are preferred.
    pub fn failed(&mut self, endpoint: u64, now: Instant, random: u64) -> Duration {
        let schedule = self.schedule;
        self.known.entry(endpoint).or_insert_with(|| Backoff::new(schedule)).failed(now, random)
    }

    /// At how many of `endpoints` the last try failed, whether or not the next one is due: what is tried again and again
    /// does not get well in between.
    pub fn failing(&self, endpoints: &[u64]) -> usize {
        let fails = |endpoint: &&u64| self.known.get(*endpoint).is_some_and(Backoff::is_failing);
        endpoints.iter().filter(fails).count()
    }

    /// Forgets all but these.
    pub fn retain(&mut self, endpoints: &[u64]) {
        self.known.retain(|endpoint, _| endpoints.contains(endpoint));
    }

    fn wait(&self, endpoint: u64, now: Instant) -> Option<Duration> {
        self.known.get(&endpoint)?.wait(now)
    }
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "an Instant can only be made from the clock; its value does not matter"
)]
mod tests {
    use super::*;

    const SCHEDULE: Schedule = Schedule {
        first: Duration::from_secs(1),
        max: Duration::from_secs(8),
        stable_after: Duration::from_mins(1),
    };

    const ALL: [u64; 3] = [10, 11, 12];

    fn first(balance: &mut Balance, now: Instant) -> usize {
        balance.order(&ALL, now)[0]
    }

    #[test]
    fn conversations_go_round() {
        let now = Instant::now();
        let mut balance = Balance::new(SCHEDULE);
        let chosen: Vec<_> = (0..7).map(|_| first(&mut balance, now)).collect();
        assert_eq!(chosen, [0, 1, 2, 0, 1, 2, 0]);
        assert_eq!(balance.order(&ALL, now), [1, 2, 0]);
    }

    #[test]
    fn a_failing_endpoint_is_tried_last_until_its_delay_has_passed() {
        let now = Instant::now();
        let mut balance = Balance::new(SCHEDULE);
        let delay = balance.failed(11, now, 0);
        assert_eq!(balance.failing(&ALL), 1);
        let chosen: Vec<_> = (0..4).map(|_| balance.order(&ALL, now)).collect();
        assert_eq!(chosen, [[0, 2, 1], [2, 0, 1], [0, 2, 1], [2, 0, 1]]);
        let later = now + delay;
        let chosen: Vec<_> = (0..3).map(|_| first(&mut balance, later)).collect();
        assert_eq!(chosen, [0, 1, 2]);
        assert_eq!(balance.failing(&ALL), 1, "nobody has seen it work");
        balance.succeeded(11, later);
        assert_eq!(balance.failing(&ALL), 0);
    }

    #[test]
    fn the_delay_grows_and_is_jittered() {
        let now = Instant::now();
        let mut balance = Balance::new(SCHEDULE);
        let (low, high) = (balance.clone().failed(10, now, 0), balance.clone().failed(10, now, u64::MAX));
        assert!(low < high, "{low:?} {high:?}");
        let again = balance.failed(10, now, 0);
        assert_eq!(balance.failed(10, now, 0), again * 2);
    }

    #[test]
    fn when_all_fail_the_one_that_is_due_first_is_tried_first() {
        let now = Instant::now();
        let mut balance = Balance::new(SCHEDULE);
        balance.failed(10, now, 0);
        balance.failed(10, now, 0);
        balance.failed(11, now, 0);
        assert_eq!(balance.order(&ALL[..2], now), [1, 0]);
        assert_eq!(balance.order(&ALL[..2], now), [1, 0]);
        balance.succeeded(10, now);
        assert_eq!(balance.order(&ALL[..2], now), [0, 1]);
    }

    #[test]
    fn one_endpoint_is_always_tried() {
        let now = Instant::now();
        let mut balance = Balance::new(SCHEDULE);
        balance.failed(10, now, 0);
        assert_eq!(balance.order(&ALL[..1], now), [0]);
        assert_eq!(Balance::new(SCHEDULE).order(&[], now), [0; 0]);
    }

    #[test]
    fn what_is_known_of_an_endpoint_stays_while_others_come_and_go() {
        let now = Instant::now();
        let mut balance = Balance::new(SCHEDULE);
        balance.failed(10, now, 0);
        balance.failed(12, now, 0);
        let now_there = [12, 13];
        balance.retain(&now_there);
        assert_eq!(balance.failing(&now_there), 1);
        assert_eq!(balance.order(&now_there, now), [1, 0]);
        assert_eq!(balance.failing(&ALL), 1, "one that was away comes back unknown");
    }
}
