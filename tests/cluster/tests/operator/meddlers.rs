//! Programs that always want something else of what the operator owns: an admission webhook, and a tool that applies files.
//! Changes when another one does.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bridge_cluster::Cluster;
use bridge_runtime::tasks::spawn;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::core::DynamicObject;
use mcp_operator::defaults::{DRAIN_GRACE, DRAIN_MIN};
use rustls::ServerConfig;
use rustls_pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, interval, sleep_until};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

use crate::conflicts::writes;
use crate::defects::until_told;
use crate::installed::{self, address};
use crate::standing::User;

/// How long is looked at what the operator does about it.
const WHILE: Duration = Duration::from_mins(1);
/// What it may write to the Deployment in that time: what is new, and what makes it sure that somebody is against it.
const WRITES: usize = 5;
/// The grace that the others want.
const THEIRS: i64 = 47;
/// Seconds for draining, other than what the gateway begins with.
const DRAIN: u32 = 61;

/// The grace that such a gateway gives its pods.
fn meant(drain: u32) -> i64 {
    i64::from(DRAIN_MIN + drain + DRAIN_GRACE)
}

fn deployments(cluster: &Cluster, namespace: &str) -> Api<Deployment> {
    Api::namespaced(cluster.client(), namespace)
}

fn grace(found: Option<&Deployment>) -> Option<i64> {
    found?.spec.as_ref()?.template.spec.as_ref()?.termination_grace_period_seconds
}

/// A gateway that serves, and somebody who calls a tool of it.
async fn served(cluster: &Cluster, namespace: &str) -> Result<User> {
    installed::operator(cluster).await?;
    installed::server(cluster, namespace, "fixture").await?;
    installed::gateway(cluster, namespace).await?;
    Ok(User::at(format!("{}/mcp/tools", address(cluster, namespace, "main", 8080).await?)))
}

/// Gives the gateway another specification, so that its pods are to have another grace.
async fn change(cluster: &Cluster, namespace: &str, drain: u32) -> Result<()> {
    let change = Patch::Merge(json!({ "spec": { "drain": { "timeoutSeconds": drain } } }));
    installed::gateways(cluster, namespace).patch("main", &PatchParams::default(), &change).await?;
    Ok(())
}

/// An admission webhook for the Deployments of a namespace. It wants another grace, and adds to the pods as service meshes do.
struct Webhook {
    port: u16,
    authority: String,
    _serving: AbortOnDropHandle<Result<()>>,
}

impl Webhook {
    async fn serve() -> Result<Self> {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).map_err(anyhow::Error::msg)?;
        let config = ServerConfig::builder().with_no_client_auth();
        let config = config.with_single_cert(vec![made.cert.der().clone()], key)?;
        let (acceptor, listener) =
            (TlsAcceptor::from(Arc::new(config)), TcpListener::bind("127.0.0.1:0").await?);
        let port = listener.local_addr()?.port();
        let serving = spawn("webhook", async move {
            loop {
                let (stream, _) = listener.accept().await?;
                spawn("webhook connection", answer_all(acceptor.clone(), stream));
            }
        });
        Ok(Self { port, authority: made.cert.pem(), _serving: AbortOnDropHandle::new(serving) })
    }

    fn registration(&self, namespace: &str) -> Value {
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": { "name": namespace },
            "webhooks": [{
                "name": "injector.mesh.example",
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "failurePolicy": "Fail",
                "clientConfig": {
                    "url": format!("https://127.0.0.1:{}/inject", self.port),
                    "caBundle": STANDARD.encode(&self.authority),
                },
                "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": namespace } },
                "objectSelector": { "matchLabels": { "app.kubernetes.io/name": "mcp-gateway" } },
                "rules": [{
                    "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"],
                    "operations": ["CREATE", "UPDATE"],
                }],
            }],
        })
    }
}

