//! A pod reaches its backends over TLS as its configuration says: whom it trusts, what it shows, which name it asks for.
//! Changes with what can be said about such connections.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::{Result, ensure};
use bridge_snapshot::push::{RejectionCode, Resource, ResourceType};
use bridge_snapshot::{
    ClientAuth, HttpBackend, Listener, Material, Protocol, Secret, SseBackend, SsePaths, Target, TcpBackend,
    Tls, TlsIdentity, TlsVersion, UpstreamTls, WebSocketBackend,
};
use bridge_tests::gateway::wait_listening;
use bridge_tests::pod::{Mounts, backend, gateway, listener, material, part, secret, snapshot};
use bridge_tests::{Era, LegacySession, Operator, Pod, TestServer};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::json;

/// The name in the servers' certificates. No address is called so.
const NAME: &str = "server.internal";

/// An authority, and what it signed for a server and for a client: certificate and key, PEM.
struct Authority {
    pem: String,
    server: [String; 2],
    client: [String; 2],
}

impl Authority {
    fn new() -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        let issuer = Issuer::new(params, key);
        let leaf = |name: &str| -> Result<[String; 2]> {
            let key = KeyPair::generate()?;
            let cert = CertificateParams::new([name.to_owned()])?.signed_by(&key, &issuer)?;
            Ok([cert.pem(), key.serialize_pem()])
        };
        Ok(Self { server: leaf(NAME)?, client: leaf("gateway.internal")?, pem })
    }
}

fn value(text: &str) -> Material {
    Material::Value { origin: "the test".to_owned(), value: Secret::new(text) }
}

/// A server that speaks every protocol over TLS, to clients with a certificate of its authority: another gateway.
struct Server {
    _pod: Pod,
    _operator: Operator,
    _mounts: Mounts,
    _fixture: TestServer,
    http: SocketAddr,
    tcp: SocketAddr,
}

impl Server {
    fn start(authority: &Authority, client_auth: ClientAuth) -> Result<Self> {
        let (operator, fixture) = (Operator::start()?, TestServer::http(Era::Both)?);
        let mounts = Mounts::of(&operator)?;
        let secured = |name: &str, protocols: Vec<Protocol>| Listener {
            tls: Some(Tls {
                certificate: value(&authority.server[0]),
                key: value(&authority.server[1]),
                client_ca: (client_auth != ClientAuth::None).then(|| value(&authority.pem)),
                client_auth,
                min_version: TlsVersion::V13,
            }),
            protocols,
            ..listener(name)
        };
        let mut own = snapshot();
        let websocket = Protocol::WebSocket { ping_interval: std::time::Duration::from_secs(30) };
        let http = vec![Protocol::StreamableHttp, Protocol::Sse(SsePaths::default()), websocket];
        own.listeners.push(secured("http", http));
        own.listeners.push(secured("tcp", vec![Protocol::TcpBinary { plain_too: false }]));
        operator.publish(&[gateway(own), backend("web", fixture.url())])?;
        let pod = Pod::start(&mounts)?;
        pod.wait_ready()?;
        let (http, tcp) = (wait_listening(pod.process(), "http")?, wait_listening(pod.process(), "tcp")?);
        Ok(Self { _pod: pod, _operator: operator, _mounts: mounts, _fixture: fixture, http, tcp })
    }

    /// The ways to reach it, by name.
    fn targets(&self) -> Vec<(&'static str, Target)> {
        let Self { http, tcp, .. } = self;
        let headers = BTreeMap::new;
        let sse = SseBackend { url: format!("https://{http}/sse"), request_url: None, headers: headers() };
        let websocket = WebSocketBackend { url: format!("wss://{http}/mcp"), headers: headers() };
        let binary = TcpBackend { host: tcp.ip().to_string(), port: tcp.port(), tls: true, token: None };
        vec![
            ("http", Target::Http(HttpBackend { url: format!("https://{http}/mcp"), headers: headers() })),
            ("sse", Target::Sse(sse)),
            ("websocket", Target::WebSocket(websocket)),
            ("binary", Target::Tcp(binary)),
        ]
    }
}

fn reached(name: &str, target: Target, tls: &UpstreamTls) -> Resource {
    let mut part = part(name, "http://unused.invalid");
    part.backend.target = target;
    part.backend.tls = Some(tls.clone());
    Resource::Backend(Box::new(part))
}

fn calls(url: &str, name: &str) -> Result<()> {
    let mut session = LegacySession::open(&format!("{url}/mcp/{name}"), &json!({}))?;
    let call = json!({ "name": "echo", "arguments": { "message": "hi" } });
    session.request("tools/call", &call)?.into_result().map(drop)
}

/// Trusts the authority of a Secret, and shows a certificate of another.
fn mutual() -> UpstreamTls {
    UpstreamTls {
        ca: Some(material("team/ca", "ca.crt")),
        identity: Some(TlsIdentity {
            certificate: material("team/client", "tls.crt"),
            key: material("team/client", "tls.key"),
        }),
        server_name: Some(NAME.to_owned()),
        insecure_skip_verify: false,
    }
}

