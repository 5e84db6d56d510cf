//! `docs/install.md`, command by command. Changes when that page does.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use bridge_api::v1alpha1::McpGateway;
use bridge_cluster::{Cluster, root};
use k8s_openapi::api::core::v1::{Namespace, Service};
use kube::Api;

use crate::shell::{newcomer, refused, sh};

/// The server that the page calls `search`.
const SERVER: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: servers}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: search, namespace: servers}
spec:
  selector: {matchLabels: {app: search}}
  template:
    metadata: {labels: {app: search}}
    spec:
      containers:
        - name: server
          image: example.test/mcp-test-server:1
          args: [--transport, http, --host, $(POD_IP), --port, "8080"]
          env: [{name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}]
          ports: [{name: mcp, containerPort: 8080}]
          readinessProbe: {tcpSocket: {port: mcp}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: search, namespace: servers}
spec:
  selector: {app: search}
  ports: [{name: mcp, port: 8080, targetPort: mcp}]
"#;

pub(crate) async fn kubectl_installs_from_nothing_to_a_tool_call(cluster: &'static Cluster) -> Result<()> {
    newcomer(cluster)?;
    let (page, before) = (Page::read()?, cluster.audit()?.len());
    let [first, then] = page.scripts("With kubectl")?;
    let said = refused(cluster, &first).await?;
    let unknown: Vec<_> = said.lines().filter(|line| !line.starts_with("ensure CRDs")).collect();
    ensure!(matches!(&unknown[..], [one] if one.contains("no matches for kind \"McpGateway\"")), "{said}");
    sh(cluster, &then).await?;
    for deployment in ["mcp-bridge-operator", "redis", "main-mcpgw"] {
        cluster.until_available("mcp-system", deployment).await?;
    }
    let least = "kubectl -n mcp-system get hpa main-mcpgw -o jsonpath={.spec.minReplicas}";
    ensure!(sh(cluster, least).await? == "3");
    Box::pin(call(cluster, &page)).await?;
    nothing_was_denied(cluster, before)?;
    // What is there is what the file says, also with everything that the API server has added.
    sh(cluster, "kubectl diff --server-side -f deploy/install.yaml").await?;
    let [_, removal] = page.scripts("Uninstalling")?;
    sh(cluster, &removal).await?;
    is_gone(cluster).await
}

pub(crate) async fn helm_installs_from_nothing_to_a_tool_call(cluster: &'static Cluster) -> Result<()> {
    newcomer(cluster)?;
    let (page, start) = (Page::read()?, cluster.audit()?.len());
    let [install] = page.scripts("With Helm")?;
    let said = sh(cluster, &install).await?;
    ensure!(said.contains("port-forward service/main 8080") && !said.contains("WARNING"), "{said}");
    Box::pin(call(cluster, &page)).await?;

    cluster.until_available("mcp-system", "main-mcpgw").await?;
    let pods = "kubectl -n mcp-system get deployment main-mcpgw -o jsonpath={.spec.template}";
    let before = sh(cluster, pods).await?;
    let [upgrade] = page.scripts("Upgrading")?;
    sh(cluster, &upgrade).await?;
    sh(cluster, "kubectl -n mcp-system rollout status deployment/mcp-bridge-operator").await?;
    ensure!(
        sh(cluster, pods).await? == before,
        "an upgrade to the same version replaces pods of the gateway"
    );
    list(cluster, &page).await?;
    nothing_was_denied(cluster, start)?;

    let [removal, _] = page.scripts("Uninstalling")?;
    sh(cluster, &removal).await?;
    is_gone(cluster).await
}

