//! From nothing to a tool call. Changes when what a user applies does.

use anyhow::{Result, ensure};
use bridge_cluster::Cluster;
use bridge_tests::ModernClient;
use serde_json::json;
use tokio::task::spawn_blocking;

use crate::installed::{self, address, pods, until_backend, until_gateway};

const GATEWAY: &str = "
apiVersion: mcp.bridge/v1alpha1
kind: McpGateway
metadata: {name: main, namespace: NAMESPACE}
spec:
  replicas: 3
  listeners: [{name: http, protocol: StreamableHTTP, port: 8080, path: /mcp, tls: {mode: Disabled}}]
  auth: {anonymous: Allow}
";

const BACKEND: &str = "
apiVersion: mcp.bridge/v1alpha1
kind: McpBackend
metadata: {name: tools, namespace: NAMESPACE}
spec:
  gatewayRefs: [{name: main}]
  protocol: StreamableHTTP
  serviceRef: {name: fixture, port: http}
";

pub(crate) async fn a_backend_is_served_by_the_pods_of_its_gateway(cluster: &'static Cluster) -> Result<()> {
    installed::operator(cluster).await?;
    installed::server(cluster, "serves", "fixture").await?;
    cluster.apply(&GATEWAY.replace("NAMESPACE", "serves")).await?;
    cluster.apply(&BACKEND.replace("NAMESPACE", "serves")).await?;
    until_backend(cluster, ("serves", "tools"), ("Programmed", "True")).await?;
    until_backend(cluster, ("serves", "tools"), ("Available", "True")).await?;
    until_gateway(cluster, ("serves", "main"), ("Ready", "True")).await?;
    let pods = pods(cluster, "serves", "main").await?;
    ensure!(pods.len() == 3, "{} pods", pods.len());
    let url = address(cluster, "serves", "main", 8080).await?;
    let called = spawn_blocking(move || {
        let mut client = ModernClient::new(&format!("{url}/mcp"), &json!({}))?;
        client
            .request("tools/call", &json!({ "name": "echo", "arguments": { "message": "hi" } }))?
            .into_result()
    });
    let result = called.await??;
    ensure!(result["content"][0]["text"] == "hi", "{result}");
    Ok(())
}
