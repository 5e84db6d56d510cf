//! What a newcomer sees after `make run`: the printed client configuration and the printed command must work as they are.
//! Changes with the welcome text.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use bridge_tests::gateway::binary;
use bridge_tests::{LegacySession, PATIENCE, Process, cargo};
use serde_json::{Value, json};

#[test]
fn the_printed_configuration_and_command_work_as_they_are() -> Result<()> {
    // The example names its server by the path that a build leaves it at.
    binary("mcp-test-server")?;
    let mut command = Command::new(binary("mcp-gateway")?);
    command.args(["--config", "deploy/examples/quickstart.yaml", "--welcome"]).current_dir(cargo::root());
    // Ports of its own, so that a gateway started by hand can run meanwhile.
    command.env("MCP_GATEWAY_SERVER_PORT", "0").env("MCP_GATEWAY_SERVER_METRICS_PORT", "0");
    let gateway = Process::spawn("mcp-gateway", &command)?;
    gateway.wait_line(PATIENCE, |line| line.contains("Ctrl-C").then_some(()))?;
    let log = gateway.log();
    let printed = |first: &str| -> Result<String> {
        let block = log.iter().skip_while(|line| !line.trim_start().starts_with(first));
        let block: Vec<_> = block.take_while(|line| !line.is_empty()).map(String::as_str).collect();
        ensure!(!block.is_empty(), gateway.complain(&format!("printed nothing that starts with {first:?}")));
        Ok(block.join("\n"))
    };

    for backend in ["demo", "legacy"] {
        let line =
            log.iter().find(|line| line.contains(&format!("/mcp/{backend} "))).with_context(|| backend)?;
        let [older, newer] = ["2024-11-05 to 2025-11-25", "2026-07-28"]
            .map(|clients| line.contains(&format!("tools for clients of {clients}")));
        ensure!(older && newer, "every backend serves clients of both generations: {line}");
    }

    let listed = Command::new("sh")
        .arg("-c")
        .arg(printed("curl ")?)
        .output()
        .context("running the printed command")?;
    let listed = String::from_utf8(listed.stdout)?;
    let message: Value =
        serde_json::from_str(&listed).with_context(|| format!("the command printed {listed:?}"))?;
    let tools = message["result"]["tools"].as_array().with_context(|| listed.clone())?;
    assert!(tools.len() > 10, "the command lists {} tools", tools.len());

    let client: Value = serde_json::from_str(&printed("{")?).context("the client configuration is JSON")?;
    let server = client["mcpServers"].as_object().and_then(|servers| servers.values().next());
    let url = server.and_then(|server| server["url"].as_str()).with_context(|| client.to_string())?;
    let mut session = LegacySession::open(url, &json!({}))?;
    let names: Vec<_> = session.list("tools/list", "tools")?;
    // Two live backends with the same tools: each is there, under a name that tells which one it is.
    let of = |backend: &str| {
        names.iter().filter(|tool| tool["name"].as_str().is_some_and(|name| name.contains(backend))).count()
    };
    assert!(of("demo") > 10 && of("legacy") > 10, "both backends are listed: {names:?}");
    Ok(())
}
