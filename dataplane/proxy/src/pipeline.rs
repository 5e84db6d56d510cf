//! The stages of one request, in their order. Read this first.
//!
//! Changes when a stage is added. Each stage either passes the request on or answers it; nothing behind a stage repeats
//! its work. route → guard → access → media types → body → parse → detect generation → session or metadata → dispatch.
//! Frontends without HTTP join behind the parsing, in [`serve`].

pub(crate) mod batch;
mod carrier;
mod exposed;
mod headers;
pub(crate) mod legacy;
pub(crate) mod legacy_call;
mod legacy_stream;
mod modern;
pub(crate) mod modern_stream;
pub(crate) mod respond;

use std::sync::Arc;
use std::time::SystemTime;

use bridge_mcp::detect::{Detected, detect};
use bridge_mcp::envelope::Kind;
use bridge_mcp::error::{error_response, result_response};
use bridge_mcp::frame::{Body, Frame};
use bridge_policy::guard;
use bridge_policy::principal::Principal;
use bridge_policy::refusal::{Reason, Refusal};
use bridge_policy::route::{Route, Scope, route};
use bridge_snapshot::Listener;
use bridge_transport::frontend::body::ReplyBody;
use bridge_transport::frontend::request::{ReadError, accepts, is_json, read_body, text};
use bytes::Bytes;
use http::{Method, Request, Response};
use hyper::body::Incoming;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::{self, Credentials};
use crate::frontend::{enveloped, sse, websocket};
use crate::gateway::{Gateway, Plan};
use crate::listener::Underlying;

pub(crate) use carrier::Carrier;
pub(crate) use legacy::level_of;
pub(crate) use legacy_call::timed_out;
pub(crate) use modern::listen_permit;

pub(crate) type Reply = Response<ReplyBody>;

/// What every stage may need of one request.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) gateway: Arc<Gateway>,
    /// The plan that was current when the request came; it serves the whole request.
    pub(crate) plan: Arc<Plan>,
    pub(crate) scope: Scope,
    pub(crate) principal: Principal,
    /// Cancelled when the gateway cannot wait for this request any longer.
    pub(crate) ending: CancellationToken,
    /// Counts what the client's connection waits for before it is left, where it has one of its own.
    pub(crate) awaited: Option<TaskTracker>,
}

impl Context {
    /// Waits for a step of a call to `backend`, unless the gateway has to end before.
    pub(crate) async fn or_end<T>(&self, backend: &str, step: impl Future<Output = T>) -> Result<T, Refusal> {
        tokio::select! {
            biased;
            done = step => Ok(done),
            () = self.ending.cancelled() => Err(stopped(backend)),
        }
    }
}

/// The refusal of a call that the gateway could not wait for.
fn stopped(backend: &str) -> Refusal {
    let text = "the gateway had to stop before it answered; the request may have been executed";
    Refusal::backend(Reason::BackendLost, backend, text)
}

/// Answers one request. `ending` is cancelled when it cannot be waited for any longer.
pub(crate) async fn handle(
    gateway: &Arc<Gateway>,
    listener: &Listener,
    below: &Underlying,
    ending: CancellationToken,
    request: Request<Incoming>,
) -> Reply {
    let plan = gateway.plan.load_full();
    let upgrade = websocket::Upgrade::wanted(listener, &request);
    let sse = sse::Addressed::of(listener, request.uri().path()).filter(|_| upgrade.is_none());
    let route = route(request.uri().path());
    let is_enveloped = route == Route::Enveloped && upgrade.is_none();
    let scope = match route {
        Route::Health => {
            return respond::health(gateway.health.respond(request.uri().path(), SystemTime::now()));
        }
        Route::Mcp(scope) if upgrade.is_some() || listener.serves_http() => match &gateway.front {
            Some(front) if scope == Scope::Merged => front.clone(),
            _ => scope,
        },
        Route::Enveloped if listener.serves_http() => Scope::Merged,
        Route::Enveloped | Route::Unknown if upgrade.is_some() => Scope::Merged,
        Route::Unknown if let Some(sse) = &sse => sse.scope(),
        Route::Mcp(_) | Route::Enveloped | Route::Unknown => {
            let text = "no such endpoint; MCP is served on /mcp and /mcp/{namespace}";
            return refuse(gateway, &Refusal::new(Reason::UnknownPath, text));
        }
    };
    let headers = request.headers();
    if let Err(reason) = guard::check(listener, text(headers, "origin"), host(&request)) {
        return refuse(gateway, &Refusal::new(reason, "this Host or Origin is not allowed here"));
    }
    let principal = match access::authenticate(gateway, &plan, Credentials::from_headers(headers)) {
        Ok(principal) => principal,
        Err(refusal) => return refuse(gateway, &refusal),
    };
    if let Scope::One(namespace) = &scope
        && plan.cluster(namespace).is_none()
    {
        return refuse(
            gateway,
            &Refusal::new(Reason::UnknownPath, format!("no backend has namespace `{namespace}`")),
        );
    }
    let context = Context { gateway: Arc::clone(gateway), plan, scope, principal, ending, awaited: None };
    if let Some(upgrade) = upgrade {
        return upgrade.accept(context, below, request);
    }
    if is_enveloped {
        return Box::pin(enveloped::serve(context, below.stop(), request)).await;
    }
    if let Some(sse) = sse {
        return Box::pin(sse.serve(context, below.stop(), request)).await;
    }
    match *request.method() {
        Method::POST => post(&context, request).await,
        Method::GET => Box::pin(legacy_stream::get(&context, request.headers())).await,
        Method::DELETE => legacy::delete(&context, request.headers()),
        _ => {
            respond::with_allow(refuse(gateway, &Refusal::new(Reason::HttpMethod, "use POST, GET or DELETE")))
        }
    }
}

