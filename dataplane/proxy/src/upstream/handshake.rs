//! Opening a conversation: `initialize` for legacy backends, `server/discover` for modern ones. Changes when a revision
//! changes how conversations open.

use bridge_mcp::envelope::Kind;
use bridge_mcp::error::code;
use bridge_mcp::frame::Frame;
use bridge_mcp::limits::Limits;
use bridge_mcp::scan::{Scanner, Span, decode_string};
use bridge_mcp::version::{Era, Version};
use bridge_policy::refusal::{Reason, Refusal};
use bytes::Bytes;
use serde_json::{Value, json};

use super::{Link, UpstreamError};

/// What the gateway says of its client when it opens a legacy session.
#[derive(Debug, Clone)]
pub(crate) struct Hello {
    /// Revision to ask for.
    pub(crate) version: Version,
    /// Raw `capabilities`.
    pub(crate) capabilities: Bytes,
    /// Raw `clientInfo`.
    pub(crate) client_info: Bytes,
}

/// What a server says about itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct ServerInfo {
    pub(crate) name: String,
    pub(crate) version: String,
}

/// Characters of such a name or version that are kept.
const LONGEST_NAME: usize = 128;

/// `clientInfo` of a client that does not say.
const UNNAMED: &[u8] = br#"{"name":"unnamed","version":"0"}"#;

impl Hello {
    /// A client that said nothing of itself, and so can answer nothing that a server might ask.
    pub(crate) fn unnamed() -> Self {
        Self {
            version: Version::NEWEST_LEGACY,
            capabilities: Bytes::from_static(b"{}"),
            client_info: Bytes::from_static(UNNAMED),
        }
    }

    /// The gateway itself, which can answer nothing that a server might ask.
    pub(crate) fn gateway() -> Self {
        let info = json!({ "name": "mcp-gateway", "version": env!("CARGO_PKG_VERSION") });
        Self {
            version: Version::NEWEST_LEGACY,
            capabilities: Bytes::from_static(b"{}"),
            client_info: info.to_string().into(),
        }
    }
}

/// What a backend says of itself.
#[derive(Debug, Clone)]
pub(crate) struct Handshake {
    /// Revision agreed.
    pub(crate) version: Version,
    /// The result as received: of `initialize`, or of `server/discover`.
    pub(crate) result: Bytes,
    /// `capabilities`, read.
    pub(crate) capabilities: Value,
    /// `instructions`.
    pub(crate) instructions: Option<String>,
}

impl Handshake {
    /// What the server says about itself, in either generation's place.
    pub(crate) fn server(&self) -> ServerInfo {
        let result: Value = serde_json::from_slice(&self.result).unwrap_or_default();
        let modern = &result["_meta"]["io.modelcontextprotocol/serverInfo"];
        let info = if modern.is_object() { modern } else { &result["serverInfo"] };
        // A name is for people; one that fills a page is none.
        let text = |key: &str| info[key].as_str().unwrap_or_default().chars().take(LONGEST_NAME).collect();
        ServerInfo { name: text("name"), version: text("version") }
    }

    /// Whether its capabilities have an object or `true` at `path`.
    pub(crate) fn offers(&self, path: &[&str]) -> bool {
        let found = path.iter().try_fold(&self.capabilities, |value, key| value.get(key));
        found.is_some_and(|value| value.is_object() || value.as_bool() == Some(true))
    }
}

/// How an attempt to open ended.
#[derive(Debug)]
pub(crate) enum Opening {
    /// It speaks this generation.
    Open(Handshake),
    /// It answered, but not in this generation.
    OtherEra,
    /// It failed at this request, as a server of the other generation may, or as any server that is in trouble.
    InDoubt(Refusal),
    /// It did not answer properly; says nothing about its generation.
    Failed(Refusal),
}

const INITIALIZE_ID: &str = "\"mcp-bridge-initialize\"";

/// Sends `initialize` and reads the verdict. The caller sends `notifications/initialized`, because the link may have
/// to take over a session id first.
pub(crate) fn initialize(hello: &Hello) -> Result<Frame, Refusal> {
    let mut text = format!(
        r#"{{"jsonrpc":"2.0","id":{INITIALIZE_ID},"method":"initialize","params":{{"protocolVersion":"{}","capabilities":"#,
        hello.version
    )
    .into_bytes();
    text.extend_from_slice(&hello.capabilities);
    text.extend_from_slice(b",\"clientInfo\":");
    text.extend_from_slice(&hello.client_info);
    text.extend_from_slice(b"}}");
    parse_own(text.into())
}

