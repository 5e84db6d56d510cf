//! `conformance-client`: what the conformance suite starts as the client under test. It puts the gateway before the suite's
//! server and does through it what the scenario wants of a client. Changes with the suite's client scenarios.
//!
//! `conformance-client legacy|modern URL`: the generation of the client before the gateway, and the suite's server. The
//! scenario comes in the variables that the suite sets.

use std::time::Duration;
use std::{env, thread};

use anyhow::{Context as _, Result, bail, ensure};
use bridge_tests::modern::REVISION;
use bridge_tests::{Backend, Config, Gateway, LegacySession, ModernClient, Reply};
use serde_json::{Value, json};

const PATH: &str = "/mcp/suite";
/// How often a stream is asked for its rest.
const MAX_RESUMPTIONS: usize = 10;

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().collect();
    let [_, generation, url] = &arguments[..] else { bail!("usage: conformance-client legacy|modern URL") };
    let scenario = env::var("MCP_CONFORMANCE_SCENARIO").context("MCP_CONFORMANCE_SCENARIO")?;
    let context = env::var("MCP_CONFORMANCE_CONTEXT").ok();
    let context =
        context.map(|text| serde_json::from_str(&text)).transpose().context("the scenario's context")?;

    // Forced, as an operator may: some of these servers answer the handshake of the other generation too, and judge it.
    let revision =
        env::var("MCP_CONFORMANCE_PROTOCOL_VERSION").context("MCP_CONFORMANCE_PROTOCOL_VERSION")?;
    let era = if revision == REVISION { "modern" } else { "legacy" };
    let gateway = Gateway::start(&Config::new().backend(Backend::http("suite", url).era(era)))?;
    gateway.wait_backends(era, &["suite"])?;
    let url = gateway.url(PATH);
    let capabilities = json!({ "elicitation": { "form": {} }, "roots": {}, "sampling": {} });
    let mut client = match generation.as_str() {
        "legacy" => {
            let mut session = LegacySession::open(&url, &capabilities)?;
            session.on_server_request(answer);
            Client::Legacy(session)
        }
        "modern" => Client::Modern(ModernClient::new(&url, &capabilities)?),
        other => bail!("{other} is no generation"),
    };
    perform(&mut client, &scenario, &context.unwrap_or_default())
}

/// The client before the gateway.
enum Client {
    Legacy(LegacySession),
    Modern(ModernClient),
}

impl Client {
    fn request(&mut self, method: &str, params: &Value) -> Result<Reply> {
        match self {
            Self::Legacy(session) => session.request(method, params),
            Self::Modern(client) => client.request_with_input(method, params, |_, question| {
                answer(question["method"].as_str().unwrap_or_default(), &question["params"])
            }),
        }
    }

    fn list(&mut self, method: &str, key: &str) -> Result<Vec<Value>> {
        match self {
            Self::Legacy(session) => session.list(method, key),
            Self::Modern(client) => client.list(method, key),
        }
    }

    fn tools(&mut self) -> Result<Vec<Value>> {
        let tools = self.list("tools/list", "tools")?;
        if let Self::Modern(client) = self {
            client.learn(&tools);
        }
        Ok(tools)
    }

    fn call(&mut self, name: &str, arguments: &Value) -> Result<Value> {
        self.request("tools/call", &json!({ "name": name, "arguments": arguments }))?.into_result()
    }
}

/// Calls a tool, and comes back for the rest of its stream when that ends before the answer (MCP 2025-11-25, "Streamable
/// HTTP: resumability and redelivery").
fn call_resuming(session: &mut LegacySession, name: &str) -> Result<Value> {
    let (id, mut stream) = session.start("tools/call", &json!({ "name": name, "arguments": {} }))?;
    let mut last = None;
    for _ in 0..MAX_RESUMPTIONS {
        let mut retry = None;
        while let Some(event) = stream.next_event()? {
            last = event.id.or(last);
            retry = event.retry.or(retry);
            let Some(data) = event.data.filter(|data| !data.is_empty()) else { continue };
            let message: Value = serde_json::from_str(&data)?;
            if message["id"] == id {
                return Ok(message["result"].clone());
            }
        }
        #[allow(clippy::disallowed_methods, reason = "the server names this wait; there is no runtime here")]
        thread::sleep(Duration::from_millis(retry.context("a stream that pauses says for how long")?));
        stream = session.resume(last.as_deref().context("a stream that pauses has an id")?)?;
    }
    bail!("{MAX_RESUMPTIONS} resumptions brought no answer")
}

