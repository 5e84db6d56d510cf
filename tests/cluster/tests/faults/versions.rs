//! Two versions of the operator side by side, as while one replaces the other. Changes when they leave each other something
//! else to do.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bridge_api::meta::{MANAGER, SNAPSHOT_MANAGER, STATUS_MANAGER};
use bridge_cluster::{Cluster, PATIENCE, Request, Signal, root};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::core::DynamicObject;
use kube::{Api, ResourceExt as _};
use mcp_operator::desired::OwnedKind;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::installed::{SYSTEM, backends, gateways, until_backend};
use crate::leader::{one_writer_at_a_time, resource, writes};
use crate::standing::{
    API_SERVER, BACKEND, NAMESPACE, User, backend, holder, operators, pods, remove, stand, until_leader,
    until_led, until_served,
};

/// The other version, and the Deployment that runs it.
pub(crate) const NEXT_PROGRAM: &str = env!("CARGO_BIN_EXE_mcp-operator-next");
const NEXT: &str = "mcp-bridge-operator-next";
const NOW: &str = "mcp-bridge-operator";
/// How often the one that writes is killed: each version follows the other.
const DEATHS: usize = 3;
/// Whoever writes nothing for so long has nothing to write.
const REST: Duration = Duration::from_secs(5);
/// Label of objects: version of the operator that wrote them.
const VERSION: &str = "app.kubernetes.io/version";

/// The Deployment of the operator, with a pod of the other version.
fn next() -> Result<String> {
    let text = fs::read_to_string(root().join("tests/cluster/tests/operator/operator.yaml"))?;
    let all: Vec<Value> = serde_saphyr::from_multiple(&text)?;
    let mut deployment = all.into_iter().next().context("a Deployment")?;
    let labels = json!({ "app.kubernetes.io/name": NOW, "build": "next" });
    deployment["metadata"]["name"] = NEXT.into();
    deployment["spec"]["replicas"] = 1.into();
    deployment["spec"]["selector"]["matchLabels"] = labels.clone();
    deployment["spec"]["template"]["metadata"]["labels"] = labels;
    deployment["spec"]["template"]["spec"]["containers"][0]["image"] =
        "example.test/mcp-operator-next:test".into();
    Ok(deployment.to_string())
}

async fn set_replicas(cluster: &Cluster, replicas: u32) -> Result<()> {
    let deployments: Api<Deployment> = Api::namespaced(cluster.client(), SYSTEM);
    let change = Patch::Merge(json!({ "spec": { "replicas": replicas } }));
    deployments.patch(NOW, &PatchParams::default(), &change).await?;
    Ok(())
}

/// What a program says that its version is.
fn version(program: &str) -> Result<String> {
    let output = Command::new(program).arg("version").output()?;
    let said = String::from_utf8(output.stdout)?;
    Ok(said.trim().strip_prefix("mcp-operator ").with_context(|| said.clone())?.to_owned())
}

/// The version of every operator, by pod.
async fn versions(cluster: &Cluster) -> Result<BTreeMap<String, String>> {
    let now = root().join("target/debug/mcp-operator");
    let (now, next) = (version(&now.display().to_string())?, version(NEXT_PROGRAM)?);
    ensure!(now != next, "both are {now}");
    let pods = operators(cluster).await?;
    let of = |pod: &Pod| if pod.labels().contains_key("build") { next.clone() } else { now.clone() };
    let versions: BTreeMap<_, _> = pods.iter().map(|pod| (pod.name_any(), of(pod))).collect();
    ensure!(versions.len() == 2 && versions.values().any(|it| *it == next), "{versions:?}");
    Ok(versions)
}

/// One pod of each version is ready; the one that writes.
async fn until_side_by_side(cluster: &Cluster) -> Result<Pod> {
    cluster.until_available(SYSTEM, NEXT).await?;
    until_led(cluster).await
}

/// Writes of objects and status that changed something, in their order.
fn changes(cluster: &Cluster) -> Result<Vec<Request>> {
    let mut all = writes(cluster)?;
    all.retain(|request| request.succeeded() && !["leases", "tokenreviews"].contains(&resource(request)));
    Ok(all)
}

