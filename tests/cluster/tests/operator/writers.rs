//! One writer, and quiet. Changes when the right to write, or what is written without need, does.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bridge_cluster::{Cluster, PATIENCE, Request};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::{Instant, interval, timeout};

use crate::installed::{self, SYSTEM};

const LEASE: &str = "mcp-bridge-operator.mcp-bridge";
/// How long a leader is frozen.
const FROZEN: Duration = Duration::from_mins(1);
/// How long the audit log is watched for writes that nothing asks for.
const QUIET: Duration = Duration::from_mins(1);
/// It writes nothing for so long before that.
const REST: Duration = Duration::from_secs(5);

fn leases(cluster: &Cluster) -> Api<Lease> {
    Api::namespaced(cluster.client(), SYSTEM)
}

/// The replica that writes.
pub(crate) async fn leader(cluster: &Cluster) -> Result<Pod> {
    let lease = cluster.until(leases(cluster), LEASE, "is held", |found| holder(found).is_some()).await?;
    let holder = holder(lease.as_ref()).context("a holder")?;
    let pods: Api<Pod> = Api::namespaced(cluster.client(), SYSTEM);
    let all = pods.list(&ListParams::default()).await?.items;
    let found =
        all.into_iter().find(|pod| pod.metadata.name.as_ref().is_some_and(|name| holder.starts_with(name)));
    found.with_context(|| format!("no pod is {holder}"))
}

fn holder(lease: Option<&Lease>) -> Option<String> {
    lease?.spec.as_ref()?.holder_identity.clone().filter(|holder| !holder.is_empty())
}

async fn scale(cluster: &Cluster, namespace: &str, replicas: u32) -> Result<()> {
    let change = Patch::Merge(json!({ "spec": { "replicas": replicas } }));
    installed::gateways(cluster, namespace).patch("main", &PatchParams::default(), &change).await?;
    let deployments: Api<Deployment> = Api::namespaced(cluster.client(), namespace);
    let wanted = i32::try_from(replicas)?;
    cluster
        .until(deployments, "main-mcpgw", "has the number", |found| {
            found.and_then(|found| found.spec.as_ref()?.replicas) == Some(wanted)
        })
        .await?;
    Ok(())
}

pub(crate) async fn a_frozen_leader_is_replaced_and_does_not_write_when_it_thaws(
    cluster: &'static Cluster,
) -> Result<()> {
    installed::operator(cluster).await?;
    cluster.namespace("frozen").await?;
    installed::gateway_alone(cluster, "frozen").await?;
    let frozen = leader(cluster).await?;
    let until = Instant::now() + FROZEN;
    cluster.signal(&frozen, "operator", Signal::STOP)?;
    // Its Lease runs out, the other takes it and does what is to be done.
    scale(cluster, "frozen", 2).await?;
    let next = leader(cluster).await?;
    ensure!(next.metadata.name != frozen.metadata.name, "nobody took over");
    scale(cluster, "frozen", 1).await?;
    tokio::time::sleep_until(until).await;
    let known = cluster.audit()?.len();
    cluster.signal(&frozen, "operator", Signal::CONT)?;
    let thawed = frozen.metadata.name.as_deref().unwrap_or_default();
    let since = || -> Result<Vec<Request>> {
        let new = cluster.audit()?.split_off(known).into_iter();
        Ok(new.filter(|request| request.pod() == Some(thawed) && request.succeeded()).collect())
    };
    until_it_is_awake(&since).await?;
    cluster.until_available(SYSTEM, "mcp-bridge-operator").await?;
    let written: Vec<_> = since()?.into_iter().filter(is_of_an_object).collect();
    ensure!(written.is_empty(), "it wrote without the Lease: {written:?}");
    // What it knew was 3 or 2; whoever writes knows 1.
    let deployments: Api<Deployment> = Api::namespaced(cluster.client(), "frozen");
    let found = deployments.get("main-mcpgw").await?;
    ensure!(found.spec.and_then(|spec| spec.replicas) == Some(1), "the one that was frozen wrote");
    Ok(())
}

/// Waits until a replica has looked at the Lease twice: what it had wanted to write before, it has tried by then.
async fn until_it_is_awake(since: &(impl Fn() -> Result<Vec<Request>> + Sync)) -> Result<()> {
    let is_lease =
        |request: &&Request| request.object_ref.as_ref().is_some_and(|object| object.resource == "leases");
    let looking = async {
        // The log of the API server tells nobody when it grows.
        let mut tick = interval(Duration::from_millis(200));
        while since()?.iter().filter(is_lease).count() < 2 {
            tick.tick().await;
        }
        Ok(())
    };
    timeout(PATIENCE, looking).await.context("it does not look at the Lease")?
}

/// Whether a request writes something else than the Lease, which everybody asks for, or the question who somebody is.
fn is_of_an_object(request: &Request) -> bool {
    let object = request.object_ref.as_ref();
    request.writes() && object.is_none_or(|object| !["leases", "tokenreviews"].contains(&&*object.resource))
}

