//! Certificates, keys and credentials of a pod come with its configuration and change under it. Changes with what a
//! configuration can refer to.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bridge_snapshot::push::{Credential, Destination, RejectionCode, Resource, ResourceType};
use bridge_snapshot::{Access, ClientAuth, Jwt, Snapshot, Tls, TlsVersion};
use bridge_tests::fake::{Act, Fake};
use bridge_tests::gateway::wait_listening;
use bridge_tests::http::{Url, request};
use bridge_tests::pod::{Mounts, backend, gateway, listener, material, part, secret, snapshot};
use bridge_tests::tokens::Issuer;
use bridge_tests::{Era, ModernClient, Operator, Pod, TestServer};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::json;

/// A certificate for `localhost` with its key, PEM, and the certificate again as clients see it.
struct Pair {
    cert: String,
    key: String,
    der: CertificateDer<'static>,
}

fn pair() -> Result<Pair> {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(vec!["localhost".to_owned()])?;
    Ok(Pair { cert: cert.pem(), key: signing_key.serialize_pem(), der: cert.der().clone() })
}

fn tls_secret(pair: &Pair) -> Resource {
    secret("mcp-system/gateway-tls", &[("tls.crt", &pair.cert), ("tls.key", &pair.key)])
}

/// A listener without TLS, and one with certificates of a Secret.
fn secured() -> Snapshot {
    let mut snapshot = snapshot();
    let mut secured = listener("secured");
    secured.tls = Some(Tls {
        certificate: material("mcp-system/gateway-tls", "tls.crt"),
        key: material("mcp-system/gateway-tls", "tls.key"),
        client_ca: None,
        client_auth: ClientAuth::None,
        min_version: TlsVersion::V13,
    });
    snapshot.listeners.push(secured);
    snapshot
}

type Connection = StreamOwned<ClientConnection, TcpStream>;

/// Connects to somebody who must have this certificate.
fn connect(address: SocketAddr, expected: &Pair) -> Result<Connection> {
    let mut roots = RootCertStore::empty();
    roots.add(expected.der.clone())?;
    let config = ClientConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(bridge_tests::PATIENCE))?;
    let mut connection =
        StreamOwned::new(ClientConnection::new(Arc::new(config), "localhost".try_into()?)?, stream);
    ping(&mut connection)?;
    Ok(connection)
}

