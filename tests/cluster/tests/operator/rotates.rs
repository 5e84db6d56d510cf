//! Certificates, keys and the log level change under running pods. Changes when something else is taken over without a
//! restart.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bridge_cluster::{Cluster, PATIENCE};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{Patch, PatchParams};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{interval, timeout};
use tokio_rustls::TlsConnector;

use crate::installed;

const SPACE: &str = "rotates";
const NAME: &str = "gateway.example.com";

/// A gateway whose clients show tokens, over TLS.
const GATEWAY: &str = "
apiVersion: mcp.bridge/v1alpha1
kind: McpGateway
metadata: {name: main, namespace: rotates}
spec:
  replicas: 2
  listeners: [{name: https, protocol: StreamableHTTP, port: 8443, path: /mcp, tls: {certificateRefs: [{name: cert}]}}]
  auth: {jwt: {providers: [{name: local, issuer: i, hmacSecretRef: {name: jwt, key: secret}}]}}
";

async fn secret(cluster: &Cluster, name: &str, data: &[(&str, &str)]) -> Result<()> {
    let values: serde_json::Map<_, _> =
        data.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect();
    let metadata = json!({ "name": name, "namespace": SPACE, "labels": { "mcp.bridge/watch": "true" } });
    let document =
        json!({ "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": values });
    cluster.apply(&document.to_string()).await?;
    Ok(())
}

/// Makes another certificate the gateway's; gives it back, PEM.
async fn certificate(cluster: &Cluster) -> Result<String> {
    let pair = rcgen::generate_simple_self_signed([NAME.to_owned()])?;
    let (certificate, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
    secret(cluster, "cert", &[("tls.crt", &certificate), ("tls.key", &key)]).await?;
    Ok(certificate)
}

/// A token that was signed with `secret`.
fn token(secret: &str) -> Result<String> {
    let expires = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() + 3600;
    let encode = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let head = encode(json!({ "alg": "HS256", "typ": "JWT" }));
    let signed = format!("{head}.{}", encode(json!({ "iss": "i", "sub": "somebody", "exp": expires })));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&key, signed.as_bytes()));
    Ok(format!("{signed}.{signature}"))
}

/// The status with which a pod answers whoever trusts this certificate alone and shows this token.
async fn status(pod: &Pod, certificate: &str, token: &str) -> Result<u16> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(certificate.as_bytes())?)?;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let config = ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let address = pod.status.as_ref().and_then(|status| status.pod_ip.as_deref()).context("an address")?;
    let socket = TcpStream::connect((address, 8443)).await?;
    let connector = TlsConnector::from(Arc::new(config));
    let mut socket = connector.connect(ServerName::try_from(NAME)?, socket).await?;
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let head = format!(
        "POST /mcp HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Accept: application/json, text/event-stream\r\nAuthorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    socket.write_all(head.as_bytes()).await?;
    let mut answer = [0; 12];
    socket.read_exact(&mut answer).await?;
    let status = std::str::from_utf8(&answer)?.split(' ').nth(1).context("a status")?;
    Ok(status.parse()?)
}

/// Waits until every pod shows this certificate, and lets in whoever shows this token.
async fn until_open(pods: &[Pod], certificate: &str, token: &str) -> Result<()> {
    let mut look = interval(Duration::from_millis(100));
    let open = async {
        for pod in pods {
            while !matches!(status(pod, certificate, token).await, Ok(status) if status != 401) {
                look.tick().await;
            }
        }
    };
    timeout(PATIENCE, open).await.context("not every pod took over what is new")
}

fn identities(pods: &[Pod]) -> BTreeSet<(String, i32)> {
    let restarts = |pod: &Pod| {
        let containers = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
        containers.into_iter().flatten().map(|container| container.restart_count).sum()
    };
    pods.iter().map(|pod| (pod.metadata.uid.clone().unwrap_or_default(), restarts(pod))).collect()
}

pub(crate) async fn certificates_keys_and_the_log_level_change_under_running_pods(
    cluster: &'static Cluster,
) -> Result<()> {
    installed::operator(cluster).await?;
    cluster.namespace(SPACE).await?;
    let (old_key, new_key) = ("0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210");
    let first = certificate(cluster).await?;
    secret(cluster, "jwt", &[("secret", old_key)]).await?;
    cluster.apply(GATEWAY).await?;
    installed::until_gateway(cluster, (SPACE, "main"), ("Ready", "True")).await?;
    installed::until_gateway(cluster, (SPACE, "main"), ("Programmed", "True")).await?;
    let pods = installed::pods(cluster, SPACE, "main").await?;
    ensure!(pods.len() == 2, "{} pods", pods.len());
    until_open(&pods, &first, &token(old_key)?).await?;
    let deployments: Api<Deployment> = Api::namespaced(cluster.client(), SPACE);
    let generation = deployments.get("main-mcpgw").await?.metadata.generation;

    let second = certificate(cluster).await?;
    until_open(&pods, &second, &token(old_key)?).await?;
    for pod in &pods {
        if status(pod, &first, &token(old_key)?).await.is_ok() {
            bail!("a pod still shows the certificate that was replaced");
        }
    }

    secret(cluster, "jwt", &[("secret", new_key)]).await?;
    until_open(&pods, &second, &token(new_key)?).await?;
    for pod in &pods {
        ensure!(status(pod, &second, &token(old_key)?).await? == 401, "the old key still opens a pod");
    }

    let debug = json!({ "spec": { "observability": { "logging": { "level": "debug" } } } });
    let gateways = installed::gateways(cluster, SPACE);
    gateways.patch("main", &PatchParams::default(), &Patch::Merge(debug)).await?;
    for pod in &pods {
        cluster.until_logged(pod, "gateway", "debug").await?;
    }

    let after = installed::pods(cluster, SPACE, "main").await?;
    ensure!(identities(&after) == identities(&pods), "a pod was replaced or restarted");
    let now = deployments.get("main-mcpgw").await?.metadata.generation;
    ensure!(now == generation, "the Deployment was changed");
    Ok(())
}
