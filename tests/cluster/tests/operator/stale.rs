//! A replica whose view of a spec is old without its knowing. Changes when what keeps it from writing does.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bridge_cluster::{Cluster, PATIENCE};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use tokio::time::{interval, timeout};

use crate::faulty::{Faults, Faulty};
use crate::installed;

const SPACE: &str = "stale";
const LEASE: &str = "mcp-bridge-operator.stale";
const OBJECT: &str = "/apis/apps/v1/namespaces/stale/deployments/main-mcpgw";

/// A gateway of a class that no installed operator serves. Its pods are nothing to this test.
const GATEWAY: &str = "
apiVersion: mcp.bridge/v1alpha1
kind: McpGateway
metadata: {name: main, namespace: stale}
spec:
  className: stale
  replicas: 1
  listeners: [{name: http, protocol: StreamableHTTP, port: 8080, path: /mcp, tls: {mode: Disabled}}]
  auth: {anonymous: Allow}
";

pub(crate) async fn a_replica_with_an_old_view_undoes_nothing(cluster: &'static Cluster) -> Result<()> {
    installed::operator(cluster).await?;
    cluster.namespace(SPACE).await?;
    cluster.apply(GATEWAY).await?;
    let old = Faults::none();
    let stale = start(cluster, &old, "old", 19445).await?;
    until_replicas(cluster, 1).await?;

    // It hears nothing of gateways any more, though it is answered, and sees everything else.
    old.keep_back(true);
    old.without_lease(true);
    leases(cluster).delete(LEASE, &DeleteParams::default()).await?;
    let fresh = start(cluster, &Faults::none(), "fresh", 19446).await?;
    until_holder(cluster, "fresh").await?;
    change(cluster, json!({ "replicas": 2 })).await?;
    let written = until_replicas(cluster, 2).await?;
    let budgets: Api<PodDisruptionBudget> = Api::namespaced(cluster.client(), SPACE);
    let budget = cluster.until(budgets.clone(), "main-mcpgw", "exists", |found| found.is_some()).await?;

    // The one that knows is gone, and the other writes.
    fresh.kill().await?;
    leases(cluster).delete(LEASE, &DeleteParams::default()).await?;
    old.without_lease(false);
    until_holder(cluster, "old").await?;
    // It compares, more than once.
    let before = asked(&old);
    let mut look = interval(Duration::from_millis(50));
    let compared = async {
        while asked(&old) < before + 2 {
            look.tick().await;
        }
    };
    timeout(PATIENCE, compared).await.context("it compares nothing")?;
    let now = deployments(cluster).get("main-mcpgw").await?;
    ensure!(
        (replicas(&now), now.metadata.generation) == (Some(2), written.metadata.generation),
        "the old spec was written over the new one: {now:?}"
    );
    let kept = budgets.get("main-mcpgw").await?;
    ensure!(Some(kept.uid()) == budget.map(|budget| budget.uid()), "the budget was deleted");

    // What it hears of again it acts upon.
    old.keep_back(false);
    change(cluster, json!({ "replicas": 3 })).await?;
    until_replicas(cluster, 3).await?;
    stale.kill().await
}

async fn start(
    cluster: &Cluster,
    faults: &std::sync::Arc<Faults>,
    replica: &str,
    port: u16,
) -> Result<Faulty> {
    let listen = format!("0.0.0.0:{port}");
    let flags = ["--class", SPACE, "--namespace", SPACE, "--replica", replica];
    // Two replicas of one installation say the same to pods.
    let same = ["--advertise", "10.244.0.1:19445", "--advertise", "10.244.0.1:19446"];
    let flags = [&flags[..], &["--listen", &listen], &same].concat();
    Faulty::start(cluster, faults, &flags).await
}

/// How often it has looked at the Deployment, or written to it.
fn asked(faults: &Faults) -> usize {
    faults.asked(&format!("GET {OBJECT}")) + faults.asked(&format!("PATCH {OBJECT}"))
}

fn leases(cluster: &Cluster) -> Api<Lease> {
    Api::namespaced(cluster.client(), SPACE)
}

fn deployments(cluster: &Cluster) -> Api<Deployment> {
    Api::namespaced(cluster.client(), SPACE)
}

fn replicas(found: &Deployment) -> Option<i32> {
    found.spec.as_ref()?.replicas
}

async fn change(cluster: &Cluster, spec: Value) -> Result<()> {
    let change = Patch::Merge(json!({ "spec": spec }));
    installed::gateways(cluster, SPACE).patch("main", &PatchParams::default(), &change).await?;
    Ok(())
}

async fn until_replicas(cluster: &Cluster, wanted: i32) -> Result<Deployment> {
    let found = cluster.until(deployments(cluster), "main-mcpgw", "has the number", |found| {
        found.and_then(replicas) == Some(wanted)
    });
    found.await?.context("a Deployment")
}

async fn until_holder(cluster: &Cluster, replica: &str) -> Result<()> {
    let held = cluster.until(leases(cluster), LEASE, "is held by the one", |found| {
        let holder = found.and_then(|found| found.spec.as_ref()?.holder_identity.as_deref());
        holder.is_some_and(|holder| holder.starts_with(replica))
    });
    held.await.map(drop)
}
