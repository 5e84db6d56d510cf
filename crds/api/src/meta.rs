//! Labels, annotations and field managers of ours on objects of Kubernetes. Changes when one is added. What users write on
//! Services is in `service.rs`.

/// Label of everything that belongs to a gateway: its name.
pub const GATEWAY_LABEL: &str = "mcp.bridge/gateway";
/// Label that selects the pods of a gateway: its uid, which no other gateway ever has.
pub const GATEWAY_UID_LABEL: &str = "mcp.bridge/gateway-uid";
/// Label of Secrets and `ConfigMap`s that the operator watches: `"true"`.
pub const WATCH_LABEL: &str = "mcp.bridge/watch";
/// Annotation of an owned object: hash of what was last applied.
pub const APPLIED_HASH: &str = "mcp.bridge/applied-hash";
/// Annotation of an owned object: `metadata.generation` of its owner when it was last applied.
pub const GENERATION: &str = "mcp.bridge/generation";
/// Annotation of the pod template: hash of what needs a restart.
pub const BOOTSTRAP_HASH: &str = "mcp.bridge/bootstrap-hash";
/// Annotation of the pod template of a stdio backend: hash of the versions of the Secrets in its environment.
pub const ENVIRONMENT_HASH: &str = "mcp.bridge/environment-hash";

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
