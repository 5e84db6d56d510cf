//! One client's connection over which messages travel both ways, whatever carries them. Changes when such clients are
//! served differently.
//!
//! This is the core of every frontend whose clients stay connected: WebSocket, stdio, TCP, HTTP+SSE. A transport opens a
//! [`Connection`] and gets its [`Outbox`]. It hands each message that it reads to [`Connection::receive`], which waits
//! while the client has too much in flight, and writes what the outbox gives. When [`Connection::over`] completes, it
//! writes the rest of the outbox and closes. Dropping the connection ends everything that the client has begun.
//!
//! ```text
//! serving ──drain, stop, or the token's expiry──▶ leaving: requests are refused, those in flight finish ──▶ over
//!    └─────────────────────────────── the client left: drop ────────────────────────────────────────────────┴──▶ ended
//! ```
//!
//! Requests are served at once and answered in any order. Everything else that a client says is taken in its order.
//! Sessions live as long as the connection; requests of 2026-07-28 need none.

mod admission;
mod call;
mod in_flight;
mod inbound;
mod outbox;
mod validity;

use std::sync::Arc;

use bridge_mcp::envelope::Kind;
use bridge_mcp::frame::{Body, Frame, FrameError};
use bridge_mcp::id::Id;
use bridge_mcp::limits::Limits;
use bridge_mcp::method::Method;
use bridge_mcp::version::{Era, Version};
use bridge_policy::denial::Denial;
use bridge_policy::principal::Principal;
use bridge_policy::refusal::{Reason, Refusal};
use bridge_policy::route::Scope;
use bridge_runtime::tasks;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::gateway::{Gateway, Plan};
use crate::listener::LAME_DUCK;
use crate::pipeline::{self, Carrier, Context, batch, error_of, legacy};
use crate::session::OwnSessions;
use crate::upstream::Hello;
use admission::Admission;
use call::Call;
use in_flight::InFlight;
use validity::Validity;

pub(crate) use inbound::{Destination, Dialect, Inbound, Sender};
pub(crate) use outbox::{Outbound, Outbox};

/// Requests of one connection at once. Listens are not among them; they have a limit of their own.
const MAX_REQUESTS: usize = 1024;
/// Notifications and answers of the client that may wait for a backend to take them; then the reader waits.
const MAX_NOTES: usize = 64;

/// One client.
pub(crate) struct Connection {
    shared: Arc<Shared>,
    notes: mpsc::Sender<Note>,
    stop: CancellationToken,
}

/// Why a connection is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    /// The gateway, or the listener, goes away.
    Leaving,
    /// The credential with which it was opened is void.
    Expired,
}

/// A notification or an answer of the client's.
struct Note {
    context: Context,
    dialect: Dialect,
    frame: Frame,
}

struct Shared {
    gateway: Arc<Gateway>,
    sessions: OwnSessions,
    /// What the client said of itself last; for endpoints that it uses without another `initialize`.
    hello: Mutex<Option<Hello>>,
    admission: Admission,
    in_flight: Arc<InFlight>,
    outbound: outbox::Sender,
    requests: TaskTracker,
    /// Calls that wait for another request of this client.
    parked: TaskTracker,
    validity: Validity,
    /// The credential is void: nothing new is told.
    expired: CancellationToken,
    /// No new requests are taken.
    leaving: CancellationToken,
    closed: CancellationToken,
    /// Calls in flight are not waited for any longer.
    ending: CancellationToken,
}

impl Connection {
    /// Serves one client from now on. `stop` is cancelled when its listener is given up.
    pub(crate) fn open(gateway: &Arc<Gateway>, stop: CancellationToken) -> (Self, Outbox) {
        let (outbound, outbox) = outbox::channel();
        let closed = CancellationToken::new();
        let shared = Arc::new(Shared {
            gateway: Arc::clone(gateway),
            sessions: OwnSessions::default(),
            hello: Mutex::default(),
            admission: Admission::new(MAX_REQUESTS),
            in_flight: Arc::new(InFlight::new(closed.clone())),
            outbound,
            requests: TaskTracker::new(),
            parked: TaskTracker::new(),
            validity: Validity::new(),
            expired: CancellationToken::new(),
            leaving: CancellationToken::new(),
            closed,
            ending: gateway.ending.child_token(),
        });
        let (notes, queued) = mpsc::channel(MAX_NOTES);
        tasks::spawn("client-notes", take_notes(Arc::clone(&shared), queued));
        (Self { shared, notes, stop }, outbox)
    }

    /// Bounds of its messages, as of now.
    pub(crate) fn limits(&self) -> Limits {
        self.shared.gateway.plan.load().connection_limits.clone()
    }

