//! The headers of WebSocket handshakes (RFC 6455 section 4). Changes when a handshake needs another header.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{Method, StatusCode, response};

use super::SUBPROTOCOL;

/// What every implementation appends to the client's key.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const VERSION: HeaderValue = HeaderValue::from_static("13");
const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
const UPGRADING: HeaderValue = HeaderValue::from_static("Upgrade");

/// Why a request for an upgrade is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Another version (section 4.4).
    #[error("only version 13 of WebSocket is spoken")]
    Version,
    /// No proper request (section 4.2.1).
    #[error("not a WebSocket handshake: it is a GET with `Connection: Upgrade` and a key of 16 bytes")]
    Malformed,
}

impl Refused {
    /// HTTP status.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Version => StatusCode::UPGRADE_REQUIRED,
            Self::Malformed => StatusCode::BAD_REQUEST,
        }
    }

    /// Headers that go with the refusal.
    pub fn headers(self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if self == Self::Version {
            headers.insert(SEC_WEBSOCKET_VERSION, VERSION);
        }
        headers
    }
}

/// Why an answer opens no connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotOpened {
    /// The server answered something else.
    #[error("the server answered {0} instead of opening a WebSocket connection")]
    Status(StatusCode),
    /// It is no answer to this request.
    #[error("the server's handshake is wrong: {0}")]
    Malformed(&'static str),
}

/// Whether a request asks for WebSocket at all.
pub fn is_wanted(headers: &HeaderMap) -> bool {
    has_token(headers, &UPGRADE, "websocket")
}

/// The headers of the answer that opens a connection, with status 101. Of the subprotocols offered, only `mcp` is taken.
pub fn accept(method: &Method, headers: &HeaderMap) -> Result<HeaderMap, Refused> {
    if method != Method::GET || !has_token(headers, &CONNECTION, "upgrade") {
        return Err(Refused::Malformed);
    }
    if headers.get(SEC_WEBSOCKET_VERSION) != Some(&VERSION) {
        return Err(Refused::Version);
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes).unwrap_or_default();
    if STANDARD.decode(key).map_or(0, |key| key.len()) != 16 {
        return Err(Refused::Malformed);
    }
    let mut answer = HeaderMap::new();
    answer.insert(UPGRADE, WEBSOCKET);
    answer.insert(CONNECTION, UPGRADING);
    let accepted = HeaderValue::try_from(accept_key(key)).map_err(|_| Refused::Malformed)?;
    answer.insert(SEC_WEBSOCKET_ACCEPT, accepted);
    if has_token(headers, &SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL) {
        answer.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    }
    Ok(answer)
}

/// The headers of a request for a connection in a subprotocol, with the key to be checked. `random` is the nonce.
pub fn request(random: [u8; 16], subprotocol: &'static str) -> (HeaderMap, String) {
    let key = STANDARD.encode(random);
    let mut headers = HeaderMap::new();
    headers.insert(UPGRADE, WEBSOCKET);
    headers.insert(CONNECTION, UPGRADING);
    headers.insert(SEC_WEBSOCKET_VERSION, VERSION);
    headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(subprotocol));
    // Base64 is always a header value.
    if let Ok(value) = HeaderValue::try_from(&key) {
        headers.insert(SEC_WEBSOCKET_KEY, value);
    }
    (headers, key)
}

/// Checks the answer to a [`request`] with this key and subprotocol. A server that selects no subprotocol is one that does
/// not know any.
pub fn opened(answer: &response::Parts, key: &str, subprotocol: &str) -> Result<(), NotOpened> {
    if answer.status != StatusCode::SWITCHING_PROTOCOLS {
        return Err(NotOpened::Status(answer.status));
    }
    if !has_token(&answer.headers, &UPGRADE, "websocket") {
        return Err(NotOpened::Malformed("`Upgrade` does not say websocket"));
    }
    let accepted = answer.headers.get(SEC_WEBSOCKET_ACCEPT).map(HeaderValue::as_bytes);
    if accepted != Some(accept_key(key.as_bytes()).as_bytes()) {
        return Err(NotOpened::Malformed("`Sec-WebSocket-Accept` does not match the key"));
    }
    match answer.headers.get(SEC_WEBSOCKET_PROTOCOL) {
        Some(chosen) if chosen != subprotocol => {
            Err(NotOpened::Malformed("it selected a subprotocol that was not offered"))
        }
        _ => Ok(()),
    }
}

