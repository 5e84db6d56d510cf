//! Streamable HTTP, in either generation: a POST for each message, its answers on the response, and a GET stream for what
//! belongs to no request of a legacy session. Changes with that transport.

use std::collections::HashMap;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use anyhow::{Context as _, Result, ensure};
use bridge_tests::Exchange;
use bridge_tests::http::{Url, request};
use bridge_tests::modern::headers;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::client::{Arrival, Client};
use crate::generation::Revision;

const ACCEPT: &str = "application/json, text/event-stream";

/// A client of one endpoint.
pub(crate) struct HttpClient {
    url: Url,
    revision: Revision,
    session: Option<String>,
    to_inbox: Sender<Arrival>,
    inbox: Receiver<Arrival>,
    /// The connections whose answers are awaited, by request id.
    open: Arc<Mutex<HashMap<String, TcpStream>>>,
    notifications: Option<TcpStream>,
}

impl HttpClient {
    /// Connects to nothing yet: every message has a connection of its own.
    pub(crate) fn new(url: &str, revision: Revision) -> Result<Self> {
        let (to_inbox, inbox) = channel();
        let (url, open) = (Url::parse(url)?, Arc::default());
        Ok(Self { url, revision, session: None, to_inbox, inbox, open, notifications: None })
    }

    fn headers(&self, message: &Value) -> Vec<(String, String)> {
        if !self.revision.is_legacy() {
            return headers(message, &[]);
        }
        let mut headers = vec![
            ("Accept".to_owned(), ACCEPT.to_owned()),
            ("Content-Type".to_owned(), "application/json".to_owned()),
        ];
        if let Some(session) = &self.session {
            headers.push(("Mcp-Session-Id".to_owned(), session.clone()));
            // The header exists since 2025-06-18.
            if self.revision >= Revision::V2025_06_18 {
                headers.push(("MCP-Protocol-Version".to_owned(), self.revision.as_str().to_owned()));
            }
        }
        headers
    }

    fn start(&self, http_method: &str, message: &Value) -> Result<Exchange> {
        let headers = self.headers(message);
        let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let body = if http_method == "POST" { message.to_string() } else { String::new() };
        Exchange::start(http_method, &self.url, &headers, body.as_bytes())
    }

    /// Hands everything on the response to the inbox.
    fn read(&self, mut exchange: Exchange, id: Option<Value>) {
        let (inbox, open) = (self.to_inbox.clone(), Arc::clone(&self.open));
        thread::spawn(move || {
            let mut answered = false;
            let end = loop {
                match exchange.next_message() {
                    Ok(Some(message)) => {
                        answered |= message.get("method").is_none() && message.get("id") == id.as_ref();
                        // Nobody may be interested any more.
                        let _ = inbox.send(Arrival::Message(message));
                    }
                    Ok(None) => break "the stream ended".to_owned(),
                    Err(error) => break format!("{error:#}"),
                }
            };
            let Some(id) = id else { return };
            // With the last handle the connection closes.
            open.lock().remove(&id.to_string());
            if !answered {
                let _ = inbox.send(Arrival::Ended { id, why: end });
            }
        });
    }
}

impl Client for HttpClient {
    fn send(&mut self, message: &Value) -> Result<()> {
        let mut exchange = self.start("POST", message)?;
        let id = message.get("id").filter(|_| message.get("method").is_some());
        let Some(id) = id else {
            ensure!(exchange.head()?.status == 202, "{message} got {:?}", exchange.head()?);
            if message["method"] == "notifications/initialized" && self.session.is_some() {
                let mut stream = self.start("GET", &Value::Null)?;
                ensure!(stream.is_stream()?, "GET got {:?}", stream.head()?);
                self.notifications = Some(stream.handle()?);
                self.read(stream, None);
            }
            return Ok(());
        };
        if message["method"] == "initialize" && self.revision.is_legacy() {
            self.session = exchange.head()?.header("mcp-session-id").map(str::to_owned);
        }
        self.open.lock().insert(id.to_string(), exchange.handle()?);
        self.read(exchange, Some(id.clone()));
        Ok(())
    }

    fn cancel(&mut self, id: &Value) -> Result<()> {
        if !self.revision.is_legacy() {
            let stream =
                self.open.lock().remove(&id.to_string()).with_context(|| format!("{id} is not open"))?;
            return stream.shutdown(Shutdown::Both).context("closing a response");
        }
        let params = json!({ "requestId": id });
        self.send(&json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": params }))
    }

    fn inbox(&self) -> &Receiver<Arrival> {
        &self.inbox
    }
}

impl Drop for HttpClient {
    fn drop(&mut self) {
        for stream in self.open.lock().values().chain(&self.notifications) {
            // The other side may have closed it.
            let _ = stream.shutdown(Shutdown::Both);
        }
        if self.session.is_some() {
            let headers = self.headers(&Value::Null);
            let headers: Vec<_> =
                headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            // A gateway that is gone has no session either.
            let _ = request("DELETE", &self.url, &headers, b"");
        }
    }
}
