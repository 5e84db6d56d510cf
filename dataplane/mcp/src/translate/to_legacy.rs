//! A client of 2026-07-28 served by a server that opens with `initialize`: requests out, answers and notifications back.
//! Changes when a modern request or result gets another legacy form.
//!
//! What a server asks meanwhile is kept by [`Questions`] and reaches the client as an `input_required` result. The driver
//! holds the call open between the client's requests; nothing here knows of time or connections.

mod answer;
mod questions;
mod tools;
mod urls;

pub use answer::{Answer, answer};
pub use questions::{INPUT_KEY, Questions};
pub use urls::{UrlAnswer, urls_answered, urls_declined, urls_required};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::canonical;
use super::capabilities::Capabilities;
use super::is_reserved;
use super::losses::{Loss, Losses};
use super::members::{Meta, Object, is_object, quoted};
use super::reply;
use crate::error::{code, error_response};
use crate::frame::Frame;
use crate::merge::ListKind;
use crate::method::Method;
use crate::splice::Edits;
use crate::version::Version;

/// The request as a legacy server expects it: without the specification's own metadata and without answers to
/// questions, which it gets as responses. Id, progress token and foreign metadata stay.
pub fn request(request: &Frame) -> Bytes {
    let mut edits = Edits::new();
    let params = request.envelope().params.as_ref().and_then(|params| params.members.span);
    if let Some(params) = params.and_then(|span| Object::at(request.bytes(), span)) {
        let drop = |key: &str| matches!(key, "inputResponses" | "requestState");
        params.rewrite_with_meta(&mut edits, drop, b"", &Meta { drop: is_reserved, first: b"" });
    }
    request.edited(edits)
}

/// What the handshake declares for a client that declared the raw capabilities `raw`: the questions that it can answer,
/// nothing else. The same set is the same bytes, and there are few sets, so that sessions can be pooled by it.
pub fn capabilities(raw: &[u8]) -> Bytes {
    Capabilities::read(raw).of(Version::NEWEST_LEGACY).to_json().into()
}

/// What [`capabilities`] leaves out of a declaration.
pub fn undeclared(raw: &[u8]) -> Losses {
    let mut lost = Losses::default();
    if Object::whole(raw)
        .is_some_and(|all| ["extensions", "experimental"].iter().any(|key| all.get(key).is_some()))
    {
        lost.insert(Loss::ClientExtensions);
    }
    lost
}

/// SHA-256 of what a retry must repeat: method and params without metadata and answers, in one spelling, so that a client
/// may encode the retry anew.
pub fn digest(request: &Frame) -> [u8; 32] {
    const OWN: [&[u8]; 3] = [b"\"_meta\"", b"\"inputResponses\"", b"\"requestState\""];
    let params = request.envelope().params.as_ref().and_then(|params| params.members.span);
    let params = params.and_then(|span| canonical::without(span.of(request.bytes()), &OWN));
    Sha256::new()
        .chain_update(quoted(&request.method_name()))
        .chain_update(params.as_deref().unwrap_or(b"{}"))
        .finalize()
        .into()
}

/// What a modern client sees on the stream of its call: progress, and log messages at or above the level that the
/// request names. Everything else reaches it through a listen, or not at all.
pub fn notice(notice: &Frame, level: Option<&str>) -> Option<Bytes> {
    let shown = match notice.method() {
        Method::Progress => true,
        Method::Message => {
            let named = notice.envelope().params.as_ref()?.members.level;
            severity(&notice.text(named)?)? >= severity(level?)?
        }
        _ => false,
    };
    shown.then(|| notice.bytes().clone())
}

/// What is lost of a notification that [`notice`] does not show. A log message below the level is not wanted.
pub fn unshown(notice: &Frame, level: Option<&str>) -> Losses {
    match (notice.method(), level) {
        (Method::Message, Some(_)) => Losses::default(),
        _ => stray(notice),
    }
}

/// What is lost with a message of the server's that belongs to no call: nobody else may see it.
pub fn stray(message: &Frame) -> Losses {
    let loss = match message.method() {
        _ if message.envelope().id.is_some() => Loss::QuestionOutsideCall,
        Method::Message => Loss::LooseLog,
        Method::ElicitationComplete => Loss::UrlCompletion,
        // The gateway's own session hears of changes that are everybody's.
        Method::ToolsListChanged | Method::PromptsListChanged | Method::ResourcesListChanged => {
            Loss::SessionList
        }
        _ => return Losses::default(),
    };
    loss.into()
}