fn secrets(authority: &Authority) -> [Resource; 2] {
    let [cert, key] = &authority.client;
    [
        secret("team/ca", &[("ca.crt", &authority.pem)]),
        secret("team/client", &[("tls.crt", cert), ("tls.key", key)]),
    ]
}

#[test]
fn every_protocol_is_spoken_to_a_server_that_both_sides_prove_themselves_to() -> Result<()> {
    let authority = Authority::new()?;
    let server = Server::start(&authority, ClientAuth::Require)?;
    let operator = Operator::start()?;
    let mounts = Mounts::of(&operator)?;
    let mut resources = vec![gateway(snapshot())];
    resources.extend(secrets(&authority));
    for (name, target) in server.targets() {
        resources.push(reached(name, target, &mutual()));
    }
    let revision = operator.publish(&resources)?;
    let pod = Pod::start(&mounts)?;
    let url = pod.wait_ready()?;
    assert_eq!(operator.wait_serves(revision)?, []);
    for (name, _) in server.targets() {
        calls(&url, name).map_err(|error| error.context(name))?;
    }
    let log = pod.process().log().join("\n");
    ensure!(!log.contains("PRIVATE KEY"), "a key is in the log");
    Ok(())
}

#[test]
fn a_server_is_not_spoken_to_when_either_side_proves_too_little() -> Result<()> {
    let (authority, stranger) = (Authority::new()?, Authority::new()?);
    let server = Server::start(&authority, ClientAuth::Require)?;
    let operator = Operator::start()?;
    let mounts = Mounts::of(&operator)?;
    let cases = [
        ("no-ca", UpstreamTls { ca: None, ..mutual() }),
        ("other-ca", UpstreamTls { ca: Some(value(&stranger.pem)), ..mutual() }),
        ("other-name", UpstreamTls { server_name: Some("elsewhere.internal".to_owned()), ..mutual() }),
        ("no-name", UpstreamTls { server_name: None, ..mutual() }),
        ("no-identity", UpstreamTls { identity: None, ..mutual() }),
    ];
    let mut resources = vec![gateway(snapshot())];
    resources.extend(secrets(&authority));
    let mut names = Vec::new();
    for (case, tls) in &cases {
        for (protocol, target) in server.targets() {
            let name = format!("{case}-{protocol}");
            resources.push(reached(&name, target, tls));
            names.push(name);
        }
    }
    operator.publish(&resources)?;
    let pod = Pod::start(&mounts)?;
    let url = pod.wait_ready()?;
    for name in &names {
        ensure!(calls(&url, name).is_err(), "{name} is served");
    }
    Ok(())
}

#[test]
fn a_server_that_is_not_to_be_verified_is_not() -> Result<()> {
    let authority = Authority::new()?;
    let server = Server::start(&authority, ClientAuth::None)?;
    let operator = Operator::start()?;
    let mounts = Mounts::of(&operator)?;
    let any = UpstreamTls { insecure_skip_verify: true, ..UpstreamTls::default() };
    let mut resources = vec![gateway(snapshot())];
    for (name, target) in server.targets() {
        resources.push(reached(name, target, &any));
    }
    operator.publish(&resources)?;
    let pod = Pod::start(&mounts)?;
    let url = pod.wait_ready()?;
    for (name, _) in server.targets() {
        calls(&url, name).map_err(|error| error.context(name))?;
    }
    Ok(())
}

#[test]
fn a_renewed_authority_counts_at_once_and_an_unusable_one_is_refused() -> Result<()> {
    let (old, new) = (Authority::new()?, Authority::new()?);
    let server = Server::start(&new, ClientAuth::None)?;
    let operator = Operator::start()?;
    let mounts = Mounts::of(&operator)?;
    let tls = UpstreamTls { identity: None, ..mutual() };
    let mut resources = vec![gateway(snapshot()), secret("team/ca", &[("ca.crt", &old.pem)])];
    for (name, target) in server.targets() {
        resources.push(reached(name, target, &tls));
    }
    operator.publish(&resources)?;
    let pod = Pod::start(&mounts)?;
    let url = pod.wait_ready()?;
    ensure!(calls(&url, "http").is_err(), "a server of another authority is trusted");
    let revision = operator.publish(&[secret("team/ca", &[("ca.crt", &new.pem)])])?;
    assert_eq!(operator.wait_serves(revision)?, []);
    calls(&url, "http")?;

    let revision = operator.publish(&[secret("team/ca", &[("ca.crt", "no certificate")])])?;
    let rejected = operator.wait_serves(revision)?;
    let [rejection] = rejected.as_slice() else { anyhow::bail!("{rejected:?}") };
    assert_eq!((rejection.kind, rejection.code), (ResourceType::Secret, RejectionCode::Invalid));
    ensure!(rejection.message.contains("tls: CA file"), "{}", rejection.message);
    calls(&url, "http")
}
