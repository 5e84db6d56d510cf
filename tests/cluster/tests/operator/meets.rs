//! Pods of a gateway know each other. Changes with what they are told of each other.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bridge_cluster::Cluster;
use bridge_tests::{PATIENCE, http};
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use kube::{Api, ResourceExt as _};
use serde_json::Value;
use tokio::task::spawn_blocking;
use tokio::time::{interval, timeout};

use crate::installed::{self, pods};

const SPACE: &str = "meets";

/// The names of the others that a pod shows on its health page.
async fn known(pod: &Pod) -> Result<BTreeSet<String>> {
    let address = pod.status.as_ref().and_then(|status| status.pod_ip.clone()).context("an address")?;
    let url = format!("http://{address}:9090/health");
    let page: Value = spawn_blocking(move || http::get(&url)?.json()).await??;
    let names = page["subsystems"]["peers"]["pods"].as_array().cloned().unwrap_or_default();
    Ok(names.iter().filter_map(Value::as_str).map(str::to_owned).collect())
}

/// Waits until there are three pods and each knows the two others; gives them.
async fn until_acquainted(cluster: &Cluster) -> Result<Vec<Pod>> {
    let mut look = interval(Duration::from_millis(50));
    let acquainted = async {
        loop {
            look.tick().await;
            let pods = pods(cluster, SPACE, "main").await?;
            let names: BTreeSet<_> = pods.iter().map(Pod::name_any).collect();
            let mut acquainted = names.len() == 3;
            for pod in &pods {
                // One that has just begun has no page yet.
                let others = known(pod).await.unwrap_or_default();
                acquainted &=
                    others.len() == 2 && !others.contains(&pod.name_any()) && others.is_subset(&names);
            }
            if acquainted {
                return Ok::<_, anyhow::Error>(pods);
            }
        }
    };
    timeout(PATIENCE, acquainted).await.context("the pods do not know each other")?
}

pub(crate) async fn pods_of_a_gateway_know_each_other_and_who_takes_the_place_of_one(
    cluster: &'static Cluster,
) -> Result<()> {
    installed::operator(cluster).await?;
    cluster.namespace(SPACE).await?;
    installed::gateway_alone(cluster, SPACE).await?;
    let before = until_acquainted(cluster).await?;
    let leaves = before.first().context("a pod")?.name_any();
    let api: Api<Pod> = Api::namespaced(cluster.client(), SPACE);
    api.delete(&leaves, &DeleteParams::default()).await?;
    let after = until_acquainted(cluster).await?;
    ensure!(after.iter().all(|pod| pod.name_any() != leaves), "{leaves} is still one of them");
    Ok(())
}
