//! The endpoint that serves all backends as one server: merged lists, mapped names, routed calls.
//!
//! Changes when the merged endpoint can do more. What it lists and where it routes is a [`View`], rebuilt whenever a
//! backend's catalogue changes; requests only read it.

mod complete;
mod hello;
mod keep;
mod listen;
mod route;
mod view;
mod watch;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge_mcp::error::{code, error_response, result_response};
use bridge_mcp::frame::Frame;
use bridge_mcp::merge::ListKind;
use bridge_mcp::method::Method;
use bridge_mcp::version::Era;
use bridge_policy::refusal::Refusal;
use bytes::{Bytes, BytesMut};
use tokio::task::JoinSet;

use crate::pipeline::{Context, Reply, legacy, legacy_call, respond};
use crate::session::{Conversation, Session};

pub(crate) use complete::{Reference, nothing as no_completion, route as route_completion};
pub(crate) use hello::{discover_result, initialize_result};
pub(crate) use keep::{announce_exposure, keep_views};
pub(crate) use listen::{Listen, ListenSource, MAX_ENTRIES, listen};
pub(crate) use route::route;
pub(crate) use view::{Change, View, Views};

/// Answers a request of a session on the merged endpoint.
pub(crate) async fn legacy_request(
    context: &Context,
    session: &Arc<Session>,
    frame: &Frame,
) -> Result<Reply, Refusal> {
    if let Some(kind) = ListKind::of_method(frame.method()) {
        return Ok(respond::json(200, Box::pin(list(context, Era::Legacy, kind, frame)).await));
    }
    match frame.method() {
        Method::SetLevel if legacy::level_of(frame).is_none() => {
            let text =
                "`params.level` must be debug, info, notice, warning, error, critical, alert or emergency";
            Ok(respond::error(200, error_response(frame.raw_id(), code::INVALID_PARAMS, text, None)))
        }
        Method::SetLevel => {
            Box::pin(set_level(session, frame)).await;
            Ok(respond::json(200, result_response(frame.raw_id().unwrap_or(b"null"), b"{}")))
        }
        Method::Complete => match Box::pin(route_completion(context, Era::Legacy, frame)).await? {
            Some(routed) => {
                Box::pin(legacy_call::forward(context, session, &routed.cluster, &routed.frame)).await
            }
            None => Ok(respond::json(200, no_completion(frame, Era::Legacy))),
        },
        Method::ToolsCall
        | Method::PromptsGet
        | Method::ResourcesRead
        | Method::ResourcesSubscribe
        | Method::ResourcesUnsubscribe => {
            let routed = route(context, Era::Legacy, frame).await?;
            legacy_call::forward(context, session, &routed.cluster, &routed.frame).await
        }
        _ => Ok(respond::error(200, legacy::method_not_found(frame))),
    }
}

/// How long a client waits for its backends to take its log level.
const LEVEL_WAIT: Duration = Duration::from_secs(2);

/// Passes a log level on to the backends that this session talks to, all at once. The session keeps it for those to come.
async fn set_level(session: &Arc<Session>, frame: &Frame) {
    let mut asked = JoinSet::new();
    for Conversation { link, origin } in session.conversations() {
        let frame = frame.clone();
        asked.spawn(async move {
            let answer = tokio::time::timeout(LEVEL_WAIT, link.ask(&frame, http::HeaderMap::new())).await;
            if !matches!(answer, Ok(Ok(_))) {
                tracing::debug!(backend = %origin.backend, "log level not taken");
            }
        });
    }
    asked.join_all().await;
}

/// Answers a list request.
pub(crate) async fn list(context: &Context, era: Era, kind: ListKind, frame: &Frame) -> Bytes {
    let view = settled_view(context, era).await;
    for cluster in &context.plan.clusters {
        cluster.refresh_if_stale(era, Instant::now());
    }
    let id = frame.raw_id().unwrap_or(b"null");
    let params = frame.envelope().params.as_ref();
    let cursor = match params.and_then(|params| params.members.cursor) {
        None => None,
        Some(span) => match frame.text(Some(span)) {
            Some(cursor) => Some(cursor),
            None => return error_response(Some(id), code::INVALID_PARAMS, "`cursor` must be a string", None),
        },
    };
    let mut result = BytesMut::new();
    match view.write_list(kind, cursor.as_deref(), &context.gateway.views, &mut result) {
        Ok(()) => result_response(id, &result),
        Err(error) => error_response(Some(id), code::INVALID_PARAMS, &error.to_string(), None),
    }
}

/// The view, after a wait for backends that were never read. Each is waited for until `catalogue_wait` after its start
/// and no longer, so that one that hangs delays nobody but the first clients. Later backends are announced by
/// `list_changed`.
pub(crate) async fn settled_view(context: &Context, era: Era) -> Arc<View> {
    let view = context.gateway.views.get(era);
    if view.is_settled() { view } else { Box::pin(settle(context, era)).await }
}

async fn settle(context: &Context, era: Era) -> Arc<View> {
    let wait = context.plan.snapshot.limits.catalogue_wait;
    for cluster in &context.plan.clusters {
        // Whoever is not there by then is left out for now.
        drop(tokio::time::timeout_at(cluster.started() + wait, cluster.settled(era)).await);
    }
    // Not the plan of this request: a newer one may have been loaded meanwhile.
    let views = &context.gateway.views;
    views.rebuild(&context.gateway.plan);
    views.get(era)
}