/// Levels of RFC 5424 from the least severe, as MCP spells them.
fn severity(level: &str) -> Option<usize> {
    const LEVELS: [&str; 8] =
        ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];
    LEVELS.iter().position(|known| *known == level)
}

/// The result of `server/discover` that says what the raw result of `initialize` said. `supported` are the revisions
/// that the gateway serves.
pub fn discover_result(initialize_result: &[u8], supported: &[&str]) -> Bytes {
    let text = Bytes::copy_from_slice(initialize_result);
    let whole = Object::whole(&text);
    let supported: Vec<_> = supported.iter().map(|version| quoted(version)).collect();
    let mut first = format!(
        r#""resultType":"complete","supportedVersions":[{}],"ttlMs":0,"cacheScope":"private""#,
        supported.join(",")
    );
    let Some(result) = whole else { return format!(r#"{{{first},"capabilities":{{}}}}"#).into() };
    let mut edits = Edits::new();
    let capabilities = result.object("capabilities");
    match &capabilities {
        Some(offered) => {
            offered.rewrite(
                &mut edits,
                |key| matches!(key, "tasks" | "extensions"),
                completions(&result, offered),
            );
        }
        None => first.push_str(r#","capabilities":{}"#),
    }
    let info = result.raw("serverInfo").filter(|info| is_object(info));
    let info = info.map(|info| [SERVER_INFO, info].concat()).unwrap_or_default();
    let drop = |key: &str| {
        matches!(
            key,
            "protocolVersion" | "serverInfo" | "resultType" | "supportedVersions" | "ttlMs" | "cacheScope"
        ) || (key == "capabilities" && capabilities.is_none())
    };
    let meta = Meta { drop: is_reserved, first: &info };
    result.rewrite_with_meta(&mut edits, drop, first.as_bytes(), &meta);
    edits.apply(&text)
}

/// 2024-11-05 has no capability for completions: a server may answer them without a word. A modern client does not try
/// what is not offered, and a server that cannot says so.
fn completions(result: &Object<'_>, offered: &Object<'_>) -> &'static [u8] {
    let silent = result.text("protocolVersion").as_deref() == Some(Version::V2024_11_05.as_str());
    let completable = ["prompts", "resources"].iter().any(|key| offered.get(key).is_some());
    if silent && completable && offered.get("completions").is_none() { b"\"completions\":{}" } else { b"" }
}

/// The questions that the client can answer, as this request declares.
fn declared(request: &Frame) -> Capabilities {
    let declared = request.envelope().params.as_ref().and_then(|params| params.meta.client_capabilities);
    request.raw(declared).map(Capabilities::read).unwrap_or_default()
}

/// The member of a result's metadata that says who answered.
const SERVER_INFO: &[u8] = b"\"io.modelcontextprotocol/serverInfo\":";

/// An item of a legacy server's list as a modern client may see it; `None` when it may not. `raw` is the item.
pub fn item(kind: ListKind, raw: &[u8], lost: &mut Losses) -> Option<Bytes> {
    let text = Bytes::copy_from_slice(raw);
    let mut edits = Edits::new();
    if kind == ListKind::Tools {
        let span = super::members::scanner(raw).and_then(|mut scanner| scanner.value()).ok()?;
        tools::edit(raw, span, &mut edits, lost).then_some(())?;
    }
    Some(edits.apply(&text))
}

/// The error for a call that failed because its server needed what the client did not declare; `required` is
/// [`Questions::missing`]. `None` when the server's `answer` is a success all the same.
pub fn missing_capability(request: &Frame, answer: &Frame, required: &str) -> Option<Bytes> {
    let failed = match answer.envelope().result {
        Some(span) => Object::at(answer.bytes(), span)?.raw("isError") == Some(b"true"),
        None => true,
    };
    let data = serde_json::json!({
        "requiredCapabilities": serde_json::from_str::<serde_json::Value>(required).unwrap_or_default()
    });
    let text = "the server needs a capability that this request does not declare";
    failed.then(|| error_response(Some(reply::id(request)), code::MISSING_CAPABILITY, text, Some(&data)))
}

/// The end of a call that cannot go on, for a reason that the client may read: a result with `isError` for a tool, else
/// `-32603`.
pub fn failed(request: &Frame, reason: &str) -> Bytes {
    reply::failed(request, reason, true)
}

#[cfg(test)]
mod tests;
