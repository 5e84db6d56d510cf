//! `subscriptions/listen` on the merged endpoint: list changes come from the views, resource updates from listens at the
//! backends that own the resources. Changes when there is something else to listen to.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bridge_mcp::frame::Frame;
use bridge_mcp::limits::Limits;
use bridge_mcp::merge::ListKind;
use bridge_mcp::subscription::{Filter, Supported, acknowledged, finished, tag};
use bridge_mcp::version::Era;
use bridge_policy::denial::Denial;
use bridge_policy::principal::Principal;
use bridge_policy::refusal::{Reason, Refusal};
use bridge_runtime::tasks;
use bridge_transport::frontend::events::{EventSource, StreamEvent};
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, broadcast, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::keep::notification;
use super::route::by_uri;
use super::watch::Watch;
use super::{Change, settled_view};
use crate::access;
use crate::cluster::Cluster;
use crate::pipeline::{Context, Reply, error_of, listen_permit, respond};

/// Updates that may wait for a slow client.
const UPDATES: usize = 64;
/// Resources that one listen may name.
pub(crate) const MAX_ENTRIES: usize = 1000;
/// How long the acknowledgement waits for backends to watch. A backend that comes later tells everything as updated.
const CONFIRM_WAIT: Duration = Duration::from_secs(2);

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
    let mut owners: BTreeMap<Arc<str>, _> = BTreeMap::new();
    honoured.resource_subscriptions.retain(|uri| {
        let Ok(cluster) = by_uri(&view, Era::Modern, uri) else { return false };
        let watches = view.offers(&cluster, &["resources", "subscribe"])
            && cluster.exposure.original(ListKind::Resources, uri).is_some();
        if watches {
            owners
                .entry(Arc::clone(&cluster.name))
                .or_insert_with(|| (cluster, Vec::new()))
                .1
                .push(uri.clone());
        }
        watches
    });
    let replaced = owners.values().map(|(cluster, _)| cluster.closing()).collect();
    let source = ListenSource {
        filter: honoured,
        owners: owners.into_values().collect(),
        // Subscribed before the acknowledgement is written, so that no change after it is missed.
        changes: context.gateway.views.changes.subscribe(),
        replaced,
        permit,
    };
    Ok(Listen::start(context, frame, source))
}

/// What a listen follows.
pub(crate) struct ListenSource {
    /// What of the client's wishes is honoured.
    pub(crate) filter: Filter,
    /// Backends to be watched, each with its resources.
    pub(crate) owners: Vec<(Arc<Cluster>, Vec<Box<str>>)>,
    /// List changes.
    pub(crate) changes: broadcast::Receiver<Change>,
    /// Cancelled when a backend that is followed is no longer configured; the client is to listen anew.
    pub(crate) replaced: Vec<CancellationToken>,
    pub(crate) permit: OwnedSemaphorePermit,
}

/// Resources whose backend has not said yet whether it watches them.
struct Unconfirmed {
    uris: Vec<Box<str>>,
    /// Those that it watches.
    confirmed: oneshot::Receiver<Filter>,
}

/// One open listen.
pub(crate) struct Listen {
    id: Bytes,
    principal: Principal,
    filter: Filter,
    unconfirmed: Vec<Unconfirmed>,
    confirm_until: Instant,
    acknowledged: bool,
    ended: bool,
    /// Notifications to be written.
    due: VecDeque<&'static str>,
    changes: broadcast::Receiver<Change>,
    updates: mpsc::Receiver<Frame>,
    /// Keeps the channel open when no backend is watched.
    _updates_in: mpsc::Sender<Frame>,
    draining: CancellationToken,
    replaced: Vec<CancellationToken>,
    _stop: DropGuard,
    _permit: OwnedSemaphorePermit,
}

impl Listen {
    /// Answers the listen request `frame` with its stream.
    pub(crate) fn start(context: &Context, frame: &Frame, source: ListenSource) -> Reply {
        let ListenSource { filter, owners, changes, replaced, permit } = source;
        let (updates_in, updates) = mpsc::channel(UPDATES);
        let stop = CancellationToken::new();
        let mut unconfirmed = Vec::new();
        for (cluster, uris) in owners {
            let (confirm, confirmed) = oneshot::channel();
            unconfirmed.push(Unconfirmed { uris: uris.clone(), confirmed });
            let limits = context.plan.backend_limits.clone();
            let principal = context.principal.clone();
            let watch = Watch { cluster, principal, uris, limits, updates: updates_in.clone() };
            tasks::spawn("listen", watch.run(confirm, stop.clone()));
        }
        let source = Self {
            id: Bytes::copy_from_slice(frame.raw_id().unwrap_or(b"null")),
            principal: context.principal.clone(),
            filter,
            unconfirmed,
            confirm_until: Instant::now() + CONFIRM_WAIT,
            acknowledged: false,
            ended: false,
            due: VecDeque::new(),
            changes,
            updates,
            _updates_in: updates_in,
            draining: context.gateway.drain.token(),
            replaced,
            _stop: stop.drop_guard(),
            _permit: permit,
        };
        respond::events(source, context.plan.snapshot.limits.keep_alive)
    }

    async fn message(&mut self) -> Bytes {
        if !self.acknowledged {
            self.confirm().await;
            self.acknowledged = true;
            return acknowledged(&self.id, &self.filter);
        }
        loop {
            if let Some(message) = self.take_due() {
                return message;
            }
            tokio::select! {
                () = any(&self.replaced) => {
                    self.ended = true;
                    return finished(&self.id);
                }
                () = self.draining.cancelled() => {
                    self.ended = true;
                    return finished(&self.id);
                }
                () = access::expired(&self.principal) => {
                    self.ended = true;
                    return error_of(Some(&self.id), &Refusal::denied(Denial::TokenExpired));
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

    /// Waits until the backends watch, so that no update after the acknowledgement is missed, and drops from the filter
    /// what they refuse to watch.
    async fn confirm(&mut self) {
        for Unconfirmed { uris, confirmed } in std::mem::take(&mut self.unconfirmed) {
            if let Ok(Ok(watched)) = tokio::time::timeout_at(self.confirm_until, confirmed).await {
                let refused = uris.iter().filter(|uri| !watched.resource_subscriptions.contains(*uri));
                for uri in refused {
                    self.filter.resource_subscriptions.remove(uri);
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

/// Waits until one of `tokens` is cancelled.
async fn any(tokens: &[CancellationToken]) {
    let mut waits: Vec<_> = tokens.iter().map(|token| Box::pin(token.cancelled())).collect();
    std::future::poll_fn(|cx| {
        let is_cancelled = waits.iter_mut().any(|wait| wait.as_mut().poll(cx).is_ready());
        if is_cancelled { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

impl EventSource for Listen {
    async fn next(&mut self) -> Option<StreamEvent> {
        if self.ended {
            return None;
        }
        Some(StreamEvent::message(self.message().await))
    }
}