    /// Takes one message from the client. Waits while too much of this client's is in flight.
    pub(crate) async fn receive(&self, inbound: Inbound<'_>) {
        let gateway = &self.shared.gateway;
        let plan = gateway.plan.load_full();
        match Body::parse(inbound.message.clone(), &plan.connection_limits) {
            Ok(Body::Single(frame)) => {
                let dialect = inbound.dialect();
                let context = match self.context(plan, &inbound, &frame) {
                    Ok(context) => context,
                    Err(refusal) => return self.shared.refuse(dialect, &frame, &refusal).await,
                };
                match frame.kind() {
                    Kind::Request => self.request(context, dialect, inbound.unasked, frame).await,
                    Kind::Notification | Kind::Result | Kind::Error => {
                        self.note(Note { context, dialect, frame }).await;
                    }
                }
            }
            Ok(Body::Batch(messages)) => self.batch(plan, &inbound, messages).await,
            Err(error) => {
                gateway.metrics.refused(Reason::BadMessage);
                let answer = Outbound::answer(inbound.dialect(), inbound.id, inbound.malformed(&error));
                self.shared.outbound.send(answer).await;
            }
        }
    }

    /// Queues an answer of the transport's own: to what is not even a message.
    pub(crate) async fn answer(&self, answer: Outbound) {
        self.shared.outbound.send(answer).await;
    }

    /// From now on it lasts no longer than the credential of `principal`, or a later one of its messages.
    pub(crate) fn bind(&self, principal: &Principal) {
        self.shared.validity.bind(principal);
    }

    /// Completes when the gateway leaves this client and nothing of it is in flight any more.
    pub(crate) async fn over(&self) -> Over {
        let drained = async {
            self.shared.gateway.drain.started().await;
            tokio::time::sleep(LAME_DUCK).await;
        };
        let why = tokio::select! {
            () = self.stop.cancelled() => Over::Leaving,
            () = drained => Over::Leaving,
            () = self.shared.validity.expired() => {
                self.shared.expired.cancel();
                Over::Expired
            }
        };
        self.shared.parked.close();
        loop {
            self.finished().await;
            if why == Over::Expired || self.shared.parked.is_empty() {
                return why;
            }
            self.shared.parked.wait().await;
        }
    }

    /// Takes no more requests, and completes when nothing of this client is in flight any more.
    pub(crate) async fn finished(&self) {
        self.shared.leaving.cancel();
        self.shared.requests.close();
        self.shared.requests.wait().await;
    }

    fn context(&self, plan: Arc<Plan>, inbound: &Inbound<'_>, frame: &Frame) -> Result<Context, Refusal> {
        let principal = inbound.principal(&self.shared.gateway, &plan)?;
        self.shared.validity.extend(&principal);
        let scope = inbound.destination.scope(&plan, frame)?;
        Ok(self.shared.context(plan, scope, principal))
    }

    async fn request(&self, context: Context, dialect: Dialect, unasked: bool, frame: Frame) {
        let shared = &self.shared;
        let era = era_of(&frame);
        let is_listen = era == Era::Modern && frame.method() == Method::Listen;
        let slot = if is_listen { None } else { shared.admission.enter().await };
        if slot.is_none() && !is_listen {
            let text = format!("{MAX_REQUESTS} requests of this connection are in flight, the limit");
            return shared.refuse(dialect, &frame, &Refusal::new(Reason::Exhausted, text)).await;
        }
        if shared.leaving.is_cancelled()
            && let Err(refusal) = shared.admit_late(&frame)
        {
            return shared.refuse(dialect, &frame, &refusal).await;
        }
        if unasked
            && era == Era::Legacy
            && let Err(refusal) = shared.open_unasked(&context, dialect, &frame)
        {
            return shared.refuse(dialect, &frame, &refusal).await;
        }
        let opens = era == Era::Legacy && frame.method() == Method::Initialize;
        let call = Call::enter(shared, context, dialect, frame, slot);
        if opens {
            // What follows belongs to the session, so it waits for it.
            shared.requests.track_future(call.open()).await;
        } else {
            tasks::spawn("client-request", shared.requests.track_future(call.run()));
        }
    }

    async fn note(&self, note: Note) {
        if let Some(id) = cancelled_id(&note.frame)
            && self.shared.in_flight.era(&id) == Some(Era::Modern)
        {
            // Dropping a request of that generation cancels it at its backend.
            return self.shared.in_flight.cancel(&id);
        }
        // An error is a connection that has ended.
        drop(self.notes.send(note).await);
    }

    async fn batch(&self, plan: Arc<Plan>, inbound: &Inbound<'_>, messages: Vec<Result<Frame, FrameError>>) {
        let (shared, dialect) = (&self.shared, inbound.dialect());
        let session = match (inbound.destination.fixed(), inbound.principal(&shared.gateway, &plan)) {
            (Some(scope), Ok(principal)) => {
                let context = shared.context(plan, scope, principal);
                let session = shared.sessions.get(&context.scope, &context.principal);
                session
                    .filter(|session| session.hello.version == Version::V2025_03_26)
                    .map(|session| (context, session))
            }
            _ => None,
        };
        let Some((context, session)) = session else {
            return shared.outbound.send(Outbound::answer(dialect, None, batch::not_allowed())).await;
        };
        let Some(slot) = shared.admission.enter().await else {
            let text = format!("{MAX_REQUESTS} requests of this connection are in flight, the limit");
            let refusal = Refusal::new(Reason::Exhausted, text);
            return shared.outbound.send(Outbound::answer(dialect, None, error_of(None, &refusal))).await;
        };
        let shared = Arc::clone(shared);
        let tracker = shared.requests.clone();
        let served = async move {
            let held = Arc::new(shared.gateway.drain.guard());
            tokio::select! {
                () = shared.closed.cancelled() => {}
                answers = batch::serve(&context, &session, messages) => {
                    if let Some(answers) = answers {
                        shared.outbound.send(Outbound::mcp(answers).holding(Some(&held))).await;
                    }
                }
            }
            drop(slot);
        };
        tasks::spawn("client-batch", tracker.track_future(served));
    }
}

