//! When to try again after failures: exponential delays with jitter. Pure: time and random bits are arguments.
//! Changes when the delay formula changes.

use std::time::{Duration, Instant};

const YEAR: Duration = Duration::from_hours(365 * 24);

/// How delays grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// Delay after the first failure, before jitter.
    pub first: Duration,
    /// No delay is longer.
    pub max: Duration,
    /// A success that lasted this long forgets earlier failures; a shorter one is part of the same trouble, so
    /// something that starts and dies at once does not escape the growing delays.
    pub stable_after: Duration,
}

impl Schedule {
    /// Delay after `failures` failures in a row (from 1), somewhere in the upper half of the doubled value so that
    /// many waiters spread out and none retries at once. `random` is 64 uniform bits.
    pub fn delay(&self, failures: u32, random: u64) -> Duration {
        let factor = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        let full = self.first.saturating_mul(factor).min(self.max);
        let half = full / 2;
        // The upper 32 bits as a fraction of 2^32. Half a delay fits into 64 bits of nanoseconds for 584 years.
        let half_nanos = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX);
        let jitter = (u128::from(half_nanos) * u128::from(random >> 32)) >> 32;
        full.saturating_sub(half)
            .saturating_add(Duration::from_nanos(u64::try_from(jitter).unwrap_or(u64::MAX)))
    }
}

/// The failures of one thing that is tried again and again.
#[derive(Debug, Clone)]
pub struct Backoff {
    schedule: Schedule,
    failures: u32,
    not_before: Option<Instant>,
    working_since: Option<Instant>,
}

impl Backoff {
    /// No failures so far: the first try may begin at once.
    pub const fn new(schedule: Schedule) -> Self {
        Self { schedule, failures: 0, not_before: None, working_since: None }
    }

    /// Time left until the next try may begin; `None` when it may begin now.
    pub fn wait(&self, now: Instant) -> Option<Duration> {
        self.not_before.map(|at| at.saturating_duration_since(now)).filter(|left| !left.is_zero())
    }

    /// Whether the last try failed.
    pub fn is_failing(&self) -> bool {
        self.not_before.is_some()
    }

    /// A try worked. Repeating it while it keeps working changes nothing.
    pub fn succeeded(&mut self, now: Instant) {
        self.not_before = None;
        self.working_since.get_or_insert(now);
    }

    /// A try failed, or what had worked broke. Returns how long to wait.
    pub fn failed(&mut self, now: Instant, random: u64) -> Duration {
        let stable = self
            .working_since
            .take()
            .is_some_and(|since| now.saturating_duration_since(since) >= self.schedule.stable_after);
        self.failures = if stable { 1 } else { self.failures.saturating_add(1) };
        let delay = self.schedule.delay(self.failures, random);
        // A delay beyond the clock's range is as good as a year.
        self.not_before = now.checked_add(delay).or_else(|| now.checked_add(YEAR));
        delay
    }

    /// Failures in a row, for logs and status.
    pub fn failures(&self) -> u32 {
        self.failures
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
        first: Duration::from_millis(100),
        max: Duration::from_secs(10),
        stable_after: Duration::from_mins(1),
    };

    #[test]
    fn delays_double_up_to_the_maximum() {
        for (failures, full_ms) in
            [(1, 100), (2, 200), (3, 400), (7, 6_400), (8, 10_000), (33, 10_000), (u32::MAX, 10_000)]
        {
            let full = Duration::from_millis(full_ms);
            assert_eq!(SCHEDULE.delay(failures, 0), full / 2, "{failures}");
            let longest = SCHEDULE.delay(failures, u64::MAX);
            assert!(
                longest <= full && full.abs_diff(longest) < Duration::from_micros(1),
                "{failures}: {longest:?}"
            );
            assert_eq!(SCHEDULE.delay(failures, 1 << 63), full * 3 / 4, "{failures}");
        }
    }

    #[test]
    fn extreme_settings_do_not_overflow() {
        let forever = Schedule { first: Duration::MAX, max: Duration::MAX, stable_after: Duration::MAX };
        assert!(forever.delay(u32::MAX, u64::MAX) > Duration::from_secs(1 << 40));
        let mut backoff = Backoff::new(forever);
        let now = Instant::now();
        backoff.failed(now, u64::MAX);
        assert!(backoff.wait(now).is_some());
        let never = Schedule { first: Duration::ZERO, max: Duration::ZERO, stable_after: Duration::ZERO };
        assert_eq!(never.delay(5, u64::MAX), Duration::ZERO);
    }

    #[test]
    fn waits_exactly_the_returned_time() {
        let start = Instant::now();
        let mut backoff = Backoff::new(SCHEDULE);
        assert_eq!(backoff.wait(start), None);
        let delay = backoff.failed(start, 0);
        assert_eq!(backoff.wait(start), Some(delay));
        assert_eq!(backoff.wait(start + delay / 2), Some(delay / 2));
        assert_eq!(backoff.wait(start + delay), None);
    }

    #[test]
    fn only_a_lasting_success_forgets_failures() {
        let start = Instant::now();
        let mut backoff = Backoff::new(SCHEDULE);
        assert_eq!(backoff.failed(start, 0), Duration::from_millis(50));
        backoff.succeeded(start);
        assert_eq!(backoff.failed(start + Duration::from_secs(59), 0), Duration::from_millis(100));
        let again = start + Duration::from_secs(100);
        backoff.succeeded(again);
        backoff.succeeded(again + Duration::from_secs(59));
        assert_eq!(backoff.failed(again + Duration::from_mins(1), 0), Duration::from_millis(50));
        assert_eq!(backoff.failures(), 1);
    }

    #[test]
    fn success_ends_the_wait() {
        let start = Instant::now();
        let mut backoff = Backoff::new(SCHEDULE);
        backoff.failed(start, 0);
        backoff.succeeded(start);
        assert_eq!(backoff.wait(start), None);
    }
}
