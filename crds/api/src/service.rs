//! Annotations that make a Service a backend. Changes when one is added or read differently.
//!
//! A wrong value never hides the rest: it is reported, and the default counts. Only a Service without a usable tool
//! namespace is left out.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::choice::choice;
use crate::v1alpha1::common::TimeSpan;

/// Makes the Service a backend.
pub const ENABLED: &str = "mcp.bridge/enabled";
/// Tool namespace.
pub const NAMESPACE: &str = "mcp.bridge/namespace";
/// Tools.
pub const TOOLS: &str = "mcp.bridge/tools";
/// What it speaks.
pub const PROTOCOL: &str = "mcp.bridge/protocol";
/// Path of the URL.
pub const PATH: &str = "mcp.bridge/path";
/// Port of the Service.
pub const PORT: &str = "mcp.bridge/port";
/// Share of requests.
pub const WEIGHT: &str = "mcp.bridge/weight";
/// Path of a health check.
pub const HEALTH_CHECK_PATH: &str = "mcp.bridge/health-check-path";
/// Time between health checks.
pub const HEALTH_CHECK_INTERVAL: &str = "mcp.bridge/health-check-interval";
/// The only gateway.
pub const GATEWAY: &str = "mcp.bridge/gateway";

/// All of them, with what they mean.
pub const MEANINGS: [(&str, &str); 10] = [
    (
        ENABLED,
        "`true`, exactly, makes the Service a backend. So does the label of this name where there is no such annotation, unless the gateway says otherwise.",
    ),
    (
        NAMESPACE,
        "Tool namespace under which clients know it. Required. Services of one Kubernetes namespace may share one; of Services of several the oldest has it.",
    ),
    (
        TOOLS,
        "JSON list of its tools: names, or objects with `name`, `description` and `inputSchema`. Without effect in this version: the server is asked.",
    ),
    (
        PROTOCOL,
        "What it speaks: http, https, ws, wss, sse, tcp or auto (it is asked). Default: auto, or http where the gateway's `discovery.services.detectProtocols` is false.",
    ),
    (PATH, "Path of the URL. Default: that of the protocol."),
    (PORT, "Port of the Service by number or name. Default: the one named `mcp`, or the only one."),
    (
        WEIGHT,
        "Share of requests among the Services of one tool namespace, 0 to 1000. 0 takes the Service out; the other numbers are without effect in this version: endpoints are taken in turn.",
    ),
    (HEALTH_CHECK_PATH, "Path of a health check by HTTP. Without effect in this version."),
    (HEALTH_CHECK_INTERVAL, "Time between health checks, 1s to 1h. Without effect in this version."),
    (
        GATEWAY,
        "The only gateway that takes it, as name or namespace/name. If that one does not, an Event says why.",
    ),
];

/// What a Service says of itself.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Annotated {
    /// Tool namespace.
    pub namespace: String,
    /// Tools, as far as they are declared.
    pub tools: Vec<DeclaredTool>,
    /// What it speaks; the gateway's choice when absent.
    pub protocol: Option<ServiceProtocol>,
    /// Path of the URL; that of the protocol when absent.
    pub path: Option<String>,
    /// Port of the Service.
    pub port: Option<IntOrString>,
    /// Share of requests; 100 when absent.
    pub weight: Option<u32>,
    /// Path of a health check by HTTP.
    pub health_check_path: Option<String>,
    /// Time between health checks.
    pub health_check_interval: Option<TimeSpan>,
    /// The only gateway that takes it; every one that takes its namespace when absent.
    pub gateway: Option<GatewayName>,
}

/// A tool that a Service declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredTool {
    /// Its name.
    pub name: String,
    /// Its description.
    pub description: Option<String>,
    /// The schema of its arguments, as it was written.
    pub input_schema: Option<String>,
}

/// A gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayName {
    /// Its namespace; that of the Service when absent.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

choice! {
    /// What a Service speaks.
    pub enum ServiceProtocol {
        /// Streamable HTTP.
        Http = "http",
        /// Streamable HTTP over TLS.
        Https = "https",
        /// JSON-RPC messages on a WebSocket.
        Ws = "ws",
        /// The same over TLS.
        Wss = "wss",
        /// HTTP+SSE of 2024-11-05.
        Sse = "sse",
        /// The original's binary protocol.
        Tcp = "tcp",
        /// It is asked.
        Auto = "auto",
    }
}

/// Findings about one Service. What else is wrong is told when these are corrected.
const MOST_FINDINGS: usize = 16;

/// An annotation that cannot be used as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Its name.
    pub annotation: String,
    /// What is wrong, what is allowed, and what counts instead.
    pub problem: String,
}

/// What came of a Service's annotations.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Reading {
    /// The backend; absent for a Service that is none, or lacks a tool namespace.
    pub backend: Option<Annotated>,
    /// What is to be told to the owner of the Service.
    pub findings: Vec<Finding>,
}

