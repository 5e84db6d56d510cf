//! How many requests of one connection are served at once. Changes when a connection is bounded differently.
//!
//! ```text
//! open ──all slots taken──▶ full: the reader waits ──a slot is free──▶ open
//!                              └──waited in vain──▶ stuck: refused at once ──a slot is free──▶ open
//! ```
//!
//! Waiting is the back-pressure: nothing more is read from the client. It must end, because what a client has still to
//! say may be the very answers that its calls wait for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long the reader waits for a slot.
const PATIENCE: Duration = Duration::from_secs(10);

/// The slots of one connection. One reader enters requests, one after the other.
pub(super) struct Admission {
    slots: Arc<Semaphore>,
    stuck: AtomicBool,
}

impl Admission {
    /// Room for `requests` at once.
    pub(super) fn new(requests: usize) -> Self {
        Self { slots: Arc::new(Semaphore::new(requests)), stuck: AtomicBool::new(false) }
    }

    /// Room for one request, waited for; `None` when it is to be refused.
    pub(super) async fn enter(&self) -> Option<OwnedSemaphorePermit> {
        let slots = Arc::clone(&self.slots);
        let slot = match Arc::clone(&slots).try_acquire_owned() {
            Ok(slot) => Some(slot),
            Err(_) if self.stuck.load(Ordering::Relaxed) => None,
            Err(_) => tokio::time::timeout(PATIENCE, slots.acquire_owned()).await.ok().and_then(Result::ok),
        };
        self.stuck.store(slot.is_none(), Ordering::Relaxed);
        slot
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_full_connection_waits_for_a_slot() {
        let admission = Admission::new(1);
        let first = admission.enter().await.unwrap();
        let (second, ()) = tokio::join!(admission.enter(), async {
            tokio::time::sleep(Duration::from_secs(9)).await;
            drop(first);
        });
        assert!(second.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_in_vain_is_not_repeated_until_a_slot_was_free() {
        let admission = Admission::new(1);
        let first = admission.enter().await.unwrap();
        let begun = Instant::now();
        assert!(admission.enter().await.is_none());
        assert_eq!(begun.elapsed(), PATIENCE);
        assert!(admission.enter().await.is_none());
        assert_eq!(begun.elapsed(), PATIENCE, "the second is refused at once");
        drop(first);
        let again = admission.enter().await.unwrap();
        assert!(admission.enter().await.is_none());
        assert_eq!(begun.elapsed(), 2 * PATIENCE, "after a success it is waited for again");
        drop(again);
    }
}
