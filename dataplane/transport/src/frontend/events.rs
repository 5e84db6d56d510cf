//! Event streams towards clients: what their sources give, and how HTTP writes it. Changes when an event carries
//! something else.
//!
//! A source gives messages, not text: over HTTP they are framed as server-sent events here, on other transports they
//! travel as they are ([`super::body::ReplyBody::next_message`]).

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bridge_mcp::sse;
use bytes::{Bytes, BytesMut};
use tokio::time::{Instant, Sleep};

/// Events that are ready at once are written together up to this size.
const BURST: usize = 64 * 1024;

/// One step of an event stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamEvent {
    /// A message.
    Message {
        /// Event id, where the stream can be resumed after this event.
        id: Option<String>,
        /// JSON text.
        data: Bytes,
    },
    /// Names the beginning of a stream that can be resumed.
    Primer {
        /// Event id.
        id: String,
    },
    /// A message without the name of its event, as the first MCP gateways sent it.
    Unnamed(Bytes),
    /// Where the client's messages go (MCP 2024-11-05 "HTTP with SSE"): a URI reference.
    Endpoint(String),
    /// The stream pauses here; the client is to come back after this many milliseconds.
    Retry(u64),
}

impl StreamEvent {
    /// A message of a stream that cannot be resumed.
    pub fn message(data: Bytes) -> Self {
        Self::Message { id: None, data }
    }

    fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Message { id, data } => sse::encode(out, id.as_deref(), Some("message"), None, data),
            Self::Primer { id } => sse::encode(out, Some(id), None, None, b""),
            Self::Unnamed(data) => sse::encode(out, None, None, None, data),
            Self::Endpoint(uri) => sse::encode(out, None, Some("endpoint"), None, uri.as_bytes()),
            Self::Retry(milliseconds) => sse::encode(out, None, None, Some(*milliseconds), b""),
        }
    }
}

/// Where the events of a stream come from. Dropping it means that the client has left.
pub trait EventSource: Send {
    /// The next event; `None` ends the stream.
    fn next(&mut self) -> impl Future<Output = Option<StreamEvent>> + Send;
}

/// A source of any type that remembers its end.
trait PollEvents: Send {
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<StreamEvent>>;
}

type Step<S> = Pin<Box<dyn Future<Output = (S, Option<StreamEvent>)> + Send>>;

struct Steps<S>(Option<Step<S>>);

impl<S: EventSource + 'static> Steps<S> {
    fn step(mut source: S) -> Step<S> {
        Box::pin(async move {
            let event = source.next().await;
            (source, event)
        })
    }
}

impl<S: EventSource + 'static> PollEvents for Steps<S> {
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<StreamEvent>> {
        let Some(step) = &mut self.0 else { return Poll::Ready(None) };
        let (source, event) = ready!(step.as_mut().poll(cx));
        self.0 = event.is_some().then(|| Self::step(source));
        Poll::Ready(event)
    }
}

/// The events of one answer.
pub(super) struct Events {
    source: Box<dyn PollEvents>,
    keep_alive: Duration,
    silence: Pin<Box<Sleep>>,
}

impl Events {
    pub(super) fn new<S: EventSource + 'static>(source: S, keep_alive: Duration) -> Self {
        Self {
            source: Box::new(Steps(Some(Steps::step(source)))),
            keep_alive,
            silence: Box::pin(tokio::time::sleep(keep_alive)),
        }
    }

    /// The next message, without the framing of HTTP.
    pub(super) async fn next_message(&mut self) -> Option<Bytes> {
        loop {
            match poll_fn(|cx| self.source.poll_event(cx)).await? {
                StreamEvent::Message { data, .. } | StreamEvent::Unnamed(data) => return Some(data),
                StreamEvent::Primer { .. } | StreamEvent::Endpoint(_) | StreamEvent::Retry(_) => {}
            }
        }
    }

    /// What HTTP writes next: events, or a comment after each `keep_alive` of silence.
    pub(super) fn poll_text(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut out = BytesMut::new();
        while out.len() < BURST {
            match self.source.poll_event(cx) {
                Poll::Ready(Some(event)) => event.encode(&mut out),
                Poll::Ready(None) if out.is_empty() => return Poll::Ready(None),
                Poll::Pending if out.is_empty() => {
                    ready!(self.silence.as_mut().poll(cx));
                    sse::encode_comment(&mut out, "keep-alive");
                    break;
                }
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        let next = Instant::now() + self.keep_alive;
        self.silence.as_mut().reset(next);
        Poll::Ready(Some(out.freeze()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives what is listed, then stays silent or ends.
    struct Script(Vec<StreamEvent>, bool);

    impl EventSource for Script {
        async fn next(&mut self) -> Option<StreamEvent> {
            match self.0.pop() {
                None if self.1 => std::future::pending().await,
                event => event,
            }
        }
    }

    fn script(mut events: Vec<StreamEvent>, silent: bool) -> Events {
        events.reverse();
        Events::new(Script(events, silent), Duration::from_secs(15))
    }

    fn message(data: &'static str) -> StreamEvent {
        StreamEvent::message(Bytes::from_static(data.as_bytes()))
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_ready_is_written_together_and_silence_is_broken() {
        let mut events = script(vec![StreamEvent::Primer { id: "1-0".to_owned() }, message("{}")], true);
        let text = poll_fn(|cx| events.poll_text(cx)).await.unwrap();
        assert_eq!(text, "id: 1-0\ndata: \n\nevent: message\ndata: {}\n\n");
        let begun = Instant::now();
        assert_eq!(poll_fn(|cx| events.poll_text(cx)).await.unwrap(), ": keep-alive\n\n");
        assert_eq!(begun.elapsed().as_secs(), 15);
    }

    #[tokio::test]
    async fn an_old_stream_begins_with_its_endpoint() {
        let endpoint = StreamEvent::Endpoint("/messages?sessionId=1".to_owned());
        let unnamed = StreamEvent::Unnamed(Bytes::from_static(b"{}"));
        let mut events = script(vec![endpoint, message("{}"), unnamed], true);
        let text = poll_fn(|cx| events.poll_text(cx)).await.unwrap();
        let expected =
            "event: endpoint\ndata: /messages?sessionId=1\n\nevent: message\ndata: {}\n\ndata: {}\n\n";
        assert_eq!(text, expected);
    }

    #[tokio::test]
    async fn other_transports_see_messages_only_and_the_end_once_and_for_all() {
        let mut events = script(vec![StreamEvent::Primer { id: "1-0".to_owned() }, message("{}")], false);
        assert_eq!(events.next_message().await.unwrap(), "{}");
        assert_eq!(events.next_message().await, None);
        assert_eq!(events.next_message().await, None);
    }
}
