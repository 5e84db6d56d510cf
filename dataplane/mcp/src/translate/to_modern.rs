//! A client with a session served by a server of 2026-07-28: requests out, answers and notifications back.
//! Changes when a legacy request or result gets another modern form.
//!
//! What the server needs of the client comes as an `input_required` result; [`Round`] asks the client in its own way and
//! collects the answers for the retry. The driver holds the pending call and counts the rounds.

mod answer;
mod forms;
mod results;
mod round;

pub use answer::{Answer, Ask, InputRequired, answer};
pub use round::{Round, Step};

use bytes::Bytes;

use super::capabilities::Capabilities;
use super::is_reserved;
use super::losses::{Loss, Losses};
use super::members::{Meta, Object, is_object, quoted, scanner};
use super::reply;
use crate::frame::Frame;
use crate::merge::ListKind;
use crate::method::Method;
use crate::splice::Edits;
use crate::version::Version;

/// What a session knows of its client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// The revision of the session.
    pub version: Version,
    /// What is declared to servers for it: [`capabilities`] of what it said.
    pub capabilities: Bytes,
    /// Raw `clientInfo`; empty when it gave none.
    pub client_info: Bytes,
}

/// What of a legacy client's raw capabilities a modern server may use: the questions that its revision has a form for.
/// The same set is the same bytes.
pub fn capabilities(raw: &[u8], version: Version) -> Bytes {
    Capabilities::read(raw).of(version).to_json().into()
}

/// What a retry brings to the server beside the request.
#[derive(Debug, Clone, Copy)]
pub struct Retry<'a> {
    /// Raw `inputResponses`, an object; empty after a round that asked nothing.
    pub responses: &'a [u8],
    /// Raw `requestState`, exactly as the server gave it.
    pub state: Option<&'a [u8]>,
}

/// The request as a modern server expects it: it says itself who asks. `id` is the raw id upstream, `level` the log level
/// that the session set. Everything else stays, `params.task` excepted.
pub fn request(
    request: &Frame,
    id: &[u8],
    client: &Client,
    level: Option<&str>,
    retry: Option<Retry<'_>>,
) -> Bytes {
    let mut edits = Edits::new();
    if let Some(span) = request.envelope().id {
        edits.replace(span, id.to_vec());
    }
    let meta = metadata(client, level);
    let first = retry.map(retried).unwrap_or_default();
    let params = request.envelope().params.as_ref().and_then(|params| params.members.span);
    if let Some(params) = params.and_then(|span| Object::at(request.bytes(), span)) {
        let drop = |key: &str| matches!(key, "task" | "inputResponses" | "requestState");
        params.rewrite_with_meta(&mut edits, drop, &first, &Meta { drop: is_reserved, first: &meta });
    } else {
        let comma: &[u8] = if first.is_empty() { b"" } else { b"," };
        let params = [b"\"params\":{", &*first, comma, b"\"_meta\":{", &meta, b"}},"].concat();
        edits.insert(request.envelope().body_start, params);
    }
    request.edited(edits)
}

