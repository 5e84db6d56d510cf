//! A byte stream that carries all requests of one conversation. Changes when multiplexing over a stream changes.

mod late_logs;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bridge_mcp::envelope::Kind;
use bridge_mcp::error::{code, error_response, result_response};
use bridge_mcp::frame::Frame;
use bridge_mcp::framing::FramingError;
use bridge_mcp::id::Id;
use bridge_mcp::limits::Limits;
use bridge_mcp::method::Method;
use bridge_mcp::pending::Pending;
use bridge_mcp::splice::Edits;
use bridge_mcp::version::Era;
use bridge_policy::principal::Principal;
use bridge_policy::refusal::{Reason, Refusal};
use bridge_runtime::tasks;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{Answer, Event, Messages, OnLeave, Owner, Taken, outside_call};
use late_logs::{LateLogs, LogReader};

/// Messages that may wait for a slow caller; what comes on top is dropped and logged, the answer never is.
const NOTICES: usize = 128;

/// How long a message without an answer may wait to be written.
const TELL: Duration = Duration::from_secs(5);

/// Both ends of a byte stream, in whole messages.
pub(crate) struct Wire {
    /// Messages to the backend. Once its receiver is closed, answers may still come, but no more requests are taken.
    pub(crate) outbound: mpsc::Sender<Bytes>,
    /// Messages from the backend; it ends when the backend is gone.
    pub(crate) inbound: mpsc::Receiver<Result<Bytes, FramingError>>,
}

/// A conversation over a [`Wire`].
pub(crate) struct Channel {
    shared: Arc<Shared>,
}

struct Shared {
    backend: Arc<str>,
    era: Era,
    limits: Limits,
    outbound: mpsc::Sender<Bytes>,
    pending: Mutex<Pending<Caller>>,
    /// The client's calls in flight by their numbers, the latest last.
    callers: Mutex<BTreeMap<i64, mpsc::Sender<Event>>>,
    late_logs: Mutex<LateLogs>,
    closed: CancellationToken,
}

struct Caller {
    /// `None` for the gateway itself.
    notices: Option<mpsc::Sender<Event>>,
    /// Set when the request names a log level (2026-07-28).
    logs: Option<LogReader>,
    answer: oneshot::Sender<Result<Bytes, Refusal>>,
}

/// One call on a channel.
pub(crate) struct ChannelCall {
    shared: Arc<Shared>,
    number: i64,
    notices: mpsc::Receiver<Event>,
    answer: oneshot::Receiver<Result<Bytes, Refusal>>,
    outcome: Option<Result<Bytes, Refusal>>,
    on_leave: Option<OnLeave>,
}

impl Channel {
    /// Starts to read `wire`. `stop` is cancelled when the channel closes, for whatever reason; whoever owns the
    /// other end of the wire watches it.
    pub(crate) fn start(
        backend: Arc<str>,
        era: Era,
        limits: Limits,
        wire: Wire,
        owner: Arc<dyn Owner>,
        stop: CancellationToken,
    ) -> Result<Self, Refusal> {
        let random = getrandom::u64().map_err(|error| {
            tracing::error!(%error, "no randomness for a conversation");
            Refusal::backend(Reason::Exhausted, &backend, "no conversation can be opened now")
        })?;
        let shared = Arc::new(Shared {
            backend,
            era,
            limits,
            outbound: wire.outbound,
            pending: Mutex::new(Pending::apart(random)),
            callers: Mutex::default(),
            late_logs: Mutex::default(),
            closed: stop,
        });
        tasks::spawn("backend-reader", read(Arc::clone(&shared), wire.inbound, owner));
        Ok(Self { shared })
    }

