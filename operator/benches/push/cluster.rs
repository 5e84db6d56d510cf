//! The objects of the benchmark. Changes when it measures other ones.

use serde_json::{Value, json};

use crate::api::Api;

pub(crate) const NAMESPACE: &str = "here";
pub(crate) const GATEWAY: &str = "main";
const GATEWAYS: &str = "mcp.bridge/v1alpha1/mcpgateways";

/// Who a simulated pod is.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
pub(crate) struct Who {
    pub(crate) pod: String,
    pub(crate) uid: String,
    pub(crate) token: String,
}

/// One gateway with so many backends that have a URL each, and pods with tokens.
pub(crate) fn cluster(pods: usize, backends: usize) -> (Api, Vec<Who>) {
    let api = Api::default();
    api.put(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kube-system"}}));
    for (plural, kind) in [("mcpgateways", "McpGateway"), ("mcpbackends", "McpBackend")] {
        api.put(&json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.mcp.bridge")},
            "spec": {"group": "mcp.bridge", "names": {"kind": kind, "plural": plural}, "scope": "Namespaced", "versions": []}}));
    }
    api.put(&json!({"apiVersion": "mcp.bridge/v1alpha1", "kind": "McpGateway", "metadata": {"name": GATEWAY, "namespace": NAMESPACE},
        "spec": {"replicas": 1, "auth": {"anonymous": "Allow"},
            "listeners": [{"name": "http", "protocol": "StreamableHTTP", "port": 8080, "tls": {"mode": "Disabled"}}]}}));
    for number in 0..backends {
        api.put(&backend(number, "first"));
    }
    let gateway = api.get(GATEWAYS, NAMESPACE, GATEWAY).unwrap()["metadata"]["uid"].clone();
    let pods = (0..pods).map(|number| pod(&api, &gateway, number)).collect();
    (api, pods)
}

/// A backend whose URL carries `mark`, so that pods can tell one change of it from another.
pub(crate) fn backend(number: usize, mark: &str) -> Value {
    json!({"apiVersion": "mcp.bridge/v1alpha1", "kind": "McpBackend", "metadata": {"name": format!("b-{number}"), "namespace": NAMESPACE},
        "spec": {"protocol": "StreamableHTTP", "endpoints": [{"url": format!("http://{mark}.example.com/mcp")}]}})
}

fn pod(api: &Api, gateway: &Value, number: usize) -> Who {
    let (pod, token) = (format!("main-{number}"), format!("token-{number}"));
    api.put(&json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": pod, "namespace": NAMESPACE, "labels": {"mcp.bridge/gateway-uid": gateway}},
        "spec": {"containers": []}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}));
    let made = api.get("/v1/pods", NAMESPACE, &pod).unwrap();
    let uid = made["metadata"]["uid"].as_str().unwrap().to_owned();
    let extra = json!({"authentication.kubernetes.io/pod-name": [pod], "authentication.kubernetes.io/pod-uid": [uid]});
    api.token(
        &token,
        json!({"username": format!("system:serviceaccount:{NAMESPACE}:{GATEWAY}-mcpgw"), "extra": extra}),
    );
    Who { pod, uid, token }
}
