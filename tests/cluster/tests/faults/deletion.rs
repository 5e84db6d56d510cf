//! Gateways that go away while something else is going on. Changes when they leave in another way.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bridge_cluster::{Cluster, PATIENCE};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::DeleteParams;
use kube::{Api, ResourceExt as _};
use tokio::time::{interval, timeout};

use crate::installed::{self, SYSTEM, gateways, until_gateway};
use crate::standing::{self, gateway};

/// What a namespace may take; more would mean that something waits for an operator.
const MOST: Duration = Duration::from_mins(1);

pub(crate) async fn a_namespace_goes_with_everything_in_it(cluster: &'static Cluster) -> Result<()> {
    standing::make(cluster, "goes", 2).await?;
    let gone = timeout(MOST, cluster.delete_namespace("goes")).await;
    gone.context("it is still there")??;
    let refused = cluster.audit()?.into_iter().filter(|request| {
        let after = request.response_status.as_ref().is_some_and(|status| status.code == 404);
        request.is_of(SYSTEM, "mcp-bridge-operator")
            && request.writes()
            && after
            && request.object_ref.as_ref().is_some_and(|object| object.namespace == "goes")
    });
    // One pass of the writer may come too late; more would be a loop.
    let refused = refused.count();
    ensure!(refused <= 16, "{refused} writes into a namespace that is gone");
    Ok(())
}

pub(crate) async fn a_gateway_that_is_deleted_while_it_scales_leaves_nothing(
    cluster: &'static Cluster,
) -> Result<()> {
    installed::operator(cluster).await?;
    cluster.namespace("leaves").await?;
    cluster.apply(&gateway("leaves", 1)).await?;
    until_gateway(cluster, ("leaves", "main"), ("Ready", "True")).await?;
    cluster.apply(&gateway("leaves", 4)).await?;
    let deployments: Api<Deployment> = Api::namespaced(cluster.client(), "leaves");
    let scaling = |found: Option<&Deployment>| {
        found.and_then(|found| found.status.as_ref()?.replicas).is_some_and(|replicas| replicas > 1)
    };
    cluster.until(deployments, "main-mcpgw", "has more pods", scaling).await?;
    let uid = gateways(cluster, "leaves").get("main").await?.uid().context("a uid")?;
    gateways(cluster, "leaves").delete("main", &DeleteParams::default()).await?;
    until_nothing_is_left(cluster, "leaves", &uid).await?;

    // By the time another one stands, a late write would have made something again.
    cluster.apply(&gateway("leaves", 1).replace("name: main", "name: next")).await?;
    until_gateway(cluster, ("leaves", "next"), ("Ready", "True")).await?;
    ensure!(left(cluster, "leaves", &uid).await?.is_empty(), "something is made again");
    Ok(())
}

/// Kinds and names of objects with the label of a gateway, or that it owns.
async fn left(cluster: &Cluster, namespace: &str, uid: &str) -> Result<Vec<String>> {
    let kinds = "deployments,replicasets,pods,services,endpointslices,configmaps,secrets,serviceaccounts,\
                 poddisruptionbudgets,horizontalpodautoscalers,networkpolicies";
    let listed = cluster.kubectl(&["get", kinds, "-n", namespace, "-o", "json"]).await?;
    let listed: serde_json::Value = serde_json::from_str(&listed)?;
    let ours = listed["items"].as_array().into_iter().flatten().filter(|item| {
        let owned = item["metadata"]["ownerReferences"].as_array().into_iter().flatten();
        owned.into_iter().any(|owner| owner["uid"] == uid)
            || item["metadata"]["labels"]["mcp.bridge/gateway"] == "main"
    });
    Ok(ours.map(|item| format!("{} {}", item["kind"], item["metadata"]["name"])).collect())
}

async fn until_nothing_is_left(cluster: &Cluster, namespace: &str, uid: &str) -> Result<()> {
    // Of many kinds, which no one watch tells of.
    let mut tick = interval(Duration::from_millis(250));
    let mut last = Vec::new();
    let looking = async {
        loop {
            tick.tick().await;
            last = left(cluster, namespace, uid).await?;
            if last.is_empty() {
                return anyhow::Ok(());
            }
        }
    };
    let outcome = timeout(PATIENCE, looking).await;
    outcome.with_context(|| format!("still there: {last:?}"))?
}
