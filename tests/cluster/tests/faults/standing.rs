//! A gateway that stands while parts of the cluster fail, and what those who use it notice. Changes when a fault is looked at
//! from another side.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use bridge_cluster::{Cluster, PATIENCE};
use bridge_runtime::tasks::spawn;
use bridge_tests::{ModernClient, http};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use serde_json::json;
use tokio::sync::OnceCell;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::installed::{self, SYSTEM, backends, until_backend, until_gateway};

/// Its namespace.
pub(crate) const NAMESPACE: &str = "faults";
/// A backend that it has all the time.
pub(crate) const BACKEND: &str = "steady";
/// Series of a pod: whether it is connected to an operator.
pub(crate) const CONNECTED: &str = "mcp_gateway_config_stream_connected";
/// Series of a pod: changes that it held.
pub(crate) const HELD: &str = "mcp_gateway_config_held_total";
/// The API server, as pods reach it.
pub(crate) const API_SERVER: (&str, &str) = ("default", "kubernetes");

/// A gateway called `main`.
pub(crate) fn gateway(namespace: &str, replicas: u8) -> String {
    format!(
        "
apiVersion: mcp.bridge/v1alpha1
kind: McpGateway
metadata: {{name: main, namespace: {namespace}}}
spec:
  replicas: {replicas}
  listeners: [{{name: http, protocol: StreamableHTTP, port: 8080, path: /mcp, tls: {{mode: Disabled}}}}]
  auth: {{anonymous: Allow}}
  drain: {{minSeconds: 0, timeoutSeconds: 5}}
"
    )
}

/// A backend of it, at the fixture of its namespace. `more` are members of its spec.
pub(crate) fn backend(namespace: &str, name: &str, more: &str) -> String {
    format!(
        "
apiVersion: mcp.bridge/v1alpha1
kind: McpBackend
metadata: {{name: {name}, namespace: {namespace}, labels: {{made-by: test}}}}
spec:
  gatewayRefs: [{{name: main}}]
  protocol: StreamableHTTP
  serviceRef: {{name: fixture, port: http}}
{more}
"
    )
}

/// The gateway with two pods that serve its backend; made once for all tests that take parts of the cluster away.
pub(crate) async fn stand(cluster: &Cluster) -> Result<Vec<Pod>> {
    static DONE: OnceCell<()> = OnceCell::const_new();
    DONE.get_or_try_init(|| async { make(cluster, NAMESPACE, 2).await }).await?;
    // What the test before has broken is whole again.
    until_led(cluster).await?;
    cluster.until_available(NAMESPACE, "main-mcpgw").await?;
    let pods = pods(cluster, NAMESPACE).await?;
    until_served(&pods, BACKEND).await?;
    Ok(pods)
}

/// A gateway in a namespace of its own, whose pods serve [`BACKEND`].
pub(crate) async fn make(cluster: &Cluster, namespace: &str, replicas: u8) -> Result<()> {
    installed::operator(cluster).await?;
    installed::server(cluster, namespace, "fixture").await?;
    cluster.apply(&gateway(namespace, replicas)).await?;
    cluster.apply(&backend(namespace, BACKEND, "")).await?;
    until_backend(cluster, (namespace, BACKEND), ("Available", "True")).await?;
    until_gateway(cluster, (namespace, "main"), ("Ready", "True")).await?;
    Ok(())
}

/// The pods of the gateway that are not about to end.
pub(crate) async fn pods(cluster: &Cluster, namespace: &str) -> Result<Vec<Pod>> {
    let all = installed::pods(cluster, namespace, "main").await?;
    Ok(all.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect())
}

/// The pods of the operator that are not about to end.
pub(crate) async fn operators(cluster: &Cluster) -> Result<Vec<Pod>> {
    let api: Api<Pod> = Api::namespaced(cluster.client(), SYSTEM);
    let labels = ListParams::default().labels("app.kubernetes.io/name=mcp-bridge-operator");
    let all = api.list(&labels).await?.items;
    Ok(all.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect())
}

/// Cuts all operators off from the API server, or connects them again.
pub(crate) async fn set_operators_reach(cluster: &Cluster, reachable: bool) -> Result<()> {
    for pod in operators(cluster).await? {
        cluster.set_reachable(&pod, API_SERVER, reachable)?;
    }
    Ok(())
}

/// The pod that holds the Lease.
pub(crate) fn holder(lease: &Lease) -> Option<&str> {
    let holder = lease.spec.as_ref()?.holder_identity.as_deref()?;
    holder.rsplit_once('_').map(|(pod, _)| pod)
}

/// Waits until a pod holds the Lease of which `fits` is true.
pub(crate) async fn until_leader(
    cluster: &Cluster,
    what: &str,
    fits: impl Fn(&str) -> bool + Send + Sync,
) -> Result<Lease> {
    let leases: Api<Lease> = Api::namespaced(cluster.client(), SYSTEM);
    let held = cluster.until(leases, "mcp-bridge-operator.mcp-bridge", what, |found| {
        found.and_then(holder).is_some_and(&fits)
    });
    held.await?.context("a Lease")
}

/// Two operators are ready, and one of them writes.
pub(crate) async fn until_led(cluster: &Cluster) -> Result<Pod> {
    cluster.until_available(SYSTEM, "mcp-bridge-operator").await?;
    let pods = operators(cluster).await?;
    let name = |pod: &Pod| pod.metadata.name.clone().unwrap_or_default();
    let lease = until_leader(cluster, "is held by a pod that runs", |holder| {
        pods.iter().any(|pod| name(pod) == holder)
    });
    let lease = lease.await?;
    pods.iter().find(|pod| Some(&*name(pod)) == holder(&lease)).cloned().context("the leader's pod")
}

