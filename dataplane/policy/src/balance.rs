//! At which of several endpoints of one backend a conversation opens. Pure: time and random bits are arguments. Changes
//! when endpoints are chosen differently.

use std::time::{Duration, Instant};

use crate::backoff::{Backoff, Schedule};

/// What is known of the endpoints of one backend, and whose turn it is.
#[derive(Debug, Clone)]
pub struct Balance {
    endpoints: Vec<Backoff>,
    next: usize,
}

impl Balance {
    /// `count` endpoints that nobody has tried. A failing one is left alone for the delays of `schedule`.
    pub fn new(count: usize, schedule: Schedule) -> Self {
        Self { endpoints: vec![Backoff::new(schedule); count], next: 0 }
    }

    /// The order in which one conversation tries all endpoints: in turn those that are not known to be failing, then the
    /// others, the one first whose delay ends first. They are not left out, because a refusal helps nobody.
    pub fn order(&mut self, now: Instant) -> Vec<usize> {
        let count = self.endpoints.len();
        let mut order: Vec<usize> = (0..count).map(|step| (self.next + step) % count).collect();
        order.sort_by_key(|at| self.wait(*at, now).unwrap_or_default());
        // The turn passes on behind the one that was chosen: a failing endpoint does not double the share of the one
        // behind it.
        self.next = order.first().map_or(0, |chosen| (chosen + 1) % count);
        order
    }

    /// A conversation opened at an endpoint.
    pub fn succeeded(&mut self, endpoint: usize, now: Instant) {
        if let Some(backoff) = self.endpoints.get_mut(endpoint) {
            backoff.succeeded(now);
        }
    }

    /// An endpoint could not be reached. `random` is 64 uniform bits. Returns for how long others are preferred.
    pub fn failed(&mut self, endpoint: usize, now: Instant, random: u64) -> Duration {
        self.endpoints.get_mut(endpoint).map_or(Duration::ZERO, |backoff| backoff.failed(now, random))
    }

    /// How many endpoints are known to be failing.
    pub fn failing(&self, now: Instant) -> usize {
        (0..self.endpoints.len()).filter(|at| self.wait(*at, now).is_some()).count()
    }

    fn wait(&self, endpoint: usize, now: Instant) -> Option<Duration> {
        self.endpoints.get(endpoint)?.wait(now)
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

    fn first(balance: &mut Balance, now: Instant) -> usize {
        balance.order(now)[0]
    }

    #[test]
    fn conversations_go_round() {
        let now = Instant::now();
        let mut balance = Balance::new(3, SCHEDULE);
        let chosen: Vec<_> = (0..7).map(|_| first(&mut balance, now)).collect();
        assert_eq!(chosen, [0, 1, 2, 0, 1, 2, 0]);
        assert_eq!(balance.order(now), [1, 2, 0]);
    }

    #[test]
    fn a_failing_endpoint_is_tried_last_until_its_delay_has_passed() {
        let now = Instant::now();
        let mut balance = Balance::new(3, SCHEDULE);
        let delay = balance.failed(1, now, 0);
        assert_eq!(balance.failing(now), 1);
        let chosen: Vec<_> = (0..4).map(|_| balance.order(now)).collect();
        assert_eq!(chosen, [[0, 2, 1], [2, 0, 1], [0, 2, 1], [2, 0, 1]]);
        let later = now + delay;
        assert_eq!(balance.failing(later), 0);
        let chosen: Vec<_> = (0..3).map(|_| first(&mut balance, later)).collect();
        assert_eq!(chosen, [0, 1, 2]);
    }

    #[test]
    fn the_delay_grows_and_is_jittered() {
        let now = Instant::now();
        let mut balance = Balance::new(2, SCHEDULE);
        let (low, high) = (balance.clone().failed(0, now, 0), balance.clone().failed(0, now, u64::MAX));
        assert!(low < high, "{low:?} {high:?}");
        let again = balance.failed(0, now, 0);
        assert_eq!(balance.failed(0, now, 0), again * 2);
    }

    #[test]
    fn when_all_fail_the_one_that_is_due_first_is_tried_first() {
        let now = Instant::now();
        let mut balance = Balance::new(2, SCHEDULE);
        balance.failed(0, now, 0);
        balance.failed(0, now, 0);
        balance.failed(1, now, 0);
        assert_eq!(balance.order(now), [1, 0]);
        assert_eq!(balance.order(now), [1, 0]);
        balance.succeeded(0, now);
        assert_eq!(balance.order(now), [0, 1]);
    }

    #[test]
    fn one_endpoint_is_always_tried() {
        let now = Instant::now();
        let mut balance = Balance::new(1, SCHEDULE);
        balance.failed(0, now, 0);
        assert_eq!(balance.order(now), [0]);
        assert_eq!(Balance::new(0, SCHEDULE).order(now), [0; 0]);
    }
}
