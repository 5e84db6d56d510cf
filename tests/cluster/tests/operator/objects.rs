//! What the operator makes besides pods, and takes away again. Changes when it owns another kind of object.

use anyhow::{Context as _, Result, ensure};
use bridge_cluster::Cluster;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use crate::installed;

const SPACE: &str = "objects";

/// Enough of the definition of the Prometheus operator.
const MONITORS: &str = r"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: servicemonitors.monitoring.coreos.com}
spec:
  group: monitoring.coreos.com
  names: {kind: ServiceMonitor, plural: servicemonitors, singular: servicemonitor, listKind: ServiceMonitorList}
  scope: Namespaced
  versions:
    - name: v1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
";

async fn change(cluster: &Cluster, spec: Value) -> Result<()> {
    let change = Patch::Merge(json!({ "spec": spec }));
    installed::gateways(cluster, SPACE).patch("main", &PatchParams::default(), &change).await?;
    Ok(())
}

pub(crate) async fn each_object_comes_and_goes_with_the_wish_for_it(cluster: &'static Cluster) -> Result<()> {
    installed::operator(cluster).await?;
    cluster.namespace(SPACE).await?;
    installed::gateway_alone(cluster, SPACE).await?;
    let budgets: Api<PodDisruptionBudget> = Api::namespaced(cluster.client(), SPACE);
    let policies: Api<NetworkPolicy> = Api::namespaced(cluster.client(), SPACE);
    let kind = GroupVersionKind::gvk("monitoring.coreos.com", "v1", "ServiceMonitor");
    let resource = ApiResource::from_gvk(&kind);

    cluster.until(budgets.clone(), "main-mcpgw", "exists", |found| found.is_some()).await?;
    change(cluster, json!({ "networkPolicy": { "enabled": true }, "observability": { "metrics": { "serviceMonitor": { "enabled": true } } } })).await?;
    cluster.until(policies.clone(), "main-mcpgw", "exists", |found| found.is_some()).await?;
    // The definition comes later than the wish.
    cluster.apply(MONITORS).await?;
    let monitors: Api<DynamicObject> = Api::namespaced_with(cluster.client(), SPACE, &resource);
    let mut seen = false;
    let mut tick = tokio::time::interval(std::time::Duration::from_millis(250));
    for _ in 0..480 {
        tick.tick().await;
        seen = monitors.get_opt("main-mcpgw").await?.is_some();
        if seen {
            break;
        }
    }
    ensure!(seen, "no ServiceMonitor, though its definition is there");

    change(cluster, json!({ "replicas": 1, "networkPolicy": null, "observability": null })).await?;
    cluster.until(policies, "main-mcpgw", "is gone", |found| found.is_none()).await?;
    cluster.until(budgets, "main-mcpgw", "is gone", |found| found.is_none()).await?;
    for _ in 0..480 {
        tick.tick().await;
        seen = monitors.get_opt("main-mcpgw").await?.is_some();
        if !seen {
            break;
        }
    }
    ensure!(!seen, "a ServiceMonitor that nobody wants");

    // A part of what pods start from that is one too many, as when there was more to save before.
    let secrets: Api<Secret> = Api::namespaced(cluster.client(), SPACE);
    let saved =
        cluster.until(secrets.clone(), "main-mcpgw-snapshot-0", "exists", |found| found.is_some()).await?;
    let mut more = saved.context("a Secret")?;
    ensure!(more.owner_references().iter().any(|owner| owner.kind == "McpGateway"), "{more:?}");
    more.metadata = ObjectMeta {
        name: Some("main-mcpgw-snapshot-1".to_owned()),
        labels: more.metadata.labels,
        owner_references: more.metadata.owner_references,
        ..ObjectMeta::default()
    };
    secrets.create(&PostParams::default(), &more).await?;
    change(cluster, json!({ "observability": { "logging": { "level": "debug" } } })).await?;
    cluster.until(secrets, "main-mcpgw-snapshot-1", "is gone", |found| found.is_none()).await?;
    Ok(())
}