fn address(pod: &Pod) -> Result<String> {
    pod.status.as_ref().and_then(|status| status.pod_ip.clone()).context("an address")
}

/// Calls a tool of a backend at a pod: whether that gives a result.
///
/// # Errors
/// When the pod does not answer at all.
pub(crate) async fn is_served(pod: &Pod, backend: &str) -> Result<bool> {
    is_served_at(format!("http://{}:8080/mcp/{backend}", address(pod)?)).await
}

/// Calls a tool at an address: whether that gives a result.
async fn is_served_at(url: String) -> Result<bool> {
    let called = spawn_blocking(move || {
        let mut client = ModernClient::new(&url, &json!({}))?;
        client.request("tools/call", &json!({ "name": "echo", "arguments": { "message": "hi" } }))
    });
    let reply = called.await??;
    Ok(reply.message["result"]["content"][0]["text"] == "hi")
}

/// Every pod serves a backend now.
pub(crate) async fn expect_served(pods: &[Pod], backend: &str) -> Result<()> {
    for pod in pods {
        ensure!(is_served(pod, backend).await?, "{:?} does not serve {backend}", pod.metadata.name);
    }
    Ok(())
}

/// Waits until every pod serves a backend.
pub(crate) async fn until_served(pods: &[Pod], backend: &str) -> Result<()> {
    until_all(pods, &format!("serves {backend}"), |pod| async move { is_served(&pod, backend).await }).await
}

/// Waits until no pod serves a backend.
pub(crate) async fn until_gone(pods: &[Pod], backend: &str) -> Result<()> {
    until_all(
        pods,
        &format!("lets go of {backend}"),
        |pod| async move { Ok(!is_served(&pod, backend).await?) },
    )
    .await
}

/// Waits until a series of the metrics page of every pod fits.
pub(crate) async fn until_metric(pods: &[Pod], series: &str, fits: fn(i64) -> bool) -> Result<()> {
    let holds = |pod: Pod| async move { Ok(fits(metric(&pod, series).await?)) };
    until_all(pods, &format!("has another {series}"), holds).await
}

/// Waits until a series of the metrics page of a pod is more than it was.
pub(crate) async fn until_more(pod: &Pod, series: &str, before: i64) -> Result<()> {
    let holds = |pod: Pod| async move { Ok(metric(&pod, series).await? > before) };
    until_all(std::slice::from_ref(pod), &format!("has more {series}"), holds).await
}

/// A series of the metrics page of a pod; 0 where it is absent.
pub(crate) async fn metric(pod: &Pod, series: &str) -> Result<i64> {
    let url = format!("http://{}:9090/metrics", address(pod)?);
    let page = spawn_blocking(move || http::get(&url)).await??;
    let page = String::from_utf8(page.body)?;
    let value = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.map_or(Ok(0), |value| value.parse().context("a number"))
}

/// A series of the metrics page of every pod.
pub(crate) async fn all_of(pods: &[Pod], series: &str) -> Result<Vec<i64>> {
    let mut all = Vec::new();
    for pod in pods {
        all.push(metric(pod, series).await?);
    }
    Ok(all)
}

async fn until_all<F>(pods: &[Pod], what: &str, holds: impl Fn(Pod) -> F) -> Result<()>
where
    F: Future<Output = Result<bool>> + Send,
{
    // Pods tell nobody; they have to be asked.
    let mut tick = interval(Duration::from_millis(50));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for pod in pods {
        let mut last = Ok(false);
        let asking = async {
            loop {
                tick.tick().await;
                last = holds(pod.clone()).await;
                if matches!(last, Ok(true)) {
                    return;
                }
            }
        };
        if timeout(PATIENCE, asking).await.is_err() {
            bail!("{:?} does not: {what}; {last:?}", pod.metadata.name);
        }
    }
    Ok(())
}

/// Somebody who calls a backend again and again.
pub(crate) struct User {
    stop: CancellationToken,
    calls: JoinHandle<Result<u32>>,
}

impl User {
    /// Begins to call every one of these pods.
    pub(crate) fn of(pods: &[Pod], backend: &'static str) -> Self {
        let pods = pods.to_vec();
        Self::begin(move || {
            let pods = pods.clone();
            async move { expect_served(&pods, backend).await }
        })
    }

    /// Begins to call at an address, whichever pod is behind it.
    pub(crate) fn at(url: String) -> Self {
        Self::begin(move || {
            let url = url.clone();
            async move {
                ensure!(is_served_at(url.clone()).await?, "{url} does not serve");
                Ok(())
            }
        })
    }

    fn begin<F>(call: impl Fn() -> F + Send + 'static) -> Self
    where
        F: Future<Output = Result<()>> + Send,
    {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let calls = spawn("user", async move {
            let mut tick = interval(Duration::from_millis(100));
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut calls = 0;
            while !stopped.is_cancelled() {
                tick.tick().await;
                call().await?;
                calls += 1;
            }
            Ok(calls)
        });
        Self { stop, calls }
    }

    /// Ends, with an error if a call has failed.
    pub(crate) async fn end(self) -> Result<()> {
        self.stop.cancel();
        let calls = self.calls.await??;
        ensure!(calls > 0, "nothing was called");
        Ok(())
    }
}

/// Deletes a backend and waits until pods have let go of it.
pub(crate) async fn remove(cluster: &Cluster, pods: &[Pod], backend: &str) -> Result<()> {
    backends(cluster, NAMESPACE).delete(backend, &DeleteParams::default()).await?;
    until_gone(pods, backend).await
}
