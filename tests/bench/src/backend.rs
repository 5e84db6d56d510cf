//! The far end of every measurement: a small, fast MCP server with one tool, `echo`, that speaks both protocol
//! generations on `/mcp`, and answers bare JSON-RPC on `/raw`. Changes when the benchmark needs another method.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue, ORIGIN};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use parking_lot::RwLock;
use serde::Deserialize;
use serde_json::Value;

use crate::calls::MODERN_VERSION;
use crate::server;

const LARGEST_REQUEST: usize = 4 << 20;
const LEGACY_VERSIONS: [&str; 3] = ["2025-03-26", "2025-06-18", "2025-11-25"];
const SESSION: &str = "mcp-session-id";
const VERSION: &str = "mcp-protocol-version";
const CAPABILITIES: &str = r#"{"tools":{}}"#;
const SERVER: &str = concat!(r#"{"name":"bridge-bench","version":""#, env!("CARGO_PKG_VERSION"), r#""}"#);
const TOOLS: &str = r#"[{"name":"echo","description":"Returns the text.","inputSchema":{"type":"object","properties":{"text":{"type":"string"}},"required":["text"]}}]"#;
/// Members that a cacheable modern result has beside its content.
const COMPLETE: &str = r#""resultType":"complete","ttlMs":60000,"cacheScope":"public""#;

type Answer = Response<Full<Bytes>>;

/// Serves until the process ends.
pub(crate) async fn serve(port: u16) -> Result<()> {
    let listener = server::listen(port).await?;
    serve_on(listener).await
}

async fn serve_on(listener: tokio::net::TcpListener) -> Result<()> {
    let sessions = Arc::new(Sessions::default());
    server::accept(listener, move |request| answer(request, Arc::clone(&sessions))).await
}

/// Starts the backend inside a test.
#[cfg(test)]
pub(crate) async fn start_for_tests() -> crate::wire::Endpoint {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    bridge_runtime::tasks::spawn("backend", serve_on(listener));
    crate::wire::Endpoint::local(port, "/mcp")
}

#[derive(Default)]
struct Sessions {
    minted: AtomicU64,
    open: RwLock<HashSet<u64>>,
}

impl Sessions {
    fn mint(&self) -> String {
        let number = self.minted.fetch_add(1, Ordering::Relaxed);
        self.open.write().insert(number);
        format!("{number:016x}")
    }

    /// The session that a request names, if it is one of ours.
    fn named(headers: &HeaderMap) -> Option<u64> {
        let text = headers.get(SESSION)?.to_str().ok()?;
        (text.len() == 16).then(|| u64::from_str_radix(text, 16).ok())?
    }

    /// What refuses a request whose session is absent or not open.
    fn refusal(&self, headers: &HeaderMap) -> Option<StatusCode> {
        if !headers.contains_key(SESSION) {
            return Some(StatusCode::BAD_REQUEST);
        }
        let open = Self::named(headers).is_some_and(|number| self.open.read().contains(&number));
        (!open).then_some(StatusCode::NOT_FOUND)
    }

    fn end(&self, headers: &HeaderMap) -> Answer {
        if !headers.contains_key(SESSION) {
            return not_allowed();
        }
        let ended = Self::named(headers).is_some_and(|number| self.open.write().remove(&number));
        plain(if ended { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND })
    }
}

#[derive(Deserialize)]
struct Message<'a> {
    id: Option<Value>,
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(default, borrow)]
    params: Params<'a>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Params<'a> {
    #[serde(default)]
    name: Option<String>,
    #[serde(default, borrow)]
    arguments: Arguments<'a>,
    #[serde(default)]
    protocol_version: Option<String>,
    #[serde(default, rename = "_meta")]
    meta: Meta,
}

#[derive(Deserialize, Default)]
struct Arguments<'a> {
    #[serde(default, borrow)]
    text: Cow<'a, str>,
}

#[derive(Deserialize, Default)]
struct Meta {
    #[serde(rename = "io.modelcontextprotocol/protocolVersion")]
    version: Option<String>,
    #[serde(rename = "io.modelcontextprotocol/clientCapabilities")]
    capabilities: Option<Value>,
}

