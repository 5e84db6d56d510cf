//! Pods without any operator. Changes when they need one for something else.

use anyhow::{Context as _, Result, ensure};
use bridge_cluster::Cluster;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt as _};

use crate::installed::{SYSTEM, gateways};
use crate::standing::{
    BACKEND, CONNECTED, NAMESPACE, backend, expect_served, metric, operators, pods, remove, stand, until_led,
    until_metric, until_served,
};

async fn scale(cluster: &Cluster, replicas: u8) -> Result<()> {
    let document = format!(
        "{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: mcp-bridge-operator, namespace: {SYSTEM}}}, \
         spec: {{replicas: {replicas}}}}}"
    );
    cluster.apply_partly(&document).await.map(drop)
}

/// Waits until what a cold start needs is what pods serve: it is written behind, and at most every half minute.
async fn until_saved(cluster: &Cluster) -> Result<()> {
    let served =
        gateways(cluster, NAMESPACE).get("main").await?.status.and_then(|status| status.config?.hash);
    let served = served.context("a configuration")?;
    let secrets: Api<Secret> = Api::namespaced(cluster.client(), NAMESPACE);
    let saved = |secret: Option<&Secret>| {
        let parts = secret.and_then(|secret| secret.data.as_ref()).into_iter().flat_map(|data| data.values());
        let text: Vec<u8> = parts.flat_map(|part| part.0.iter().copied()).collect();
        let saved: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
        saved["digest"] == served.as_str()
    };
    cluster.until(secrets, "main-mcpgw-snapshot-0", "holds what is served", saved).await.map(drop)
}

pub(crate) async fn new_pods_serve_what_was_saved_while_there_is_no_operator(
    cluster: &'static Cluster,
) -> Result<()> {
    let before = stand(cluster).await?;
    until_saved(cluster).await?;
    let gone = operators(cluster).await?;
    scale(cluster, 0).await?;
    let api: Api<Pod> = Api::namespaced(cluster.client(), SYSTEM);
    for pod in &gone {
        cluster.until(api.clone(), &pod.name_any(), "is gone", |found| found.is_none()).await?;
    }
    // What was configured stays without them.
    expect_served(&before, BACKEND).await?;
    cluster.apply(&backend(NAMESPACE, "unseen", "")).await?;

    let api: Api<Pod> = Api::namespaced(cluster.client(), NAMESPACE);
    let all = ListParams::default().labels("mcp.bridge/gateway=main");
    api.delete_collection(&DeleteParams::default(), &all).await?;
    for pod in &before {
        cluster.until(api.clone(), &pod.name_any(), "is gone", |found| found.is_none()).await?;
    }
    cluster.until_available(NAMESPACE, "main-mcpgw").await?;
    let after = pods(cluster, NAMESPACE).await?;
    ensure!(after.len() == before.len(), "{} pods", after.len());
    until_served(&after, BACKEND).await?;
    for pod in &after {
        ensure!(metric(pod, CONNECTED).await? == 0, "there is an operator");
    }

    scale(cluster, 2).await?;
    until_led(cluster).await?;
    until_metric(&after, CONNECTED, |value| value == 1).await?;
    until_served(&after, "unseen").await?;
    remove(cluster, &after, "unseen").await
}
