//! One `input_required` round at a legacy client: real requests out, answers in. A state machine without I/O.
//! Changes when a question has another way to end.
//!
//! ```text
//!                          requests                   answered
//!  new ─┬─▶ to be asked ────────────▶ asked ─┬─ a result ───────────────▶ answered
//!       │                                    ├─ an error to elicitation ▶ answered (cancel)
//!       │                                    └─ an error to another ────▶ Stop: the call fails
//!       ├─▶ answered (an elicitation that the client cannot be asked: cancel)
//!       └─▶ without an answer (sampling or roots that it cannot be asked)
//!
//!  Ready, once nothing is to be asked or asked: the retry takes the answers. The server asks again what has none.
//! ```

use std::borrow::Cow;

use bytes::Bytes;

use super::{Client, InputRequired, forms};
use crate::frame::Frame;
use crate::id::Id;
use crate::splice::Edits;
use crate::translate::capabilities::Capabilities;
use crate::translate::losses::{Loss, Losses};
use crate::translate::members::{Object, quoted};
use crate::translate::question::{CANCEL, Question};

/// What every id of ours starts with. Ids of servers that ask for themselves do not.
const PREFIX: &str = "mcp-bridge-";

/// One round of one call.
#[derive(Debug)]
pub struct Round {
    asks: Vec<Asked>,
    state: Option<Bytes>,
    refused: Option<String>,
    lost: Losses,
}

#[derive(Debug)]
struct Asked {
    key: Box<str>,
    question: Question,
    status: Status,
}

#[derive(Debug)]
enum Status {
    ToBeAsked(Bytes),
    Asked(i64),
    Answered(Bytes),
    Unanswered,
}

/// What a message of the client means for the round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// It answers nothing of this round.
    NotMine,
    /// More answers are needed.
    Waiting,
    /// All is answered: the raw `inputResponses` of the retry.
    Ready(Bytes),
    /// The client refused what has no form of refusal: the call fails for this reason, see [`super::failed`].
    Stop(String),
}

impl Round {
    /// Prepares the questions for the client. What it cannot be asked is answered for it, if there is such an answer.
    pub fn new(required: InputRequired, client: &Client, lost: &mut Losses) -> Self {
        let declared = Capabilities::read(&client.capabilities).of(client.version);
        let mut refused = None;
        let mut asks = Vec::with_capacity(required.asks.len());
        for ask in required.asks {
            let Some(question) = Question::of_method(ask.method) else { continue };
            let status = match forms::asked(question, &ask.params, client.version, declared, lost) {
                Some(params) => Status::ToBeAsked(params),
                None if question == Question::Elicitation => Status::Answered(Bytes::from_static(CANCEL)),
                None => {
                    let reason = format!("the client cannot be asked for {}", question.word());
                    refused.get_or_insert(reason);
                    Status::Unanswered
                }
            };
            asks.push(Asked { key: ask.key, question, status });
        }
        Self { asks, state: required.state, refused, lost: Losses::default() }
    }

    /// Why the round cannot succeed, if the client cannot be asked something that has no form of refusal. Going on is
    /// harmless: the server asks again.
    pub fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    /// The requests to send, each with its number; `fresh` gives numbers that the session has not used. The id on the wire
    /// is a text that holds the number.
    pub fn requests(&mut self, fresh: &mut dyn FnMut() -> i64) -> Vec<(i64, Bytes)> {
        let mut requests = Vec::new();
        for ask in &mut self.asks {
            let Status::ToBeAsked(params) = &ask.status else { continue };
            let number = fresh();
            requests.push((number, request(number, ask.question, params)));
            ask.status = Status::Asked(number);
        }
        requests
    }

    /// Takes the client's response to one of them, of which the first counts.
    pub fn answered(&mut self, response: &Frame) -> Step {
        let number = number(response);
        let asked = self.asks.iter_mut().find(|ask| match ask.status {
            Status::Asked(asked) => Some(asked) == number,
            _ => false,
        });
        let Some(ask) = asked.filter(|_| response.is_response()) else { return Step::NotMine };
        let result = response.envelope().result.map(|span| span.of(response.bytes()));
        match result.filter(|result| ask.question.is_answered_by(result)) {
            Some(result) => ask.status = Status::Answered(Bytes::copy_from_slice(result)),
            None if ask.question == Question::Elicitation => {
                ask.status = Status::Answered(Bytes::from_static(CANCEL));
            }
            None => {
                ask.status = Status::Unanswered;
                self.lost.insert(Loss::RefusedQuestion);
                return Step::Stop(refusal(ask.question, response));
            }
        }
        self.is_ready().map_or(Step::Waiting, Step::Ready)
    }

    /// The raw `inputResponses` when nothing is left to ask or to wait for; `{}` when the server asked nothing.
    pub fn is_ready(&self) -> Option<Bytes> {
        let mut responses = Vec::new();
        for ask in &self.asks {
            match &ask.status {
                Status::ToBeAsked(_) | Status::Asked(_) => return None,
                Status::Answered(answer) => {
                    responses.push(if responses.is_empty() { b'{' } else { b',' });
                    responses.extend_from_slice(quoted(&ask.key).as_bytes());
                    responses.push(b':');
                    responses.extend_from_slice(answer);
                }
                Status::Unanswered => {}
            }
        }
        if responses.is_empty() {
            responses.push(b'{');
        }
        responses.push(b'}');
        Some(responses.into())
    }

    /// The numbers of the requests that wait at the client.
    pub fn open(&self) -> Vec<i64> {
        let asked = |ask: &Asked| if let Status::Asked(number) = ask.status { Some(number) } else { None };
        self.asks.iter().filter_map(asked).collect()
    }

    /// Notifications that take back the requests that wait at the client.
    pub fn withdrawals(&self) -> Vec<Bytes> {
        let cancelled = |number| {
            format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":"{PREFIX}{number}"}}}}"#
            )
        };
        self.open().into_iter().map(|number| cancelled(number).into()).collect()
    }

    /// What was lost of the client's answers.
    pub fn losses(&self) -> Losses {
        self.lost
    }

    /// Raw `requestState` for the retry.
    pub fn state(&self) -> Option<&Bytes> {
        self.state.as_ref()
    }
}

/// A request to the client. An elicitation by URL has an id of its own in 2025-11-25.
fn request(number: i64, question: Question, params: &Bytes) -> Bytes {
    let by_url = question == Question::Elicitation
        && Object::whole(params).is_some_and(|params| params.text("mode").as_deref() == Some("url"));
    let mut edits = Edits::new();
    if let Some(params) = Object::whole(params).filter(|_| by_url) {
        params.rewrite(&mut edits, |_| false, format!(r#""elicitationId":"{PREFIX}{number}""#).as_bytes());
    }
    let head = format!(
        r#"{{"jsonrpc":"2.0","id":"{PREFIX}{number}","method":"{}","params":"#,
        question.method().as_str()
    );
    [head.as_bytes(), &edits.apply(params), b"}"].concat().into()
}

/// The number in an id of ours.
fn number(response: &Frame) -> Option<i64> {
    let Some(Id::Text(id)) = response.id() else { return None };
    let number: i64 = id.strip_prefix(PREFIX)?.parse().ok()?;
    (*id == *format!("{PREFIX}{number}")).then_some(number)
}

fn refusal(question: Question, response: &Frame) -> String {
    let word = question.word();
    let error = response.envelope().error.and_then(|span| Object::at(response.bytes(), span));
    match error.and_then(|error| error.text("message").map(Cow::into_owned)) {
        Some(said) => format!("the client refused {word}: {said}"),
        None => format!("the client did not answer {word} in the right form"),
    }
}
