//! Watching the resources of one backend for one listen on the merged endpoint. Changes when backends are watched
//! differently.

use std::sync::Arc;
use std::time::Duration;

use bridge_mcp::frame::Frame;
use bridge_mcp::limits::Limits;
use bridge_mcp::method::Method;
use bridge_mcp::subscription::Filter;
use bridge_policy::principal::Principal;
use bridge_policy::refusal::{Reason, Refusal};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::cluster::{Cluster, mirrored};
use crate::crossing::watch_legacy;
use crate::upstream::{Answer, Event, OnLeave, modern_request};

/// Wait before a backend that was lost is asked to watch again.
const RETRY: Duration = Duration::from_secs(1);

/// What to watch, and where updates go.
pub(super) struct Watch {
    pub(super) cluster: Arc<Cluster>,
    /// Whose listen it is.
    pub(super) principal: Principal,
    pub(super) uris: Vec<Box<str>>,
    pub(super) limits: Limits,
    pub(super) updates: mpsc::Sender<Frame>,
}

impl Watch {
    /// Watches until `stop`, also after the backend was lost. `confirm` gets what the backend watches, once it does.
    pub(super) async fn run(self, confirm: oneshot::Sender<Filter>, stop: CancellationToken) {
        let closing = self.cluster.closing();
        tokio::select! {
            () = stop.cancelled() => {}
            // A reload has replaced it; the listen ends, too.
            () = closing.cancelled() => {}
            () = self.keep(confirm) => {}
        }
    }

    async fn keep(&self, confirm: oneshot::Sender<Filter>) {
        let mut confirm = Some(confirm);
        loop {
            match self.follow(&mut confirm).await {
                Ok(true) => {}
                Ok(false) => {
                    tracing::debug!(backend = %self.cluster.name, "it refuses to watch resources");
                    if let Some(confirm) = confirm.take() {
                        // The client may have left.
                        drop(confirm.send(Filter::default()));
                    }
                    return;
                }
                Err(refusal) => {
                    tracing::debug!(backend = %self.cluster.name, error = %refusal, "resource listen lost");
                }
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Follows one listen to its end. `false` when the backend refuses it.
    async fn follow(&self, confirm: &mut Option<oneshot::Sender<Filter>>) -> Result<bool, Refusal> {
        let link = match self.cluster.modern_link().await {
            Ok((link, _)) => link,
            Err(refusal) if refusal.reason == Reason::EraMismatch => {
                return self.follow_legacy(confirm).await;
            }
            Err(refusal) => return Err(refusal),
        };
        let filter = json!({ "notifications": { "resourceSubscriptions": self.uris } });
        let frame = modern_request("subscriptions/listen", &filter)?;
        let answer = link.request(&frame, mirrored(&link, &frame), OnLeave::Cancel).await;
        let Answer::Stream(mut messages) = answer.map_err(|error| error.into_refusal(&self.cluster.name))?
        else {
            return Ok(false);
        };
        let mut acknowledged = false;
        loop {
            match messages.next().await? {
                Event::Notice(frame) if frame.method() == Method::Acknowledged => {
                    acknowledged = true;
                    self.confirmed(confirm, self.watched(&frame)).await;
                }
                Event::Notice(frame) if frame.method() == Method::ResourcesUpdated => {
                    // The listen is gone when nobody receives; `stop` ends this task.
                    drop(self.updates.send(frame).await);
                }
                Event::Answer(_) => return Ok(acknowledged),
                _ => {}
            }
        }
    }

    /// The same at a server of the legacy generation.
    async fn follow_legacy(&self, confirm: &mut Option<oneshot::Sender<Filter>>) -> Result<bool, Refusal> {
        let confirmed = async |watched: Filter| self.confirmed(confirm, watched).await;
        watch_legacy(&self.cluster, &self.principal, &self.uris, &self.updates, confirmed).await
    }

    /// The backend watches from now on.
    async fn confirmed(&self, confirm: &mut Option<oneshot::Sender<Filter>>, watched: Filter) {
        let in_time = confirm.take().is_some_and(|confirm| confirm.send(watched).is_ok());
        if !in_time {
            self.assume_updated().await;
        }
    }

    /// What an acknowledgement says is watched; everything, when it cannot be read.
    fn watched(&self, acknowledgement: &Frame) -> Filter {
        let params = acknowledgement.envelope().params.as_ref();
        let raw = params.and_then(|params| acknowledgement.raw(params.members.notifications));
        Filter::parse(raw, &self.limits, self.uris.len()).unwrap_or_else(|_| Filter {
            resource_subscriptions: self.uris.iter().cloned().collect(),
            ..Filter::default()
        })
    }

    /// What changed while nobody watched is not known, so all of it may have.
    async fn assume_updated(&self) {
        for uri in &self.uris {
            let text = json!({
                "jsonrpc": "2.0", "method": "notifications/resources/updated", "params": { "uri": uri }
            });
            if let Ok(update) = Frame::parse(text.to_string().into(), &Limits::backend(usize::MAX, 8)) {
                drop(self.updates.send(update).await);
            }
        }
    }
}
