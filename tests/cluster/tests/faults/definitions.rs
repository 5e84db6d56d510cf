//! The definitions of our resources go away, come back, or are older than the operator. Changes when it depends on them
//! otherwise.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bridge_api::v1alpha1::McpBackend;
use bridge_cluster::{Cluster, PATIENCE};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::time::{interval, timeout};

use crate::installed::{backends, gateways, printed, until_backend};
use crate::standing::{
    BACKEND, NAMESPACE, User, backend, expect_served, operators, remove, stand, until_served,
};

const NAME: &str = "mcpbackends.mcp.bridge";

fn definitions(cluster: &Cluster) -> Api<CustomResourceDefinition> {
    Api::all(cluster.client())
}

/// How often each operator has doubted a list.
fn doubts(cluster: &Cluster, operators: &[Pod]) -> Result<Vec<usize>> {
    let of = |pod: &Pod| Ok(cluster.log(pod, "operator")?.matches("a new list lacks what was there").count());
    operators.iter().map(of).collect()
}

/// Waits until every operator has doubted more lists than before.
async fn until_doubted(cluster: &Cluster, operators: &[Pod], before: &[usize]) -> Result<()> {
    let mut tick = interval(Duration::from_millis(50));
    let doubting = async {
        // Logs tell nobody when they grow.
        while doubts(cluster, operators)?.iter().zip(before).any(|(now, before)| now <= before) {
            tick.tick().await;
        }
        Ok(())
    };
    timeout(PATIENCE, doubting).await.context("the list is believed")?
}

pub(crate) async fn backends_stay_while_their_definition_is_away(cluster: &'static Cluster) -> Result<()> {
    let pods = stand(cluster).await?;
    cluster.apply(&backend(NAMESPACE, "second", "")).await?;
    until_served(&pods, "second").await?;
    let kept = cluster.kubectl(&["get", "mcpbackends", "-A", "-o", "json"]).await?;
    let users = [BACKEND, "second"].map(|backend| User::of(&pods, backend));
    let operators = operators(cluster).await?;
    // The API server deletes every object of the kind, and tells of each.
    definitions(cluster).delete(NAME, &DeleteParams::default()).await?;
    cluster.until(definitions(cluster), NAME, "is gone", |found| found.is_none()).await?;
    for operator in &operators {
        cluster.until_logged(operator, "operator", "the definition is being deleted").await?;
    }
    cluster
        .until(gateways(cluster, NAMESPACE), "main", "Programmed=OperatorDegraded", |found| {
            let conditions = found.and_then(|found| found.status.as_ref()?.conditions.as_ref());
            conditions.into_iter().flatten().any(|one| one.reason == "OperatorDegraded")
        })
        .await?;
    expect_served(&pods, "second").await?;
    let before = doubts(cluster, &operators)?;

    // All is applied again, as somebody does who sees the accident. Pods are not told of the time between.
    cluster.apply(&printed("crds")?).await?;
    let mut kept: Value = serde_json::from_str(&kept)?;
    let kept = kept["items"].as_array_mut().context("backends")?;
    kept.sort_by_key(|object| object["metadata"]["name"] != BACKEND);
    for object in kept {
        let metadata = &object["metadata"];
        let again = json!({
            "apiVersion": object["apiVersion"], "kind": object["kind"], "spec": object["spec"],
            "metadata": { "name": metadata["name"], "namespace": metadata["namespace"], "labels": metadata["labels"] },
        });
        cluster.apply(&again.to_string()).await?;
        // Operators look when at most the first one is there.
        until_doubted(cluster, &operators, &before).await?;
    }
    cluster.apply(&backend(NAMESPACE, "third", "")).await?;
    until_served(&pods, "third").await?;
    for user in users {
        user.end().await?;
    }
    for name in ["second", "third"] {
        remove(cluster, &pods, name).await?;
    }
    Ok(())
}

/// A definition from before `priority` was known: the API server drops it from what is applied, and the rest is served.
pub(crate) async fn an_older_definition_is_good_enough(cluster: &'static Cluster) -> Result<()> {
    let pods = stand(cluster).await?;
    let mut older = serde_json::to_value(definitions(cluster).get(NAME).await?.spec)?;
    let spec =
        older["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"].as_object_mut();
    spec.context("a schema")?.remove("priority").context("the field")?;
    let patch = Patch::Merge(json!({ "spec": { "versions": older["versions"] } }));
    definitions(cluster).patch(NAME, &PatchParams::default(), &patch).await?;
    let served = async {
        let newer = json!({
            "metadata": { "name": "newer" },
            "spec": {
                "gatewayRefs": [{ "name": "main" }],
                "protocol": "StreamableHTTP",
                "serviceRef": { "name": "fixture", "port": "http" },
                "priority": 7,
            },
        });
        let newer: McpBackend = serde_json::from_value(newer)?;
        backends(cluster, NAMESPACE).create(&PostParams::default(), &newer).await?;
        let stored = backends(cluster, NAMESPACE).get("newer").await?;
        ensure!(stored.spec.priority.is_none(), "the schema is not older");
        until_served(&pods, "newer").await?;
        until_backend(cluster, (NAMESPACE, "newer"), ("Programmed", "True")).await?;
        remove(cluster, &pods, "newer").await
    };
    let outcome = Box::pin(served).await;
    cluster.apply(&printed("crds")?).await?;
    outcome
}
