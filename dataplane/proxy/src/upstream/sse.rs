//! HTTP+SSE of 2024-11-05 as a wire: messages go out as POSTs and come in on one event stream. Changes when the order or
//! the failures of POSTs are treated differently.
//!
//! ```text
//! open ──stream ends, or the endpoint is gone──▶ lost (calls in flight get an error, the next one opens another)
//! ```

use std::sync::Arc;
use std::time::Duration;

use bridge_mcp::envelope::Kind;
use bridge_mcp::error::error_response;
use bridge_mcp::frame::Frame;
use bridge_mcp::framing::FramingError;
use bridge_mcp::limits::Limits;
use bridge_policy::refusal::{Reason, Refusal};
use bridge_runtime::tasks;
use bridge_transport::backend::http::SendError;
use bridge_transport::backend::sse::{Delivery, OpenError, SseEndpoint, SseMessages, SseServer};
use bytes::Bytes;
use http::StatusCode;
use tokio::sync::mpsc::{self, WeakSender};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Wire;
use super::http::refused;

/// Messages that may wait in each direction; what comes on top waits in the sockets.
const QUEUE: usize = 64;
/// POSTs at once in one conversation.
const POSTS: usize = 32;
/// How long a notification waits for the POSTs before it, and the messages behind it for its own.
const ORDER: Duration = Duration::from_secs(1);

type Inbound = Result<Bytes, FramingError>;

/// A server with what every conversation with it shares.
pub(crate) struct SseTarget {
    pub(crate) backend: Arc<str>,
    server: SseServer,
    limits: Limits,
    /// Longest time for one POST.
    patience: Duration,
}

impl SseTarget {
    pub(crate) fn new(backend: Arc<str>, server: SseServer, limits: Limits, patience: Duration) -> Self {
        Self { backend, server, limits, patience }
    }

    /// Sends from now on the headers that `newer` sends, also in conversations that are open.
    pub(crate) fn renew(&self, newer: &Self) {
        self.server.headers.replace(&newer.server.headers);
    }

    /// Opens the stream. The wire ends when the stream does, and is ended by `stop`.
    pub(crate) async fn open(self: &Arc<Self>, stop: CancellationToken) -> Result<Wire, Refusal> {
        let opened = self.server.open().await.map_err(|error| self.not_opened(&error))?;
        let (outbound, messages_out) = mpsc::channel(QUEUE);
        let (messages_in, inbound) = mpsc::channel(QUEUE);
        let ended = stop.child_token();
        let poster = Poster {
            target: Arc::clone(self),
            endpoint: opened.endpoint,
            outbound: messages_out,
            replies: messages_in.downgrade(),
            posts: JoinSet::new(),
            ended: ended.clone(),
        };
        tasks::spawn("sse-reader", read(Arc::clone(self), opened.messages, messages_in, ended));
        tasks::spawn("sse-poster", async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = poster.run() => {}
            }
        });
        Ok(Wire { outbound, inbound })
    }

    fn not_opened(&self, error: &OpenError) -> Refusal {
        tracing::warn!(backend = %self.backend, %error, "event stream not opened");
        let (reason, detail) = match error {
            OpenError::Send(_) => (Reason::BackendUnavailable, "it cannot be reached".to_owned()),
            OpenError::Refused(status) if !status.is_success() => refused(*status),
            _ => (Reason::BackendProtocol, error.to_string()),
        };
        Refusal::backend(reason, &self.backend, detail)
    }
}

/// Reads the stream to its end. The last sender goes with it, so what was read is still dispatched.
async fn read(
    target: Arc<SseTarget>,
    mut messages: SseMessages,
    inbound: mpsc::Sender<Inbound>,
    ended: CancellationToken,
) {
    // However it ends, the other half takes no more messages.
    let _guard = ended.clone().drop_guard();
    loop {
        let message = tokio::select! {
            message = messages.next() => message,
            () = ended.cancelled() => return,
        };
        match message {
            Ok(Some(message)) => {
                if inbound.send(Ok(message)).await.is_err() {
                    return;
                }
            }
            Ok(None) => {
                tracing::info!(backend = %target.backend, "event stream ended");
                return;
            }
            Err(error) => {
                tracing::warn!(backend = %target.backend, %error, "event stream lost");
                return;
            }
        }
    }
}

/// Sends what comes. Requests and answers may overtake each other, as their answers may. Notifications may not: servers
/// refuse requests before `notifications/initialized`, and a cancellation must find its request.
struct Poster {
    target: Arc<SseTarget>,
    endpoint: SseEndpoint,
    outbound: mpsc::Receiver<Bytes>,
    /// Where answers go that do not come on the stream. Weak: they do not outlive it.
    replies: WeakSender<Inbound>,
    posts: JoinSet<Option<Outcome>>,
    ended: CancellationToken,
}

