//! Legacy backends that ask, and a modern client that answers in rounds. Changes when these tests need another backend.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bridge_tests::fake::{Act, Asked, Events, Fake};
use bridge_tests::metrics::Metrics;
use bridge_tests::{Backend, Config, Era, Gateway, ModernClient, PATIENCE, Reply, RpcError, TestServer};
use serde_json::{Value, json};

/// The code of every answer to a state that is not (or no longer) good for this call.
pub(crate) const BAD_STATE: i64 = -32602;

/// A gateway before one legacy server, the fixture, under the name `fixture`.
pub(crate) struct Way {
    pub(crate) gateway: Gateway,
    /// The server when it is not a child of the gateway.
    pub(crate) server: Option<TestServer>,
}

impl Way {
    /// Over Streamable HTTP.
    pub(crate) fn http(config: Config) -> Result<Self> {
        let server = TestServer::http(Era::Legacy)?;
        let gateway = start(&config.http("fixture", server.url()))?;
        Ok(Self { gateway, server: Some(server) })
    }

    /// Over stdio.
    pub(crate) fn stdio(config: Config) -> Result<Self> {
        let gateway = start(&config.stdio("fixture", &TestServer::stdio(Era::Legacy)?))?;
        Ok(Self { gateway, server: None })
    }

    /// Runs `check` before a server on each transport.
    pub(crate) fn each(config: &Config, check: impl Fn(&mut Self) -> Result<()>) -> Result<()> {
        check(&mut Self::http(config.clone())?).context("over HTTP")?;
        check(&mut Self::stdio(config.clone())?).context("over stdio")
    }

    pub(crate) fn client(&self) -> Result<ModernClient> {
        client(&self.gateway)
    }

    /// Waits until the server has logged a line, wherever its log is.
    pub(crate) fn wait_server_log(&mut self, what: &str) -> Result<()> {
        match &mut self.server {
            Some(server) => server.process().wait_line(PATIENCE, |line| line.contains(what).then_some(())),
            // A child's own line is inside the gateway's.
            None => self.gateway.wait_log(PATIENCE, |line| line.to_string().contains(what)).map(drop),
        }
    }
}

fn start(config: &Config) -> Result<Gateway> {
    let gateway = Gateway::start(config)?;
    gateway.wait_backends("legacy", &["fixture"])?;
    Ok(gateway)
}

/// Without the comments that keep a stream open, so that a wait for a message that never comes fails.
pub(crate) fn quiet() -> Config {
    Config::new().set("limits", "keep_alive", json!("10m"))
}

