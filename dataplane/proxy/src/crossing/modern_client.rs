//! A request of a modern client to a server that speaks the legacy generation only. Changes when such requests are served
//! differently.
//!
//! Source: MCP 2026-07-28 "Versioning", "Multi round-trip requests"; what is translated how is
//! `bridge_mcp::translate::to_legacy`.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bridge_mcp::error::result_response;
use bridge_mcp::frame::Frame;
use bridge_mcp::method::Method;
use bridge_mcp::modern::supported;
use bridge_mcp::scan::{Kind as Json, kind_of};
use bridge_mcp::splice::Edits;
use bridge_mcp::translate::to_legacy::{self, Questions, UrlAnswer};
use bridge_policy::refusal::{Reason, Refusal};
use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::call::{Running, ToLegacyCall};
use super::listen;
use super::parked::{Bound, Claim, ParkedLimits, Taken};
use super::pool::{Key, Lease};
use crate::cluster::Cluster;
use crate::pipeline::modern_stream::Form;
use crate::pipeline::{Context, Reply, legacy, modern_stream, respond, timed_out};
use crate::upstream::{Answer, Messages, UpstreamError};

/// Longest `clientInfo` that is passed on, in bytes: it tells conversations apart, and clients choose it.
const MAX_INFO: usize = 4096;

/// Numbers under which requests travel: several clients may share a conversation, and use the same ids.
static NEXT: AtomicI64 = AtomicI64::new(1);

/// Answers a request. `permit` is its room at the backend.
pub(crate) async fn serve(
    context: &Context,
    cluster: &Arc<Cluster>,
    frame: &Frame,
    permit: OwnedSemaphorePermit,
) -> Result<Reply, Refusal> {
    context.gateway.metrics.lost(to_legacy::undeclared(declared(frame)));
    match frame.method() {
        Method::Discover => {
            let lease = lease(context, cluster, frame).await?;
            let result = to_legacy::discover_result(&lease.conversation.handshake.result, &supported());
            lease.give_back();
            Ok(respond::json(200, result_response(frame.raw_id().unwrap_or(b"null"), &result)))
        }
        Method::Listen => listen::open(context, cluster, frame, permit).await,
        Method::ToolsList
        | Method::PromptsList
        | Method::ResourcesList
        | Method::ResourceTemplatesList
        | Method::ToolsCall
        | Method::PromptsGet
        | Method::ResourcesRead
        | Method::Complete => call(context, cluster, frame, permit).await,
        _ => Ok(respond::error(404, legacy::method_not_found(frame))),
    }
}

async fn call(
    context: &Context,
    cluster: &Arc<Cluster>,
    frame: &Frame,
    permit: OwnedSemaphorePermit,
) -> Result<Reply, Refusal> {
    let claim = Claim {
        principal: context.principal.clone(),
        backend: Arc::clone(&cluster.name),
        request: to_legacy::digest(frame),
    };
    let begun = match state_of(frame) {
        None => begin(context, cluster, frame, claim).await?,
        Some(state) => match context.gateway.parked.take(&state, &claim)? {
            Taken::Call(mut call) => {
                let resumed = call.resume(frame, level_of(frame), context.awaited.clone());
                context.or_end(&cluster.name, resumed).await??;
                Begun::Messages(call)
            }
            Taken::Again { urls } => match to_legacy::urls_answered(frame, urls) {
                UrlAnswer::Declined => {
                    return Ok(respond::json(200, to_legacy::urls_declined(frame)));
                }
                // The server knows what still has to be visited, and says so again.
                UrlAnswer::Accepted | UrlAnswer::Missing => begin(context, cluster, frame, claim).await?,
            },
        },
    };
    match begun {
        Begun::Whole(bytes) => Ok(respond::json(modern_stream::status_of(&bytes, context), bytes)),
        Begun::Messages(call) => {
            let stream = modern_stream::Stream {
                backend: Arc::clone(cluster),
                request: frame.clone(),
                messages: Messages::ToLegacy(call),
                timeout: Some(cluster.config.request_timeout),
                held: permit,
            };
            // Over HTTP legacy servers answer with a stream, mostly; the client gets the same form.
            let form = if cluster.is_http() { Form::StreamOrStatus } else { Form::Short };
            Box::pin(modern_stream::answer(context, stream, form)).await
        }
    }
}

/// How the server answered at first.
enum Begun {
    Whole(Bytes),
    Messages(Box<ToLegacyCall>),
}