fn metadata(client: &Client, level: Option<&str>) -> Vec<u8> {
    let mut meta = format!(
        r#""io.modelcontextprotocol/protocolVersion":"{}","io.modelcontextprotocol/clientCapabilities":"#,
        Version::NEWEST_MODERN
    )
    .into_bytes();
    meta.extend_from_slice(&client.capabilities);
    if !client.client_info.is_empty() {
        meta.extend_from_slice(b",\"io.modelcontextprotocol/clientInfo\":");
        meta.extend_from_slice(&client.client_info);
    }
    if let Some(level) = level {
        let level = format!(r#","io.modelcontextprotocol/logLevel":{}"#, quoted(level));
        meta.extend_from_slice(level.as_bytes());
    }
    meta
}

fn retried(retry: Retry<'_>) -> Vec<u8> {
    let mut members = Vec::new();
    if Object::whole(retry.responses).is_some_and(|responses| !responses.members().is_empty()) {
        members.push([b"\"inputResponses\":", retry.responses].concat());
    }
    if let Some(state) = retry.state {
        members.push([b"\"requestState\":", state].concat());
    }
    members.join(&b","[..])
}

/// What [`request`] leaves out of a request.
pub fn unsent(request: &Frame) -> Losses {
    let mut lost = Losses::default();
    if request.envelope().params.as_ref().is_some_and(|params| params.members.task.is_some()) {
        lost.insert(Loss::CoreTasks);
    }
    lost
}

/// What is lost with a client's notification: there is none in this generation that a client may send.
pub fn untold(notice: &Frame) -> Losses {
    match notice.method() {
        Method::Initialized | Method::Cancelled => Losses::default(),
        _ => Loss::ClientNotice.into(),
    }
}

/// What is lost of a notification that [`notice`] does not show. Some are between server and gateway.
pub fn unshown(notice: &Frame) -> Losses {
    match notice.method() {
        Method::Acknowledged | Method::Cancelled => Losses::default(),
        _ => Loss::ServerNotice.into(),
    }
}

/// A modern server's notification as a session of revision `version` may see it; `None` when it knows none such. Tags of
/// a listen are taken off. The progress token is the request's own.
pub fn notice(notice: &Frame, version: Version) -> Option<Bytes> {
    let known = matches!(
        notice.method(),
        Method::Progress
            | Method::Message
            | Method::ToolsListChanged
            | Method::PromptsListChanged
            | Method::ResourcesListChanged
            | Method::ResourcesUpdated
    );
    if !known {
        return None;
    }
    let mut edits = Edits::new();
    let params = notice.envelope().params.as_ref().and_then(|params| params.members.span);
    if let Some(params) = params.and_then(|span| Object::at(notice.bytes(), span)) {
        // Progress has had a text since 2025-03-26.
        let older = version < Version::V2025_03_26 && notice.method() == Method::Progress;
        let drop = |key: &str| older && key == "message";
        params.rewrite_with_meta(&mut edits, drop, b"", &Meta { drop: is_reserved, first: b"" });
    }
    Some(notice.edited(edits))
}

/// The result of `initialize` that says what the raw result of `server/discover` said, for a session of `version`.
pub fn initialize_result(discover_result: &[u8], version: Version) -> Bytes {
    const UNNAMED: &[u8] = br#"{"name":"mcp-server","version":"0"}"#;
    let text = Bytes::copy_from_slice(discover_result);
    let mut edits = Edits::new();
    let result = Object::whole(&text);
    let info = result.as_ref().and_then(|result| result.object("_meta"));
    let info = info.and_then(|meta| meta.raw("io.modelcontextprotocol/serverInfo"));
    let info = info.filter(|info| is_object(info)).unwrap_or(UNNAMED);
    let offered = result.as_ref().and_then(|result| result.object("capabilities"));
    let mut first = format!(r#""protocolVersion":"{version}","serverInfo":"#).into_bytes();
    first.extend_from_slice(info);
    match &offered {
        Some(offered) => offered.rewrite(&mut edits, |key| matches!(key, "extensions" | "tasks"), b""),
        None => first.extend_from_slice(b",\"capabilities\":{}"),
    }
    let Some(result) = result else { return [b"{", &*first, b"}"].concat().into() };
    let drop = |key: &str| {
        matches!(
            key,
            "resultType" | "supportedVersions" | "ttlMs" | "cacheScope" | "protocolVersion" | "serverInfo"
        ) || (key == "capabilities" && offered.is_none())
    };
    result.rewrite_with_meta(&mut edits, drop, &first, &Meta { drop: is_reserved, first: b"" });
    edits.apply(&text)
}

/// What [`initialize_result`] leaves out.
pub fn unoffered(discover_result: &[u8]) -> Losses {
    let offered = Object::whole(discover_result)
        .and_then(|result| result.object("capabilities").map(|offered| offered.get("extensions").is_some()));
    if offered == Some(true) { Loss::ServerExtensions.into() } else { Losses::default() }
}

/// An item of a modern server's list as a legacy client may see it; `None` when it may not. `raw` is the item. The client
/// of a kept list is of any legacy revision.
pub fn item(kind: ListKind, raw: &[u8], lost: &mut Losses) -> Option<Bytes> {
    let text = Bytes::copy_from_slice(raw);
    let mut edits = Edits::new();
    if kind == ListKind::Tools {
        let span = scanner(raw).and_then(|mut scanner| scanner.value()).ok()?;
        results::edit_tool(raw, span, Version::NEWEST_LEGACY, &mut edits, lost);
    }
    Some(edits.apply(&text))
}

/// The end of a call that cannot go on, for a reason that the client may read: a result with `isError` for a tool, else
/// `-32603`.
pub fn failed(request: &Frame, reason: &str) -> Bytes {
    reply::failed(request, reason, false)
}

#[cfg(test)]
mod tests;
