//! What a pod must know before it can ask for its configuration: a small YAML file beside the program, and the pod's own
//! name from the environment. Changes when the first step needs another fact.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use bridge_snapshot::push::{Identity, PEERS};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::config::{LogFormat, LogLevel, LogSettings, MetricsSettings, ProcessSettings};

/// The file. Every path is absolute in a pod, because mounts are.
#[derive(Debug, Clone, Deserialize)]
pub struct Bootstrap {
    /// The gateway that this pod is of, as `namespace/name`.
    pub gateway: String,
    /// Operators as `host:port`, at least one. Names are looked up at each connect.
    pub operators: Vec<String>,
    /// PEM certificates of the authorities that vouch for operators. Read at each connect.
    pub ca_file: PathBuf,
    /// The pod's token for operators. Read at each connect.
    pub token_file: PathBuf,
    /// Directory of the last good configuration, which holds secrets: it belongs on a memory volume.
    pub state_dir: PathBuf,
    /// Configuration to start from when no operator answers and none was saved: a file, or a directory whose files are
    /// its parts in the order of their names.
    pub cold_start: Option<PathBuf>,
    /// Address of metrics and health pages.
    pub metrics: Option<SocketAddr>,
    /// Address of the health pages alone.
    pub health: Option<SocketAddr>,
    /// Least severe level that is logged, until a configuration names another.
    #[serde(default = "info", deserialize_with = "level")]
    pub log_level: LogLevel,
    /// Form of log lines: `json` or `text`.
    #[serde(default)]
    pub log_format: Format,
    /// Keys of a newer operator: named in a warning.
    #[serde(flatten)]
    unknown: BTreeMap<String, serde_json::Value>,
    /// Who this pod is.
    #[serde(skip)]
    pod: Pod,
}

/// Form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// For machines.
    #[default]
    Json,
    /// For people.
    Text,
}

/// The pod, as the environment names it (downward API).
#[derive(Debug, Clone, Default)]
struct Pod {
    name: String,
    uid: String,
}

/// Why a pod cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// The file cannot be read.
    #[error("cannot read the bootstrap file `{file}`: {source}")]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file cannot be used.
    #[error("bootstrap file `{file}`: {problem}")]
    Invalid {
        /// The file.
        file: PathBuf,
        /// What is wrong and what is allowed.
        problem: String,
    },
    /// A variable is missing.
    #[error("the environment variable `{0}` is not set; the pod's manifest sets it from `{1}`")]
    Variable(&'static str, &'static str),
}

impl Bootstrap {
    /// Reads the file. `env` reads the environment.
    pub fn load(file: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, BootstrapError> {
        let text = std::fs::read_to_string(file)
            .map_err(|source| BootstrapError::Unreadable { file: file.to_owned(), source })?;
        let mut bootstrap =
            parse(&text).map_err(|problem| BootstrapError::Invalid { file: file.to_owned(), problem })?;
        let variable = |name, path| {
            env(name).filter(|value| !value.is_empty()).ok_or(BootstrapError::Variable(name, path))
        };
        bootstrap.pod =
            Pod { name: variable("POD_NAME", "metadata.name")?, uid: variable("POD_UID", "metadata.uid")? };
        Ok(bootstrap)
    }

    /// Keys that mean nothing to this version.
    pub fn unknown_keys(&self) -> impl Iterator<Item = &str> {
        self.unknown.keys().map(String::as_str)
    }

    /// What the process needs besides a configuration.
    pub fn process(&self) -> ProcessSettings {
        ProcessSettings {
            log: LogSettings {
                level: self.log_level,
                format: match self.log_format {
                    Format::Json => LogFormat::Json,
                    Format::Text => LogFormat::Text,
                },
                include_caller: false,
            },
            metrics: self.metrics.map(|address| MetricsSettings { address }),
            health: self.health,
        }
    }

    /// As it introduces itself.
    pub(super) fn identity(&self) -> Identity {
        Identity {
            gateway: self.gateway.clone(),
            pod: self.pod.name.clone(),
            uid: self.pod.uid.clone(),
            build: env!("CARGO_PKG_VERSION").to_owned(),
            features: vec![PEERS.to_owned()],
        }
    }
}

fn parse(text: &str) -> Result<Bootstrap, String> {
    let bootstrap: Bootstrap = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    if bootstrap.gateway.split('/').filter(|part| !part.is_empty()).count() != 2 {
        return Err(format!("gateway: `{}` is not of the form `namespace/name`", bootstrap.gateway));
    }
    if bootstrap.operators.is_empty() {
        return Err("operators: the list is empty; give at least one `host:port`".to_owned());
    }
    let has_port = |authority: &http::uri::Authority| authority.port_u16().is_some();
    for operator in &bootstrap.operators {
        if !operator.parse().is_ok_and(|authority| has_port(&authority)) {
            return Err(format!("operators: `{operator}` is not of the form `host:port`"));
        }
    }
    Ok(bootstrap)
}

fn info() -> LogLevel {
    LogLevel::Info
}

fn level<'de, D: Deserializer<'de>>(deserializer: D) -> Result<LogLevel, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: &str = "gateway: mcp-system/main\noperators: [mcp-operator.mcp-system.svc:9443]\nca_file: /b/ca.crt\n\
                         token_file: /t/token\nstate_dir: /run/mcp\nmetrics: 0.0.0.0:9090\n";

    #[test]
    fn the_usual_file_is_read() {
        let bootstrap = parse(USUAL).unwrap();
        assert_eq!(bootstrap.gateway, "mcp-system/main");
        assert_eq!(bootstrap.process().metrics.unwrap().address.port(), 9090);
        assert_eq!(bootstrap.process().log.level, LogLevel::Info);
        assert_eq!(bootstrap.unknown_keys().count(), 0);
    }

    #[test]
    fn keys_of_a_newer_operator_are_named_and_do_no_harm() {
        let bootstrap = parse(&format!("{USUAL}zone: {{name: a}}\nlog_level: debug\n")).unwrap();
        assert_eq!(bootstrap.unknown_keys().collect::<Vec<_>>(), ["zone"]);
        assert_eq!(bootstrap.log_level, LogLevel::Debug);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (from, to, said) in [
            ("mcp-system/main", "main", "namespace/name"),
            ("[mcp-operator.mcp-system.svc:9443]", "[]", "at least one"),
            (":9443", "", "host:port"),
            ("ca_file: /b/ca.crt\n", "", "ca_file"),
        ] {
            let problem = parse(&USUAL.replace(from, to)).unwrap_err();
            assert!(problem.contains(said), "{problem}");
        }
    }
}
