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

use std::sync::Arc;
use std::time::Instant;

use bridge_mcp::error::{code, error_response, result_response};
use bridge_mcp::frame::Frame;
use bridge_mcp::merge::ListKind;
use bridge_mcp::method::Method;
use bridge_mcp::version::Era;
use bridge_policy::refusal::Refusal;
use bytes::{Bytes, BytesMut};

use crate::pipeline::{Context, Reply, legacy, respond};
use crate::session::Session;

pub(crate) use complete::{nothing as no_completion, route as route_completion};
pub(crate) use hello::{discover_result, initialize_result};
pub(crate) use keep::keep_views;
pub(crate) use listen::listen;
pub(crate) use route::route;
pub(crate) use view::{Change, View, Views};

/// Answers a request of a session on the merged endpoint.
pub(crate) async fn legacy_request(
    context: &Context,
    session: &Arc<Session>,
    frame: &Frame,
) -> Result<Reply, Refusal> {
    if let Some(kind) = ListKind::of_method(frame.method()) {
        return Ok(respond::json(200, list(context, Era::Legacy, kind, frame).await));
    }
    match frame.method() {
        Method::SetLevel => {
            set_level(session, frame).await;
            Ok(respond::json(200, result_response(frame.raw_id().unwrap_or(b"null"), b"{}")))
        }
        Method::Complete => match route_completion(context, Era::Legacy, frame).await? {
            Some(routed) => legacy::forward(context, session, &routed.cluster, &routed.frame).await,
            None => Ok(respond::json(200, no_completion(frame, Era::Legacy))),
        },
        Method::ToolsCall
        | Method::PromptsGet
        | Method::ResourcesRead
        | Method::ResourcesSubscribe
        | Method::ResourcesUnsubscribe => {
            let routed = route(context, Era::Legacy, frame).await?;
            legacy::forward(context, session, &routed.cluster, &routed.frame).await
        }
        _ => Ok(respond::json(200, legacy::method_not_found(frame))),
    }
}

/// Passes a log level on to the backends that this session talks to. The session keeps it for those to come.
async fn set_level(session: &Arc<Session>, frame: &Frame) {
    for (backend, link) in session.open_links() {
        if let Err(error) = link.ask(frame, http::HeaderMap::new()).await {
            tracing::debug!(%backend, ?error, "log level not set");
        }
    }
}

/// Answers a list request.
pub(crate) async fn list(context: &Context, era: Era, kind: ListKind, frame: &Frame) -> Bytes {
    let view = settled_view(context, era).await;
    for cluster in &context.plan.clusters {
        cluster.catalogue(era).refresh_if_stale(Instant::now());
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

/// The view, after a bounded wait for backends that were never read. Later backends are announced by `list_changed`.
pub(crate) async fn settled_view(context: &Context, era: Era) -> Arc<View> {
    let views = &context.gateway.views;
    if !views.get(era).is_settled() {
        let wait = context.plan.snapshot.limits.catalogue_wait;
        let settled = async {
            for cluster in &context.plan.clusters {
                cluster.catalogue(era).settled().await;
            }
        };
        // Whoever is not there by then is left out for now.
        drop(tokio::time::timeout(wait, settled).await);
        views.rebuild(&context.plan);
    }
    views.get(era)
}
