//! Modern backends that ask, and a legacy client that is asked live. Changes when these tests need another backend.

use anyhow::{Context as _, Result, ensure};
use bridge_tests::fake::{Act, Asked, Fake};
use bridge_tests::{Backend, Config, Era, Exchange, Gateway, LegacySession, TestServer};
use serde_json::{Value, json};

/// A gateway before one server of 2026-07-28, the fixture, under the name `fixture`.
pub(crate) struct Way {
    pub(crate) gateway: Gateway,
    _server: Option<TestServer>,
}

impl Way {
    /// Runs `check` before a server on each transport.
    pub(crate) fn each(config: &Config, check: impl Fn(&Self) -> Result<()>) -> Result<()> {
        let server = TestServer::http(Era::Modern)?;
        let gateway = start(&config.clone().http("fixture", server.url()))?;
        check(&Self { gateway, _server: Some(server) }).context("over HTTP")?;
        let gateway = start(&config.clone().stdio("fixture", &TestServer::stdio(Era::Modern)?))?;
        check(&Self { gateway, _server: None }).context("over stdio")
    }

    pub(crate) fn session(&self) -> Result<LegacySession> {
        session(&self.gateway)
    }
}

fn start(config: &Config) -> Result<Gateway> {
    let gateway = Gateway::start(config)?;
    gateway.wait_backends("modern", &["fixture"])?;
    Ok(gateway)
}

/// Without the comments that keep a stream open, so that a wait for a message that never comes fails.
pub(crate) fn quiet() -> Config {
    Config::new().set("limits", "keep_alive", json!("10m"))
}

/// A gateway before a server of 2026-07-28 that answers calls as the test wants.
pub(crate) fn scripted(
    config: Config,
    act: impl Fn(&Asked) -> Act + Send + Sync + 'static,
) -> Result<(Gateway, Fake)> {
    let fake = Fake::modern(act)?;
    let gateway = start(&config.backend(Backend::http("fixture", &fake.url()).era("modern")))?;
    Ok((gateway, fake))
}

/// The calls that a server has got.
pub(crate) fn calls(fake: &Fake) -> Vec<Asked> {
    fake.asked().into_iter().filter(|asked| asked.method() == "tools/call").collect()
}

/// A session that can be asked everything, on the backend's own endpoint.
pub(crate) fn session(gateway: &Gateway) -> Result<LegacySession> {
    let capabilities = json!({ "sampling": {}, "elicitation": { "form": {}, "url": {} }, "roots": {} });
    LegacySession::open(&gateway.url("/mcp/fixture"), &capabilities)
}

/// A call of the fixture that asks so many times.
pub(crate) fn rounds(count: usize) -> Value {
    json!({ "name": "test_rounds", "arguments": { "rounds": count } })
}

/// An accepted form with the field that [`rounds`] asks for.
pub(crate) fn accept(answer: &str) -> Value {
    json!({ "action": "accept", "content": { "answer": answer } })
}

/// The text of a tool's result.
pub(crate) fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap_or_default()
}

/// `input_required` with one form under `key`, and a state if there is one.
pub(crate) fn form(asked: &Asked, key: &str, state: Option<&str>) -> Act {
    let question = json!({ "method": "elicitation/create", "params": { "mode": "form", "message": "Go on?",
        "requestedSchema": { "type": "object", "properties": { "answer": { "type": "string" } } } } });
    let mut result = json!({ "resultType": "input_required", "inputRequests": { key: question } });
    if let Some(state) = state {
        result["requestState"] = state.into();
    }
    Act::result(asked, &result)
}

/// A complete result of one text.
pub(crate) fn done(asked: &Asked, said: &str) -> Act {
    Act::result(asked, &json!({ "resultType": "complete", "content": [{ "type": "text", "text": said }] }))
}

/// The next question on a call's stream.
pub(crate) fn question(exchange: &mut Exchange) -> Result<Value> {
    let message = exchange.next_message()?.context("the call ended without a question")?;
    ensure!(message["method"].is_string() && message.get("id").is_some(), "not a question: {message}");
    Ok(message)
}
