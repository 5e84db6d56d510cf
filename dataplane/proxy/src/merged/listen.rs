//! `subscriptions/listen` on the merged endpoint: list changes come from the views, resource updates from listens at the
//! backends that own the resources. Changes when there is something else to listen to.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bridge_mcp::frame::Frame;
use bridge_mcp::limits::Limits;
use bridge_mcp::merge::ListKind;
use bridge_mcp::method::Method;
use bridge_mcp::sse;
use bridge_mcp::subscription::{Filter, Supported, acknowledged, finished, tag};
use bridge_mcp::version::Era;
use bridge_policy::refusal::{Reason, Refusal};
use bridge_runtime::tasks;
use bridge_transport::frontend::body::EventSource;
use bytes::{Bytes, BytesMut};
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, broadcast, mpsc};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::keep::notification;
use super::route::by_uri;
use super::{Change, settled_view};
use crate::cluster::Cluster;
use crate::pipeline::{Context, Reply, listen_permit, respond};
use crate::upstream::{Answer, Event, OnLeave, modern_request};

/// Updates that may wait for a slow client.
const UPDATES: usize = 64;
/// Resources that one listen may name.
const MAX_ENTRIES: usize = 1000;

/// Opens a listen.
pub(crate) async fn listen(context: &Context, frame: &Frame) -> Result<Reply, Refusal> {
    let permit = listen_permit(context)?;
    let params = frame.envelope().params.as_ref();
    let raw = params.and_then(|params| frame.raw(params.members.notifications));
    let wanted = Filter::parse(raw, &context.plan.client_limits, MAX_ENTRIES)
        .map_err(|error| Refusal::new(Reason::UnknownTarget, error.to_string()))?;
    let view = settled_view(context, Era::Modern).await;

    let mut honoured = wanted.honoured(Supported {
        tools_list_changed: true,
        prompts_list_changed: true,
        resources_list_changed: true,
        resource_subscriptions: true,
        tasks: false,
    });
    let mut owners: BTreeMap<Arc<str>, Watched> = BTreeMap::new();
    honoured.resource_subscriptions.retain(|uri| {
        let Ok(cluster) = by_uri(&view, Era::Modern, uri) else { return false };
        let watches = view.offers(&cluster, &["resources", "subscribe"]);
        if watches {
            owners
                .entry(Arc::clone(&cluster.name))
                .or_insert_with(|| (cluster, Vec::new()))
                .1
                .push(uri.clone());
        }
        watches
    });
    // Subscribed before the acknowledgement is written, so that no change after it is missed.
    let changes = context.gateway.views.changes.subscribe();
    let (updates_in, updates) = mpsc::channel(UPDATES);
    let stop = CancellationToken::new();
    for (_, (cluster, uris)) in owners {
        tasks::spawn("listen", watch(cluster, uris, updates_in.clone(), stop.clone()));
    }
    let source = Listen {
        id: Bytes::copy_from_slice(frame.raw_id().unwrap_or(b"null")),
        filter: honoured,
        acknowledged: false,
        ended: false,
        due: VecDeque::new(),
        changes,
        updates,
        _updates_in: updates_in,
        draining: context.gateway.drain.token(),
        _stop: stop.drop_guard(),
        _permit: permit,
    };
    Ok(respond::events(source, context.plan.snapshot.limits.keep_alive))
}

/// A backend and the resources to watch there.
type Watched = (Arc<Cluster>, Vec<Box<str>>);

/// One open listen.
struct Listen {
    id: Bytes,
    filter: Filter,
    acknowledged: bool,
    ended: bool,
    /// Notifications to be written.
    due: VecDeque<&'static str>,
    changes: broadcast::Receiver<Change>,
    updates: mpsc::Receiver<Frame>,
    /// Keeps the channel open when no backend is watched.
    _updates_in: mpsc::Sender<Frame>,
    draining: CancellationToken,
    _stop: DropGuard,
    _permit: OwnedSemaphorePermit,
}

impl Listen {
    async fn message(&mut self) -> Bytes {
        if !self.acknowledged {
            self.acknowledged = true;
            return acknowledged(&self.id, &self.filter);
        }
        loop {
            if let Some(message) = self.take_due() {
                return message;
            }
            tokio::select! {
                () = self.draining.cancelled() => {
                    self.ended = true;
                    return finished(&self.id);
                }
                change = self.changes.recv() => {
                    match change {
                        Ok(change) if change.era == Era::Modern => self.due.push_back(notification(change.kind)),
                        Ok(_) => {}
                        // Too slow to follow: anything may have changed.
                        Err(_) => self.due.extend(ListKind::ALL.map(notification)),
                    }
                    self.due.retain(|method| self.filter.matches(method, None));
                }
                Some(update) = self.updates.recv() => {
                    if self.filter.matches(&update.method_name(), update.target().as_deref()) {
                        return tag(&update, &self.id);
                    }
                }
            }
        }
    }

    fn take_due(&mut self) -> Option<Bytes> {
        let method = self.due.pop_front()?;
        let text = format!(r#"{{"jsonrpc":"2.0","method":"{method}"}}"#);
        let frame = Frame::parse(text.into(), &Limits::backend(1024, 4)).ok()?;
        Some(tag(&frame, &self.id))
    }
}

impl EventSource for Listen {
    async fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        let message = self.message().await;
        let mut out = BytesMut::new();
        sse::encode(&mut out, None, Some("message"), None, &message);
        Some(out.freeze())
    }
}

/// Watches resources of one backend for one listen, and again after the backend was lost.
async fn watch(
    cluster: Arc<Cluster>,
    uris: Vec<Box<str>>,
    updates: mpsc::Sender<Frame>,
    stop: CancellationToken,
) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = async {
            for again in std::iter::once(false).chain(std::iter::repeat(true)) {
                if let Err(refusal) = follow(&cluster, &uris, &updates, again).await {
                    tracing::debug!(backend = %cluster.name, error = %refusal, "resource listen lost");
                }
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
        } => {}
    }
}

async fn follow(
    cluster: &Arc<Cluster>,
    uris: &[Box<str>],
    updates: &mpsc::Sender<Frame>,
    again: bool,
) -> Result<(), Refusal> {
    let (link, _) = cluster.modern_link().await?;
    let filter = json!({ "notifications": { "resourceSubscriptions": uris } });
    let frame = modern_request("subscriptions/listen", &filter)?;
    let headers = crate::cluster::mirrored(&link, &frame);
    let answer = link.request(&frame, headers, OnLeave::Cancel).await;
    let Answer::Stream(mut messages) = answer.map_err(|error| error.into_refusal(&cluster.name))? else {
        return Ok(());
    };
    loop {
        match messages.next().await? {
            Event::Notice(frame) if frame.method() == Method::Acknowledged && again => {
                // What changed while nobody listened is not known, so all of it may have.
                for uri in uris {
                    let text = json!({
                        "jsonrpc": "2.0", "method": "notifications/resources/updated", "params": { "uri": uri }
                    });
                    if let Ok(update) = Frame::parse(text.to_string().into(), &Limits::backend(usize::MAX, 8))
                    {
                        drop(updates.send(update).await);
                    }
                }
            }
            Event::Notice(frame) if frame.method() == Method::ResourcesUpdated => {
                // The listen is gone when nobody receives; `stop` ends this task.
                drop(updates.send(frame).await);
            }
            Event::Answer(_) => return Ok(()),
            _ => {}
        }
    }
}
