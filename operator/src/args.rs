//! Flags. Changes when one is added.

use std::net::SocketAddr;

use bridge_api::meta::DEFAULT_CLASS;
use bridge_runtime::log::Format;
use clap::{Parser, Subcommand};

use crate::VERSION;

/// The Kubernetes operator of MCP Bridge.
#[derive(Debug, Clone, Parser)]
#[command(name = "mcp-operator", version)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Run the operator.
    Run(Box<Run>),
    /// Print the custom resource definitions.
    Crds,
    /// Print the roles that the operator needs.
    Rbac {
        /// Namespace of the operator.
        #[arg(long, default_value = "mcp-system")]
        namespace: String,
        /// Class of the gateways that it serves, as with `run`.
        #[arg(long, default_value = DEFAULT_CLASS)]
        class: String,
        /// Namespaces that it is confined to, separated by commas, as with `run`.
        #[arg(long, value_delimiter = ',')]
        namespaces: Vec<String>,
    },
    /// Print the version.
    Version,
}

/// How the operator runs.
#[derive(Debug, Clone, clap::Args)]
pub struct Run {
    /// Class of the gateways that this installation serves.
    #[arg(long, env = "MCP_OPERATOR_CLASS", default_value = DEFAULT_CLASS)]
    pub class: String,
    /// Namespace of the operator.
    #[arg(long, env = "POD_NAMESPACE", default_value = "mcp-system")]
    pub namespace: String,
    /// Name of this replica, that no other has.
    #[arg(long, env = "POD_NAME")]
    pub replica: Option<String>,
    /// Service of the operators: pods find them as NAME.NAMESPACE.svc.
    #[arg(long, env = "MCP_OPERATOR_SERVICE", default_value = "mcp-bridge-operator")]
    pub service: String,
    /// Where pods find operators instead, as host:port; may be repeated.
    #[arg(long, value_name = "HOST:PORT")]
    pub advertise: Vec<String>,
    /// Address of this replica, for the others.
    #[arg(long, env = "POD_IP", default_value = "127.0.0.1")]
    pub address: std::net::IpAddr,
    /// `ServiceAccount` of the operators.
    #[arg(long, env = "MCP_OPERATOR_ACCOUNT", default_value = "mcp-bridge-operator")]
    pub account: String,
    /// This replica's token for the others, with the audience mcp-bridge-operator.
    #[arg(long, value_name = "FILE", default_value = "/var/run/secrets/mcp.bridge/token")]
    pub token_file: std::path::PathBuf,
    /// Port for pods.
    #[arg(long, default_value = "0.0.0.0:9443")]
    pub listen: SocketAddr,
    /// Port of metrics and health pages.
    #[arg(long, default_value = "0.0.0.0:9090")]
    pub metrics: SocketAddr,
    /// Image of gateways that name none. Without it, ghcr.io/mcp-bridge/mcp-gateway of the operator's version.
    #[arg(long, env = "MCP_GATEWAY_IMAGE")]
    pub image: Option<String>,
    /// Watch every Secret and every `ConfigMap`, not only those with the label mcp.bridge/watch: "true". The others are read
    /// when something refers to them.
    #[arg(long)]
    pub watch_all_secrets: bool,
    /// Namespaces to serve, separated by commas, for installations that may not see the others. Without it, all.
    #[arg(long, env = "MCP_OPERATOR_NAMESPACES", value_delimiter = ',')]
    pub namespaces: Vec<String>,
    /// Let backends be at loopback and link-local addresses.
    #[arg(long)]
    pub allow_local_endpoints: bool,
    /// Let backends have their certificates unchecked (`spec.tls.insecureSkipVerify`).
    #[arg(long)]
    pub allow_insecure_backends: bool,
    /// Least severe level that is logged.
    #[arg(long, env = "MCP_OPERATOR_LOG_LEVEL", default_value = "info")]
    pub log_level: String,
    /// Form of log lines: json or text.
    #[arg(long, default_value = "json")]
    pub log_format: Format,
    /// Version of the program that runs; no flag.
    #[arg(skip = VERSION)]
    pub version: &'static str,
}

impl Run {
    /// Image of gateways that name none.
    pub fn gateway_image(&self) -> String {
        let of_version = || format!("ghcr.io/mcp-bridge/mcp-gateway:{}", self.version);
        self.image.clone().unwrap_or_else(of_version)
    }

    /// Where pods find operators.
    pub fn operators(&self, port: u16) -> Vec<String> {
        if self.advertise.is_empty() {
            return vec![format!("{}.{}.svc:{port}", self.service, self.namespace)];
        }
        self.advertise.clone()
    }

    /// Names that the operator's certificate is for.
    pub fn names(&self, port: u16) -> Vec<String> {
        let hosts = self.operators(port).into_iter().filter_map(|operator| {
            operator.rsplit_once(':').map(|(host, _)| host.trim_matches(['[', ']']).to_owned())
        });
        hosts.collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn gateways_are_of_the_version_of_the_program_unless_told_otherwise() {
        let run = |line: &str| match Args::try_parse_from(line.split(' ')).unwrap().command {
            Command::Run(run) => Run { version: "7.0.0", ..*run },
            other => panic!("{other:?}"),
        };
        assert_eq!(run("mcp-operator run").gateway_image(), "ghcr.io/mcp-bridge/mcp-gateway:7.0.0");
        assert_eq!(run("mcp-operator run --image own:1").gateway_image(), "own:1");
    }

    #[test]
    fn pods_find_operators_by_their_service_unless_told_otherwise() {
        let run = |line: &str| match Args::try_parse_from(line.split(' ')).unwrap().command {
            Command::Run(run) => run,
            other => panic!("{other:?}"),
        };
        let plain = run("mcp-operator run --namespace here");
        assert_eq!(plain.operators(9443), ["mcp-bridge-operator.here.svc:9443"]);
        assert_eq!(plain.names(9443), ["mcp-bridge-operator.here.svc"]);
        let told = run("mcp-operator run --advertise localhost:1 --advertise [::1]:2");
        assert_eq!(told.names(9443), ["localhost", "::1"]);
    }
}
