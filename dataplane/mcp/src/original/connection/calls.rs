//! The requests of one connection in flight, by their ids. Changes when requests end in another way.
//!
//! ```text
//! begin ──▶ in flight ──end──▶ answered
//!              └──cancel──▶ gone: a late answer finds nothing
//! ```

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::frame::Frame;
use crate::id::Id;
use crate::method::Method;

/// Requests by id, oldest first where a client uses one twice.
#[derive(Debug, Default)]
pub(super) struct Calls {
    open: BTreeMap<(Id, u64), Call>,
    begun: u64,
}

#[derive(Debug)]
struct Call {
    /// The id as spelled.
    id: Bytes,
    /// A client may not cancel its `initialize`.
    can_be_cancelled: bool,
}

impl Calls {
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.open.clear();
    }

    /// Enters a request.
    pub(super) fn begin(&mut self, request: &Frame) {
        let (Some(id), Some(spelled)) = (request.id(), request.raw_id()) else { return };
        let can_be_cancelled = request.method() != Method::Initialize;
        self.open.insert((id, self.begun), Call { id: Bytes::copy_from_slice(spelled), can_be_cancelled });
        self.begun += 1;
    }

    /// Ends the oldest request with this id and gives the id as it was spelled.
    pub(super) fn end(&mut self, id: &Id) -> Option<Bytes> {
        let key = self.with_id(id).next().map(|(key, _)| key.clone())?;
        self.open.remove(&key).map(|call| call.id)
    }

    /// Ends the request that a cancellation names; of several with its id the latest.
    pub(super) fn cancel(&mut self, notification: &Frame) {
        let params = notification.envelope().params.as_ref();
        let named = params.and_then(|params| notification.raw(params.members.request_id));
        let Some(id) = named.and_then(Id::from_raw) else { return };
        let latest = self.with_id(&id).next_back().filter(|(_, call)| call.can_be_cancelled);
        if let Some(key) = latest.map(|(key, _)| key.clone()) {
            self.open.remove(&key);
        }
    }

    fn with_id(&self, id: &Id) -> impl DoubleEndedIterator<Item = (&(Id, u64), &Call)> {
        self.open.range((id.clone(), 0)..=(id.clone(), u64::MAX))
    }
}
