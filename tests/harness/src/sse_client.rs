//! The client side of HTTP+SSE of 2024-11-05: one stream, and POSTs to the endpoint that it names. Changes with that
//! transport.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::exchange::Exchange;
use crate::http::{Response, Url, request};
use crate::peer::{Peer, Wire};
use crate::sse::Event;

/// An open stream. It carries messages for a [`Peer`].
pub struct SseClient {
    stream: Exchange,
    endpoint: String,
    url: Url,
    headers: Vec<(String, String)>,
}

impl SseClient {
    /// Opens a stream and reads its endpoint.
    pub fn connect(url: &str) -> Result<Self> {
        Self::connect_with(url, &[])
    }

    /// The same, with headers on every request.
    pub fn connect_with(url: &str, headers: &[(&str, &str)]) -> Result<Self> {
        let mut sent = headers.to_vec();
        sent.push(("Accept", "text/event-stream"));
        let mut stream = Exchange::start("GET", &Url::parse(url)?, &sent, b"")?;
        ensure!(stream.is_stream()?, "GET {url} got {:?}: {}", stream.head()?.clone(), stream.read_text()?);
        let first = stream.next_event()?.context("the stream ended at once")?;
        ensure!(first.name.as_deref() == Some("endpoint"), "the stream begins with {first:?}");
        let endpoint = first.data.context("an endpoint")?;
        ensure!(endpoint.starts_with('/'), "the endpoint is {endpoint}");
        let origin = url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
        let url = Url::parse(&format!("{origin}{endpoint}"))?;
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Ok(Self { stream, endpoint, url, headers: headers.iter().map(own).collect() })
    }

    /// Opens a stream and on it a session of this revision.
    pub fn open(url: &str, version: &str, capabilities: &Value) -> Result<Peer<Self>> {
        let mut peer = Peer::new(Self::connect(url)?);
        initialize(&mut peer, version, capabilities)?;
        Ok(peer)
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

    /// The next event as it is; `None` at the end of the stream.
    pub fn next_event(&mut self) -> Result<Option<Event>> {
        self.stream.next_event()
    }

    /// How many keep-alive comments came so far.
    pub fn comments(&self) -> usize {
        self.stream.comments()
    }
}

/// Opens a session of this revision; gives the result.
pub fn initialize(peer: &mut Peer<SseClient>, version: &str, capabilities: &Value) -> Result<Value> {
    let info = json!({ "name": "bridge-tests", "version": env!("CARGO_PKG_VERSION") });
    let params = json!({ "protocolVersion": version, "capabilities": capabilities, "clientInfo": info });
    let result = peer.call("initialize", &params)?;
    peer.notify("notifications/initialized", &json!({}))?;
    Ok(result)
}

impl Wire for SseClient {
    fn send(&mut self, text: &str) -> Result<()> {
        let response = self.post(text)?;
        ensure!(response.head.status == 202, "{text:.500} got {:?}", response.head);
        Ok(())
    }

    fn read(&mut self) -> Result<Option<String>> {
        let Some(event) = self.stream.next_event()? else { return Ok(None) };
        let name = event.name.as_deref();
        ensure!(matches!(name, None | Some("message")), "an event is named {name:?}");
        event.data.context("an event without data").map(Some)
    }
}
