//! The pods that the operator makes of a stdio backend. Changes when such a pod needs something else.

use anyhow::{Context as _, Result, ensure};
use bridge_cluster::{Cluster, root};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use serde_json::{Value, json};

const NAMESPACE: &str = "adapter";

/// What the operator makes, as it was reviewed, but of our server.
fn objects() -> Result<Vec<Value>> {
    let reviewed = std::fs::read(root().join("operator/tests/golden/owned-adapter.json"))?;
    let mut objects: Vec<Value> = serde_json::from_slice(&reviewed)?;
    for object in &mut objects {
        object["metadata"]["namespace"] = json!(NAMESPACE);
        // There is no backend that owns them.
        object["metadata"].as_object_mut().context("metadata")?.remove("ownerReferences");
        let Some(container) = object.pointer_mut("/spec/template/spec/containers/0") else { continue };
        container["image"] = json!("example.test/mcp-test-server:1");
        let command = container["command"].as_array_mut().context("a command")?;
        let end = command.iter().position(|word| word == "--").context("the server's command")?;
        command.truncate(end + 1);
        command.extend(["mcp-test-server", "--transport", "stdio", "--era", "legacy"].map(Value::from));
    }
    Ok(objects)
}

async fn pod(cluster: &Cluster) -> Result<Pod> {
    let pods: Api<Pod> = Api::namespaced(cluster.client(), NAMESPACE);
    pods.list(&ListParams::default()).await?.items.into_iter().next().context("a pod")
}

pub(crate) async fn a_stdio_server_is_served_from_a_pod_of_its_own(cluster: &'static Cluster) -> Result<()> {
    cluster.namespace(NAMESPACE).await?;
    let documents: Vec<_> = objects()?.iter().map(Value::to_string).collect();
    cluster.apply(&documents.join("\n---\n")).await?;
    // Ready is what the server has answered once.
    cluster.until_available(NAMESPACE, "mcpbe-weather").await?;
    let pod = pod(cluster).await?;
    let address = pod.status.as_ref().and_then(|status| status.pod_ip.clone()).context("an address")?;
    let answer = super::workloads::initialize(&format!("{address}:8080")).await?;
    ensure!(answer.starts_with("HTTP/1.1 200") && answer.contains("mcp-test-server"), "{answer}");

    // It drains within the time that a pod has, and nothing keeps it.
    let name = pod.metadata.name.clone().context("a name")?;
    let pods: Api<Pod> = Api::namespaced(cluster.client(), NAMESPACE);
    pods.delete(&name, &DeleteParams::default()).await?;
    cluster.until_logged(&pod, "server", "\"stopped\"").await?;
    cluster.until(pods, &name, "is gone", |pod| pod.is_none()).await?;
    Ok(())
}
