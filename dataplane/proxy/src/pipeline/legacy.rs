//! Requests of clients that opened a session. Changes when the rules of 2024-11-05 to 2025-11-25 are served differently.

use std::sync::Arc;
use std::time::Instant;

use bridge_mcp::envelope::Kind;
use bridge_mcp::error::{code, error_response, result_response};
use bridge_mcp::frame::Frame;
use bridge_mcp::id::Id;
use bridge_mcp::method::Method;
use bridge_mcp::scan::{Kind as Json, kind_of};
use bridge_mcp::version::{Era, Version};
use bridge_policy::refusal::{Reason, Refusal};
use bridge_policy::route::Scope;
use bridge_runtime::tasks;
use bridge_transport::frontend::request::text;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};

use super::{Carrier, Context, Reply, exposed, legacy_call, refuse, refuse_request, respond};
use crate::cluster::Cluster;
use crate::merged;
use crate::session::{OwnSessions, Session, SessionId};
use crate::upstream::{Hello, SESSION_ID, UpstreamError, with_member};

/// Answers `initialize` and opens a session.
pub(super) async fn open(context: &Context, carrier: Carrier<'_>, frame: &Frame) -> Reply {
    let id = frame.raw_id().unwrap_or(b"null");
    let hello = match hello(frame) {
        Ok(hello) => hello,
        Err(message) => {
            return respond::json(400, error_response(Some(id), code::INVALID_PARAMS, message, None));
        }
    };
    let (session, result) = match establish(context, carrier, hello).await {
        Ok(opened) => opened,
        Err(refusal) => return refuse_request(context, Some(id), &refusal),
    };
    let mut reply = respond::json(200, result_response(id, &result));
    match carrier {
        Carrier::Http(_) => {
            if let Ok(value) = HeaderValue::from_str(session.id.as_str()) {
                reply.headers_mut().insert(SESSION_ID, value);
            }
        }
        Carrier::Connection(sessions) => sessions.hold(session, &context.gateway.sessions),
    }
    reply
}

/// Opens a session, and gives what its client learns.
async fn establish(
    context: &Context,
    carrier: Carrier<'_>,
    hello: Hello,
) -> Result<(Arc<Session>, Bytes), Refusal> {
    let version = hello.version;
    // Before a process is started for it.
    if context.gateway.sessions.len() >= max_sessions(context) {
        return Err(too_many_sessions(context));
    }
    let session = fresh(context, carrier, hello)?;
    let result = match context.only_cluster() {
        Some(cluster) => match session.converse(cluster).await.map_err(no_room)? {
            (_, Some(handshake)) => with_member(&handshake.result, "protocolVersion", version.as_str()),
            (_, None) => {
                let text = "it said nothing of itself";
                return Err(Refusal::backend(Reason::BackendProtocol, &cluster.name, text));
            }
        },
        None => merged::initialize_result(context, version).await,
    };
    enter(context, &session)?;
    Ok((session, result))
}

/// Opens a session on a connection for a client that sends no `initialize`. Backends are spoken to when they are needed.
pub(crate) fn open_unasked(context: &Context, sessions: &OwnSessions, hello: Hello) -> Result<(), Refusal> {
    let session = fresh(context, Carrier::Connection(sessions), hello)?;
    enter(context, &session)?;
    sessions.hold(session, &context.gateway.sessions);
    Ok(())
}

fn fresh(context: &Context, carrier: Carrier<'_>, hello: Hello) -> Result<Arc<Session>, Refusal> {
    let id = SessionId::random().map_err(|error| {
        tracing::error!(%error, "no randomness for a session id");
        Refusal::new(Reason::Exhausted, "no session can be opened now")
    })?;
    let (principal, scope) = (context.principal.clone(), context.scope.clone());
    let bounds = carrier.log_bounds(context);
    Ok(Arc::new(Session::new(id, principal, scope, hello, bounds, Instant::now())))
}

/// Enters a session in the table, or ends it when there are too many.
fn enter(context: &Context, session: &Arc<Session>) -> Result<(), Refusal> {
    if context.gateway.sessions.insert(Arc::clone(session), max_sessions(context)) {
        tracing::debug!(session = ?session.id, version = %session.hello.version, "session opened");
        return Ok(());
    }
    for link in session.close() {
        tasks::spawn("close-link", async move { link.close().await });
    }
    Err(too_many_sessions(context))
}

fn max_sessions(context: &Context) -> usize {
    context.plan.snapshot.sessions.max_sessions
}

fn too_many_sessions(context: &Context) -> Refusal {
    let max = max_sessions(context);
    Refusal::new(Reason::Exhausted, format!("{max} sessions are open, the limit; try again later"))
}

/// A session that its only backend has no room for is one too many, and no failure of a call.
fn no_room(refusal: Refusal) -> Refusal {
    match refusal.reason {
        Reason::BackendBusy => Refusal { reason: Reason::Exhausted, ..refusal },
        _ => refusal,
    }
}

/// What the client says of itself.
fn hello(frame: &Frame) -> Result<Hello, &'static str> {
    let params = frame.envelope().params.as_ref().ok_or("`initialize` needs params")?;
    let members = &params.members;
    let requested = frame.text(members.protocol_version).ok_or("`protocolVersion` must be a string")?;
    let object = |span, missing: &'static [u8]| match frame.raw(span) {
        None => Some(Bytes::from_static(missing)),
        Some(raw) => (kind_of(raw) == Some(Json::Object)).then(|| Bytes::copy_from_slice(raw)),
    };
    Ok(Hello {
        version: Version::negotiate(Some(&requested)),
        capabilities: object(members.capabilities, b"{}").ok_or("`capabilities` must be an object")?,
        client_info: object(members.client_info, br#"{"name":"unnamed","version":"0"}"#)
            .ok_or("`clientInfo` must be an object")?,
    })
}