async fn answer_all(acceptor: TlsAcceptor, stream: TcpStream) -> Result<()> {
    let stream = TokioIo::new(acceptor.accept(stream).await?);
    let service = service_fn(|request| async { Ok::<_, Infallible>(answer(request).await) });
    hyper::server::conn::http1::Builder::new().serve_connection(stream, service).await?;
    Ok(())
}

async fn answer(request: Request<Incoming>) -> Response<Full<Bytes>> {
    let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes);
    let review: Value = body.ok().and_then(|body| serde_json::from_slice(&body).ok()).unwrap_or_default();
    let patch = STANDARD.encode(Value::from(mutations(&review["request"]["object"])).to_string());
    let answer = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": {
            "uid": review["request"]["uid"], "allowed": true, "patchType": "JSONPatch", "patch": patch,
        },
    });
    Response::new(Full::new(answer.to_string().into()))
}

/// What the webhook changes, RFC 6902: one field of ours, and what is its own where that is missing.
fn mutations(deployment: &Value) -> Vec<Value> {
    let template = "/spec/template";
    let mut all = vec![
        json!({ "op": "add", "path": format!("{template}/spec/terminationGracePeriodSeconds"), "value": THEIRS }),
        json!({ "op": "add", "path": format!("{template}/metadata/labels/mesh.example~1injected"), "value": "yes" }),
    ];
    let containers = &deployment["spec"]["template"]["spec"]["containers"];
    let has = |items: &Value, name: &str| {
        items.as_array().is_some_and(|all| all.iter().any(|it| it["name"] == name))
    };
    if !has(&containers[0]["env"], "MESH") {
        let variable = json!({ "name": "MESH", "value": "on" });
        all.push(
            json!({ "op": "add", "path": format!("{template}/spec/containers/0/env/-"), "value": variable }),
        );
    }
    if !has(containers, "proxy") {
        let proxy = json!({
            "name": "proxy", "image": "example.test/shell:1",
            "args": ["-c", "trap 'exit 0' TERM; sleep infinity & wait"],
        });
        all.push(json!({ "op": "add", "path": format!("{template}/spec/containers/-"), "value": proxy }));
    }
    all
}

/// Whether a Deployment has what the webhook added, and still what the operator wants.
fn has_both(found: &Deployment) -> bool {
    let Some(spec) = found.spec.as_ref() else { return false };
    let labels = spec.template.metadata.as_ref().and_then(|metadata| metadata.labels.as_ref());
    let containers = spec.template.spec.as_ref().map(|pod| &*pod.containers).unwrap_or_default();
    let of = |name: &str| containers.iter().find(|container| container.name == name);
    let env = of("gateway").and_then(|container| container.env.as_ref());
    let has = |name: &str| env.is_some_and(|env| env.iter().any(|variable| variable.name == name));
    labels.is_some_and(|labels| labels.contains_key("mesh.example/injected"))
        && of("proxy").is_some()
        && has("MESH")
        && has("POD_UID")
}

