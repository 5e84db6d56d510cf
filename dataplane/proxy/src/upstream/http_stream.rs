//! The event stream that answers one POST, resumed when the backend allows it. Changes when resumption changes.
//!
//! Source: MCP 2025-11-25 "Streamable HTTP: sending messages, resumability and redelivery"; 2026-07-28 has no
//! resumption.

use std::sync::Arc;
use std::time::Duration;

use bridge_mcp::envelope::Kind;
use bridge_mcp::frame::Frame;
use bridge_mcp::limits::Limits;
use bridge_mcp::method::Method::ToolsList;
use bridge_mcp::sse;
use bridge_mcp::version::{Era, Version};
use bridge_policy::refusal::{Reason, Refusal};
use bridge_transport::backend::events::{EventStream, StreamError};
use bridge_transport::backend::http::{Content, content};
use http::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, StatusCode};

use super::http::{addressed_to, valid_tools};
use super::{Event, HttpLink};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Wait before a resumption when the backend names none.
const DEFAULT_RETRY_MS: u64 = 1000;
/// Wait before the resumption of a stream whose connection was lost: a caller learns within a second that a backend is
/// gone.
const BROKEN_RETRY_MS: u64 = 250;
/// The longest wait a backend may impose.
const MAX_RETRY_MS: u64 = 60_000;
/// Resumptions in a row that bring no event.
const MAX_IDLE_RESUMES: u32 = 8;

/// What it takes to ask for the rest of a stream.
pub(super) struct Resumer {
    target: Arc<super::HttpTarget>,
    version: Option<Version>,
    session: Option<HeaderValue>,
    era: Era,
}

impl HttpLink {
    pub(super) fn resumer(&self) -> Resumer {
        Resumer {
            target: Arc::clone(&self.target),
            version: self.version(),
            session: self.session().cloned(),
            era: self.era(),
        }
    }
}

impl Resumer {
    /// Opens a GET stream, from `last` on when given.
    pub(super) async fn get(&self, last: Option<&str>) -> Result<EventStream, StatusCode> {
        let mut headers = self.target.headers(self.version, self.session.as_ref());
        headers.remove(CONTENT_TYPE);
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        if let Some(last) = last.and_then(|last| HeaderValue::from_str(last).ok()) {
            headers.insert(LAST_EVENT_ID, last);
        }
        let sent = self.target.client.send(Method::GET, &self.target.uri, headers, bytes::Bytes::new()).await;
        let response = sent.map_err(|error| {
            tracing::debug!(backend = %self.target.backend, %error, "stream not opened");
            StatusCode::BAD_GATEWAY
        })?;
        if response.status().is_success() && content(response.headers()) == Content::Events {
            return Ok(EventStream::new(response.into_body(), self.limits().max_bytes));
        }
        Err(if response.status().is_success() { StatusCode::METHOD_NOT_ALLOWED } else { response.status() })
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.target.limits
    }

    pub(super) fn backend(&self) -> &str {
        &self.target.backend
    }
}

/// Messages of one call that is answered by an event stream.
pub(crate) struct HttpStream {
    resumer: Resumer,
    request: Frame,
    state: State,
    last: Option<Box<str>>,
    retry_ms: Option<u64>,
    idle_resumes: u32,
}

#[allow(clippy::large_enum_variant, reason = "almost always the large one")]
enum State {
    Reading(EventStream),
    /// Closed by the backend; to be resumed after the wait.
    Paused,
    /// The connection was lost; to be resumed soon, if there is still somebody to ask.
    Broken,
    Ended,
}

impl HttpStream {
    pub(super) fn new(resumer: Resumer, request: &Frame, events: EventStream) -> Self {
        Self {
            resumer,
            request: request.clone(),
            state: State::Reading(events),
            last: None,
            retry_ms: None,
            idle_resumes: 0,
        }
    }

    pub(crate) async fn next(&mut self) -> Result<Event, Refusal> {
        loop {
            match &mut self.state {
                State::Reading(events) => match events.next().await {
                    Ok(Some(event)) => {
                        if let Some(step) = self.take(event) {
                            return Ok(step);
                        }
                    }
                    Ok(None) if self.may_resume() => {
                        self.state = State::Paused;
                        return Ok(Event::Paused(self.wait_ms()));
                    }
                    // Nobody asked the client to come back later: the gateway itself looks whether there is a rest.
                    Err(StreamError::Lost(_)) if self.may_resume() => self.state = State::Broken,
                    Ok(None) => return Err(self.lost("it ended the stream before it answered")),
                    Err(StreamError::Lost(_)) => return Err(self.lost("the stream broke before it answered")),
                    Err(StreamError::Refused(error)) => {
                        return Err(self.fail(Reason::BackendProtocol, &error.to_string()));
                    }
                },
                State::Paused => self.resume(self.wait_ms()).await?,
                State::Broken => self.resume(self.wait_ms().min(BROKEN_RETRY_MS)).await?,
                State::Ended => return Err(self.lost("it has answered already")),
            }
        }
    }

    fn take(&mut self, event: sse::Event) -> Option<Event> {
        let first_id = self.last.is_none() && event.id.is_some();
        if let Some(id) = event.id {
            self.last = (!id.is_empty()).then_some(id);
            self.idle_resumes = 0;
        }
        if let Some(retry) = event.retry_ms {
            self.retry_ms = Some(retry);
        }
        if event.data.is_empty() {
            return (first_id && self.last.is_some()).then_some(Event::Primed);
        }
        let frame = match Frame::parse(event.data, self.resumer.limits()) {
            Ok(frame) => frame,
            Err(error) => {
                tracing::warn!(backend = self.resumer.backend(), %error, "event is no message; skipped");
                return None;
            }
        };
        if frame.is_response() {
            // An error without an id can only be about the one request of this stream.
            let foreign_error = frame.kind() == Kind::Error && frame.raw_id().is_none();
            if frame.id() == self.request.id() || foreign_error {
                self.state = State::Ended;
                let answer = addressed_to(&self.request, &frame);
                let (limits, backend) = (self.resumer.limits(), self.resumer.backend());
                let is_list = self.resumer.era == Era::Modern && self.request.method() == ToolsList;
                let answer = if is_list { valid_tools(answer, limits, backend) } else { answer };
                return Some(Event::Answer(answer));
            }
            tracing::warn!(
                backend = self.resumer.backend(),
                "answer to another request on this stream; skipped"
            );
            return None;
        }
        let is_request = frame.raw_id().is_some();
        Some(if is_request { Event::Request(frame) } else { Event::Notice(frame) })
    }

    fn may_resume(&self) -> bool {
        self.resumer.era == Era::Legacy && self.last.is_some() && self.idle_resumes < MAX_IDLE_RESUMES
    }

    fn wait_ms(&self) -> u64 {
        self.retry_ms.unwrap_or(DEFAULT_RETRY_MS).min(MAX_RETRY_MS)
    }

    async fn resume(&mut self, wait_ms: u64) -> Result<(), Refusal> {
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        self.idle_resumes += 1;
        match self.resumer.get(self.last.as_deref()).await {
            Ok(events) => {
                self.state = State::Reading(events);
                Ok(())
            }
            Err(status) => {
                Err(self.lost(&format!("it does not resume the stream (HTTP {})", status.as_u16())))
            }
        }
    }

    fn lost(&mut self, detail: &str) -> Refusal {
        self.fail(Reason::BackendLost, &format!("{detail}; the request may have been executed"))
    }

    fn fail(&mut self, reason: Reason, detail: &str) -> Refusal {
        self.state = State::Ended;
        Refusal::backend(reason, self.resumer.backend(), detail)
    }
}
