//! Pods of a stdio backend that runs on its own: the user's image, in which our program speaks for the user's. Changes when
//! such a pod needs something else.

use std::collections::BTreeSet;

use bridge_api::meta::{ENVIRONMENT_HASH, GATEWAY_UID_LABEL, MANAGER};
use bridge_api::v1alpha1::backend::{SessionMode, Stdio};
use bridge_api::v1alpha1::{McpBackend, McpGateway};
use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::merge::merge;
use super::pods::{container_security, hash, pod_security};
use super::{Installation, Owned, OwnedKind, document, owner};
use crate::world::ObjectName;
use crate::{defaults, layout};

/// Where our program is put.
const TOOLS: &str = "/mcp-bridge";
/// Label that selects the pods: the backend's uid.
const BACKEND_UID_LABEL: &str = "mcp.bridge/backend-uid";

/// The Deployment, Service and `NetworkPolicy` of a stdio backend at the gateways that want pods of it; nothing for one that
/// is none, or has no image. Its pods are replaced when `environment` changes: the versions of the Secrets that they read once.
pub fn adapter(
    backend: &McpBackend,
    gateways: &[&McpGateway],
    environment: &BTreeSet<String>,
    installation: &Installation,
) -> Vec<Owned> {
    let Some((stdio, image)) =
        backend.spec.stdio.as_ref().and_then(|stdio| Some((stdio, stdio.image.as_ref()?)))
    else {
        return Vec::new();
    };
    let (name, uid) = (backend.name_any(), backend.uid().unwrap_or_default());
    let labels = json!({
        "app.kubernetes.io/name": "mcp-stdio-adapter",
        "app.kubernetes.io/instance": name,
        "app.kubernetes.io/component": "backend",
        "app.kubernetes.io/managed-by": MANAGER,
        BACKEND_UID_LABEL: uid,
    });
    let selector = json!({ BACKEND_UID_LABEL: uid });
    let own = |kind, body: &Value| {
        let object = ObjectName::new(backend.namespace().unwrap_or_default(), layout::adapter(&name));
        document(kind, object, owner("McpBackend", &backend.metadata), &labels, body)
    };
    let mut pod = pod(stdio, image, installation);
    let here = backend.namespace();
    let of_gateways = gateways.iter().filter(|gateway| gateway.namespace() == here);
    let of_gateways = of_gateways.flat_map(|gateway| gateway.spec.image_pull_secrets.iter().flatten());
    let pull: BTreeSet<_> =
        stdio.image_pull_secrets.iter().flatten().chain(of_gateways).map(|all| &all.name).collect();
    if !pull.is_empty() {
        let names: Vec<_> = pull.into_iter().map(|name| json!({ "name": name })).collect();
        merge(&mut pod, &json!({ "imagePullSecrets": names }));
    }
    let mut template = json!({ "metadata": { "labels": labels }, "spec": pod });
    if !environment.is_empty() {
        let versions = environment.iter().map(String::as_str).collect::<Vec<_>>().join("\n");
        let notes = json!({ ENVIRONMENT_HASH: hash(&versions) });
        merge(&mut template, &json!({ "metadata": { "annotations": notes } }));
    }
    let deployment = json!({ "spec": {
        "replicas": replicas(stdio),
        "selector": { "matchLabels": selector },
        "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 0, "maxSurge": 1 } },
        "template": template,
    } });
    let port = json!({ "name": "mcp", "port": layout::ADAPTER_PORT, "targetPort": "mcp", "protocol": "TCP" });
    let service = json!({ "spec": { "clusterIP": "None", "selector": selector, "ports": [port] } });
    let policy = json!({ "spec": {
        "podSelector": { "matchLabels": selector },
        "policyTypes": ["Ingress"],
        "ingress": [{
            "from": gateways.iter().map(|gateway| pods_of(gateway)).collect::<Vec<_>>(),
            "ports": [{ "port": layout::ADAPTER_PORT, "protocol": "TCP" }],
        }],
    } });
    vec![
        own(OwnedKind::Service, &service),
        own(OwnedKind::NetworkPolicy, &policy),
        own(OwnedKind::Deployment, &deployment),
    ]
}

