//! A client of the revisions that open with `initialize`, over Streamable HTTP. Changes with what tests ask of a legacy
//! session.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::exchange::{Exchange, Reply, all_pages};
use crate::http::{Response, Url, request};

/// The revision that [`LegacySession::open`] offers.
pub const LATEST: &str = "2025-11-25";

type Handler = Box<dyn FnMut(&str, &Value) -> Value + Send>;

/// An initialized session.
pub struct LegacySession {
    url: Url,
    id: Option<String>,
    version: String,
    initialize_result: Value,
    next_id: u64,
    handler: Option<Handler>,
}

impl LegacySession {
    /// Initializes with the latest legacy revision and these client capabilities, and confirms it.
    pub fn open(url: &str, capabilities: &Value) -> Result<Self> {
        Self::open_as(url, LATEST, capabilities)
    }

    /// Initializes with `version`. The session keeps the revision that the server chose.
    pub fn open_as(url: &str, version: &str, capabilities: &Value) -> Result<Self> {
        let mut session = Self {
            url: Url::parse(url)?,
            id: None,
            version: String::new(),
            initialize_result: Value::Null,
            next_id: 0,
            handler: None,
        };
        let params = json!({
            "protocolVersion": version,
            "capabilities": capabilities,
            "clientInfo": { "name": "bridge-tests", "version": env!("CARGO_PKG_VERSION") },
        });
        let reply = session.request("initialize", &params)?;
        session.id = reply.head.header("mcp-session-id").map(str::to_owned);
        let result = reply.into_result()?;
        let version = result["protocolVersion"].as_str().context("initialize result has a version")?;
        version.clone_into(&mut session.version);
        session.initialize_result = result;
        let confirmed = session.notify("notifications/initialized", &json!({}))?;
        ensure!(confirmed.head.status == 202, "notifications/initialized got {}", confirmed.head.status);
        Ok(session)
    }

    /// `Mcp-Session-Id`, if the server gave one.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// The whole `initialize` result.
    pub fn initialize_result(&self) -> &Value {
        &self.initialize_result
    }

    /// Answers the server's requests from now on: the handler gets method and params and returns the result.
    pub fn on_server_request(&mut self, handler: impl FnMut(&str, &Value) -> Value + Send + 'static) {
        self.handler = Some(Box::new(handler));
    }

    /// Sends a request and waits for its answer, answering server requests on its stream meanwhile.
    pub fn request(&mut self, method: &str, params: &Value) -> Result<Reply> {
        let (id, exchange) = self.start(method, params)?;
        self.finish(&id, exchange)
    }

    /// All items of a list, page by page: `list("tools/list", "tools")`.
    pub fn list(&mut self, method: &str, key: &str) -> Result<Vec<Value>> {
        all_pages(key, |params| self.request(method, &params)?.into_result())
    }

    /// Sends a request and returns its id and the open response, to be read by the caller.
    pub fn start(&mut self, method: &str, params: &Value) -> Result<(Value, Exchange)> {
        self.next_id += 1;
        let id = json!(self.next_id);
        let message = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        Ok((id, self.post(&message)?))
    }

    /// Waits for the answer to a started request.
    pub fn finish(&mut self, id: &Value, exchange: Exchange) -> Result<Reply> {
        let mut handler = self.handler.take();
        let reply = exchange.finish(id, |message| {
            let (Some(method), Some(request_id)) = (message["method"].as_str(), message.get("id")) else {
                return Ok(());
            };
            let handler =
                handler.as_mut().with_context(|| format!("the server asked {method} and nobody answers"))?;
            let result = handler(method, &message["params"]);
            self.answer(request_id, &result)
        });
        self.handler = handler;
        reply
    }

    /// Sends a notification.
    pub fn notify(&self, method: &str, params: &Value) -> Result<Response> {
        self.post_whole(&json!({ "jsonrpc": "2.0", "method": method, "params": params }))
    }

    /// Answers a server request.
    pub fn answer(&self, id: &Value, result: &Value) -> Result<()> {
        let response = self.post_whole(&json!({ "jsonrpc": "2.0", "id": id, "result": result }))?;
        ensure!(response.head.status == 202, "answer to {id} got {:?}", response.head);
        Ok(())
    }

    /// Opens the GET stream.
    pub fn listen(&self) -> Result<Exchange> {
        let mut exchange = Exchange::start("GET", &self.url, &self.headers("text/event-stream"), b"")?;
        ensure!(exchange.is_stream()?, "GET got {:?}", exchange.head());
        Ok(exchange)
    }

    /// Resumes a stream after an event.
    pub fn resume(&self, last_event_id: &str) -> Result<Exchange> {
        let mut headers = self.headers("text/event-stream");
        headers.push(("Last-Event-ID", last_event_id));
        Exchange::start("GET", &self.url, &headers, b"")
    }

    /// Ends the session with DELETE. The value stays usable, so that a test can see what an ended session gets.
    pub fn delete(&self) -> Result<Response> {
        request("DELETE", &self.url, &self.headers("application/json, text/event-stream"), b"")
    }

    /// POSTs any message with this session's headers.
    pub fn post(&self, message: &Value) -> Result<Exchange> {
        let mut headers = self.headers("application/json, text/event-stream");
        headers.push(("Content-Type", "application/json"));
        Exchange::start("POST", &self.url, &headers, message.to_string().as_bytes())
    }

    fn post_whole(&self, message: &Value) -> Result<Response> {
        let mut headers = self.headers("application/json, text/event-stream");
        headers.push(("Content-Type", "application/json"));
        request("POST", &self.url, &headers, message.to_string().as_bytes())
    }

    fn headers<'a>(&'a self, accept: &'a str) -> Vec<(&'a str, &'a str)> {
        let mut headers = vec![("Accept", accept)];
        if let Some(id) = &self.id {
            headers.push(("Mcp-Session-Id", id));
        }
        // The header exists since 2025-06-18 and is sent only once a version is agreed.
        if self.version.as_str() >= "2025-06-18" {
            headers.push(("MCP-Protocol-Version", &self.version));
        }
        headers
    }
}
