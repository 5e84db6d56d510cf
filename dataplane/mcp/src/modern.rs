//! What a self-describing request must carry, checked in the order that published SDKs and the conformance suite agree
//! on. Changes when 2026-07-28 gets a successor.
//!
//! Source: MCP 2026-07-28, "Request metadata" and "Streamable HTTP: headers".

use serde_json::{Value, json};

use crate::error::code;
use crate::frame::Frame;
use crate::param_headers::decode_value;
use crate::scan::{Kind as Json, kind_of};
use crate::version::{Era, Version};

/// Header values as received; `Err` when a header is repeated or not text.
#[derive(Debug, Clone, Copy, Default)]
pub struct Headers<'a> {
    /// `MCP-Protocol-Version`.
    pub version: Option<&'a str>,
    /// `Mcp-Method`.
    pub method: Option<&'a str>,
    /// `Mcp-Name`.
    pub name: Option<&'a str>,
}

/// Why a request is refused, with the HTTP status that goes with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Violation {
    /// HTTP status.
    pub status: u16,
    /// JSON-RPC error code.
    pub code: i64,
    /// What is wrong.
    pub message: String,
    /// `error.data`.
    pub data: Option<Value>,
}

impl Violation {
    fn new(status: u16, code: i64, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), data: None }
    }

    /// A method that does not exist in this revision or is not offered.
    pub fn method_not_found(method: &str) -> Self {
        Self::new(404, code::METHOD_NOT_FOUND, format!("method `{method}` is not available"))
    }
}

/// Checks headers against the body, then the metadata, then the method. `headers` is `None` on transports without them.
pub fn check(frame: &Frame, headers: Option<Headers<'_>>) -> Result<(), Violation> {
    let meta = frame.envelope().params.as_ref().map(|params| &params.meta);
    let named = meta.and_then(|meta| meta.protocol_version);
    let version = match named {
        None => None,
        Some(span) => Some(frame.text(Some(span)).ok_or_else(|| {
            Violation::new(400, code::INVALID_PARAMS, "`_meta` protocolVersion must be a string")
        })?),
    };
    if let Some(headers) = headers {
        agree(frame, headers, version.as_deref())?;
    }
    let Some(version) = version else {
        return Err(missing("protocolVersion"));
    };
    if Version::parse(&version).is_none_or(|version| version.era() != Era::Modern) {
        return Err(Violation {
            data: Some(json!({ "supported": supported(), "requested": version })),
            ..Violation::new(400, code::UNSUPPORTED_VERSION, "unsupported protocol version")
        });
    }
    let is_object = |span| frame.raw(span).and_then(kind_of) == Some(Json::Object);
    match meta.and_then(|meta| meta.client_capabilities) {
        None => return Err(missing("clientCapabilities")),
        Some(span) if !is_object(Some(span)) => {
            return Err(Violation::new(
                400,
                code::INVALID_PARAMS,
                "`_meta` clientCapabilities must be an object",
            ));
        }
        Some(_) => {}
    }
    if !frame.method().exists_in(Era::Modern) {
        return Err(Violation::method_not_found(&frame.method_name()));
    }
    Ok(())
}

/// The stateless revisions served, newest first.
pub fn supported() -> Vec<&'static str> {
    let modern = Version::ALL.iter().rev().filter(|version| version.era() == Era::Modern);
    modern.map(|version| version.as_str()).collect()
}

fn missing(field: &str) -> Violation {
    let message = format!("missing `_meta` field io.modelcontextprotocol/{field}");
    Violation::new(400, code::INVALID_PARAMS, message)
}

