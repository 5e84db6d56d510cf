//! What goes wrong is told, and nothing else is lost. Changes when another defect has to be survived.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use bridge_api::v1alpha1::McpGateway;
use bridge_cluster::{Cluster, PATIENCE};
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;
use tokio::time::{interval, timeout};

use crate::installed::{self, address};
use crate::serves::call;

/// The Events of an object, by reason.
pub(crate) async fn events(cluster: &Cluster, namespace: &str, name: &str) -> Result<Vec<(String, String)>> {
    let api: Api<Event> = Api::namespaced(cluster.client(), namespace);
    let found = api.list(&ListParams::default()).await?.items.into_iter();
    let of_it =
        found.filter(|event| event.regarding.as_ref().is_some_and(|it| it.name.as_deref() == Some(name)));
    Ok(of_it.map(|event| (event.reason.unwrap_or_default(), event.note.unwrap_or_default())).collect())
}

/// Waits until there is an Event of an object with these words: it is sent after the status was written.
pub(crate) async fn until_told(
    cluster: &Cluster,
    (namespace, name): (&str, &str),
    (reason, words): (&str, &str),
) -> Result<()> {
    let mut tick = interval(Duration::from_millis(200));
    let mut told = Vec::new();
    let telling = async {
        loop {
            tick.tick().await;
            told = events(cluster, namespace, name).await?;
            if told.iter().any(|(of, note)| of == reason && note.contains(words)) {
                return Ok(());
            }
        }
    };
    match timeout(PATIENCE, telling).await {
        Ok(result) => result,
        Err(_elapsed) => bail!("no Event {reason} with {words} of {namespace}/{name}: {told:?}"),
    }
}

fn condition<'a>(gateway: &'a McpGateway, kind: &str) -> Option<(&'a str, &'a str, &'a str)> {
    let conditions = gateway.status.as_ref()?.conditions.as_ref()?;
    let found = conditions.iter().find(|found| found.type_ == kind)?;
    Some((&*found.status, &*found.reason, &*found.message))
}

pub(crate) async fn what_a_pod_cannot_do_is_rejected_by_name_and_the_rest_is_served(
    cluster: &'static Cluster,
) -> Result<()> {
    installed::operator(cluster).await?;
    installed::server(cluster, "rejects", "fixture").await?;
    installed::gateway(cluster, "rejects").await?;
    let gateways = installed::gateways(cluster, "rejects");
    // Another container of the pod has the port, which the operator cannot know.
    let listeners = json!([
        { "name": "http", "protocol": "StreamableHTTP", "port": 8080, "path": "/mcp", "tls": { "mode": "Disabled" } },
        { "name": "taken", "protocol": "StreamableHTTP", "port": 7777, "path": "/mcp", "tls": { "mode": "Disabled" } },
    ]);
    let sidecar = json!({ "spec": { "initContainers": [{
        "name": "sidecar", "image": "example.test/mcp-test-server:1", "restartPolicy": "Always",
        "args": ["--transport", "http", "--host", "0.0.0.0", "--port", "7777"],
        "startupProbe": { "tcpSocket": { "port": 7777 }, "periodSeconds": 1 },
    }] } });
    let change = json!({ "spec": { "listeners": listeners, "podTemplate": sidecar } });
    gateways.patch("main", &PatchParams::default(), &Patch::Merge(change)).await?;
    let found = cluster.until(gateways.clone(), "main", "Programmed=False/Rejected", |found| {
        found
            .and_then(|found| condition(found, "Programmed"))
            .is_some_and(|(_, reason, _)| reason == "Rejected")
    });
    let found = found.await?.context("a gateway")?;
    let (.., message) = condition(&found, "Programmed").context("Programmed")?;
    ensure!(message.contains("taken") && message.contains("7777"), "{message}");
    until_told(cluster, ("rejects", "main"), ("ConfigRejected", "7777")).await?;

    // What was served is served.
    let url = format!("{}/mcp", address(cluster, "rejects", "main", 8080).await?);
    let result = call(url, "echo", json!({ "message": "still" })).await?;
    ensure!(result["content"][0]["text"] == "still", "{result}");

    let mended = json!({ "spec": { "listeners": [listeners[0]], "podTemplate": null } });
    gateways.patch("main", &PatchParams::default(), &Patch::Merge(mended)).await?;
    installed::until_gateway(cluster, ("rejects", "main"), ("Programmed", "True")).await?;
    Ok(())
}

pub(crate) async fn a_gateway_whose_keys_are_missing_lets_nobody_in(cluster: &'static Cluster) -> Result<()> {
    installed::operator(cluster).await?;
    installed::server(cluster, "keyless", "fixture").await?;
    installed::gateway(cluster, "keyless").await?;
    let url = format!("{}/mcp", address(cluster, "keyless", "main", 8080).await?);
    call(url.clone(), "echo", json!({ "message": "before" })).await?;
    let provider = json!({ "name": "local", "issuer": "i", "audiences": ["a"], "hmacSecretRef": { "name": "jwt", "key": "secret" } });
    let auth = json!({ "spec": { "auth": { "anonymous": null, "jwt": { "providers": [provider] } } } });
    installed::gateways(cluster, "keyless")
        .patch("main", &PatchParams::default(), &Patch::Merge(auth))
        .await?;
    let found = installed::until_gateway(cluster, ("keyless", "main"), ("ResolvedRefs", "False")).await?;
    let (_, reason, message) = condition(&found, "ResolvedRefs").context("ResolvedRefs")?;
    ensure!(reason == "SecretNotFound" && message.contains("jwt"), "{reason}: {message}");
    installed::until_refused(cluster, &url).await
}
