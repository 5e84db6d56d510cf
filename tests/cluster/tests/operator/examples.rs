//! The example resources as they stand, from `kubectl apply` to calls of their tools. Changes when an example does.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bridge_cluster::{Cluster, PATIENCE, Program, root};
use bridge_tests::script::{self, Client};
use bridge_tests::tokens::Issuer;
use serde_json::{Value, json};
use tokio::task::spawn_blocking;
use tokio::time::{interval, timeout};

use crate::installed::{self, SYSTEM, address};
use crate::serves::without_ages;

const KEY: &str = "a key of the example, of at least 32 bytes";
const TEAM: &str = "team-a";
const FILES: [&str; 3] = ["gateway", "backends", "annotated-service"];

/// Each fixture server has 46 tools, and those that its options add; the filter of `k8s-tools` leaves two.
const TABLE: &str = "\
NAMESPACE    NAME                      REPLICAS   BACKENDS   TOOLS   PROGRAMMED   READY   AGE
mcp-system   mcpgateway.mcp.bridge/main   3   3   97   True   True   AGE
NAMESPACE    NAME                      PROTOCOL   ENDPOINTS   TOOLS   ACCEPTED   AVAILABLE   AGE
team-a   mcpbackend.mcp.bridge/k8s-tools   StreamableHTTP   1   2   True   True   AGE
team-a   mcpbackend.mcp.bridge/weather     Stdio            1   47   True   True   AGE
";

/// The image of the example of a stdio backend: Python, and a program of that name.
pub(crate) fn weather() -> Result<Program> {
    let script = root().join("tests/cluster/tests/operator/images/weather_server.py");
    let fixture = Program::at(root().join("target/debug/mcp-test-server"))?;
    Ok(fixture.file("/usr/bin/python3", "/usr/local/bin/python").file(script, "/weather_server.py"))
}

async fn kubectl(cluster: &Cluster, verb: &str) -> Result<()> {
    for file in FILES {
        let path = root().join(format!("deploy/examples/kubernetes/{file}.yaml"));
        cluster.kubectl(&[verb, "-f", path.to_str().context("a path of UTF-8")?]).await?;
    }
    Ok(())
}

/// What the examples say is theirs: a namespace with their label, Secrets and servers.
async fn around(cluster: &Cluster) -> Result<()> {
    cluster.namespace(TEAM).await?;
    cluster.kubectl(&["label", "namespace", TEAM, "mcp.bridge/tenant=true"]).await?;
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    for (namespace, name, kind, data) in [
        (
            SYSTEM,
            "gateway-tls",
            "kubernetes.io/tls",
            [("tls.crt", made.cert.pem()), ("tls.key", made.signing_key.serialize_pem())].as_slice(),
        ),
        (SYSTEM, "jwt", "Opaque", &[("secret", KEY.to_owned())]),
        (SYSTEM, "redis", "Opaque", &[("password", "nobody asks".to_owned())]),
        (TEAM, "k8s-tools", "Opaque", &[("token", "of the server".to_owned())]),
    ] {
        let data: Value =
            data.iter().map(|(key, value)| ((*key).to_owned(), STANDARD.encode(value))).collect();
        let metadata = json!({ "name": name, "namespace": namespace });
        let secret =
            json!({ "apiVersion": "v1", "kind": "Secret", "type": kind, "data": data, "metadata": metadata });
        cluster.apply(&secret.to_string()).await?;
    }
    installed::deployment(cluster, (SYSTEM, "search"), &["--tool", "search", "--tool", "suggest"]).await?;
    let names = ["--tool", "getPods", "--tool", "getLogs"];
    installed::deployment(cluster, (TEAM, "mcp-k8s-tools"), &names).await?;
    installed::service(cluster, (TEAM, "mcp-k8s-tools")).await
}

/// Calls of tools by a published client with these scopes: their results or errors.
async fn calls(client: Client, url: &str, scopes: &str, tools: &[&str]) -> Result<Vec<Value>> {
    let step = |tool: &&str| json!({ "do": "call_tool", "name": tool, "arguments": { "message": tool } });
    let steps: Vec<_> = tools.iter().map(step).collect();
    let token = Issuer::secret(KEY).token_with("alice", &json!({ "scope": scopes }))?;
    let (url, plan) = (url.to_owned(), json!({ "token": token, "steps": steps }));
    let mut report = spawn_blocking(move || script::run(client, &url, &plan)).await??;
    let steps = report["steps"].as_array_mut().context("steps")?;
    Ok(std::mem::take(steps))
}

/// Waits until `kubectl get` prints [`TABLE`]; other tests have resources elsewhere.
async fn reads_well(cluster: &Cluster) -> Result<()> {
    let mut look = interval(Duration::from_millis(250));
    let mut printed = Vec::new();
    let as_expected = async {
        loop {
            look.tick().await;
            let all = cluster.kubectl(&["get", "mcpgw,mcpbe", "-A"]).await?;
            printed = without_ages(&all);
            // Of the three to twenty pods of the example, as many run as its autoscaler thinks that the machine needs.
            for line in &mut printed {
                for number in 4..=20 {
                    let scaled = format!("mcpgateway.mcp.bridge/main {number} ");
                    *line = line.replace(&scaled, "mcpgateway.mcp.bridge/main 3 ");
                }
            }
            let ours = |line: &String| {
                ["NAMESPACE ", "mcp-system ", "team-a "].iter().any(|of| line.starts_with(of))
            };
            printed.retain(ours);
            if printed == without_ages(TABLE) {
                return anyhow::Ok(());
            }
        }
    };
    match timeout(PATIENCE, as_expected).await {
        Ok(outcome) => outcome,
        Err(_) => anyhow::bail!("{printed:#?}"),
    }
}

pub(crate) async fn the_examples_serve_as_they_stand(cluster: &'static Cluster) -> Result<()> {
    installed::operator(cluster).await?;
    around(cluster).await?;
    kubectl(cluster, "apply").await?;
    installed::until_gateway(cluster, (SYSTEM, "main"), ("Ready", "True")).await?;
    for backend in ["k8s-tools", "weather"] {
        installed::until_backend(cluster, (TEAM, backend), ("Available", "True")).await?;
    }
    reads_well(cluster).await?;

    let url = format!("{}/mcp", address(cluster, SYSTEM, "main", 8080).await?);
    for client in [Client::RmcpLegacy, Client::RmcpModern] {
        // The filter of a backend, the stdio backend and the annotated Service. All fixtures but the first have an `echo`.
        let tools = ["getPods", "weather", "search", "weather__echo", "search__echo", "getLogs"];
        let done = calls(client, &url, "logs.read", &tools).await?;
        for (tool, step) in tools.iter().zip(&done) {
            ensure!(step["result"]["content"][0]["text"] == *tool, "{client:?}: {step}");
        }
        let done = calls(client, &url, "other", &["getPods", "k8s__echo", "getLogs"]).await?;
        ensure!(done[0]["result"]["content"][0]["text"] == "getPods", "{client:?}: {}", done[0]);
        ensure!(done[1]["error"]["message"].is_string(), "a tool that is not included: {}", done[1]);
        let refusal = done[2]["error"]["message"].as_str().unwrap_or_default();
        ensure!(refusal.contains("scope"), "{client:?}, without its scope: {}", done[2]);
    }
    installed::until_refused(cluster, &url).await?;

    // The cluster is shared with other tests.
    kubectl(cluster, "delete").await
}
