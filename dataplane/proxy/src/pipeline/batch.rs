//! Batches, which only sessions of 2025-03-26 may send. Changes when batches are served differently.
//!
//! Each message is served on its own, at once; the answers come back in one array. What a backend sends besides goes to
//! the client's notification stream.

use std::sync::Arc;
use std::time::Instant;

use bridge_mcp::error::{code, error_response};
use bridge_mcp::frame::{Frame, FrameError};
use bridge_mcp::method::Method;
use bridge_mcp::version::Version;
use bridge_policy::refusal::{Reason, Refusal};
use bridge_transport::backend::http::{Content, content};
use bridge_transport::frontend::request::text;
use bytes::Bytes;
use http::HeaderMap;
use tokio::task::JoinSet;

use super::{Context, Reply, error_of, legacy, refuse, respond, shutting_down};
use crate::session::Session;

/// Answers a batch that came over HTTP.
pub(super) async fn handle(
    context: &Context,
    headers: &HeaderMap,
    messages: Vec<Result<Frame, FrameError>>,
) -> Reply {
    let Some(id) = text(headers, "mcp-session-id") else { return respond::json(400, not_allowed()) };
    let Some(session) = context.gateway.sessions.get(id, &context.principal, &context.scope) else {
        let text = "this session does not exist or has ended; send `initialize` to open another";
        return refuse(&context.gateway, &Refusal::new(Reason::UnknownSession, text));
    };
    if session.hello.version != Version::V2025_03_26 {
        return respond::json(400, not_allowed());
    }
    match serve(context, &session, messages).await {
        Some(answers) => respond::json(200, answers),
        None => respond::accepted(),
    }
}

/// The answer to a batch where there may be none.
pub(crate) fn not_allowed() -> Bytes {
    let text = "batches exist in sessions of 2025-03-26 only; send one message per request";
    error_response(None, code::INVALID_REQUEST, text, None)
}

/// Serves a batch of a session's. `None` when nothing in it wants an answer.
pub(crate) async fn serve(
    context: &Context,
    session: &Arc<Session>,
    messages: Vec<Result<Frame, FrameError>>,
) -> Option<Bytes> {
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
            Ok(frame) if frame.is_response() => legacy::answer(session, &frame).await,
            Ok(frame) if frame.raw_id().is_none() => legacy::notify(context, session, &frame).await,
            Ok(frame) if context.gateway.drain.has_started() => {
                answers.push((position, error_of(frame.raw_id(), &shutting_down())));
            }
            Ok(frame) => {
                let (context, session) = (context.clone(), Arc::clone(session));
                calls.spawn(async move { (position, call(&context, &session, frame).await) });
            }
            Err(error) => answers.push((position, error.response())),
        }
    }
    answers.extend(calls.join_all().await);
    if answers.is_empty() {
        return None;
    }
    answers.sort_unstable_by_key(|(position, _)| *position);
    let mut body = Vec::with_capacity(answers.iter().map(|(_, answer)| answer.len() + 1).sum::<usize>() + 1);
    for (_, answer) in &answers {
        body.push(if body.is_empty() { b'[' } else { b',' });
        body.extend_from_slice(answer);
    }
    body.push(b']');
    Some(body.into())
}

/// The answer to one request of a batch. What comes before it goes on at once: the backend may wait for a reply.
async fn call(context: &Context, session: &Arc<Session>, frame: Frame) -> Bytes {
    let limits = &context.plan.backend_limits;
    let reply = legacy::request(context, session, &frame).await;
    let is_stream = content(reply.headers()) == Content::Events;
    let mut body = reply.into_body();
    while let Ok(Some(message)) = body.next_message(limits.max_bytes).await {
        if !is_stream {
            return message;
        }
        match Frame::parse(message.clone(), limits) {
            Ok(read) if read.is_response() && read.id() == frame.id() => return message,
            Ok(_) => session.streams.standalone().append(message),
            Err(_) => {}
        }
    }
    error_of(frame.raw_id(), &Refusal::new(Reason::BackendLost, "the answer broke off"))
}
