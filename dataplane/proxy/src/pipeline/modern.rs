//! Requests that describe themselves (2026-07-28). Changes when that revision is served differently.

use std::sync::Arc;

use bridge_mcp::envelope::Kind;
use bridge_mcp::error::{code, error_response, result_response};
use bridge_mcp::frame::Frame;
use bridge_mcp::merge::ListKind;
use bridge_mcp::method::Method;
use bridge_mcp::modern::{self, Violation};
use bridge_mcp::param_headers::ParamHeaders;
use bridge_mcp::version::Era;
use bridge_policy::refusal::{Reason, Refusal};
use bridge_transport::frontend::body::ReplyBody;
use bytes::Bytes;
use http::HeaderMap;
use tokio::sync::OwnedSemaphorePermit;

use super::legacy_call::timed_out;
use super::{Context, Reply, exposed, headers as mirrored, legacy, modern_stream, refuse_request, respond};
use crate::cluster::{Cluster, Lists};
use crate::upstream::{Answer, Link, OnLeave, UpstreamError, mirror};
use crate::{crossing, merged};

/// Answers one message.
pub(super) async fn handle(context: &Context, headers: Option<&HeaderMap>, frame: &Frame) -> Reply {
    match frame.kind() {
        Kind::Request => {}
        // HTTP cancels by closing the stream, and nothing else is told this way.
        Kind::Notification => return respond::accepted(),
        Kind::Result | Kind::Error => {
            let text = "clients of 2026-07-28 send no responses; repeat the request with `inputResponses`";
            return respond::json(400, error_response(frame.raw_id(), code::INVALID_REQUEST, text, None));
        }
    }
    if let Err(violation) = modern::check(frame, headers.map(mirrored::of)) {
        return refuse(context, frame, &violation);
    }
    let id = Bytes::copy_from_slice(frame.raw_id().unwrap_or(b"null"));
    let outcome = match context.only_cluster() {
        Some(cluster) => forward(context, cluster, frame, headers).await,
        None => merged(context, headers, frame, &id).await,
    };
    outcome.unwrap_or_else(|refusal| refuse_request(context, Some(&id), &refusal))
}

fn refuse(context: &Context, frame: &Frame, violation: &Violation) -> Reply {
    context.gateway.metrics.refused(Reason::BadMessage);
    let body = error_response(frame.raw_id(), violation.code, &violation.message, violation.data.as_ref());
    respond::json(violation.status, body)
}

async fn merged(
    context: &Context,
    headers: Option<&HeaderMap>,
    frame: &Frame,
    id: &[u8],
) -> Result<Reply, Refusal> {
    if let Some(kind) = ListKind::of_method(frame.method()) {
        return Ok(respond::json(200, Box::pin(merged::list(context, Era::Modern, kind, frame)).await));
    }
    match frame.method() {
        Method::Discover => {
            Ok(respond::json(200, result_response(id, &Box::pin(merged::discover_result(context)).await)))
        }
        Method::Listen => Box::pin(merged::listen(context, frame)).await,
        Method::Complete => match Box::pin(merged::route_completion(context, Era::Modern, frame)).await? {
            Some(routed) => Box::pin(forward(context, &routed.cluster, &routed.frame, headers)).await,
            None => Ok(respond::json(200, merged::no_completion(frame, Era::Modern))),
        },
        Method::ToolsCall | Method::PromptsGet | Method::ResourcesRead => {
            let routed = merged::route(context, Era::Modern, frame).await?;
            forward(context, &routed.cluster, &routed.frame, headers).await
        }
        _ => Ok(respond::error(404, legacy::method_not_found(frame))),
    }
}

/// Sends a request to one backend, if its client may make it, and answers with what comes back, as far as it is shown.
async fn forward(
    context: &Context,
    cluster: &Arc<Cluster>,
    frame: &Frame,
    headers: Option<&HeaderMap>,
) -> Result<Reply, Refusal> {
    let frame = &*exposed::admit(context, cluster, Era::Modern, frame)?;
    let reply = send(context, cluster, frame, headers).await?;
    match exposed::cuts(cluster, frame) {
        None => Ok(reply),
        Some(kind) => Box::pin(exposed::cut_reply(context, cluster, kind, reply)).await,
    }
}

