//! Answer bodies: none, whole, passed through, or an event stream. Changes when answers take another form.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bridge_mcp::sse;
use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use crate::backend::body::Rest;

/// The body of an answer to a client.
pub struct ReplyBody(Inner);

enum Inner {
    Empty,
    Whole(Bytes),
    /// A backend's body, forwarded as it comes until the limit; the last value lives as long as the body.
    Forwarded(Rest, Pin<Box<Sleep>>, #[allow(dead_code, reason = "held for its Drop")] Box<dyn Send>),
    Events(Pin<Box<dyn Body<Data = Bytes, Error = Infallible> + Send>>),
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
        Self(Inner::Events(Box::pin(Events::new(source, keep_alive))))
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
                let frame = ready!(events.as_mut().poll_frame(cx));
                Poll::Ready(frame.map(|frame| frame.map_err(|never| match never {})))
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

/// Where the events of a stream come from. Dropping it means that the client has left.
pub trait EventSource: Send {
    /// The next encoded event or events; `None` ends the stream.
    fn next(&mut self) -> impl Future<Output = Option<Bytes>> + Send;
}

type Step<S> = Pin<Box<dyn Future<Output = (S, Option<Bytes>)> + Send>>;

struct Events<S> {
    step: Option<Step<S>>,
    keep_alive: Duration,
    silence: Pin<Box<Sleep>>,
}

impl<S: EventSource + 'static> Events<S> {
    fn new(source: S, keep_alive: Duration) -> Self {
        Self { step: Some(Self::step(source)), keep_alive, silence: Box::pin(tokio::time::sleep(keep_alive)) }
    }

    fn step(mut source: S) -> Step<S> {
        Box::pin(async move {
            let events = source.next().await;
            (source, events)
        })
    }
}

impl<S: EventSource + 'static> Body for Events<S> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        let Some(step) = &mut this.step else { return Poll::Ready(None) };
        let bytes = match step.as_mut().poll(cx) {
            Poll::Ready((source, Some(bytes))) => {
                this.step = Some(Self::step(source));
                bytes
            }
            Poll::Ready((_, None)) => {
                this.step = None;
                return Poll::Ready(None);
            }
            Poll::Pending => {
                ready!(this.silence.as_mut().poll(cx));
                let mut comment = BytesMut::new();
                sse::encode_comment(&mut comment, "keep-alive");
                comment.freeze()
            }
        };
        let next = Instant::now() + this.keep_alive;
        this.silence.as_mut().reset(next);
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }
}
