//! Labels and annotations of ours. Changes when one is added.

/// Annotations of a Service that becomes a backend.
pub mod service {
    /// `"true"`, exactly, makes the Service a backend. The same label does, unless a gateway says otherwise.
    pub const ENABLED: &str = "mcp.bridge/enabled";
    /// Tool namespace under which clients know it. Required.
    pub const NAMESPACE: &str = "mcp.bridge/namespace";
    /// JSON list of tools: names, or objects with `name`, `description` and `inputSchema`.
    pub const TOOLS: &str = "mcp.bridge/tools";
    /// What it speaks: `http`, `https`, `ws`, `wss`, `sse`, `tcp` or `auto`.
    pub const PROTOCOL: &str = "mcp.bridge/protocol";
    /// Path of the URL.
    pub const PATH: &str = "mcp.bridge/path";
    /// Port by number or name. Without it the port named `mcp`, or the only one.
    pub const PORT: &str = "mcp.bridge/port";
    /// Share of requests among the Services of one tool namespace.
    pub const WEIGHT: &str = "mcp.bridge/weight";
    /// Path of a health check by HTTP.
    pub const HEALTH_CHECK_PATH: &str = "mcp.bridge/health-check-path";
    /// Time between health checks, for example `30s`.
    pub const HEALTH_CHECK_INTERVAL: &str = "mcp.bridge/health-check-interval";
    /// The only gateway that takes it: `name` or `namespace/name`.
    pub const GATEWAY: &str = "mcp.bridge/gateway";

    /// All of them.
    pub const ALL: [&str; 10] = [
        ENABLED,
        NAMESPACE,
        TOOLS,
        PROTOCOL,
        PATH,
        PORT,
        WEIGHT,
        HEALTH_CHECK_PATH,
        HEALTH_CHECK_INTERVAL,
        GATEWAY,
    ];
}

/// Label of everything that belongs to a gateway: its name.
pub const GATEWAY_LABEL: &str = "mcp.bridge/gateway";
/// Label that selects the pods of a gateway: its uid, which no other gateway ever has.
pub const GATEWAY_UID_LABEL: &str = "mcp.bridge/gateway-uid";
/// Label of Secrets and `ConfigMap`s that the operator watches: `"true"`.
pub const WATCH_LABEL: &str = "mcp.bridge/watch";
/// Annotation of an owned object: hash of what was last applied.
pub const APPLIED_HASH: &str = "mcp.bridge/applied-hash";
/// Annotation of the pod template: hash of what needs a restart.
pub const BOOTSTRAP_HASH: &str = "mcp.bridge/bootstrap-hash";

/// Field manager of owned objects.
pub const MANAGER: &str = "mcp-bridge-operator";
/// Field manager of status.
pub const STATUS_MANAGER: &str = "mcp-bridge-operator/status";
/// Field manager of the cold-start Secrets.
pub const SNAPSHOT_MANAGER: &str = "mcp-bridge-operator/snapshot";
/// Field manager of `spec.replicas` while it is handed over to or from an autoscaler.
pub const HANDOVER_MANAGER: &str = "mcp-bridge-operator/handover";
/// `spec.className` of gateways that name none.
pub const DEFAULT_CLASS: &str = "mcp-bridge";