/// The `notifications/initialized` message.
pub(crate) fn initialized() -> Bytes {
    Bytes::from_static(br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#)
}

/// A request of the gateway's own in the modern era.
pub(crate) fn modern_request(method: &str, params: &Value) -> Result<Frame, Refusal> {
    let mut params = params.clone();
    if let Some(object) = params.as_object_mut() {
        object.insert(
            "_meta".to_owned(),
            json!({
                "io.modelcontextprotocol/protocolVersion": Version::NEWEST_MODERN.as_str(),
                "io.modelcontextprotocol/clientCapabilities": {},
                "io.modelcontextprotocol/clientInfo": { "name": "mcp-gateway", "version": env!("CARGO_PKG_VERSION") },
            }),
        );
    }
    own_request(method, &params)
}

/// A request of the gateway's own. On a link whose ids are not mapped it must not meet an id of the client's, hence the
/// prefix; one id is enough, because the gateway asks one thing at a time on such a link.
pub(crate) fn own_request(method: &str, params: &Value) -> Result<Frame, Refusal> {
    let message =
        json!({ "jsonrpc": "2.0", "id": format!("mcp-bridge-{method}"), "method": method, "params": params });
    parse_own(message.to_string().into())
}

fn parse_own(text: Bytes) -> Result<Frame, Refusal> {
    Frame::parse(text, &Limits::backend(usize::MAX, 64))
        .map_err(|error| Refusal::new(Reason::BadMessage, format!("capabilities or client info: {error}")))
}

/// Asks a backend what it is (protocol page 3.1).
pub(crate) async fn discover(link: &Link) -> Opening {
    let frame = match modern_request("server/discover", &json!({})) {
        Ok(frame) => frame,
        Err(refusal) => return Opening::Failed(refusal),
    };
    match link.ask(&frame, super::http::mirror(&frame)).await {
        Ok(answer) if answer.kind() == Kind::Result => {
            let result = result_of(&answer);
            let read: Value = serde_json::from_slice(&result).unwrap_or_default();
            let speaks = read.get("supportedVersions").and_then(Value::as_array).is_some_and(|versions| {
                versions
                    .iter()
                    .filter_map(Value::as_str)
                    .any(|version| version == Version::NEWEST_MODERN.as_str())
            });
            if !speaks {
                return Opening::OtherEra;
            }
            Opening::Open(handshake(Version::NEWEST_MODERN, result, &read))
        }
        Ok(answer) => match error_code(&answer) {
            // It knows the modern error codes, so it is modern, but not with our revision or not with our request.
            Some(code::HEADER_MISMATCH | code::MISSING_CAPABILITY | code::UNSUPPORTED_VERSION) => {
                Opening::Failed(Refusal::new(
                    Reason::BackendProtocol,
                    "it refuses `server/discover` of 2026-07-28",
                ))
            }
            _ => Opening::OtherEra,
        },
        Err(UpstreamError::SessionLost) => Opening::Failed(unreached()),
        Err(UpstreamError::ServerError(refusal)) => Opening::InDoubt(refusal),
        Err(UpstreamError::Failed(refusal)) => match refusal.reason {
            // Answered, though not with JSON-RPC: an old server's error page.
            Reason::BackendProtocol => Opening::OtherEra,
            _ => Opening::Failed(refusal),
        },
    }
}

/// Reads the answer to `initialize`.
pub(crate) fn verdict(answer: Result<Frame, UpstreamError>) -> Opening {
    match answer {
        Ok(answer) if answer.kind() == Kind::Result => {
            let result = result_of(&answer);
            let read: Value = serde_json::from_slice(&result).unwrap_or_default();
            let named = read.get("protocolVersion").and_then(Value::as_str);
            match named.and_then(Version::parse) {
                Some(version) if version.era() == Era::Legacy => {
                    Opening::Open(handshake(version, result, &read))
                }
                Some(_) => Opening::OtherEra,
                None => Opening::Failed(Refusal::new(
                    Reason::BackendProtocol,
                    "it answers `initialize` with a protocol version that is not published",
                )),
            }
        }
        Ok(answer) => match error_code(&answer) {
            Some(code::METHOD_NOT_FOUND | code::UNSUPPORTED_VERSION | code::HEADER_MISMATCH) => {
                Opening::OtherEra
            }
            Some(code::INVALID_PARAMS | code::INVALID_REQUEST) => Opening::OtherEra,
            code => Opening::Failed(Refusal::new(
                Reason::BackendProtocol,
                format!("it refuses `initialize` with code {}", code.unwrap_or_default()),
            )),
        },
        Err(UpstreamError::SessionLost) => Opening::Failed(unreached()),
        // Every server knows `initialize`, or says so.
        Err(UpstreamError::ServerError(refusal) | UpstreamError::Failed(refusal)) => Opening::Failed(refusal),
    }
}

/// No session is open yet that could be lost: the connection failed.
fn unreached() -> Refusal {
    Refusal::new(Reason::BackendUnavailable, "it cannot be reached")
}

fn handshake(version: Version, result: Bytes, read: &Value) -> Handshake {
    Handshake {
        version,
        result,
        capabilities: read.get("capabilities").cloned().unwrap_or_else(|| json!({})),
        instructions: read.get("instructions").and_then(Value::as_str).map(ToOwned::to_owned),
    }
}

fn result_of(answer: &Frame) -> Bytes {
    answer.envelope().result.map(|span| answer.slice(span)).unwrap_or_default()
}

/// `error.code` of an error response.
pub(crate) fn error_code(answer: &Frame) -> Option<i64> {
    let raw = answer.raw(answer.envelope().error)?;
    let error: Value = serde_json::from_slice(raw).ok()?;
    error.get("code")?.as_i64()
}

/// Replaces one top-level string member of a raw object, byte for byte otherwise.
pub(crate) fn with_member(object: &Bytes, key: &str, value: &str) -> Bytes {
    with_raw_member(object, key, Value::from(value).to_string())
}

/// Replaces one top-level member of a raw object, byte for byte otherwise.
pub(super) fn with_raw_member(object: &Bytes, key: &str, raw: String) -> Bytes {
    let limits = Limits::backend(usize::MAX, 128);
    let mut at: Option<Span> = None;
    let scanned = Scanner::new(object, &limits).and_then(|mut scanner| {
        scanner.object(|scanner, name| {
            let found = decode_string(name.of(object)).is_some_and(|name| name == key);
            let span = scanner.value()?;
            if found {
                at = Some(span);
            }
            Ok(())
        })
    });
    let mut edits = bridge_mcp::splice::Edits::new();
    if let (Ok(_), Some(span)) = (scanned, at) {
        edits.replace(span, raw);
    }
    edits.apply(object)
}