async fn post(context: &Context, request: Request<Incoming>) -> Reply {
    let gateway = &context.gateway;
    let (parts, body) = request.into_parts();
    if !is_json(&parts.headers) {
        return refuse(gateway, &Refusal::new(Reason::MediaType, "Content-Type must be application/json"));
    }
    let accepted = accepts(&parts.headers);
    if !accepted.json || !accepted.events {
        let text = "Accept must list application/json and text/event-stream";
        return refuse(gateway, &Refusal::new(Reason::NotAcceptable, text));
    }
    let bytes = match read(context, body).await {
        Ok(bytes) => bytes,
        Err(refusal) => return refuse(gateway, &refusal),
    };
    match Body::parse(bytes, &context.plan.client_limits) {
        Ok(Body::Single(frame)) => serve(context, Carrier::Http(&parts.headers), &frame).await,
        Ok(Body::Batch(messages)) => Box::pin(batch::handle(context, &parts.headers, messages)).await,
        Err(error) => {
            gateway.metrics.refused(Reason::BadMessage);
            respond::json(400, error.response())
        }
    }
}

/// Reads a request's body within its bounds.
pub(crate) async fn read(context: &Context, body: Incoming) -> Result<Bytes, Refusal> {
    let limits = &context.plan.snapshot.limits;
    read_body(body, limits.max_http_body, limits.read_timeout).await.map_err(|error| {
        let reason = match error {
            ReadError::TooLarge(_) => Reason::BodyTooLarge,
            ReadError::TooSlow(_) => Reason::BodyTimeout,
            ReadError::Aborted => Reason::BodyAborted,
        };
        Refusal::new(reason, error.to_string())
    })
}

/// Answers one message, whatever carried it.
pub(crate) async fn serve(context: &Context, carrier: Carrier<'_>, frame: &Frame) -> Reply {
    let method = frame.method();
    let timer = context.gateway.metrics.start(method);
    let reply = dispatch(context, carrier, frame).await;
    tracing::debug!(method = method.as_str(), scope = %context.scope, status = reply.status().as_u16(), "answered");
    timer.finish(&reply);
    reply
}

async fn dispatch(context: &Context, carrier: Carrier<'_>, frame: &Frame) -> Reply {
    // Answers and notifications still reach the calls that wait for them, and so do requests that continue a call.
    let gateway = &context.gateway;
    if gateway.drain.has_started() && frame.kind() == Kind::Request && !gateway.parked.is_continued_by(frame)
    {
        return refuse_request(context, frame.raw_id(), &shutting_down());
    }
    match detect(frame, carrier.beside(context)) {
        Detected::Modern => modern::handle(context, carrier.headers(), frame).await,
        // What is rare is boxed: the future of a request is moved several times and should be small.
        Detected::LegacyOpening => Box::pin(legacy::open(context, carrier, frame)).await,
        Detected::LegacySession => legacy::handle(context, carrier, frame).await,
        Detected::LegacyPing => respond::json(200, result_response(frame.raw_id().unwrap_or(b"null"), b"{}")),
        Detected::Refused { code, message } => {
            context.gateway.metrics.refused(Reason::BadMessage);
            respond::json(400, error_response(frame.raw_id(), code, &message, None))
        }
    }
}

pub(crate) fn shutting_down() -> Refusal {
    let text = "the gateway is shutting down; nothing was executed, send the request again";
    Refusal::new(Reason::ShuttingDown, text)
}

/// `Host`, or the authority of an HTTP/2 request.
fn host(request: &Request<Incoming>) -> Option<&str> {
    text(request.headers(), "host").or_else(|| request.uri().authority().map(http::uri::Authority::as_str))
}

/// A refusal before the request's id is known.
pub(crate) fn refuse(gateway: &Gateway, refusal: &Refusal) -> Reply {
    gateway.metrics.refused(refusal.reason);
    respond::refusal(None, refusal)
}

/// A refusal of one request.
fn refuse_request(context: &Context, id: Option<&[u8]>, refusal: &Refusal) -> Reply {
    context.gateway.metrics.refused(refusal.reason);
    tracing::debug!(
        reason = refusal.reason.as_str(),
        backend = refusal.backend.as_deref(),
        "request refused"
    );
    respond::refusal(id, refusal)
}

/// Encodes a refusal as the answer to a request.
pub(crate) fn error_of(id: Option<&[u8]>, refusal: &Refusal) -> Bytes {
    error_response(id, refusal.reason.code(), &refusal.detail, Some(&refusal.data()))
}