    pub(crate) fn backend(&self) -> &str {
        &self.shared.backend
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    pub(crate) fn era(&self) -> Era {
        self.shared.era
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.shared.closed.is_cancelled() && !self.shared.outbound.is_closed()
    }

    pub(crate) fn close(&self) {
        self.shared.closed.cancel();
    }

    pub(crate) fn closed(&self) -> CancellationToken {
        self.shared.closed.clone()
    }

    /// Sends a request under a number that no other conversation uses, for `asker` where that is known.
    pub(crate) async fn request(
        &self,
        frame: &Frame,
        on_leave: OnLeave,
        asker: Option<&Principal>,
    ) -> Result<Answer, Refusal> {
        let (notices_in, notices) = mpsc::channel(NOTICES);
        let wants_logs =
            frame.envelope().params.as_ref().is_some_and(|params| params.meta.log_level.is_some());
        let logs = wants_logs.then(|| LogReader(asker.cloned()));
        self.enter(frame, on_leave, logs, Some(notices_in), notices).await
    }

    /// Sends a request of the gateway's own: what the backend asks meanwhile is not about it.
    pub(crate) async fn request_own(&self, frame: &Frame) -> Result<Answer, Refusal> {
        let (_, notices) = mpsc::channel(1);
        self.enter(frame, OnLeave::Cancel, None, None, notices).await
    }

    async fn enter(
        &self,
        frame: &Frame,
        on_leave: OnLeave,
        logs: Option<LogReader>,
        notices_in: Option<mpsc::Sender<Event>>,
        notices: mpsc::Receiver<Event>,
    ) -> Result<Answer, Refusal> {
        let shared = &self.shared;
        let (answer_in, answer) = oneshot::channel();
        let caller = Caller { notices: notices_in.clone(), logs, answer: answer_in };
        let Some((number, bytes)) = shared.pending.lock().open(frame, caller) else {
            return Err(Refusal::new(Reason::BadMessage, "only requests are answered"));
        };
        if let Some(notices) = notices_in {
            shared.callers.lock().insert(number, notices);
        }
        let call = ChannelCall {
            shared: Arc::clone(shared),
            number,
            notices,
            answer,
            outcome: None,
            on_leave: Some(on_leave),
        };
        // After the entry: a reader that ended in between has either seen it or has cancelled `closed` already.
        if shared.closed.is_cancelled() || !shared.send(bytes).await {
            return Err(shared.unavailable());
        }
        Ok(Answer::Stream(Messages::Channel(call)))
    }

    pub(crate) async fn tell(&self, message: Bytes) -> Result<(), Refusal> {
        match tokio::time::timeout(TELL, self.shared.send(message)).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.shared.unavailable()),
            Err(_) => Err(Refusal::backend(Reason::BackendTimeout, &self.shared.backend, "it does not read")),
        }
    }

    pub(crate) fn cancellation(&self, id: &Id, notification: &Frame) -> Option<Bytes> {
        let number = self.shared.pending.lock().find(id)?;
        let span = notification.envelope().params.as_ref()?.members.request_id?;
        let mut edits = Edits::new();
        edits.replace(span, number.to_string());
        Some(notification.edited(edits))
    }
}

/// Nobody can send on it any more, so the wire may end. Calls in flight hold what they need themselves.
impl Drop for Channel {
    fn drop(&mut self) {
        self.shared.closed.cancel();
    }
}

impl Shared {
    /// Waits for room. `false` when the channel closes meanwhile.
    async fn send(&self, message: Bytes) -> bool {
        tokio::select! {
            () = self.closed.cancelled() => false,
            sent = self.outbound.send(message) => sent.is_ok(),
        }
    }

    /// The one client's call in flight, when there is exactly one.
    fn sole(&self) -> Option<mpsc::Sender<Event>> {
        self.pending.lock().sole(|caller| caller.notices.is_some())?.owner.notices.clone()
    }

    fn has_calls(&self) -> bool {
        !self.callers.lock().is_empty()
    }

    /// Gives a request to the client's latest call that can take it, or tells the backend that nobody answers.
    fn give_to_any(&self, frame: Frame) {
        let callers: Vec<_> = self.callers.lock().values().rev().cloned().collect();
        let id = frame.raw_id().map(Bytes::copy_from_slice);
        let mut question = Event::Elsewhere(frame);
        for caller in callers {
            match caller.try_send(question) {
                Ok(()) => return,
                Err(TrySendError::Full(refused) | TrySendError::Closed(refused)) => question = refused,
            }
        }
        self.refuse(id.as_deref());
    }

    fn unavailable(&self) -> Refusal {
        Refusal::backend(
            Reason::BackendUnavailable,
            &self.backend,
            "it is not running; send the request again",
        )
    }

    fn dispatch(&self, frame: Frame, owner: &dyn Owner) {
        match frame.kind() {
            Kind::Result | Kind::Error => self.answer(&frame),
            Kind::Request => self.ask(frame, owner),
            Kind::Notification => self.notify(frame, owner),
        }
    }

    fn answer(&self, frame: &Frame) {
        let closed = self.pending.lock().close(frame);
        match closed {
            // A caller that left has dropped its receiver; its answer has no reader by its own choice.
            Some((call, bytes)) => drop(call.owner.answer.send(Ok(bytes))),
            None => tracing::debug!(backend = %self.backend, "answer to no call in flight"),
        }
    }

    fn ask(&self, frame: Frame, owner: &dyn Owner) {
        let Some(id) = frame.raw_id().map(Bytes::copy_from_slice) else { return };
        if frame.method() == Method::Ping {
            self.reply(result_response(&id, b"{}"));
            return;
        }
        if self.era == Era::Modern {
            let text = "servers of 2026-07-28 send no requests; answer `input_required` instead";
            self.reply(error_response(Some(&id), code::METHOD_NOT_FOUND, text, None));
            return;
        }
        // A request names no call. It is given to the only one there is; with several, or none, to the owner. All calls
        // here are of one client, so any of its streams may carry what it would else not read.
        let sole = if owner.is_many() { None } else { self.sole() };
        let taken = match sole {
            Some(caller) => caller.try_send(Event::Request(frame)).is_ok(),
            None => match owner.request(frame, self.has_calls()) {
                Taken::Yes => true,
                Taken::No => false,
                Taken::Outside => return self.reply(outside_call(&id)),
                Taken::ForAnyCall(frame) => return self.give_to_any(frame),
            },
        };
        if !taken {
            self.refuse(Some(&id));
        }
    }

