//! A client that behaves as its generation wants, over any frontend: handshake or metadata, live questions or rounds,
//! subscriptions. Changes with what the behaviours ask of a client.

use std::collections::HashMap;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use bridge_tests::RpcError;
use serde_json::{Map, Value, json};

use crate::client::{Arrival, Client, WAIT};
use crate::generation::Revision;

/// A call that still asks for input after this many rounds is stuck.
const MAX_ROUNDS: usize = 10;
const PREFIX: &str = "io.modelcontextprotocol/";

type Answerer = Box<dyn FnMut(&str, &Value) -> Value + Send>;

/// A question that the server asked, as the client saw it.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) method: String,
    pub(crate) params: Value,
}

/// An open conversation with the gateway.
pub(crate) struct Session {
    client: Box<dyn Client>,
    pub(crate) revision: Revision,
    /// The result of `initialize` or `server/discover`.
    pub(crate) hello: Value,
    next_id: u64,
    waiting: HashMap<String, Option<Result<Value, String>>>,
    notices: Vec<Value>,
    /// Everything that was asked since the answerer was set.
    pub(crate) questions: Vec<Question>,
    answerer: Answerer,
    level: Option<&'static str>,
}

impl Session {
    /// Shakes hands, or discovers.
    pub(crate) fn open(client: Box<dyn Client>, revision: Revision) -> Result<Self> {
        let mut session = Self {
            client,
            revision,
            hello: Value::Null,
            next_id: 0,
            waiting: HashMap::new(),
            notices: Vec::new(),
            questions: Vec::new(),
            answerer: Box::new(|_, _| Value::Null),
            level: None,
        };
        if !revision.is_legacy() {
            session.hello = session.result("server/discover", &json!({}))?;
            return Ok(session);
        }
        let params = json!({
            "protocolVersion": revision.as_str(),
            "capabilities": revision.capabilities(),
            "clientInfo": { "name": "matrix", "version": "1" },
        });
        session.hello = session.result("initialize", &params)?;
        let version = &session.hello["protocolVersion"];
        ensure!(version == revision.as_str(), "asked for {}, got {version}", revision.as_str());
        session.client.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }))?;
        Ok(session)
    }

    /// Answers the server's questions from now on, whether they come live or in rounds.
    pub(crate) fn answer_with(&mut self, answerer: impl FnMut(&str, &Value) -> Value + Send + 'static) {
        self.answerer = Box::new(answerer);
        self.questions.clear();
    }

    /// Asks for logs at a level: of the session, or of every request from now on.
    pub(crate) fn log_level(&mut self, level: &'static str) -> Result<()> {
        if !self.revision.is_legacy() {
            self.level = Some(level);
            return Ok(());
        }
        self.result("logging/setLevel", &json!({ "level": level })).map(drop)
    }

    /// Asks for no more logs: a modern client need not. A legacy one can only raise its level.
    pub(crate) fn no_logs(&mut self) {
        self.level = None;
    }

    /// Sends a request and waits for its result.
    pub(crate) fn result(&mut self, method: &str, params: &Value) -> Result<Value> {
        self.request(method, params)?.map_err(|error| anyhow!("{method}: {error}"))
    }

    /// Sends a request and waits for its error.
    pub(crate) fn error(&mut self, method: &str, params: &Value) -> Result<RpcError> {
        match self.request(method, params)? {
            Ok(result) => bail!("{method}: expected an error, got {result}"),
            Err(error) => Ok(error),
        }
    }

    /// Calls a tool and waits for its result.
    pub(crate) fn call(&mut self, name: &str, arguments: &Value) -> Result<Value> {
        self.result("tools/call", &json!({ "name": name, "arguments": arguments }))
    }

    /// All items of a list, page by page.
    pub(crate) fn list(&mut self, method: &str, key: &str) -> Result<Vec<Value>> {
        let (mut items, mut params) = (Vec::new(), json!({}));
        loop {
            let mut page = self.result(method, &params)?;
            items.extend(page[key].as_array_mut().map(std::mem::take).with_context(|| format!("no {key}"))?);
            match page.get("nextCursor") {
                Some(cursor) => params = json!({ "cursor": cursor }),
                None => return Ok(items),
            }
        }
    }

    /// Sends a request and waits until it is complete, in as many rounds as it takes.
    pub(crate) fn request(&mut self, method: &str, params: &Value) -> Result<Result<Value, RpcError>> {
        let mut attempt = params.clone();
        for _ in 0..MAX_ROUNDS {
            let id = self.start(method, &attempt)?;
            let outcome = self.wait(&id)?;
            let required = outcome.as_ref().is_ok_and(|result| result["resultType"] == "input_required");
            if !required {
                return Ok(outcome);
            }
            ensure!(!self.revision.is_legacy(), "a legacy client got {outcome:?}");
            let result = outcome.unwrap_or_default();
            attempt = params.clone();
            let questions = result["inputRequests"].as_object().cloned().unwrap_or_default();
            let answers: Map<_, _> = questions
                .into_iter()
                .map(|(key, question)| {
                    let method = question["method"].as_str().unwrap_or_default();
                    (key, self.answer(method, &question["params"]))
                })
                .collect();
            attempt["inputResponses"] = answers.into();
            if let Some(state) = result.get("requestState") {
                attempt["requestState"] = state.clone();
            }
        }
        bail!("{method} still asks for input after {MAX_ROUNDS} rounds")
    }

    /// Sends a request and waits for nothing. Ids are numbers and texts in turn.
    pub(crate) fn start(&mut self, method: &str, params: &Value) -> Result<Value> {
        self.next_id += 1;
        let id = if self.next_id.is_multiple_of(2) {
            json!(format!("id {}", self.next_id))
        } else {
            json!(self.next_id)
        };
        let params = self.envelope(params);
        self.waiting.insert(id.to_string(), None);
        self.client.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }))?;
        Ok(id)
    }

    /// Waits for the answer to a started request: its result, `input_required` included, or its error.
    pub(crate) fn wait(&mut self, id: &Value) -> Result<Result<Value, RpcError>> {
        let key = id.to_string();
        let answer = self.until(|session| {
            let slot = session.waiting.get_mut(&key)?;
            slot.take()
        })?;
        self.waiting.remove(&key);
        let message = answer.map_err(|why| anyhow!("{id} was not answered: {why}"))?;
        if let Some(result) = message.get("result") {
            return Ok(Ok(result.clone()));
        }
        let error = &message["error"];
        let code = error["code"].as_i64().with_context(|| format!("neither result nor error: {message}"))?;
        let text = error["message"].as_str().unwrap_or_default().to_owned();
        Ok(Err(RpcError { code, message: text, data: error["data"].clone() }))
    }

    /// Gives up a started request. An answer to it is from now on a fault.
    pub(crate) fn cancel(&mut self, id: &Value) -> Result<()> {
        self.waiting.remove(&id.to_string());
        self.client.cancel(id)
    }

    /// Asks to be told of changes. Returns the subscription of a modern client.
    pub(crate) fn watch(&mut self, filter: &Value) -> Result<Option<Value>> {
        if !self.revision.is_legacy() {
            let id = self.start("subscriptions/listen", &json!({ "notifications": filter }))?;
            let acknowledged = self.notice("notifications/subscriptions/acknowledged")?;
            let honoured = &acknowledged["params"]["notifications"];
            ensure!(honoured == filter, "asked for {filter}, acknowledged {honoured}");
            let tag = &acknowledged["params"]["_meta"][format!("{PREFIX}subscriptionId")];
            ensure!(*tag == id, "the acknowledgement of {id} is tagged {tag}");
            return Ok(Some(id));
        }
        for uri in filter["resourceSubscriptions"].as_array().into_iter().flatten() {
            self.result("resources/subscribe", &json!({ "uri": uri }))?;
        }
        Ok(None)
    }

    /// The next notification of a method, past or to come.
    pub(crate) fn notice(&mut self, method: &str) -> Result<Value> {
        self.notices(method, 1).map(|mut notices| notices.remove(0))
    }

    /// The next notifications of a method.
    pub(crate) fn notices(&mut self, method: &str, count: usize) -> Result<Vec<Value>> {
        let found = self.until(|session| {
            let found = session.notices.iter().filter(|notice| notice["method"] == method);
            let found: Vec<_> = found.take(count).cloned().collect();
            (found.len() == count).then_some(found)
        });
        let came = self.seen(method);
        let found = found.with_context(|| format!("{came} of {count} {method} came"))?;
        let mut left = count;
        self.notices.retain(|notice| {
            let taken = left > 0 && notice["method"] == method;
            left -= usize::from(taken);
            !taken
        });
        Ok(found)
    }

    /// Forgets the notifications so far.
    pub(crate) fn forget(&mut self) {
        self.notices.clear();
    }

    /// Whether no notification has come since the last that was asked for.
    pub(crate) fn nothing_came(&self) -> bool {
        self.notices.is_empty()
    }

    /// The notifications of a method that have come and were not asked for yet.
    pub(crate) fn seen(&self, method: &str) -> usize {
        self.notices.iter().filter(|notice| notice["method"] == method).count()
    }

    fn envelope(&self, params: &Value) -> Value {
        let mut params = params.clone();
        if self.revision.is_legacy() {
            return params;
        }
        let mut meta = params["_meta"].as_object().cloned().unwrap_or_default();
        meta.insert(format!("{PREFIX}protocolVersion"), self.revision.as_str().into());
        meta.insert(format!("{PREFIX}clientCapabilities"), self.revision.capabilities());
        meta.insert(format!("{PREFIX}clientInfo"), json!({ "name": "matrix", "version": "1" }));
        if let Some(level) = self.level {
            meta.insert(format!("{PREFIX}logLevel"), level.into());
        }
        params["_meta"] = meta.into();
        params
    }

    fn answer(&mut self, method: &str, params: &Value) -> Value {
        self.questions.push(Question { method: method.to_owned(), params: params.clone() });
        (self.answerer)(method, params)
    }

    fn until<T>(&mut self, mut found: impl FnMut(&mut Self) -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + WAIT;
        loop {
            if let Some(found) = found(self) {
                return Ok(found);
            }
            ensure!(Instant::now() < deadline, "it did not come within {WAIT:?}");
            match self.client.receive()? {
                Arrival::Message(message) => self.take(message)?,
                Arrival::Ended { id, why } => {
                    // Given up requests end like that.
                    if let Some(slot) = self.waiting.get_mut(&id.to_string()) {
                        *slot = Some(Err(why));
                    }
                }
            }
        }
    }

    fn take(&mut self, message: Value) -> Result<()> {
        let id = message.get("id").filter(|id| !id.is_null());
        match (message["method"].as_str(), id) {
            (Some(method), Some(id)) => {
                ensure!(self.revision.is_legacy(), "a modern client was asked {message}");
                let result = self.answer(method, &message["params"]);
                self.client.send(&json!({ "jsonrpc": "2.0", "id": id, "result": result }))
            }
            (Some(_), None) => {
                self.notices.push(message);
                Ok(())
            }
            (None, Some(id)) => match self.waiting.get_mut(&id.to_string()) {
                Some(slot @ None) => {
                    *slot = Some(Ok(message));
                    Ok(())
                }
                Some(Some(_)) => bail!("{id} was answered twice"),
                None => bail!("nobody waits for {message}"),
            },
            (None, None) => bail!("a message for nobody: {message}"),
        }
    }
}