async fn answer(request: Request<Incoming>, sessions: Arc<Sessions>) -> Answer {
    let (head, body) = request.into_parts();
    if head.headers.get(ORIGIN).is_some_and(|origin| !is_local(origin)) {
        return plain(StatusCode::FORBIDDEN);
    }
    let raw = match head.uri.path() {
        "/mcp" => false,
        "/raw" => true,
        "/health" => return plain(StatusCode::OK),
        _ => return plain(StatusCode::NOT_FOUND),
    };
    match head.method {
        Method::POST => {}
        Method::DELETE if !raw => return sessions.end(&head.headers),
        _ => return not_allowed(),
    }
    let Ok(body) = Limited::new(body, LARGEST_REQUEST).collect().await else {
        return plain(StatusCode::PAYLOAD_TOO_LARGE);
    };
    let body = body.to_bytes();
    let message: Message<'_> = match serde_json::from_slice(&body) {
        Ok(message) => message,
        Err(error) => return failure(StatusCode::BAD_REQUEST, &Value::Null, -32700, &error.to_string()),
    };
    let modern = message.params.meta.version.is_some()
        || head.headers.get(VERSION).is_some_and(|version| version == MODERN_VERSION);
    if modern && !raw {
        modern_answer(&head.headers, &message)
    } else {
        legacy_answer(&head.headers, &message, &sessions, raw)
    }
}

