//! What people, service accounts and controllers get from a cluster besides objects. Changes when they get something else.

use anyhow::{Context as _, Result, bail, ensure};
use bridge_cluster::Cluster;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::Api;
use kube::api::ListParams;

pub(crate) async fn a_person_reads_logs_and_runs_commands(cluster: &'static Cluster) -> Result<()> {
    cluster.namespace("access").await?;
    let pod = r#"
apiVersion: v1
kind: Pod
metadata: {name: talks, namespace: access}
spec:
  securityContext: {runAsUser: 1234, runAsGroup: 1234}
  containers:
    - name: main
      image: shell
      env: [{name: COLOR, value: green}]
      args: [-c, "echo one; echo two; echo three; echo here >/tmp/file; sleep 1000"]
"#;
    cluster.apply(pod).await?;
    super::pods::until_phase(cluster, "access", "talks", "Running").await?;
    let found = Api::<Pod>::namespaced(cluster.client(), "access").get("talks").await?;
    cluster.until_logged(&found, "main", "three").await?;

    let logs = cluster.kubectl(&["logs", "-n", "access", "talks"]).await?;
    ensure!(logs == "one\ntwo\nthree\n", "{logs:?}");
    let last = cluster.kubectl(&["logs", "-n", "access", "talks", "--tail", "1"]).await?;
    ensure!(last == "three\n", "{last:?}");

    let exec = ["exec", "-n", "access", "talks", "--", "sh", "-c"];
    let script = "cat /tmp/file; echo \"$COLOR $(id -u)\"; hostname -I 2>/dev/null || true";
    let said = cluster.kubectl(&[&exec[..], &[script]].concat()).await?;
    ensure!(said.starts_with("here\ngreen 1234\n"), "{said:?}");
    let Err(error) = cluster.kubectl(&[&exec[..], &["echo no >&2; exit 3"]].concat()).await else {
        bail!("a command that failed did not fail")
    };
    let words = error.to_string();
    ensure!(words.contains("no") && words.contains("exit code 3"), "{words:?}");
    Ok(())
}

pub(crate) async fn a_service_account_may_do_what_its_roles_say(cluster: &'static Cluster) -> Result<()> {
    cluster.namespace("roles").await?;
    let roles = r#"
{apiVersion: v1, kind: ServiceAccount, metadata: {name: reader, namespace: roles}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: roles}
rules: [{apiGroups: [""], resources: [configmaps], verbs: [list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader, namespace: roles}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: ServiceAccount, name: reader, namespace: roles}]
"#;
    cluster.apply(roles).await?;
    let client = cluster.client_of("roles", "reader").await?;
    let all = ListParams::default();
    Api::<ConfigMap>::namespaced(client.clone(), "roles").list(&all).await.context("a role allows it")?;
    ensure!(Api::<Pod>::namespaced(client, "roles").list(&all).await.is_err(), "no role allows it");

    let asked = cluster.audit()?;
    let mut asked: Vec<_> = asked.iter().filter(|request| request.is_of("roles", "reader")).collect();
    asked.sort_by_key(|request| request.request_received_timestamp.clone());
    let seen: Vec<_> = asked
        .iter()
        .filter_map(|request| Some((request.object_ref.as_ref()?.resource.as_str(), request.denied())))
        .collect();
    ensure!(seen == [("configmaps", false), ("pods", true)], "{seen:?}");
    Ok(())
}

pub(crate) async fn an_autoscaler_sees_load(cluster: &'static Cluster) -> Result<()> {
    cluster.namespace("load").await?;
    let busy = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: busy, namespace: load}
spec:
  selector: {matchLabels: {app: busy}}
  template:
    metadata: {labels: {app: busy}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - name: main
          image: shell
          # A tenth of a core, in bursts, and more than half of what it asks for.
          args: [-c, "while :; do i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; sleep 0.1; done"]
          resources: {requests: {cpu: 10m}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: busy, namespace: load}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: busy}
  maxReplicas: 2
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}]
"#;
    cluster.apply(busy).await?;
    let deployments: Api<Deployment> = Api::namespaced(cluster.client(), "load");
    cluster
        .until(deployments, "busy", "is scaled to two", |found| {
            let status = found.and_then(|found| found.status.as_ref());
            status.and_then(|status| status.ready_replicas) == Some(2)
        })
        .await?;
    let top = cluster.kubectl(&["top", "pods", "-n", "load"]).await?;
    ensure!(top.contains("busy-"), "{top}");
    cluster.delete_namespace("load").await
}