/// What a POST has led to, when that is anything.
enum Outcome {
    /// The answer to its request.
    Answer(Bytes),
    /// It was not delivered.
    Failed(Frame, Reason, String),
    /// It was not delivered, and nothing will be: the server does not know this conversation any more.
    Gone(Frame),
}

impl Poster {
    async fn run(mut self) {
        let limits = Limits::backend(usize::MAX, self.target.limits.max_depth);
        loop {
            let message = tokio::select! {
                message = self.outbound.recv(), if self.posts.len() < POSTS => message,
                Some(done) = self.posts.join_next() => {
                    self.conclude(done.ok().flatten()).await;
                    continue;
                }
                () = self.ended.cancelled() => return,
            };
            let Some(message) = message else { break };
            let Ok(frame) = Frame::parse(message, &limits) else {
                tracing::error!(backend = %self.target.backend, "a message of the gateway's own is none");
                continue;
            };
            if self.outbound.is_closed() {
                self.conclude(Some(Outcome::Gone(frame))).await;
                continue;
            }
            let ordered = frame.kind() == Kind::Notification;
            if ordered {
                self.settle().await;
            }
            self.posts.spawn(deliver(Arc::clone(&self.target), self.endpoint.clone(), frame));
            if ordered {
                self.settle().await;
            }
        }
        // The conversation is over, either way; what was said before still is.
        self.settle().await;
        self.ended.cancel();
    }

    /// Waits until all POSTs were answered, unless the server takes too long.
    async fn settle(&mut self) {
        let deadline = tokio::time::Instant::now() + ORDER;
        loop {
            match tokio::time::timeout_at(deadline, self.posts.join_next()).await {
                Ok(Some(done)) => self.conclude(done.ok().flatten()).await,
                Ok(None) => return,
                Err(_) => {
                    tracing::debug!(backend = %self.target.backend, "it holds its POSTs; order is not kept");
                    return;
                }
            }
        }
    }

    async fn conclude(&mut self, outcome: Option<Outcome>) {
        let (frame, reason, detail) = match outcome {
            None => return,
            Some(Outcome::Answer(answer)) => return self.reply(answer).await,
            Some(Outcome::Failed(frame, reason, detail)) => (frame, reason, detail),
            Some(Outcome::Gone(frame)) => {
                // Before anybody learns of it: whoever comes next opens another conversation.
                self.outbound.close();
                (frame, Reason::BackendUnavailable, "it ended the session; send the request again".to_owned())
            }
        };
        tracing::warn!(backend = %self.target.backend, method = &*frame.method_name(), detail, "message not delivered");
        if frame.kind() == Kind::Request {
            let refusal = Refusal::backend(reason, &self.target.backend, detail);
            let (code, data) = (refusal.reason.code(), refusal.data());
            self.reply(error_response(frame.raw_id(), code, &refusal.detail, Some(&data))).await;
        }
    }

    /// Gives an answer to the reader of the wire, as if it had come on the stream.
    async fn reply(&self, answer: Bytes) {
        if let Some(replies) = self.replies.upgrade() {
            // A wire that nobody reads has no calls in flight.
            let _ = replies.send(Ok(answer)).await;
        }
    }
}

async fn deliver(target: Arc<SseTarget>, endpoint: SseEndpoint, frame: Frame) -> Option<Outcome> {
    let sent = endpoint.post(frame.bytes().clone());
    let Ok(delivery) = tokio::time::timeout(target.patience, sent).await else {
        tracing::debug!(backend = %target.backend, "POST given up; its answer may still come");
        return None;
    };
    let (reason, detail) = match delivery {
        Delivery::Taken => return None,
        Delivery::Answered(answer) => return Some(Outcome::Answer(answer)),
        Delivery::Refused(StatusCode::NOT_FOUND | StatusCode::GONE) => return Some(Outcome::Gone(frame)),
        Delivery::Refused(status) => refused(status),
        Delivery::Failed(SendError::Connect(_)) => {
            (Reason::BackendUnavailable, "it cannot be reached; nothing was executed".to_owned())
        }
        Delivery::Failed(SendError::Lost(_)) => {
            let text = "the connection was lost; the request may have been executed";
            (Reason::BackendLost, text.to_owned())
        }
    };
    Some(Outcome::Failed(frame, reason, detail))
}
