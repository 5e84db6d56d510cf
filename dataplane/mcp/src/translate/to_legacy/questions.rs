//! Requests that a legacy server has put to the client within one call and that wait for the client's retry: a state
//! machine without I/O. Changes when a question has another way to end.
//!
//! ```text
//!            ask                        answer (the retry answers it in the right form)
//!  server ─────────▶ open ─────────────────────────────────────────────▶ response to the server
//!            │        │ ├─ input_required: shown again in every round
//!            │        │ ├─ withdraw (the server cancels it) ───────────▶ gone, no response
//!            ▼        │ └─ abandon (the call ends, nobody retries) ────▶ cancel, or an error, to the server
//!      error at once  └─ answer (missing, or nonsense): stays open
//! ```
//!
//! Each question leaves `open` once, so that the server gets one response for each. A key names one question for the
//! whole call: a late answer never reaches a later question.

use bytes::Bytes;
use serde_json::json;

use super::SERVER_INFO;
use crate::error::{code, error_response, raw_response, result_response};
use crate::frame::Frame;
use crate::id::Id;
use crate::method::Method;
use crate::splice::Edits;
use crate::translate::capabilities::Capabilities;
use crate::translate::is_reserved;
use crate::translate::losses::{Loss, Losses};
use crate::translate::members::{Meta, Object, elements, quoted};
use crate::translate::question::{CANCEL, Question};
use crate::version::Version;

/// Under this key of its metadata a legacy server may name a question; the name is the key of `inputRequests`.
pub const INPUT_KEY: &str = "mcp.bridge/inputKey";

/// Questions that one call may have open. A server that asks more is answered with an error.
pub(super) const MAX_OPEN: usize = 64;

/// The open questions of one call.
#[derive(Debug)]
pub struct Questions {
    server: Version,
    allowed: Capabilities,
    open: Vec<Open>,
    asked: u64,
    /// Keys in use or used before.
    names: Vec<String>,
    lost: Losses,
    /// The capability of a question that the client could not be asked, as raw JSON.
    missing: Option<&'static str>,
}

#[derive(Debug)]
struct Open {
    key: String,
    question: Question,
    /// Raw id of the server's request.
    id: Bytes,
    /// Raw params as the client gets them.
    params: Option<Bytes>,
}

impl Default for Questions {
    /// For a client that can answer everything and a server of the newest legacy revision.
    fn default() -> Self {
        Self::all(Version::NEWEST_LEGACY, Capabilities::ALL)
    }
}

impl Questions {
    /// For the call that `request` makes of a server of revision `server`. Only what the request declares is asked.
    pub fn new(request: &Frame, server: Version) -> Self {
        Self::all(server, super::declared(request))
    }

    fn all(server: Version, allowed: Capabilities) -> Self {
        Self {
            server,
            allowed,
            open: Vec::new(),
            asked: 0,
            names: Vec::new(),
            lost: Losses::default(),
            missing: None,
        }
    }

    /// Enters a request of the server. `Err` is the response that the server gets at once: an error for what cannot be
    /// put to this client, or a pong.
    pub fn ask(&mut self, question: &Frame) -> Result<(), Bytes> {
        let Some(id) = question.envelope().id.filter(|_| !question.is_response()) else {
            return Err(error_response(None, code::INVALID_REQUEST, "not a request", None));
        };
        let raw = id.of(question.bytes());
        let refuse = |code, message: &str| Err(error_response(Some(raw), code, message, None));
        let Some(kind) = Question::of_method(question.method()) else {
            if question.method() == Method::Ping {
                return Err(result_response(raw, b"{}"));
            }
            return refuse(code::METHOD_NOT_FOUND, "a client cannot be asked this");
        };
        if let Err((code, message)) = self.may_ask(kind, question) {
            self.lost.insert(Loss::UndeclaredQuestion);
            self.missing.get_or_insert(capability_for(kind, question));
            return refuse(code, message);
        }
        if self.open.iter().any(|open| Id::from_raw(&open.id) == question.id()) {
            return refuse(code::INVALID_REQUEST, "a request with this id is still open");
        }
        if self.open.len() >= MAX_OPEN {
            return refuse(code::INTERNAL, "too many requests to the client are open in this call");
        }
        self.asked += 1;
        let key = named(question).filter(|name| self.is_new(name));
        let key = key.unwrap_or_else(|| format!("{}-{}", kind.word(), self.asked));
        self.names.push(key.clone());
        let params = asked_params(question, &mut self.lost);
        self.open.push(Open { key, question: kind, id: Bytes::copy_from_slice(raw), params });
        Ok(())
    }