/// Waits until nobody writes any more: versions that undo what the other wrote have always something to write.
async fn until_at_rest(cluster: &Cluster) -> Result<()> {
    let coming_to_rest = async {
        loop {
            let known = changes(cluster)?.len();
            tokio::time::sleep(REST).await;
            if changes(cluster)?.len() == known {
                return Ok(());
            }
        }
    };
    timeout(PATIENCE, coming_to_rest).await.context("operators do not come to rest")?
}

/// Waits until objects are those of a version.
async fn until_made_by(cluster: &Cluster, version: &str) -> Result<()> {
    let deployments: Api<Deployment> = Api::namespaced(cluster.client(), NAMESPACE);
    let what = format!("is of {version}");
    let made = cluster.until(deployments, "main-mcpgw", &what, |found| {
        found.and_then(|found| found.labels().get(VERSION)).is_some_and(|of| of == version)
    });
    made.await.map(drop)
}

/// Kills the one that writes, which finds its way back only when the other writes.
async fn take_turns(cluster: &Cluster, pods: &[Pod], versions: &BTreeMap<String, String>) -> Result<()> {
    for turn in 0..DEATHS {
        let dies = until_side_by_side(cluster).await?;
        let name = dies.name_any();
        cluster.signal(&dies, "operator", Signal::KILL)?;
        cluster.set_reachable(&dies, API_SERVER, false)?;
        let lease = until_leader(cluster, "is held by the other version", |holder| holder != name).await;
        cluster.set_reachable(&dies, API_SERVER, true)?;
        let leads = holder(&lease?).and_then(|pod| versions.get(pod).cloned()).context("another pod")?;
        until_made_by(cluster, &leads).await?;
        // It does all that the one before did.
        let changed = format!("turn-{turn}");
        cluster.apply(&backend(NAMESPACE, &changed, "")).await?;
        until_backend(cluster, (NAMESPACE, &changed), ("Programmed", "True")).await?;
        until_served(pods, &changed).await?;
        remove(cluster, pods, &changed).await?;
        until_side_by_side(cluster).await?;
        until_at_rest(cluster).await?;
    }
    Ok(())
}

/// Whatever decides whether pods go on: uids and restarts of those of the gateway, and the version of their template.
async fn running(cluster: &Cluster) -> Result<(Vec<(String, i32)>, String)> {
    let restarts = |pod: &Pod| {
        let containers = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
        containers.map(|container| container.restart_count).sum()
    };
    let all = pods(cluster, NAMESPACE).await?;
    let mut all: Vec<_> = all.iter().map(|pod| (pod.uid().unwrap_or_default(), restarts(pod))).collect();
    all.sort();
    let deployments: Api<Deployment> = Api::namespaced(cluster.client(), NAMESPACE);
    let template = deployments.get("main-mcpgw").await?.spec.map(|spec| spec.template);
    Ok((all, serde_json::to_string(&template)?))
}

/// Operators among those who manage fields of an object, each with the subresource.
fn managers(object: &DynamicObject) -> Vec<(&str, &str)> {
    let mut ours: Vec<_> = object
        .managed_fields()
        .iter()
        .filter_map(|entry| {
            Some((entry.manager.as_deref()?, entry.subresource.as_deref().unwrap_or_default()))
        })
        .filter(|(manager, _)| manager.starts_with("mcp-"))
        .collect();
    ours.sort_unstable();
    ours
}

