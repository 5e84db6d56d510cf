//! The requests of one connection in flight, so that its client can cancel them. Changes when cancellation changes.

use std::collections::HashMap;
use std::sync::Arc;

use bridge_mcp::id::Id;
use bridge_mcp::version::Era;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// Requests by the client's id.
pub(super) struct InFlight {
    open: Mutex<Open>,
    /// Cancelled with the connection, and every request with it.
    connection: CancellationToken,
}

#[derive(Default)]
struct Open {
    entered: u64,
    requests: HashMap<Id, Request>,
}

struct Request {
    number: u64,
    era: Era,
    cancelled: CancellationToken,
}

/// One request, until dropped.
pub(super) struct Entry {
    table: Arc<InFlight>,
    id: Id,
    number: u64,
    /// The client has cancelled it, or the connection has ended.
    pub(super) cancelled: CancellationToken,
}

impl InFlight {
    pub(super) fn new(connection: CancellationToken) -> Self {
        Self { open: Mutex::default(), connection }
    }

    /// Enters a request. A client that reuses an id can cancel the later one only.
    pub(super) fn enter(self: &Arc<Self>, id: Id, era: Era) -> Entry {
        let cancelled = self.connection.child_token();
        let mut open = self.open.lock();
        open.entered += 1;
        let number = open.entered;
        open.requests.insert(id.clone(), Request { number, era, cancelled: cancelled.clone() });
        Entry { table: Arc::clone(self), id, number, cancelled }
    }

    /// Generation of the request with this id.
    pub(super) fn era(&self, id: &Id) -> Option<Era> {
        self.open.lock().requests.get(id).map(|request| request.era)
    }

    /// Ends the wait for a request. What it has begun at a backend ends with it as far as its generation says so.
    pub(super) fn cancel(&self, id: &Id) {
        if let Some(request) = self.open.lock().requests.get(id) {
            request.cancelled.cancel();
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut open = self.table.open.lock();
        if open.requests.get(&self.id).is_some_and(|request| request.number == self.number) {
            open.requests.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_can_be_cancelled_while_it_is_in_flight() {
        let table = Arc::new(InFlight::new(CancellationToken::new()));
        let (one, two) =
            (table.enter(Id::Int(1), Era::Modern), table.enter(Id::Text("1".into()), Era::Legacy));
        assert_eq!((table.era(&Id::Int(1)), table.era(&Id::Int(2))), (Some(Era::Modern), None));
        table.cancel(&Id::Int(1));
        assert!(one.cancelled.is_cancelled() && !two.cancelled.is_cancelled());
        drop(one);
        assert_eq!(table.era(&Id::Int(1)), None);
    }

    #[test]
    fn the_end_of_an_earlier_request_leaves_a_later_one_with_its_id() {
        let connection = CancellationToken::new();
        let table = Arc::new(InFlight::new(connection.clone()));
        let (earlier, later) = (table.enter(Id::Int(1), Era::Modern), table.enter(Id::Int(1), Era::Modern));
        drop(earlier);
        assert!(table.era(&Id::Int(1)).is_some());
        connection.cancel();
        assert!(later.cancelled.is_cancelled(), "the connection takes its requests along");
    }
}
