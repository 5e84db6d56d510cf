//! An installation that is confined to a namespace, beside others' namespaces. Changes when it may ask for something else.

use std::fs;
use std::process::Command;

use anyhow::{Result, ensure};
use bridge_api::v1alpha1::McpBackend;
use bridge_cluster::{Cluster, Request, root};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use serde_json::json;

use crate::{installed, serves};

const SYSTEM: &str = "tenant-system";
const SERVED: &str = "tenant-a";
const OTHER: &str = "tenant-b";

/// A gateway of the tenants' class that would have backends of every namespace, and a backend of it.
const GATEWAY: &str = "
apiVersion: mcp.bridge/v1alpha1
kind: McpGateway
metadata: {name: main, namespace: NAMESPACE}
spec:
  className: tenant
  replicas: 1
  listeners: [{name: http, protocol: StreamableHTTP, port: 8080, path: /mcp, tls: {mode: Disabled}}]
  auth: {anonymous: Allow}
  backends: {namespaces: {from: All}}
---
apiVersion: mcp.bridge/v1alpha1
kind: McpBackend
metadata: {name: tools, namespace: NAMESPACE}
spec:
  gatewayRefs: [{name: main}]
  protocol: StreamableHTTP
  serviceRef: {name: fixture, port: http}
";

/// A backend that names the gateway of another namespace.
const STRANGER: &str = "
apiVersion: mcp.bridge/v1alpha1
kind: McpBackend
metadata: {name: stranger, namespace: tenant-b}
spec:
  gatewayRefs: [{name: main, namespace: tenant-a}]
  protocol: StreamableHTTP
  serviceRef: {name: fixture, port: http}
";

pub(crate) async fn an_operator_of_one_namespace_asks_for_nothing_of_another(
    cluster: &'static Cluster,
) -> Result<()> {
    installed::operator(cluster).await?;
    cluster.namespace(SYSTEM).await?;
    installed::server(cluster, SERVED, "fixture").await?;
    cluster.namespace(OTHER).await?;
    // What is not to be seen is there before anybody could look.
    cluster.apply(&GATEWAY.replace("NAMESPACE", OTHER)).await?;
    cluster.apply(STRANGER).await?;
    cluster.apply(&GATEWAY.replace("NAMESPACE", SERVED)).await?;
    install(cluster).await?;

    installed::until_backend(cluster, (SERVED, "tools"), ("Available", "True")).await?;
    let served = installed::until_gateway(cluster, (SERVED, "main"), ("Ready", "True")).await?;
    let url = format!("{}/mcp", installed::address(cluster, SERVED, "main", 8080).await?);
    let result = serves::call(url, "echo", json!({ "message": "mine" })).await?;
    ensure!(result["content"][0]["text"] == "mine", "{result}");
    let status = serde_json::to_value(&served.status)?;
    ensure!(status["backends"]["attached"] == 1, "{status:#}");

    // What is elsewhere is seen only by the installation of everything, which says that it is not its own.
    let gateway = installed::gateways(cluster, OTHER).get("main").await?;
    ensure!(gateway.status.is_none(), "{:?}", gateway.status);
    for name in ["tools", "stranger"] {
        let says = |found: Option<&McpBackend>| {
            let conditions = found.and_then(|found| found.status.as_ref()?.conditions.as_ref());
            conditions.into_iter().flatten().any(|one| one.reason == "ClassMismatch")
        };
        let api = installed::backends(cluster, OTHER);
        cluster.until(api, name, "belongs to another installation", says).await?;
    }
    let deployments: Api<Deployment> = Api::namespaced(cluster.client(), OTHER);
    ensure!(deployments.get_opt("main-mcpgw").await?.is_none(), "pods in another's namespace");

    let all = cluster.audit()?;
    let asked: Vec<_> = all.iter().filter(|request| request.is_of(SYSTEM, "mcp-bridge-operator")).collect();
    ensure!(!asked.is_empty(), "it asked for nothing at all");
    let denied: Vec<_> = asked.iter().filter(|request| request.denied()).collect();
    ensure!(denied.is_empty(), "denied: {denied:?}");
    let elsewhere: Vec<_> = asked.iter().filter(|request| !is_own(request)).collect();
    ensure!(elsewhere.is_empty(), "asked for what is not its own: {elsewhere:?}");
    Ok(())
}

/// Roles for one namespace, and the operator's Deployment in another.
async fn install(cluster: &Cluster) -> Result<()> {
    let mut program = Command::new(root().join("target/debug/mcp-operator"));
    let roles = program
        .args(["rbac", "--class", "tenant", "--namespace", SYSTEM, "--namespaces", SERVED])
        .output()?;
    ensure!(roles.status.success(), "mcp-operator rbac");
    cluster.apply(&String::from_utf8(roles.stdout)?).await?;
    let manifest = fs::read_to_string(root().join("tests/cluster/tests/operator/operator.yaml"))?;
    let flags = format!("args: [run, --class, tenant, --namespaces, {SERVED}]");
    let manifest = manifest.replace("mcp-system", SYSTEM).replace("args: [run]", &flags);
    cluster.apply(&manifest.replace("replicas: 2", "replicas: 1")).await?;
    cluster.until_available(SYSTEM, "mcp-bridge-operator").await
}

/// Whether a request is about a namespace that the operator serves or is in, or about a token that it was shown.
fn is_own(request: &Request) -> bool {
    let Some(object) = &request.object_ref else { return true };
    match &*object.namespace {
        "" => object.resource == "tokenreviews",
        SYSTEM | SERVED => true,
        _ => false,
    }
}