/// Checks that whatever operators make or tell has one manager, however many versions have written it.
async fn one_manager_each(cluster: &Cluster) -> Result<()> {
    let labels = ListParams::default().labels("mcp.bridge/gateway=main");
    let mut seen = 0;
    // Of ServiceMonitors there is no definition here.
    for kind in OwnedKind::ALL.into_iter().filter(|kind| *kind != OwnedKind::ServiceMonitor) {
        let api: Api<DynamicObject> = Api::namespaced_with(cluster.client(), NAMESPACE, &kind.resource());
        let manager = if kind == OwnedKind::Secret { SNAPSHOT_MANAGER } else { MANAGER };
        for object in api.list(&labels).await? {
            let managers = managers(&object);
            ensure!(managers == [(manager, "")], "{kind:?} {}: {managers:?}", object.name_any());
            seen += 1;
        }
    }
    ensure!(seen >= 6, "{seen} objects");
    let gateway = serde_json::to_value(gateways(cluster, NAMESPACE).get("main").await?)?;
    let backend = serde_json::to_value(backends(cluster, NAMESPACE).get(BACKEND).await?)?;
    for object in [gateway, backend] {
        let object: DynamicObject = serde_json::from_value(object)?;
        let managers = managers(&object);
        ensure!(managers == [(STATUS_MANAGER, "status")], "{}: {managers:?}", object.name_any());
    }
    Ok(())
}

/// Checks that each leader wrote each object once, to say that it is its version's, and that pods write what they say they are.
fn each_wrote_each_object_once(written: &[Request], versions: &BTreeMap<String, String>) -> Result<()> {
    let mut times: BTreeMap<(String, String), usize> = BTreeMap::new();
    for request in written {
        let version = request.pod().and_then(|pod| versions.get(pod)).context("a pod of a version")?;
        let agent = format!("mcp-operator/{version}");
        ensure!(request.user_agent == agent, "{} is not {agent}", request.user_agent);
        let object = request.object_ref.clone().unwrap_or_default();
        if object.subresource.is_empty() && object.namespace == NAMESPACE && object.resource != "events" {
            *times.entry((object.resource, object.name)).or_default() += 1;
        }
    }
    // What pods start with follows the backends, which come and go.
    let (secrets, others): (Vec<_>, Vec<_>) =
        times.into_iter().partition(|((resource, _), _)| resource == "secrets");
    ensure!(secrets.iter().all(|(_, times)| *times <= 2 * DEATHS), "{secrets:?}");
    ensure!(others.iter().all(|(_, times)| *times == DEATHS), "{others:?}");
    ensure!(others.iter().any(|((resource, _), _)| resource == "deployments"), "{others:?}");
    Ok(())
}

pub(crate) async fn two_versions_take_turns_and_leave_alone_what_the_other_wrote(
    cluster: &'static Cluster,
) -> Result<()> {
    let pods = stand(cluster).await?;
    set_replicas(cluster, 1).await?;
    cluster.apply(&next()?).await?;
    let outcome = Box::pin(side_by_side(cluster, &pods)).await;
    // The tests that follow know two replicas of one version.
    let deployments: Api<Deployment> = Api::namespaced(cluster.client(), SYSTEM);
    deployments.delete(NEXT, &DeleteParams::foreground()).await?;
    set_replicas(cluster, 2).await?;
    cluster.until(deployments, NEXT, "is gone", |found| found.is_none()).await?;
    until_led(cluster).await?;
    outcome
}

async fn side_by_side(cluster: &Cluster, pods: &[Pod]) -> Result<()> {
    let leads = until_side_by_side(cluster).await?;
    let versions = versions(cluster).await?;
    until_made_by(cluster, versions.get(&leads.name_any()).context("a version")?).await?;
    until_at_rest(cluster).await?;
    let (known, asked) = (changes(cluster)?.len(), writes(cluster)?.len());
    let (ran, user) = (running(cluster).await?, User::of(pods, BACKEND));
    Box::pin(take_turns(cluster, pods, &versions)).await?;
    user.end().await?;

    let turns = one_writer_at_a_time(&writes(cluster)?.split_off(asked))?;
    ensure!(turns <= DEATHS, "the Lease changed hands {turns} times");
    each_wrote_each_object_once(&changes(cluster)?.split_off(known), &versions)?;
    let runs = running(cluster).await?;
    ensure!(runs == ran, "pods were restarted: {runs:?}, and before {ran:?}");
    one_manager_each(cluster).await
}
