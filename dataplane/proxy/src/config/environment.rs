//! Environment variables laid over the file. Changes when a variable is added or the precedence changes.

use super::decode::{At, Context, Problem};
use super::diagnostic::Position;
use super::shape::{Key, Shape};
use super::suggest::closest;
use super::yaml::{Entry, Node, Value};

/// Prefix of the variables that override keys: `MCP_GATEWAY_SERVER_PORT` overrides `server.port`.
const PREFIX: &str = "MCP_GATEWAY_";

/// Variables without the prefix that stand for a key; the prefixed ones win over them.
pub(crate) const PLAIN: [(&str, &str); 6] = [
    ("LOG_LEVEL", "logging.level"),
    ("REDIS_URL", "redis.url"),
    ("REDIS_PASSWORD", "redis.password"),
    ("SUPPORTED_PROTOCOLS", "server.protocols"),
    ("STDIO_SOCKET_PATH", "server.stdio_frontend.socket_path"),
    ("AUTO_DETECT_PROTOCOLS", "service_discovery.auto_detect_protocols"),
];

/// Documented variables whose feature is not built yet, with the words for the warning. Values that mean "off" are silent.
pub(crate) const NOT_YET: [(&str, &str); 4] = [
    ("CROSS_PROTOCOL_LOAD_BALANCING", "load balancing is"),
    ("SERVICE_DISCOVERY_ENABLED", "switching service discovery by a variable is"),
    ("CONSUL_ADDRESS", "service discovery through Consul is"),
    ("KUBERNETES_NAMESPACE", "service discovery through Kubernetes is"),
];

/// The variable that overrides the key at `path`.
pub(crate) fn variable(path: &str) -> String {
    format!("{PREFIX}{}", path.replace('.', "_").to_ascii_uppercase())
}

/// Paths of all keys that a variable can override: single values and lists of texts, outside of lists.
pub(crate) fn overridable(keys: &[Key]) -> Vec<String> {
    let mut paths = Vec::new();
    collect(keys, "", &mut paths);
    paths
}

fn collect(keys: &[Key], prefix: &str, paths: &mut Vec<String>) {
    for key in keys {
        let path = format!("{prefix}{}", key.name);
        match &key.shape {
            Shape::Text { .. } | Shape::CommaList(_) => paths.push(path),
            shape => {
                if let Some(keys) = shape.keys() {
                    collect(&keys, &format!("{path}."), paths);
                }
            }
        }
    }
}

/// Lays the variables over the document.
pub(crate) fn apply(document: &mut Node, keys: &[Key], cx: &mut Context<'_>) {
    // As in the original, an empty variable counts as not set.
    let env = cx.env;
    let read = |name: &str| env(name).filter(|value| !value.is_empty());
    for path in overridable(keys) {
        let plain = PLAIN.iter().filter(|(_, key)| *key == path).map(|(name, _)| (*name).to_owned());
        let names = std::iter::once(variable(&path)).chain(plain);
        let Some((name, text)) = names.into_iter().find_map(|name| read(&name).map(|text| (name, text)))
        else {
            continue;
        };
        let position = Position::Environment(name);
        let steps: Vec<&str> = path.split('.').collect();
        if let Err(kind) = set(document, &steps, &text, &position) {
            let problem =
                Problem::new(format!("cannot override: the file has {kind} where a map of keys is needed"));
            cx.error(&At { path, position }, problem);
        }
    }
    for (name, feature) in NOT_YET {
        if read(name).is_some_and(|value| !matches!(value.as_str(), "false" | "0" | "no" | "off")) {
            let at = At { path: String::new(), position: Position::Environment(name.to_owned()) };
            cx.warn(&at, Problem::new(format!("{feature} not available yet; the variable has no effect")));
        }
    }
}

/// Sets one key, making the maps on the way; the error says what stands in the way.
fn set(node: &mut Node, steps: &[&str], text: &str, position: &Position) -> Result<(), &'static str> {
    let Some((step, rest)) = steps.split_first() else {
        *node = Node { value: Value::Scalar(text.to_owned()), position: position.clone() };
        return Ok(());
    };
    if node.value == Value::Null {
        node.value = Value::Map(Vec::new());
    }
    let kind = node.value.kind();
    let Value::Map(entries) = &mut node.value else { return Err(kind) };
    let index = entries.iter().position(|entry| entry.key.eq_ignore_ascii_case(step)).unwrap_or_else(|| {
        let value = Node { value: Value::Null, position: position.clone() };
        entries.push(Entry { key: (*step).to_owned(), key_position: position.clone(), value });
        entries.len() - 1
    });
    let entry = entries.get_mut(index).ok_or(kind)?;
    if rest.is_empty() {
        entry.key_position = position.clone();
    }
    set(&mut entry.value, rest, text, position)
}

/// Variables with our prefix that override nothing but look like a typing error, each with the likely name. Unknown ones
/// without a likely meaning are left alone: Kubernetes sets many with this prefix for a Service called `mcp-gateway`.
pub(crate) fn misspelt(names: impl Iterator<Item = String>, keys: &[Key]) -> Vec<(String, String)> {
    let known: Vec<String> = overridable(keys).iter().map(|path| path.replace('.', "_")).collect();
    let guess = |name: &str| {
        let rest = name.strip_prefix(PREFIX)?;
        let foreign = ["SERVICE_HOST", "SERVICE_PORT", "PORT"].iter().any(|start| rest.starts_with(start));
        let rest = rest.to_ascii_lowercase();
        if foreign || known.contains(&rest) {
            return None;
        }
        closest(&rest, known.iter().map(String::as_str)).map(variable)
    };
    names.filter_map(|name| guess(&name).map(|guess| (name, guess))).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::config::model::Config;

    #[test]
    fn every_key_has_a_variable_of_its_own() {
        let names: Vec<String> = overridable(&Config::keys()).iter().map(|path| variable(path)).collect();
        assert!(names.contains(&"MCP_GATEWAY_SERVICE_DISCOVERY_PROVIDER".to_owned()));
        assert!(names.contains(&"MCP_GATEWAY_SERVER_TLS_ENABLED".to_owned()));
        assert!(names.contains(&"MCP_GATEWAY_AUTH_PROVIDER".to_owned()));
        let distinct: HashSet<&String> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
    }

    #[test]
    fn variables_without_prefix_stand_for_existing_keys() {
        let paths = overridable(&Config::keys());
        for (name, path) in PLAIN {
            assert!(paths.iter().any(|known| known == path), "{name} stands for {path}");
        }
    }

    #[test]
    fn only_typing_errors_are_reported() {
        let names =
            ["MCP_GATEWAY_SERVER_PROT", "MCP_GATEWAY_SERVER_PORT", "MCP_GATEWAY_SERVICE_PORT", "PATH"];
        let kubernetes =
            ["MCP_GATEWAY_PORT_8443_TCP_ADDR", "MCP_GATEWAY_SERVICE_HOST", "MCP_GATEWAY_EXTERNAL_PORT"];
        let found = misspelt(names.into_iter().chain(kubernetes).map(str::to_owned), &Config::keys());
        assert_eq!(found, [("MCP_GATEWAY_SERVER_PROT".to_owned(), "MCP_GATEWAY_SERVER_PORT".to_owned())]);
    }
}