    fn may_ask(&self, kind: Question, question: &Frame) -> Result<(), (i64, &'static str)> {
        let params = question.envelope().params.as_ref().and_then(|params| params.members.span);
        let params = params.and_then(|span| Object::at(question.bytes(), span));
        let has = |key| params.as_ref().is_some_and(|params| params.get(key).is_some());
        let known = match kind {
            Question::Elicitation => self.allowed.form || self.allowed.url,
            Question::Sampling => self.allowed.sampling,
            Question::Roots => self.allowed.roots,
        };
        if !known {
            return Err((code::METHOD_NOT_FOUND, "the client did not declare this capability"));
        }
        if kind == Question::Elicitation {
            let mode = params.as_ref().and_then(|params| params.text("mode"));
            let allowed = if mode.as_deref() == Some("url") { self.allowed.url } else { self.allowed.form };
            if !allowed {
                return Err((code::INVALID_PARAMS, "the client did not declare this mode of elicitation"));
            }
        }
        if kind == Question::Sampling && !self.allowed.sampling_tools && (has("tools") || has("toolChoice")) {
            return Err((code::INVALID_PARAMS, "the client did not declare tools in sampling"));
        }
        Ok(())
    }

    /// Drops the question that its own server cancels; `false` when it is none of these.
    pub fn withdraw(&mut self, cancelled: &Frame) -> bool {
        let id = cancelled.envelope().params.as_ref().and_then(|params| params.members.request_id);
        let Some(id) = cancelled.raw(id).and_then(Id::from_raw) else { return false };
        let before = self.open.len();
        self.open.retain(|open| Id::from_raw(&open.id).as_ref() != Some(&id));
        self.open.len() < before
    }

    /// How many are open.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Bytes that the open questions hold.
    pub fn size(&self) -> usize {
        self.open.iter().map(|open| open.id.len() + open.params.as_ref().map_or(0, Bytes::len)).sum()
    }

    /// The client capabilities, as raw JSON, that the server needed and the client did not declare.
    pub fn missing(&self) -> Option<&'static str> {
        self.missing
    }

    /// A server may use a name for one question only, and a few of them.
    fn is_new(&self, name: &str) -> bool {
        self.names.len() < MAX_OPEN && !self.names.iter().any(|known| known == name)
    }

    /// What was lost on the way so far.
    pub fn losses(&self) -> Losses {
        self.lost
    }

    /// The response that puts all open questions to the client. `id` is the raw id of its request, `state` the handle that
    /// its retry brings back. With no open question the client may retry at once.
    pub fn input_required(&self, id: &[u8], state: &str, server_info: &[u8]) -> Bytes {
        let asks = self.open.iter().map(|open| (open.key.clone(), open.question, open.params.as_deref()));
        input_required(id, asks, state, server_info)
    }

    /// The responses for the server that the client's retry brings. What it does not answer in the right form stays open;
    /// what nobody asked is ignored.
    pub fn answer(&mut self, retry: &Frame) -> Vec<Bytes> {
        let responses = retry.envelope().params.as_ref().and_then(|params| params.members.input_responses);
        let Some(responses) = responses.and_then(|span| Object::at(retry.bytes(), span)) else {
            return Vec::new();
        };
        let mut answers = Vec::new();
        let (server, lost) = (self.server, &mut self.lost);
        self.open.retain(|open| {
            let value = responses.raw(&open.key).filter(|value| open.question.is_answered_by(value));
            answers.extend(value.map(|value| response(open, value, server, lost)));
            value.is_none()
        });
        answers
    }

    /// The responses for the server that end everything open: nobody will answer any more.
    pub fn abandon(&mut self) -> Vec<Bytes> {
        let end = |open: Open| match open.question {
            Question::Elicitation => result_response(&open.id, CANCEL),
            Question::Sampling | Question::Roots => {
                error_response(Some(&open.id), code::INTERNAL, "the client did not answer", None)
            }
        };
        self.open.drain(..).map(end).collect()
    }
}

/// The name that a server gives its question for modern clients, in its metadata.
fn named(question: &Frame) -> Option<String> {
    let params = question.envelope().params.as_ref().and_then(|params| params.members.span)?;
    let meta = Object::at(question.bytes(), params)?.object("_meta")?;
    let name = meta.text(INPUT_KEY)?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let fits = !name.is_empty() && name.len() <= 64 && name.bytes().all(is_plain);
    // Generated keys end in a number, so that no name can be one.
    let ends_in_number = name.rsplit_once('-').is_some_and(|(_, end)| end.parse::<u64>().is_ok());
    (fits && !ends_in_number).then(|| name.into_owned())
}

