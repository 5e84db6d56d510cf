//! Deployments and Services of our fixture server. Changes when what a workload promises does.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bridge_cluster::Cluster;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

const FIXTURE: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: fixture, namespace: NAMESPACE}
spec:
  replicas: 2
  selector: {matchLabels: {app: fixture}}
  template:
    metadata: {labels: {app: fixture}}
    spec:
      containers:
        - name: server
          image: example.test/mcp-test-server:1
          args: [--transport, http, --host, 0.0.0.0, --port, "8080", --allow-host, fixture]
          ports: [{name: mcp, containerPort: 8080}]
          readinessProbe: {tcpSocket: {port: mcp}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: fixture, namespace: NAMESPACE}
spec:
  selector: {app: fixture}
  ports: [{name: mcp, port: 80, targetPort: mcp}]
"#;

pub(crate) async fn fixture(cluster: &Cluster, namespace: &str) -> Result<()> {
    cluster.namespace(namespace).await?;
    cluster.apply(&FIXTURE.replace("NAMESPACE", namespace)).await?;
    cluster.until_available(namespace, "fixture").await
}

/// The head of the answer to an `initialize` at an address.
pub(crate) async fn initialize(address: &str) -> Result<String> {
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"test","version":"1"}}}"#;
    let request = format!(
        "POST /mcp HTTP/1.1\r\nHost: fixture\r\nContent-Type: application/json\r\n\
         Accept: application/json, text/event-stream\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = vec![0; 4096];
    let length = timeout(Duration::from_secs(30), stream.read(&mut answer)).await??;
    answer.truncate(length);
    Ok(String::from_utf8(answer)?)
}

async fn pods(cluster: &Cluster, namespace: &str) -> Result<Vec<Pod>> {
    Ok(Api::namespaced(cluster.client(), namespace).list(&ListParams::default()).await?.items)
}

pub(crate) async fn a_deployment_serves_behind_its_service(cluster: &'static Cluster) -> Result<()> {
    fixture(cluster, "serves").await?;
    let services: Api<Service> = Api::namespaced(cluster.client(), "serves");
    let address =
        services.get("fixture").await?.spec.and_then(|spec| spec.cluster_ip).context("an address")?;
    let answer = initialize(&format!("{address}:80")).await?;
    ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");

    // Each pod has an address of its own, on which the same port is free.
    let pods = pods(cluster, "serves").await?;
    let addresses: BTreeSet<_> = pods.into_iter().filter_map(|pod| pod.status?.pod_ip).collect();
    ensure!(addresses.len() == 2, "{addresses:?}");
    for address in addresses {
        let answer = initialize(&format!("{address}:8080")).await?;
        ensure!(answer.starts_with("HTTP/1.1 200"), "{address}: {answer}");
    }

    // A pod finds the Service by its name, short and long.
    let pod = "
apiVersion: v1
kind: Pod
metadata: {name: resolver, namespace: serves}
spec:
  restartPolicy: Never
  containers:
    - name: main
      image: shell
      args:
        - -ec
        - getent ahostsv4 fixture && getent ahostsv4 fixture.serves.svc.cluster.local && ! getent ahostsv4 nobody
";
    cluster.apply(pod).await?;
    super::pods::until_phase(cluster, "serves", "resolver", "Succeeded").await
}

pub(crate) async fn a_deleted_pod_is_replaced(cluster: &'static Cluster) -> Result<()> {
    fixture(cluster, "replaced").await?;
    let before = pods(cluster, "replaced").await?;
    let name = before[0].metadata.name.clone().context("a name")?;
    let api: Api<Pod> = Api::namespaced(cluster.client(), "replaced");
    api.delete(&name, &DeleteParams::default()).await?;
    cluster.until(api, &name, "is gone", |pod| pod.is_none()).await?;
    let deployments: Api<Deployment> = Api::namespaced(cluster.client(), "replaced");
    cluster
        .until(deployments, "fixture", "has two available replicas", |found| {
            let status = found.and_then(|found| found.status.as_ref());
            status.and_then(|status| status.available_replicas) == Some(2)
        })
        .await?;
    let after = pods(cluster, "replaced").await?;
    let names: BTreeSet<_> = after.iter().filter_map(|pod| pod.metadata.name.clone()).collect();
    ensure!(names.len() == 2 && !names.contains(&name), "{names:?} instead of {name}");
    Ok(())
}

pub(crate) async fn a_rolling_update_loses_no_request(cluster: &'static Cluster) -> Result<()> {
    fixture(cluster, "rolling").await?;
    let services: Api<Service> = Api::namespaced(cluster.client(), "rolling");
    let address =
        services.get("fixture").await?.spec.and_then(|spec| spec.cluster_ip).context("an address")?;
    let address = format!("{address}:80");
    // A pod that ends waits until nobody is sent to it any more; one that starts counts when it answers.
    let changed = FIXTURE.replace("NAMESPACE", "rolling").replace(
        "          ports:",
        "          lifecycle: {preStop: {sleep: {seconds: 2}}}\n          ports:",
    );
    cluster.apply(&changed).await?;
    cluster.until_available("rolling", "fixture").await?;
    cluster.apply(&changed.replace("mcp-test-server:1", "mcp-test-server:2")).await?;
    let rolled = cluster.until_available("rolling", "fixture");
    tokio::pin!(rolled);
    let mut answered = 0;
    loop {
        tokio::select! {
            biased;
            outcome = &mut rolled => {
                outcome?;
                break;
            }
            answer = initialize(&address) => {
                let answer = answer.with_context(|| format!("after {answered} answers"))?;
                ensure!(answer.starts_with("HTTP/1.1 200"), "after {answered} answers: {answer:?}");
                answered += 1;
            }
        }
    }
    ensure!(answered > 10, "only {answered} requests were made");
    let all = pods(cluster, "rolling").await?.into_iter();
    for pod in all.filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
        let image = pod.spec.and_then(|spec| spec.containers.into_iter().next()?.image);
        ensure!(image.as_deref() == Some("example.test/mcp-test-server:2"), "{image:?}");
    }
    Ok(())
}
