//! JSON-RPC errors that the gateway itself answers with. Changes when the gateway has another reason to refuse.

use bytes::Bytes;
use serde_json::{Value, json};

/// Codes of JSON-RPC 2.0 section 5.1 and of MCP 2026-07-28.
pub mod code {
    /// Not JSON.
    pub const PARSE: i64 = -32700;
    /// Not a JSON-RPC message, or not one that is legal here.
    pub const INVALID_REQUEST: i64 = -32600;
    /// Unknown method.
    pub const METHOD_NOT_FOUND: i64 = -32601;
    /// Bad params.
    pub const INVALID_PARAMS: i64 = -32602;
    /// The gateway or a backend failed.
    pub const INTERNAL: i64 = -32603;
    /// Header missing, malformed or different from the body (2026-07-28).
    pub const HEADER_MISMATCH: i64 = -32020;
    /// The client did not declare a capability that the call needs (2026-07-28).
    pub const MISSING_CAPABILITY: i64 = -32021;
    /// Protocol version not served (2026-07-28).
    pub const UNSUPPORTED_VERSION: i64 = -32022;
    /// Backend unavailable; the original gateway's documented code.
    pub const BACKEND_UNAVAILABLE: i64 = -32004;
    /// Backend timeout; the original gateway's documented code.
    pub const BACKEND_TIMEOUT: i64 = -32005;
    /// Resource not found; legacy revisions only, 2026-07-28 says [`INVALID_PARAMS`].
    pub const RESOURCE_NOT_FOUND: i64 = -32002;
    /// The principal is not allowed; the original gateway's code.
    pub const UNAUTHORIZED: i64 = -32002;
}

/// Encodes an error response. `id` is the raw id of the request; `null` is written when there is none.
pub fn error_response(id: Option<&[u8]>, code: i64, message: &str, data: Option<&Value>) -> Bytes {
    let mut error = json!({ "code": code, "message": message });
    if let (Some(data), Some(object)) = (data, error.as_object_mut()) {
        object.insert("data".to_owned(), data.clone());
    }
    response(id, "error", error.to_string().as_bytes())
}

/// Encodes a result response around raw JSON.
pub fn result_response(id: &[u8], result: &[u8]) -> Bytes {
    response(Some(id), "result", result)
}

fn response(id: Option<&[u8]>, member: &str, value: &[u8]) -> Bytes {
    raw_response(id.unwrap_or(b"null"), member, value)
}

/// Encodes a response with a raw `result` or `error`.
pub fn raw_response(id: &[u8], member: &str, value: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(value.len() + id.len() + 40);
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    out.extend_from_slice(id);
    out.extend_from_slice(b",\"");
    out.extend_from_slice(member.as_bytes());
    out.extend_from_slice(b"\":");
    out.extend_from_slice(value);
    out.push(b'}');
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_echoes_the_id_as_spelled() {
        let text =
            error_response(Some(b"1e3"), code::INTERNAL, "no \"luck\"", Some(&json!({"retry": "safe"})));
        assert_eq!(
            text,
            r#"{"jsonrpc":"2.0","id":1e3,"error":{"code":-32603,"data":{"retry":"safe"},"message":"no \"luck\""}}"#
        );
    }

    #[test]
    fn an_unreadable_id_becomes_null() {
        assert!(error_response(None, code::PARSE, "x", None).starts_with(br#"{"jsonrpc":"2.0","id":null,"#));
    }
}
