//! A modern server's answer as a legacy client's, or what it needs first. Changes when results or error codes differ in
//! another way.

use std::borrow::Cow;

use bytes::Bytes;

use super::results::{self, ToolResult};
use crate::envelope::Kind;
use crate::error::code;
use crate::frame::Frame;
use crate::id::Id;
use crate::method::Method;
use crate::scan::{Kind as Json, Span, decode_string, kind_of};
use crate::splice::Edits;
use crate::translate::is_reserved;
use crate::translate::losses::{Loss, Losses};
use crate::translate::members::{Meta, Object};
use crate::translate::question::Question;
use crate::translate::reply;
use crate::version::Version;

/// What becomes of a server's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The whole response for the client.
    Response(Bytes),
    /// The server needs answers of the client first: [`super::Round`].
    InputRequired(InputRequired),
    /// The answer is none that this revision defines; the client gets `-32603` with this reason.
    Failed(String),
}

/// An `input_required` result, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputRequired {
    /// What the server asks, in its order; empty when it only wants the call again.
    pub asks: Vec<Ask>,
    /// Raw `requestState`, to be given back exactly.
    pub state: Option<Bytes>,
}

/// One entry of `inputRequests`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Its key, decoded.
    pub key: Box<str>,
    /// `elicitation/create`, `sampling/createMessage` or `roots/list`.
    pub method: Method,
    /// Raw params, an object.
    pub params: Bytes,
}

/// Questions that one answer may hold.
const MAX_ASKS: usize = 64;

/// Translates the `answer` to `request`, which is the client's own message, for a session of revision `version`.
pub fn answer(request: &Frame, answer: &Frame, version: Version, lost: &mut Losses) -> Answer {
    let parts = (answer.kind(), answer.envelope().result, answer.envelope().error);
    match parts {
        (Kind::Result, Some(result), _) => translate_result(request, answer, result, version, lost),
        (Kind::Error, _, Some(error)) => Answer::Response(translate_error(request, answer, error, lost)),
        _ => Answer::Failed("the server's message is no answer".to_owned()),
    }
}

fn translate_result(
    request: &Frame,
    answer: &Frame,
    result: Span,
    version: Version,
    lost: &mut Losses,
) -> Answer {
    let Some(object) = Object::at(answer.bytes(), result) else {
        return Answer::Failed("the server's result is no object".to_owned());
    };
    let kind = match object.raw("resultType") {
        None => "complete".into(),
        Some(raw) => decode_string(raw).unwrap_or_default(),
    };
    match kind.as_ref() {
        "complete" => Answer::Response(complete(request, answer, &object, version, lost)),
        "input_required" => input_required(request, answer, &object)
            .map_or_else(|reason| Answer::Failed(reason.to_owned()), Answer::InputRequired),
        other => {
            lost.insert(Loss::ServerTask);
            let other: String = other.chars().take(40).collect();
            Answer::Failed(format!("the server's result is of the type {other:?}, which has no legacy form"))
        }
    }
}

fn complete(
    request: &Frame,
    answer: &Frame,
    result: &Object<'_>,
    version: Version,
    lost: &mut Losses,
) -> Bytes {
    let text = answer.bytes();
    let mut edits = reply::address(answer, request);
    let mut tool = ToolResult::default();
    match request.method() {
        Method::ToolsList => results::edit_tools(text, result, version, &mut edits, lost),
        Method::PromptsGet => results::edit_prompt(text, result, version, &mut edits, lost),
        Method::ToolsCall => tool = results::edit_tool_result(text, result, version, &mut edits, lost),
        _ => {}
    }
    let cacheable = reply::is_cacheable(request.method());
    let drop = |key: &str| {
        key == "resultType"
            || (cacheable && matches!(key, "ttlMs" | "cacheScope"))
            || tool.drop.contains(&key)
    };
    result.rewrite_with_meta(&mut edits, drop, &tool.first, &Meta { drop: is_reserved, first: b"" });
    answer.edited(edits)
}

