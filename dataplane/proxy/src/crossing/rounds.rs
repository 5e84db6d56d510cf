//! One call of a legacy client at a modern server: what the server asks by `input_required` is put to the client as real
//! requests, and the call repeated with the answers. Changes when rounds are driven differently.
//!
//! ```text
//! upstream ──input_required──▶ asking ──all answered──▶ upstream (the next round)
//!    │                            └──the client refuses, or too many rounds──▶ ended with an error
//!    └──answer──▶ ended
//! ```

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bridge_mcp::error::code;
use bridge_mcp::frame::Frame;
use bridge_mcp::id::Id;
use bridge_mcp::method::Method;
use bridge_mcp::translate::losses::Losses;
use bridge_mcp::translate::to_modern::{self, InputRequired, Retry, Round, Step};
use bridge_policy::refusal::{Reason, Refusal};
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::legacy_client::Shared;
use crate::upstream::{Answer, Event, Messages, UpstreamError, error_code};

/// Answers of the client that may wait for the call to read them.
const ANSWERS: usize = 64;
/// Wait before a round in which the server asks nothing and only wants to be asked again; doubled each time.
const AGAIN: Duration = Duration::from_millis(200);

/// The call.
pub(crate) struct ToModernCall {
    shared: Arc<Shared>,
    request: Frame,
    state: State,
    rounds: u32,
    /// Header and body once did not agree, and the tool's schema was read again.
    relisted: bool,
    answers: mpsc::Receiver<Frame>,
    answers_in: mpsc::Sender<Frame>,
    /// Messages for the client that come before anything else.
    due: VecDeque<Event>,
}

enum State {
    /// The server works on it.
    Upstream(Upstream),
    /// The client is asked.
    Asking(Asking),
    /// To be sent again at this time.
    Waiting(Instant, Repeat),
    /// A round is on its way. Kept here, so that giving up one wait for it does not send it again.
    Sending(Mutex<Sending>),
    Ended,
}

/// In a lock that is never taken: it makes the call shareable, which a future alone is not.
type Sending = Pin<Box<dyn Future<Output = Result<Upstream, UpstreamError>> + Send>>;

/// How the server answers a round.
enum Upstream {
    Whole(Bytes),
    Messages(Messages),
}

struct Asking {
    round: Round,
    asked: Vec<Id>,
}

/// What the next round carries.
struct Repeat {
    responses: Bytes,
    state: Option<Bytes>,
}

impl ToModernCall {
    pub(super) fn new(shared: &Arc<Shared>, request: &Frame) -> Self {
        let (answers_in, answers) = mpsc::channel(ANSWERS);
        Self {
            shared: Arc::clone(shared),
            request: request.clone(),
            state: State::Ended,
            rounds: 0,
            relisted: false,
            answers,
            answers_in,
            due: VecDeque::new(),
        }
    }

    /// Sends the first round. An answer that comes alone and ends the call is given at once.
    pub(super) async fn begin(&mut self) -> Result<Option<Bytes>, UpstreamError> {
        self.state = State::Upstream(send(&self.shared, &self.request, None).await?);
        let bytes = match &self.state {
            State::Upstream(Upstream::Whole(bytes)) => bytes.clone(),
            State::Upstream(Upstream::Messages(Messages::Http(_))) => {
                // The server chose to stream; the client gets the same form.
                self.due.push_back(Event::Primed);
                return Ok(None);
            }
            _ => return Ok(None),
        };
        Ok(self.judge(&bytes)?)
    }

    /// The next message for the client. After an answer or an error there is none.
    pub(crate) async fn next(&mut self) -> Result<Event, Refusal> {
        loop {
            if let Some(event) = self.due.pop_front() {
                return Ok(event);
            }
            match &mut self.state {
                State::Ended => return Err(Refusal::new(Reason::BackendLost, "this call has ended")),
                State::Upstream(Upstream::Whole(bytes)) => {
                    let bytes = bytes.clone();
                    if let Some(answer) = self.judge(&bytes)? {
                        return Ok(Event::Answer(answer));
                    }
                }
                State::Upstream(Upstream::Messages(messages)) => match messages.next().await? {
                    // Judged on the next turn, so that nothing is lost when this wait is given up.
                    Event::Answer(bytes) => self.state = State::Upstream(Upstream::Whole(bytes)),
                    Event::Notice(frame) => {
                        if let Some(frame) = self.shared.shown(&frame) {
                            return Ok(Event::Notice(frame));
                        }
                    }
                    // None exists in this revision.
                    Event::Request(_) | Event::Elsewhere(_) | Event::Primed | Event::Paused(_) => {}
                },
                State::Asking(_) => {
                    // The call keeps a sender itself, so the channel stays open.
                    let Some(response) = self.answers.recv().await else { continue };
                    if let Some(answer) = self.answered(&response) {
                        return Ok(Event::Answer(answer));
                    }
                }
                State::Waiting(until, repeat) => {
                    tokio::time::sleep_until(*until).await;
                    let repeat = Repeat { responses: repeat.responses.clone(), state: repeat.state.clone() };
                    self.state = State::Sending(Mutex::new(self.sending(Some(repeat), false)));
                }
                State::Sending(sending) => {
                    let sent = sending.get_mut().as_mut().await;
                    self.state = State::Upstream(sent.map_err(|error| self.refused(error))?);
                }
            }
        }
    }

    /// One more round, to be driven by whoever waits.
    fn sending(&self, repeat: Option<Repeat>, relist: bool) -> Sending {
        let (shared, request) = (Arc::clone(&self.shared), self.request.clone());
        Box::pin(async move {
            if relist {
                shared.relist().await;
            }
            send(&shared, &request, repeat.as_ref()).await
        })
    }