/// One request on a connection that stays open.
fn ping(connection: &mut Connection) -> Result<()> {
    connection.write_all(b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let mut answer = [0; 4096];
    let length = connection.read(&mut answer)?;
    ensure!(answer.get(..length).is_some_and(|text| text.starts_with(b"HTTP/1.1 ")), "no answer");
    Ok(())
}

#[test]
fn a_certificate_that_is_renewed_is_shown_to_new_clients_and_keeps_the_others() -> Result<()> {
    let operator = Operator::start()?;
    let mounts = Mounts::of(&operator)?;
    let (first, second) = (pair()?, pair()?);
    operator.publish(&[gateway(secured()), tls_secret(&first)])?;
    let pod = Pod::start(&mounts)?;
    pod.wait_ready()?;
    let address = wait_listening(pod.process(), "secured")?;
    let mut open = connect(address, &first)?;

    let revision = operator.publish(&[tls_secret(&second)])?;
    assert_eq!(operator.wait_serves(revision)?, []);
    connect(address, &second)?;
    ensure!(connect(address, &first).is_err(), "the old certificate is still shown");
    ping(&mut open)?;

    // Half of a renewal is refused with the reason, and what was good stays. Whoever's Secret comes along is not to blame.
    let half = Pair { key: first.key.clone(), cert: second.cert.clone(), der: second.der.clone() };
    let other = secret("team/token", &[("token", "fine")]);
    let revision = operator.publish(&[other, tls_secret(&half)])?;
    let rejected = operator.wait_serves(revision)?;
    let [rejection] = rejected.as_slice() else { anyhow::bail!("{rejected:?}") };
    assert_eq!((rejection.kind, rejection.code), (ResourceType::Secret, RejectionCode::Invalid));
    ensure!(rejection.message.contains("does not belong to"), "{}", rejection.message);
    connect(address, &second)?;
    ping(&mut open)
}

#[test]
fn a_listener_can_get_and_lose_its_tls_where_it_is() -> Result<()> {
    let operator = Operator::start()?;
    let mounts = Mounts::of(&operator)?;
    let pair = pair()?;
    let mut plain = secured();
    let secured = plain.clone();
    plain.listeners.iter_mut().for_each(|listener| listener.tls = None);
    operator.publish(&[gateway(plain.clone()), tls_secret(&pair)])?;
    let pod = Pod::start(&mounts)?;
    pod.wait_ready()?;
    let address = wait_listening(pod.process(), "secured")?;
    for _ in 0..2 {
        let revision = operator.publish(&[gateway(secured.clone())])?;
        assert_eq!(operator.wait_serves(revision)?, []);
        connect(address, &pair)?;
        let revision = operator.publish(&[gateway(plain.clone())])?;
        assert_eq!(operator.wait_serves(revision)?, []);
        ensure!(connect(address, &pair).is_err(), "still secured");
    }
    Ok(())
}

#[test]
fn a_gateway_whose_secret_is_away_is_not_served() -> Result<()> {
    let operator = Operator::start()?;
    let mounts = Mounts::of(&operator)?;
    let revision = operator.publish(&[gateway(secured())])?;
    let pod = Pod::start(&mounts)?;
    let rejected = operator.wait_serves(revision)?;
    let [rejection] = rejected.as_slice() else { anyhow::bail!("{rejected:?}") };
    assert_eq!((rejection.kind, rejection.code), (ResourceType::Gateway, RejectionCode::Unavailable));
    let expected = "listeners[secured].tls.certificate: secret `mcp-system/gateway-tls` with key `tls.crt`";
    ensure!(rejection.message.contains(expected), "{}", rejection.message);
    ensure!(!pod.is_ready()?, "ready without a configuration");
    Ok(())
}

fn guarded() -> Resource {
    let access = Access::Jwt(Jwt {
        issuer: None,
        audience: None,
        secret: Some(material("mcp-system/jwt", "secret")),
        public_key_file: None,
        per_message: false,
        cache_ttl: Duration::from_mins(5),
    });
    gateway(Snapshot { access, ..snapshot() })
}

#[test]
fn the_key_of_tokens_changes_without_a_restart() -> Result<()> {
    const FIRST: &str = "the first secret, of at least 32 bytes";
    const SECOND: &str = "the second secret, of at least 32 bytes";
    let operator = Operator::start()?;
    let mounts = Mounts::of(&operator)?;
    let key = |value| secret("mcp-system/jwt", &[("secret", value)]);
    operator.publish(&[guarded(), key(FIRST)])?;
    let pod = Pod::start(&mounts)?;
    let url = Url::parse(&format!("{}/mcp", pod.wait_ready()?))?;
    let status = |secret: &str| -> Result<u16> {
        let token = format!("Bearer {}", Issuer::secret(secret).token("alice")?);
        let headers = [("Authorization", token.as_str()), ("Content-Type", "application/json")];
        Ok(request("POST", &url, &headers, b"{}")?.head.status)
    };
    assert_ne!(status(FIRST)?, 401);
    assert_eq!(status(SECOND)?, 401);
    let revision = operator.publish(&[key(SECOND)])?;
    assert_eq!(operator.wait_serves(revision)?, []);
    assert_eq!(status(FIRST)?, 401);
    assert_ne!(status(SECOND)?, 401);
    let log = pod.process().log().join("\n");
    ensure!(!log.contains("secret, of at least"), "a key is in the log");
    Ok(())
}

#[test]
fn a_pod_that_leaves_still_takes_what_changes() -> Result<()> {
    const FIRST: &str = "the first secret, of at least 32 bytes";
    const SECOND: &str = "the second secret, of at least 32 bytes";
    let (operator, mut fixture) = (Operator::start()?, TestServer::http(Era::Modern)?);
    let mounts = Mounts::of(&operator)?;
    let key = |value| secret("mcp-system/jwt", &[("secret", value)]);
    operator.publish(&[guarded(), backend("web", fixture.url()), key(FIRST)])?;
    let pod = Pod::start(&mounts)?;
    let mut client = ModernClient::new(&format!("{}/mcp/web", pod.wait_ready()?), &json!({}))?;
    client.set_header("Authorization", &format!("Bearer {}", Issuer::secret(FIRST).token("alice")?));
    // A call keeps the pod from ending.
    let sleep = json!({ "name": "sleep", "arguments": { "ms": 4_000 } });
    let (id, call) = client.start("tools/call", &sleep)?;
    fixture
        .process()
        .wait_line(bridge_tests::PATIENCE, |line| line.contains("sleep started").then_some(()))?;
    pod.process().signal(bridge_tests::process::Signal::TERM)?;
    pod.wait_log(|line| line["msg"] == "draining")?;
    let revision = operator.publish(&[key(SECOND)])?;
    assert_eq!(operator.wait_serves(revision)?, []);
    call.finish(&id, |_| Ok(()))?.into_result()?;
    ensure!(pod.process().wait_exit(bridge_tests::PATIENCE)?.success(), "it ended badly");
    Ok(())
}

#[test]
fn a_credential_that_is_replaced_reaches_its_backend_alone() -> Result<()> {
    let operator = Operator::start()?;
    let mounts = Mounts::of(&operator)?;
    let fake = Fake::modern(|asked| Act::result(asked, &json!({ "tools": [] })))?;
    let fixture = TestServer::http(Era::Both)?;
    let mut guarded = part("guarded", &fake.url());
    guarded.credentials = vec![Credential {
        secret: "team/token".to_owned(),
        key: "token".to_owned(),
        prefix: "Bearer ".to_owned(),
        into: Destination::Header("Authorization".to_owned()),
    }];
    let token = |value| secret("team/token", &[("token", value)]);
    let guarded = Resource::Backend(Box::new(guarded));
    operator.publish(&[gateway(snapshot()), guarded, backend("web", fixture.url()), token("first")])?;
    let pod = Pod::start(&mounts)?;
    let url = pod.wait_ready()?;
    fake.wait_asked(|asked| asked.header("authorization") == Some("Bearer first"))?;
    let mut client = ModernClient::new(&format!("{url}/mcp/web"), &json!({}))?;
    client.request("tools/list", &json!({}))?.into_result()?;
    let revision = operator.publish(&[token("second")])?;
    assert_eq!(operator.wait_serves(revision)?, []);
    fake.wait_asked(|asked| asked.header("authorization") == Some("Bearer second"))?;

    // A value that no header can carry: the last good one is used on.
    let revision = operator.publish(&[token("two\nlines")])?;
    let rejected = operator.wait_serves(revision)?;
    let rejection = rejected.first().context("a rejection")?;
    assert_eq!((rejected.len(), rejection.kind), (1, ResourceType::Secret));
    ensure!(rejection.message.contains("headers: ") && !rejection.message.contains("lines"), "{rejection:?}");
    Ok(())
}
