//! One conversation with one backend in one generation, whatever carries it. Changes when conversations can do more.
//!
//! A [`Link`] is either HTTP, where each request stands alone, or a [`Channel`], where one byte stream carries all
//! requests and ids are mapped. Both answer with an [`Answer`].

mod channel;
mod endpoints;
mod handshake;
mod http;
mod http_session;
mod http_stream;
mod listen;
mod shared;
mod sse;
mod tcp;
mod websocket;

use bridge_mcp::error::{code, error_response};
use bridge_mcp::frame::Frame;
use bridge_mcp::id::Id;
use bridge_mcp::limits::Limits;
use bridge_mcp::version::Era;
use bridge_policy::principal::Principal;
use bridge_policy::refusal::{Reason, Refusal};
use bridge_transport::backend::body::Rest;
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::crossing::{ToLegacyCall, ToModern, ToModernCall};

pub(crate) use channel::{Channel, ChannelCall, Wire};
pub(crate) use endpoints::{Endpoints, Place};
pub(crate) use handshake::{
    Handshake, Hello, Opening, ServerInfo, discover, error_code, initialize, initialized, modern_request,
    own_request, verdict, with_member,
};
pub(crate) use http::{HttpLink, HttpServer, HttpTarget, SESSION_ID, mirror};
pub(crate) use http_stream::HttpStream;
pub(crate) use listen::listen;
pub(crate) use shared::{Guests, Room, Seat};
pub(crate) use sse::SseTarget;
pub(crate) use tcp::TcpTarget;
pub(crate) use websocket::WebSocketTarget;

/// A conversation.
pub(crate) enum Link {
    /// Streamable HTTP.
    Http(HttpLink),
    /// A byte stream.
    Channel(Channel),
    /// A legacy conversation with a modern server.
    ToModern(ToModern),
    /// A part in a conversation that all clients share.
    Shared(Seat),
}

/// What a backend answers to one request.
#[allow(clippy::large_enum_variant, reason = "one exists per request and is taken apart at once")]
pub(crate) enum Answer {
    /// The whole answer as one JSON text.
    Whole {
        /// HTTP status, 200 where the transport has none.
        status: u16,
        /// The JSON-RPC response.
        bytes: Bytes,
    },
    /// A large answer, forwarded unread.
    Forward(Rest),
    /// Messages that come before the answer, then the answer.
    Stream(Messages),
}

/// Messages of one call, in order.
pub(crate) enum Messages {
    /// From the event stream of one POST.
    Http(Box<HttpStream>),
    /// From a shared byte stream.
    Channel(ChannelCall),
    /// Of a modern client's call in a legacy conversation.
    ToLegacy(Box<ToLegacyCall>),
    /// Of a legacy client's call at a modern server.
    ToModern(Box<ToModernCall>),
}

/// One step of a call.
#[derive(Debug)]
pub(crate) enum Event {
    /// A notification for the caller.
    Notice(Frame),
    /// A request for the caller.
    Request(Frame),
    /// A request for the caller's client that may be about another of its calls.
    Elsewhere(Frame),
    /// The answer; nothing follows. The caller's id is in place.
    Answer(Bytes),
    /// The backend offers to resume this stream.
    Primed,
    /// The backend closed the stream and wants to be polled after this many milliseconds.
    Paused(u64),
}

/// Why no answer came.
#[derive(Debug)]
pub(crate) enum UpstreamError {
    /// The backend does not know its session any more. The request was not executed.
    SessionLost,
    /// It failed with HTTP 5xx, without a word of MCP. Some servers do so at methods that they do not know.
    ServerError(Refusal),
    /// Anything else.
    Failed(Refusal),
}

impl From<Refusal> for UpstreamError {
    fn from(refusal: Refusal) -> Self {
        Self::Failed(refusal)
    }
}

impl UpstreamError {
    /// The refusal to answer with when healing is no option.
    pub(crate) fn into_refusal(self, backend: &str) -> Refusal {
        match self {
            Self::SessionLost => Refusal::backend(
                Reason::BackendUnavailable,
                backend,
                "it ended the session; send the request again",
            ),
            Self::ServerError(refusal) | Self::Failed(refusal) => refusal,
        }
    }
}

