//! One call of a modern client in a legacy conversation: its messages as the client reads them, and its waits for the
//! client. Changes when such calls are driven differently.
//!
//! ```text
//! running ──the server asks──▶ gathering ──a moment without another question──▶ parked (`Parked` has it)
//!    │                             └──answer──▶ ended                              │ the client repeats the request
//!    ├──answer──▶ ended                                                            ▼
//!    └──dropped──▶ cancelled upstream                                           running
//! ```

use std::sync::Arc;
use std::time::Duration;

use bridge_mcp::frame::Frame;
use bridge_mcp::limits::Limits;
use bridge_mcp::method::Method;
use bridge_mcp::splice::Edits;
use bridge_mcp::translate::to_legacy::{self, Questions};
use bridge_policy::refusal::{Reason, Refusal};
use bridge_runtime::tasks;
use bytes::Bytes;
use http::HeaderMap;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::handle::Kind;
use super::parked::{Claim, Held, ParkedLimits};
use super::pool::Lease;
use crate::gateway::Gateway;
use crate::upstream::{Answer, Event, Link, Messages, OnLeave, UpstreamError, cancellation};

/// How long more questions are waited for after one: servers that ask several things ask them at once.
const GATHER: Duration = Duration::from_millis(20);
/// How long log messages are waited for after an answer over HTTP, and since the last one, where the server puts them on
/// the session's own stream: two streams have no order.
const LATE_LOGS: Duration = Duration::from_millis(100);
/// The gateway's own implementation info, raw.
pub(super) const SERVER_INFO: &[u8] =
    concat!(r#"{"name":"mcp-gateway","version":""#, env!("CARGO_PKG_VERSION"), r#""}"#).as_bytes();

/// The call. Owned by the answer to one request of the client, or by [`super::Parked`] between two.
pub(crate) struct ToLegacyCall {
    /// Nothing once the call has ended or is parked.
    inner: Option<Box<Running>>,
}

/// What a call consists of while its server works on it.
pub(super) struct Running {
    pub(super) gateway: Arc<Gateway>,
    pub(super) limits: ParkedLimits,
    pub(super) backend_limits: Limits,
    pub(super) claim: Claim,
    /// What waits for the call while it is parked, beside the gateway that stops.
    pub(super) awaited: Option<TaskTracker>,
    /// The client's request; after a wait, the one that repeated it.
    pub(super) request: Frame,
    /// The log level that the client asked for.
    pub(super) level: Option<Box<str>>,
    /// As the server knows it.
    pub(super) sent: Frame,
    /// What comes before the answer; nothing when the answer came alone.
    pub(super) messages: Option<Messages>,
    pub(super) lease: Option<Lease>,
    pub(super) questions: Questions,
    pub(super) gathering: Option<Instant>,
    /// The answer, while log messages may still come.
    pub(super) answered: Option<Bytes>,
}

impl ToLegacyCall {
    pub(super) fn new(running: Box<Running>) -> Self {
        Self { inner: Some(running) }
    }

    /// The next message for the client. After an answer or an error there is none.
    pub(crate) async fn next(&mut self) -> Result<Event, Refusal> {
        loop {
            let Some(running) = &mut self.inner else {
                return Err(Refusal::new(Reason::BackendLost, "this call has ended"));
            };
            if let Some(answer) = running.answered.clone() {
                let late = tokio::time::timeout(LATE_LOGS, running.outside()).await;
                let Ok(Some(late)) = late else { return self.end(&answer) };
                match running.take(&late) {
                    Step::Notice(frame) => return Ok(Event::Notice(frame)),
                    _ => continue,
                }
            }
            let step = match running.gathering {
                None => running.step().await,
                Some(until) => match tokio::time::timeout_at(until, running.step()).await {
                    Ok(step) => step,
                    Err(_) if running.answer_ahead() => continue,
                    Err(_) => return self.park(),
                },
            };
            match step? {
                Step::Nothing => {}
                Step::Notice(frame) => return Ok(Event::Notice(frame)),
                Step::Answer(answer) if running.may_log_late() => running.answered = Some(answer),
                Step::Answer(answer) => return self.end(&answer),
            }
        }
    }

    fn end(&mut self, answer: &Bytes) -> Result<Event, Refusal> {
        let ended = || Refusal::new(Reason::BackendLost, "this call has ended");
        self.inner.take().ok_or_else(ended)?.finish(answer).map(Event::Answer)
    }

    /// Hands the call over to wait for its client, and gives the answer that says what it waits for.
    fn park(&mut self) -> Result<Event, Refusal> {
        let ended = || Refusal::new(Reason::BackendLost, "this call has ended");
        let mut running = self.inner.take().ok_or_else(ended)?;
        running.gathering = None;
        let (gateway, limits, claim) = (Arc::clone(&running.gateway), running.limits, running.claim.clone());
        let ticket = gateway.parked.ticket(&claim, Kind::Waiting, limits.ttl)?;
        let held = Held::new(gateway.drain.guard(), running.awaited.as_ref());
        let id = running.request.raw_id().unwrap_or(b"null");
        let answer = running.questions.input_required(id, &ticket.handle, SERVER_INFO);
        let waiting = Box::new(Self { inner: Some(running) });
        gateway.parked.park(&ticket, claim, waiting, limits, held).map_err(|refused| {
            drop(refused);
            Refusal::new(
                Reason::TooManyParked,
                "too many calls, or too large ones, wait for their clients; this one was cancelled at the server and may \
                 have been executed in part",
            )
        })?;
        Ok(Event::Answer(answer))
    }

    /// Bytes of the messages that it holds.
    pub(super) fn size(&self) -> usize {
        let size = |running: &Running| {
            let messages = running.request.bytes().len().saturating_add(running.sent.bytes().len());
            messages.saturating_add(running.questions.size())
        };
        self.inner.as_deref().map_or(0, size)
    }

    /// Goes on with a request that repeats the parked one: its answers go to the server.
    pub(super) async fn resume(
        &mut self,
        retry: &Frame,
        level: Option<Box<str>>,
        awaited: Option<TaskTracker>,
    ) -> Result<(), Refusal> {
        let ended = || Refusal::new(Reason::CallExpired, "this call has ended");
        let running = self.inner.as_mut().ok_or_else(ended)?;
        running.request = retry.clone();
        running.level = level;
        running.awaited = awaited;
        for reply in running.questions.answer(retry) {
            let link = running.link().ok_or_else(ended)?;
            link.tell(reply).await.map_err(|error| {
                tracing::debug!(?error, "answer not delivered");
                Refusal::backend(
                    Reason::BackendLost,
                    running.backend(),
                    "it went away while the call waited for you; the call may have been executed",
                )
            })?;
        }
        if !running.questions.is_empty() {
            // Asked again at once, unless the server has something to say first.
            running.gathering = Some(Instant::now() + GATHER);
        }
        Ok(())
    }
}

/// One step of a call.
#[allow(clippy::large_enum_variant, reason = "one exists at a time and is taken apart at once")]
enum Step {
    /// Nothing that the client sees.
    Nothing,
    Notice(Frame),
    Answer(Bytes),
}

impl Running {
    fn link(&self) -> Option<&Arc<Link>> {
        self.lease.as_ref().map(|lease| &lease.conversation.link)
    }

    fn backend(&self) -> &str {
        self.lease.as_ref().map_or("", |lease| &lease.cluster().name)
    }

    /// Sends the request.
    pub(super) async fn send(&self) -> Result<Answer, UpstreamError> {
        let Some(lease) = &self.lease else { return Err(UpstreamError::SessionLost) };
        if let Some(level) = &self.level {
            lease.set_level(level).await;
        }
        lease.conversation.link.request(&self.sent, HeaderMap::new(), OnLeave::Cancel).await
    }

    /// The next message of the server's beside the call's own stream; `None` when there will be none.
    async fn outside(&mut self) -> Option<Frame> {
        self.lease.as_mut()?.inbox.as_mut()?.recv().await
    }

    fn may_log_late(&self) -> bool {
        self.level.is_some() && self.lease.as_ref().is_some_and(Lease::may_log_late)
    }

    async fn step(&mut self) -> Result<Step, Refusal> {
        let outside = async {
            match self.lease.as_mut().and_then(|lease| lease.inbox.as_mut()) {
                Some(inbox) => inbox.recv().await,
                None => None,
            }
        };
        let inside = async {
            match &mut self.messages {
                Some(messages) => messages.next().await,
                None => Err(Refusal::new(Reason::BackendLost, "this call has ended")),
            }
        };
        let event = tokio::select! {
            biased;
            Some(frame) = outside => Event::Elsewhere(frame),
            event = inside => event?,
        };
        Ok(match event {
            Event::Answer(bytes) => Step::Answer(bytes),
            Event::Primed | Event::Paused(_) => Step::Nothing,
            Event::Notice(frame) | Event::Request(frame) | Event::Elsewhere(frame) => self.take(&frame),
        })
    }

    /// A message of the server's that is no answer.
    fn take(&mut self, frame: &Frame) -> Step {
        if frame.raw_id().is_none() {
            if frame.method() == Method::Cancelled {
                if self.questions.withdraw(frame) && self.questions.is_empty() {
                    self.gathering = None;
                }
                return Step::Nothing;
            }
            return self.shown(frame).map_or(Step::Nothing, Step::Notice);
        }
        match self.questions.ask(frame) {
            Ok(()) => self.gathering = Some(Instant::now() + GATHER),
            Err(reply) => self.reply(reply),
        }
        Step::Nothing
    }

    /// A notification as the client reads it, if it may.
    fn shown(&self, notice: &Frame) -> Option<Frame> {
        let Some(bytes) = to_legacy::notice(notice, self.level.as_deref()) else {
            self.gateway.metrics.lost(to_legacy::unshown(notice, self.level.as_deref()));
            return None;
        };
        let frame = Frame::parse(bytes, &self.backend_limits).ok()?;
        if frame.method() != Method::Progress {
            return Some(frame);
        }
        // The server knows the token of the request as it was sent, the client that of its latest.
        let at = frame.envelope().params.as_ref()?.members.progress_token?;
        let own = self.request.raw(self.request.progress_token())?;
        let mut edits = Edits::new();
        edits.replace(at, Bytes::copy_from_slice(own));
        Frame::parse(frame.edited(edits), &self.backend_limits).ok()
    }

    /// Answers what the request itself brings answers to, before anybody is asked. `false` when something is left to ask.
    fn answer_ahead(&mut self) -> bool {
        let replies = self.questions.answer(&self.request);
        if let Some(link) = self.link().filter(|_| !replies.is_empty()) {
            tell(Arc::clone(link), replies);
        }
        if self.questions.is_empty() {
            self.gathering = None;
        }
        self.questions.is_empty()
    }

    /// Sends a message to the server without waiting for it.
    fn reply(&self, message: Bytes) {
        if let Some(link) = self.link() {
            tell(Arc::clone(link), vec![message]);
        }
    }

    /// The answer for the client. The conversation is free again.
    pub(super) fn finish(mut self: Box<Self>, bytes: &Bytes) -> Result<Bytes, Refusal> {
        let link = self.link().cloned();
        // It answered without waiting for what it had asked.
        let open = self.questions.abandon();
        if let Some(link) = link.filter(|_| !open.is_empty()) {
            tell(link, open);
        }
        let backend: Arc<str> = self.backend().into();
        if let Some(lease) = self.lease.take() {
            lease.give_back();
        }
        let answer = Frame::parse(bytes.clone(), &self.backend_limits)
            .map_err(|error| Refusal::backend(Reason::BackendProtocol, &backend, error))?;
        if let Some(error) = self
            .questions
            .missing()
            .and_then(|required| to_legacy::missing_capability(&self.request, &answer, required))
        {
            self.gateway.metrics.lost(self.questions.losses());
            return Ok(error);
        }
        let mut lost = self.questions.losses();
        let answer = to_legacy::answer(&self.request, &answer, SERVER_INFO, &mut lost);
        self.gateway.metrics.lost(lost);
        match answer {
            to_legacy::Answer::Response(bytes) => Ok(bytes),
            to_legacy::Answer::UrlsRequired(urls) => self.send_to_urls(&urls),
        }
    }

    /// The server wants the person to visit pages before the call is made again.
    fn send_to_urls(&self, urls: &[Bytes]) -> Result<Bytes, Refusal> {
        let id = self.request.raw_id().unwrap_or(b"null");
        // The translator reads fewer than that.
        let kind = Kind::Again { urls: u8::try_from(urls.len()).unwrap_or(u8::MAX) };
        let ticket = self.gateway.parked.ticket(&self.claim, kind, self.limits.ttl)?;
        Ok(to_legacy::urls_required(id, urls, &ticket.handle, SERVER_INFO))
    }
}

/// The client has left, or its time is over: the server is told, and what it asked is answered for the client.
impl Drop for Running {
    fn drop(&mut self) {
        let Some(lease) = self.lease.take() else { return };
        let link = Arc::clone(&lease.conversation.link);
        let mut last_words = Vec::new();
        // A byte stream's own call says so when it is dropped.
        if matches!(*link, Link::Http(_))
            && let Some(id) = self.sent.raw_id()
        {
            last_words.push(cancellation(id, "the client left"));
        }
        last_words.extend(self.questions.abandon());
        if last_words.is_empty() {
            return;
        }
        let cluster = Arc::clone(lease.cluster());
        cluster.track("leave-call", async move {
            say(&link, last_words).await;
            drop(lease);
        });
    }
}

pub(super) fn tell(link: Arc<Link>, messages: Vec<Bytes>) {
    tasks::spawn("answer-backend", async move { say(&link, messages).await });
}

async fn say(link: &Link, messages: Vec<Bytes>) {
    for message in messages {
        if let Err(error) = link.tell(message).await {
            tracing::debug!(?error, "message not delivered");
            return;
        }
    }
}
