//! Who decides how many pods a gateway has. Changes when the hand-over between operator and autoscalers does.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use bridge_cluster::Cluster;
use futures_util::StreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

use crate::installed;

const SPACE: &str = "scales";

/// Every number of pods that a Deployment was to have since this was made.
struct Numbers {
    seen: Arc<Mutex<BTreeSet<i32>>>,
    _watch: AbortOnDropHandle<()>,
}

impl Numbers {
    fn watch(cluster: &Cluster, name: &str) -> Self {
        let seen = Arc::new(Mutex::new(BTreeSet::new()));
        let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let events = watcher(deployments(cluster), config).default_backoff().applied_objects();
        let noted = Arc::clone(&seen);
        let watch = bridge_runtime::tasks::spawn(
            "watch",
            events.for_each(move |found| {
                let number = found.ok().and_then(|found| found.spec?.replicas);
                noted.lock().extend(number);
                std::future::ready(())
            }),
        );
        Self { seen, _watch: AbortOnDropHandle::new(watch) }
    }

    /// Those since the last call.
    fn take(&self) -> BTreeSet<i32> {
        std::mem::take(&mut self.seen.lock())
    }
}

fn deployments(cluster: &Cluster) -> Api<Deployment> {
    Api::namespaced(cluster.client(), SPACE)
}

async fn change(cluster: &Cluster, spec: Value) -> Result<()> {
    let change = Patch::Merge(json!({ "spec": spec }));
    installed::gateways(cluster, SPACE).patch("main", &PatchParams::default(), &change).await?;
    Ok(())
}

/// Managers of the number of pods.
fn owners(found: &Deployment) -> BTreeSet<String> {
    let entries = found.metadata.managed_fields.iter().flatten();
    let owning = entries.filter(|entry| {
        entry.fields_v1.as_ref().is_some_and(|fields| fields.0.pointer("/f:spec/f:replicas").is_some())
    });
    owning
        .map(|entry| {
            let manager = entry.manager.as_deref().unwrap_or_default();
            format!("{manager}/{}", entry.subresource.as_deref().unwrap_or_default())
        })
        .collect()
}

async fn until_owned(
    cluster: &Cluster,
    number: i32,
    what: &str,
    whose: impl Fn(&BTreeSet<String>) -> bool + Send + Sync,
) -> Result<()> {
    let found = cluster.until(deployments(cluster), "main-mcpgw", what, |found| {
        let Some(found) = found else { return false };
        found.spec.as_ref().and_then(|spec| spec.replicas) == Some(number) && whose(&owners(found))
    });
    found.await?;
    Ok(())
}

const OPERATOR: &str = "mcp-bridge-operator/";

pub(crate) async fn the_number_of_pods_never_dips_when_somebody_else_decides(
    cluster: &'static Cluster,
) -> Result<()> {
    installed::operator(cluster).await?;
    installed::server(cluster, SPACE, "fixture").await?;
    installed::gateway(cluster, SPACE).await?;
    let numbers = Numbers::watch(cluster, "main-mcpgw");

    // Fixed to scaled: the autoscaler begins with what there is.
    change(cluster, json!({ "replicas": null, "autoscaling": { "minReplicas": 3, "maxReplicas": 5 } }))
        .await?;
    let autoscalers: Api<HorizontalPodAutoscaler> = Api::namespaced(cluster.client(), SPACE);
    cluster.until(autoscalers.clone(), "main-mcpgw", "exists", |found| found.is_some()).await?;
    until_owned(cluster, 3, "the operator has let go", |owners| !owners.contains(OPERATOR)).await?;
    ensure!(numbers.take() == [3].into(), "on the way to the autoscaler");

    // Somebody sets it, as the autoscaler does under load; the operator stays out of it.
    let scale = Patch::Merge(json!({ "spec": { "replicas": 4 } }));
    deployments(cluster).patch_scale("main-mcpgw", &PatchParams::default(), &scale).await?;
    until_owned(cluster, 4, "it is scaled", |owners| owners.iter().all(|owner| owner.ends_with("/scale")))
        .await?;

    // Scaled to fixed: first the number that there is, then the one that is wanted.
    change(cluster, json!({ "replicas": 2, "autoscaling": null })).await?;
    cluster.until(autoscalers.clone(), "main-mcpgw", "is gone", |found| found.is_none()).await?;
    until_owned(cluster, 2, "the operator decides", |owners| owners.contains(OPERATOR)).await?;
    let seen = numbers.take();
    ensure!(seen.iter().all(|number| (2..=4).contains(number)), "{seen:?}");

    // Somebody else's autoscaler: hands off.
    let foreign = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": { "name": "theirs", "namespace": SPACE },
        "spec": {
            "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "main-mcpgw" },
            "minReplicas": 2, "maxReplicas": 6,
        },
    });
    cluster.apply(&foreign.to_string()).await?;
    until_owned(cluster, 2, "the operator has let go", |owners| !owners.contains(OPERATOR)).await?;
    let scale = Patch::Merge(json!({ "spec": { "replicas": 5 } }));
    deployments(cluster).patch_scale("main-mcpgw", &PatchParams::default(), &scale).await?;
    // A change of something else is applied, and the number stays.
    change(cluster, json!({ "drain": { "timeoutSeconds": 30 } })).await?;
    let found = cluster.until(deployments(cluster), "main-mcpgw", "has the new grace", |found| {
        let grace = found
            .and_then(|found| found.spec.as_ref()?.template.spec.as_ref()?.termination_grace_period_seconds);
        grace == Some(50)
    });
    let found = found.await?.context("a Deployment")?;
    ensure!(found.spec.and_then(|spec| spec.replicas) == Some(5), "the operator took the number back");
    let seen = numbers.take();
    ensure!(seen.iter().all(|number| (2..=5).contains(number)), "{seen:?}");

    // To nothing and back, when the autoscaler is gone.
    autoscalers.delete("theirs", &kube::api::DeleteParams::default()).await?;
    until_owned(cluster, 2, "the operator decides again", |owners| owners.contains(OPERATOR)).await?;
    change(cluster, json!({ "replicas": 0 })).await?;
    until_owned(cluster, 0, "there is none", |_| true).await?;
    change(cluster, json!({ "replicas": 1 })).await?;
    cluster.until_available(SPACE, "main-mcpgw").await?;
    Ok(())
}
