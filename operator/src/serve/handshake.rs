//! The opening handshake of a WebSocket (RFC 6455 4.2), as far as a pod makes one. Changes with that.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::SUBPROTOCOL;

/// Appended to a key (RFC 6455 1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The headers of the answer, or what is wrong.
pub(super) fn accept(method: &Method, headers: &HeaderMap) -> Result<HeaderMap, &'static str> {
    if method != Method::GET {
        return Err("a stream begins with GET");
    }
    if !has(headers, &UPGRADE, "websocket") || !has(headers, &CONNECTION, "upgrade") {
        return Err("a stream is a WebSocket: Connection: Upgrade and Upgrade: websocket are missing");
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err("Sec-WebSocket-Version must be 13");
    }
    if !has(headers, &SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL) {
        return Err("Sec-WebSocket-Protocol must offer mcp-bridge-config.v1");
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).and_then(|key| key.to_str().ok()).unwrap_or_default();
    if STANDARD.decode(key).is_ok_and(|nonce| nonce.len() != 16) || key.is_empty() {
        return Err("Sec-WebSocket-Key must be 16 bytes as base64");
    }
    let accept = STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{GUID}").as_bytes()));
    let mut answer = HeaderMap::new();
    answer.insert(UPGRADE, HeaderValue::from_static("websocket"));
    answer.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    answer.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    // Base64 is always a header value.
    if let Ok(accept) = HeaderValue::try_from(accept) {
        answer.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    Ok(answer)
}

/// Whether a list of words has one, in any case of letters.
fn has(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|one| one.trim().eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asking(change: impl FnOnce(&mut HeaderMap)) -> Result<HeaderMap, &'static str> {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            (UPGRADE, "WebSocket"),
            (CONNECTION, "keep-alive, Upgrade"),
            (SEC_WEBSOCKET_VERSION, "13"),
            (SEC_WEBSOCKET_PROTOCOL, "other, mcp-bridge-config.v1"),
            (SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ=="),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        change(&mut headers);
        accept(&Method::GET, &headers)
    }

    #[test]
    fn the_sample_of_the_rfc_is_answered_as_there() {
        let answer = asking(|_| {}).unwrap();
        assert_eq!(answer[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(answer[SEC_WEBSOCKET_PROTOCOL], SUBPROTOCOL);
    }

    #[test]
    fn whoever_asks_for_something_else_is_told() {
        for name in [UPGRADE, CONNECTION, SEC_WEBSOCKET_VERSION, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_KEY] {
            assert!(asking(|headers| drop(headers.remove(&name))).is_err(), "{name}");
        }
        let short =
            asking(|headers| drop(headers.insert(SEC_WEBSOCKET_KEY, HeaderValue::from_static("AAAA"))));
        assert!(short.is_err());
    }
}
