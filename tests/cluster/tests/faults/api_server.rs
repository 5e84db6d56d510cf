//! Operators without the API server. Changes when they can do more or less without it.

use anyhow::{Result, ensure};
use bridge_cluster::{Cluster, Signal};
use kube::api::DeleteParams;

use crate::installed::backends;
use crate::standing::{
    BACKEND, CONNECTED, NAMESPACE, User, backend, expect_served, is_served, remove, set_operators_reach,
    stand, until_gone, until_led, until_metric, until_served,
};

pub(crate) async fn pods_serve_and_operators_catch_up_when_the_api_server_was_away(
    cluster: &'static Cluster,
) -> Result<()> {
    let pods = stand(cluster).await?;
    until_metric(&pods, CONNECTED, |value| value == 1).await?;
    let leader = until_led(cluster).await?;
    let user = User::of(&pods[1..], BACKEND);
    cluster.signal_control_plane("kube-apiserver", Signal::STOP)?;
    let meanwhile = async {
        // It has no Lease to renew, so it stops to write.
        until_metric(&[leader], "operator_leader", |value| value == 0).await?;
        // It may have asked its pods to find one that sees more; they find none, and are back.
        until_metric(&pods, CONNECTED, |value| value == 1).await?;
        // A program that starts now has what was configured before, and operators still know its token.
        cluster.signal(&pods[0], "gateway", Signal::KILL)?;
        until_metric(&pods[..1], CONNECTED, |value| value == 1).await?;
        until_served(&pods[..1], BACKEND).await
    };
    let outcome = meanwhile.await;
    cluster.restart("kube-apiserver").await?;
    outcome?;
    cluster.apply(&backend(NAMESPACE, "after-outage", "")).await?;
    until_served(&pods, "after-outage").await?;
    user.end().await?;
    remove(cluster, &pods, "after-outage").await
}

pub(crate) async fn what_operators_did_not_see_happen_is_served_as_it_is(
    cluster: &'static Cluster,
) -> Result<()> {
    let pods = stand(cluster).await?;
    for name in ["deleted", "changed"] {
        cluster.apply(&backend(NAMESPACE, name, "")).await?;
        until_served(&pods, name).await?;
    }
    let user = User::of(&pods, BACKEND);
    set_operators_reach(cluster, false).await?;
    let api = backends(cluster, NAMESPACE);
    cluster.apply(&backend(NAMESPACE, "brief", "")).await?;
    for name in ["brief", "deleted"] {
        api.delete(name, &DeleteParams::default()).await?;
    }
    cluster.apply(&backend(NAMESPACE, "changed", "  tools: {exclude: [echo]}")).await?;
    cluster.apply(&backend(NAMESPACE, "created", "")).await?;
    // An API server that has just started remembers no events: watches cannot go on where they were.
    cluster.restart("kube-apiserver").await?;
    expect_served(&pods, "deleted").await?;
    expect_served(&pods, "changed").await?;
    set_operators_reach(cluster, true).await?;
    until_served(&pods, "created").await?;
    until_gone(&pods, "deleted").await?;
    until_gone(&pods, "changed").await?;
    for pod in &pods {
        ensure!(!is_served(pod, "brief").await?, "it was there for a moment that nobody saw");
    }
    user.end().await?;
    api.delete("changed", &DeleteParams::default()).await?;
    remove(cluster, &pods, "created").await
}
