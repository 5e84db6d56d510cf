//! Answer bodies: none, whole, passed through, or an event stream. Changes when answers take another form.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

use super::events::{EventSource, Events};
use super::request::ReadError;
use crate::backend::body::Rest;

/// The body of an answer to a client.
pub struct ReplyBody(Inner);

enum Inner {
    Empty,
    Whole(Bytes),
    /// A backend's body, forwarded as it comes until the limit; the last value lives as long as the body.
    Forwarded(Rest, Pin<Box<Sleep>>, #[allow(dead_code, reason = "held for its Drop")] Box<dyn Send>),
    Events(Events),
}

impl ReplyBody {
    /// No body.
    pub fn empty() -> Self {
        Self(Inner::Empty)
    }

    /// A body that is held whole.
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        Self(Inner::Whole(bytes.into()))
    }

    /// A backend's body as it comes, for at most `limit`. `guard` is dropped when the body ends or is dropped.
    pub fn forwarded(body: Rest, limit: Duration, guard: impl Send + 'static) -> Self {
        Self(Inner::Forwarded(body, Box::pin(tokio::time::sleep(limit)), Box::new(guard)))
    }

    /// An event stream with a comment after each `keep_alive` of silence.
    pub fn events<S: EventSource + 'static>(source: S, keep_alive: Duration) -> Self {
        Self(Inner::Events(Events::new(source, keep_alive)))
    }

    /// The next message, for transports that carry messages instead of bodies; `None` at the end. A forwarded answer is
    /// held whole for it, of at most `max` bytes.
    pub async fn next_message(&mut self, max: usize) -> Result<Option<Bytes>, BodyError> {
        if let Inner::Events(events) = &mut self.0 {
            return Ok(events.next_message().await);
        }
        match std::mem::replace(&mut self.0, Inner::Empty) {
            Inner::Empty | Inner::Events(_) => Ok(None),
            Inner::Whole(bytes) => Ok(Some(bytes)),
            Inner::Forwarded(rest, limit, _held) => tokio::select! {
                whole = rest.collect(max) => Ok(Some(whole?)),
                () = limit => Err(BodyError::TooSlow),
            },
        }
    }
}

/// Why a body broke off; the client's connection breaks off with it.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The backend's connection was lost.
    #[error("the backend's answer broke off: {0}")]
    Lost(#[from] hyper::Error),
    /// The backend took too long.
    #[error("the backend's answer took too long")]
    TooSlow,
    /// It could not be held whole.
    #[error("the backend's answer broke off: {0}")]
    NotHeld(#[from] ReadError),
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.0 {
            Inner::Empty => Poll::Ready(None),
            Inner::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                self.0 = Inner::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Inner::Forwarded(body, limit, _) => {
                let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) else {
                    ready!(limit.as_mut().poll(cx));
                    self.0 = Inner::Empty;
                    return Poll::Ready(Some(Err(BodyError::TooSlow)));
                };
                if frame.is_none() {
                    self.0 = Inner::Empty;
                }
                Poll::Ready(frame.map(|frame| frame.map_err(BodyError::Lost)))
            }
            Inner::Events(events) => {
                let text = ready!(events.poll_text(cx));
                Poll::Ready(text.map(|text| Ok(Frame::data(text))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Empty => true,
            Inner::Forwarded(body, ..) => body.is_end_stream(),
            Inner::Whole(_) | Inner::Events(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Empty => SizeHint::with_exact(0),
            Inner::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Inner::Forwarded(body, ..) => body.size_hint(),
            Inner::Events(_) => SizeHint::default(),
        }
    }
}

/// A body that keeps something alive until it was handed over, or nobody wants it any more.
#[derive(Debug)]
pub struct Held<B, G> {
    body: B,
    _guard: G,
}

impl<B, G> Held<B, G> {
    /// `body`, which drops `guard` at its end.
    pub fn new(body: B, guard: G) -> Self {
        Self { body, _guard: guard }
    }
}

impl<B: Body + Unpin, G: Unpin> Body for Held<B, G> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
