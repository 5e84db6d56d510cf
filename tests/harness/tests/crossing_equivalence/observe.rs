//! What peers observe, in spelling, and the clients that do. Changes with what belongs to one generation only.

use std::collections::{BTreeMap, VecDeque};

use anyhow::{Context as _, Result, bail, ensure};
use bridge_tests::http::Url;
use bridge_tests::legacy::LATEST;
use bridge_tests::modern::{REVISION, headers};
use bridge_tests::{Exchange as Response, LegacySession};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::exchange::{Exchange, Question};

/// The progress token of every request.
const TOKEN: &str = r#""token 1""#;
/// What 2026-07-28 puts beside the members that both generations know.
const MODERN_MEMBERS: [&str; 3] = ["resultType", "ttlMs", "cacheScope"];
const RESERVED: &str = "io.modelcontextprotocol/";
/// More rounds than an exchange has questions.
const MAX_ROUNDS: usize = 40;

/// Members of an object by name, each as it is spelled.
pub(crate) type Members = BTreeMap<String, String>;

/// One thing that a client or a server observes, without what belongs to its generation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Seen {
    /// A client: a question and its parameters.
    Asked(&'static str, Members),
    /// A client: a report without its token.
    Progress(Members),
    /// A client: how the call ended.
    Result(Members),
    /// A client: how the call ended.
    Error(Members),
    /// A server: the arguments of a call and whatever else was said.
    Call(Members),
    /// A server: the answer to a question.
    Answer(String),
}

/// Splits an object.
pub(crate) fn members(text: &str) -> Result<Members> {
    let raw: BTreeMap<String, Box<RawValue>> =
        serde_json::from_str(text).with_context(|| format!("not an object: {text}"))?;
    Ok(raw.into_iter().map(|(key, value)| (key, value.get().to_owned())).collect())
}

/// Takes out of `_meta` what the generations reserve.
pub(crate) fn without_reserved(mut object: Members, also: &[&str]) -> Result<Members> {
    if let Some(meta) = object.remove("_meta") {
        let mut meta = members(&meta)?;
        meta.retain(|key, _| !key.starts_with(RESERVED) && !also.contains(&key.as_str()));
        if !meta.is_empty() {
            object.insert("_meta".to_owned(), format!("{meta:?}"));
        }
    }
    Ok(object)
}

fn progress(params: &str) -> Result<Seen> {
    let mut report = members(params)?;
    let token = report.remove("progressToken");
    ensure!(token.as_deref() == Some(TOKEN), "progress with the token {token:?}");
    Ok(Seen::Progress(report))
}

fn ended(message: &Members) -> Result<Seen> {
    if let Some(error) = message.get("error") {
        return Ok(Seen::Error(members(error)?));
    }
    let mut result = members(message.get("result").context("neither result nor error")?)?;
    result.retain(|key, _| !MODERN_MEMBERS.contains(&key.as_str()));
    Ok(Seen::Result(without_reserved(result, &[])?))
}

/// Questions of a round may come in any order, and in several rounds.
fn ordered(mut seen: Vec<Seen>) -> Vec<Seen> {
    for run in seen.chunk_by_mut(|left, right| matches!((left, right), (Seen::Asked(..), Seen::Asked(..)))) {
        if matches!(run[0], Seen::Asked(..)) {
            run.sort();
        }
    }
    seen
}

fn question<'a>(exchange: &'a Exchange, method: &str, params: &str) -> Result<&'a Question> {
    let asked = members(params)?;
    for question in exchange.questions() {
        if question.method == method
            && members(&question.params)?["com.example/number"] == asked["com.example/number"]
        {
            return Ok(question);
        }
    }
    bail!("{method} {params} was never asked by the server")
}

/// The messages of a response, as they are spelled.
struct Messages {
    response: Response,
    ready: VecDeque<String>,
    whole: bool,
}

impl Messages {
    fn of(response: Response) -> Self {
        Self { response, ready: VecDeque::new(), whole: false }
    }

    fn next(&mut self) -> Result<Members> {
        if self.ready.is_empty() && !self.whole {
            if self.response.is_stream()? {
                while let Some(event) = self.response.next_event()? {
                    if let Some(data) = event.data.filter(|data| !data.is_empty()) {
                        self.ready.push_back(data);
                        break;
                    }
                }
            } else {
                self.whole = true;
                self.ready.push_back(self.response.read_text()?);
            }
        }
        members(&self.ready.pop_front().context("the response ended without an answer")?)
    }
}