fn agree(frame: &Frame, headers: Headers<'_>, version: Option<&str>) -> Result<(), Violation> {
    let mismatch = |message: String| Violation::new(400, code::HEADER_MISMATCH, message);
    let equal = |header: &str, sent: Option<&str>, body: &str| match sent {
        None => Err(mismatch(format!("missing header {header}"))),
        Some(sent) if sent != body => Err(mismatch(format!("header {header} differs from the body"))),
        Some(_) => Ok(()),
    };
    if let Some(version) = version {
        equal("MCP-Protocol-Version", headers.version.map(trimmed), version)?;
    }
    equal("Mcp-Method", headers.method.map(trimmed), &frame.method_name())?;
    // A removed method is refused as such, whatever its params were once mirrored in.
    if let Some(target) = frame.target().filter(|_| frame.method().exists_in(Era::Modern)) {
        let sent = headers.name.map(|value| {
            decode_value(value).ok_or_else(|| mismatch("header Mcp-Name is not valid base64 text".to_owned()))
        });
        equal("Mcp-Name", sent.transpose()?.as_deref(), &target)?;
    }
    Ok(())
}

/// Optional white space around a header value is no part of it (RFC 9110 section 5.5).
fn trimmed(value: &str) -> &str {
    value.trim_matches([' ', '\t'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;
    use bytes::Bytes;

    fn call(meta: &str) -> Frame {
        let text = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"é","arguments":{{}},"_meta":{meta}}}}}"#
        );
        Frame::parse(Bytes::from(text), &Limits::client(4096, 16)).unwrap()
    }

    const FULL: &str = r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;
    const HEADERS: Headers<'static> =
        Headers { version: Some("2026-07-28"), method: Some("tools/call"), name: Some("=?base64?w6k=?=") };

    fn code_of(meta: &str, headers: Headers<'_>) -> (u16, i64) {
        let violation = check(&call(meta), Some(headers)).unwrap_err();
        (violation.status, violation.code)
    }

    #[test]
    fn an_agreeing_request_passes() {
        assert_eq!(check(&call(FULL), Some(HEADERS)), Ok(()));
        assert_eq!(check(&call(FULL), Some(Headers { method: Some(" tools/call "), ..HEADERS })), Ok(()));
        assert_eq!(check(&call(FULL), None), Ok(()));
    }

    #[test]
    fn blanks_that_belong_to_a_name_are_compared() {
        let text = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":" x ","_meta":META}}"#;
        let text = text.replace("META", FULL);
        let frame = Frame::parse(Bytes::from(text), &Limits::client(4096, 16)).unwrap();
        assert_eq!(check(&frame, Some(Headers { name: Some("=?base64?IHgg?="), ..HEADERS })), Ok(()));
        assert!(check(&frame, Some(Headers { name: Some("x"), ..HEADERS })).is_err());
    }

    #[test]
    fn headers_must_be_present_and_equal() {
        for headers in [
            Headers { version: None, ..HEADERS },
            Headers { version: Some("2025-11-25"), ..HEADERS },
            Headers { method: None, ..HEADERS },
            Headers { method: Some("tools/Call"), ..HEADERS },
            Headers { name: None, ..HEADERS },
            Headers { name: Some("e"), ..HEADERS },
            Headers { name: Some("=?base64?!!?="), ..HEADERS },
        ] {
            assert_eq!(code_of(FULL, headers), (400, code::HEADER_MISMATCH), "{headers:?}");
        }
    }

    #[test]
    fn metadata_must_be_complete() {
        assert_eq!(code_of("{}", HEADERS), (400, code::INVALID_PARAMS));
        let no_capabilities = r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}"#;
        assert_eq!(code_of(no_capabilities, HEADERS), (400, code::INVALID_PARAMS));
        let wrong = r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":[]}"#;
        assert_eq!(code_of(wrong, HEADERS), (400, code::INVALID_PARAMS));
    }

    #[test]
    fn an_unknown_version_names_the_served_ones() {
        let meta = FULL.replace("2026-07-28", "2030-01-01");
        let headers = Headers { version: Some("2030-01-01"), ..HEADERS };
        let violation = check(&call(&meta), Some(headers)).unwrap_err();
        assert_eq!(violation.code, code::UNSUPPORTED_VERSION);
        assert_eq!(violation.data, Some(json!({"supported": ["2026-07-28"], "requested": "2030-01-01"})));
    }
}