/// Reads the annotations of a Service. Its labels count only for [`ENABLED`], where there is no such annotation, and not at
/// all with `annotation_only`.
pub fn read(
    annotations: &BTreeMap<String, String>,
    labels: &BTreeMap<String, String>,
    annotation_only: bool,
) -> Reading {
    let label = labels.get(ENABLED).filter(|_| !annotation_only);
    if annotations.get(ENABLED).or(label).is_none_or(|value| value != "true") {
        return Reading::default();
    }
    let mut reader = Reader { annotations, findings: Vec::new() };
    let namespace = reader.value(NAMESPACE, "the Service is not served", tool_namespace);
    if namespace.is_none() && !annotations.contains_key(NAMESPACE) {
        reader.find(NAMESPACE, "missing; the Service is not served");
    }
    let backend = Annotated {
        namespace: namespace.clone().unwrap_or_default(),
        tools: reader.value(TOOLS, "no tool is declared", tools).unwrap_or_default(),
        protocol: reader.value(PROTOCOL, "`auto` counts", protocol),
        path: reader.value(PATH, "the protocol's own path counts", path),
        port: reader.value(PORT, "the port named `mcp` counts, or the only one", port),
        weight: reader.value(WEIGHT, "100 counts", weight),
        health_check_path: reader.value(HEALTH_CHECK_PATH, "the default counts", path),
        health_check_interval: reader.value(HEALTH_CHECK_INTERVAL, "the default counts", interval),
        gateway: reader.value(GATEWAY, "every gateway that takes the namespace counts", gateway),
    };
    // A wrong protocol is no wish for the default one.
    let wrong = backend.protocol.is_none() && annotations.contains_key(PROTOCOL);
    let protocol = if wrong { Some(ServiceProtocol::Auto) } else { backend.protocol };
    for name in annotations.keys().filter(|name| name.starts_with("mcp.bridge/") && !is_known(name)) {
        reader.find(name, "no such annotation; it has no effect");
    }
    let backend = namespace.map(|_| Annotated { protocol, ..backend });
    reader.findings.truncate(MOST_FINDINGS);
    Reading { backend, findings: reader.findings }
}

/// Whether it is an annotation of ours that means something.
pub fn is_known(name: &str) -> bool {
    MEANINGS.iter().any(|(known, _)| *known == name)
}

struct Reader<'a> {
    annotations: &'a BTreeMap<String, String>,
    findings: Vec<Finding>,
}

impl Reader<'_> {
    fn value<T>(
        &mut self,
        name: &str,
        instead: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        match parse(self.annotations.get(name)?) {
            Ok(value) => Some(value),
            Err(problem) => {
                self.find(name, &format!("{problem}; {instead}"));
                None
            }
        }
    }

    fn find(&mut self, annotation: &str, problem: &str) {
        self.findings.push(Finding { annotation: annotation.to_owned(), problem: problem.to_owned() });
    }
}

fn tool_namespace(text: &str) -> Result<String, String> {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
    let outer =
        |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let good = outer(text.bytes().next()) && outer(text.bytes().last()) && text.bytes().all(inner);
    if good && text.len() <= 63 {
        return Ok(text.to_owned());
    }
    Err("allowed are 1 to 63 characters of a-z 0-9 _ -, a letter or digit at both ends".to_owned())
}

fn tools(text: &str) -> Result<Vec<DeclaredTool>, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Object {
        name: String,
        description: Option<String>,
        input_schema: Option<Box<RawValue>>,
    }
    let expected =
        "expected a JSON list of names, or of objects with `name`, `description` and `inputSchema`";
    let tool = |raw: &RawValue| {
        if let Ok(name) = serde_json::from_str::<String>(raw.get()) {
            return Ok(DeclaredTool { name, description: None, input_schema: None });
        }
        let object =
            serde_json::from_str::<Object>(raw.get()).map_err(|error| format!("{expected}: {error}"))?;
        let input_schema = object.input_schema.map(|schema| schema.get().to_owned());
        Ok(DeclaredTool { name: object.name, description: object.description, input_schema })
    };
    let items: Vec<Box<RawValue>> =
        serde_json::from_str(text).map_err(|error| format!("{expected}: {error}"))?;
    items.iter().map(|item| tool(item)).collect()
}

fn protocol(text: &str) -> Result<ServiceProtocol, String> {
    let known = ServiceProtocol::ALL.iter().find(|protocol| protocol.as_str() == text);
    known.copied().ok_or_else(|| "allowed are http, https, ws, wss, sse, tcp and auto".to_owned())
}

fn path(text: &str) -> Result<String, String> {
    if text.starts_with('/') && text.len() <= 1024 && !text.contains([' ', '?', '#']) {
        return Ok(text.to_owned());
    }
    Err("a path begins with / and has no space, ? or #".to_owned())
}

fn port(text: &str) -> Result<IntOrString, String> {
    if let Ok(number) = text.parse::<u16>()
        && number > 0
    {
        return Ok(IntOrString::Int(number.into()));
    }
    let name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let named = text.bytes().any(|byte| byte.is_ascii_lowercase()) && text.len() <= 15;
    if named && text.bytes().all(name) && !text.starts_with('-') && !text.ends_with('-') {
        return Ok(IntOrString::String(text.to_owned()));
    }
    Err("expected a number from 1 to 65535, or the name of a port".to_owned())
}

fn weight(text: &str) -> Result<u32, String> {
    let weight = text.parse().ok().filter(|weight| *weight <= 1000);
    weight.ok_or_else(|| "expected a number from 0 to 1000".to_owned())
}

fn interval(text: &str) -> Result<TimeSpan, String> {
    let span = TimeSpan::new(text);
    let seconds = span.to_duration().map(|duration| duration.as_secs());
    if seconds.is_some_and(|seconds| (1..=3600).contains(&seconds)) {
        return Ok(span);
    }
    Err("expected a time from 1s to 1h, for example 30s".to_owned())
}

fn gateway(text: &str) -> Result<GatewayName, String> {
    let (namespace, name) = match text.split_once('/') {
        Some((namespace, name)) => (Some(namespace), name),
        None => (None, text),
    };
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    let good = |text: &str| !text.is_empty() && text.bytes().all(letter);
    if good(name) && namespace.is_none_or(good) {
        return Ok(GatewayName { namespace: namespace.map(ToOwned::to_owned), name: name.to_owned() });
    }
    Err("expected the name of a McpGateway, or namespace/name".to_owned())
}

#[cfg(test)]
mod tests;