async fn send(
    context: &Context,
    cluster: &Arc<Cluster>,
    frame: &Frame,
    headers: Option<&HeaderMap>,
) -> Result<Reply, Refusal> {
    // A listen stays open for as long as its client likes, so it takes no room from calls.
    let permit = if frame.method() == Method::Listen { listen_permit(context)? } else { cluster.permit()? };
    let timeout = cluster.config.request_timeout;
    if context.gateway.parked.holds(frame) {
        return Box::pin(crossing::serve(context, cluster, frame, permit)).await;
    }
    let mut again = true;
    let (link, answer) = loop {
        let link = match context.or_end(&cluster.name, cluster.modern_link()).await? {
            Ok((link, _)) => link,
            Err(refusal) if refusal.reason == Reason::EraMismatch => {
                return Box::pin(crossing::serve(context, cluster, frame, permit)).await;
            }
            Err(refusal) => return Err(refusal),
        };
        let upstream_headers = match link.as_ref() {
            Link::Http(_) => {
                let mut upstream = mirror(frame);
                upstream.extend(match headers {
                    Some(headers) => mirrored::forwarded_params(headers),
                    None => written_params(context, cluster, frame)?,
                });
                upstream
            }
            // No header reaches this backend, so nobody behind the gateway could compare them.
            Link::Channel(_) | Link::ToModern(_) | Link::Shared(_) => {
                if let Err(violation) = check_params(context, cluster, frame, headers) {
                    return Ok(refuse(context, frame, &violation));
                }
                HeaderMap::new()
            }
        };
        let asker = Some(&context.principal);
        let sent = link.request_for(asker, frame, upstream_headers, OnLeave::Cancel);
        match context.or_end(&cluster.name, tokio::time::timeout(timeout, sent)).await? {
            Ok(Ok(answer)) => break (link, answer),
            // It was not executed, so another opening may take it, once.
            Ok(Err(UpstreamError::SessionLost)) if again => again = false,
            Ok(Err(error)) => return Err(error.into_refusal(&cluster.name)),
            Err(_) => return Err(timed_out(timeout, cluster)),
        }
    };
    match answer {
        // Only the statuses that mean something to a client pass: a 401 would send it to an authorization server.
        Answer::Whole { status: status @ (400 | 404), bytes } => Ok(respond::json(status, bytes)),
        Answer::Whole { bytes, .. } => Ok(respond::json(200, bytes)),
        Answer::Forward(body) => {
            let limit = context.plan.snapshot.limits.max_request_duration;
            Ok(respond::forward(ReplyBody::forwarded(body, limit, permit)))
        }
        Answer::Stream(messages) => {
            // The form that an HTTP backend chose is kept.
            let form = match link.as_ref() {
                Link::Http(_) => modern_stream::Form::Stream,
                Link::Channel(_) | Link::ToModern(_) | Link::Shared(_) => modern_stream::Form::Short,
            };
            let stream = modern_stream::Stream {
                backend: Arc::clone(cluster),
                request: frame.clone(),
                messages,
                timeout: (frame.method() != Method::Listen).then_some(timeout),
                held: permit,
            };
            Box::pin(modern_stream::answer(context, stream, form)).await
        }
    }
}

/// Checks the headers of a call whose backend sees none. Where no headers came, there is nothing to compare.
fn check_params(
    context: &Context,
    cluster: &Cluster,
    frame: &Frame,
    headers: Option<&HeaderMap>,
) -> Result<(), Violation> {
    let Some(headers) = headers else { return Ok(()) };
    let lists = cluster.catalogue(Era::Modern).lists();
    match params_of(lists.as_deref(), frame) {
        Some(known) => mirrored::check_params(known, frame, headers, &context.plan.client_limits),
        None => Ok(()),
    }
}

/// The headers that repeat a call's arguments, for a backend that compares them and a client that has none.
fn written_params(context: &Context, cluster: &Cluster, frame: &Frame) -> Result<HeaderMap, Refusal> {
    let lists = cluster.catalogue(Era::Modern).lists();
    match params_of(lists.as_deref(), frame) {
        Some(known) => mirrored::written_params(known, frame, &context.plan.backend_limits)
            .map_err(|error| Refusal::new(Reason::BadMessage, error.to_string())),
        None => Ok(HeaderMap::new()),
    }
}

/// The annotated parameters of the tool that a request calls, as far as they are known.
fn params_of<'a>(lists: Option<&'a Lists>, frame: &Frame) -> Option<&'a ParamHeaders> {
    if frame.method() != Method::ToolsCall {
        return None;
    }
    lists?.params.get(frame.target()?.as_ref())
}

/// HTTP status of an answer whose backend has no statuses.
pub(crate) fn status_of(answer: &Bytes, context: &Context) -> u16 {
    let Ok(frame) = Frame::parse(answer.clone(), &context.plan.backend_limits) else { return 200 };
    if frame.kind() != Kind::Error {
        return 200;
    }
    match crate::upstream::error_code(&frame) {
        Some(code::METHOD_NOT_FOUND) => 404,
        Some(code::HEADER_MISMATCH | code::MISSING_CAPABILITY | code::UNSUPPORTED_VERSION) => 400,
        _ => 200,
    }
}

/// Room for one more listen.
pub(crate) fn listen_permit(context: &Context) -> Result<OwnedSemaphorePermit, Refusal> {
    Arc::clone(&context.gateway.listens).try_acquire_owned().map_err(|_| {
        let max = context.plan.snapshot.limits.max_listens;
        Refusal::new(Reason::Exhausted, format!("{max} listens are open, the limit; try again later"))
    })
}