fn send(url: &Url, headers: &[(String, String)], body: &str) -> Result<Response> {
    let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    Response::start("POST", url, &headers, body.as_bytes())
}

/// Plays an exchange with a legacy client.
pub(crate) fn legacy(url: &str, exchange: &Exchange) -> Result<Vec<Seen>> {
    let session = LegacySession::open(url, &json!({ "sampling": {}, "elicitation": {}, "roots": {} }))?;
    let id = session.id().context("a session id")?;
    let headers = [
        ("Accept", "application/json, text/event-stream"),
        ("Content-Type", "application/json"),
        ("MCP-Protocol-Version", LATEST),
        ("Mcp-Session-Id", id),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let url = Url::parse(url)?;
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":"call","method":"tools/call","params":{{"name":"play","arguments":{},"_meta":{{"progressToken":{TOKEN}}}}}}}"#,
        exchange.arguments
    );
    let mut messages = Messages::of(send(&url, &headers, &body)?);
    let mut seen = Vec::new();
    loop {
        let message = messages.next()?;
        let params = message.get("params").map_or("{}", String::as_str);
        let method =
            message.get("method").map(|method| serde_json::from_str::<String>(method)).transpose()?;
        match (method.as_deref(), message.get("id")) {
            (Some("notifications/progress"), None) => seen.push(progress(params)?),
            (Some(method), Some(id)) => {
                let question = question(exchange, method, params)?;
                seen.push(Seen::Asked(question.method, without_reserved(members(params)?, &[])?));
                let answer = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{}}}"#, question.answer);
                let mut taken = send(&url, &headers, &answer)?;
                ensure!(taken.head()?.status == 202, "the answer got {:?}", taken.head()?);
            }
            (None, Some(id)) => {
                ensure!(id == r#""call""#, "an answer to {id}");
                seen.push(ended(&message)?);
                break;
            }
            _ => bail!("unexpected: {message:?}"),
        }
    }
    session.delete()?;
    Ok(ordered(seen))
}

/// Plays an exchange with a client of 2026-07-28.
pub(crate) fn modern(url: &str, exchange: &Exchange) -> Result<Vec<Seen>> {
    let url = Url::parse(url)?;
    let call = json!({ "method": "tools/call", "params": { "name": "play" } });
    let headers = headers(&call, &[]);
    let meta = format!(
        r#"{{"{RESERVED}protocolVersion":"{REVISION}","{RESERVED}clientCapabilities":{{"sampling":{{}},"elicitation":{{"form":{{}}}},"roots":{{}}}},"progressToken":{TOKEN}}}"#
    );
    let (mut seen, mut more) = (Vec::new(), String::new());
    for round in 0..MAX_ROUNDS {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":{round},"method":"tools/call","params":{{"name":"play","arguments":{},"_meta":{meta}{more}}}}}"#,
            exchange.arguments
        );
        let mut messages = Messages::of(send(&url, &headers, &body)?);
        let answer = loop {
            let message = messages.next()?;
            match message.get("method").map(String::as_str) {
                Some(r#""notifications/progress""#) => {
                    seen.push(progress(message.get("params").context("params")?)?);
                }
                None => break message,
                Some(_) => bail!("unexpected: {message:?}"),
            }
        };
        ensure!(answer["id"] == round.to_string(), "round {round} is answered as {}", answer["id"]);
        let result = answer.get("result").map(|result| members(result)).transpose()?.unwrap_or_default();
        if result.get("resultType").is_none_or(|kind| kind != r#""input_required""#) {
            ensure!(answer.contains_key("error") || result["resultType"] == r#""complete""#, "{result:?}");
            seen.push(ended(&answer)?);
            return Ok(ordered(seen));
        }
        let mut answers = Vec::new();
        for (key, asked) in members(&result["inputRequests"])? {
            let asked = members(&asked)?;
            let method: String = serde_json::from_str(&asked["method"])?;
            let question = question(exchange, &method, &asked["params"])?;
            seen.push(Seen::Asked(question.method, without_reserved(members(&asked["params"])?, &[])?));
            answers.push(format!("{}:{}", Value::from(key), question.answer));
        }
        let state = result.get("requestState").map(|state| format!(r#","requestState":{state}"#));
        more = format!(r#","inputResponses":{{{}}}{}"#, answers.join(","), state.unwrap_or_default());
    }
    bail!("still asked after {MAX_ROUNDS} rounds")
}