/// What a client has to declare to be asked `question`.
fn capability_for(kind: Question, question: &Frame) -> &'static str {
    let params = question.envelope().params.as_ref().and_then(|params| params.members.span);
    let params = params.and_then(|span| Object::at(question.bytes(), span));
    let has = |key| params.as_ref().is_some_and(|params| params.get(key).is_some());
    match kind {
        Question::Elicitation
            if params.as_ref().and_then(|params| params.text("mode")).as_deref() == Some("url") =>
        {
            r#"{"elicitation":{"url":{}}}"#
        }
        Question::Elicitation => r#"{"elicitation":{"form":{}}}"#,
        Question::Sampling if has("tools") || has("toolChoice") => r#"{"sampling":{"tools":{}}}"#,
        Question::Sampling => r#"{"sampling":{}}"#,
        Question::Roots => r#"{"roots":{}}"#,
    }
}

/// Params as the client gets them: without what names things of the server's side only.
fn asked_params(question: &Frame, lost: &mut Losses) -> Option<Bytes> {
    let span = question.envelope().params.as_ref()?.members.span?;
    let raw = Bytes::copy_from_slice(span.of(question.bytes()));
    let params = Object::whole(&raw)?;
    let by_url = params.text("mode").as_deref() == Some("url");
    if by_url && params.get("elicitationId").is_some() {
        lost.insert(Loss::UrlCompletion);
    }
    let mut edits = Edits::new();
    let drop = |key: &str| key == "task" || (by_url && key == "elicitationId");
    let foreign = |key: &str| key == "progressToken" || key == INPUT_KEY || is_reserved(key);
    params.rewrite_with_meta(&mut edits, drop, b"", &Meta { drop: foreign, first: b"" });
    Some(edits.apply(&raw))
}

/// The server's response out of the client's answer.
fn response(open: &Open, value: &[u8], server: Version, lost: &mut Losses) -> Bytes {
    let value = Bytes::copy_from_slice(value);
    let mut edits = Edits::new();
    if let Some(result) = Object::whole(&value) {
        result.rewrite(&mut edits, |key| key == "resultType", b"");
        let fits = open.question != Question::Sampling || single_block(&value, &result, server, &mut edits);
        if !fits {
            lost.insert(Loss::SamplingBlocks);
            let data = json!({ "revision": server.as_str() });
            let message = "the client's answer has content that this revision has no form for";
            return error_response(Some(&open.id), code::INTERNAL, message, Some(&data));
        }
    }
    raw_response(&open.id, "result", &edits.apply(&value))
}

/// Up to 2025-06-18 an answer to sampling holds one block, and none of tools.
fn single_block(value: &Bytes, result: &Object<'_>, server: Version, edits: &mut Edits) -> bool {
    if server >= Version::V2025_11_25 {
        return true;
    }
    let Some(content) = result.get("content") else { return true };
    let block = match elements(value, content).as_deref() {
        None => content,
        Some([block]) => {
            edits.replace(content, Bytes::copy_from_slice(block.of(value)));
            *block
        }
        Some(_) => return false,
    };
    let kind = Object::at(value, block).and_then(|block| block.text("type"));
    !matches!(kind.as_deref(), Some("tool_use" | "tool_result"))
}

/// An `input_required` response. It carries no cache hints (2026-07-28, "Caching").
pub(super) fn input_required<'a>(
    id: &[u8],
    asks: impl Iterator<Item = (String, Question, Option<&'a [u8]>)>,
    state: &str,
    server_info: &[u8],
) -> Bytes {
    let mut requests = Vec::new();
    for (key, question, params) in asks {
        requests.push(if requests.is_empty() { b'{' } else { b',' });
        requests.extend_from_slice(
            format!(r#"{}:{{"method":"{}""#, quoted(&key), question.method().as_str()).as_bytes(),
        );
        if let Some(params) = params {
            requests.extend_from_slice(b",\"params\":");
            requests.extend_from_slice(params);
        }
        requests.push(b'}');
    }
    let mut result = b"{\"resultType\":\"input_required\"".to_vec();
    if !requests.is_empty() {
        result.extend_from_slice(b",\"inputRequests\":");
        result.append(&mut requests);
        result.push(b'}');
    }
    result.extend_from_slice(format!(",\"requestState\":{},\"_meta\":{{", quoted(state)).as_bytes());
    result.extend_from_slice(SERVER_INFO);
    result.extend_from_slice(server_info);
    result.extend_from_slice(b"}}");
    result_response(id, &result)
}
