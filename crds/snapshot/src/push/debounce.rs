//! Many changes, one publication. Changes when the rule does.

use std::time::{Duration, Instant};

/// Waits until nothing has changed for `quiet`, but never longer than `most` after the first change.
#[derive(Debug, Clone)]
pub struct Debounce {
    quiet: Duration,
    most: Duration,
    waiting: Option<Waiting>,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    first: Instant,
    latest: Instant,
}

impl Debounce {
    /// Nothing has changed.
    pub const fn new(quiet: Duration, most: Duration) -> Self {
        Self { quiet, most, waiting: None }
    }

    /// Something changed.
    pub fn touch(&mut self, now: Instant) {
        let first = self.waiting.map_or(now, |waiting| waiting.first);
        self.waiting = Some(Waiting { first, latest: now });
    }

    /// When it is time; `None` when nothing has changed.
    pub fn due(&self) -> Option<Instant> {
        self.waiting.map(|waiting| (waiting.latest + self.quiet).min(waiting.first + self.most))
    }

    /// When the first of what is waited for changed; `None` when nothing has.
    pub fn since(&self) -> Option<Instant> {
        self.waiting.map(|waiting| waiting.first)
    }

    /// What changed is no longer waited for.
    pub fn clear(&mut self) {
        self.waiting = None;
    }
}
