//! Delivery of list changes and resource updates to legacy sessions and modern subscriptions.
//! Changes when a notification is added.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use rmcp::model::{ResourceUpdatedNotificationParam, SubscriptionFilter};
use rmcp::service::{SubscriptionContext, SubscriptionSendError, SubscriptionSink};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::CancellationToken;

use crate::resources;
use crate::state::Session;

/// Changes that a subscription may fall behind by before it is told that everything changed.
const BACKLOG: usize = 64;
/// How long one session that does not read may hold up the others.
const SEND_LIMIT: Duration = Duration::from_millis(500);

/// Something that clients may want to know about.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Tools,
    Prompts,
    Resources,
    Updated(String),
}

/// Everyone who listens.
pub(crate) struct Hub {
    changes: broadcast::Sender<Change>,
    sessions: Mutex<Vec<Weak<Session>>>,
}

/// Receivers of one connection that were opened before their subscription's acknowledgment was written, in that order.
/// A change right after the acknowledgment would otherwise be missed.
pub(crate) type Early = Mutex<VecDeque<broadcast::Receiver<Change>>>;

impl Hub {
    pub(crate) fn new() -> Self {
        Self { changes: broadcast::Sender::new(BACKLOG), sessions: Mutex::new(Vec::new()) }
    }

    /// Adds a legacy session that has finished its handshake.
    pub(crate) fn join(&self, session: &Arc<Session>) {
        let mut sessions = self.sessions.lock();
        sessions.retain(|known| known.strong_count() > 0);
        sessions.push(Arc::downgrade(session));
    }

    /// Tells every listener. Returns when the sessions have been written to.
    pub(crate) async fn announce(&self, change: Change) {
        // Nobody subscribed is no error.
        let _ = self.changes.send(change.clone());
        let sessions: Vec<_> = self.sessions.lock().iter().filter_map(Weak::upgrade).collect();
        for session in sessions {
            if tokio::time::timeout(SEND_LIMIT, tell(&session, &change)).await.is_err() {
                tracing::warn!(?change, "a session does not read its notifications");
            }
        }
    }

    /// The part of a requested filter that is honoured: all list changes, and URIs that exist.
    pub(crate) fn accept(&self, early: &Early, requested: &SubscriptionFilter) -> SubscriptionFilter {
        let mut queue = early.lock();
        // Only acknowledgments that could not be written leave one behind.
        queue.truncate(BACKLOG);
        queue.push_back(self.changes.subscribe());
        let mut accepted = requested.clone();
        accepted.resource_subscriptions = requested
            .resource_subscriptions
            .as_ref()
            .map(|uris| uris.iter().filter(|uri| resources::exists(uri)).cloned().collect());
        accepted
    }

    /// Feeds one acknowledged subscription until the client or this process ends it.
    pub(crate) async fn feed(
        &self,
        early: &Early,
        subscription: &SubscriptionContext,
        stopping: &CancellationToken,
    ) {
        let opened = early.lock().pop_front();
        let mut changes = opened.unwrap_or_else(|| self.changes.subscribe());
        loop {
            let change = tokio::select! {
                () = subscription.cancelled() => return,
                () = stopping.cancelled() => return,
                change = changes.recv() => change,
            };
            let sent = match change {
                Ok(change) => send(subscription.sink(), &change).await,
                Err(RecvError::Lagged(_)) => send_all(subscription.sink()).await,
                Err(RecvError::Closed) => return,
            };
            match sent {
                Ok(()) | Err(SubscriptionSendError::NotificationNotAccepted(_)) => {}
                Err(error) => {
                    tracing::debug!(%error, "subscription ended");
                    return;
                }
            }
        }
    }
}

async fn tell(session: &Session, change: &Change) {
    let Some(peer) = session.peer.get() else { return };
    let sent = match change {
        Change::Tools => peer.notify_tool_list_changed().await,
        Change::Prompts => peer.notify_prompt_list_changed().await,
        Change::Resources => peer.notify_resource_list_changed().await,
        Change::Updated(uri) => {
            let watched = session.watched.lock().contains(uri);
            if !watched {
                return;
            }
            peer.notify_resource_updated(ResourceUpdatedNotificationParam::new(uri)).await
        }
    };
    if let Err(error) = sent {
        tracing::debug!(%error, "session is gone");
    }
}

async fn send(sink: &SubscriptionSink, change: &Change) -> Result<(), SubscriptionSendError> {
    match change {
        Change::Tools => sink.notify_tool_list_changed().await,
        Change::Prompts => sink.notify_prompt_list_changed().await,
        Change::Resources => sink.notify_resource_list_changed().await,
        Change::Updated(uri) => sink.notify_resource_updated(uri.as_str()).await,
    }
}

/// What was missed is unknown, so everything the subscription asked for counts as changed.
async fn send_all(sink: &SubscriptionSink) -> Result<(), SubscriptionSendError> {
    let accepted = sink.accepted();
    let wanted = [
        (accepted.tools_list_changed, Change::Tools),
        (accepted.prompts_list_changed, Change::Prompts),
        (accepted.resources_list_changed, Change::Resources),
    ];
    for (_, change) in wanted.iter().filter(|(asked, _)| *asked == Some(true)) {
        send(sink, change).await?;
    }
    for uri in accepted.resource_subscriptions.iter().flatten() {
        send(sink, &Change::Updated(uri.clone())).await?;
    }
    Ok(())
}