/// The pods of a gateway, as a peer of a `NetworkPolicy`: the server asks its clients for nothing.
fn pods_of(gateway: &McpGateway) -> Value {
    let namespace = gateway.namespace().unwrap_or_default();
    json!({
        "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": namespace } },
        "podSelector": { "matchLabels": { GATEWAY_UID_LABEL: gateway.uid().unwrap_or_default() } },
    })
}

/// One process for all sessions is one conversation, which two pods would tear apart.
pub(crate) fn replicas(stdio: &Stdio) -> u32 {
    match stdio.session_mode {
        SessionMode::Shared => 1,
        SessionMode::PerSession => stdio.replicas.unwrap_or(1),
    }
}

fn pod(stdio: &Stdio, image: &str, installation: &Installation) -> Value {
    let mode = match stdio.session_mode {
        SessionMode::PerSession => "per-session",
        SessionMode::Shared => "shared",
    };
    let sessions = stdio.max_sessions.unwrap_or(defaults::STDIO_SESSIONS);
    let mut command = vec![
        format!("{TOOLS}/mcp-gateway"),
        "stdio-adapter".to_owned(),
        format!("--listen=[::]:{}", layout::ADAPTER_PORT),
        format!("--session-mode={mode}"),
        format!("--max-sessions={sessions}"),
        "--".to_owned(),
    ];
    command.extend(stdio.command.iter().cloned());
    let probe = |path: &str, failures: u32, period: u32| {
        json!({
            "httpGet": { "path": path, "port": "mcp" },
            "failureThreshold": failures,
            "periodSeconds": period,
        })
    };
    let mut container = json!({
        "name": "server",
        "image": image,
        "command": command,
        "env": env(stdio),
        "ports": [{ "name": "mcp", "containerPort": layout::ADAPTER_PORT, "protocol": "TCP" }],
        "securityContext": container_security(),
        "livenessProbe": probe("/healthz", 3, 10),
        "readinessProbe": probe("/ready", 2, 2),
        "volumeMounts": [
            { "name": "tools", "mountPath": TOOLS, "readOnly": true },
            { "name": "tmp", "mountPath": "/tmp" },
        ],
    });
    if let Some(own) = &stdio.security_context {
        merge(&mut container, &json!({ "securityContext": own }));
    }
    if let Some(resources) = &stdio.resources {
        merge(&mut container, &json!({ "resources": resources }));
    }
    if let Some(directory) = &stdio.working_dir {
        merge(&mut container, &json!({ "workingDir": directory }));
    }
    if let Some(secrets) = stdio.env_from.as_ref().filter(|secrets| !secrets.is_empty()) {
        let sources: Vec<_> =
            secrets.iter().map(|secret| json!({ "secretRef": { "name": secret.name } })).collect();
        merge(&mut container, &json!({ "envFrom": sources }));
    }
    json!({
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "securityContext": pod_security(),
        "initContainers": [{
            "name": "tools",
            "image": installation.image,
            "args": ["stdio-adapter", format!("--install={TOOLS}/mcp-gateway")],
            "resources": copy_resources(),
            "securityContext": container_security(),
            "volumeMounts": [{ "name": "tools", "mountPath": TOOLS }],
        }],
        "containers": [container],
        "volumes": [{ "name": "tools", "emptyDir": {} }, { "name": "tmp", "emptyDir": {} }],
    })
}

/// For copying one file. With both, because a quota of the namespace may ask for both.
fn copy_resources() -> Value {
    json!({ "requests": { "cpu": "10m", "memory": "32Mi" }, "limits": { "cpu": "1", "memory": "128Mi" } })
}

fn env(stdio: &Stdio) -> Vec<Value> {
    let variables =
        stdio.env.iter().flatten().map(|variable| match (&variable.value, &variable.secret_ref) {
            (Some(value), _) => json!({ "name": variable.name, "value": value }),
            (None, Some(secret)) => json!({
                "name": variable.name,
                "valueFrom": { "secretKeyRef": { "name": secret.name, "key": secret.key } },
            }),
            (None, None) => json!({ "name": variable.name }),
        });
    variables.collect()
}
