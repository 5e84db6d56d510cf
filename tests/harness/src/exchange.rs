//! One POST to an MCP endpoint and what comes back on it, in either era. Changes with the shape of Streamable HTTP
//! answers.

use std::collections::VecDeque;
use std::fmt;
use std::net::TcpStream;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use crate::PATIENCE;
use crate::http::{Connection, Head, Response, Url, request_bytes};
use crate::sse::{Event, Parser};

/// A list with more pages than this does not converge.
const MAX_PAGES: usize = 100;

/// A JSON-RPC error.
#[derive(Debug, Clone, PartialEq)]
pub struct RpcError {
    /// `code`.
    pub code: i64,
    /// `message`.
    pub message: String,
    /// `data`, null when absent.
    pub data: Value,
}

impl fmt::Display for RpcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JSON-RPC error {}: {} (data {})", self.code, self.message, self.data)
    }
}

/// The answer to a request, with everything that came on its stream before.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Status and headers of the HTTP response.
    pub head: Head,
    /// The whole response message.
    pub message: Value,
    /// Notifications and server requests that came before it, in order.
    pub earlier: Vec<Value>,
}

impl Reply {
    /// The `result`; a JSON-RPC error is an error.
    pub fn into_result(self) -> Result<Value> {
        match self.message.get("result") {
            Some(result) => Ok(result.clone()),
            None => bail!("expected a result, got status {} with {}", self.head.status, self.message),
        }
    }

    /// The `error`; a result is an error.
    pub fn into_error(self) -> Result<RpcError> {
        let error = self.message.get("error");
        let code = error.and_then(|error| error["code"].as_i64());
        let (Some(error), Some(code)) = (error, code) else {
            bail!("expected an error, got status {} with {}", self.head.status, self.message)
        };
        let message = error["message"].as_str().unwrap_or_default().to_owned();
        Ok(RpcError { code, message, data: error["data"].clone() })
    }

    /// The notifications of one method among the earlier messages.
    pub fn notifications(&self, method: &str) -> Vec<&Value> {
        self.earlier.iter().filter(|message| message["method"] == method).collect()
    }
}

/// Follows `nextCursor` to the end of a list.
pub(crate) fn all_pages(key: &str, mut fetch: impl FnMut(Value) -> Result<Value>) -> Result<Vec<Value>> {
    let mut items = Vec::new();
    let mut params = json!({});
    for _ in 0..MAX_PAGES {
        let mut page = fetch(params)?;
        match page[key].take() {
            Value::Array(found) => items.extend(found),
            other => bail!("{key} is not a list: {other}"),
        }
        match page.get("nextCursor") {
            Some(cursor) => params = json!({ "cursor": cursor }),
            None => return Ok(items),
        }
    }
    bail!("the list of {key} has no end")
}

/// An open response: messages are read from it as they come. Dropping it closes the connection, which for a 2026-07-28
/// request means cancellation.
#[derive(Debug)]
pub struct Exchange {
    connection: Connection,
    head: Option<Head>,
    events: VecDeque<Event>,
    parser: Parser,
    ended: bool,
}

impl Exchange {
    /// Sends the request and waits for nothing: a server may hold even the headers back until it has an answer.
    pub fn start(method: &str, url: &Url, headers: &[(&str, &str)], body: &[u8]) -> Result<Self> {
        let mut connection = Connection::open_url(url)?;
        connection.send(&request_bytes(method, url, headers, body))?;
        Ok(Self { connection, head: None, events: VecDeque::new(), parser: Parser::default(), ended: false })
    }

    /// Status and headers, as soon as they are there.
    pub fn head(&mut self) -> Result<&Head> {
        if self.head.is_none() {
            self.head = Some(self.connection.read_head()?);
        }
        self.head.as_ref().context("the response has a head")
    }

    /// A handle to close the connection with, while somebody else reads.
    pub fn handle(&self) -> Result<TcpStream> {
        self.connection.handle()
    }

    /// Whether the answer is an event stream.
    pub fn is_stream(&mut self) -> Result<bool> {
        Ok(self.head()?.media_type() == Some("text/event-stream"))
    }

    /// How many keep-alive comments the stream has carried so far.
    pub fn comments(&self) -> usize {
        self.parser.comments()
    }

    /// The next event of the stream, `None` at its end. Comments that keep the stream open do not extend the wait.
    pub fn next_event(&mut self) -> Result<Option<Event>> {
        self.head()?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            ensure!(Instant::now() < deadline, "no event within {PATIENCE:?}, {} comments", self.comments());
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            match self.connection.read_piece()? {
                Some(piece) => self.events.extend(self.parser.push(&piece)),
                None => return Ok(None),
            }
        }
    }

    /// The rest of a body that is not an event stream, as it is.
    pub fn read_text(&mut self) -> Result<String> {
        self.head()?;
        String::from_utf8(self.connection.read_body()?).context("the body is not UTF-8")
    }

    /// The next JSON-RPC message, from either kind of body; events without data are stepped over. `None` at the end.
    pub fn next_message(&mut self) -> Result<Option<Value>> {
        if self.is_stream()? {
            while let Some(event) = self.next_event()? {
                if let Some(data) = event.data.filter(|data| !data.is_empty()) {
                    return serde_json::from_str(&data)
                        .map(Some)
                        .with_context(|| format!("event data {data:?}"));
                }
            }
            return Ok(None);
        }
        if std::mem::replace(&mut self.ended, true) {
            return Ok(None);
        }
        let body = self.connection.read_body()?;
        if body.is_empty() {
            return Ok(None);
        }
        Response { head: self.head()?.clone(), body }.json().map(Some)
    }

    /// Reads to the response that carries `id`, handing every other message to `on_message` as it comes. An error
    /// response without an id (a refusal before the request was understood) counts as the answer.
    pub fn finish(mut self, id: &Value, mut on_message: impl FnMut(&Value) -> Result<()>) -> Result<Reply> {
        let mut earlier = Vec::new();
        while let Some(message) = self.next_message()? {
            let answered = message.get("id").is_none_or(Value::is_null) && message.get("error").is_some();
            let ours = message.get("id") == Some(id) && message.get("method").is_none();
            if ours || answered {
                return Ok(Reply { head: self.head()?.clone(), message, earlier });
            }
            on_message(&message)?;
            earlier.push(message);
        }
        bail!(
            "status {}: the response ended without an answer to {id}, after {earlier:?}",
            self.head()?.status
        )
    }
}
