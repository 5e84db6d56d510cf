//! Pods of a stdio backend that runs on its own: the user's image, in which our program speaks for the user's. Changes when
//! such a pod needs something else.

use bridge_api::meta::MANAGER;
use bridge_api::v1alpha1::McpBackend;
use bridge_api::v1alpha1::backend::{SessionMode, Stdio};
use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::merge::merge;
use super::pods::{container_security, pod_security};
use super::{Installation, Owned, OwnedKind, document, owner};
use crate::world::ObjectName;
use crate::{defaults, layout};

/// Where our program is put.
const TOOLS: &str = "/mcp-bridge";
/// Label that selects the pods: the backend's uid.
const BACKEND_UID_LABEL: &str = "mcp.bridge/backend-uid";

/// The Deployment and Service of a stdio backend; nothing for one that is none, or has no image.
pub fn adapter(backend: &McpBackend, installation: &Installation) -> Vec<Owned> {
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
    let template = json!({ "metadata": { "labels": labels }, "spec": pod(stdio, image, installation) });
    let deployment = json!({ "spec": {
        "replicas": replicas(stdio),
        "selector": { "matchLabels": selector },
        "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 0, "maxSurge": 1 } },
        "template": template,
    } });
    let port = json!({ "name": "mcp", "port": layout::ADAPTER_PORT, "targetPort": "mcp", "protocol": "TCP" });
    let service = json!({ "spec": { "clusterIP": "None", "selector": selector, "ports": [port] } });
    vec![own(OwnedKind::Service, &service), own(OwnedKind::Deployment, &deployment)]
}

/// One process for all sessions is one conversation, which two pods would tear apart.
pub(crate) fn replicas(stdio: &Stdio) -> u32 {
    match stdio.session_mode {
        SessionMode::Shared => 1,
        SessionMode::PerSession => stdio.replicas.unwrap_or(1),
    }
}

fn pod(stdio: &Stdio, image: &str, installation: &Installation) -> Value {
    let mount = |read_only: bool| json!([{ "name": "tools", "mountPath": TOOLS, "readOnly": read_only }]);
    let mode = match stdio.session_mode {
        SessionMode::PerSession => "per-session",
        SessionMode::Shared => "shared",
    };
    let sessions = stdio.max_sessions.unwrap_or(defaults::STDIO_SESSIONS);
    let mut command = vec![
        format!("{TOOLS}/mcp-gateway"),
        "stdio-adapter".to_owned(),
        format!("--listen=0.0.0.0:{}", layout::ADAPTER_PORT),
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
        "securityContext": stdio.security_context.as_ref().map_or_else(container_security, |own| json!(own)),
        "livenessProbe": probe("/healthz", 3, 10),
        "readinessProbe": probe("/ready", 2, 2),
        "volumeMounts": [
            { "name": "tools", "mountPath": TOOLS, "readOnly": true },
            { "name": "tmp", "mountPath": "/tmp" },
        ],
    });
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
            "securityContext": container_security(),
            "volumeMounts": mount(false),
        }],
        "containers": [container],
        "volumes": [{ "name": "tools", "emptyDir": {} }, { "name": "tmp", "emptyDir": {} }],
    })
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
