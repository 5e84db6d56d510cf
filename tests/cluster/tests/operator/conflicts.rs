//! Others who write to what the operator owns. Changes when a quarrel is settled otherwise.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bridge_cluster::{Cluster, PATIENCE};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio::time::{interval, timeout};

use crate::defects::events;
use crate::installed::{self, SYSTEM};

const SPACE: &str = "conflicts";

fn deployments(cluster: &Cluster) -> Api<Deployment> {
    Api::namespaced(cluster.client(), SPACE)
}

fn grace(found: Option<&Deployment>) -> Option<i64> {
    found?.spec.as_ref()?.template.spec.as_ref()?.termination_grace_period_seconds
}

/// What the operator wrote to Deployments of a namespace so far.
pub(crate) fn writes(cluster: &Cluster, namespace: &str) -> Result<usize> {
    let all = cluster.audit()?;
    let of_ours = all.iter().filter(|request| {
        request.is_of(SYSTEM, "mcp-bridge-operator")
            && request.writes()
            && request
                .object_ref
                .as_ref()
                .is_some_and(|object| object.resource == "deployments" && object.namespace == namespace)
    });
    Ok(of_ours.count())
}

pub(crate) async fn what_somebody_edits_is_put_right_and_a_quarrel_does_not_heat_up(
    cluster: &'static Cluster,
) -> Result<()> {
    installed::operator(cluster).await?;
    cluster.namespace(SPACE).await?;
    installed::gateway_alone(cluster, SPACE).await?;
    let right = grace(Some(&deployments(cluster).get("main-mcpgw").await?));
    let wrong = json!({ "spec": { "template": { "spec": { "terminationGracePeriodSeconds": 7 } } } });

    // A person edits once.
    deployments(cluster).patch("main-mcpgw", &PatchParams::default(), &Patch::Merge(&wrong)).await?;
    cluster.until(deployments(cluster), "main-mcpgw", "is put right", |found| grace(found) == right).await?;

    // A field that the operator says nothing of stays whoever's it is.
    let theirs = json!({ "metadata": { "annotations": { "team.example/owner": "platform" } }, "spec": { "revisionHistoryLimit": 3 } });
    deployments(cluster).patch("main-mcpgw", &PatchParams::default(), &Patch::Merge(theirs)).await?;

    // A program that always wants something else: each correction is undone at once.
    let before = writes(cluster, SPACE)?;
    let quarrel = async {
        let mut tick = interval(Duration::from_millis(250));
        loop {
            tick.tick().await;
            if grace(Some(&deployments(cluster).get("main-mcpgw").await?)) == right {
                let theirs = PatchParams::apply("another").force();
                let document = json!({
                    "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "main-mcpgw" },
                    "spec": { "template": { "spec": { "terminationGracePeriodSeconds": 7 } } },
                });
                deployments(cluster).patch("main-mcpgw", &theirs, &Patch::Apply(document)).await?;
            }
            if events(cluster, SPACE, "main").await?.iter().any(|(reason, _)| reason == "DriftLoop") {
                return anyhow::Ok(());
            }
        }
    };
    timeout(PATIENCE, quarrel).await??;
    let corrections = writes(cluster, SPACE)? - before;
    ensure!(corrections <= 6, "{corrections} corrections before somebody is told");
    let told = events(cluster, SPACE, "main").await?;
    let (_, note) = told.iter().find(|(reason, _)| reason == "DriftLoop").context("the Event")?;
    ensure!(note.contains("terminationGracePeriodSeconds"), "{note}");
    let found = deployments(cluster).get("main-mcpgw").await?;
    ensure!(
        found.spec.as_ref().and_then(|spec| spec.revision_history_limit) == Some(3),
        "what is theirs was taken"
    );
    Ok(())
}
