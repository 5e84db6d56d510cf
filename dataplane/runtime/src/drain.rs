//! Leaving without losing work: a signal that draining has begun, and a count of what is still in flight.
//! Changes when stopping gets another phase.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// Shared by everything that serves; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Drain {
    started: CancellationToken,
    in_flight: TaskTracker,
}

/// One piece of work that draining waits for, until dropped.
#[derive(Debug)]
#[must_use = "work counts as in flight only while its guard lives"]
pub struct InFlight(#[allow(dead_code, reason = "held for its Drop")] TaskTrackerToken);

/// The deadline passed before all work was done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{in_flight} requests were still in flight after {waited:?} of draining")]
pub struct Unfinished {
    /// Pieces of work left.
    pub in_flight: usize,
    /// The time that was allowed.
    pub waited: Duration,
}

impl Drain {
    /// A drain that has not begun.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins draining: readiness flips, listeners stop accepting, connections finish what they have. Idempotent.
    pub fn start(&self) {
        self.started.cancel();
        self.in_flight.close();
    }

    /// Whether draining has begun.
    pub fn has_started(&self) -> bool {
        self.started.is_cancelled()
    }

    /// Completes when draining begins; at once if it has. Owned, so that it fits into any `select!`.
    pub fn started(&self) -> WaitForCancellationFutureOwned {
        self.started.clone().cancelled_owned()
    }

    /// A token that is cancelled when draining begins, for code that takes one.
    pub fn token(&self) -> CancellationToken {
        self.started.clone()
    }

    /// Counts a piece of work until the guard is dropped. Work may still begin while draining, on connections that
    /// were open before.
    pub fn guard(&self) -> InFlight {
        InFlight(self.in_flight.token())
    }

    /// Counts `future` until it completes or is dropped.
    pub fn track<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        self.in_flight.track_future(future)
    }

    /// Pieces of work in flight now.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Waits until draining has begun and no work is left, at most `timeout` from now.
    pub async fn finished(&self, timeout: Duration) -> Result<(), Unfinished> {
        tokio::time::timeout(timeout, self.in_flight.wait())
            .await
            .map_err(|_elapsed| Unfinished { in_flight: self.in_flight(), waited: timeout })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waits_for_the_last_guard() {
        let drain = Drain::new();
        let guard = drain.guard();
        drain.start();
        let finished = tokio::join!(drain.finished(Duration::from_secs(30)), async {
            tokio::time::advance(Duration::from_secs(29)).await;
            drop(guard);
        });
        assert_eq!(finished.0, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_tells_how_much_was_left() {
        let drain = Drain::new();
        let _one = drain.guard();
        let _two = drain.guard();
        drain.start();
        let timeout = Duration::from_secs(30);
        assert_eq!(drain.finished(timeout).await, Err(Unfinished { in_flight: 2, waited: timeout }));
    }

    #[tokio::test]
    async fn starting_wakes_every_clone_and_is_idempotent() {
        let drain = Drain::new();
        let waiting = drain.clone().started();
        assert!(!drain.has_started());
        drain.start();
        drain.start();
        waiting.await;
        assert!(drain.has_started());
        assert!(drain.token().is_cancelled());
    }

    #[tokio::test]
    async fn a_tracked_future_counts_while_it_runs() {
        let drain = Drain::new();
        let future = drain.track(async { drain.in_flight() });
        assert_eq!(future.await, 1);
        assert_eq!(drain.in_flight(), 0);
    }
}
