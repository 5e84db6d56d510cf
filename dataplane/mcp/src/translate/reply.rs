//! Answers towards the client: under its own id, as it spelled it. Changes when responses are addressed differently.

use bytes::Bytes;

use super::members::{Object, quoted};
use crate::error::{code, error_response, result_response};
use crate::frame::Frame;
use crate::method::Method;
use crate::splice::Edits;

/// The raw id of a request; `null` when it is none.
pub(super) fn id(request: &Frame) -> &[u8] {
    request.raw_id().unwrap_or(b"null")
}

/// Edits that make `answer` an answer to `request`.
pub(super) fn address(answer: &Frame, request: &Frame) -> Edits {
    let mut edits = Edits::new();
    let id = id(request);
    match answer.envelope().id {
        Some(span) if span.of(answer.bytes()) == id => {}
        Some(span) => {
            edits.replace(span, id.to_vec());
        }
        // An error whose sender could not read the id.
        None => match Object::whole(answer.bytes()).and_then(|message| message.get("id")) {
            Some(span) => {
                edits.replace(span, id.to_vec());
            }
            None => {
                edits.insert(answer.envelope().body_start, [b"\"id\":", id, b","].concat());
            }
        },
    }
    edits
}

/// `-32603`: what came back cannot be made an answer.
pub(super) fn internal(request: &Frame, reason: &str) -> Bytes {
    error_response(Some(id(request)), code::INTERNAL, reason, None)
}

/// The end of a call that cannot go on: a result that the model can read for a tool, else `-32603`. `modern` makes it a
/// result of 2026-07-28.
pub(super) fn failed(request: &Frame, reason: &str, modern: bool) -> Bytes {
    if request.method() != Method::ToolsCall {
        return internal(request, reason);
    }
    let kind = if modern { "\"resultType\":\"complete\"," } else { "" };
    let result =
        format!(r#"{{{kind}"content":[{{"type":"text","text":{}}}],"isError":true}}"#, quoted(reason));
    result_response(id(request), result.as_bytes())
}

/// Results that must carry cache hints (2026-07-28, "Caching").
pub(super) fn is_cacheable(method: Method) -> bool {
    matches!(
        method,
        Method::Discover
            | Method::ToolsList
            | Method::PromptsList
            | Method::ResourcesList
            | Method::ResourceTemplatesList
            | Method::ResourcesRead
    )
}
