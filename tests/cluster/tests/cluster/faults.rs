//! What becomes of a workload when something fails. Changes when a fault is added.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bridge_cluster::{Cluster, Signal};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::workloads::{fixture, initialize};

async fn pods(cluster: &Cluster, namespace: &str) -> Result<Vec<Pod>> {
    Ok(Api::namespaced(cluster.client(), namespace).list(&ListParams::default()).await?.items)
}

pub(crate) async fn pods_serve_while_the_control_plane_is_away(cluster: &'static Cluster) -> Result<()> {
    fixture(cluster, "headless").await?;
    let pod = pods(cluster, "headless").await?.pop().context("a pod")?;
    let address = pod.status.and_then(|status| status.pod_ip).context("an address")?;
    cluster.signal_control_plane("kube-apiserver", Signal::STOP)?;
    let answer = initialize(&format!("{address}:8080")).await;
    cluster.signal_control_plane("kube-apiserver", Signal::CONT)?;
    let answer = answer?;
    ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");

    for program in ["kube-apiserver", "kube-controller-manager"] {
        cluster.restart(program).await?;
    }
    let scale = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: fixture, namespace: headless}, \
                 spec: {replicas: 3}}";
    cluster.apply_partly(scale).await?;
    cluster.until_available("headless", "fixture").await
}

pub(crate) async fn a_pod_that_is_cut_off_is_left_out_until_it_is_back(
    cluster: &'static Cluster,
) -> Result<()> {
    fixture(cluster, "cut").await?;
    let pod = pods(cluster, "cut").await?.pop().context("a pod")?;
    let address = pod.status.as_ref().and_then(|status| status.pod_ip.clone()).context("an address")?;
    let available = |wanted| {
        move |found: Option<&Deployment>| {
            let status = found.and_then(|found| found.status.as_ref());
            status.is_some_and(|status| status.available_replicas == Some(wanted))
        }
    };
    let deployments: Api<Deployment> = Api::namespaced(cluster.client(), "cut");
    cluster.set_connected(&pod, false)?;
    cluster.until(deployments.clone(), "fixture", "has one available replica", available(1)).await?;
    let connecting = timeout(Duration::from_millis(500), TcpStream::connect(format!("{address}:8080"))).await;
    ensure!(!matches!(connecting, Ok(Ok(_))), "it can still be reached");
    cluster.set_connected(&pod, true)?;
    cluster.until(deployments, "fixture", "has two available replicas", available(2)).await?;
    Ok(())
}

pub(crate) async fn the_pods_of_a_lost_node_are_made_elsewhere(cluster: &'static Cluster) -> Result<()> {
    cluster.namespace("lost").await?;
    let lost = "proc-3";
    let workload = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: moves, namespace: lost}
spec:
  selector: {matchLabels: {app: moves}}
  template:
    metadata: {labels: {app: moves}}
    spec:
      tolerations:
        - {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 0}
        - {key: bridge-cluster/spare, operator: Exists}
      affinity:
        nodeAffinity:
          preferredDuringSchedulingIgnoredDuringExecution:
            - weight: 100
              preference: {matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [proc-3]}]}
      containers: [{name: main, image: shell, args: [-c, "while :; do sleep 1; done"]}]
"#;
    cluster.apply(workload).await?;
    cluster.until_available("lost", "moves").await?;
    let nodes = |pods: Vec<Pod>| -> BTreeSet<String> {
        let running = pods.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
        running.filter_map(|pod| pod.spec?.node_name).collect()
    };
    let before = nodes(pods(cluster, "lost").await?);
    ensure!(before == BTreeSet::from([lost.to_owned()]), "{before:?}");
    cluster.lose_node(3);
    let deployments: Api<Deployment> = Api::namespaced(cluster.client(), "lost");
    let available = |found: Option<&Deployment>| found.and_then(|it| it.status.as_ref()?.available_replicas);
    cluster
        .until(deployments.clone(), "moves", "is not available", |found| available(found).is_none())
        .await?;
    cluster.until(deployments, "moves", "is available", |found| available(found) == Some(1)).await?;
    let after = nodes(pods(cluster, "lost").await?);
    ensure!(!after.contains(lost), "{after:?}");
    Ok(())
}