/// Section 4.2.2, item 5.4.
fn accept_key(key: &[u8]) -> String {
    let text = [key, GUID.as_bytes()].concat();
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &text))
}

/// Whether a list header has a token, in any case.
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .any(|found| found.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

#[cfg(test)]
mod tests {
    use http::Response;

    use super::*;

    /// The example of RFC 6455 section 1.3.
    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    fn asking(change: impl FnOnce(&mut HeaderMap)) -> HeaderMap {
        let (mut headers, _) = request([0; 16], SUBPROTOCOL);
        headers.insert(SEC_WEBSOCKET_KEY, HeaderValue::from_static(KEY));
        change(&mut headers);
        headers
    }

    #[test]
    fn the_example_of_the_rfc_is_accepted() {
        let headers = asking(|headers| {
            headers.insert(CONNECTION, HeaderValue::from_static("keep-alive, upgrade"));
            headers.insert(UPGRADE, HeaderValue::from_static("WebSocket"));
            headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("chat, mcp"));
        });
        assert!(is_wanted(&headers));
        let answer = accept(&Method::GET, &headers).unwrap();
        assert_eq!(answer[SEC_WEBSOCKET_ACCEPT], ACCEPT);
        assert_eq!(answer[SEC_WEBSOCKET_PROTOCOL], "mcp");
        let other = asking(|headers| {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("chat"));
        });
        let answer = accept(&Method::GET, &other).unwrap();
        assert!(!answer.contains_key(SEC_WEBSOCKET_PROTOCOL), "none is selected");
    }

    #[test]
    fn anything_else_is_refused() {
        let version = asking(|headers| {
            headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("8"));
        });
        assert_eq!(accept(&Method::GET, &version), Err(Refused::Version));
        assert_eq!(Refused::Version.headers()[SEC_WEBSOCKET_VERSION], "13");
        for key in ["", "c2hvcnQ=", "not base64 at all!!!!!!!"] {
            let headers = asking(|headers| {
                headers.insert(SEC_WEBSOCKET_KEY, HeaderValue::from_static(key));
            });
            assert_eq!(accept(&Method::GET, &headers), Err(Refused::Malformed), "{key}");
        }
        assert_eq!(accept(&Method::POST, &asking(|_| ())), Err(Refused::Malformed));
        assert!(!is_wanted(&asking(|headers| drop(headers.remove(UPGRADE)))));
    }

    #[test]
    fn a_client_takes_the_answer_to_its_own_request_only() {
        let (headers, key) = request(*b"the sample nonce", SUBPROTOCOL);
        assert_eq!((headers[SEC_WEBSOCKET_KEY].to_str().unwrap(), key.as_str()), (KEY, KEY));
        let answer = |accept: &'static str, protocol: Option<&'static str>| {
            let (mut parts, ()) = Response::new(()).into_parts();
            parts.status = StatusCode::SWITCHING_PROTOCOLS;
            parts.headers.insert(UPGRADE, WEBSOCKET);
            parts.headers.insert(SEC_WEBSOCKET_ACCEPT, HeaderValue::from_static(accept));
            if let Some(protocol) = protocol {
                parts.headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
            }
            parts
        };
        assert_eq!(opened(&answer(ACCEPT, None), KEY, SUBPROTOCOL), Ok(()));
        assert_eq!(opened(&answer(ACCEPT, Some("mcp")), KEY, SUBPROTOCOL), Ok(()));
        assert!(opened(&answer(ACCEPT, Some("chat")), KEY, SUBPROTOCOL).is_err());
        assert!(opened(&answer("AAAA", None), KEY, SUBPROTOCOL).is_err());
        let (mut refused, ()) = Response::new(()).into_parts();
        refused.status = StatusCode::NOT_FOUND;
        assert_eq!(opened(&refused, KEY, SUBPROTOCOL), Err(NotOpened::Status(StatusCode::NOT_FOUND)));
    }
}
