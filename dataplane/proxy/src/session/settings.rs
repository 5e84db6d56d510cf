//! What a client has set at its backends, to be set again where a conversation is opened anew. Changes when clients can
//! set something else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use http::HeaderMap;
use parking_lot::Mutex;
use serde_json::json;

use crate::upstream::{Handshake, Link, own_request};

/// Subscriptions of one session.
const MAX_SUBSCRIPTIONS: usize = 1000;

/// Log level and subscriptions.
#[derive(Default)]
pub(crate) struct Settings(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    level: Option<Box<str>>,
    subscriptions: BTreeMap<Arc<str>, BTreeSet<Box<str>>>,
}

impl Settings {
    /// Notes the level for conversations to come.
    pub(crate) fn set_level(&self, level: &str) {
        self.0.lock().level = Some(level.into());
    }

    /// Whether one more subscription may be made.
    pub(crate) fn has_room(&self) -> bool {
        self.0.lock().subscriptions.values().map(BTreeSet::len).sum::<usize>() < MAX_SUBSCRIPTIONS
    }

    /// Notes a subscription that a backend has made (or ended).
    pub(crate) fn set_subscription(&self, backend: &Arc<str>, uri: &str, on: bool) {
        let mut inner = self.0.lock();
        if on {
            inner.subscriptions.entry(Arc::clone(backend)).or_default().insert(uri.into());
        } else if let Some(uris) = inner.subscriptions.get_mut(backend) {
            uris.remove(uri);
        }
    }

    pub(super) fn has_subscriptions(&self, backend: &str) -> bool {
        self.0.lock().subscriptions.get(backend).is_some_and(|uris| !uris.is_empty())
    }

    /// Tells a new conversation what its predecessor knew.
    pub(super) async fn restore(&self, backend: &str, link: &Link, handshake: &Handshake) {
        let (level, uris) = {
            let inner = self.0.lock();
            (inner.level.clone(), inner.subscriptions.get(backend).cloned().unwrap_or_default())
        };
        let level = level.filter(|_| handshake.offers(&["logging"]));
        let requests = level
            .iter()
            .map(|level| ("logging/setLevel", json!({ "level": level })))
            .chain(uris.iter().map(|uri| ("resources/subscribe", json!({ "uri": uri }))));
        for (method, params) in requests {
            let Ok(frame) = own_request(method, &params) else { continue };
            if let Err(error) = link.ask(&frame, HeaderMap::new()).await {
                tracing::warn!(backend, method, ?error, "not restored");
            }
        }
    }
}
