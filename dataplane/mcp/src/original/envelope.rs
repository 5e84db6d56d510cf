//! The original's JSON wrappers around a JSON-RPC message: read with the message kept byte for byte, and written.
//!
//! Changes when the wrappers do. The *envelope* is
//! `{"id","timestamp","source","target_namespace","auth_token","mcp_payload"}`, on WebSocket, on `POST /api/v1/mcp` and in
//! dialect R; the *auth wrapper* of dialect G is `{"auth_token","message"}`, in its documentation `{"auth_token","request"}`.
//! A message that is not wrapped is taken as it is, everywhere.

use bytes::Bytes;

use super::input::{InvalidInput, Namespace, Token};
use super::reply;
use crate::error::code;
use crate::frame::FrameError;
use crate::limits::Limits;
use crate::scan::{Kind, ScanError, Scanner, Span, decode_string, kind_of};

/// A message and how it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// As it is.
    Bare(Bytes),
    /// Inside an envelope, and to be answered in one.
    Wrapped(Envelope),
}

/// What an envelope, or an auth wrapper, holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The raw id beside the message, of any JSON type. It only says whom an error is for when the message has no
    /// readable id itself.
    pub id: Option<Bytes>,
    /// `target_namespace`.
    pub namespace: Option<Namespace>,
    /// `auth_token`.
    pub token: Option<Token>,
    /// The message, sharing the buffer that was read.
    pub payload: Bytes,
}

