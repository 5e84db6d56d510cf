//! An operator that runs in the cluster, and things for it to work on. Changes when it is installed otherwise.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bridge_api::v1alpha1::{McpBackend, McpGateway};
use bridge_cluster::{Cluster, PATIENCE, root};
use bridge_tests::ModernClient;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::Api;
use kube::api::ListParams;
use serde_json::json;
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;
use tokio::time::{interval, timeout};

/// The operator's namespace.
pub(crate) const SYSTEM: &str = "mcp-system";

/// A server of one pod.
const DEPLOYMENT: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME, namespace: NAMESPACE}
spec:
  replicas: 1
  selector: {matchLabels: {app: NAME}}
  template:
    metadata: {labels: {app: NAME}}
    spec:
      containers:
        - name: server
          image: example.test/mcp-test-server:1
          env: [{name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}]
          args: [--transport, http, --host, 0.0.0.0, --port, "8080", --allow-host, $(POD_IP), --allow-host, NAME.NAMESPACE.svc, OPTIONS]
          ports: [{name: mcp, containerPort: 8080}]
          readinessProbe: {tcpSocket: {port: mcp}, periodSeconds: 1}
"#;

/// Its Service.
const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: NAME, namespace: NAMESPACE}
spec:
  selector: {app: NAME}
  ports: [{name: http, port: 80, targetPort: mcp}]
";

/// A gateway of three pods that lets everybody in, and a backend of it.
const GATEWAY: &str = "
apiVersion: mcp.bridge/v1alpha1
kind: McpGateway
metadata: {name: main, namespace: NAMESPACE}
spec:
  replicas: 3
  listeners: [{name: http, protocol: StreamableHTTP, port: 8080, path: /mcp, tls: {mode: Disabled}}]
  auth: {anonymous: Allow}
---
apiVersion: mcp.bridge/v1alpha1
kind: McpBackend
metadata: {name: tools, namespace: NAMESPACE}
spec:
  gatewayRefs: [{name: main}]
  protocol: StreamableHTTP
  serviceRef: {name: fixture, port: http}
";

/// Definitions, roles and two replicas of the operator; done once for all tests.
pub(crate) async fn operator(cluster: &Cluster) -> Result<()> {
    static DONE: OnceCell<()> = OnceCell::const_new();
    let done = DONE.get_or_try_init(|| async {
        cluster.namespace(SYSTEM).await?;
        cluster.apply(&printed("crds")?).await?;
        cluster.apply(&printed("rbac")?).await?;
        cluster.apply_file("tests/cluster/tests/operator/operator.yaml").await?;
        cluster.until_available(SYSTEM, "mcp-bridge-operator").await
    });
    done.await.copied()
}

/// What the operator's program prints.
pub(crate) fn printed(command: &str) -> Result<String> {
    let output = Command::new(root().join("target/debug/mcp-operator")).arg(command).output()?;
    ensure!(output.status.success(), "mcp-operator {command}");
    Ok(String::from_utf8(output.stdout)?)
}

/// A namespace with a fixture server, whose pods are ready.
pub(crate) async fn server(cluster: &Cluster, namespace: &str, name: &str) -> Result<()> {
    cluster.namespace(namespace).await?;
    deployment(cluster, (namespace, name), &[]).await?;
    service(cluster, (namespace, name)).await
}

/// A fixture server with more options, whose pods are ready. Its label `app` is its name.
pub(crate) async fn deployment(
    cluster: &Cluster,
    (namespace, name): (&str, &str),
    options: &[&str],
) -> Result<()> {
    let object = DEPLOYMENT.replace("NAMESPACE", namespace).replace("NAME", name);
    cluster.apply(&object.replace("OPTIONS", &options.join(", "))).await?;
    cluster.until_available(namespace, name).await
}

/// The Service of a fixture server.
pub(crate) async fn service(cluster: &Cluster, (namespace, name): (&str, &str)) -> Result<()> {
    cluster.apply(&SERVICE.replace("NAMESPACE", namespace).replace("NAME", name)).await?;
    Ok(())
}

