//! Which opening of a conversation a message belongs to, and where messages go that belong to no call.
//!
//! Changes when such messages are routed differently. A backend that was lost and reached again starts over with its
//! numbers, so an answer is given only to the opening that asked.

use std::sync::{Arc, Weak};

use bridge_mcp::frame::Frame;
use bridge_policy::principal::Principal;

use super::Session;
use crate::cluster::Openable;
use crate::upstream::{Link, Owner, Taken};

/// One opening of a conversation between a session and a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) backend: Arc<str>,
    pub(crate) opening: u64,
}

/// An open conversation.
#[derive(Clone)]
pub(crate) struct Conversation {
    pub(crate) link: Arc<Link>,
    pub(crate) origin: Origin,
}

impl Openable for Conversation {
    fn is_open(&self) -> bool {
        self.link.is_open()
    }
}

/// A session as the owner of a conversation: what belongs to no call goes to the client's notification stream.
pub(super) struct SessionOwner {
    session: Weak<Session>,
    origin: Origin,
}

impl SessionOwner {
    pub(super) fn new(session: &Arc<Session>, origin: &Origin) -> Self {
        Self { session: Arc::downgrade(session), origin: origin.clone() }
    }
}

impl Owner for SessionOwner {
    fn notice(&self, frame: Frame) {
        let Some(session) = self.session.upgrade() else { return };
        if let Some(message) = session.show(&self.origin, &frame) {
            session.streams.standalone().append(message);
        }
    }

    fn request(&self, frame: Frame, in_call: bool) -> Taken {
        let Some(session) = self.session.upgrade() else { return Taken::No };
        if session.is_closed() {
            return Taken::No;
        }
        let standalone = session.streams.standalone();
        if in_call && !standalone.has_reader() {
            return Taken::ForAnyCall(frame);
        }
        let Some((_, message)) = session.ask(&self.origin, &frame) else { return Taken::No };
        // It waits for the client's notification stream, which may be about to open.
        standalone.append(message);
        Taken::Yes
    }

    fn principal(&self) -> Option<Principal> {
        self.session.upgrade().map(|session| session.principal.clone())
    }
}