pub(crate) async fn pods_of_a_stdio_backend_come_and_go_with_it(cluster: &'static Cluster) -> Result<()> {
    installed::operator(cluster).await?;
    cluster.namespace("stdio").await?;
    installed::gateway_alone(cluster, "stdio").await?;
    let backend = r"
apiVersion: mcp.bridge/v1alpha1
kind: McpBackend
metadata: {name: lines, namespace: stdio}
spec:
  gatewayRefs: [{name: main}]
  protocol: Stdio
  stdio:
    image: example.test/mcp-test-server:1
    command: [mcp-test-server, --transport, stdio]
    maxSessions: 4
";
    cluster.apply(backend).await?;
    cluster.until_available("stdio", "mcpbe-lines").await?;
    installed::until_backend(cluster, ("stdio", "lines"), ("Available", "True")).await?;
    let url = format!("{}/mcp", installed::address(cluster, "stdio", "main", 8080).await?);
    let result = crate::serves::call(url, "echo", json!({ "message": "by lines" })).await?;
    ensure!(result["content"][0]["text"] == "by lines", "{result}");

    // A gateway that forbids such backends has none of their pods.
    let forbid = Patch::Merge(json!({ "spec": { "stdioPolicy": "Forbid" } }));
    installed::gateways(cluster, "stdio").patch("main", &PatchParams::default(), &forbid).await?;
    let deployments: Api<Deployment> = Api::namespaced(cluster.client(), "stdio");
    cluster.until(deployments, "mcpbe-lines", "is gone", |found| found.is_none()).await?;
    installed::until_backend(cluster, ("stdio", "lines"), ("Accepted", "False")).await?;
    Ok(())
}

pub(crate) async fn what_the_api_server_does_not_take_is_told_by_its_owner(
    cluster: &'static Cluster,
) -> Result<()> {
    const REFUSED: &str = "refused";
    installed::operator(cluster).await?;
    cluster.namespace(REFUSED).await?;
    installed::gateway_alone(cluster, REFUSED).await?;
    let gateways = installed::gateways(cluster, REFUSED);
    let admit = |port: u32| {
        let rule = json!({ "ports": [{ "port": port }] });
        Patch::Merge(json!({ "spec": { "networkPolicy": { "enabled": true, "extraIngress": [rule] } } }))
    };
    let message = |conditions: Option<Vec<Condition>>| {
        let mut conditions = conditions.into_iter().flatten();
        conditions.find(|found| found.type_ == "Accepted").map(|found| found.message).unwrap_or_default()
    };
    gateways.patch("main", &PatchParams::default(), &admit(70_000)).await?;
    installed::until_gateway(cluster, (REFUSED, "main"), ("Accepted", "False")).await?;
    let status = gateways.get("main").await?.status;
    let told = message(status.and_then(|status| status.conditions));
    ensure!(told.contains("NetworkPolicy refused/main-mcpgw is refused") && told.contains("70000"), "{told}");
    gateways.patch("main", &PatchParams::default(), &admit(7000)).await?;
    installed::until_gateway(cluster, (REFUSED, "main"), ("Accepted", "True")).await?;

    // What does not even fit the schema of a Deployment.
    let backend = |drop: &str| {
        format!(
            "
apiVersion: mcp.bridge/v1alpha1
kind: McpBackend
metadata: {{name: lines, namespace: refused}}
spec:
  protocol: Stdio
  stdio:
    image: example.test/mcp-test-server:1
    command: [mcp-test-server, --transport, stdio]
    securityContext: {{capabilities: {{drop: {drop}}}}}
"
        )
    };
    cluster.apply(&backend("ALL")).await?;
    installed::until_backend(cluster, (REFUSED, "lines"), ("Accepted", "False")).await?;
    let status = installed::backends(cluster, REFUSED).get("lines").await?.status;
    let told = message(status.and_then(|status| status.conditions));
    ensure!(told.contains("Deployment refused/mcpbe-lines is refused"), "{told}");
    cluster.apply(&backend("[ALL]")).await?;
    installed::until_backend(cluster, (REFUSED, "lines"), ("Accepted", "True")).await?;
    Ok(())
}
