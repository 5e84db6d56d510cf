//! What a listener presents and accepts.

use std::sync::Arc;

use bridge_transport::tls::{ClientAuth, MinVersion, Server};
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ProtocolVersion, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::authority::{Authority, Directory, Leaf};

/// What a client sees of a connection over which one byte went each way.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    version: Option<ProtocolVersion>,
    alpn: Option<Vec<u8>>,
    server_certificate: Vec<u8>,
    client_certificates: usize,
}

static BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
static OLD: [&SupportedProtocolVersion; 1] = [&TLS12];

struct Client<'a> {
    trusts: &'a Authority,
    shows: Option<&'a Leaf>,
    versions: &'static [&'static SupportedProtocolVersion],
    alpn: &'static [&'static [u8]],
}

impl<'a> Client<'a> {
    fn new(trusts: &'a Authority) -> Self {
        Self { trusts, shows: None, versions: &BOTH, alpn: &[] }
    }

    async fn connect(&self, server: &Server) -> std::io::Result<Seen> {
        let builder =
            ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .with_protocol_versions(self.versions)
                .unwrap()
                .with_root_certificates(self.trusts.roots());
        let mut config = match self.shows.map(Leaf::parsed) {
            Some((chain, key)) => builder.with_client_auth_cert(chain, key).unwrap(),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = self.alpn.iter().map(|name| name.to_vec()).collect();
        let (near, far) = tokio::io::duplex(64 * 1024);
        let accepting = async {
            let mut stream = TlsAcceptor::from(server.config()).accept(far).await?;
            let question = stream.read_u8().await?;
            stream.write_u8(question + 1).await?;
            stream.flush().await?;
            Ok::<_, std::io::Error>(stream.get_ref().1.peer_certificates().map_or(0, <[_]>::len))
        };
        let name = ServerName::try_from("gateway.test").unwrap();
        let connecting = async {
            let mut stream = TlsConnector::from(Arc::new(config)).connect(name, near).await?;
            stream.write_u8(41).await?;
            stream.flush().await?;
            assert_eq!(stream.read_u8().await?, 42);
            let connection = stream.get_ref().1;
            Ok::<_, std::io::Error>(Seen {
                version: connection.protocol_version(),
                alpn: connection.alpn_protocol().map(<[u8]>::to_vec),
                server_certificate: connection.peer_certificates().unwrap()[0].to_vec(),
                client_certificates: 0,
            })
        };
        let (accepted, connected) = tokio::join!(accepting, connecting);
        let (client_certificates, seen) = (accepted?, connected?);
        Ok(Seen { client_certificates, ..seen })
    }
}

#[tokio::test]
async fn clients_get_the_certificate_and_the_newest_common_protocol() {
    let (authority, directory) = (Authority::new("ours"), Directory::new());
    let leaf = authority.leaf("gateway.test");
    let server = Server::load(directory.settings(&leaf)).unwrap();
    let seen =
        Client { alpn: &[b"http/1.1", b"h2"], ..Client::new(&authority) }.connect(&server).await.unwrap();
    let expected = Seen {
        version: Some(ProtocolVersion::TLSv1_3),
        alpn: Some(b"h2".to_vec()),
        server_certificate: leaf.parsed().0[0].to_vec(),
        client_certificates: 0,
    };
    assert_eq!(seen, expected);
    let seen = Client { alpn: &[b"http/1.1"], ..Client::new(&authority) }.connect(&server).await.unwrap();
    assert_eq!(seen.alpn.as_deref(), Some(&b"http/1.1"[..]));
    assert_eq!(Client::new(&authority).connect(&server).await.unwrap().alpn, None);
}

#[tokio::test]
async fn old_versions_are_refused_unless_allowed() {
    let (authority, directory) = (Authority::new("ours"), Directory::new());
    let settings = directory.settings(&authority.leaf("gateway.test"));
    let old = Client { versions: &OLD, ..Client::new(&authority) };
    let strict = Server::load(settings.clone()).unwrap();
    assert!(old.connect(&strict).await.is_err());
    let lenient = bridge_transport::tls::ServerSettings { min_version: MinVersion::V12, ..settings };
    let seen = old.connect(&Server::load(lenient).unwrap()).await.unwrap();
    assert_eq!(seen.version, Some(ProtocolVersion::TLSv1_2));
}

#[tokio::test]
async fn client_certificates_are_asked_for_as_configured() {
    let (authority, stranger, directory) =
        (Authority::new("ours"), Authority::new("not ours"), Directory::new());
    let (known, unknown) = (authority.leaf("alice"), stranger.leaf("mallory"));
    let mut settings = directory.settings(&authority.leaf("gateway.test"));
    settings.client_ca = Some(directory.write("ca.crt", &authority.pem).into());
    // Certificates that each kind of client shows, and what the server then knows; `None` when it is refused.
    for (client_auth, none_shown, known_shown, unknown_shown) in [
        (ClientAuth::None, Some(0), Some(0), Some(0)),
        (ClientAuth::Request, Some(0), Some(1), None),
        (ClientAuth::Require, None, Some(1), None),
    ] {
        settings.client_auth = client_auth;
        let server = Server::load(settings.clone()).unwrap();
        for (shows, expected) in
            [(None, none_shown), (Some(&known), known_shown), (Some(&unknown), unknown_shown)]
        {
            let seen = Client { shows, ..Client::new(&authority) }.connect(&server).await;
            assert_eq!(seen.ok().map(|seen| seen.client_certificates), expected, "{client_auth:?}");
        }
    }
}

#[tokio::test]
async fn a_reload_serves_the_new_certificate_and_a_bad_one_changes_nothing() {
    let (authority, directory) = (Authority::new("ours"), Directory::new());
    let server = Server::load(directory.settings(&authority.leaf("gateway.test"))).unwrap();
    let client = Client::new(&authority);
    let first = client.connect(&server).await.unwrap().server_certificate;

    let renewed = authority.leaf("gateway.test");
    directory.write("tls.crt", &renewed.cert);
    // Half of a renewal: the key is still the old one.
    let error = server.reload().unwrap_err().to_string();
    assert!(error.contains("tls.key") && error.contains("does not belong to"), "{error}");
    assert_eq!(client.connect(&server).await.unwrap().server_certificate, first);

    directory.write("tls.key", &renewed.key);
    server.reload().unwrap();
    assert_eq!(client.connect(&server).await.unwrap().server_certificate, renewed.parsed().0[0].to_vec());
}

#[tokio::test]
async fn a_reload_changes_whose_clients_are_accepted() {
    let (authority, next, directory) = (Authority::new("ours"), Authority::new("next"), Directory::new());
    let mut settings = directory.settings(&authority.leaf("gateway.test"));
    settings.client_ca = Some(directory.write("ca.crt", &authority.pem).into());
    settings.client_auth = ClientAuth::Require;
    let server = Server::load(settings).unwrap();
    let (old, new) = (authority.leaf("alice"), next.leaf("alice"));
    let old = Client { shows: Some(&old), ..Client::new(&authority) };
    let new = Client { shows: Some(&new), ..Client::new(&authority) };
    assert!(old.connect(&server).await.is_ok() && new.connect(&server).await.is_err());
    directory.write("ca.crt", &next.pem);
    server.reload().unwrap();
    assert!(old.connect(&server).await.is_err() && new.connect(&server).await.is_ok());
}
