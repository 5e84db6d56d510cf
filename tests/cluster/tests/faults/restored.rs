//! A cluster that is put back to an earlier state. Changes when that is noticed otherwise.

use anyhow::{Context as _, Result, ensure};
use bridge_cluster::Cluster;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::DeleteParams;

use crate::installed::{backends, until_backend, until_gateway};
use crate::standing::{
    BACKEND, HELD, NAMESPACE, User, all_of, backend, expect_served, pods, remove, stand, until_gone,
    until_served,
};

pub(crate) async fn pods_serve_what_there_is_after_the_cluster_was_restored(
    cluster: &'static Cluster,
) -> Result<()> {
    let before = stand(cluster).await?;
    for name in ["again", "as-it-was"] {
        cluster.apply(&backend(NAMESPACE, name, "")).await?;
        until_backend(cluster, (NAMESPACE, name), ("Programmed", "True")).await?;
    }
    cluster.save().await?;
    let user = User::of(&before, BACKEND);
    remove(cluster, &before, "again").await?;
    cluster.apply(&backend(NAMESPACE, "as-it-was", "  tools: {exclude: [echo]}")).await?;
    until_gone(&before, "as-it-was").await?;
    cluster.apply(&backend(NAMESPACE, "never", "")).await?;
    until_backend(cluster, (NAMESPACE, "never"), ("Programmed", "True")).await?;
    expect_served(&before, "never").await?;
    let held = all_of(&before, HELD).await?;

    cluster.restore().await?;
    until_served(&before, "again").await?;
    until_served(&before, "as-it-was").await?;
    until_gone(&before, "never").await?;
    ensure!(all_of(&before, HELD).await? == held, "what is older now was held");
    // What changes from now on is noticed, in the cluster as in pods.
    cluster.apply(&backend(NAMESPACE, "after-restore", "")).await?;
    until_served(&before, "after-restore").await?;
    until_backend(cluster, (NAMESPACE, "after-restore"), ("Programmed", "True")).await?;
    until_gateway(cluster, (NAMESPACE, "main"), ("Programmed", "True")).await?;
    user.end().await?;
    let names = |pods: &[Pod]| pods.iter().map(ResourceExt::name_any).collect::<Vec<_>>();
    ensure!(names(&pods(cluster, NAMESPACE).await?) == names(&before), "pods were replaced");
    for name in ["again", "as-it-was", "after-restore"] {
        backends(cluster, NAMESPACE).delete(name, &DeleteParams::default()).await.context(name)?;
        until_gone(&before, name).await?;
    }
    Ok(())
}
