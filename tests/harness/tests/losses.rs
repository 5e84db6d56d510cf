//! What cannot cross between generations is counted where it happens. Changes with the driver that counts it; what is
//! lost of which message is tested beside the translators.

use anyhow::{Result, ensure};
use bridge_tests::fake::{Act, Asked, Fake};
use bridge_tests::http::{Url, request};
use bridge_tests::metrics::Metrics;
use bridge_tests::{Backend, Config, Gateway, LegacySession, ModernClient};
use serde_json::{Value, json};

/// A gateway before one server, `fixture`, which speaks `era` only.
fn before(server: &Fake, era: &str) -> Result<(Gateway, Metrics)> {
    let (gateway, metrics) =
        Metrics::start(&Config::new().backend(Backend::http("fixture", &server.url()).era(era)))?;
    gateway.wait_backends(era, &["fixture"])?;
    Ok((gateway, metrics))
}

fn counted(metrics: &Metrics, loss: &str) -> Result<i64> {
    metrics.value(&format!("mcp_gateway_bridging_losses_total{{loss=\"{loss}\"}}"))
}

fn all_counted(metrics: &Metrics, losses: &[&str]) -> Result<()> {
    for loss in losses {
        ensure!(counted(metrics, loss)? > 0, "{loss} was not counted:\n{}", metrics.text()?);
    }
    Ok(())
}

fn notice(method: &str, params: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "method": format!("notifications/{method}"), "params": params })
}

/// A server of 2025-11-25 whose tools and calls hold what a client of 2026-07-28 cannot have. Its notification stream asks
/// something once the test says `now`.
fn legacy() -> Result<Fake> {
    Fake::start(|asked| match (asked.http_method.as_str(), asked.method()) {
        ("GET", _) => Act::stream(|events| {
            events.wait_asked(|asked| asked.method() == "now")?;
            events.ask(&json!("stray"), "roots/list", &json!({}))?;
            events.wait_closed();
            Ok(())
        }),
        (_, "initialize") => {
            let result = json!({
                "protocolVersion": "2025-11-25", "capabilities": { "tools": {}, "logging": {} },
                "serverInfo": { "name": "fake", "version": "0" },
            });
            Act::result(asked, &result)
        }
        (_, "tools/list") => {
            let parameter = json!({ "type": "string", "x-mcp-header": "Where" });
            let schema = json!({ "type": "object", "properties": { "where": parameter } });
            Act::result(
                asked,
                &json!({ "tools": [
                    { "name": "work", "inputSchema": schema, "execution": { "taskSupport": "optional" } },
                    { "name": "task", "inputSchema": { "type": "object" }, "execution": { "taskSupport": "required" } },
                ] }),
            )
        }
        (_, "logging/setLevel") => Act::result(asked, &json!({})),
        (_, "tools/call") => {
            let asked = asked.clone();
            Act::stream(move |events| {
                events.send(&notice("message", &json!({ "level": "info", "data": "hello" })))?;
                events.send(&notice("tools/list_changed", &json!({})))?;
                events.send(&notice("elicitation/complete", &json!({ "elicitationId": "e" })))?;
                events.finish(&asked, &json!({ "content": [] }))
            })
        }
        _ => Act::reply(202, "text/plain", ""),
    })
}

#[test]
fn what_a_modern_client_loses_at_a_legacy_server_is_counted() -> Result<()> {
    let server = legacy()?;
    let (gateway, metrics) = before(&server, "legacy")?;
    let mut client = ModernClient::new(&gateway.url("/mcp"), &json!({ "extensions": { "x": {} } }))?;
    let tools = client.list("tools/list", "tools")?;
    ensure!(tools.len() == 1 && tools[0]["name"] == "work", "{tools:?}");
    all_counted(&metrics, &["task_tool", "task_support", "header_annotation"])?;
    ensure!(counted(&metrics, "client_extensions")? == 0, "a merged list asks no server for this client");

    client.request("tools/call", &json!({ "name": "work" }))?.into_result()?;
    all_counted(&metrics, &["client_extensions", "loose_log", "session_list", "url_completion"])?;
    ensure!(counted(&metrics, "question_outside_call")? == 0);
    Ok(())
}

#[test]
fn a_question_outside_of_a_call_is_refused_and_counted() -> Result<()> {
    let server = legacy()?;
    let (gateway, metrics) = before(&server, "legacy")?;
    // Its notification stream is read for a client that wants logs.
    let mut client = ModernClient::new(&gateway.url("/mcp/fixture"), &json!({ "roots": {} }))?;
    client.set_meta("io.modelcontextprotocol/logLevel", "error".into());
    client.request("tools/call", &json!({ "name": "work" }))?.into_result()?;

    let now = json!({ "jsonrpc": "2.0", "method": "now" }).to_string();
    request("POST", &Url::parse(&server.url())?, &[("Content-Type", "application/json")], now.as_bytes())?;
    let refused = server.wait_asked(|asked: &Asked| asked.message["id"] == "stray")?;
    ensure!(refused.message["error"]["code"] == -32601, "{refused:?}");
    ensure!(counted(&metrics, "question_outside_call")? == 1);
    // A message below the level that the client names is not lost: nobody wanted it.
    ensure!(counted(&metrics, "loose_log")? == 0);
    Ok(())
}

/// A server of 2026-07-28 whose tools and calls hold what a client with a session cannot have.
fn modern() -> Result<Fake> {
    Fake::start(|asked| match asked.method() {
        "server/discover" => Act::result(
            asked,
            &json!({
                "resultType": "complete", "supportedVersions": ["2026-07-28"], "ttlMs": 0, "cacheScope": "private",
                "capabilities": { "tools": {}, "extensions": { "x": {} } },
            }),
        ),
        "tools/list" => {
            let tool = json!({
                "name": "work", "inputSchema": { "type": "object" }, "outputSchema": { "type": "array" },
            });
            let result =
                json!({ "resultType": "complete", "tools": [tool], "ttlMs": 0, "cacheScope": "private" });
            Act::result(asked, &result)
        }
        _ => {
            let asked = asked.clone();
            Act::stream(move |events| {
                events.send(&notice("x/y", &json!({})))?;
                let question = json!({
                    "method": "sampling/createMessage", "params": { "messages": [], "maxTokens": 1 },
                });
                events.finish(
                    &asked,
                    &json!({ "resultType": "input_required", "inputRequests": { "a": question } }),
                )
            })
        }
    })
}

#[test]
fn what_a_legacy_client_loses_at_a_modern_server_is_counted() -> Result<()> {
    let server = modern()?;
    let (gateway, metrics) = before(&server, "modern")?;
    let mut merged = LegacySession::open(&gateway.url("/mcp"), &json!({}))?;
    let tools = merged.list("tools/list", "tools")?;
    ensure!(tools.len() == 1 && tools[0].get("outputSchema").is_none(), "{tools:?}");
    all_counted(&metrics, &["output_schema"])?;

    let mut session = LegacySession::open(&gateway.url("/mcp/fixture"), &json!({ "sampling": {} }))?;
    session.on_server_request(|_, _| json!({ "nonsense": true }));
    let result = session.request("tools/call", &json!({ "name": "work" }))?.into_result()?;
    ensure!(result["isError"] == true, "{result}");
    all_counted(&metrics, &["server_extensions", "server_notice", "refused_question"])?;

    ensure!(counted(&metrics, "client_notice")? == 0);
    session.notify("notifications/roots/list_changed", &json!({}))?;
    all_counted(&metrics, &["client_notice"])
}
