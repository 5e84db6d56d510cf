//! Secrets that change under running pods. Changes when another one reaches pods.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bridge_cluster::{Cluster, PATIENCE};
use bridge_tests::tokens::{Issuer, NAME};
use bridge_tests::{Binary, ModernClient};
use k8s_openapi::api::apps::v1::Deployment;
use kube::{Api, ResourceExt};
use rustls_pki_types::CertificateDer;
use serde_json::{Value, json};
use tokio::task::spawn_blocking;
use tokio::time::{interval, timeout};

use crate::installed::{self, SYSTEM, address, pods};

const SPACE: &str = "rotates";
const KEYS: [&str; 2] = ["the first key, of at least 32 bytes", "the second key, of at least 32 bytes"];

/// A certificate for `localhost`, in a Secret.
async fn certificate(cluster: &Cluster) -> Result<CertificateDer<'static>> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let (pem, key) = (STANDARD.encode(made.cert.pem()), STANDARD.encode(made.signing_key.serialize_pem()));
    secret(cluster, "gateway-tls", "kubernetes.io/tls", json!({ "tls.crt": pem, "tls.key": key })).await?;
    Ok(made.cert.der().clone())
}

async fn key(cluster: &Cluster, key: &str) -> Result<()> {
    secret(cluster, "jwt", "Opaque", json!({ "secret": STANDARD.encode(key) })).await
}

async fn secret(cluster: &Cluster, name: &str, kind: &str, data: Value) -> Result<()> {
    let object = json!({
        "apiVersion": "v1", "kind": "Secret", "type": kind, "data": data,
        "metadata": { "name": name, "namespace": SPACE, "labels": { "mcp.bridge/watch": "true" } },
    });
    cluster.apply(&object.to_string()).await?;
    Ok(())
}

/// Tries until it succeeds; the last error otherwise.
async fn until<T: Send + 'static>(
    what: &str,
    attempt: impl Fn() -> Result<T> + Clone + Send + 'static,
) -> Result<T> {
    let mut last = None;
    let mut tick = interval(Duration::from_millis(100));
    let tried = async {
        loop {
            tick.tick().await;
            match spawn_blocking(attempt.clone()).await {
                Ok(Ok(done)) => return done,
                Ok(Err(error)) => last = Some(error),
                Err(error) => last = Some(error.into()),
            }
        }
    };
    if let Ok(done) = timeout(PATIENCE, tried).await {
        return Ok(done);
    }
    bail!("not \"{what}\": {last:?}")
}

/// A connection whose handshake succeeds with this certificate, and a call of a tool over it.
fn connect(address: SocketAddr, certificate: &CertificateDer<'static>, token: &str) -> Result<Binary> {
    let mut client = Binary::g_tls(address, certificate)?;
    client.negotiate()?;
    let opened = client.initialize(token)?;
    ensure!(opened["result"].is_object(), "{opened}");
    Ok(client)
}

fn status(url: &str, token: &str) -> Result<u16> {
    let mut client = ModernClient::new(url, &json!({}))?;
    client.set_header("Authorization", &format!("Bearer {token}"));
    let prepared = client.prepare("tools/list", &json!({}))?;
    Ok(client.send(&prepared)?.head()?.status)
}