/// What to do upstream when the caller leaves before the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnLeave {
    /// Cancel the call: a modern client that closes its stream has cancelled.
    Cancel,
    /// Let it run: a legacy client that drops its stream has not cancelled.
    Continue,
}

/// Where messages go that belong to no call in flight.
pub(crate) trait Owner: Send + Sync {
    /// A notification.
    fn notice(&self, frame: Frame);
    /// A request. `in_call` says whether a call is in flight whose stream could carry it.
    fn request(&self, frame: Frame, in_call: bool) -> Taken;
    /// Whether it stands for several clients: then what names no call is nobody's.
    fn is_many(&self) -> bool {
        false
    }
    /// Whose conversation it is, where it is one client's.
    fn principal(&self) -> Option<Principal> {
        None
    }
}

/// What became of a request that belongs to no call.
#[allow(clippy::large_enum_variant, reason = "questions are rare, and each is taken apart at once")]
pub(crate) enum Taken {
    /// Somebody may answer it.
    Yes,
    /// Nobody can answer it; the backend is told so.
    No,
    /// It belongs to no call, and so to nobody who could be asked; the backend is told so.
    Outside,
    /// The client reads no notification stream: to be put on the stream of one of its calls.
    ForAnyCall(Frame),
}

impl Messages {
    /// The next step. After [`Event::Answer`] or an error there is none.
    pub(crate) async fn next(&mut self) -> Result<Event, Refusal> {
        match self {
            Self::Http(stream) => stream.next().await,
            Self::Channel(call) => call.next().await,
            // Each holds messages itself.
            Self::ToLegacy(call) => Box::pin(call.next()).await,
            Self::ToModern(call) => Box::pin(call.next()).await,
        }
    }
}

impl Link {
    /// Sends a request of nobody in particular.
    pub(crate) async fn request(
        &self,
        frame: &Frame,
        mirrored: ::http::HeaderMap,
        on_leave: OnLeave,
    ) -> Result<Answer, UpstreamError> {
        self.request_for(None, frame, mirrored, on_leave).await
    }

    /// Sends a request for `asker`, so that only they read what may be about it.
    pub(crate) async fn request_for(
        &self,
        asker: Option<&Principal>,
        frame: &Frame,
        mirrored: ::http::HeaderMap,
        on_leave: OnLeave,
    ) -> Result<Answer, UpstreamError> {
        match self {
            Self::Http(link) => link.request(frame, mirrored).await,
            Self::Channel(channel) => request_on(channel, frame, on_leave, asker).await,
            Self::ToModern(link) => Box::pin(link.request(frame)).await,
            Self::Shared(seat) => seat.request(asker, frame).await,
        }
    }

    /// Sends a notification or the answer to a request of the backend's.
    pub(crate) async fn tell(&self, message: Bytes) -> Result<(), UpstreamError> {
        match self {
            Self::Http(link) => link.tell(message).await,
            Self::Channel(channel) => channel.tell(message).await.map_err(UpstreamError::Failed),
            Self::ToModern(link) => {
                link.tell(message).await;
                Ok(())
            }
            // Whatever it is, the others have not said it.
            Self::Shared(_) => Ok(()),
        }
    }

    /// The cancellation of the request with `id` as the backend reads it. `None` when that is not in flight any more.
    pub(crate) fn cancellation(&self, id: &Id, notification: &Frame) -> Option<Bytes> {
        match self {
            Self::Http(_) => Some(notification.bytes().clone()),
            Self::Channel(channel) => channel.cancellation(id, notification),
            // Whoever cancels drops the call, and dropping it cancels.
            Self::ToModern(_) | Self::Shared(_) => None,
        }
    }