/// Sends the request, a second time when its conversation was lost and it was not executed.
async fn begin(
    context: &Context,
    cluster: &Arc<Cluster>,
    frame: &Frame,
    claim: Claim,
) -> Result<Begun, Refusal> {
    let timeout = cluster.config.request_timeout;
    let limits = &context.plan.snapshot.limits;
    let first = lease(context, cluster, frame).await?;
    // Made before anything is sent: dropping it cancels the call, whenever the client leaves.
    let mut running = Box::new(Running {
        gateway: Arc::clone(&context.gateway),
        limits: ParkedLimits {
            ttl: limits.parked_ttl,
            all: Bound { calls: limits.max_parked, bytes: limits.max_parked_bytes },
            of_one: Bound {
                calls: limits.max_parked_per_principal,
                bytes: limits.max_parked_bytes_per_principal,
            },
        },
        backend_limits: context.plan.backend_limits.clone(),
        claim,
        awaited: context.awaited.clone(),
        request: frame.clone(),
        level: level_of(frame),
        sent: numbered(context, frame)?,
        messages: None,
        questions: Questions::new(frame, first.conversation.handshake.version),
        lease: Some(first),
        gathering: None,
        answered: None,
    });
    let mut again = true;
    let answer = loop {
        match context.or_end(&cluster.name, tokio::time::timeout(timeout, running.send())).await? {
            Ok(Ok(answer)) => break answer,
            Ok(Err(UpstreamError::SessionLost)) if again => {
                again = false;
                running.lease = Some(lease(context, cluster, frame).await?);
            }
            Ok(Err(error)) => return Err(error.into_refusal(&cluster.name)),
            Err(_) => return Err(timed_out(timeout, cluster)),
        }
    };
    Ok(match answer {
        Answer::Whole { bytes, .. } => Begun::Whole(running.finish(&bytes)?),
        Answer::Forward(rest) => {
            let collected =
                tokio::time::timeout(timeout, rest.collect(context.plan.backend_limits.max_bytes));
            let bytes = context
                .or_end(&cluster.name, collected)
                .await?
                .map_err(|_| timed_out(timeout, cluster))?
                .map_err(|error| Refusal::backend(Reason::BackendLost, &cluster.name, error))?;
            Begun::Whole(running.finish(&bytes)?)
        }
        Answer::Stream(messages) => {
            running.messages = Some(messages);
            Begun::Messages(Box::new(ToLegacyCall::new(running)))
        }
    })
}

async fn lease(context: &Context, cluster: &Arc<Cluster>, frame: &Frame) -> Result<Lease, Refusal> {
    let capabilities = to_legacy::capabilities(declared(frame));
    let info = frame.envelope().params.as_ref().and_then(|params| frame.raw(params.meta.client_info));
    let info = info.filter(|info| info.len() <= MAX_INFO && kind_of(info) == Some(Json::Object));
    let key = Key {
        principal: context.principal.clone(),
        capabilities,
        client_info: Bytes::copy_from_slice(info.unwrap_or(br#"{"name":"unnamed","version":"0"}"#)),
    };
    context.or_end(&cluster.name, Lease::take(cluster, key, level_of(frame).is_some())).await?
}

/// The client's raw capabilities, as the request declares them.
fn declared(frame: &Frame) -> &[u8] {
    let params = frame.envelope().params.as_ref();
    params.and_then(|params| frame.raw(params.meta.client_capabilities)).unwrap_or(b"{}")
}

/// The request as the server reads it, under a number that nobody else uses for id and progress token.
fn numbered(context: &Context, frame: &Frame) -> Result<Frame, Refusal> {
    // The text was bounded where it came in; a connection of the client's own admits more than a request of HTTP.
    let limits = &context.plan.connection_limits;
    let read = |bytes| {
        Frame::parse(bytes, limits).map_err(|error| Refusal::new(Reason::BadMessage, error.to_string()))
    };
    let lowered = read(to_legacy::request(frame))?;
    let number = Bytes::from(NEXT.fetch_add(1, Ordering::Relaxed).to_string());
    let mut edits = Edits::new();
    if let Some(id) = lowered.envelope().id {
        edits.replace(id, number.clone());
    }
    if let Some(token) = lowered.progress_token() {
        edits.replace(token, number);
    }
    read(lowered.edited(edits))
}

fn state_of(frame: &Frame) -> Option<String> {
    let span = frame.envelope().params.as_ref()?.members.request_state?;
    // Not a string: none that we gave out.
    Some(frame.text(Some(span)).unwrap_or_default().into_owned())
}

fn level_of(frame: &Frame) -> Option<Box<str>> {
    let span = frame.envelope().params.as_ref()?.meta.log_level?;
    frame.text(Some(span)).map(|level| level.as_ref().into())
}