/// Ends a session.
pub(super) fn delete(context: &Context, headers: &HeaderMap) -> Reply {
    match find(context, headers) {
        Ok(session) => {
            context.gateway.sessions.remove(session.id.as_str());
            respond::empty(StatusCode::NO_CONTENT)
        }
        Err(reply) => reply,
    }
}

/// The session that a GET or DELETE names.
#[allow(
    clippy::result_large_err,
    reason = "the error is the HTTP answer itself, built once per refused request"
)]
pub(super) fn find(context: &Context, headers: &HeaderMap) -> Result<Arc<Session>, Reply> {
    let version = text(headers, "mcp-protocol-version").map(Version::parse);
    if version == Some(Some(Version::NEWEST_MODERN)) {
        return Err(respond::post_only());
    }
    let Some(id) = text(headers, "mcp-session-id") else {
        let text = "Mcp-Session-Id is missing";
        return Err(refuse(&context.gateway, &Refusal::new(Reason::BadMessage, text)));
    };
    if version == Some(None) {
        return Err(refuse(
            &context.gateway,
            &Refusal::new(Reason::BadMessage, "unsupported MCP-Protocol-Version"),
        ));
    }
    let session = context.gateway.sessions.get(id, &context.principal, &context.scope);
    session.ok_or_else(|| refuse(&context.gateway, &unknown_session()))
}

fn unknown_session() -> Refusal {
    Refusal::new(
        Reason::UnknownSession,
        "this session does not exist or has ended; send `initialize` to open another",
    )
}

/// Answers one message of an open session.
pub(super) async fn handle(context: &Context, carrier: Carrier<'_>, frame: &Frame) -> Reply {
    let Some(session) = carrier.session(context) else {
        return refuse_request(context, frame.raw_id(), &unknown_session());
    };
    session.touch(Instant::now());
    match frame.kind() {
        Kind::Request => request(context, &session, frame).await,
        Kind::Notification => {
            Box::pin(notify(context, &session, frame)).await;
            respond::accepted()
        }
        Kind::Result | Kind::Error => {
            Box::pin(answer(&session, frame)).await;
            respond::accepted()
        }
    }
}

pub(super) async fn request(context: &Context, session: &Arc<Session>, frame: &Frame) -> Reply {
    let id = Bytes::copy_from_slice(frame.raw_id().unwrap_or(b"null"));
    match frame.method() {
        Method::Ping => return respond::json(200, result_response(&id, b"{}")),
        method if !method.exists_in(Era::Legacy) => return respond::error(200, method_not_found(frame)),
        Method::SetLevel => {
            if let Some(level) = level_of(frame) {
                session.settings.set_level(&level);
            }
        }
        _ => {}
    }
    let outcome = match context.only_cluster() {
        Some(cluster) => legacy_call::forward(context, session, cluster, frame).await,
        None => merged::legacy_request(context, session, frame).await,
    };
    outcome.unwrap_or_else(|refusal| refuse_request(context, Some(&id), &refusal))
}

/// The level that a `logging/setLevel` names, if it exists (MCP "Logging: log levels").
pub(crate) fn level_of(frame: &Frame) -> Option<std::borrow::Cow<'_, str>> {
    const LEVELS: [&str; 8] =
        ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];
    let level = frame.text(frame.envelope().params.as_ref()?.members.level)?;
    LEVELS.contains(&&*level).then_some(level)
}

/// The error for a method that nobody serves.
pub(crate) fn method_not_found(frame: &Frame) -> Bytes {
    let text = format!("method `{}` is not available", frame.method_name());
    error_response(frame.raw_id(), code::METHOD_NOT_FOUND, &text, None)
}

pub(crate) async fn notify(context: &Context, session: &Arc<Session>, frame: &Frame) {
    let params = frame.envelope().params.as_ref();
    match frame.method() {
        // Each backend was told when its conversation opened.
        Method::Initialized => {}
        Method::Cancelled => {
            let id = params.and_then(|params| frame.raw(params.members.request_id)).and_then(Id::from_raw);
            let Some(id) = id else { return };
            if let Some((link, cancelled)) = session.calls.find(&id) {
                if let Some(message) = link.cancellation(&id, frame) {
                    log_failure(link.tell(message).await);
                }
                // Servers do not answer what was cancelled, so nobody waits any more.
                cancelled.cancel();
            }
        }
        Method::Progress => answer(session, frame).await,
        Method::RootsListChanged => {
            for conversation in session.conversations() {
                log_failure(conversation.link.tell(frame.bytes().clone()).await);
            }
        }
        _ => {
            // Not ours to know on an endpoint of one backend; on the merged one nobody is meant.
            if let Some(cluster) = context.only_cluster()
                && exposed::may_tell(cluster, frame)
                && let Some(conversation) = session.open_with(&cluster.name)
            {
                log_failure(conversation.link.tell(frame.bytes().clone()).await);
            }
        }
    }
}

/// Passes a client's answer (or progress) on to the backend that asked.
pub(crate) async fn answer(session: &Arc<Session>, frame: &Frame) {
    match session.answered(frame) {
        Some((conversation, bytes)) => log_failure(conversation.link.tell(bytes).await),
        None => tracing::debug!(session = ?session.id, "answer to no request that waits"),
    }
}

fn log_failure(outcome: Result<(), UpstreamError>) {
    if let Err(error) = outcome {
        tracing::warn!(?error, "message not delivered to the backend");
    }
}

impl Context {
    /// The one backend of an unrenamed endpoint.
    pub(super) fn only_cluster(&self) -> Option<&Arc<Cluster>> {
        match &self.scope {
            Scope::Merged => None,
            Scope::One(namespace) => self.plan.cluster(namespace),
        }
    }
}
