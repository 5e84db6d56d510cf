//! Messages from a session's backends that belong to no call: they go to the client's notification stream.
//!
//! Changes when such messages are routed differently.

use std::sync::{Arc, Weak};

use bridge_mcp::frame::Frame;

use super::Session;
use crate::upstream::Owner;

/// A session as the owner of its conversation with one backend.
pub(crate) struct SessionOwner {
    session: Weak<Session>,
    backend: Arc<str>,
}

impl SessionOwner {
    pub(crate) fn new(session: &Arc<Session>, backend: &Arc<str>) -> Self {
        Self { session: Arc::downgrade(session), backend: Arc::clone(backend) }
    }
}

impl Owner for SessionOwner {
    fn notice(&self, frame: Frame) {
        let Some(session) = self.session.upgrade() else { return };
        if let Some(message) = session.show(&self.backend, &frame) {
            session.streams.standalone().append(message);
        }
    }

    fn request(&self, frame: Frame) -> bool {
        let Some(session) = self.session.upgrade() else { return false };
        if session.is_closed() {
            return false;
        }
        match session.ask(&self.backend, &frame) {
            Some(message) => {
                session.streams.standalone().append(message);
                true
            }
            None => false,
        }
    }
}
