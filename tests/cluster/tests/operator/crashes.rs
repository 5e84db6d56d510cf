//! An operator that ends in the middle of its work, at every step of it. Changes when its work has another kind of step.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use bridge_cluster::Cluster;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{DeleteParams, DynamicObject, ListParams};
use kube::{Api, ResourceExt as _};
use mcp_operator::desired::OwnedKind;

use crate::faulty::{Faults, Faulty, Moment};
use crate::installed;

/// So many operators get no further than one write; each one after those gets one further.
const STEPS: usize = 12;
/// More operators than there are steps to take.
const MOST: usize = 60;

/// A gateway of a class that no installed operator serves, and its backend.
const GATEWAY: &str = "
apiVersion: mcp.bridge/v1alpha1
kind: McpGateway
metadata: {name: main, namespace: NAMESPACE}
spec:
  className: NAMESPACE
  replicas: 2
  listeners: [{name: http, protocol: StreamableHTTP, port: 8080, path: /mcp, tls: {mode: Disabled}}]
  auth: {anonymous: Allow}
---
apiVersion: mcp.bridge/v1alpha1
kind: McpBackend
metadata: {name: tools, namespace: NAMESPACE}
spec:
  gatewayRefs: [{name: main}]
  protocol: StreamableHTTP
  serviceRef: {name: fixture, port: http}
";

pub(crate) async fn an_operator_that_ends_before_any_of_its_writes_is_continued(
    cluster: &'static Cluster,
) -> Result<()> {
    Box::pin(continued(cluster, "crash-before", 19443, Moment::Before)).await
}

pub(crate) async fn an_operator_that_ends_after_any_of_its_writes_is_continued(
    cluster: &'static Cluster,
) -> Result<()> {
    Box::pin(continued(cluster, "crash-after", 19444, Moment::After)).await
}

async fn continued(cluster: &'static Cluster, space: &str, port: u16, moment: Moment) -> Result<()> {
    installed::operator(cluster).await?;
    installed::server(cluster, space, "fixture").await?;
    cluster.apply(&GATEWAY.replace("NAMESPACE", space)).await?;
    let uid = installed::gateways(cluster, space).get("main").await?.uid().context("a uid")?;
    let leases: Api<Lease> = Api::namespaced(cluster.client(), space);
    let (listen, advertise) = (format!("0.0.0.0:{port}"), format!("10.244.0.1:{port}"));
    let (mut pods, mut crashes) = (BTreeMap::new(), 0_usize);
    loop {
        let faults = Faults::after(crashes.saturating_sub(STEPS).max(1), moment);
        let replica = format!("crash-{crashes}");
        let flags = ["--class", space, "--namespace", space, "--replica", &replica];
        let flags = [&flags[..], &["--listen", &listen, "--advertise", &advertise]].concat();
        let operator = Faulty::start(cluster, &faults, &flags).await?;
        let done = tokio::select! {
            // When it is done and has still not been cut, the work is done without another write.
            done = settled(cluster, space) => Some(done?),
            () = faults.until_cut() => None,
        };
        operator.kill().await?;
        objects(cluster, space, &uid).await?;
        same_pods(cluster, space, &mut pods).await?;
        if done.is_some() {
            break;
        }
        crashes += 1;
        ensure!(crashes < MOST, "it does not come to an end");
        // Time passes: what the one that ended held would expire.
        let expired = leases.delete(&format!("mcp-bridge-operator.{space}"), &DeleteParams::default()).await;
        if let Err(error) = expired {
            ensure!(matches!(&error, kube::Error::Api(status) if status.code == 404), "{error}");
        }
    }
    ensure!(crashes > STEPS / 2, "only {crashes} steps");
    ensure!(pods.len() == 2, "{pods:?}");
    let found = objects(cluster, space, &uid).await?;
    let expected = [
        "ConfigMap main-mcpgw-bootstrap",
        "Deployment main-mcpgw",
        "PodDisruptionBudget main-mcpgw",
        "Secret main-mcpgw-snapshot-0",
        "Service main",
        "Service main-mcpgw-pods",
        "ServiceAccount main-mcpgw",
    ];
    ensure!(found.iter().eq(expected), "{found:?}");
    Ok(())
}

/// Until users are served and people are told so.
async fn settled(cluster: &Cluster, space: &str) -> Result<()> {
    installed::until_backend(cluster, (space, "tools"), ("Programmed", "True")).await?;
    installed::until_gateway(cluster, (space, "main"), ("Ready", "True")).await?;
    Ok(())
}

/// Every object of the gateway; each is owned by it, and there is one set of pods at most.
async fn objects(cluster: &Cluster, space: &str, uid: &str) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for kind in OwnedKind::ALL.into_iter().filter(|kind| *kind != OwnedKind::ServiceMonitor) {
        let resource = kind.resource();
        let api: Api<DynamicObject> = Api::namespaced_with(cluster.client(), space, &resource);
        let managed = ListParams::default().labels("app.kubernetes.io/managed-by=mcp-bridge-operator");
        for object in api.list(&managed).await? {
            let name = format!("{} {}", resource.kind, object.name_any());
            let owners: Vec<_> = object.owner_references().iter().map(|owner| &*owner.uid).collect();
            ensure!(owners == [uid], "{name} belongs to {owners:?}");
            found.insert(name);
        }
    }
    let sets: Api<ReplicaSet> = Api::namespaced(cluster.client(), space);
    let of_gateway = ListParams::default().labels("mcp.bridge/gateway=main");
    ensure!(sets.list(&of_gateway).await?.items.len() <= 1, "the pods were replaced");
    Ok(found)
}

/// A pod that was there is there.
async fn same_pods(cluster: &Cluster, space: &str, known: &mut BTreeMap<String, String>) -> Result<()> {
    let found: BTreeMap<_, _> = installed::pods(cluster, space, "main")
        .await?
        .into_iter()
        .map(|pod| (pod.uid().unwrap_or_default(), pod.name_any()))
        .collect();
    let gone: Vec<_> = known.iter().filter(|(uid, _)| !found.contains_key(*uid)).collect();
    ensure!(gone.is_empty(), "{gone:?} of {known:?} are gone");
    *known = found;
    Ok(())
}
