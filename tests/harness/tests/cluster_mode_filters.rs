//! What clients see of a backend and may use is decided by its configuration, for both generations, on the endpoint of all
//! backends and on its own. Changes with what can be hidden or guarded.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bridge_snapshot::push::{RejectionCode, Resource};
use bridge_snapshot::{Access, Annotations, Exposure, Filter, Jwt, Pattern, Snapshot, ToolOverride};
use bridge_tests::exchange::RpcError;
use bridge_tests::fake::{Act, Fake};
use bridge_tests::pod::{Mounts, gateway, material, part, secret, snapshot};
use bridge_tests::tokens::Issuer;
use bridge_tests::{Era, LegacySession, ModernClient, Operator, Pod, TestServer};
use serde_json::{Value, json};

const KEY: &str = "a secret for tokens of at least 32 bytes";

fn exact(names: &[&str]) -> Vec<Pattern> {
    names.iter().map(|name| Pattern::Exact((*name).to_owned())).collect()
}

fn exposed(url: &str, exposure: Exposure) -> Resource {
    let mut part = part("web", url);
    part.backend.exposure = exposure;
    Resource::Backend(Box::new(part))
}

/// Shows two tools, no binary resources, and prompts without arguments.
fn some() -> Exposure {
    Exposure {
        tools: Filter {
            include: Some(exact(&["echo", "test_simple_text", "test_image_content"])),
            exclude: vec![Pattern::Regex(".*_image_.*".to_owned())],
        },
        resources: Filter { include: None, exclude: vec![Pattern::Regex("test://static-b.*".to_owned())] },
        prompts: Filter { include: Some(exact(&["test_simple_prompt"])), exclude: Vec::new() },
        ..Exposure::default()
    }
}

/// A client of either generation.
enum Client {
    Legacy(Box<LegacySession>),
    Modern(Box<ModernClient>),
}

impl Client {
    fn both(url: &str) -> Result<[Self; 2]> {
        let legacy = Self::Legacy(Box::new(LegacySession::open(url, &json!({}))?));
        Ok([legacy, Self::Modern(Box::new(ModernClient::new(url, &json!({}))?))])
    }

    fn names(&mut self, method: &str, member: &str, key: &str) -> Result<Vec<String>> {
        let items = match self {
            Self::Legacy(session) => session.list(method, member)?,
            Self::Modern(client) => client.list(method, member)?,
        };
        let mut names: Vec<_> =
            items.iter().filter_map(|item| Some(item.get(key)?.as_str()?.to_owned())).collect();
        names.sort();
        Ok(names)
    }

    fn error(&mut self, method: &str, params: &Value) -> Result<RpcError> {
        match self {
            Self::Legacy(session) => session.request(method, params)?.into_error(),
            Self::Modern(client) => client.request(method, params)?.into_error(),
        }
    }

    fn result(&mut self, method: &str, params: &Value) -> Result<Value> {
        match self {
            Self::Legacy(session) => session.request(method, params)?.into_result(),
            Self::Modern(client) => client.request(method, params)?.into_result(),
        }
    }
}

#[test]
fn what_is_hidden_is_neither_listed_nor_there() -> Result<()> {
    for era in [Era::Legacy, Era::Modern, Era::Both] {
        let (operator, fixture) = (Operator::start()?, TestServer::http(era)?);
        let mounts = Mounts::of(&operator)?;
        operator.publish(&[gateway(snapshot()), exposed(fixture.url(), some())])?;
        let pod = Pod::start(&mounts)?;
        let url = pod.wait_ready()?;
        for endpoint in ["/mcp", "/mcp/web"] {
            for mut client in Client::both(&format!("{url}{endpoint}"))? {
                sees_some(&mut client).with_context(|| format!("{era:?} server, {endpoint}"))?;
            }
        }
        let report = operator.wait_report(|report| {
            report.backends.iter().any(|backend| backend.exposed == 2 && backend.filtered > 2)
        })?;
        let [backend] = report.backends.as_slice() else { anyhow::bail!("{report:?}") };
        assert_eq!(backend.tools, backend.exposed + backend.filtered);
    }
    Ok(())
}

fn sees_some(client: &mut Client) -> Result<()> {
    assert_eq!(client.names("tools/list", "tools", "name")?, ["echo", "test_simple_text"]);
    assert_eq!(client.names("prompts/list", "prompts", "name")?, ["test_simple_prompt"]);
    let uris = client.names("resources/list", "resources", "uri")?;
    ensure!(uris.contains(&"test://static-text".to_owned()), "{uris:?}");
    ensure!(!uris.contains(&"test://static-binary".to_owned()), "{uris:?}");

    client.result("tools/call", &json!({ "name": "echo", "arguments": { "message": "hi" } }))?;
    client.result("resources/read", &json!({ "uri": "test://static-text" }))?;
    let error = client.error("tools/call", &json!({ "name": "test_image_content", "arguments": {} }))?;
    assert_eq!((error.code, error.message.contains("unknown tool")), (-32602, true), "{error:?}");
    let escaped = client.error("tools/call", &json!({ "name": "no\u{0}where", "arguments": {} }))?;
    assert_eq!(error.data["reason"], escaped.data["reason"]);
    let error = client.error("prompts/get", &json!({ "name": "test_prompt_with_image" }))?;
    assert_eq!(error.code, -32602, "{error:?}");
    let error = client.error("resources/read", &json!({ "uri": "test://static-binary" }))?;
    let code = if matches!(client, Client::Legacy(_)) { -32002 } else { -32602 };
    assert_eq!(error.code, code, "{error:?}");
    let reference = json!({ "type": "ref/prompt", "name": "test_prompt_with_arguments" });
    let argument = json!({ "name": "arg1", "value": "" });
    client.error("completion/complete", &json!({ "ref": reference, "argument": argument }))?;
    Ok(())
}

