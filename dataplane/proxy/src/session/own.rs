//! The sessions of one connection: one per endpoint and principal, ended with it. Changes when a connection holds
//! sessions differently.

use std::sync::Arc;

use bridge_policy::principal::Principal;
use bridge_policy::route::Scope;
use parking_lot::Mutex;

use super::{Session, SessionTable};

/// A connection's sessions: mostly one. They are entered in the table of all sessions, too, but nobody learns their ids.
#[derive(Default)]
pub(crate) struct OwnSessions(Mutex<State>);

#[derive(Default)]
struct State {
    open: Vec<Arc<Session>>,
    ended: bool,
}

impl OwnSessions {
    /// The session for an endpoint, if one is open and it is this principal's.
    pub(crate) fn get(&self, scope: &Scope, principal: &Principal) -> Option<Arc<Session>> {
        let state = self.0.lock();
        let mut owned = state.open.iter().filter(|session| session.principal == *principal);
        owned.find(|session| session.scope == *scope && !session.is_closed()).cloned()
    }

    /// All of this principal's.
    pub(crate) fn of(&self, principal: &Principal) -> Vec<Arc<Session>> {
        let state = self.0.lock();
        state.open.iter().filter(|session| session.principal == *principal).cloned().collect()
    }

    /// Holds a session that is in `table`. One for the same endpoint is ended: a client that opens anew starts over. So is
    /// the session itself when the connection has ended meanwhile.
    pub(crate) fn hold(&self, session: Arc<Session>, table: &SessionTable) {
        let over = {
            let mut state = self.0.lock();
            let same =
                |open: &Arc<Session>| open.scope == session.scope && open.principal == session.principal;
            let before = state.open.iter().position(same).map(|position| state.open.swap_remove(position));
            if state.ended {
                Some(session)
            } else {
                state.open.push(session);
                before
            }
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
        for session in &open {
            table.remove(session.id.as_str());
        }
    }
}
