//! The life of pods as the kubelet runs it. Changes when the kubelet does.

use anyhow::{Context as _, Result, ensure};
use bridge_cluster::Cluster;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod};
use kube::Api;
use kube::api::DeleteParams;

/// Waits until a pod is in this phase.
pub(crate) async fn until_phase(cluster: &Cluster, namespace: &str, name: &str, phase: &str) -> Result<()> {
    let api: Api<Pod> = Api::namespaced(cluster.client(), namespace);
    let over = |pod: &Pod| matches!(phase_of(pod), Some("Succeeded" | "Failed"));
    let found = cluster
        .until(api, name, phase, |pod| pod.is_some_and(|pod| phase_of(pod) == Some(phase) || over(pod)))
        .await?
        .context("a pod")?;
    let log = cluster.log(&found, "main").unwrap_or_default();
    ensure!(phase_of(&found) == Some(phase), "{name} is {:?}: {log}", phase_of(&found));
    Ok(())
}

fn phase_of(pod: &Pod) -> Option<&str> {
    pod.status.as_ref()?.phase.as_deref()
}

/// The status of the only container.
fn container(pod: Option<&Pod>) -> Option<&ContainerStatus> {
    pod?.status.as_ref()?.container_statuses.as_ref()?.first()
}

fn waits_for(state: Option<&ContainerState>) -> Option<&str> {
    state?.waiting.as_ref()?.reason.as_deref()
}

fn pod(namespace: &str, name: &str, container: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: {namespace}}}, \
         spec: {{containers: [{{name: main, {container}}}]}}}}"
    )
}

pub(crate) async fn an_image_that_is_nowhere_is_reported(cluster: &'static Cluster) -> Result<()> {
    cluster.namespace("images").await?;
    cluster.apply(&pod("images", "nowhere", "image: 'example.test/nowhere:1'")).await?;
    let api: Api<Pod> = Api::namespaced(cluster.client(), "images");
    let found = cluster
        .until(api, "nowhere", "ImagePullBackOff", |pod| {
            container(pod).and_then(|it| waits_for(it.state.as_ref())) == Some("ImagePullBackOff")
        })
        .await?;
    ensure!(found.as_ref().and_then(phase_of) == Some("Pending"));
    Ok(())
}

pub(crate) async fn a_container_that_fails_is_started_again(cluster: &'static Cluster) -> Result<()> {
    cluster.namespace("restarts").await?;
    cluster.apply(&pod("restarts", "fails", "image: shell, args: [-c, 'echo once; exit 3']")).await?;
    let api: Api<Pod> = Api::namespaced(cluster.client(), "restarts");
    let found = cluster
        .until(api, "fails", "CrashLoopBackOff after two restarts", |pod| {
            container(pod).is_some_and(|it| {
                it.restart_count >= 2 && waits_for(it.state.as_ref()) == Some("CrashLoopBackOff")
            })
        })
        .await?
        .context("a pod")?;
    let last = container(Some(&found)).and_then(|it| it.last_state.as_ref()?.terminated.as_ref());
    ensure!(last.is_some_and(|last| last.exit_code == 3), "{last:?}");
    ensure!(cluster.log(&found, "main")?.matches("once").count() >= 3);
    Ok(())
}

pub(crate) async fn readiness_follows_its_probe(cluster: &'static Cluster) -> Result<()> {
    cluster.namespace("readiness").await?;
    let spec = "image: shell, args: [-c, 'until test -e /tmp/go; do sleep 0.1; done; touch /tmp/ready; sleep 1000'], \
                readinessProbe: {exec: {command: [test, -e, /tmp/ready]}, periodSeconds: 1}, \
                startupProbe: {exec: {command: [touch, /tmp/go]}, periodSeconds: 1}";
    cluster.apply(&pod("readiness", "gated", spec)).await?;
    let api: Api<Pod> = Api::namespaced(cluster.client(), "readiness");
    let ready = |pod: Option<&Pod>| container(pod).is_some_and(|it| it.ready && it.started == Some(true));
    cluster.until(api, "gated", "ready", ready).await?;
    Ok(())
}

