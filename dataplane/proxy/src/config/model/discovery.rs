//! `service_discovery`: finding MCP servers. Changes when a provider starts to work.

use super::Anything;
use crate::config::decode::{CommaList, Located, Named};
use crate::config::shape::Status::{NotYetQuiet, Works};
use crate::config::shape::{choice, section};
use crate::config::values::Seconds;

section! {
    /// Finding MCP servers.
    pub(crate) struct Discovery {
        /// Where servers are found. Only `static` is available yet.
        provider: Option<Provider>, Works;
        /// Other name of `provider`, which wins.
        mode: Option<Provider>, Works;
        /// Several providers at once.
        providers: Vec<Located<ProviderEntry>>, Works;
        /// Servers listed by namespace.
        r#static: Static, Works;
        /// Asks `http` and `https` servers of `static` what they speak: Streamable HTTP first, then HTTP+SSE. Otherwise they
        /// speak Streamable HTTP.
        auto_detect_protocols: bool = false, Works;
    } accepts {
        /// Servers from annotated Kubernetes Services.
        kubernetes: Kubernetes, NotYetQuiet;
        /// Servers from Consul.
        consul: Anything, NotYetQuiet;
        /// Servers as programs.
        stdio: Anything, NotYetQuiet;
        /// Servers over WebSocket.
        websocket: Anything, NotYetQuiet;
        /// Servers over server-sent events.
        sse: Anything, NotYetQuiet;
        /// Kubernetes namespaces to watch.
        namespace_selector: CommaList<String>, NotYetQuiet;
        /// Labels that Services must have.
        label_selector: Anything, NotYetQuiet;
        /// Time between full reads.
        refresh_rate: Seconds, NotYetQuiet;
    }
}

choice! {
    /// Where servers are found.
    pub(crate) enum Provider {
        /// In this file.
        Static = "static",
        /// In Kubernetes.
        Kubernetes = "kubernetes",
        /// In Consul.
        Consul = "consul",
        /// Programs in this file.
        Stdio = "stdio",
        /// WebSocket servers in this file.
        WebSocket = "websocket",
        /// Server-sent event servers in this file.
        Sse = "sse",
    }
}

section! {
    /// One of several providers.
    pub(crate) struct ProviderEntry {
        /// Where servers are found. Only `static` is available yet.
        r#type: Option<Provider>, Works;
        /// Settings of the provider.
        config: ProviderConfig, Works;
    }
}

section! {
    /// Settings of a provider.
    pub(crate) struct ProviderConfig {
        /// `static`: servers by namespace.
        endpoints: Named<Vec<Located<Endpoint>>>, Works;
        /// `static`: as `service_discovery.auto_detect_protocols`.
        auto_detect_protocols: bool = false, Works;
    } accepts {
        /// `kubernetes`: namespaces to watch.
        namespace_selector: CommaList<String>, NotYetQuiet;
        /// `kubernetes`: labels that Services must have.
        label_selector: Anything, NotYetQuiet;
        /// `kubernetes`: time between full reads.
        refresh_rate: Seconds, NotYetQuiet;
        /// `consul`: address of the agent.
        address: String, NotYetQuiet;
        /// `consul`: beginning of the names of services.
        service_prefix: String, NotYetQuiet;
    }
}

section! {
    /// Servers listed by namespace.
    pub(crate) struct Static {
        /// Namespace to servers. The servers of a namespace are endpoints of one backend, which has the namespace's name.
        endpoints: Named<Vec<Located<Endpoint>>>, Works;
    }
}

section! {
    /// One server.
    pub(crate) struct Endpoint {
        /// Required. The scheme chooses the protocol: `http` and `https` are Streamable HTTP, `sse` is HTTP+SSE without TLS.
        /// `/mcp` or `/sse` is added when there is no path.
        url: Option<String>, Works;
    } accepts {
        /// Free labels.
        labels: Anything, NotYetQuiet;
    }
}

section! {
    /// Servers from annotated Kubernetes Services.
    pub(crate) struct Kubernetes {
    } accepts {
        /// Whether the gateway runs in the cluster.
        in_cluster: bool, NotYetQuiet;
        /// Kubeconfig file.
        config_path: String, NotYetQuiet;
        /// Pattern of namespaces.
        namespace_pattern: String, NotYetQuiet;
        /// Labels that Services must have.
        service_labels: Anything, NotYetQuiet;
    }
}
