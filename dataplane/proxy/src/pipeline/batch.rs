//! Batches, which only sessions of 2025-03-26 may send. Changes when batches are served differently.
//!
//! Each message is served on its own, at once; the answers come back in one array. What a backend sends besides goes to
//! the client's notification stream.

use std::sync::Arc;

use bridge_mcp::error::{code, error_response};
use bridge_mcp::frame::{Frame, FrameError};
use bridge_mcp::method::Method;
use bridge_mcp::version::Version;
use bridge_policy::refusal::{Reason, Refusal};
use bridge_transport::frontend::request::text;
use bytes::Bytes;
use http::HeaderMap;
use http_body_util::BodyExt as _;

use super::{Context, Reply, legacy, refuse, respond};
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
    let mut answers = Vec::new();
    for message in messages {
        match message {
            Ok(frame) if frame.method() == Method::Initialize => {
                let text = "`initialize` must not be part of a batch";
                answers.push(error_response(frame.raw_id(), code::INVALID_REQUEST, text, None));
            }
            Ok(frame) => answers.extend(one(context, &session, frame).await),
            Err(error) => answers.push(error.response()),
        }
    }
    if answers.is_empty() {
        return respond::accepted();
    }
    let mut body = Vec::with_capacity(answers.iter().map(|answer| answer.len() + 1).sum::<usize>() + 1);
    for (position, answer) in answers.iter().enumerate() {
        body.push(if position == 0 { b'[' } else { b',' });
        body.extend_from_slice(answer);
    }
    body.push(b']');
    respond::json(200, body.into())
}

/// The answer to one message of a batch, if it has one.
async fn one(context: &Context, session: &Arc<Session>, frame: Frame) -> Option<Bytes> {
    if frame.is_response() {
        legacy::answer(session, &frame).await;
        return None;
    }
    if frame.raw_id().is_none() {
        legacy::notify(context, session, &frame).await;
        return None;
    }
    let (id, kind) = (frame.raw_id().map(Bytes::copy_from_slice), frame.id());
    let body = legacy::request(context, session, frame).await.into_body();
    let Ok(collected) = body.collect().await else {
        let refusal = Refusal::new(Reason::BackendLost, "the answer broke off");
        return Some(super::error_of(id.as_deref(), &refusal));
    };
    Some(last_message(context, session, kind.as_ref(), collected.to_bytes()))
}

/// The answer in a body that is either the answer or an event stream that ends with it.
fn last_message(context: &Context, session: &Session, id: Option<&bridge_mcp::id::Id>, body: Bytes) -> Bytes {
    let mut decoder = bridge_mcp::sse::Decoder::new(context.plan.backend_limits.max_bytes);
    decoder.push_bytes(body.clone());
    let mut answer = None;
    while let Ok(Some(event)) = decoder.next() {
        let Ok(frame) = Frame::parse(event.data, &context.plan.backend_limits) else { continue };
        if frame.is_response() && frame.id().as_ref() == id {
            answer = Some(frame.bytes().clone());
        } else {
            session.streams.standalone().append(frame.bytes().clone());
        }
    }
    answer.unwrap_or(body)
}