/// Why a wrapper cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Defect {
    /// Not acceptable JSON.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// `mcp_payload` is there, but no message.
    #[error("`{0}` must be an object, a JSON-RPC message")]
    Payload(&'static str),
    /// Namespace or token.
    #[error(transparent)]
    Input(#[from] InvalidInput),
    /// Namespace or token is no string.
    #[error("`{0}` must be a string")]
    Type(&'static str),
}

/// A wrapper that cannot be read, and whom to tell.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{defect}")]
pub struct EnvelopeError {
    /// What is wrong.
    pub defect: Defect,
    /// The raw id beside the message, when the text could be read so far.
    pub id: Option<Bytes>,
}

impl EnvelopeError {
    /// The error response inside an envelope: -32600 as the original has it, also for what is no JSON at all.
    pub fn response(&self, unix_seconds: u64) -> Bytes {
        let id = self.id.as_deref();
        wrap(id, &reply::error(id, code::INVALID_REQUEST, &self.to_string(), None), unix_seconds)
    }
}

impl Envelope {
    /// The answer, in an envelope, to a payload that is no message. The id is the payload's own, or the envelope's.
    pub fn refuse(&self, error: &FrameError, unix_seconds: u64) -> Bytes {
        let id = self.id_of(error);
        wrap(id, &reply::error(id, code::INVALID_REQUEST, &error.to_string(), None), unix_seconds)
    }

    /// Whom an error about the payload is for.
    pub fn id_of<'a>(&'a self, error: &'a FrameError) -> Option<&'a [u8]> {
        match error {
            FrameError::Shape { id: Some(id), .. } => Some(id),
            _ => self.id.as_deref(),
        }
    }
}

/// Reads a message of WebSocket, HTTP or dialect R. It is wrapped when it has the member `mcp_payload`. `limits` are those
/// of the message inside, which is *not* judged here beyond being JSON.
pub fn read(text: &Bytes, limits: &Limits) -> Result<Form, EnvelopeError> {
    read_members(text, limits, &["mcp_payload"])
}

/// Reads a payload of dialect G. It is wrapped when it has no `jsonrpc` but `message` or `request`.
pub fn read_auth_wrapper(text: &Bytes, limits: &Limits) -> Result<Form, EnvelopeError> {
    read_members(text, limits, &["message", "request"])
}

/// Members beside the message.
#[derive(Default)]
struct Beside {
    jsonrpc: Option<Span>,
    id: Option<Span>,
    namespace: Option<Span>,
    token: Option<Span>,
    payload: Option<(&'static str, Span)>,
}

fn read_members(text: &Bytes, limits: &Limits, payloads: &[&'static str]) -> Result<Form, EnvelopeError> {
    let no_id = |error: ScanError| EnvelopeError { defect: error.into(), id: None };
    // The message inside is judged on its own later; around it is one level more.
    let limits = Limits { max_depth: limits.max_depth.saturating_add(1), unique_keys: false, ..*limits };
    let mut scanner = Scanner::new(text, &limits).map_err(no_id)?;
    if scanner.peek() != Some(b'{') {
        scanner.value().and_then(|_| scanner.end()).map_err(no_id)?;
        return Ok(Form::Bare(text.clone()));
    }
    let mut beside = Beside::default();
    let whole = scanner.object(|scanner, key| {
        let key = decode_string(key.of(text)).unwrap_or_default();
        let value = scanner.value()?;
        let repeated = if let Some(name) = payloads.iter().find(|name| **name == key) {
            beside.payload.replace((name, value)).is_some()
        } else {
            match key.as_ref() {
                "jsonrpc" => beside.jsonrpc.replace(value).is_some(),
                "id" => beside.id.replace(value).is_some_and(|_| {
                    beside.id = None;
                    true
                }),
                "target_namespace" => beside.namespace.replace(value).is_some(),
                "auth_token" => beside.token.replace(value).is_some(),
                _ => false,
            }
        };
        // Two readers could otherwise see two different messages.
        if repeated { Err(ScanError::DuplicateKey { offset: value.end() }) } else { Ok(()) }
    });
    whole.and_then(|_| scanner.end()).map_err(|error| beside.unread(text, error))?;
    beside.judge(text)
}

impl Beside {
    /// The error about a text that broke off. What is no JSON has no id either, whatever it began with.
    fn unread(&self, text: &Bytes, error: ScanError) -> EnvelopeError {
        let is_json = matches!(error, ScanError::Depth { .. } | ScanError::DuplicateKey { .. });
        let id = self.id.filter(|_| is_json).map(|span| text.slice(span.start()..span.end()));
        EnvelopeError { defect: error.into(), id }
    }

    fn judge(self, text: &Bytes) -> Result<Form, EnvelopeError> {
        let slice = |span: Span| text.slice(span.start()..span.end());
        let (name, payload) = match self.payload {
            // A JSON-RPC message of its own may have any member beside.
            Some(found) if self.jsonrpc.is_none() => found,
            _ => return Ok(Form::Bare(text.clone())),
        };
        let id = self.id.map(slice);
        let fail = |defect: Defect| EnvelopeError { defect, id: id.clone() };
        if kind_of(payload.of(text)) != Some(Kind::Object) {
            return Err(fail(Defect::Payload(name)));
        }
        let namespace = string(text, self.namespace, "target_namespace").map_err(fail)?;
        let namespace = namespace.map(|text| Namespace::parse(&text)).transpose();
        let token = string(text, self.token, "auth_token").map_err(fail)?;
        let token = token.map(|text| Token::parse(&text)).transpose();
        Ok(Form::Wrapped(Envelope {
            namespace: namespace.map_err(|error| fail(error.into()))?,
            token: token.map_err(|error| fail(error.into()))?.flatten(),
            payload: slice(payload),
            id,
        }))
    }
}

/// An optional string; `null` and `""` are none, as they were in Go.
fn string(text: &[u8], span: Option<Span>, name: &'static str) -> Result<Option<String>, Defect> {
    let Some(raw) = span.map(|span| span.of(text)).filter(|raw| *raw != b"null") else { return Ok(None) };
    let text = decode_string(raw).ok_or(Defect::Type(name))?;
    Ok((!text.is_empty()).then(|| text.into_owned()))
}

/// Wraps a message of the gateway, in the key order of the original. `id` is the raw id of the message, `null` when it has
/// none.
pub fn wrap(id: Option<&[u8]>, message: &[u8], unix_seconds: u64) -> Bytes {
    let mut out = Vec::with_capacity(message.len() + 128);
    out.extend_from_slice(b"{\"id\":");
    out.extend_from_slice(id.unwrap_or(b"null"));
    out.extend_from_slice(b",\"timestamp\":\"");
    out.extend_from_slice(reply::timestamp(unix_seconds).as_bytes());
    out.extend_from_slice(b"\",\"source\":\"gateway\",\"mcp_payload\":");
    out.extend_from_slice(message);
    out.push(b'}');
    out.into()
}

/// Wraps an answer of dialect R, whose reader looks at `mcp_payload` alone.
pub fn wrap_payload(message: &[u8]) -> Bytes {
    [b"{\"mcp_payload\":", message, b"}"].concat().into()
}

#[cfg(test)]
mod tests;
