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
        /// Servers from annotated Kubernetes Services.
        kubernetes: Option<Kubernetes>, NotYetQuiet;
        /// Servers from Consul.
        consul: Option<Anything>, NotYetQuiet;
        /// Servers as programs.
        stdio: Option<Anything>, NotYetQuiet;
        /// Servers over WebSocket.
        websocket: Option<Anything>, NotYetQuiet;
        /// Servers over server-sent events.
        sse: Option<Anything>, NotYetQuiet;
        /// Kubernetes namespaces to watch.
        namespace_selector: CommaList<String>, NotYetQuiet;
        /// Labels that Services must have.
        label_selector: Option<Anything>, NotYetQuiet;
        /// Time between full reads.
        refresh_rate: Option<Seconds>, NotYetQuiet;
        /// Finding out the protocol of a server.
        auto_detect_protocols: Option<bool>, NotYetQuiet;
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
        /// `kubernetes`: namespaces to watch.
        namespace_selector: CommaList<String>, NotYetQuiet;
        /// `kubernetes`: labels that Services must have.
        label_selector: Option<Anything>, NotYetQuiet;
        /// `kubernetes`: time between full reads.
        refresh_rate: Option<Seconds>, NotYetQuiet;
        /// `consul`: address of the agent.
        address: Option<String>, NotYetQuiet;
        /// `consul`: beginning of the names of services.
        service_prefix: Option<String>, NotYetQuiet;
        /// Finding out the protocol of a server.
        auto_detect_protocols: Option<bool>, NotYetQuiet;
    }
}

section! {
    /// Servers listed by namespace.
    pub(crate) struct Static {
        /// Namespace to servers. Only the first server of a namespace is used yet; the namespace names the backend.
        endpoints: Named<Vec<Located<Endpoint>>>, Works;
    }
}

section! {
    /// One server.
    pub(crate) struct Endpoint {
        /// `http` or `https` URL; `/mcp` is added when it has no path.
        url: Option<String>, Works;
        /// Free labels.
        labels: Option<Anything>, NotYetQuiet;
    }
}

section! {
    /// Servers from annotated Kubernetes Services.
    pub(crate) struct Kubernetes {
        /// Whether the gateway runs in the cluster.
        in_cluster: Option<bool>, NotYetQuiet;
        /// Kubeconfig file.
        config_path: Option<String>, NotYetQuiet;
        /// Pattern of namespaces.
        namespace_pattern: Option<String>, NotYetQuiet;
        /// Labels that Services must have.
        service_labels: Option<Anything>, NotYetQuiet;
    }
}