pub(crate) async fn a_pod_has_time_to_end(cluster: &'static Cluster) -> Result<()> {
    cluster.namespace("ends").await?;
    let script =
        "trap 'echo ending; sleep 1; echo ended; exit 0' TERM; echo ready; while :; do sleep 0.1; done";
    cluster.apply(&pod("ends", "polite", &format!("image: shell, args: [-c, \"{script}\"]"))).await?;
    // A shell that ignores the signal is killed when its time is over.
    let stubborn = "trap '' TERM; echo ready; while :; do sleep 0.1; done";
    cluster.apply(&pod("ends", "stubborn", &format!("image: shell, args: [-c, \"{stubborn}\"]"))).await?;
    let api: Api<Pod> = Api::namespaced(cluster.client(), "ends");
    for (name, grace) in [("polite", 30), ("stubborn", 1)] {
        let running = |pod: Option<&Pod>| {
            container(pod).is_some_and(|it| it.ready)
                && pod.is_some_and(|pod| phase_of(pod) == Some("Running"))
        };
        let found = cluster.until(api.clone(), name, "running", running).await?.context("a pod")?;
        cluster.until_logged(&found, "main", "ready").await?;
        api.delete(name, &DeleteParams::default().grace_period(grace)).await?;
        cluster.until(api.clone(), name, "is gone", |pod| pod.is_none()).await?;
        if name == "polite" {
            ensure!(
                cluster.log(&found, "main")? == "ready\nending\nended\n",
                "{:?}",
                cluster.log(&found, "main")
            );
        }
    }
    Ok(())
}

pub(crate) async fn a_container_that_is_not_alive_is_started_again(cluster: &'static Cluster) -> Result<()> {
    cluster.namespace("alive").await?;
    // The first start hangs, so to speak; the second finds that there was one.
    let spec = r#"
apiVersion: v1
kind: Pod
metadata: {name: hangs, namespace: alive}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: main
      image: shell
      args: [-c, "if test -e /state/again; then touch /tmp/alive; fi; touch /state/again; while :; do sleep 0.1; done"]
      livenessProbe: {exec: {command: [test, -e, /tmp/alive]}, periodSeconds: 1, failureThreshold: 2}
      volumeMounts: [{name: state, mountPath: /state}]
  volumes: [{name: state, emptyDir: {}}]
"#;
    cluster.apply(spec).await?;
    let api: Api<Pod> = Api::namespaced(cluster.client(), "alive");
    let again = |pod: Option<&Pod>| container(pod).is_some_and(|it| it.restart_count == 1 && it.ready);
    cluster.until(api, "hangs", "runs for the second time", again).await?;
    Ok(())
}

pub(crate) async fn a_sidecar_outlives_what_it_is_beside(cluster: &'static Cluster) -> Result<()> {
    cluster.namespace("sidecars").await?;
    let spec = r#"
apiVersion: v1
kind: Pod
metadata: {name: job, namespace: sidecars}
spec:
  restartPolicy: Never
  initContainers:
    - name: beside
      image: shell
      restartPolicy: Always
      args: [-c, "trap 'test -e /shared/done && exit 0; exit 9' TERM; echo up >/shared/up; while :; do sleep 0.1; done"]
      startupProbe: {exec: {command: [test, -e, /shared/up]}, periodSeconds: 1}
      volumeMounts: [{name: shared, mountPath: /shared}]
  containers:
    - name: main
      image: shell
      args: [-ec, "test \"$(cat /shared/up)\" = up; touch /shared/done"]
      volumeMounts: [{name: shared, mountPath: /shared}]
  volumes: [{name: shared, emptyDir: {}}]
"#;
    cluster.apply(spec).await?;
    until_phase(cluster, "sidecars", "job", "Succeeded").await?;
    let found = Api::<Pod>::namespaced(cluster.client(), "sidecars").get("job").await?;
    let beside = found.status.and_then(|status| status.init_container_statuses?.into_iter().next());
    let ended = beside.and_then(|beside| beside.state?.terminated);
    ensure!(ended.as_ref().is_some_and(|ended| ended.exit_code == 0), "{ended:?}");
    Ok(())
}
