//! The replica that writes is lost. Changes when the election does.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bridge_cluster::{Cluster, PATIENCE, Request, Signal};
use k8s_openapi::api::apps::v1::Deployment;
use kube::{Api, ResourceExt as _};
use tokio::time::{interval, timeout};

use crate::installed::{SYSTEM, backends, gateways, until_backend};
use crate::standing::{
    API_SERVER, BACKEND, NAMESPACE, User, backend, holder, remove, stand, until_leader, until_led,
    until_served,
};

/// Requests of operators, in the order in which they came, that changed something or tried to.
pub(crate) fn writes(cluster: &Cluster) -> Result<Vec<Request>> {
    let mut all = cluster.audit()?;
    all.retain(|request| request.is_of(SYSTEM, "mcp-bridge-operator") && request.writes());
    all.sort_by(|one, other| one.request_received_timestamp.cmp(&other.request_received_timestamp));
    Ok(all)
}

pub(crate) fn resource(request: &Request) -> &str {
    request.object_ref.as_ref().map(|object| &*object.resource).unwrap_or_default()
}

/// Checks that each write that changed something was by the pod that had taken or renewed the Lease last; gives how often
/// another one took it. A network may deliver a request at any time, and the API server is to refuse it then.
pub(crate) fn one_writer_at_a_time(writes: &[Request]) -> Result<usize> {
    let (mut leader, mut changes) = (None, 0);
    for request in writes {
        let pod = request.pod().context("a write of no pod")?;
        match resource(request) {
            "leases" if request.succeeded() => {
                changes += usize::from(leader.replace(pod).is_some_and(|before| before != pod));
            }
            // Every replica asks for the Lease, and who a pod is.
            "leases" | "tokenreviews" => {}
            _ if !request.succeeded() => {}
            _ => ensure!(leader.is_none_or(|leader| leader == pod), "{leader:?} has the Lease: {request:?}"),
        }
    }
    Ok(changes)
}

/// Waits until `old` has asked for the Lease after `new` has taken it.
async fn until_it_looks_at_the_lease(cluster: &Cluster, old: &str, new: &str) -> Result<()> {
    let looked = || -> Result<bool> {
        let all = cluster.audit()?;
        let of = |pod: &str, verb: &str| {
            let mut all =
                all.iter().rev().filter(|request| resource(request) == "leases" && request.succeeded());
            all.find(|request| request.pod() == Some(pod) && request.verb == verb)
                .map(|request| request.request_received_timestamp.clone())
        };
        Ok(of(old, "get") > of(new, "update").or_else(|| of(new, "create")))
    };
    // The log of the API server tells nobody when it grows.
    let mut tick = interval(Duration::from_millis(200));
    let looking = async {
        while !looked()? {
            tick.tick().await;
        }
        Ok(())
    };
    timeout(PATIENCE, looking).await.context("it does not look at the Lease")?
}

/// Waits until a status tells of `steady` as it is, and of the other backend.
async fn until_told(cluster: &Cluster, generation: i64) -> Result<()> {
    let of_steady =
        cluster.until(backends(cluster, NAMESPACE), BACKEND, "has a status of its own", |found| {
            found.and_then(|found| found.status.as_ref()?.observed_generation) == Some(generation)
        });
    of_steady.await?;
    let of_gateway = cluster.until(gateways(cluster, NAMESPACE), "main", "has two backends", |found| {
        found.and_then(|found| found.status.as_ref()?.backends.as_ref()).is_some_and(|all| all.attached == 2)
    });
    of_gateway.await.map(drop)
}

pub(crate) async fn another_replica_writes_when_the_leader_loses_the_api_server(
    cluster: &'static Cluster,
) -> Result<()> {
    let pods = stand(cluster).await?;
    let before = writes(cluster)?.len();
    let (user, old) = (User::of(&pods[1..], BACKEND), until_led(cluster).await?);
    cluster.set_reachable(&old, API_SERVER, false)?;
    let name = old.name_any();
    // The leader notices that a pod is away, and writes it down. The network holds that back.
    cluster.signal(&pods[0], "gateway", Signal::KILL)?;
    cluster.until_logged(&old, "operator", "as long as this replica was sure of the Lease").await?;
    let changed = cluster.apply(&backend(NAMESPACE, BACKEND, "  priority: 7")).await?;
    let generation = changed[0].metadata.generation.context("a generation")?;
    cluster.apply(&backend(NAMESPACE, "orphaned", "")).await?;
    let lease = until_leader(cluster, "is held by another pod", |holder| holder != name).await?;
    // Status is what only the one that writes could have told.
    until_backend(cluster, (NAMESPACE, "orphaned"), ("Accepted", "True")).await?;
    until_told(cluster, generation).await?;
    // What was held back arrives now.
    cluster.set_reachable(&old, API_SERVER, true)?;
    until_served(&pods, "orphaned").await?;
    until_backend(cluster, (NAMESPACE, "orphaned"), ("Programmed", "True")).await?;
    let new = holder(&lease).context("a holder")?;
    until_it_looks_at_the_lease(cluster, &name, new).await?;

    let writes = writes(cluster)?.split_off(before);
    ensure!(writes.iter().any(|request| request.pod() == Some(new) && resource(request) == "mcpbackends"));
    ensure!(one_writer_at_a_time(&writes)? <= 1, "the Lease went back");
    user.end().await?;
    cluster.apply(&backend(NAMESPACE, BACKEND, "")).await?;
    remove(cluster, &pods, "orphaned").await
}

/// Who manages which fields of the Deployment since when.
async fn managers(cluster: &Cluster) -> Result<BTreeMap<String, String>> {
    let api: Api<Deployment> = Api::namespaced(cluster.client(), NAMESPACE);
    let found = api.get("main-mcpgw").await?;
    let ours = found.managed_fields().iter().filter_map(|entry| {
        let manager = entry.manager.as_ref().filter(|manager| manager.starts_with("mcp-bridge-operator"))?;
        Some((manager.clone(), format!("{:?} {:?}", entry.time, entry.fields_v1)))
    });
    Ok(ours.collect())
}

/// Every other one may say goodbye: those that may not cost the others the time after which a Lease expires.
pub(crate) async fn one_replica_writes_at_a_time_when_leaders_keep_dying(
    cluster: &'static Cluster,
) -> Result<()> {
    let pods = stand(cluster).await?;
    let (before, managed) = (writes(cluster)?.len(), managers(cluster).await?);
    let user = User::of(&pods, BACKEND);
    let how = [Signal::TERM, Signal::KILL, Signal::TERM, Signal::KILL, Signal::TERM];
    for (round, signal) in how.into_iter().enumerate() {
        let name = format!("round-{round}");
        cluster.signal(&until_led(cluster).await?, "operator", signal)?;
        cluster.apply(&backend(NAMESPACE, &name, "")).await?;
        until_backend(cluster, (NAMESPACE, &name), ("Programmed", "True")).await?;
        until_served(&pods, &name).await?;
        remove(cluster, &pods, &name).await?;
    }
    user.end().await?;
    let changes = one_writer_at_a_time(&writes(cluster)?.split_off(before))?;
    ensure!(changes > 0, "the Lease stayed where it was");
    ensure!(managers(cluster).await? == managed, "somebody has applied the Deployment again");
    Ok(())
}
