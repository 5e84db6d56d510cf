//! The sessions of one connection: one per endpoint that it uses, ended with it. Changes when a connection holds
//! sessions differently.

use std::collections::HashMap;
use std::sync::Arc;

use bridge_policy::principal::Principal;
use bridge_policy::route::Scope;
use parking_lot::Mutex;

use super::{Session, SessionTable};

/// Sessions by endpoint. They are entered in the table of all sessions, too, but nobody else learns their ids.
#[derive(Default)]
pub(crate) struct OwnSessions(Mutex<State>);

#[derive(Default)]
struct State {
    open: HashMap<Scope, Arc<Session>>,
    ended: bool,
}

impl OwnSessions {
    /// The session for an endpoint, if one is open and it is this principal's.
    pub(crate) fn get(&self, scope: &Scope, principal: &Principal) -> Option<Arc<Session>> {
        let state = self.0.lock();
        let session = state.open.get(scope)?;
        (session.principal == *principal && !session.is_closed()).then(|| Arc::clone(session))
    }

    /// All that are open.
    pub(crate) fn all(&self) -> Vec<Arc<Session>> {
        self.0.lock().open.values().cloned().collect()
    }

    /// Holds a session that is in `table`. One for the same endpoint is ended: a client that opens anew starts over. So is
    /// the session itself when the connection has ended meanwhile.
    pub(crate) fn hold(&self, session: Arc<Session>, table: &SessionTable) {
        let over = {
            let mut state = self.0.lock();
            if state.ended { Some(session) } else { state.open.insert(session.scope.clone(), session) }
        };
        if let Some(session) = over {
            table.remove(session.id.as_str());
        }
    }

    /// Ends all, and whatever should come later.
    pub(crate) fn end(&self, table: &SessionTable) {
        let open = {
            let mut state = self.0.lock();
            state.ended = true;
            std::mem::take(&mut state.open)
        };
        for session in open.values() {
            table.remove(session.id.as_str());
        }
    }
}