/// The client has left, or was left: its calls and sessions end.
impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.closed.cancel();
        self.shared.sessions.end(&self.shared.gateway.sessions);
    }
}

impl Shared {
    fn context(&self, plan: Arc<Plan>, scope: Scope, principal: Principal) -> Context {
        let (gateway, ending) = (Arc::clone(&self.gateway), self.ending.clone());
        Context { gateway, plan, scope, principal, ending, awaited: Some(self.parked.clone()) }
    }

    /// Answers a request with a refusal. Nothing else is answered.
    async fn refuse(&self, dialect: Dialect, frame: &Frame, refusal: &Refusal) {
        self.gateway.metrics.refused(refusal.reason);
        tracing::debug!(reason = refusal.reason.as_str(), "request refused");
        if frame.kind() == Kind::Request {
            let answer = error_of(frame.raw_id(), refusal);
            self.outbound.send(Outbound::answer(dialect, frame.raw_id(), answer)).await;
        }
    }

    /// Judges a request on a connection that is about to end. What continues a call may, as long as the connection waits
    /// for something else.
    fn admit_late(&self, frame: &Frame) -> Result<(), Refusal> {
        if self.expired.is_cancelled() {
            let detail = "the token with which this connection was opened has expired; open another";
            return Err(Refusal { detail: detail.to_owned(), ..Refusal::denied(Denial::TokenExpired) });
        }
        if !self.gateway.parked.is_continued_by(frame) {
            return Err(pipeline::shutting_down());
        }
        if self.requests.is_empty() && self.parked.is_empty() {
            let text = "this connection ends; the call still waits for a moment, and may have been executed in part: \
                        send the request again on a new connection";
            return Err(Refusal::new(Reason::CallExpired, text));
        }
        Ok(())
    }

    /// Makes sure of a session for a client that may never send `initialize`.
    fn open_unasked(
        self: &Arc<Self>,
        context: &Context,
        dialect: Dialect,
        frame: &Frame,
    ) -> Result<(), Refusal> {
        let has_session = self.sessions.get(&context.scope, &context.principal).is_some();
        if has_session || matches!(frame.method(), Method::Initialize | Method::Ping) {
            return Ok(());
        }
        let hello = self.hello.lock().clone().unwrap_or_else(Hello::unnamed);
        legacy::open_unasked(context, &self.sessions, hello)?;
        if let Some(session) = self.sessions.get(&context.scope, &context.principal) {
            self.follow(context.clone(), dialect, session);
        }
        Ok(())
    }
}

/// Which generation a request will be found to belong to ([`bridge_mcp::detect`]).
fn era_of(frame: &Frame) -> Era {
    let params = frame.envelope().params.as_ref();
    match params.and_then(|params| params.meta.protocol_version) {
        Some(_) => Era::Modern,
        None => Era::Legacy,
    }
}

/// The request that a cancellation is about.
fn cancelled_id(frame: &Frame) -> Option<Id> {
    if frame.method() != Method::Cancelled || frame.kind() != Kind::Notification {
        return None;
    }
    let params = frame.envelope().params.as_ref()?;
    frame.raw(params.members.request_id).and_then(Id::from_raw)
}

/// Serves what wants no answer, in its order.
async fn take_notes(shared: Arc<Shared>, mut notes: mpsc::Receiver<Note>) {
    let closed = shared.closed.clone();
    let taken = async {
        while let Some(Note { context, dialect, frame }) = notes.recv().await {
            let cancelled = cancelled_id(&frame);
            if cancelled.is_some() && dialect == Dialect::Original {
                // It does not say which of its sessions has the request.
                for session in shared.sessions.of(&context.principal) {
                    legacy::notify(&context, &session, &frame).await;
                }
            } else {
                pipeline::serve(&context, Carrier::Connection(&shared.sessions), &frame).await;
            }
            // After its backend was told.
            if let Some(id) = cancelled {
                shared.in_flight.cancel(&id);
            }
        }
    };
    tokio::select! {
        () = taken => {}
        () = closed.cancelled() => {}
    }
}

/// A message of the gateway's own making.
fn parsed(message: Bytes, plan: &Plan) -> Option<Frame> {
    Frame::parse(message, &plan.backend_limits).ok()
}

#[cfg(test)]
mod tests;
