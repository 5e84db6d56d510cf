//! The control plane restarts, busy as it is. Changes when operators ask it for more.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use bridge_cluster::Cluster;
use bridge_runtime::tasks::spawn;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::installed::SYSTEM;
use crate::standing::{BACKEND, NAMESPACE, User, backend, remove, stand, until_served};

/// Of one kind by one replica: after each restart once, and once more when the answer is lost on the way.
const LISTS: usize = 5;
/// Requests of somebody else.
const PRESSURE: usize = 3000;

/// Another client that asks for everything, as fast as it can.
async fn press(cluster: &'static Cluster, enough: CancellationToken) -> usize {
    let mut clients = JoinSet::new();
    for _ in 0..20 {
        let (api, enough) = (Api::<Pod>::all(cluster.client()), enough.clone());
        clients.spawn(async move {
            let mut answered = 0;
            for _ in 0..PRESSURE / 20 {
                if enough.is_cancelled() {
                    break;
                }
                // An API server that is away does not answer.
                answered += usize::from(api.list(&ListParams::default()).await.is_ok());
            }
            answered
        });
    }
    clients.join_all().await.into_iter().sum()
}

pub(crate) async fn operators_ask_for_little_when_a_busy_control_plane_restarts(
    cluster: &'static Cluster,
) -> Result<()> {
    let pods = stand(cluster).await?;
    let before = cluster.audit()?.len();
    let (user, enough) = (User::of(&pods, BACKEND), CancellationToken::new());
    let pressure = spawn("pressure", press(cluster, enough.clone()));
    for program in ["etcd", "kube-apiserver", "etcd"] {
        cluster.restart(program).await?;
        cluster.apply(&backend(NAMESPACE, "after-restart", "")).await?;
        until_served(&pods, "after-restart").await?;
        remove(cluster, &pods, "after-restart").await?;
    }
    enough.cancel();
    let answered = pressure.await?;
    ensure!(answered > 100, "there was no pressure: {answered} requests");
    user.end().await?;

    let mut lists: BTreeMap<(String, String), usize> = BTreeMap::new();
    let asked = cluster.audit()?.split_off(before);
    for list in
        asked.iter().filter(|request| request.is_of(SYSTEM, "mcp-bridge-operator") && request.verb == "list")
    {
        let pod = list.pod().context("a list for no pod")?.to_owned();
        *lists.entry((pod, list.request_uri.clone())).or_default() += 1;
    }
    let many: Vec<_> = lists.iter().filter(|(_, times)| **times > LISTS).collect();
    ensure!(many.is_empty(), "{many:?}");
    Ok(())
}