fn input_required(
    request: &Frame,
    answer: &Frame,
    result: &Object<'_>,
) -> Result<InputRequired, &'static str> {
    if !matches!(request.method(), Method::ToolsCall | Method::PromptsGet | Method::ResourcesRead) {
        return Err("the server needs input for a method that may not ask for it");
    }
    let state = result.get("requestState");
    if state.is_some_and(|state| kind_of(state.of(answer.bytes())) != Some(Json::String)) {
        return Err("the server's `requestState` is no text");
    }
    let mut asks: Vec<Ask> = Vec::new();
    match (result.get("inputRequests"), result.object("inputRequests")) {
        (None, _) if state.is_none() => return Err("the server needs input but does not say which"),
        (None, _) => {}
        (Some(_), None) => return Err("the server's `inputRequests` is no object"),
        (Some(_), Some(requests)) if requests.members().len() > MAX_ASKS => {
            return Err("the server asks for too much input at once");
        }
        (Some(_), Some(requests)) => {
            for member in requests.members() {
                let ask = read_ask(answer, &member.key, member.value)?;
                if asks.iter().any(|other| other.key == ask.key) {
                    return Err("the server's `inputRequests` has a key twice");
                }
                asks.push(ask);
            }
        }
    }
    Ok(InputRequired { asks, state: state.map(|span| Bytes::copy_from_slice(span.of(answer.bytes()))) })
}

fn read_ask(answer: &Frame, key: &str, value: Span) -> Result<Ask, &'static str> {
    let text = answer.bytes();
    let ask = Object::at(text, value).ok_or("an entry of the server's `inputRequests` is no request")?;
    let method = Method::parse(&ask.text("method").unwrap_or_default());
    if Question::of_method(method).is_none() {
        return Err("the server asks for input that no revision defines");
    }
    let params = match (ask.get("params"), ask.object("params")) {
        (None, _) => Bytes::from_static(b"{}"),
        (Some(span), Some(_)) => Bytes::copy_from_slice(span.of(text)),
        (Some(_), None) => return Err("params in the server's `inputRequests` are no object"),
    };
    Ok(Ask { key: key.into(), method, params })
}

fn translate_error(request: &Frame, answer: &Frame, error: Span, lost: &mut Losses) -> Bytes {
    let mut edits = reply::address(answer, request);
    let object = Object::at(answer.bytes(), error);
    let at = object.as_ref().and_then(|error| error.get("code"));
    if let (Some(error), Some(at)) = (object, at) {
        match (request.method(), Id::from_raw(at.of(answer.bytes()))) {
            (Method::ResourcesRead, Some(Id::Int(code::INVALID_PARAMS))) => {
                not_found(request, &error, at, &mut edits);
            }
            (Method::ToolsCall, Some(Id::Int(code::MISSING_CAPABILITY))) => {
                lost.insert(Loss::MissingCapability);
                return super::failed(request, &missing(&error));
            }
            _ => {}
        }
    }
    answer.edited(edits)
}

/// `-32602` that names the URI is `-32002` in legacy revisions; without, it may be another mistake.
fn not_found(request: &Frame, error: &Object<'_>, code: Span, edits: &mut Edits) {
    let named = error.object("data").and_then(|data| data.text("uri").map(Cow::into_owned));
    if named.is_some() && named.as_deref() == request.target().as_deref() {
        edits.replace(code, code::RESOURCE_NOT_FOUND.to_string());
    }
}

/// What `-32021` says to a person or a model: `elicitation.url, sampling`.
fn missing(error: &Object<'_>) -> String {
    let required = error.object("data").and_then(|data| data.object("requiredCapabilities"));
    let mut names = Vec::new();
    for member in required.iter().flat_map(Object::members) {
        let parts = required.as_ref().and_then(|required| required.object(&member.key));
        let parts = parts.iter().flat_map(Object::members).map(|part| format!("{}.{}", member.key, part.key));
        let before = names.len();
        names.extend(parts);
        if names.len() == before {
            names.push(member.key.to_string());
        }
    }
    let names = if names.is_empty() { "one that it does not name".to_owned() } else { names.join(", ") };
    format!("This tool needs a capability that the client does not have: {names}")
}