pub(crate) async fn a_webhook_that_has_the_last_word_is_told_of_and_not_fought(
    cluster: &'static Cluster,
) -> Result<()> {
    const SPACE: &str = "webhook";
    let user = served(cluster, SPACE).await?;
    let webhook = Webhook::serve().await?;
    cluster.apply(&webhook.registration(SPACE).to_string()).await?;
    let (known, until) = (writes(cluster, SPACE)?, Instant::now() + WHILE);
    change(cluster, SPACE, DRAIN).await?;
    until_told(cluster, (SPACE, "main"), ("DriftLoop", "terminationGracePeriodSeconds")).await?;
    let mutated = cluster.until(deployments(cluster, SPACE), "main-mcpgw", "is mutated", |found| {
        grace(found) == Some(THEIRS) && found.is_some_and(has_both)
    });
    mutated.await?;
    cluster.until_available(SPACE, "main-mcpgw").await?;
    sleep_until(until).await;
    let written = writes(cluster, SPACE)? - known;
    ensure!(written <= WRITES, "{written} writes within {WHILE:?}");

    // Nobody is against another change, and what was added stays.
    let fewer = Patch::Merge(json!({ "spec": { "replicas": 2 } }));
    installed::gateways(cluster, SPACE).patch("main", &PatchParams::default(), &fewer).await?;
    let scaled = cluster.until(deployments(cluster, SPACE), "main-mcpgw", "has two pods", |found| {
        found.and_then(|found| found.spec.as_ref()?.replicas) == Some(2)
    });
    ensure!(scaled.await?.is_some_and(|found| has_both(&found)), "what the webhook added is gone");
    user.end().await?;

    // Without the webhook the next document is kept as it is.
    let registrations: Api<MutatingWebhookConfiguration> = Api::all(cluster.client());
    registrations.delete(SPACE, &DeleteParams::default()).await?;
    change(cluster, SPACE, DRAIN + 1).await?;
    let right = cluster.until(deployments(cluster, SPACE), "main-mcpgw", "is as it should be", |found| {
        grace(found) == Some(meant(DRAIN + 1))
    });
    ensure!(right.await?.is_some_and(|found| has_both(&found)), "what was added is gone with the webhook");
    cluster.delete_namespace(SPACE).await
}

/// The Deployment as somebody has it in a file who once asked for it.
async fn exported(cluster: &Cluster, namespace: &str) -> Result<Value> {
    let mut found = serde_json::to_value(deployments(cluster, namespace).get("main-mcpgw").await?)?;
    let file = found.as_object_mut().context("an object")?;
    file.remove("status");
    file.insert("apiVersion".to_owned(), "apps/v1".into());
    file.insert("kind".to_owned(), "Deployment".into());
    let metadata = file.get_mut("metadata").and_then(Value::as_object_mut).context("metadata")?;
    metadata.retain(|member, _| {
        ["name", "namespace", "labels", "annotations", "ownerReferences"].contains(&&**member)
    });
    Ok(found)
}

pub(crate) async fn files_that_are_applied_again_and_again_are_told_of_and_not_fought(
    cluster: &'static Cluster,
) -> Result<()> {
    const SPACE: &str = "files";
    let user = served(cluster, SPACE).await?;
    let file = exported(cluster, SPACE).await?;
    // The file is older than what the gateway is now.
    change(cluster, SPACE, DRAIN).await?;
    let right = cluster.until(deployments(cluster, SPACE), "main-mcpgw", "is as it should be", |found| {
        grace(found) == Some(meant(DRAIN))
    });
    right.await?;
    let (known, until) = (writes(cluster, SPACE)?, Instant::now() + WHILE);
    let (client, document) = (cluster.client(), file.clone());
    let applying: AbortOnDropHandle<Result<()>> = AbortOnDropHandle::new(spawn("files", async move {
        let resource = kube::api::ApiResource::erase::<Deployment>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(client, SPACE, &resource);
        let mut tick = interval(Duration::from_secs(1));
        loop {
            tick.tick().await;
            let theirs = PatchParams::apply("files").force();
            api.patch("main-mcpgw", &theirs, &Patch::Apply(&document)).await?;
        }
    }));
    until_told(cluster, (SPACE, "main"), ("DriftLoop", "terminationGracePeriodSeconds")).await?;
    sleep_until(until).await;
    let written = writes(cluster, SPACE)? - known;
    ensure!(written <= WRITES, "{written} writes within {WHILE:?}");
    ensure!(!applying.is_finished(), "the file was not applied: {:?}", applying.await);
    user.end().await?;

    // When it stops, the next document is kept.
    drop(applying);
    change(cluster, SPACE, DRAIN + 1).await?;
    let kept = cluster.until(deployments(cluster, SPACE), "main-mcpgw", "is as it should be", |found| {
        grace(found) == Some(meant(DRAIN + 1))
    });
    kept.await?;
    cluster.delete_namespace(SPACE).await
}
