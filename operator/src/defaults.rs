//! What a resource means that does not say something: every default that the operator decides, in one place. Changes when a
//! default does. The schema of the resources describes them; `docs/resources.md` shows them.

use std::time::Duration;

use bridge_api::v1alpha1::gateway::ListenerProtocol;

/// Pods of a gateway.
pub const REPLICAS: u32 = 2;
/// Pods of a gateway below which an autoscaler does not go.
pub const MIN_REPLICAS: u32 = 2;
/// Part of its CPU request, in percent, at which a pod counts as full.
pub const CPU_PERCENT: u32 = 70;
/// Port of the metrics page.
pub const METRICS_PORT: u16 = 9090;
/// Connections of one listener of one pod.
pub const MAX_CONNECTIONS: u32 = 50_000;
/// Connections of one address to one listener of one pod.
pub const MAX_CONNECTIONS_PER_IP: u32 = 1000;
/// Idle time of a session.
pub const SESSION_TTL: Duration = Duration::from_mins(30);
/// Time for which an accepted token is remembered where each message carries one.
pub const TOKEN_CACHE: Duration = Duration::from_mins(5);
/// Shortest secret of HS256 (RFC 7518 3.2), in bytes.
pub const HMAC_BYTES: usize = 32;
/// Time between pings of a WebSocket.
pub const PING_INTERVAL: Duration = Duration::from_secs(30);
/// Time to connect to a backend.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for an answer of a backend.
pub const REQUEST_TIMEOUT: Duration = Duration::from_mins(1);
/// Connections of one pod to one backend.
pub const BACKEND_CONNECTIONS: u32 = 256;
/// Seconds for which a pod serves as before when it leaves.
pub const DRAIN_MIN: u32 = 5;
/// Seconds after which what is left is closed.
pub const DRAIN_TIMEOUT: u32 = 60;
/// Seconds that Kubernetes gives a pod beyond that.
pub const DRAIN_GRACE: u32 = 15;
/// Child processes of a stdio backend in one pod.
pub const STDIO_SESSIONS: u32 = 50;
/// Header of an API key.
pub const API_KEY_HEADER: &str = "X-API-Key";

/// The path of an MCP server, or of a listener.
pub const fn path(protocol: ListenerProtocol) -> &'static str {
    match protocol {
        ListenerProtocol::StreamableHTTP => "/mcp",
        ListenerProtocol::SSE => "/sse",
        ListenerProtocol::WebSocket | ListenerProtocol::TCP => "/",
    }
}