    /// Why a later round was not answered. What the server did in earlier ones stays done.
    fn refused(&self, error: UpstreamError) -> Refusal {
        let refusal = error.into_refusal(&self.shared.cluster.name);
        let away = matches!(refusal.reason, Reason::BackendUnavailable | Reason::BackendCredential);
        if self.rounds == 0 || !away {
            return refusal;
        }
        let text = "it went away between two rounds of this call, which has been executed in part";
        Refusal::backend(Reason::BackendLost, &self.shared.cluster.name, text)
    }

    /// What an answer of the server's means: the client's answer, or another state.
    fn judge(&mut self, bytes: &Bytes) -> Result<Option<Bytes>, Refusal> {
        let shared = Arc::clone(&self.shared);
        let backend = &shared.cluster.name;
        let answer = Frame::parse(bytes.clone(), &shared.limits)
            .map_err(|error| Refusal::backend(Reason::BackendProtocol, backend, error))?;
        let is_mismatch = error_code(&answer) == Some(code::HEADER_MISMATCH);
        if is_mismatch && !self.relisted && self.request.method() == Method::ToolsCall {
            // Its schema was not known, or has changed: headers are made from it.
            self.relisted = true;
            self.state = State::Sending(Mutex::new(self.sending(None, true)));
            return Ok(None);
        }
        let mut lost = to_modern::unsent(&self.request);
        let judged = to_modern::answer(&self.request, &answer, shared.client.version, &mut lost);
        let answer = match judged {
            to_modern::Answer::Response(bytes) => Some(bytes),
            to_modern::Answer::Failed(reason) => Some(self.failed(&reason)),
            to_modern::Answer::InputRequired(required) => self.ask(required, &mut lost),
        };
        shared.cluster.metrics().lost(lost);
        if answer.is_some() {
            self.state = State::Ended;
        }
        Ok(answer)
    }

    /// Begins a round. An answer when there can be none.
    fn ask(&mut self, required: InputRequired, lost: &mut Losses) -> Option<Bytes> {
        self.rounds += 1;
        if self.rounds > self.shared.max_rounds {
            let limit = self.shared.max_rounds;
            return Some(self.failed(&format!(
                "the server wants more than {limit} rounds of input, the gateway's limit"
            )));
        }
        let asks_nothing = required.asks.is_empty();
        let mut round = Round::new(required, &self.shared.client, lost);
        if let Some(reason) = round.refused() {
            return Some(self.failed(reason));
        }
        if let Some(responses) = round.is_ready() {
            let wait = if asks_nothing { AGAIN * 2u32.pow(self.rounds.min(6)) } else { Duration::ZERO };
            let repeat = Repeat { responses, state: round.state().cloned() };
            self.state = State::Waiting(Instant::now() + wait, repeat);
            return None;
        }
        let shared = Arc::clone(&self.shared);
        let mut asked = Vec::new();
        for (_, bytes) in round.requests(&mut || shared.fresh()) {
            let parsed = Frame::parse(bytes, &shared.limits).ok();
            let Some((frame, id)) = parsed.and_then(|frame| Some((frame.clone(), frame.id()?))) else {
                return Some(self.failed("the server asked something that is no request"));
            };
            shared.waiting.lock().insert(id.clone(), self.answers_in.clone());
            asked.push(id);
            self.due.push_back(Event::Request(frame));
        }
        self.state = State::Asking(Asking { round, asked });
        None
    }

    /// Takes an answer of the client's. An answer of the call's when it cannot go on.
    fn answered(&mut self, response: &Frame) -> Option<Bytes> {
        let State::Asking(asking) = &mut self.state else { return None };
        match asking.round.answered(response) {
            Step::NotMine | Step::Waiting => None,
            Step::Ready(responses) => {
                self.shared.forget(&asking.asked);
                let repeat = Repeat { responses, state: asking.round.state().cloned() };
                self.state = State::Waiting(Instant::now(), repeat);
                None
            }
            Step::Stop(reason) => {
                self.shared.cluster.metrics().lost(asking.round.losses());
                let withdrawals = asking.round.withdrawals();
                self.shared.forget(&asking.asked);
                for text in withdrawals {
                    if let Ok(frame) = Frame::parse(text, &self.shared.limits) {
                        self.due.push_back(Event::Notice(frame));
                    }
                }
                let answer = self.failed(&reason);
                self.state = State::Ended;
                if self.due.is_empty() {
                    return Some(answer);
                }
                // After the cancellations.
                self.due.push_back(Event::Answer(answer));
                None
            }
        }
    }

    /// The end of a call that the gateway gives up.
    fn failed(&self, reason: &str) -> Bytes {
        to_modern::failed(&self.request, reason)
    }
}

async fn send(shared: &Shared, request: &Frame, repeat: Option<&Repeat>) -> Result<Upstream, UpstreamError> {
    let retry = repeat.map(|repeat| Retry { responses: &repeat.responses, state: repeat.state.as_deref() });
    Ok(match shared.send(request, retry).await? {
        Answer::Whole { bytes, .. } => Upstream::Whole(bytes),
        Answer::Forward(rest) => {
            let collected = rest.collect(shared.limits.max_bytes).await;
            let lost = |error| Refusal::backend(Reason::BackendLost, &shared.cluster.name, error);
            Upstream::Whole(collected.map_err(lost)?)
        }
        Answer::Stream(messages) => Upstream::Messages(messages),
    })
}

impl Drop for ToModernCall {
    fn drop(&mut self) {
        if let State::Asking(asking) = &self.state {
            self.shared.forget(&asking.asked);
        }
    }
}
