//! What a person reads who makes a mistake and applies it with `kubectl`: the field, and what it takes. Changes when another
//! mistake is likely.

use anyhow::{Result, ensure};
use bridge_cluster::Cluster;
use bridge_tests::TempDir;

use crate::resources::definitions;

/// What is applied, and what `kubectl` says: the field, what is allowed. Nothing is applied before.
type Mistake = (&'static str, &'static [&'static str]);

/// A backend that is right, but for what `SPEC` adds.
const BACKEND: &str = "{apiVersion: mcp.bridge/v1alpha1, kind: McpBackend, metadata: {name: NAME, namespace: mistakes}, spec: {SPEC}}";
const GATEWAY: &str = "{apiVersion: mcp.bridge/v1alpha1, kind: McpGateway, metadata: {name: NAME, namespace: mistakes}, spec: {SPEC}}";

const OF_BACKENDS: &[Mistake] = &[
    (
        "protocol: StreamableHTTP, serviceRef: {name: a, port: http}, toolNamspace: weather",
        &["unknown field \"spec.toolNamspace\""],
    ),
    (
        "protocol: http, serviceRef: {name: a, port: http}",
        &[
            "spec.protocol",
            "\"http\"",
            "\"StreamableHTTP\", \"SSE\", \"WebSocket\", \"TCP\", \"Stdio\", \"Auto\"",
        ],
    ),
    ("serviceRef: {name: a, port: http}", &["spec.protocol", "Required value"]),
    ("protocol: StreamableHTTP", &["spec: ", "exactly one of endpoints, serviceRef, stdio and consul"]),
    (
        "protocol: StreamableHTTP, serviceRef: {name: a, port: http}, endpoints: [{url: 'http://a'}]",
        &["spec: ", "exactly one of endpoints, serviceRef, stdio and consul"],
    ),
    (
        "protocol: StreamableHTTP, serviceRef: {name: a, port: http}, timeouts: {request: '5'}",
        &[
            "spec.timeouts.request: Invalid value: \"5\": must be between 1ms and 24h, for example 250ms, 30s or 1h30m",
        ],
    ),
    (
        "protocol: StreamableHTTP, serviceRef: {name: a, port: http}, timeouts: {request: 5}",
        &["spec.timeouts.request", "string"],
    ),
    (
        "protocol: StreamableHTTP, serviceRef: {name: a, port: 70000}",
        &["spec.serviceRef.port", "70000", "65535"],
    ),
    (
        "protocol: StreamableHTTP, endpoints: [{url: 'ftp://a'}]",
        &["spec.endpoints[0].url", "ftp://a", "http, https, ws, wss, tcp and tls"],
    ),
    ("protocol: WebSocket, endpoints: [{url: 'https://a'}]", &["spec", "ws:// or wss://"]),
    (
        "gatewayRefs: [{}], protocol: StreamableHTTP, serviceRef: {name: a, port: http}",
        &["spec.gatewayRefs[0].name", "Required value"],
    ),
    (
        "gatewayRefs: main, protocol: StreamableHTTP, serviceRef: {name: a, port: http}",
        &["spec.gatewayRefs", "array"],
    ),
    (
        "protocol: StreamableHTTP, serviceRef: {name: a, port: http}, auth: {type: Bearer}",
        &["spec.auth", "bearer"],
    ),
    (
        "protocol: StreamableHTTP, serviceRef: {name: a, port: http}, auth: {type: Bearer, bearer: {token: abc}}",
        &["unknown field \"spec.auth.bearer.token\""],
    ),
    (
        "protocol: StreamableHTTP, serviceRef: {name: a, port: http}, toolNamespace: My_Tools",
        &["spec.toolNamespace: Invalid value: \"My_Tools\": must be made of a to z, 0 to 9, - and _"],
    ),
    ("protocol: Stdio, stdio: {image: i, command: run it}", &["spec.stdio.command", "array"]),
    (
        "protocol: StreamableHTTP, stdio: {image: i, command: [run]}",
        &["spec", "stdio is required with protocol: Stdio"],
    ),
];

const OF_GATEWAYS: &[Mistake] = &[
    ("replicas: 2", &["spec.listeners", "Required value"]),
    (
        "listeners: [{name: http, protocol: StreamableHTTP, port: 70000, tls: {mode: Disabled}}]",
        &["spec.listeners[0].port", "70000", "65535"],
    ),
    (
        "listeners: [{name: http, protocol: StreamableHTTP, port: 8080}]",
        &["spec.listeners[0]", "certificateRefs", "Disabled"],
    ),
    (
        "listeners: [{name: the-name-is-too-long, protocol: StreamableHTTP, port: 8080, tls: {mode: Disabled}}]",
        &["spec.listeners[0].name", "15"],
    ),
    (
        "listeners: [{name: http, protocol: StreamableHTTP, port: 8080, tls: {mode: Off}}]",
        &["spec.listeners[0].tls.mode", "Disabled", "Terminate", "Mutual"],
    ),
    (
        "replicas: 2, autoscaling: {maxReplicas: 3}, \
         listeners: [{name: http, protocol: StreamableHTTP, port: 8080, tls: {mode: Disabled}}]",
        &["spec: ", "replicas and autoscaling"],
    ),
];

/// Something that is there, what it is changed to, and what `kubectl` says.
const CHANGES: &[(&str, Mistake)] = &[
    (
        "protocol: StreamableHTTP, serviceRef: {name: a, port: http}, toolNamespace: weather",
        (
            "protocol: StreamableHTTP, serviceRef: {name: a, port: http}, toolNamespace: forecast",
            &["spec.toolNamespace", "cannot be changed"],
        ),
    ),
    (
        "protocol: StreamableHTTP, serviceRef: {name: a, port: http}",
        (
            "protocol: StreamableHTTP, endpoints: [{url: 'http://a'}]",
            &["spec: ", "create another McpBackend"],
        ),
    ),
];

async fn apply(cluster: &Cluster, dir: &TempDir, document: &str) -> Result<String> {
    let path = dir.write("object.yaml", document)?;
    cluster.kubectl(&["apply", "-f", &path.display().to_string()]).await
}

pub(crate) async fn kubectl_names_the_field_and_what_it_takes(cluster: &'static Cluster) -> Result<()> {
    definitions(cluster).await?;
    cluster.namespace("mistakes").await?;
    let dir = TempDir::new("mistakes")?;
    let mut wrong = Vec::new();
    let changes = CHANGES.iter().map(|(before, mistake)| (BACKEND, Some(before), mistake));
    let all = OF_BACKENDS.iter().map(|mistake| (BACKEND, None, mistake));
    let all = all.chain(OF_GATEWAYS.iter().map(|mistake| (GATEWAY, None, mistake))).chain(changes);
    for (number, (kind, before, (spec, wanted))) in all.enumerate() {
        let document = |spec: &str| kind.replace("NAME", &format!("m{number}")).replace("SPEC", spec);
        if let Some(before) = before {
            apply(cluster, &dir, &document(before)).await?;
        }
        let Err(refusal) = apply(cluster, &dir, &document(spec)).await else {
            wrong.push(format!("{spec}: is applied"));
            continue;
        };
        let said = refusal.to_string();
        if !wanted.iter().all(|word| said.contains(word)) {
            wrong.push(format!("{spec}:\n  {said}\n  lacks one of {wanted:?}"));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
