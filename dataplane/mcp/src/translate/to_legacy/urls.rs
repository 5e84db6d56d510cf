//! A call that a server of 2025-11-25 refuses until the person has visited pages (`-32042`): asked of a modern client as
//! elicitations, after which the call is made again. Changes when elicitation by URL does.

use bytes::Bytes;

use super::questions::{MAX_OPEN, input_required};
use crate::frame::Frame;
use crate::method::Method;
use crate::splice::Edits;
use crate::translate::members::Object;
use crate::translate::question::Question;

/// What the retry of a call says of the pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UrlAnswer {
    /// The person agreed to all: the call is made again.
    Accepted,
    /// The person declined or dismissed one: the call ends.
    Declined,
    /// One has no answer, or nonsense for one: all are asked again.
    Missing,
}

/// The elicitations that an error asks for; empty when it asks for none that can be put to a modern client.
pub(super) fn read(request: &Frame, answer: &Frame, error: &Object<'_>) -> Vec<Bytes> {
    let repeatable =
        matches!(request.method(), Method::ToolsCall | Method::PromptsGet | Method::ResourcesRead);
    let listed = error.object("data").and_then(|data| data.array("elicitations"));
    let Some(listed) = listed.filter(|listed| repeatable && listed.len() <= MAX_OPEN) else {
        return Vec::new();
    };
    let params = listed.into_iter().map(|span| elicitation(&answer.slice(span)));
    params.collect::<Option<_>>().unwrap_or_default()
}

fn elicitation(raw: &Bytes) -> Option<Bytes> {
    let params = Object::whole(raw)?;
    params.text("url")?;
    params.text("message")?;
    let mut edits = Edits::new();
    let drop = |key: &str| matches!(key, "elicitationId" | "mode");
    params.rewrite(&mut edits, drop, b"\"mode\":\"url\"");
    Some(edits.apply(raw))
}

fn key(index: usize) -> String {
    format!("url-{}", index + 1)
}

/// The `input_required` response that asks for `urls`. `id` is the raw id of the request, `state` the handle that the
/// retry brings back.
pub fn urls_required(id: &[u8], urls: &[Bytes], state: &str, server_info: &[u8]) -> Bytes {
    let asks =
        urls.iter().enumerate().map(|(index, params)| (key(index), Question::Elicitation, Some(&**params)));
    input_required(id, asks, state, server_info)
}

/// Reads the answers to as many `urls` out of a retry.
pub fn urls_answered(retry: &Frame, urls: usize) -> UrlAnswer {
    let responses = retry.envelope().params.as_ref().and_then(|params| params.members.input_responses);
    let Some(responses) = responses.and_then(|span| Object::at(retry.bytes(), span)) else {
        return if urls == 0 { UrlAnswer::Accepted } else { UrlAnswer::Missing };
    };
    let mut all = UrlAnswer::Accepted;
    for index in 0..urls {
        let action = responses.object(&key(index)).and_then(|answer| answer.text("action"));
        match action.as_deref() {
            Some("accept") => {}
            Some("decline" | "cancel") => return UrlAnswer::Declined,
            _ => all = UrlAnswer::Missing,
        }
    }
    all
}

/// What the client is told when it declined.
pub fn urls_declined(request: &Frame) -> Bytes {
    let reason =
        format!("{}: the person did not agree to visit the page that it needs", request.method_name());
    super::failed(request, &reason)
}
