//! The Deployment of a gateway: its pods, as the restricted Pod Security Standard admits them. Changes when a pod needs
//! something else.
//!
//! The template changes only with what a running pod cannot take over, because each change restarts every pod.

use bridge_api::meta::{BOOTSTRAP_HASH, GATEWAY_UID_LABEL};
use bridge_api::v1alpha1::common::Resources;
use bridge_api::v1alpha1::gateway::Image;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::merge::merge;
use super::snapshot::MOST_PARTS;
use super::{Owned, OwnedKind, Subject, bootstrap};
use crate::{defaults, layout};

/// Label of objects: version of the operator that made them.
pub(super) const VERSION_LABEL: &str = "app.kubernetes.io/version";
/// Name of the container that serves.
const CONTAINER: &str = "gateway";
/// Name of the volume with the token for operators.
const TOKEN: &str = "operator-token";
/// Seconds for which a token is good; the kubelet replaces it before.
const TOKEN_SECONDS: u32 = 3600;

pub(super) fn deployment(subject: &Subject<'_>, replicas: Option<u32>, bootstrap: &str) -> Owned {
    let mut template = template(subject);
    let hash = hash(&format!("{template}{bootstrap}"));
    merge(&mut template, &json!({ "metadata": { "annotations": { BOOTSTRAP_HASH: hash } } }));
    let mut spec = json!({
        "selector": { "matchLabels": subject.selector() },
        "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 0, "maxSurge": "25%" } },
        "minReadySeconds": 5,
        "progressDeadlineSeconds": 600,
        "template": template,
    });
    if let Some(replicas) = replicas {
        merge(&mut spec, &json!({ "replicas": replicas }));
    }
    subject.own(OwnedKind::Deployment, &subject.workload(), &json!({ "spec": spec }))
}

fn template(subject: &Subject<'_>) -> Value {
    let spec = &subject.gateway.spec;
    let drain = spec.drain.as_ref();
    let timeout = drain.and_then(|drain| drain.timeout_seconds).unwrap_or(defaults::DRAIN_TIMEOUT);
    let (volumes, mounts): (Vec<_>, Vec<_>) = volumes(subject).into_iter().unzip();
    let spread = |key: &str| {
        json!({
            "topologyKey": key,
            "maxSkew": 1,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": { "matchLabels": subject.selector() },
            "matchLabelKeys": ["pod-template-hash"],
        })
    };
    let mut pod = json!({
        "serviceAccountName": subject.workload(),
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        // It begins before the wait of `preStop`, and the pod's own time after it.
        "terminationGracePeriodSeconds": wait(subject) + timeout + defaults::DRAIN_GRACE,
        "securityContext": pod_security(),
        "topologySpreadConstraints": [spread("topology.kubernetes.io/zone"), spread("kubernetes.io/hostname")],
        "containers": [container(subject, &Value::Array(mounts))],
        "volumes": volumes,
    });
    if let Some(secrets) = spec.image_pull_secrets.as_ref().filter(|secrets| !secrets.is_empty()) {
        let names: Vec<_> = secrets.iter().map(|secret| json!({ "name": secret.name })).collect();
        merge(&mut pod, &json!({ "imagePullSecrets": names }));
    }
    let mut labels = subject.labels();
    // A newer operator is no reason for new pods.
    merge(&mut labels, &json!({ VERSION_LABEL: null }));
    let mut template = json!({ "metadata": { "labels": labels }, "spec": pod });
    if let Some(own) = &spec.pod_template {
        let guarded = template.clone();
        merge(&mut template, &json!(own));
        restore(&mut template, &guarded);
    }
    template
}

/// What a template of the user cannot change: the label that selects the pods, and the token that proves who they are.
fn restore(template: &mut Value, guarded: &Value) {
    let label = &guarded["metadata"]["labels"][GATEWAY_UID_LABEL];
    let token =
        guarded["spec"]["volumes"].as_array().into_iter().flatten().find(|volume| volume["name"] == TOKEN);
    if let Some(volumes) = template["spec"]["volumes"].as_array_mut() {
        volumes.retain(|volume| volume["name"] != TOKEN);
    }
    let fixed = json!({
        "metadata": { "labels": { GATEWAY_UID_LABEL: label } },
        "spec": { "volumes": [token], "serviceAccountName": guarded["spec"]["serviceAccountName"] },
    });
    merge(template, &fixed);
}

/// Seconds for which a pod that leaves serves as before.
fn wait(subject: &Subject<'_>) -> u32 {
    let drain = subject.gateway.spec.drain.as_ref();
    drain.and_then(|drain| drain.min_seconds).unwrap_or(defaults::DRAIN_MIN)
}

