//! Where things are in a pod of a gateway, and how its objects are called: what the compiled configuration, the pod
//! template and the data plane have to agree on. Changes when one of them moves.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bridge_api::v1alpha1::McpGatewaySpec;
use bridge_api::v1alpha1::common::CaRef;
use bridge_api::v1alpha1::gateway::IpFamily;

/// The bootstrap `ConfigMap`.
pub const BOOTSTRAP_DIR: &str = "/etc/mcp-bridge/bootstrap";
/// The cold-start Secrets: one folder for each.
pub const SNAPSHOT_DIR: &str = "/etc/mcp-bridge/snapshot";
/// The token that the pod shows to the operator.
pub const TOKEN_DIR: &str = "/var/run/secrets/mcp.bridge";
/// Where the pod keeps its last good configuration, in memory.
pub const STATE_DIR: &str = "/var/run/mcp-bridge";
/// Annotation of the Lease and of bootstrap `ConfigMap`s: the installation that wrote them, as `namespace/service`.
pub const INSTALLATION: &str = "mcp.bridge/installation";
/// Audience of the token that the pod shows to the operator.
pub const AUDIENCE: &str = "mcp-bridge-operator";
/// Port of the pages for health in a pod.
pub const HEALTH_PORT: u16 = 8081;
/// Port on which the adapter of an isolated stdio backend serves Streamable HTTP.
pub const ADAPTER_PORT: u16 = 8080;

/// Name of the gateway's `ServiceAccount`, Deployment and of most other objects.
pub fn workload(gateway: &str) -> String {
    format!("{gateway}-mcpgw")
}

/// Name of the bootstrap `ConfigMap`.
pub fn bootstrap(gateway: &str) -> String {
    format!("{}-bootstrap", workload(gateway))
}

/// The gateway whose [`workload`] has this name.
pub fn gateway(workload: &str) -> Option<&str> {
    workload.strip_suffix("-mcpgw")
}

/// Name of the Deployment and Service of an isolated stdio backend.
pub fn adapter(backend: &str) -> String {
    format!("mcpbe-{backend}")
}

/// Name of the Lease by which the operators of a class agree who writes.
pub fn lease(class: &str) -> String {
    format!("mcp-bridge-operator.{class}")
}

/// Name of a cold-start Secret.
pub fn snapshot(gateway: &str, part: usize) -> String {
    format!("{gateway}-mcpgw-snapshot-{part}")
}

/// Every address of a pod. A socket of the unspecified address of IPv6 takes both families; a gateway that is to have IPv4
/// alone says so.
pub fn unspecified(spec: &McpGatewaySpec) -> IpAddr {
    match spec.service.as_ref().and_then(|service| service.ip_families.as_deref()) {
        Some([IpFamily::IPv4]) => Ipv4Addr::UNSPECIFIED.into(),
        _ => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// The key of a reference to authorities.
pub fn ca_key(reference: &CaRef) -> &str {
    reference.key.as_deref().unwrap_or("ca.crt")
}
