//! A pod that does nothing any more. Changes when it is noticed otherwise.

use anyhow::{Result, ensure};
use bridge_api::v1alpha1::McpGateway;
use bridge_cluster::{Cluster, Signal};
use kube::ResourceExt as _;

use crate::installed::{gateways, until_gateway};
use crate::standing::{BACKEND, NAMESPACE, User, backend, remove, stand, until_served};

fn laggards(gateway: &McpGateway) -> Vec<String> {
    let config = gateway.status.as_ref().and_then(|status| status.config.as_ref());
    config.and_then(|config| config.laggards.clone()).unwrap_or_default()
}

pub(crate) async fn a_frozen_pod_is_named_and_keeps_nobody_waiting(cluster: &'static Cluster) -> Result<()> {
    let pods = stand(cluster).await?;
    let (frozen, others) = (&pods[0], &pods[1..]);
    let user = User::of(others, BACKEND);
    cluster.signal(frozen, "gateway", Signal::STOP)?;
    let meanwhile = async {
        cluster.apply(&backend(NAMESPACE, "past-frozen", "")).await?;
        let name = frozen.name_any();
        let lags = |found: Option<&McpGateway>| found.is_some_and(|found| laggards(found).contains(&name));
        let seen = cluster.until(gateways(cluster, NAMESPACE), "main", "says who lags", lags).await?;
        let conditions = seen.and_then(|seen| seen.status?.conditions).unwrap_or_default();
        let programmed = conditions.iter().find(|condition| condition.type_ == "Programmed");
        ensure!(
            programmed.is_some_and(|found| found.status == "False" && found.message.contains(&name)),
            "{conditions:?}"
        );
        until_served(others, "past-frozen").await
    };
    let outcome = meanwhile.await;
    cluster.signal(frozen, "gateway", Signal::CONT)?;
    outcome?;
    until_served(&pods, "past-frozen").await?;
    until_gateway(cluster, (NAMESPACE, "main"), ("Programmed", "True")).await?;
    user.end().await?;
    remove(cluster, &pods, "past-frozen").await
}
