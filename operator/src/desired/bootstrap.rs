//! What a pod knows before it has a configuration. Changes with the data plane's bootstrap file.

use std::net::SocketAddr;

use bridge_api::v1alpha1::gateway::LogFormat;
use serde_json::json;

use super::{Owned, OwnedKind, Subject};
use crate::{defaults, layout};

/// Name of the file.
pub(super) const FILE: &str = "bootstrap.yaml";
/// Name of the file with the authorities that vouch for operators.
const AUTHORITIES: &str = "ca.crt";

/// The file. JSON is YAML. The log level is not in it: it is part of the configuration, which changes under running pods.
pub(super) fn text(subject: &Subject<'_>) -> String {
    let observability = subject.gateway.spec.observability.as_ref();
    let logging = observability.and_then(|all| all.logging.as_ref());
    let format = logging.and_then(|logging| logging.format).unwrap_or(LogFormat::Json);
    let address = layout::unspecified(&subject.gateway.spec);
    let file = json!({
        "gateway": subject.name.to_string(),
        "operators": subject.installation.operators,
        "ca_file": format!("{}/{AUTHORITIES}", layout::BOOTSTRAP_DIR),
        "token_file": format!("{}/token", layout::TOKEN_DIR),
        "state_dir": layout::STATE_DIR,
        "cold_start": layout::SNAPSHOT_DIR,
        "metrics": SocketAddr::new(address, metrics_port(subject)),
        "health": SocketAddr::new(address, layout::HEALTH_PORT),
        "log_format": format.as_str(),
    });
    format!("{file:#}\n")
}

pub(super) fn config_map(subject: &Subject<'_>, text: &str) -> Owned {
    let name = layout::bootstrap(&subject.name.name);
    let data = json!({ FILE: text, AUTHORITIES: subject.installation.authorities });
    let annotations = json!({ layout::INSTALLATION: subject.installation.name });
    subject.own(
        OwnedKind::ConfigMap,
        &name,
        &json!({ "metadata": { "annotations": annotations }, "data": data }),
    )
}

/// Port of the metrics page.
pub(super) fn metrics_port(subject: &Subject<'_>) -> u16 {
    let observability = subject.gateway.spec.observability.as_ref();
    let metrics = observability.and_then(|all| all.metrics.as_ref());
    metrics.and_then(|metrics| metrics.port).unwrap_or(defaults::METRICS_PORT)
}