pub(crate) async fn clocks_that_disagree_by_minutes_change_nothing(cluster: &'static Cluster) -> Result<()> {
    installed::operator(cluster).await?;
    cluster.namespace("clocks").await?;
    installed::gateway_alone(cluster, "clocks").await?;
    // A replica whose clock is five minutes behind has just renewed, or one whose clock is ahead. Neither is expired.
    for (minutes, replicas) in [(-5, 2), (5, 1)] {
        let time =
            k8s_openapi::jiff::Timestamp::now() + k8s_openapi::jiff::SignedDuration::from_mins(minutes);
        let spec = json!({ "spec": { "holderIdentity": "elsewhere_1", "renewTime": format!("{time:.6}"), "acquireTime": format!("{time:.6}") } });
        let seized = leases(cluster).patch(LEASE, &PatchParams::default(), &Patch::Merge(spec)).await?;
        let transitions = |lease: Lease| lease.spec.and_then(|spec| spec.lease_transitions).unwrap_or(0);
        let written = cluster.audit()?.len();
        let taken = cluster
            .until(leases(cluster), LEASE, "is taken from one that renews no more", |found| {
                holder(found).is_some_and(|holder| !holder.starts_with("elsewhere"))
            })
            .await?
            .context("a Lease")?;
        ensure!(transitions(taken) > transitions(seized), "taken without counting it");
        // Nobody wrote objects while the Lease was another's.
        let between = cluster.audit()?.split_off(written);
        let objects = between.iter().filter(|request| {
            request.is_of(SYSTEM, "mcp-bridge-operator")
                && request.writes()
                && request.object_ref.as_ref().is_some_and(|object| object.resource == "deployments")
        });
        ensure!(objects.count() == 0, "somebody wrote without the Lease");
        scale(cluster, "clocks", replicas).await?;
    }
    Ok(())
}

/// Everything that the operator may do: group, resource, verb.
fn granted() -> Result<BTreeSet<(String, String, String)>> {
    let mut granted = BTreeSet::new();
    for text in installed::printed("rbac")?.split("---\n") {
        let document: Value = serde_json::from_str(text)?;
        if !document["kind"].as_str().is_some_and(|kind| kind.ends_with("Role")) {
            continue;
        }
        if !document["metadata"]["name"].as_str().is_some_and(|name| name.starts_with("mcp-bridge-operator"))
        {
            continue;
        }
        let list = |value: &Value| -> Vec<String> {
            value
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|word| Some(word.as_str()?.to_owned()))
                .collect()
        };
        for rule in document["rules"].as_array().into_iter().flatten() {
            for group in list(&rule["apiGroups"]) {
                for resource in list(&rule["resources"]) {
                    for verb in list(&rule["verbs"]) {
                        granted.insert((group.clone(), resource.clone(), verb));
                    }
                }
            }
        }
    }
    Ok(granted)
}

/// Whether the same account asked for the same, whenever it was.
fn is_alike(one: &Request, other: &Request) -> bool {
    let of = |request: &Request| {
        let object = request.object_ref.clone().unwrap_or_default();
        (
            request.user.username.clone(),
            request.verb.clone(),
            object.api_group,
            object.resource,
            object.subresource,
        )
    };
    of(one) == of(other)
}

/// The last of all tests: it looks at what the others made the operator do.
pub(crate) async fn the_operator_uses_what_it_may_and_is_quiet(cluster: &'static Cluster) -> Result<()> {
    installed::operator(cluster).await?;
    let mut used = BTreeSet::new();
    let mut denied = Vec::new();
    let before = cluster.audit()?;
    for request in before.iter().filter(|request| request.is_of(SYSTEM, "mcp-bridge-operator")) {
        if request.denied() {
            denied.push(request.clone());
        }
        if let Some(object) = &request.object_ref {
            let resource = match &*object.subresource {
                "" => object.resource.clone(),
                subresource => format!("{}/{subresource}", object.resource),
            };
            // Applying asks for the right to create as well, and uses it when nothing was there.
            if request.verb == "patch"
                && request.response_status.as_ref().is_some_and(|status| status.code == 201)
            {
                used.insert((object.api_group.clone(), resource.clone(), "create".to_owned()));
            }
            used.insert((object.api_group.clone(), resource, request.verb.clone()));
        }
    }
    // An API server that has just started knows no roles for a moment, and refuses what it allows before and after.
    denied.retain(|request| !before.iter().any(|other| is_alike(request, other) && other.succeeded()));
    ensure!(denied.is_empty(), "denied: {denied:?}");
    let unused: Vec<_> = granted()?.difference(&used).cloned().collect();
    ensure!(unused.is_empty(), "granted and never used: {unused:?}");

    // The gateways of the other tests are there, and nobody touches them. What the last one did has its echo first: pods that
    // end, endpoints that go, and the status of both.
    until_at_rest(cluster).await?;
    let known = cluster.audit()?.len();
    tokio::time::sleep(QUIET).await;
    let written = written_since(cluster, known)?;
    ensure!(written.is_empty(), "in a minute in which nothing changed: {written:?}");
    Ok(())
}

/// What the operator has written since the log was so long.
fn written_since(cluster: &Cluster, known: usize) -> Result<Vec<String>> {
    let new = cluster.audit()?.split_off(known).into_iter();
    let of_operators = new.filter(|request| request.is_of(SYSTEM, "mcp-bridge-operator"));
    let written = of_operators.filter(is_of_an_object);
    Ok(written.map(|request| format!("{} {}", request.verb, request.request_uri)).collect())
}

/// Waits until every pod that is to end has ended, and the operator has written nothing for a while since.
async fn until_at_rest(cluster: &Cluster) -> Result<()> {
    let pods: Api<Pod> = Api::all(cluster.client());
    let coming_to_rest = async {
        loop {
            let known = cluster.audit()?.len();
            tokio::time::sleep(REST).await;
            let ends = |pod: &Pod| pod.metadata.deletion_timestamp.is_some();
            let still = !pods.list(&ListParams::default()).await?.items.iter().any(ends);
            if still && written_since(cluster, known)?.is_empty() {
                return Ok(());
            }
        }
    };
    timeout(PATIENCE, coming_to_rest).await.context("the operator does not come to rest")?
}