    /// Asks on the gateway's own behalf and waits for the answer. What the backend asks meanwhile is refused, or given
    /// to the owner of the conversation.
    pub(crate) async fn ask(
        &self,
        frame: &Frame,
        mirrored: ::http::HeaderMap,
    ) -> Result<Frame, UpstreamError> {
        match self {
            Self::Http(link) => {
                let (answer, _) = link.exchange(frame, mirrored).await?;
                link.own_answer(answer).await
            }
            Self::Channel(channel) => ask_on(channel, frame).await.map_err(Into::into),
            Self::ToModern(link) => match Box::pin(link.request(frame)).await? {
                Answer::Whole { bytes, .. } => {
                    parse_answer(bytes, link.limits(), link.backend()).map_err(Into::into)
                }
                Answer::Forward(_) | Answer::Stream(_) => Err(no_answer(link.backend()).into()),
            },
            Self::Shared(seat) => Box::pin(seat.ask(frame)).await,
        }
    }

    /// Whether it can still carry requests.
    pub(crate) fn is_open(&self) -> bool {
        match self {
            Self::Http(link) => link.is_open(),
            Self::Channel(channel) => channel.is_open(),
            Self::ToModern(link) => link.is_open(),
            Self::Shared(seat) => seat.is_open(),
        }
    }

    /// Cancelled when it can carry no more requests.
    pub(crate) fn closed(&self) -> CancellationToken {
        match self {
            Self::Http(link) => link.stop.clone(),
            Self::Channel(channel) => channel.closed(),
            Self::ToModern(link) => link.closed(),
            Self::Shared(seat) => seat.closed(),
        }
    }

    /// Generation spoken with the client's side.
    pub(crate) fn era(&self) -> Era {
        match self {
            Self::Http(link) => link.era(),
            Self::Channel(channel) => channel.era(),
            Self::ToModern(_) | Self::Shared(_) => Era::Legacy,
        }
    }

    /// Ends it: a session is deleted, a child is stopped.
    pub(crate) async fn close(&self) {
        match self {
            Self::Http(link) => link.close().await,
            Self::Channel(channel) => channel.close(),
            Self::ToModern(link) => link.close(),
            Self::Shared(seat) => seat.close(),
        }
    }
}

async fn request_on(
    channel: &Channel,
    frame: &Frame,
    on_leave: OnLeave,
    asker: Option<&Principal>,
) -> Result<Answer, UpstreamError> {
    channel.request(frame, on_leave, asker).await.map_err(unsent)
}

/// The failure of a request on a channel. One that is not running was sent nothing, so another opening may take it.
fn unsent(refusal: Refusal) -> UpstreamError {
    match refusal.reason {
        Reason::BackendUnavailable => UpstreamError::SessionLost,
        _ => UpstreamError::Failed(refusal),
    }
}

async fn ask_on(channel: &Channel, frame: &Frame) -> Result<Frame, Refusal> {
    let answer = channel.request_own(frame).await?;
    let Answer::Stream(Messages::Channel(mut call)) = answer else {
        return Err(no_answer(channel.backend()));
    };
    loop {
        if let Event::Answer(bytes) = call.next().await? {
            return parse_answer(bytes, channel.limits(), channel.backend());
        }
    }
}

/// `notifications/cancelled` for the request with the raw `id`.
pub(crate) fn cancellation(id: &[u8], reason: &str) -> Bytes {
    let mut text = br#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"#.to_vec();
    text.extend_from_slice(id);
    text.extend_from_slice(format!(",\"reason\":{}}}}}", serde_json::Value::from(reason)).as_bytes());
    text.into()
}

/// Reads an answer to a request of the gateway's own.
fn parse_answer(bytes: Bytes, limits: &Limits, backend: &str) -> Result<Frame, Refusal> {
    let frame = Frame::parse(bytes, limits)
        .map_err(|error| Refusal::backend(Reason::BackendProtocol, backend, error))?;
    if frame.is_response() { Ok(frame) } else { Err(no_answer(backend)) }
}

/// What a backend is told whose request belongs to no call. `id` is the request's, raw.
pub(crate) fn outside_call(id: &[u8]) -> Bytes {
    error_response(Some(id), code::METHOD_NOT_FOUND, "nobody can be asked outside of a call", None)
}

fn no_answer(backend: &str) -> Refusal {
    Refusal::backend(Reason::BackendProtocol, backend, "its answer is no response")
}