/// A gateway before a legacy server that answers every call with a stream of the test's own.
pub(crate) fn scripted(
    config: Config,
    script: impl Fn(&Asked, &mut Events<'_>) -> Result<()> + Send + Sync + Clone + 'static,
) -> Result<(Gateway, Fake)> {
    let fake = fake(script)?;
    let gateway = start(&config.backend(Backend::http("fixture", &fake.url()).era("legacy")))?;
    Ok((gateway, fake))
}

/// The same with the gateway's metrics.
pub(crate) fn metered(
    config: Config,
    script: impl Fn(&Asked, &mut Events<'_>) -> Result<()> + Send + Sync + Clone + 'static,
) -> Result<(Gateway, Metrics, Fake)> {
    let fake = fake(script)?;
    let config = config.backend(Backend::http("fixture", &fake.url()).era("legacy"));
    let (gateway, metrics) = Metrics::start(&config)?;
    gateway.wait_backends("legacy", &["fixture"])?;
    Ok((gateway, metrics, fake))
}

fn fake(
    script: impl Fn(&Asked, &mut Events<'_>) -> Result<()> + Send + Sync + Clone + 'static,
) -> Result<Fake> {
    Fake::legacy(move |asked| {
        // Answers to questions, and notifications.
        if asked.method() != "tools/call" {
            return Act::reply(202, "text/plain", "");
        }
        let (asked, script) = (asked.clone(), script.clone());
        Act::stream(move |events| script(&asked, events))
    })
}

/// The parameters of an `elicitation/create` with one field, `name`.
pub(crate) fn who() -> Value {
    json!({ "message": "Who?", "requestedSchema": {
        "type": "object", "properties": { "name": { "type": "string" } }, "required": ["name"] } })
}

/// A client that can be asked everything, on the backend's own endpoint.
pub(crate) fn client(gateway: &Gateway) -> Result<ModernClient> {
    let capabilities = json!({ "sampling": {}, "elicitation": { "form": {}, "url": {} }, "roots": {} });
    ModernClient::new(&gateway.url("/mcp/fixture"), &capabilities)
}

/// A call of `test_sampling`, whose question repeats the prompt and whose result repeats the answer.
pub(crate) fn sampling(prompt: &str) -> Value {
    json!({ "name": "test_sampling", "arguments": { "prompt": prompt } })
}

/// What the client's model says.
pub(crate) fn says(words: &str) -> Value {
    json!({ "role": "assistant", "model": "m", "content": { "type": "text", "text": words } })
}

/// An accepted form.
pub(crate) fn accept(content: &Value) -> Value {
    json!({ "action": "accept", "content": content })
}

/// The text of a tool's result.
pub(crate) fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap_or_default()
}

/// A call that waits for the client.
#[derive(Debug, Clone)]
pub(crate) struct Parked {
    call: Value,
    /// The whole `input_required` result.
    pub(crate) required: Value,
}

impl Parked {
    /// Calls, and expects to be asked.
    pub(crate) fn call(client: &mut ModernClient, call: &Value) -> Result<Self> {
        let required = client.request("tools/call", call)?.into_result()?;
        Self::of(call, required)
    }

    /// What a call that was asked for more waits for.
    pub(crate) fn of(call: &Value, required: Value) -> Result<Self> {
        ensure!(required["resultType"] == "input_required", "expected to be asked, got {required}");
        ensure!(required["requestState"].as_str().is_some_and(|state| !state.is_empty()), "{required}");
        for hint in ["ttlMs", "cacheScope"] {
            ensure!(required.get(hint).is_none(), "an input_required result has no {hint}: {required}");
        }
        Ok(Self { call: call.clone(), required })
    }

    pub(crate) fn questions(&self) -> Result<Vec<(&String, &Value)>> {
        Ok(self.required["inputRequests"].as_object().context("questions")?.iter().collect())
    }

    pub(crate) fn state(&self) -> &str {
        self.required["requestState"].as_str().unwrap_or_default()
    }

    /// The retry that answers each question with `answer` of its method.
    pub(crate) fn retry(&self, answer: impl Fn(&str) -> Value) -> Result<Value> {
        let mut retry = self.call.clone();
        retry["requestState"] = self.required["requestState"].clone();
        let answers = self.questions()?.into_iter().map(|(key, question)| {
            ensure!(
                question.get("id").is_none() && question.get("jsonrpc").is_none(),
                "not bare: {question}"
            );
            Ok((key.clone(), answer(question["method"].as_str().unwrap_or_default())))
        });
        retry["inputResponses"] = answers.collect::<Result<serde_json::Map<_, _>>>()?.into();
        Ok(retry)
    }

    /// A retry that answers nothing.
    pub(crate) fn retry_with_nothing(&self) -> Value {
        let mut retry = self.call.clone();
        retry["requestState"] = self.required["requestState"].clone();
        retry
    }

    /// Answers every question alike.
    pub(crate) fn answer(&self, client: &mut ModernClient, answer: &Value) -> Result<Reply> {
        client.request("tools/call", &self.retry(|_| answer.clone())?)
    }

    /// Answers and expects the call's result.
    pub(crate) fn finish(&self, client: &mut ModernClient, answer: &Value) -> Result<Value> {
        let result = self.answer(client, answer)?.into_result()?;
        ensure!(result["resultType"] == "complete", "{result}");
        Ok(result)
    }

    /// Answers and expects to be refused.
    pub(crate) fn refused(&self, client: &mut ModernClient, answer: &Value) -> Result<RpcError> {
        let error = self.answer(client, answer)?.into_error()?;
        ensure!(error.code == BAD_STATE, "{error}");
        Ok(error)
    }
}

/// A life of parked calls that passes within a test.
pub(crate) fn short_lived() -> Config {
    quiet().set("limits", "parked_ttl", json!("1s"))
}

/// How soon a lost backend must be told.
pub(crate) const SOON: Duration = Duration::from_secs(1);