/// What the user or the model of this client says.
fn answer(method: &str, _params: &Value) -> Value {
    match method {
        "elicitation/create" => json!({ "action": "accept", "content": { "confirmed": true } }),
        "roots/list" => json!({ "roots": [] }),
        _ => json!({ "role": "assistant", "model": "none", "content": { "type": "text", "text": "yes" } }),
    }
}

fn perform(client: &mut Client, scenario: &str, context: &Value) -> Result<()> {
    match scenario {
        "initialize" | "json-schema-ref-no-deref" => client.tools().map(drop),
        "tools_call" => {
            client.tools()?;
            let sum = client.call("add_numbers", &json!({ "a": 5, "b": 3 }))?;
            ensure!(sum.to_string().contains("is 8"), "{sum}");
            Ok(())
        }
        "sse-retry" => {
            client.tools()?;
            let result = match client {
                // The pause of the server's stream is passed on to clients whose revision has it.
                Client::Legacy(session) => call_resuming(session, "test_reconnection")?,
                Client::Modern(_) => client.call("test_reconnection", &json!({}))?,
            };
            ensure!(result.to_string().contains("completed successfully"), "{result}");
            Ok(())
        }
        "request-metadata" => {
            client.tools()?;
            client.call("anything", &json!({})).map(drop)
        }
        "http-standard-headers" => everything(client),
        "http-custom-headers" => {
            client.tools()?;
            for call in context["toolCalls"].as_array().context("the context names the calls")? {
                client.call(call["name"].as_str().context("name")?, &call["arguments"])?;
            }
            Ok(())
        }
        "http-invalid-tool-headers" => {
            for tool in client.tools()? {
                client.call(tool["name"].as_str().context("name")?, &json!({ "region": "north" }))?;
            }
            Ok(())
        }
        "sep-2322-client-request-state" => rounds(client),
        "json-schema-2020-12-preservation" => {
            let tools = client.tools()?;
            let focal = tools.iter().find(|tool| tool["name"] == "json_schema_2020_12_tool");
            let schema = &focal.context("the tool with the schema is listed")?["inputSchema"];
            client.call("json_schema_echo", &json!({ "schema": schema })).map(drop)
        }
        other => bail!("{other} is not a scenario for a gateway"),
    }
}

/// Lists everything and uses everything that is listed.
fn everything(client: &mut Client) -> Result<()> {
    for tool in client.tools()? {
        client.call(tool["name"].as_str().context("name")?, &json!({}))?;
    }
    for (list, key, read, name) in [
        ("resources/list", "resources", "resources/read", "uri"),
        ("prompts/list", "prompts", "prompts/get", "name"),
    ] {
        for item in client.list(list, key)? {
            client.request(read, &json!({ name: item[name] }))?.into_result()?;
        }
    }
    Ok(())
}

/// Calls in rounds. A client that holds its rounds in its own hands calls something else between two of them.
fn rounds(client: &mut Client) -> Result<()> {
    client.tools()?;
    if let Client::Modern(client) = client {
        let call = json!({ "name": "test_mrtr_echo_state", "arguments": {} });
        let asked = client.request("tools/call", &call)?.into_result()?;
        client
            .request("tools/call", &json!({ "name": "test_mrtr_unrelated", "arguments": {} }))?
            .into_result()?;
        let mut retry = call;
        retry["requestState"] = asked["requestState"].clone();
        let questions = asked["inputRequests"].as_object().context("questions")?;
        retry["inputResponses"] =
            questions.keys().map(|key| (key.clone(), answer("elicitation/create", &Value::Null))).collect();
        client.request("tools/call", &retry)?.into_result()?;
    } else {
        client.call("test_mrtr_echo_state", &json!({}))?;
        client.call("test_mrtr_unrelated", &json!({}))?;
    }
    for (tool, says) in
        [("test_mrtr_no_state", "no-state-ok"), ("test_mrtr_no_result_type", "no-result-type-test-ok")]
    {
        let result = client.call(tool, &json!({}))?;
        ensure!(result.to_string().contains(says), "{tool}: {result}");
    }
    Ok(())
}
