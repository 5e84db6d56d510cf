//! A place for one conversation that is opened on demand, once at a time, and again after it was lost.
//!
//! Changes when conversations are kept differently.

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use bridge_policy::refusal::Refusal;
use parking_lot::Mutex;

use crate::upstream::{Link, Room};

/// Something that is opened and may be lost.
pub(crate) trait Openable: Clone {
    /// Whether it can still be used.
    fn is_open(&self) -> bool;
}

impl Openable for Arc<Link> {
    fn is_open(&self) -> bool {
        Link::is_open(self)
    }
}

impl Openable for Arc<Room> {
    fn is_open(&self) -> bool {
        Room::is_open(self)
    }
}

/// Empty, or a conversation.
pub(crate) struct LinkSlot<T = Arc<Link>> {
    current: Mutex<Option<T>>,
    /// The last failure to open one, for those who waited for it.
    failed: Mutex<Option<(Instant, Refusal)>>,
    opening: tokio::sync::Mutex<()>,
}

impl<T> Default for LinkSlot<T> {
    fn default() -> Self {
        Self { current: Mutex::default(), failed: Mutex::default(), opening: tokio::sync::Mutex::default() }
    }
}

impl<T: Openable> LinkSlot<T> {
    /// The conversation, unless there is none or it is lost.
    pub(crate) fn get(&self) -> Option<T> {
        self.current.lock().as_ref().filter(|open| open.is_open()).cloned()
    }

    /// The conversation, opened by `open` when there is none. Callers at the same time wait for one opening. The flag
    /// says whether this call opened it.
    pub(crate) async fn open<F, Fut>(&self, open: F) -> Result<(T, bool), Refusal>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, Refusal>>,
    {
        let arrived = Instant::now();
        let _turn = self.opening.lock().await;
        if let Some(link) = self.get() {
            return Ok((link, false));
        }
        // Whoever waited while it failed has had its attempt: a silent backend must not be waited for in turn.
        let failed = self.failed.lock().clone();
        if let Some((_, refusal)) = failed.filter(|(at, _)| *at >= arrived) {
            return Err(refusal);
        }
        let link = open().await.inspect_err(|refusal| {
            *self.failed.lock() = Some((Instant::now(), refusal.clone()));
        })?;
        *self.current.lock() = Some(link.clone());
        Ok((link, true))
    }

    /// Empties the slot.
    pub(crate) fn take(&self) -> Option<T> {
        self.current.lock().take()
    }
}

#[cfg(test)]
mod tests;