fn container(subject: &Subject<'_>, mounts: &Value) -> Value {
    let spec = &subject.gateway.spec;
    let wait = wait(subject);
    let listeners = spec.listeners.iter().map(|listener| (&*listener.name, listener.port));
    let pages = [("metrics", bootstrap::metrics_port(subject)), ("health", layout::HEALTH_PORT)];
    let ports: Vec<_> = listeners
        .chain(pages)
        .map(|(name, port)| json!({ "name": name, "containerPort": port, "protocol": "TCP" }))
        .collect();
    let probe = |path: &str, failures: u32, period: u32| {
        json!({
            "httpGet": { "path": path, "port": "health" },
            "failureThreshold": failures,
            "periodSeconds": period,
        })
    };
    let (image, pull_policy) = image(subject, spec.image.as_ref());
    let mut container = json!({
        "name": CONTAINER,
        "image": image,
        "args": ["--cluster-config", format!("{}/{}", layout::BOOTSTRAP_DIR, bootstrap::FILE)],
        "env": env(),
        "ports": ports,
        "resources": resources(spec.resources.as_ref()),
        "securityContext": container_security(),
        "livenessProbe": probe("/healthz", 3, 10),
        "readinessProbe": probe("/ready", 2, 2),
        "volumeMounts": mounts,
    });
    if let Some(policy) = pull_policy {
        merge(&mut container, &json!({ "imagePullPolicy": policy }));
    }
    if wait > 0 {
        merge(&mut container, &json!({ "lifecycle": { "preStop": { "sleep": { "seconds": wait } } } }));
    }
    container
}

fn env() -> Vec<Value> {
    let field =
        |name: &str, path: &str| json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": path } } });
    vec![
        field("POD_NAME", "metadata.name"),
        field("POD_UID", "metadata.uid"),
        field("POD_IP", "status.podIP"),
    ]
}

/// Volumes with their mounts. What a user may forget to make is optional, so that a pod starts without it.
fn volumes(subject: &Subject<'_>) -> Vec<(Value, Value)> {
    let volume = |name: &str, path: &str, writable: bool, source: Value| {
        let mut volume = json!({ "name": name });
        merge(&mut volume, &source);
        (
            volume,
            if writable {
                json!({ "name": name, "mountPath": path })
            } else {
                json!({ "name": name, "mountPath": path, "readOnly": true })
            },
        )
    };
    let parts: Vec<_> = (0..MOST_PARTS)
        .map(|part| json!({ "secret": { "name": layout::snapshot(&subject.name.name, part), "optional": true } }))
        .collect();
    let token = json!({ "serviceAccountToken": {
        "audience": layout::AUDIENCE, "expirationSeconds": TOKEN_SECONDS, "path": "token",
    } });
    let bootstrap = format!("{}-bootstrap", subject.workload());
    vec![
        volume("bootstrap", layout::BOOTSTRAP_DIR, false, json!({ "configMap": { "name": bootstrap } })),
        volume(TOKEN, layout::TOKEN_DIR, false, json!({ "projected": { "sources": [token] } })),
        volume("snapshot", layout::SNAPSHOT_DIR, false, json!({ "projected": { "sources": parts } })),
        volume("state", layout::STATE_DIR, true, json!({ "emptyDir": { "medium": "Memory" } })),
    ]
}

/// The image, and when it is pulled. A digest wins over a tag.
fn image(subject: &Subject<'_>, own: Option<&Image>) -> (String, Option<&'static str>) {
    let default = &subject.installation.image;
    let Some(own) = own else { return (default.clone(), None) };
    let (default_repository, default_tag) = split(default);
    let repository = own.repository.as_deref().unwrap_or(default_repository);
    let image = match (&own.digest, &own.tag) {
        (Some(digest), _) => format!("{repository}@{digest}"),
        (None, Some(tag)) => format!("{repository}:{tag}"),
        (None, None) => format!("{repository}{default_tag}"),
    };
    (image, own.pull_policy.map(bridge_api::v1alpha1::gateway::PullPolicy::as_str))
}

/// An image without and with its tag or digest. A colon before the last slash is that of a port.
fn split(image: &str) -> (&str, &str) {
    let name = image.rfind('/').map_or(0, |slash| slash + 1);
    let end = image.get(name..).and_then(|tail| tail.find(['@', ':'])).map_or(image.len(), |at| name + at);
    image.split_at_checked(end).unwrap_or((image, ""))
}

pub(super) fn resources(own: Option<&Resources>) -> Value {
    match own {
        Some(own) => json!(own),
        None => json!({ "requests": { "cpu": "100m", "memory": "128Mi" } }),
    }
}

pub(super) fn pod_security() -> Value {
    json!({ "runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": { "type": "RuntimeDefault" } })
}

pub(super) fn container_security() -> Value {
    json!({
        "allowPrivilegeEscalation": false,
        "capabilities": { "drop": ["ALL"] },
        "readOnlyRootFilesystem": true,
    })
}

/// The first 16 hexadecimal digits of SHA-256: enough to tell two templates apart.
pub(crate) fn hash(text: &str) -> String {
    Sha256::digest(text.as_bytes())
        .iter()
        .take(8)
        .fold(String::new(), |hash, byte| hash + &format!("{byte:02x}"))
}
