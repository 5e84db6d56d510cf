//! HTTP requests that start out right and are then bent by a test. Changes when tests bend another part of a request.

use std::fmt::{self, Write as _};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::http::{Connection, Response, Url};
use crate::modern::REVISION;
use crate::sse::Parser;
use crate::{Gateway, ModernClient};

/// The value of `Accept` that every revision asks for.
pub const ACCEPT: &str = "application/json, text/event-stream";

/// A request: method, headers and body, each to be replaced.
#[derive(Clone)]
pub struct Request {
    method: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} {}", self.method, self.headers, String::from_utf8_lossy(&self.body))
    }
}

impl Request {
    /// A POST with the two media type headers.
    pub fn post(body: impl Into<Vec<u8>>) -> Self {
        Self { method: "POST".to_owned(), headers: Vec::new(), body: body.into() }
            .with("Content-Type", "application/json")
            .with("Accept", ACCEPT)
    }

    /// A POST of a legacy session.
    pub fn legacy(session: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::post(body).with("Mcp-Session-Id", session)
    }

    /// A 2026-07-28 request with its `_meta` and its mirrored headers.
    pub fn modern(method: &str, params: &Value) -> Result<Self> {
        let prepared = ModernClient::new("http://localhost/mcp", &json!({}))?.prepare(method, params)?;
        let body = prepared.message.to_string().into_bytes();
        Ok(Self { method: "POST".to_owned(), headers: prepared.headers, body })
    }

    /// A POST whose headers are those of a 2026-07-28 `tools/list`, whatever the body is.
    pub fn modern_headers(body: impl Into<Vec<u8>>) -> Self {
        Self::post(body).with("MCP-Protocol-Version", REVISION).with("Mcp-Method", "tools/list")
    }

    /// Another HTTP method, without a body.
    #[must_use]
    pub fn method(mut self, method: &str) -> Self {
        method.clone_into(&mut self.method);
        self.body.clear();
        self
    }

    /// Replaces the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Size of the body in bytes.
    pub fn body_len(&self) -> usize {
        self.body.len()
    }

    /// Sets a header in place of any of that name.
    #[must_use]
    pub fn with(self, name: &str, value: &str) -> Self {
        self.without(name).and(name, value)
    }

    /// Adds a header beside those of that name.
    #[must_use]
    pub fn and(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Removes the headers of that name.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(key, _)| !key.eq_ignore_ascii_case(name));
        self
    }

    /// The bytes on the wire. `Host` and `Content-Length` are the right ones unless the test has set its own.
    pub fn bytes(&self, url: &Url) -> Vec<u8> {
        let own = |name: &str| self.headers.iter().any(|(key, _)| key.eq_ignore_ascii_case(name));
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, url.path);
        let length = self.body.len().to_string();
        let right = [("Host", url.authority.as_str()), ("Content-Length", length.as_str())];
        let right = right.into_iter().filter(|(name, _)| !own(name));
        for (name, value) in right.chain(self.headers.iter().map(|(name, value)| (&**name, &**value))) {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// Sends it on a connection of its own.
    pub fn send(&self, url: &str) -> Result<Response> {
        let url = Url::parse(url)?;
        let mut connection = Connection::open_url(&url)?;
        connection.send(&self.bytes(&url))?;
        connection.read_response()
    }
}

/// The answer in a response of either form: the body, or the last message of its event stream.
pub fn answer(response: &Response) -> Result<Value> {
    if response.head.media_type() != Some("text/event-stream") {
        return response.json();
    }
    let events = Parser::default().push(&response.body);
    let last = events.into_iter().filter_map(|event| event.data).rfind(|data| !data.is_empty());
    serde_json::from_str(&last.context("a stream without a message")?).context("event data")
}

/// The JSON-RPC error of a response, checked against its status and code; the gateway must then still serve. Returns the
/// whole message.
pub fn refused(gateway: &Gateway, what: &str, response: &Response, status: u16, code: i64) -> Result<Value> {
    let message = answer(response).with_context(|| what.to_owned())?;
    ensure!(
        (response.head.status, message["error"]["code"].as_i64()) == (status, Some(code)),
        "{what}: expected {status} and {code}, got {} with {message}",
        response.head.status
    );
    ensure!(message["jsonrpc"] == "2.0", "{what}: not a JSON-RPC message: {message}");
    ensure!(
        status == 200 || response.head.media_type() == Some("application/json"),
        "{what}: content type {:?}",
        response.head.header("content-type")
    );
    serves(gateway).with_context(|| format!("after {what}"))?;
    Ok(message)
}

/// Fails unless the gateway answers an ordinary request.
pub fn serves(gateway: &Gateway) -> Result<()> {
    let response = Request::modern("server/discover", &json!({}))?.send(&gateway.url("/mcp"))?;
    ensure!(response.head.status == 200, "the gateway answers {:?}", response.head);
    ensure!(response.json()?["result"]["supportedVersions"].is_array(), "{:?}", response.json());
    Ok(())
}

/// Opens a legacy session at `url` and returns its id.
pub fn session(url: &str) -> Result<String> {
    let session = crate::LegacySession::open(url, &json!({}))?;
    session.id().map(str::to_owned).context("a session id")
}
