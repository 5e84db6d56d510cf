//! What a pod may read about itself. Changes when a field can be referred to.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};

/// The value of a `fieldRef`.
pub(super) fn field(pod: &Pod, path: &str, address: Ipv4Addr, host: Ipv4Addr) -> Result<String> {
    let meta = &pod.metadata;
    let spec = pod.spec.as_ref();
    if let Some((map, key)) = path.strip_suffix("']").and_then(|path| path.split_once("['")) {
        let map = match map {
            "metadata.labels" => &meta.labels,
            "metadata.annotations" => &meta.annotations,
            _ => bail!("no field {path}"),
        };
        return Ok(map.as_ref().and_then(|map| map.get(key)).cloned().unwrap_or_default());
    }
    let value = match path {
        "metadata.name" => meta.name.clone(),
        "metadata.namespace" => meta.namespace.clone(),
        "metadata.uid" => meta.uid.clone(),
        "metadata.labels" => Some(lines(meta.labels.as_ref())),
        "metadata.annotations" => Some(lines(meta.annotations.as_ref())),
        "spec.nodeName" => spec.and_then(|spec| spec.node_name.clone()),
        "spec.serviceAccountName" => spec.and_then(|spec| spec.service_account_name.clone()),
        "status.podIP" | "status.podIPs" => Some(address.to_string()),
        "status.hostIP" | "status.hostIPs" => Some(host.to_string()),
        _ => bail!("no field {path}"),
    };
    Ok(value.unwrap_or_default())
}

/// The value of a `resourceFieldRef`: a limit, or what the node has, divided and rounded up.
pub(super) fn resource(
    pod: &Pod,
    own: Option<&Container>,
    selector: &ResourceFieldSelector,
) -> Result<String> {
    let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
    let container = match &selector.container_name {
        Some(name) => containers.iter().find(|container| container.name == *name),
        None => own,
    };
    let (kind, resource) =
        selector.resource.split_once('.').context("a resource is limits.X or requests.X")?;
    let resources = container.and_then(|container| container.resources.as_ref());
    let listed = resources
        .and_then(|all| if kind == "requests" { all.requests.as_ref() } else { all.limits.as_ref() });
    let fallback = if resource == "cpu" { super::node::CPU } else { super::node::MEMORY };
    let value =
        listed.and_then(|listed| listed.get(resource)).map_or(fallback, |quantity| quantity.0.as_str());
    let divisor = selector.divisor.as_ref().map_or("1", |quantity| quantity.0.as_str());
    let divisor = milli(if divisor == "0" { "1" } else { divisor })?;
    Ok(milli(value)?.div_ceil(divisor).to_string())
}

/// A quantity in thousandths.
fn milli(quantity: &str) -> Result<u128> {
    let split = quantity.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(quantity.len());
    let (number, suffix) = quantity.split_at(split);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let thousandths = format!("{fraction:0<3.3}");
    let base = whole.parse::<u128>()? * 1000 + thousandths.parse::<u128>()?;
    Ok(match suffix {
        "" => base,
        "m" => base / 1000,
        "k" => base * 1000,
        "M" => base * 1_000_000,
        "G" => base * 1_000_000_000,
        "Ki" => base << 10,
        "Mi" => base << 20,
        "Gi" => base << 30,
        _ => bail!("no unit {suffix} of a quantity"),
    })
}

/// A map as the downward API writes it.
fn lines(map: Option<&std::collections::BTreeMap<String, String>>) -> String {
    let lines = map.into_iter().flatten().map(|(key, value)| format!("{key}={value:?}"));
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_in_every_unit() {
        assert_eq!(milli("250m").ok(), Some(250));
        assert_eq!(milli("1.5").ok(), Some(1500));
        assert_eq!(milli("2Ki").ok(), Some(2_048_000));
        assert!(milli("2x").is_err());
    }

    #[test]
    fn labels_are_fields() -> Result<()> {
        let mut pod = Pod::default();
        pod.metadata.labels = Some([("app".to_owned(), "a".to_owned())].into());
        let any = Ipv4Addr::LOCALHOST;
        assert_eq!(field(&pod, "metadata.labels['app']", any, any)?, "a");
        assert_eq!(field(&pod, "metadata.labels['none']", any, any)?, "");
        assert_eq!(field(&pod, "metadata.labels", any, any)?, "app=\"a\"");
        assert!(field(&pod, "spec.hostname", any, any).is_err());
        Ok(())
    }
}
