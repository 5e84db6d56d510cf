//! Batches, which only sessions of 2025-03-26 may send. Changes when batches are served differently.
//!
//! Each message is served on its own, at once; the answers come back in one array. What a backend sends besides goes to
//! the client's notification stream.

use std::sync::Arc;
use std::time::Instant;

use bridge_mcp::error::{code, error_response};
use bridge_mcp::frame::{Frame, FrameError};
use bridge_mcp::id::Id;
use bridge_mcp::method::Method;
use bridge_mcp::sse;
use bridge_mcp::version::Version;
use bridge_policy::refusal::{Reason, Refusal};
use bridge_transport::backend::http::{Content, content};
use bridge_transport::frontend::body::ReplyBody;
use bridge_transport::frontend::request::text;
use bytes::Bytes;
use http::HeaderMap;
use http_body_util::{BodyExt as _, Collected, Limited};
use tokio::task::JoinSet;

use super::{Context, Reply, error_of, legacy, refuse, respond, shutting_down};
use crate::session::Session;

/// Answers a batch.
pub(super) async fn handle(
    context: &Context,
    headers: &HeaderMap,
    messages: Vec<Result<Frame, FrameError>>,
) -> Reply {
    let not_allowed = || {
        let text = "batches exist in sessions of 2025-03-26 only; send one message per request";
        respond::json(400, error_response(None, code::INVALID_REQUEST, text, None))
    };
    let Some(id) = text(headers, "mcp-session-id") else { return not_allowed() };
    let Some(session) = context.gateway.sessions.get(id, &context.principal, &context.scope) else {
        let text = "this session does not exist or has ended; send `initialize` to open another";
        return refuse(&context.gateway, &Refusal::new(Reason::UnknownSession, text));
    };
    if session.hello.version != Version::V2025_03_26 {
        return not_allowed();
    }
    session.touch(Instant::now());
    let mut answers = Vec::new();
    let mut calls = JoinSet::new();
    for (position, message) in messages.into_iter().enumerate() {
        match message {
            Ok(frame) if frame.method() == Method::Initialize => {
                let text = "`initialize` must not be part of a batch";
                let answer = error_response(frame.raw_id(), code::INVALID_REQUEST, text, None);
                answers.push((position, answer));
            }
            Ok(frame) if frame.is_response() => legacy::answer(&session, &frame).await,
            Ok(frame) if frame.raw_id().is_none() => legacy::notify(context, &session, &frame).await,
            Ok(frame) if context.gateway.drain.has_started() => {
                answers.push((position, error_of(frame.raw_id(), &shutting_down())));
            }
            Ok(frame) => {
                let (context, session) = (context.clone(), Arc::clone(&session));
                calls.spawn(async move { (position, call(&context, &session, frame).await) });
            }
            Err(error) => answers.push((position, error.response())),
        }
    }
    answers.extend(calls.join_all().await);
    if answers.is_empty() {
        return respond::accepted();
    }
    answers.sort_unstable_by_key(|(position, _)| *position);
    let mut body = Vec::with_capacity(answers.iter().map(|(_, answer)| answer.len() + 1).sum::<usize>() + 1);
    for (_, answer) in &answers {
        body.push(if body.is_empty() { b'[' } else { b',' });
        body.extend_from_slice(answer);
    }
    body.push(b']');
    respond::json(200, body.into())
}

/// The answer to one request of a batch.
async fn call(context: &Context, session: &Arc<Session>, frame: Frame) -> Bytes {
    let (raw_id, id) = (frame.raw_id().map(Bytes::copy_from_slice), frame.id());
    let reply = legacy::request(context, session, &frame).await;
    let is_stream = content(reply.headers()) == Content::Events;
    let body = reply.into_body();
    let answer = if is_stream {
        from_stream(context, session, id.as_ref(), body).await
    } else {
        let limited = Limited::new(body, context.plan.backend_limits.max_bytes);
        limited.collect().await.ok().map(Collected::to_bytes)
    };
    answer.unwrap_or_else(|| {
        let refusal = Refusal::new(Reason::BackendLost, "the answer broke off");
        error_of(raw_id.as_deref(), &refusal)
    })
}

/// The answer at the end of an event stream. What comes before goes on at once: the backend may wait for a reply.
async fn from_stream(
    context: &Context,
    session: &Session,
    id: Option<&Id>,
    mut body: ReplyBody,
) -> Option<Bytes> {
    let limits = &context.plan.backend_limits;
    let mut decoder = sse::Decoder::new(limits.max_bytes);
    while let Some(Ok(piece)) = body.frame().await {
        let Ok(piece) = piece.into_data() else { continue };
        decoder.push_bytes(piece);
        while let Ok(Some(event)) = decoder.next() {
            let Ok(frame) = Frame::parse(event.data, limits) else { continue };
            if frame.is_response() && frame.id().as_ref() == id {
                return Some(frame.bytes().clone());
            }
            session.streams.standalone().append(frame.bytes().clone());
        }
    }
    None
}