/// From a server to the answer of one of its tools.
async fn call(cluster: &Cluster, page: &Page) -> Result<()> {
    cluster.apply(SERVER).await?;
    cluster.until_available("servers", "search").await?;
    let [annotate, ..] = page.scripts::<3>("A server and a call")?;
    sh(cluster, &annotate).await?;
    let gateways: Api<McpGateway> = Api::namespaced(cluster.client(), "mcp-system");
    // A pod that becomes ready is behind for a moment.
    let serves = |found: Option<&McpGateway>| {
        let Some(status) = found.and_then(|found| found.status.as_ref()) else { return false };
        let conditions = status.conditions.as_deref().unwrap_or_default();
        let holds = |wanted: &str| {
            conditions.iter().any(|condition| condition.type_ == wanted && condition.status == "True")
        };
        status.tools.as_ref().is_some_and(|tools| tools.exposed > 0)
            && ["Accepted", "ResolvedRefs", "Programmed", "Ready"].into_iter().all(holds)
    };
    cluster.until(gateways, "main", "exposes tools, and every condition holds", serves).await?;
    list(cluster, page).await?;
    let request = page.request()?;
    let called = request
        .replace("Mcp-Method: tools/list'", "Mcp-Method: tools/call' -H 'Mcp-Name: test_simple_text'")
        .replace(
            r#""method":"tools/list","params":{"#,
            r#""method":"tools/call","params":{"name":"test_simple_text","arguments":{},"#,
        );
    let answer = with_token(cluster, page, &called).await?;
    ensure!(answer.contains("This is a simple text response for testing."), "{answer}");

    // Without a token nobody is let in.
    let refusal = refused(cluster, &format!("TOKEN=none\n{}", reachable(cluster, &request).await?)).await?;
    ensure!(refusal.contains("401"), "{refusal}");
    Ok(())
}

/// The page's own request.
async fn list(cluster: &Cluster, page: &Page) -> Result<()> {
    let answer = with_token(cluster, page, &page.request()?).await?;
    ensure!(answer.contains("test_simple_text"), "{answer}");
    Ok(())
}

async fn with_token(cluster: &Cluster, page: &Page, request: &str) -> Result<String> {
    let [_, token, _] = page.scripts("A server and a call")?;
    // The kubelet of the test cluster forwards no ports, but Services can be reached from here.
    let token: Vec<_> = token.lines().filter(|line| !line.contains("port-forward")).collect();
    sh(cluster, &format!("{}\n{}", token.join("\n"), reachable(cluster, request).await?)).await
}

async fn reachable(cluster: &Cluster, request: &str) -> Result<String> {
    let services: Api<Service> = Api::namespaced(cluster.client(), "mcp-system");
    let address = services.get("main").await?.spec.and_then(|spec| spec.cluster_ip).context("an address")?;
    Ok(request.replace("127.0.0.1:8080", &format!("{address}:8080")))
}

/// The operator has asked for nothing that its roles refuse, since the audit log had so many requests.
fn nothing_was_denied(cluster: &Cluster, since: usize) -> Result<()> {
    let asked = cluster.audit()?.into_iter().skip(since);
    let asked: Vec<_> = asked.filter(|asked| asked.is_of("mcp-system", "mcp-bridge-operator")).collect();
    let denied: Vec<_> = asked.iter().filter(|asked| asked.denied()).collect();
    ensure!(denied.is_empty() && !asked.is_empty(), "{} requests, of which denied: {denied:#?}", asked.len());
    Ok(())
}

/// Waits until nothing is left, so that the next test begins with nothing.
async fn is_gone(cluster: &Cluster) -> Result<()> {
    cluster.delete_namespace("servers").await?;
    let namespaces: Api<Namespace> = Api::all(cluster.client());
    cluster.until(namespaces, "mcp-system", "is gone", |found| found.is_none()).await?;
    let left = sh(cluster, "kubectl get crd,clusterrole,clusterrolebinding -o name").await?;
    ensure!(!left.contains("mcp.bridge") && !left.contains("mcp-bridge"), "{left}");
    Ok(())
}

/// The page.
struct Page(String);

impl Page {
    fn read() -> Result<Self> {
        Ok(Self(fs::read_to_string(root().join("docs/install.md"))?))
    }

    /// The scripts of a section.
    fn scripts<const N: usize>(&self, section: &str) -> Result<[String; N]> {
        let (_, rest) =
            self.0.split_once(&format!("\n## {section}\n")).with_context(|| section.to_owned())?;
        let text = rest.split("\n## ").next().unwrap_or_default();
        let scripts: Vec<_> =
            text.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
        let count = scripts.len();
        let scripts: Vec<_> = scripts.into_iter().map(ToOwned::to_owned).collect();
        scripts.try_into().ok().with_context(|| format!("{section} has {count} scripts"))
    }

    fn request(&self) -> Result<String> {
        let [_, _, request] = self.scripts("A server and a call")?;
        Ok(request)
    }
}
