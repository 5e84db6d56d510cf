//! The client side of HTTP+SSE (MCP 2024-11-05 "Transports: HTTP with SSE"): one event stream from the server, and POSTs to
//! the endpoint that its first event names. Changes when that transport is spoken differently.
//!
//! The stream is the session: when it ends, the endpoint means nothing any more. Redirects are not followed.

use std::time::Duration;

use bridge_mcp::sse::Event;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode, Uri};

use super::events::{EventStream, StreamError};
use super::http::{Content, HttpClient, SendError, SharedHeaders, content};
use super::reference::{ReferenceError, resolve};
use crate::frontend::request::collect;

/// Most of an answer to a POST that is looked at; real messages come on the stream.
const MAX_REPLY: usize = 1024 * 1024;
/// How long a server with a fixed endpoint may take to name another.
const NAMING: Duration = Duration::from_secs(1);

/// Where a server is.
#[derive(Clone)]
pub struct SseServer {
    /// Shared connections.
    pub client: HttpClient,
    /// Absolute URL of the event stream.
    pub stream: Uri,
    /// Where messages go when the server names no endpoint, as the first MCP gateways expected.
    pub fixed_endpoint: Option<Uri>,
    /// Headers of every request.
    pub headers: SharedHeaders,
    /// Largest message, in bytes.
    pub max_message: usize,
}

/// An open conversation.
pub struct SseConversation {
    /// Messages from the server.
    pub messages: SseMessages,
    /// Messages to the server.
    pub endpoint: SseEndpoint,
}

/// Why no conversation opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No answer.
    #[error(transparent)]
    Send(#[from] SendError),
    /// An answer that is no event stream.
    #[error("it answered HTTP {0} instead of an event stream")]
    Refused(StatusCode),
    /// The stream broke before it named an endpoint.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The stream ended, or began with something else.
    #[error("its stream does not begin with an `endpoint` event")]
    NoEndpoint,
    /// The endpoint is not to be used.
    #[error("its `endpoint` event is refused: {0}")]
    Endpoint(#[from] ReferenceError),
}

impl SseServer {
    /// Opens the stream and waits for the endpoint.
    pub async fn open(&self) -> Result<SseConversation, OpenError> {
        let mut headers = self.headers.get();
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        let response = self.client.send(Method::GET, &self.stream, headers, Bytes::new()).await?;
        let status = response.status();
        if !status.is_success() || content(response.headers()) != Content::Events {
            return Err(OpenError::Refused(status));
        }
        let mut messages =
            SseMessages { events: EventStream::new(response.into_body(), self.max_message), first: None };
        let uri = self.endpoint(&mut messages).await?;
        let endpoint = SseEndpoint { client: self.client.clone(), uri, headers: self.headers.clone() };
        Ok(SseConversation { messages, endpoint })
    }

    async fn endpoint(&self, messages: &mut SseMessages) -> Result<Uri, OpenError> {
        let first = match &self.fixed_endpoint {
            None => messages.first_event().await?,
            Some(fixed) => match tokio::time::timeout(NAMING, messages.first_event()).await {
                Ok(first) => first?,
                Err(_) => return Ok(fixed.clone()),
            },
        };
        let Some(first) = first else { return Err(OpenError::NoEndpoint) };
        if first.name.as_deref() == Some("endpoint") {
            let named = std::str::from_utf8(&first.data).map_err(|_| ReferenceError::Malformed)?;
            return Ok(resolve(&self.stream, named)?);
        }
        let fixed = self.fixed_endpoint.clone().ok_or(OpenError::NoEndpoint)?;
        messages.first = Some(first.data).filter(|data| !data.is_empty());
        Ok(fixed)
    }
}

/// The messages of one stream.
pub struct SseMessages {
    events: EventStream,
    /// A message that came where an endpoint was looked for.
    first: Option<Bytes>,
}

impl SseMessages {
    /// The first event that says anything.
    async fn first_event(&mut self) -> Result<Option<Event>, StreamError> {
        while let Some(event) = self.events.next().await? {
            if event.name.is_some() || !event.data.is_empty() {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// The next message; `None` at the end of the stream, and with it of the session.
    pub async fn next(&mut self) -> Result<Option<Bytes>, StreamError> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        while let Some(event) = self.events.next().await? {
            match event.name.as_deref() {
                None | Some("message") if !event.data.is_empty() => return Ok(Some(event.data)),
                None | Some("message") => {}
                Some(name) => tracing::debug!(name, "event of another kind skipped"),
            }
        }
        Ok(None)
    }
}

/// Where messages to the server go.
#[derive(Clone)]
pub struct SseEndpoint {
    client: HttpClient,
    uri: Uri,
    headers: SharedHeaders,
}

/// What became of a message.
#[derive(Debug)]
pub enum Delivery {
    /// The server has it.
    Taken,
    /// The server has it, and has answered at once instead of on the stream.
    Answered(Bytes),
    /// The server does not want it.
    Refused(StatusCode),
    /// Nobody knows, or nobody got it.
    Failed(SendError),
}

impl SseEndpoint {
    /// Sends one message.
    pub async fn post(&self, message: Bytes) -> Delivery {
        let mut headers = self.headers.get();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let sent = self.client.send(Method::POST, &self.uri, headers, message).await;
        let response = match sent {
            Ok(response) => response,
            Err(error) => return Delivery::Failed(error),
        };
        let status = response.status();
        if !status.is_success() {
            return Delivery::Refused(status);
        }
        let kind = content(response.headers());
        // Read to its end, so that the connection can be used again. An event stream here would have none.
        let body = match kind {
            Content::Events => return Delivery::Taken,
            Content::Json | Content::Other => collect(response.into_body(), MAX_REPLY).await,
        };
        match body {
            Ok(body) if kind == Content::Json && body.first() == Some(&b'{') => Delivery::Answered(body),
            // It was taken; what else was said about that does not matter.
            Ok(_) | Err(_) => Delivery::Taken,
        }
    }
}