fn legacy_answer(headers: &HeaderMap, message: &Message<'_>, sessions: &Sessions, raw: bool) -> Answer {
    let method = message.method.as_ref();
    if let (Some(id), "initialize") = (&message.id, method) {
        return initialize(id, &message.params, sessions);
    }
    let id = message.id.as_ref().unwrap_or(&Value::Null);
    if !raw {
        if let Some(status) = sessions.refusal(headers) {
            return failure(status, id, -32600, "no session: send initialize, then its Mcp-Session-Id");
        }
        let version = headers.get(VERSION);
        if version.is_some_and(|version| LEGACY_VERSIONS.iter().all(|known| version != known)) {
            return failure(StatusCode::BAD_REQUEST, id, -32600, "unknown MCP-Protocol-Version");
        }
    }
    if message.id.is_none() {
        return plain(StatusCode::ACCEPTED);
    }
    match method {
        "ping" => success(id, "{}"),
        "tools/list" => success(id, format_args!(r#"{{"tools":{TOOLS}}}"#)),
        "tools/call" => call(id, &message.params, ""),
        _ => failure(StatusCode::OK, id, -32601, "unknown method"),
    }
}

fn initialize(id: &Value, params: &Params<'_>, sessions: &Sessions) -> Answer {
    let asked = params.protocol_version.as_deref();
    let [.., newest] = LEGACY_VERSIONS;
    let version = LEGACY_VERSIONS.into_iter().find(|known| asked == Some(known)).unwrap_or(newest);
    let mut response = success(
        id,
        format_args!(
            r#"{{"protocolVersion":"{version}","capabilities":{CAPABILITIES},"serverInfo":{SERVER}}}"#
        ),
    );
    if let Ok(session) = HeaderValue::try_from(sessions.mint()) {
        response.headers_mut().insert(SESSION, session);
    }
    response
}

fn modern_answer(headers: &HeaderMap, message: &Message<'_>) -> Answer {
    let Some(id) = &message.id else { return plain(StatusCode::ACCEPTED) };
    let params = &message.params;
    let refuse = |code, text: &str| failure(StatusCode::BAD_REQUEST, id, code, text);
    let agrees = |header: &str, body: &str| headers.get(header).is_some_and(|value| value == body);
    let Some(version) = &params.meta.version else {
        return refuse(-32602, "params._meta has no io.modelcontextprotocol/protocolVersion");
    };
    let named =
        message.method != "tools/call" || agrees("mcp-name", params.name.as_deref().unwrap_or_default());
    if !(agrees(VERSION, version) && agrees("mcp-method", &message.method) && named) {
        return refuse(-32020, "MCP-Protocol-Version, Mcp-Method or Mcp-Name differ from the body");
    }
    if params.meta.capabilities.is_none() {
        return refuse(-32602, "params._meta has no io.modelcontextprotocol/clientCapabilities");
    }
    if version != MODERN_VERSION {
        let asked = Value::from(version.as_str());
        return json(
            StatusCode::BAD_REQUEST,
            format!(
                r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32022,"message":"unsupported version","data":{{"supported":["{MODERN_VERSION}"],"requested":{asked}}}}}}}"#
            ),
        );
    }
    match message.method.as_ref() {
        "server/discover" => success(
            id,
            format_args!(
                r#"{{{COMPLETE},"supportedVersions":["{MODERN_VERSION}"],"capabilities":{CAPABILITIES},"_meta":{{"io.modelcontextprotocol/serverInfo":{SERVER}}}}}"#
            ),
        ),
        "tools/list" => success(id, format_args!(r#"{{{COMPLETE},"tools":{TOOLS}}}"#)),
        "tools/call" => call(id, params, r#""resultType":"complete","#),
        _ => failure(StatusCode::NOT_FOUND, id, -32601, "unknown method"),
    }
}

fn call(id: &Value, params: &Params<'_>, era: &str) -> Answer {
    if params.name.as_deref() != Some("echo") {
        return failure(StatusCode::OK, id, -32602, "unknown tool");
    }
    let text = Value::from(params.arguments.text.as_ref());
    success(id, format_args!(r#"{{{era}"content":[{{"type":"text","text":{text}}}]}}"#))
}

fn success(id: &Value, result: impl fmt::Display) -> Answer {
    json(StatusCode::OK, format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#))
}

fn failure(status: StatusCode, id: &Value, code: i32, text: &str) -> Answer {
    let text = Value::from(text);
    json(status, format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":{text}}}}}"#))
}

fn json(status: StatusCode, body: String) -> Answer {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn plain(status: StatusCode) -> Answer {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

fn not_allowed() -> Answer {
    let mut response = plain(StatusCode::METHOD_NOT_ALLOWED);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST, DELETE"));
    response
}

fn is_local(origin: &HeaderValue) -> bool {
    let host = origin.to_str().ok().and_then(|origin| origin.parse::<http::Uri>().ok());
    host.is_some_and(|uri| matches!(uri.host(), Some("localhost" | "127.0.0.1" | "[::1]")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Connection;

    /// Sends a request with these extra header lines; status and JSON body.
    async fn post(headers: &str, body: &str) -> (u16, Value) {
        let endpoint = start_for_tests().await;
        let mut connection = Connection::open(&endpoint).await.unwrap();
        let length = body.len();
        let request =
            format!("POST /mcp HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {length}\r\n\r\n{body}");
        let response = connection.exchange(request.as_bytes()).await.unwrap();
        (response.status, serde_json::from_slice(response.body).unwrap_or_default())
    }

    #[tokio::test]
    async fn a_legacy_call_needs_its_session() {
        let body = r#"{"jsonrpc":"2.0","id":"a","method":"ping"}"#;
        let (status, error) = post("", body).await;
        assert_eq!((status, &error["id"]), (400, &Value::from("a")));
        let (status, _) = post("Mcp-Session-Id: 0000000000000000\r\n", body).await;
        assert_eq!(status, 404);
    }

    #[tokio::test]
    async fn a_modern_request_must_agree_with_its_headers() {
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{"_meta":{
            "io.modelcontextprotocol/protocolVersion":"2026-07-28",
            "io.modelcontextprotocol/clientCapabilities":{}}}}"#;
        let version = "MCP-Protocol-Version: 2026-07-28\r\n";
        let (status, answer) = post(&format!("{version}Mcp-Method: server/discover\r\n"), body).await;
        assert_eq!((status, &answer["result"]["resultType"]), (200, &Value::from("complete")));
        let (status, answer) = post(&format!("{version}Mcp-Method: tools/list\r\n"), body).await;
        assert_eq!((status, &answer["error"]["code"]), (400, &Value::from(-32020)));
        let future = "MCP-Protocol-Version: 2027-01-01\r\nMcp-Method: server/discover\r\n";
        let (status, answer) = post(future, &body.replace("2026-07-28", "2027-01-01")).await;
        assert_eq!((status, &answer["error"]["data"]["requested"]), (400, &Value::from("2027-01-01")));
    }

    #[tokio::test]
    async fn a_foreign_page_is_refused() {
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"initialize"}"#;
        assert_eq!(post("Origin: https://example.com\r\n", body).await.0, 403);
        assert_eq!(post("Origin: http://localhost:3000\r\n", body).await.0, 200);
    }
}