    /// Tells the backend that nobody answers its request.
    fn refuse(&self, id: Option<&[u8]>) {
        self.reply(error_response(id, code::INTERNAL, "no client can answer this request", None));
    }

    fn notify(&self, frame: Frame, owner: &dyn Owner) {
        let tagged =
            frame.envelope().params.as_ref().is_some_and(|params| params.meta.subscription_id.is_some());
        let (caller, frame) = if frame.method() == Method::Progress || tagged {
            // Of a call that has ended: nobody may see it.
            let Some((caller, bytes)) = self.mapped(&frame) else { return };
            let Ok(frame) = Frame::parse(bytes, &self.limits) else { return };
            (caller, frame)
        } else if frame.method() == Method::Message && self.era == Era::Legacy && !owner.is_many() {
            (self.sole(), frame)
        } else if frame.method() == Method::Message && self.era == Era::Modern {
            (self.log_reader(), frame)
        } else {
            (None, frame)
        };
        match caller {
            Some(caller) => {
                if caller.try_send(Event::Notice(frame)).is_err() {
                    tracing::warn!(backend = %self.backend, "notification dropped: the client reads too slowly");
                }
            }
            None => owner.notice(frame),
        }
    }

    /// The caller of the call that a notification names, and the notification in the caller's spelling.
    fn mapped(&self, frame: &Frame) -> Option<(Option<mpsc::Sender<Event>>, Bytes)> {
        let pending = self.pending.lock();
        let (call, bytes) = match frame.method() {
            Method::Progress => pending.progress(frame)?,
            _ => pending.subscription(frame)?,
        };
        Some((call.owner.notices.clone(), bytes))
    }

    /// Whom a log message of a modern backend is for. Many clients share this wire and the message does not say whose it
    /// is. A server logs for those requests only that ask for it, so one that is alone in that is meant.
    fn log_reader(&self) -> Option<mpsc::Sender<Event>> {
        let pending = self.pending.lock();
        let call = pending.sole(|caller| caller.logs.is_some())?;
        let reader = call.owner.logs.as_ref()?;
        if self.late_logs.lock().may_be_read_by(reader) { call.owner.notices.clone() } else { None }
    }

    fn reply(&self, message: Bytes) {
        if self.outbound.try_send(message).is_err() {
            tracing::warn!(backend = %self.backend, "reply dropped: the backend does not read");
        }
    }
}

async fn read(
    shared: Arc<Shared>,
    mut inbound: mpsc::Receiver<Result<Bytes, FramingError>>,
    owner: Arc<dyn Owner>,
) {
    loop {
        let line = tokio::select! {
            line = inbound.recv() => line,
            () = shared.closed.cancelled() => None,
        };
        match line {
            None => break,
            Some(Err(error)) => tracing::warn!(backend = %shared.backend, %error, "line skipped"),
            Some(Ok(line)) => match Frame::parse(line, &shared.limits) {
                Ok(frame) => shared.dispatch(frame, owner.as_ref()),
                Err(error) => tracing::warn!(backend = %shared.backend, %error, "not a message; skipped"),
            },
        }
    }
    shared.closed.cancel();
    let lost = shared.pending.lock().drain();
    for call in lost {
        let refusal =
            Refusal::backend(Reason::BackendLost, &shared.backend, "it went away before it answered");
        // A caller that left needs no answer.
        drop(call.owner.answer.send(Err(refusal)));
    }
}

impl ChannelCall {
    pub(crate) async fn next(&mut self) -> Result<Event, Refusal> {
        if self.outcome.is_none() {
            tokio::select! {
                biased;
                Some(event) = self.notices.recv() => return Ok(event),
                answer = &mut self.answer => {
                    self.outcome = Some(answer.unwrap_or_else(|_| Err(self.shared.unavailable())));
                }
            }
        }
        // What was sent before the answer reaches the caller before it.
        if let Ok(event) = self.notices.try_recv() {
            return Ok(event);
        }
        self.on_leave = None;
        match self.outcome.take() {
            Some(outcome) => outcome.map(Event::Answer),
            None => Err(self.shared.unavailable()),
        }
    }
}

impl Drop for ChannelCall {
    fn drop(&mut self) {
        self.shared.callers.lock().remove(&self.number);
        let Some(on_leave) = self.on_leave else { return };
        let left = self.shared.pending.lock().forget(self.number);
        let forgotten = left.is_some();
        if let Some(reader) = left.and_then(|call| call.owner.logs) {
            self.shared.late_logs.lock().left_by(reader);
        }
        if forgotten && on_leave == OnLeave::Cancel {
            self.shared.reply(Bytes::from(format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{},"reason":"the client left"}}}}"#,
                self.number
            )));
        }
        // What this caller has not read may be about another call of its client.
        self.notices.close();
        while let Ok(event) = self.notices.try_recv() {
            if let Event::Request(question) | Event::Elsewhere(question) = event {
                self.shared.give_to_any(question);
            }
        }
    }
}

#[cfg(test)]
mod tests;
