//! The requests of one client in flight, so that it can cancel them. Changes when calls are tracked differently.

use std::collections::HashMap;
use std::sync::Arc;

use bridge_mcp::id::Id;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::upstream::Link;

/// Calls by the client's id.
pub(crate) struct Calls {
    open: Mutex<HashMap<Id, Call>>,
    /// Cancelled with the session, and every call with it.
    session: CancellationToken,
}

struct Call {
    link: Arc<Link>,
    cancelled: CancellationToken,
}

/// A call in flight.
pub(crate) struct CallGuard {
    calls: Arc<Calls>,
    id: Id,
    link: Arc<Link>,
    /// The client has cancelled the call, or its session has ended.
    pub(crate) cancelled: CancellationToken,
}

impl Calls {
    pub(super) fn new(session: CancellationToken) -> Self {
        Self { open: Mutex::default(), session }
    }

    /// Enters a request; the entry lives as long as the guard.
    pub(crate) fn enter(self: &Arc<Self>, id: Id, link: &Arc<Link>) -> CallGuard {
        let cancelled = self.session.child_token();
        let call = Call { link: Arc::clone(link), cancelled: cancelled.clone() };
        self.open.lock().insert(id.clone(), call);
        CallGuard { calls: Arc::clone(self), id, link: Arc::clone(link), cancelled }
    }

    /// Where a request went, and what ends the wait for it.
    pub(crate) fn find(&self, id: &Id) -> Option<(Arc<Link>, CancellationToken)> {
        let open = self.open.lock();
        open.get(id).map(|call| (Arc::clone(&call.link), call.cancelled.clone()))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.open.lock().is_empty()
    }
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        let mut open = self.calls.open.lock();
        // The same request may have been entered again, for another conversation.
        if open.get(&self.id).is_some_and(|call| Arc::ptr_eq(&call.link, &self.link)) {
            open.remove(&self.id);
        }
    }
}
