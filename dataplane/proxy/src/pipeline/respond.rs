//! HTTP answers. The one place that turns outcomes into statuses and headers. Changes when answers look different.

use std::time::Duration;

use bridge_policy::denial::Denial;
use bridge_policy::refusal::{Reason, Refusal};
use bridge_runtime::health::HealthReply;
use bridge_transport::frontend::body::ReplyBody;
use bridge_transport::frontend::events::EventSource;
use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{Response, StatusCode};

use super::{Reply, error_of};
use crate::observe::Failed;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");
const REALM: &str = r#"Bearer realm="mcp-gateway""#;
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// A JSON body.
pub(crate) fn json(status: u16, body: Bytes) -> Reply {
    with(status, JSON, ReplyBody::whole(body))
}

/// A JSON-RPC error of the gateway's own.
pub(crate) fn error(status: u16, body: Bytes) -> Reply {
    let mut response = json(status, body);
    response.extensions_mut().insert(Failed);
    response
}

/// A JSON body that is forwarded as it comes.
pub(crate) fn forward(body: ReplyBody) -> Reply {
    with(200, JSON, body)
}

/// A message was taken that has no answer.
pub(crate) fn accepted() -> Reply {
    empty(StatusCode::ACCEPTED)
}

/// No body.
pub(crate) fn empty(status: StatusCode) -> Reply {
    let mut response = Response::new(ReplyBody::empty());
    *response.status_mut() = status;
    response
}

/// An event stream. Proxies in between must not buffer it.
pub(crate) fn events<S: EventSource + 'static>(source: S, keep_alive: Duration) -> Reply {
    let mut response = with(200, EVENTS, ReplyBody::events(source, keep_alive));
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
    response
}

/// A refusal.
pub(crate) fn refusal(id: Option<&[u8]>, refusal: &Refusal) -> Reply {
    let mut response = error(refusal.reason.status(), error_of(id, refusal));
    let challenge = match refusal.reason {
        Reason::Unauthorized => Some(challenge(refusal.denial)),
        Reason::InsufficientScope => Some(step_up(refusal.scope.as_deref().unwrap_or_default())),
        _ => None,
    };
    if let Some(challenge) = challenge {
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    if let Some(wait) = refusal.reason.retry_after() {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait.as_secs()));
    }
    response
}

/// RFC 6750, 3.1: all scopes that the request needs, so that one further token is enough (MCP "Scope challenge handling").
fn step_up(scope: &str) -> HeaderValue {
    let text = format!(r#"{REALM}, error="insufficient_scope", scope="{scope}""#);
    HeaderValue::try_from(text).unwrap_or(const { HeaderValue::from_static(REALM) })
}

/// RFC 6750, 3: the error only when a token was presented.
fn challenge(denial: Option<Denial>) -> HeaderValue {
    let blamed = denial.filter(|denial| denial.blames_token());
    let challenge = blamed
        .map(|denial| format!(r#"{REALM}, error="invalid_token", error_description="{}""#, denial.text()));
    challenge
        .and_then(|text| HeaderValue::try_from(text).ok())
        .unwrap_or(const { HeaderValue::from_static(REALM) })
}

/// Names the methods of the MCP endpoint.
pub(crate) fn with_allow(mut response: Reply) -> Reply {
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST, GET, DELETE"));
    response
}

/// Names the one method of the MCP endpoint for clients without a session.
pub(crate) fn with_post(mut response: Reply) -> Reply {
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
    response
}

/// Tells clients of 2026-07-28 that there is one method.
pub(crate) fn post_only() -> Reply {
    with_post(empty(StatusCode::METHOD_NOT_ALLOWED))
}

/// A health page.
pub(crate) fn health(reply: Option<HealthReply>) -> Reply {
    match reply {
        Some(reply) => {
            with(reply.status, HeaderValue::from_static(reply.content_type), ReplyBody::whole(reply.body))
        }
        None => empty(StatusCode::NOT_FOUND),
    }
}

fn with(status: u16, content_type: HeaderValue, body: ReplyBody) -> Reply {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}
