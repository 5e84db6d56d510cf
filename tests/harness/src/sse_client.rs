//! A client of 2024-11-05 over HTTP+SSE: one stream, and POSTs to the endpoint that it names. Changes with what tests ask
//! of such a client.

use std::collections::VecDeque;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use crate::exchange::{Exchange, RpcError};
use crate::http::{Response, Url, request};
use crate::sse::Event;

/// An open stream.
pub struct SseClient {
    stream: Exchange,
    endpoint: String,
    url: Url,
    headers: Vec<(String, String)>,
    next_id: i64,
    /// What came while something else was waited for.
    early: VecDeque<Value>,
}

impl SseClient {
    /// Opens a stream and reads its endpoint; says nothing yet.
    pub fn connect(url: &str) -> Result<Self> {
        Self::connect_with(url, &[])
    }

    /// The same, with headers on every request.
    pub fn connect_with(url: &str, headers: &[(&str, &str)]) -> Result<Self> {
        let stream_url = Url::parse(url)?;
        let headers: Vec<_> =
            headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut sent: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        sent.push(("Accept", "text/event-stream"));
        let mut stream = Exchange::start("GET", &stream_url, &sent, b"")?;
        ensure!(stream.is_stream()?, "GET {url} got {:?}: {}", stream.head()?.clone(), stream.read_text()?);
        let first = stream.next_event()?.context("the stream ended at once")?;
        ensure!(first.name.as_deref() == Some("endpoint"), "the stream begins with {first:?}");
        let endpoint = first.data.context("an endpoint")?;
        ensure!(endpoint.starts_with('/'), "the endpoint is {endpoint}");
        let origin = url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
        let url = Url::parse(&format!("{origin}{endpoint}"))?;
        Ok(Self { stream, endpoint, url, headers, next_id: 0, early: VecDeque::new() })
    }

    /// Opens a stream and a session of this revision.
    pub fn open(url: &str, version: &str, capabilities: &Value) -> Result<Self> {
        let mut client = Self::connect(url)?;
        client.initialize(version, capabilities)?;
        Ok(client)
    }

    /// Opens a session; gives the result of `initialize`.
    pub fn initialize(&mut self, version: &str, capabilities: &Value) -> Result<Value> {
        let info = json!({ "name": "bridge-tests", "version": "0" });
        let params = json!({ "protocolVersion": version, "capabilities": capabilities, "clientInfo": info });
        let result = self.request("initialize", &params)?.map_err(|error| anyhow::anyhow!("{error}"))?;
        self.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }))?;
        Ok(result)
    }

    /// The URI reference that the stream named.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// POSTs anything to the endpoint.
    pub fn post(&self, body: &str) -> Result<Response> {
        let headers = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let headers: Vec<_> = headers.chain([("Content-Type", "application/json")]).collect();
        request("POST", &self.url, &headers, body.as_bytes())
    }

    /// Sends a message, which must be taken.
    pub fn send(&self, message: &Value) -> Result<()> {
        let response = self.post(&message.to_string())?;
        ensure!(response.head.status == 202, "{message} got {:?}", response.head);
        Ok(())
    }

    /// Sends a request and gives its id.
    pub fn start(&mut self, method: &str, params: &Value) -> Result<Value> {
        self.next_id += 1;
        let id = json!(self.next_id);
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }))?;
        Ok(id)
    }

    /// Sends a request and waits for its answer. Other messages wait to be read.
    pub fn request(&mut self, method: &str, params: &Value) -> Result<Result<Value, RpcError>> {
        let id = self.start(method, params)?;
        self.finish(&id)
    }

    /// Waits for the answer to a request. Other messages wait to be read.
    pub fn finish(&mut self, id: &Value) -> Result<Result<Value, RpcError>> {
        let is_answer = |message: &Value| message["id"] == *id && message.get("method").is_none();
        let answer = match self.early.iter().position(is_answer) {
            Some(at) => self.early.remove(at).context("it was there")?,
            None => loop {
                let message =
                    self.read_new()?.with_context(|| format!("the stream ended before {id} was answered"))?;
                if is_answer(&message) {
                    break message;
                }
                self.early.push_back(message);
            },
        };
        if let Some(result) = answer.get("result") {
            return Ok(Ok(result.clone()));
        }
        let error = &answer["error"];
        let Some(code) = error["code"].as_i64() else { bail!("{answer} is no answer") };
        let message = error["message"].as_str().unwrap_or_default().to_owned();
        Ok(Err(RpcError { code, message, data: error["data"].clone() }))
    }

    /// The next message that nobody has waited for; `None` at the end of the stream.
    pub fn read(&mut self) -> Result<Option<Value>> {
        match self.early.pop_front() {
            Some(early) => Ok(Some(early)),
            None => self.read_new(),
        }
    }

    /// The next message that satisfies `wanted`. Others are stepped over.
    pub fn read_where(&mut self, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        loop {
            let message = self.read()?.context("the stream ended before the message came")?;
            if wanted(&message) {
                return Ok(message);
            }
        }
    }

    /// The next event as it is; `None` at the end of the stream.
    pub fn next_event(&mut self) -> Result<Option<Event>> {
        self.stream.next_event()
    }

    /// How many keep-alive comments came so far.
    pub fn comments(&self) -> usize {
        self.stream.comments()
    }

    fn read_new(&mut self) -> Result<Option<Value>> {
        let Some(event) = self.stream.next_event()? else { return Ok(None) };
        let data = event.data.with_context(|| format!("an event without data, named {:?}", event.name))?;
        serde_json::from_str(&data).map(Some).with_context(|| format!("event data {data:?}"))
    }
}