/// The gateway `main` with three pods, and its backend `tools`, which is the server `fixture`; served by every pod.
pub(crate) async fn gateway(cluster: &Cluster, namespace: &str) -> Result<()> {
    cluster.apply(&GATEWAY.replace("NAMESPACE", namespace)).await?;
    until_backend(cluster, (namespace, "tools"), ("Programmed", "True")).await?;
    until_backend(cluster, (namespace, "tools"), ("Available", "True")).await?;
    until_gateway(cluster, (namespace, "main"), ("Ready", "True")).await?;
    Ok(())
}

/// The gateway `main` with three pods and nothing behind it.
pub(crate) async fn gateway_alone(cluster: &Cluster, namespace: &str) -> Result<()> {
    let documents = GATEWAY.replace("NAMESPACE", namespace);
    cluster.apply(documents.split("---").next().unwrap_or_default()).await?;
    until_gateway(cluster, (namespace, "main"), ("Ready", "True")).await?;
    Ok(())
}

pub(crate) fn gateways(cluster: &Cluster, namespace: &str) -> Api<McpGateway> {
    Api::namespaced(cluster.client(), namespace)
}

pub(crate) fn backends(cluster: &Cluster, namespace: &str) -> Api<McpBackend> {
    Api::namespaced(cluster.client(), namespace)
}

/// Waits until a condition of a gateway has this status.
pub(crate) async fn until_gateway(
    cluster: &Cluster,
    (namespace, name): (&str, &str),
    (condition, status): (&str, &str),
) -> Result<McpGateway> {
    let what = format!("{condition}={status}");
    let found = cluster.until(gateways(cluster, namespace), name, &what, |found| {
        let conditions = found.and_then(|found| found.status.as_ref()?.conditions.as_ref());
        conditions.into_iter().flatten().any(|found| found.type_ == condition && found.status == status)
    });
    found.await?.context("a gateway")
}

/// Waits until a condition of a backend has this status.
pub(crate) async fn until_backend(
    cluster: &Cluster,
    (namespace, name): (&str, &str),
    (condition, status): (&str, &str),
) -> Result<McpBackend> {
    let what = format!("{condition}={status}");
    let found = cluster.until(backends(cluster, namespace), name, &what, |found| {
        let conditions = found.and_then(|found| found.status.as_ref()?.conditions.as_ref());
        conditions.into_iter().flatten().any(|found| found.type_ == condition && found.status == status)
    });
    found.await?.context("a backend")
}

/// Waits until an MCP endpoint refuses who shows no token.
pub(crate) async fn until_refused(cluster: &Cluster, url: &str) -> Result<()> {
    let _ = cluster;
    let (url, mut look) = (url.to_owned(), interval(Duration::from_millis(50)));
    let refused = async {
        loop {
            look.tick().await;
            let url = url.clone();
            let status = spawn_blocking(move || -> Result<u16> {
                let mut client = ModernClient::new(&url, &json!({}))?;
                let prepared = client.prepare("tools/list", &json!({}))?;
                Ok(client.send(&prepared)?.head()?.status)
            });
            if status.await?? == 401 {
                return Ok(());
            }
        }
    };
    timeout(PATIENCE, refused).await.context("nobody is refused")?
}

/// The pods of a gateway, but those that are about to end.
pub(crate) async fn pods(cluster: &Cluster, namespace: &str, gateway: &str) -> Result<Vec<Pod>> {
    let api: Api<Pod> = Api::namespaced(cluster.client(), namespace);
    let listed = api.list(&ListParams::default().labels(&format!("mcp.bridge/gateway={gateway}"))).await?;
    Ok(listed.items.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect())
}

/// Where a Service is.
pub(crate) async fn address(cluster: &Cluster, namespace: &str, service: &str, port: u16) -> Result<String> {
    let api: Api<Service> = Api::namespaced(cluster.client(), namespace);
    let address = api.get(service).await?.spec.and_then(|spec| spec.cluster_ip).context("an address")?;
    Ok(format!("http://{address}:{port}"))
}