pub(crate) async fn certificates_and_keys_change_without_a_restart_and_without_a_broken_connection(
    cluster: &'static Cluster,
) -> Result<()> {
    installed::operator(cluster).await?;
    installed::server(cluster, SPACE, "fixture").await?;
    let first = certificate(cluster).await?;
    key(cluster, KEYS[0]).await?;
    installed::gateway(cluster, SPACE).await?;
    let tls = json!({ "certificateRefs": [{ "name": "gateway-tls" }] });
    let listeners = json!([
        { "name": "http", "protocol": "StreamableHTTP", "port": 8080, "path": "/mcp", "tls": { "mode": "Disabled" } },
        { "name": "tcp", "protocol": "TCP", "port": 8444, "tls": tls },
    ]);
    let provider = json!({
        "name": "local", "issuer": NAME, "audiences": [NAME], "hmacSecretRef": { "name": "jwt", "key": "secret" },
    });
    let auth = json!({ "anonymous": null, "jwt": { "providers": [provider] } });
    let change = kube::api::Patch::Merge(json!({ "spec": { "listeners": listeners, "auth": auth } }));
    installed::gateways(cluster, SPACE).patch("main", &kube::api::PatchParams::default(), &change).await?;
    // Another port is another template: the pods are new ones.
    let deployments: Api<Deployment> = Api::namespaced(cluster.client(), SPACE);
    let has_port = |found: Option<&Deployment>| {
        let containers =
            found.and_then(|found| Some(&found.spec.as_ref()?.template.spec.as_ref()?.containers));
        let ports = containers.into_iter().flatten().flat_map(|container| container.ports.iter().flatten());
        ports.into_iter().any(|port| port.container_port == 8444)
    };
    cluster.until(deployments, "main-mcpgw", "has the other port", has_port).await?;
    cluster.until_available(SPACE, "main-mcpgw").await?;
    installed::until_gateway(cluster, (SPACE, "main"), ("Programmed", "True")).await?;
    let before: BTreeSet<_> =
        pods(cluster, SPACE, "main").await?.iter().filter_map(ResourceExt::uid).collect();

    let http = address(cluster, SPACE, "main", 8080).await?;
    let url = format!("{http}/mcp");
    let tcp: SocketAddr = http.trim_start_matches("http://").replace(":8080", ":8444").parse()?;
    let tokens = [Issuer::secret(KEYS[0]).token("alice")?, Issuer::secret(KEYS[1]).token("alice")?];
    let mut open = {
        let (first, token) = (first.clone(), tokens[0].clone());
        until("the first certificate is served", move || connect(tcp, &first, &token)).await?
    };
    let [old, new] = tokens.clone();
    let tried = url.clone();
    ensure!(spawn_blocking(move || status(&tried, &old)).await?? == 200, "the first key");
    let tried = url.clone();
    ensure!(spawn_blocking(move || status(&tried, &new)).await?? == 401, "the second key is known too early");

    // The certificate: who is connected stays so.
    let second = certificate(cluster).await?;
    {
        let token = tokens[0].clone();
        until("the second certificate is served", move || connect(tcp, &second, &token)).await?;
    }
    let listed = spawn_blocking(move || open.call("tools/list", &json!({}), &json!({}))).await??;
    ensure!(listed["result"]["tools"].is_array(), "the open connection: {listed}");

    // The key.
    key(cluster, KEYS[1]).await?;
    let (tried, new) = (url.clone(), tokens[1].clone());
    until("the second key is taken", move || {
        ensure!(status(&tried, &new)? == 200);
        Ok(())
    })
    .await?;
    let (tried, old) = (url.clone(), tokens[0].clone());
    until("the first key is taken no more", move || {
        ensure!(status(&tried, &old)? == 401);
        Ok(())
    })
    .await?;
    let after: BTreeSet<_> =
        pods(cluster, SPACE, "main").await?.iter().filter_map(ResourceExt::uid).collect();
    ensure!(before == after, "pods were replaced");
    Ok(())
}

pub(crate) async fn operators_that_are_replaced_are_known_to_the_pods_that_run(
    cluster: &'static Cluster,
) -> Result<()> {
    installed::operator(cluster).await?;
    cluster.namespace("replaced").await?;
    installed::gateway_alone(cluster, "replaced").await?;
    let before: BTreeSet<_> =
        pods(cluster, "replaced", "main").await?.iter().map(ResourceExt::name_any).collect();
    cluster.kubectl(&["rollout", "restart", "deployment/mcp-bridge-operator", "-n", SYSTEM]).await?;
    cluster.until_available(SYSTEM, "mcp-bridge-operator").await?;
    let change =
        kube::api::Patch::Merge(json!({ "spec": { "observability": { "logging": { "level": "debug" } } } }));
    let gateways = installed::gateways(cluster, "replaced");
    let changed = gateways.patch("main", &kube::api::PatchParams::default(), &change).await?;
    let generation = changed.metadata.generation.context("a generation")?;
    cluster
        .until(gateways, "main", "Programmed with the change", |found| {
            let conditions = found.and_then(|found| found.status.as_ref()?.conditions.as_ref());
            conditions.into_iter().flatten().any(|one| {
                one.type_ == "Programmed"
                    && one.status == "True"
                    && one.observed_generation == Some(generation)
            })
        })
        .await?;
    let after: BTreeSet<_> =
        pods(cluster, "replaced", "main").await?.iter().map(ResourceExt::name_any).collect();
    ensure!(before == after, "a change of the log level replaced pods");
    Ok(())
}