#[test]
fn a_hidden_tool_is_never_sent_to_its_server_in_whatever_form() -> Result<()> {
    let operator = Operator::start()?;
    let mounts = Mounts::of(&operator)?;
    let mut fixture = TestServer::http(Era::Legacy)?;
    operator.publish(&[gateway(snapshot()), exposed(fixture.url(), some())])?;
    let pod = Pod::start(&mounts)?;
    let url = format!("{}/mcp/web", pod.wait_ready()?);
    let mut session = LegacySession::open_as(&url, "2025-03-26", &json!({}))?;
    let call = json!({ "name": "test_tool_with_logging", "arguments": {} });
    session.notify("tools/call", &call)?;
    let batch = json!([{ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": call }]);
    let answer: Value = serde_json::from_str(&session.post(&batch)?.read_text()?)?;
    assert_eq!(answer[0]["error"]["code"], -32602, "{answer}");
    session.request("tools/call", &json!({ "name": "echo", "arguments": { "message": "after" } }))?;
    let log = fixture.process().log().join("\n");
    ensure!(!log.contains("test_tool_with_logging"), "it was called");
    Ok(())
}

#[test]
fn clients_are_told_when_other_items_are_hidden() -> Result<()> {
    let (operator, fixture) = (Operator::start()?, TestServer::http(Era::Both)?);
    let mounts = Mounts::of(&operator)?;
    operator.publish(&[gateway(snapshot()), exposed(fixture.url(), some())])?;
    let pod = Pod::start(&mounts)?;
    let url = pod.wait_ready()?;
    let mut fewer = some();
    fewer.tools.exclude.extend(exact(&["echo"]));
    for (endpoint, next, echo) in [("/mcp", fewer, false), ("/mcp/web", some(), true)] {
        let mut session = LegacySession::open(&format!("{url}{endpoint}"), &json!({}))?;
        let mut stream = session.listen()?;
        ensure!(stream.is_stream()?, "no stream");
        session.list("tools/list", "tools")?;
        let revision = operator.publish(&[exposed(fixture.url(), next)])?;
        assert_eq!(operator.wait_serves(revision)?, []);
        loop {
            let message = stream.next_message()?.context("the stream ended")?;
            ensure!(message["method"] != "notifications/prompts/list_changed" || endpoint == "/mcp");
            // On the endpoint of all backends a backend is away for a moment when its configuration changes.
            if message["method"] == "notifications/tools/list_changed" {
                let tools = session.list("tools/list", "tools")?;
                let shown = |name: &str| tools.iter().any(|tool| tool["name"] == name);
                if shown("test_simple_text") {
                    assert_eq!(shown("echo"), echo, "{tools:?}");
                    break;
                }
                ensure!(endpoint == "/mcp" && tools.is_empty(), "{tools:?}");
            }
        }
    }
    Ok(())
}

#[test]
fn an_expression_that_cannot_be_compiled_is_rejected_with_its_field() -> Result<()> {
    let operator = Operator::start()?;
    let mounts = Mounts::of(&operator)?;
    let fake = Fake::modern(|asked| Act::result(asked, &json!({ "tools": [] })))?;
    operator.publish(&[gateway(snapshot()), exposed(&fake.url(), some())])?;
    let pod = Pod::start(&mounts)?;
    pod.wait_ready()?;
    let mut wrong = some();
    wrong.prompts.exclude = vec![Pattern::Regex("(".to_owned())];
    let revision = operator.publish(&[exposed(&fake.url(), wrong)])?;
    let rejected = operator.wait_serves(revision)?;
    let [rejection] = rejected.as_slice() else { anyhow::bail!("{rejected:?}") };
    assert_eq!((rejection.name.as_str(), rejection.code), ("web", RejectionCode::Invalid));
    ensure!(rejection.message.contains("exposure.prompts.exclude: `(`"), "{}", rejection.message);
    Ok(())
}

#[test]
fn a_tool_can_look_different_to_clients_than_to_its_server() -> Result<()> {
    for era in [Era::Legacy, Era::Modern, Era::Both] {
        let (operator, fixture) = (Operator::start()?, TestServer::http(era)?);
        let mounts = Mounts::of(&operator)?;
        let annotations = Annotations { read_only_hint: Some(true), ..Annotations::default() };
        let renamed = ToolOverride {
            name: Some("repeat".to_owned()),
            description: Some("Says it again.".to_owned()),
            annotations,
        };
        let exposure = Exposure {
            overrides: BTreeMap::from([("echo".to_owned(), renamed)]),
            required_scopes: BTreeMap::new(),
            ..some()
        };
        operator.publish(&[gateway(snapshot()), exposed(fixture.url(), exposure)])?;
        let pod = Pod::start(&mounts)?;
        let url = pod.wait_ready()?;
        for endpoint in ["/mcp", "/mcp/web"] {
            for mut client in Client::both(&format!("{url}{endpoint}"))? {
                assert_eq!(client.names("tools/list", "tools", "name")?, ["repeat", "test_simple_text"]);
                let listed = client.result("tools/list", &json!({}))?;
                let tools = listed["tools"].as_array().context("tools")?;
                let tool = tools.iter().find(|tool| tool["name"] == "repeat").context("the tool")?;
                assert_eq!(tool["description"], "Says it again.");
                assert_eq!(tool["annotations"]["readOnlyHint"], true);
                ensure!(tool["inputSchema"]["properties"]["message"].is_object(), "{tool}");
                let call = |name: &str| json!({ "name": name, "arguments": { "message": "again" } });
                let result = client.result("tools/call", &call("repeat"))?;
                ensure!(result["content"].to_string().contains("again"), "{result}");
                assert_eq!(client.error("tools/call", &call("echo"))?.code, -32602, "{era:?} {endpoint}");
            }
        }
    }
    Ok(())
}

/// Guards one tool with two scopes.
fn guarded() -> Exposure {
    let scopes = ["logs.read", "logs.all"].map(str::to_owned);
    Exposure {
        required_scopes: BTreeMap::from([("echo".to_owned(), scopes.to_vec())]),
        ..Exposure::default()
    }
}

#[test]
fn a_guarded_tool_answers_to_bearers_of_all_its_scopes() -> Result<()> {
    let (operator, fixture) = (Operator::start()?, TestServer::http(Era::Both)?);
    let mounts = Mounts::of(&operator)?;
    let access = Access::Jwt(Jwt {
        issuer: None,
        audience: None,
        secret: Some(material("mcp-system/jwt", "secret")),
        public_key_file: None,
        per_message: false,
        cache_ttl: Duration::from_mins(5),
    });
    let key = secret("mcp-system/jwt", &[("secret", KEY)]);
    let access = gateway(Snapshot { access, ..snapshot() });
    operator.publish(&[access, key, exposed(fixture.url(), guarded())])?;
    let pod = Pod::start(&mounts)?;
    let url = pod.wait_ready()?;
    let call = json!({ "name": "echo", "arguments": { "message": "hi" } });
    for endpoint in ["/mcp", "/mcp/web"] {
        let client = |claims: Value| -> Result<ModernClient> {
            let mut client = ModernClient::new(&format!("{url}{endpoint}"), &json!({}))?;
            let token = Issuer::secret(KEY).token_with("alice", &claims)?;
            client.set_header("Authorization", &format!("Bearer {token}"));
            Ok(client)
        };
        for claims in
            [json!({ "scope": "logs.read logs.all" }), json!({ "scopes": ["logs.all", "logs.read"] })]
        {
            client(claims)?.request("tools/call", &call)?.into_result()?;
        }
        for claims in [json!({}), json!({ "scope": "logs.read" }), json!({ "scope": "logs.read.logs.all" })] {
            let mut client = client(claims)?;
            let tools = client.list("tools/list", "tools")?;
            ensure!(tools.iter().any(|tool| tool["name"] == "echo"), "it is listed to everybody");
            let prepared = client.prepare("tools/call", &call)?;
            let mut exchange = client.send(&prepared)?;
            let head = exchange.head()?;
            assert_eq!(head.status, 403);
            let challenge = head.header("www-authenticate").context("a challenge")?;
            ensure!(
                challenge.contains(r#"error="insufficient_scope", scope="logs.read logs.all""#),
                "{challenge}"
            );
            let answer: Value = serde_json::from_str(&exchange.read_text()?)?;
            assert_eq!(answer["error"]["data"]["reason"], "insufficient_scope", "{answer}");
            assert_eq!(answer["error"]["data"]["scope"], "logs.read logs.all", "{answer}");
            client
                .request("tools/call", &json!({ "name": "test_simple_text", "arguments": {} }))?
                .into_result()?;
        }
    }
    Ok(())
}

#[test]
fn nobody_without_a_credential_has_a_scope() -> Result<()> {
    let (operator, fixture) = (Operator::start()?, TestServer::http(Era::Legacy)?);
    let mounts = Mounts::of(&operator)?;
    operator.publish(&[gateway(snapshot()), exposed(fixture.url(), guarded())])?;
    let pod = Pod::start(&mounts)?;
    let url = pod.wait_ready()?;
    let call = json!({ "name": "echo", "arguments": { "message": "hi" } });
    for mut client in Client::both(&format!("{url}/mcp/web"))? {
        let error = client.error("tools/call", &call)?;
        assert_eq!(error.code, -32002, "{error:?}");
    }
    Ok(())
}
