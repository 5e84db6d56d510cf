//! Which annotated Services a gateway takes, while labels and its own wishes change. Changes when a gateway chooses by
//! something else.

use anyhow::{Context as _, Result, ensure};
use bridge_api::v1alpha1::McpGateway;
use bridge_cluster::Cluster;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::defects::until_told;
use crate::installed::{self, address, gateways};
use crate::serves::call;

const SPACE: &str = "chooses";
const TEAM: &str = "team-chosen";

pub(crate) async fn services_come_and_go_with_their_labels_and_with_the_namespaces_that_are_named(
    cluster: &'static Cluster,
) -> Result<()> {
    installed::operator(cluster).await?;
    cluster.namespace(SPACE).await?;
    installed::gateway_alone(cluster, SPACE).await?;
    installed::server(cluster, TEAM, "found").await?;
    chooses(cluster, &["team-*"]).await?;
    let url = format!("{}/mcp", address(cluster, SPACE, "main", 8080).await?);
    let change = |verb: &'static str, words: &[&'static str]| {
        [&[verb, "service", "found", "-n", TEAM, "--overwrite"], words].concat()
    };
    let on = ["mcp.bridge/enabled=true", "mcp.bridge/namespace=found", "mcp.bridge/path=/mcp"];
    cluster.kubectl(&change("annotate", &on)).await?;
    let refusal = ("NotAllowedByGateway", "spec.discovery.services.selector");
    until_told(cluster, (TEAM, "found"), refusal).await?;

    cluster.kubectl(&change("label", &["tier=gold"])).await?;
    until_served(cluster, 1).await?;
    let result = call(url.clone(), "echo", json!({ "message": "gold" })).await?;
    ensure!(result["content"][0]["text"] == "gold", "{result}");
    cluster.kubectl(&change("label", &["tier=silver"])).await?;
    until_served(cluster, 0).await?;
    cluster.kubectl(&change("label", &["tier=gold"])).await?;
    until_served(cluster, 1).await?;

    let generation = chooses(cluster, &["other-*", "team"]).await?;
    let programmed = |found: Option<&McpGateway>| {
        let conditions = found.and_then(|found| found.status.as_ref()?.conditions.as_ref());
        conditions.into_iter().flatten().any(|one| {
            (&*one.type_, &*one.status) == ("Programmed", "True") && one.observed_generation >= generation
        })
    };
    cluster.until(gateways(cluster, SPACE), "main", "Programmed again", programmed).await?;
    let Err(error) = call(url, "echo", json!({ "message": "gold" })).await else {
        anyhow::bail!("a Service of a namespace that is not named any more is served")
    };
    ensure!(error.to_string().contains("unknown tool"), "{error}");
    Ok(())
}

/// Lets the gateway take Services with a label, of these namespaces; the generation that says so.
async fn chooses(cluster: &Cluster, names: &[&str]) -> Result<Option<i64>> {
    let services = json!({
        "namespaces": { "from": "Names", "names": names },
        "selector": { "matchLabels": { "tier": "gold" } },
        "detectProtocols": false,
    });
    let patch: Value = json!({ "spec": { "discovery": { "services": services } } });
    let api = gateways(cluster, SPACE);
    let patched = api.patch("main", &PatchParams::default(), &Patch::Merge(patch)).await?;
    Ok(Some(patched.metadata.generation.context("a generation")?))
}

/// Waits until so many Services are served by every pod.
async fn until_served(cluster: &Cluster, services: i32) -> Result<()> {
    let served = |found: Option<&McpGateway>| {
        let status = found.and_then(|found| found.status.as_ref());
        let counts = status.and_then(|status| status.discovery.as_ref().zip(status.backends.as_ref()));
        counts.is_some_and(|(found, backends)| found.services == services && backends.available == services)
    };
    cluster.until(gateways(cluster, SPACE), "main", &format!("{services} Services"), served).await?;
    Ok(())
}
