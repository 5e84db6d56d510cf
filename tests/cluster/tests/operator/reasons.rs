//! Every reason of every condition, and the manifest that produces it. Changes when a condition can have another cause.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::fs;

use anyhow::{Context as _, Result, ensure};
use bridge_api::condition::{Verdict, words};
use bridge_cluster::{Cluster, Signal, root};
use kube::api::{Patch, PatchParams};
use kube::{Api, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::installed::{self, backends, gateways, pods};

const SPACE: &str = "reasons";
/// A namespace whose gateway admits nobody else.
const CLOSED: &str = "reasons-closed";

/// A condition, its reason, and what the message says: the field, where one is at fault.
type Said = (&'static str, &'static str, &'static str);

/// An object with this name and specification, and what its status says.
type Row = (&'static str, &'static str, &'static [Said]);

/// A port that needs no certificate.
const HTTP: &str = "listeners: [{name: http, protocol: StreamableHTTP, port: 8080, tls: {mode: Disabled}}]";

/// Gateways. `HTTP` stands for a port without certificate. Those without replicas say what needs no pods.
const GATEWAYS: &[Row] = &[
    (
        "alone",
        "replicas: 0, HTTP",
        &[
            ("Accepted", "Accepted", ""),
            ("ResolvedRefs", "ResolvedRefs", ""),
            ("Programmed", "Pending", "no pod is ready"),
            ("Ready", "DeploymentUnavailable", "0/0 pods"),
            ("SessionStorage", "NotNeeded", ""),
            ("Degraded", "AsExpected", ""),
        ],
    ),
    // All backends that are not served name it.
    ("quiet", "replicas: 0, HTTP", &[("Degraded", "PartialBackends", "backends are not served")]),
    ("forbids", "replicas: 0, stdioPolicy: Forbid, HTTP", &[]),
    (
        "open",
        "replicas: 1, auth: {anonymous: Allow}, HTTP",
        &[
            ("Programmed", "Programmed", "1/1 ready pods"),
            ("Ready", "Ready", "1/1 pods"),
            ("Degraded", "InsecureSettings", "spec.auth.anonymous is Allow"),
        ],
    ),
    (
        "imageless",
        "replicas: 2, image: {repository: example.test/nowhere, tag: '1'}, HTTP",
        &[("Ready", "Pending", "0/2 pods"), ("SessionStorage", "InMemoryWithReplicas", "run one pod")],
    ),
    (
        "redis",
        "replicas: 0, session: {redis: {mode: Standalone, addresses: ['redis:6379']}}, HTTP",
        &[("Degraded", "FieldsNotInForce", "session.redis")],
    ),
    (
        "balanced",
        "replicas: 1, auth: {anonymous: Allow}, service: {type: LoadBalancer}, HTTP",
        &[("Ready", "NoAddress", "load balancer")],
    ),
    (
        "certless",
        "replicas: 0, listeners: [{name: tls, protocol: TCP, port: 8444, tls: {certificateRefs: [{name: absent}]}}]",
        &[
            (
                "ResolvedRefs",
                "SecretNotFound",
                "spec.listeners[tls]: not opened: tls.certificateRefs: Secret reasons/absent",
            ),
            ("Ready", "ListenerNotReady", "its certificates cannot be used"),
        ],
    ),
    (
        "half",
        "replicas: 1, auth: {anonymous: Allow}, listeners: [{name: http, protocol: StreamableHTTP, port: 8080, tls: {mode: Disabled}}, \
         {name: tls, protocol: TCP, port: 8444, tls: {certificateRefs: [{name: absent}]}}]",
        &[("Ready", "ListenerNotReady", "spec.listeners[tls]: its certificates cannot be used")],
    ),
    // Its endpoint is a server that refuses credentials.
    (
        "guarded",
        "replicas: 1, auth: {jwt: {providers: [{name: p, issuer: i, audiences: [a], hmacSecretRef: {name: hmac, key: k}}]}}, HTTP",
        &[("Programmed", "Programmed", "1/1 ready pods")],
    ),
    (
        "garbled",
        "replicas: 0, listeners: [{name: tls, protocol: TCP, port: 8444, tls: {certificateRefs: [{name: garbled}]}}]",
        &[(
            "ResolvedRefs",
            "InvalidCertificate",
            "spec.listeners[tls]: not opened: tls.certificateRefs: Secret reasons/garbled",
        )],
    ),
    (
        "unsigned",
        "replicas: 1, auth: {jwt: {providers: [{name: p, issuer: i, audiences: [a], hmacSecretRef: {name: absent, key: k}}]}}, HTTP",
        &[
            (
                "ResolvedRefs",
                "SecretNotFound",
                "spec.auth.jwt.providers[p].hmacSecretRef: Secret reasons/absent",
            ),
            ("Ready", "Refusing", "all clients are refused: spec.auth.jwt.providers[p]"),
        ],
    ),
    (
        "page",
        "replicas: 0, listeners: [{name: health, protocol: StreamableHTTP, port: 8080, tls: {mode: Disabled}}]",
        &[("Accepted", "Invalid", "spec.listeners[health]")],
    ),
    ("namesake", "replicas: 0, HTTP", &[("Accepted", "NameConflict", "Service reasons/namesake exists")]),
    // Another container of the pod has the port, which the operator cannot know.
    (
        "refused",
        "replicas: 1, listeners: [{name: taken, protocol: StreamableHTTP, port: 7777, tls: {mode: Disabled}}], \
         podTemplate: {spec: {initContainers: [{name: sidecar, image: 'example.test/mcp-test-server:1', restartPolicy: Always, \
         args: [--transport, http, --host, 0.0.0.0, --port, '7777'], startupProbe: {tcpSocket: {port: 7777}, periodSeconds: 1}}]}}",
        &[("Programmed", "Rejected", "taken")],
    ),
];

/// Backends. `NOWHERE` stands for a server that nobody looks for.
const BACKENDS: &[Row] = &[
    (
        "fine",
        "gatewayRefs: [{name: alone}], NOWHERE",
        &[
            ("Accepted", "Accepted", ""),
            ("ResolvedRefs", "ResolvedRefs", ""),
            ("Programmed", "Pending", "no pod is ready"),
            ("Available", "Pending", "no ready pod has reported"),
            ("Degraded", "AsExpected", ""),
        ],
    ),
    (
        "local",
        "gatewayRefs: [{name: quiet}], protocol: StreamableHTTP, endpoints: [{url: 'http://127.0.0.1:1'}]",
        &[("Accepted", "Invalid", "spec.endpoints: addresses of the pod itself")],
    ),
    (
        "regex",
        "gatewayRefs: [{name: quiet}], tools: {includeRegex: ['(']}, NOWHERE",
        &[("Accepted", "InvalidRegex", "spec.tools.includeRegex: `(`")],
    ),
    (
        "consul",
        "gatewayRefs: [{name: quiet}], protocol: StreamableHTTP, consul: {service: x}",
        &[("Accepted", "UnsupportedProtocol", "spec.consul")],
    ),
    (
        "uninvited",
        "gatewayRefs: [{name: closed, namespace: reasons-closed}], NOWHERE",
        &[(
            "Accepted",
            "NotAllowedByGateway",
            "spec.gatewayRefs: gateway reasons-closed/closed does not admit the namespace reasons",
        )],
    ),
    (
        "lost",
        "gatewayRefs: [{name: none}], NOWHERE",
        &[("Accepted", "NoMatchingGateway", "spec.gatewayRefs: gateway reasons/none does not exist")],
    ),
    (
        "foreign",
        "gatewayRefs: [{name: foreign}], NOWHERE",
        &[("Accepted", "ClassMismatch", "spec.gatewayRefs: gateway reasons/foreign")],
    ),
    ("twin-a", "gatewayRefs: [{name: quiet}], toolNamespace: twin, NOWHERE", &[]),
    (
        "twin-b",
        "gatewayRefs: [{name: quiet}], toolNamespace: twin, NOWHERE",
        &[("Accepted", "ToolNamespaceConflict", "spec.toolNamespace: McpBackend reasons/twin-a is older")],
    ),
    (
        "forbidden",
        "gatewayRefs: [{name: forbids}], protocol: Stdio, stdio: {image: 'example.test/nowhere:1', command: [x]}",
        &[("Accepted", "StdioForbidden", "spec.stdioPolicy of gateway reasons/forbids")],
    ),
    (
        "capped",
        "gatewayRefs: [{name: alone}], protocol: Stdio, \
         stdio: {image: 'example.test/nowhere:1', command: [x], replicas: 3, sessionMode: Shared}",
        &[("Degraded", "StdioReplicaCapped", "spec.stdio.replicas"), ("Available", "NoEndpoints", "0/")],
    ),
    (
        "keyless",
        "gatewayRefs: [{name: quiet}], auth: {type: Bearer, bearer: {secretRef: {name: garbled, key: token}}}, NOWHERE",
        &[(
            "ResolvedRefs",
            "KeyNotFound",
            "spec.auth.bearer.secretRef: Secret garbled has no text under the key token",
        )],
    ),
    (
        "serviceless",
        "gatewayRefs: [{name: quiet}], protocol: StreamableHTTP, serviceRef: {name: none, port: http}",
        &[("ResolvedRefs", "ServiceNotFound", "spec.serviceRef.name: Service reasons/none")],
    ),
    (
        "portless",
        "gatewayRefs: [{name: quiet}], protocol: StreamableHTTP, serviceRef: {name: fixture, port: grpc}",
        &[(
            "ResolvedRefs",
            "PortNotFound",
            "spec.serviceRef.port: Service reasons/fixture has no port grpc; it has http (80)",
        )],
    ),
    (
        "served",
        "gatewayRefs: [{name: open}], protocol: StreamableHTTP, serviceRef: {name: fixture, port: http}",
        &[("Available", "Available", "1/1 pods"), ("Programmed", "Programmed", "1/1 ready pods")],
    ),
    (
        "dead",
        "gatewayRefs: [{name: open}], protocol: StreamableHTTP, endpoints: [{url: 'http://10.244.0.1:9'}]",
        &[("Available", "AllEndpointsUnhealthy", "0/1 pods")],
    ),
    (
        "wrong",
        "gatewayRefs: [{name: open}], protocol: StreamableHTTP, path: /nothing, serviceRef: {name: fixture, port: http}",
        &[("Available", "ProtocolMismatch", "0/1 pods")],
    ),
    (
        "locked",
        "gatewayRefs: [{name: open}], protocol: StreamableHTTP, serviceRef: {name: guarded, port: http}",
        &[("Available", "AuthenticationFailed", "spec.auth")],
    ),
];

/// Reasons that no manifest produces: what must be taken away for them, or how long they take, and the test that does so.
const ELSEWHERE: [(&str, &str, &str, &str); 2] = [
    (
        "Programmed",
        "OperatorDegraded",
        "tests/cluster/tests/faults/definitions.rs",
        "backends_stay_while_their_definition_is_away",
    ),
    // Five minutes.
    ("Degraded", "StaleConfig", "operator/tests/status.rs", "degraded_says_what_is_less_than_it_should_be"),
];

/// Of a gateway one of whose pods does not answer.
const BEHIND: Said = ("Programmed", "PartiallyAcknowledged", "0/1 ready pods; behind: open-mcpgw-");

/// What the resources need: a gateway elsewhere, one of another installation, a Secret without use, and a Service that has
/// the name of a gateway.
const AROUND: &str = "
apiVersion: mcp.bridge/v1alpha1
kind: McpGateway
metadata: {name: closed, namespace: reasons-closed}
spec: {replicas: 0, HTTP}
---
apiVersion: mcp.bridge/v1alpha1
kind: McpGateway
metadata: {name: foreign, namespace: reasons}
spec: {className: another, replicas: 0, HTTP}
---
apiVersion: v1
kind: Secret
metadata: {name: garbled, namespace: reasons}
type: kubernetes.io/tls
stringData: {tls.crt: no certificate, tls.key: no key}
---
apiVersion: v1
kind: Secret
metadata: {name: hmac, namespace: reasons}
stringData: {k: a key that is longer than thirty-two bytes}
---
apiVersion: v1
kind: Service
metadata: {name: namesake, namespace: reasons}
spec: {selector: {app: somebody}, ports: [{port: 80}]}
";

fn object(kind: &str, (name, spec, _): &Row) -> String {
    let spec = spec
        .replace(", HTTP", &format!(", {HTTP}"))
        .replace("NOWHERE", "protocol: StreamableHTTP, endpoints: [{url: 'http://server.example.com'}]");
    format!(
        "{{apiVersion: mcp.bridge/v1alpha1, kind: {kind}, metadata: {{name: {name}, namespace: {SPACE}}}, spec: {{{spec}}}}}"
    )
}

/// Whether the object or one of its listeners has a condition for this reason, with the reason's status and these words.
fn says(found: &Value, (condition, reason, wording): Said) -> bool {
    let known =
        words().into_iter().find(|word| (word.condition.as_str(), word.reason) == (condition, reason));
    let status = match known.map(|word| word.verdict) {
        Some(Verdict::True) => "True",
        Some(Verdict::False) => "False",
        Some(Verdict::Unknown) => "Unknown",
        None => return false,
    };
    let listeners = found["status"]["listeners"].as_array().into_iter().flatten();
    let holders = [&found["status"]].into_iter().chain(listeners);
    let mut all = holders.filter_map(|holder| holder["conditions"].as_array()).flatten();
    all.any(|one| {
        one["type"] == condition
            && one["reason"] == reason
            && one["status"] == status
            && one["message"].as_str().is_some_and(|message| message.contains(wording))
    })
}

async fn until_said<K>(cluster: &Cluster, api: Api<K>, name: &str, said: Said) -> Result<()>
where
    K: Resource + Clone + Debug + DeserializeOwned + Serialize + Send + 'static,
{
    let what = format!("{}={}: \"…{}…\"", said.0, said.1, said.2);
    let found = |found: Option<&K>| says(&serde_json::to_value(found).unwrap_or_default(), said);
    cluster.until(api, name, &what, found).await.map(drop)
}

/// Whether a function of a file waits for a reason.
fn is_produced(reason: &str, file: &str, test: &str) -> Result<()> {
    let source = fs::read_to_string(root().join(file)).with_context(|| file.to_owned())?;
    let begin = source.find(&format!("fn {test}(")).with_context(|| format!("{file} has no {test}"))?;
    let body = source[begin..].split("\n}\n").next().unwrap_or_default();
    ensure!(body.contains(&format!("{reason:?}")), "{file}: {test} does not produce {reason}");
    Ok(())
}

fn every_reason_is_here() -> Result<()> {
    let rows = GATEWAYS.iter().chain(BACKENDS).flat_map(|(_, _, said)| *said).chain([&BEHIND]);
    let produced: BTreeSet<_> = rows.map(|(condition, reason, _)| (*condition, *reason)).collect();
    let elsewhere: BTreeSet<_> =
        ELSEWHERE.iter().map(|(condition, reason, ..)| (*condition, *reason)).collect();
    let known: BTreeSet<_> = words().into_iter().map(|word| (word.condition.as_str(), word.reason)).collect();
    let both: Vec<_> = produced.intersection(&elsewhere).collect();
    ensure!(both.is_empty(), "produced, and said not to be: {both:?}");
    let covered = &produced | &elsewhere;
    let without: Vec<_> = known.symmetric_difference(&covered).collect();
    ensure!(without.is_empty(), "reasons without a manifest, or manifests without a reason: {without:?}");
    ELSEWHERE.iter().try_for_each(|(_, reason, file, test)| is_produced(reason, file, test))
}

pub(crate) async fn every_reason_has_a_manifest_that_produces_it(cluster: &'static Cluster) -> Result<()> {
    every_reason_is_here()?;
    installed::operator(cluster).await?;
    cluster.namespace(CLOSED).await?;
    installed::server(cluster, SPACE, "fixture").await?;
    cluster.apply(&AROUND.replace("HTTP", HTTP)).await?;
    for row in GATEWAYS {
        cluster.apply(&object("McpGateway", row)).await?;
    }
    for row in BACKENDS {
        cluster.apply(&object("McpBackend", row)).await?;
    }
    for (name, _, said) in GATEWAYS {
        for said in *said {
            until_said(cluster, gateways(cluster, SPACE), name, *said).await?;
        }
    }
    for (name, _, said) in BACKENDS {
        for said in *said {
            until_said(cluster, backends(cluster, SPACE), name, *said).await?;
        }
    }

    // A pod that hears nothing more, and is ready until its probes are missed.
    let pod = pods(cluster, SPACE, "open").await?.pop().context("a pod")?;
    cluster.signal(&pod, "gateway", Signal::STOP)?;
    let change = Patch::Merge(json!({ "spec": { "observability": { "logging": { "level": "debug" } } } }));
    gateways(cluster, SPACE).patch("open", &PatchParams::default(), &change).await?;
    let behind = until_said(cluster, gateways(cluster, SPACE), "open", BEHIND).await;
    cluster.signal(&pod, "gateway", Signal::CONT)?;
    behind?;

    // The cluster is shared with other tests.
    cluster.delete_namespace(SPACE).await?;
    cluster.delete_namespace(CLOSED).await
}
