//! From nothing to a tool call, and what a person sees of it. Changes when what a user applies does.

use anyhow::{Context as _, Result, ensure};
use bridge_cluster::Cluster;
use bridge_tests::script::{self, Client};
use bridge_tests::{Exchange, ModernClient};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use crate::installed::{self, address, pods};

/// Calls a tool.
pub(crate) async fn call(url: String, tool: &'static str, arguments: Value) -> Result<Value> {
    let called = spawn_blocking(move || {
        let mut client = ModernClient::new(&url, &json!({}))?;
        client.request("tools/call", &json!({ "name": tool, "arguments": arguments }))?.into_result()
    });
    called.await?
}

pub(crate) async fn a_published_client_calls_a_tool_through_pods_that_the_operator_made(
    cluster: &'static Cluster,
) -> Result<()> {
    installed::operator(cluster).await?;
    installed::server(cluster, "serves", "fixture").await?;
    installed::gateway(cluster, "serves").await?;
    let pods = pods(cluster, "serves", "main").await?;
    ensure!(pods.len() == 3, "{} pods", pods.len());
    let url = format!("{}/mcp", address(cluster, "serves", "main", 8080).await?);
    for client in [Client::RmcpLegacy, Client::RmcpModern] {
        let url = url.clone();
        let plan = json!({ "steps": [
            { "do": "list_tools" },
            { "do": "call_tool", "name": "echo", "arguments": { "message": "hi" } },
        ] });
        let report = spawn_blocking(move || script::run(client, &url, &plan)).await??;
        ensure!(report["steps"][1]["result"]["content"][0]["text"] == "hi", "{client:?}: {report}");
    }
    Ok(())
}

pub(crate) async fn an_annotated_service_is_served_while_it_is_annotated(
    cluster: &'static Cluster,
) -> Result<()> {
    installed::operator(cluster).await?;
    installed::server(cluster, "annotated", "fixture").await?;
    installed::gateway(cluster, "annotated").await?;
    let url = format!("{}/mcp", address(cluster, "annotated", "main", 8080).await?);
    installed::server(cluster, "annotated", "found").await?;
    let mut notices = spawn_blocking({
        let url = url.clone();
        move || -> Result<Exchange> {
            let mut client = ModernClient::new(&url, &json!({}))?;
            Ok(client.listen(&json!({ "toolsListChanged": true }))?.1)
        }
    })
    .await??;
    let annotate = ["annotate", "service", "found", "-n", "annotated", "--overwrite"];
    let with = |words: &[&'static str]| [&annotate[..], words].concat();
    let on = with(&[
        "mcp.bridge/enabled=true",
        "mcp.bridge/namespace=found",
        "mcp.bridge/protocol=http",
        "mcp.bridge/path=/mcp",
    ]);
    cluster.kubectl(&on).await?;
    // Each listing has the same tools as the other backend's: names get a prefix.
    let mut notices = spawn_blocking(move || -> Result<Exchange> {
        let told = notices.next_message()?.context("a notice")?;
        ensure!(told["method"] == "notifications/tools/list_changed", "{told}");
        Ok(notices)
    })
    .await??;
    let result = call(url.clone(), "found__echo", json!({ "message": "found" })).await?;
    ensure!(result["content"][0]["text"] == "found", "{result}");

    cluster.kubectl(&with(&["mcp.bridge/enabled-"])).await?;
    spawn_blocking(move || -> Result<()> {
        let told = notices.next_message()?.context("another notice")?;
        ensure!(told["method"] == "notifications/tools/list_changed", "{told}");
        Ok(())
    })
    .await??;
    let Err(error) = call(url, "found__echo", json!({ "message": "found" })).await else {
        anyhow::bail!("a Service that is annotated no more is served")
    };
    ensure!(error.to_string().contains("unknown tool"), "{error}");
    Ok(())
}

pub(crate) async fn a_person_reads_how_things_are(cluster: &'static Cluster) -> Result<()> {
    installed::operator(cluster).await?;
    installed::server(cluster, "reads", "fixture").await?;
    installed::gateway(cluster, "reads").await?;
    let broken = "
apiVersion: mcp.bridge/v1alpha1
kind: McpBackend
metadata: {name: broken, namespace: reads}
spec:
  gatewayRefs: [{name: main}]
  protocol: StreamableHTTP
  serviceRef: {name: nowhere, port: http}
";
    cluster.apply(broken).await?;
    installed::until_backend(cluster, ("reads", "broken"), ("ResolvedRefs", "False")).await?;
    let expected = "\
NAME                            REPLICAS   BACKENDS   TOOLS   PROGRAMMED   READY   AGE
mcpgateway.mcp.bridge/main      3          1          46      True         True    AGE

NAME                              PROTOCOL         ENDPOINTS   TOOLS   ACCEPTED   AVAILABLE   AGE
mcpbackend.mcp.bridge/broken      StreamableHTTP   0                   True       Unknown     AGE
mcpbackend.mcp.bridge/tools       StreamableHTTP   1           46      True       True        AGE
";
    let printed = cluster.kubectl(&["get", "mcpgw,mcpbe", "-n", "reads"]).await?;
    ensure!(without_ages(&printed) == without_ages(expected), "{printed}");
    Ok(())
}

/// A table whose last column is of one value; blanks of alignment are one.
pub(crate) fn without_ages(table: &str) -> Vec<String> {
    let row = |line: &str| {
        let mut words: Vec<_> = line.split_whitespace().collect();
        if let Some(age) = words.last_mut().filter(|age| age.ends_with('s') || age.ends_with('m')) {
            *age = "AGE";
        }
        words.join(" ")
    };
    table.lines().map(row).collect()
}
