//! A place for one conversation that is opened on demand, once at a time, and again after it was lost.
//!
//! Changes when conversations are kept differently.

use std::future::Future;
use std::sync::Arc;

use bridge_policy::refusal::Refusal;
use parking_lot::Mutex;

use crate::upstream::Link;

/// Empty, or a conversation.
#[derive(Default)]
pub(crate) struct LinkSlot {
    current: Mutex<Option<Arc<Link>>>,
    opening: tokio::sync::Mutex<()>,
}

impl LinkSlot {
    /// The conversation, unless there is none or it is lost.
    pub(crate) fn get(&self) -> Option<Arc<Link>> {
        self.current.lock().as_ref().filter(|link| link.is_open()).map(Arc::clone)
    }

    /// The conversation, opened by `open` when there is none. Callers at the same time wait for one opening. The flag
    /// says whether this call opened it.
    pub(crate) async fn open<F, Fut>(&self, open: F) -> Result<(Arc<Link>, bool), Refusal>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<Arc<Link>, Refusal>>,
    {
        let _turn = self.opening.lock().await;
        if let Some(link) = self.get() {
            return Ok((link, false));
        }
        let link = open().await?;
        *self.current.lock() = Some(Arc::clone(&link));
        Ok((link, true))
    }

    /// Empties the slot.
    pub(crate) fn take(&self) -> Option<Arc<Link>> {
        self.current.lock().take()
    }
}
