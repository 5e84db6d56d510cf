use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bridge_policy::refusal::Reason;

use super::*;

#[derive(Clone)]
struct Thing(Arc<AtomicBool>);

impl Thing {
    fn new() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }
}

impl Openable for Thing {
    fn is_open(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

#[tokio::test]
async fn callers_at_the_same_time_share_one_opening() {
    let slot = LinkSlot::default();
    let opened = AtomicUsize::new(0);
    let open = || async {
        opened.fetch_add(1, Ordering::Relaxed);
        tokio::task::yield_now().await;
        Ok(Thing::new())
    };
    let (first, second) = tokio::join!(slot.open(open), slot.open(open));
    assert_eq!(opened.load(Ordering::Relaxed), 1);
    assert!(first.unwrap().1 && !second.unwrap().1, "only the first has opened it");
}

#[tokio::test]
async fn those_who_waited_for_a_failure_share_it_and_the_next_tries_again() {
    let slot: LinkSlot<Thing> = LinkSlot::default();
    let tried = AtomicUsize::new(0);
    let fail = || async {
        tried.fetch_add(1, Ordering::Relaxed);
        tokio::task::yield_now().await;
        Err(Refusal::new(Reason::BackendUnavailable, "silent"))
    };
    let (first, second) = tokio::join!(slot.open(fail), slot.open(fail));
    assert!(first.is_err() && second.is_err());
    assert_eq!(tried.load(Ordering::Relaxed), 1, "a silent backend is not waited for in turn");
    assert!(slot.open(|| async { Ok(Thing::new()) }).await.is_ok());
}

#[tokio::test]
async fn what_was_lost_is_opened_again() {
    let slot = LinkSlot::default();
    let (thing, _) = slot.open(|| async { Ok(Thing::new()) }).await.unwrap();
    assert!(slot.get().is_some());
    thing.0.store(false, Ordering::Relaxed);
    assert!(slot.get().is_none());
    assert!(slot.open(|| async { Ok(Thing::new()) }).await.unwrap().1);
}
