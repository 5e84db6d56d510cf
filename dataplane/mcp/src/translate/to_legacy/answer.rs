//! A legacy server's answer as a modern client's. Changes when results or error codes differ in another way.

use bytes::Bytes;
use serde_json::json;

use super::{SERVER_INFO, tools, urls};
use crate::envelope::Kind;
use crate::error::{code, error_response};
use crate::frame::Frame;
use crate::id::Id;
use crate::method::Method;
use crate::scan::Span;
use crate::splice::Edits;
use crate::translate::losses::{Loss, Losses};
use crate::translate::members::{Meta, Object};
use crate::translate::reply;

/// What becomes of a server's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The whole response for the client.
    Response(Bytes),
    /// `-32042` of 2025-11-25: the person must visit pages before the call is made again. Raw params of elicitations, for
    /// [`super::urls_required`].
    UrlsRequired(Vec<Bytes>),
}

/// 2025-11-25: the call needs elicitations by URL first.
const URLS_REQUIRED: i64 = -32042;

/// Translates the `answer` to `request`, which is the client's own message. `server_info` is the gateway's raw
/// implementation info.
pub fn answer(request: &Frame, answer: &Frame, server_info: &[u8], lost: &mut Losses) -> Answer {
    let parts = (answer.kind(), answer.envelope().result, answer.envelope().error);
    match parts {
        (Kind::Result, Some(result), _) => {
            Answer::Response(translate_result(request, answer, result, server_info, lost))
        }
        (Kind::Error, _, Some(error)) => translate_error(request, answer, error, lost),
        _ => Answer::Response(reply::internal(request, "the server's message is no answer")),
    }
}

fn translate_result(request: &Frame, answer: &Frame, result: Span, info: &[u8], lost: &mut Losses) -> Bytes {
    let text = answer.bytes();
    let Some(object) = Object::at(text, result) else {
        return reply::internal(request, "the server's result is no object");
    };
    let mut edits = reply::address(answer, request);
    let cacheable = reply::is_cacheable(request.method());
    let drop = |key: &str| key == "resultType" || (cacheable && matches!(key, "ttlMs" | "cacheScope"));
    let first: &[u8] = if cacheable {
        b"\"resultType\":\"complete\",\"ttlMs\":0,\"cacheScope\":\"private\""
    } else {
        b"\"resultType\":\"complete\""
    };
    let info = [SERVER_INFO, info].concat();
    let meta = Meta { drop: |key: &str| key == "io.modelcontextprotocol/serverInfo", first: &info };
    object.rewrite_with_meta(&mut edits, drop, first, &meta);
    if request.method() == Method::ToolsList {
        tools::edit_list(text, &object, &mut edits, lost);
    }
    answer.edited(edits)
}

fn translate_error(request: &Frame, answer: &Frame, error: Span, lost: &mut Losses) -> Answer {
    let mut edits = reply::address(answer, request);
    let object = Object::at(answer.bytes(), error);
    let code = object.as_ref().and_then(|error| error.get("code"));
    if let (Some(error), Some(at)) = (object, code) {
        match Id::from_raw(at.of(answer.bytes())) {
            Some(Id::Int(code::RESOURCE_NOT_FOUND)) if request.method() == Method::ResourcesRead => {
                not_found(request, answer, &error, at, &mut edits);
            }
            Some(Id::Int(number @ -32099..=-32020)) => {
                let urls =
                    if number == URLS_REQUIRED { urls::read(request, answer, &error) } else { Vec::new() };
                if !urls.is_empty() {
                    return required(request, urls, lost);
                }
                lost.insert(Loss::ReservedError);
                edits.replace(at, code::INTERNAL.to_string());
            }
            _ => {}
        }
    }
    Answer::Response(answer.edited(edits))
}

fn required(request: &Frame, urls: Vec<Bytes>, lost: &mut Losses) -> Answer {
    if super::declared(request).url {
        lost.insert(Loss::UrlCompletion);
        return Answer::UrlsRequired(urls);
    }
    let data = json!({ "requiredCapabilities": { "elicitation": { "url": {} } } });
    let message = "the call needs the person to visit a page, which this client did not offer";
    Answer::Response(error_response(Some(reply::id(request)), code::MISSING_CAPABILITY, message, Some(&data)))
}

/// `-32002` is `-32602` with the URI in 2026-07-28.
fn not_found(request: &Frame, answer: &Frame, error: &Object<'_>, code: Span, edits: &mut Edits) {
    edits.replace(code, code::INVALID_PARAMS.to_string());
    let Some(uri) = request.raw(request.target_span()) else { return };
    let uri = [b"\"uri\":", uri].concat();
    match (error.get("data"), error.object("data")) {
        (_, Some(data)) if data.text("uri").is_some() => {}
        (_, Some(data)) => data.rewrite(edits, |key| key == "uri", &uri),
        (Some(data), None) => {
            let detail = data.of(answer.bytes());
            edits.replace(data, [b"{", &*uri, b",\"detail\":", detail, b"}"].concat());
        }
        (None, None) => error.rewrite(edits, |_| false, &[b"\"data\":{", &*uri, b"}"].concat()),
    }
}
