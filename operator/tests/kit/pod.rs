//! A pod that takes configuration over a real socket, with the data plane's state machine. Changes with the stream.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge_snapshot::Snapshot;
use bridge_snapshot::push::{
    FromPod, Identity, Rejection, Report, Resource, Step, Subscriber, SubscriberSettings, ToPod, assemble,
};
use futures_util::{SinkExt as _, StreamExt as _};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

/// A connected pod.
pub(crate) struct Pod {
    socket: WebSocketStream<TlsStream<TcpStream>>,
    subscriber: Subscriber,
    /// Configuration that it serves.
    pub(crate) snapshot: Option<Snapshot>,
    /// What it rejects of the next change.
    pub(crate) rejecting: Vec<Rejection>,
    /// Whether it was told to leave.
    pub(crate) sent_away: bool,
}

impl Pod {
    /// Connects with a token; the status of the answer when that is no stream.
    pub(crate) async fn connect(
        port: u16,
        authority: &str,
        token: &str,
        identity: Identity,
    ) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
        let config =
            ClientConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into())
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
        let socket = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut socket = TlsConnector::from(Arc::new(config)).connect(name, socket).await.unwrap();
        let head = format!(
            "GET /v1/stream HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Protocol: mcp-bridge-config.v1\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(socket.read_u8().await.map_err(|error| error.to_string())?);
        }
        let answer = String::from_utf8(answer).unwrap();
        let status = answer.lines().next().unwrap_or_default().to_owned();
        if !status.contains(" 101 ") {
            return Err(status);
        }
        let socket = WebSocketStream::from_raw_socket(socket, Role::Client, None).await;
        let subscriber = Subscriber::new(identity, &SubscriberSettings::default());
        let mut pod = Self { socket, subscriber, snapshot: None, rejecting: Vec::new(), sent_away: false };
        let steps = pod.subscriber.connect(1, Instant::now());
        pod.carry_out(steps).await;
        Ok(pod)
    }

    /// Takes messages until this holds.
    pub(crate) async fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let waited = tokio::time::timeout(Duration::from_secs(30), async {
            while !holds(self) {
                match self.socket.next().await {
                    Some(Ok(Message::Text(text))) => {
                        let message = ToPod::from_json(&text).unwrap();
                        self.sent_away |= matches!(message, ToPod::GoAway(_));
                        let steps = self.subscriber.receive(1, message, Instant::now());
                        self.carry_out(steps).await;
                    }
                    Some(Ok(_)) => {}
                    other => panic!("the stream has ended before {what}: {other:?}"),
                }
            }
        });
        assert!(waited.await.is_ok(), "{what} did not happen; serving {:?}", self.snapshot);
    }

    /// Tells of itself.
    pub(crate) async fn report(&mut self, report: Report) {
        self.send(FromPod::Report(report)).await;
    }

    /// Sends a message as it is.
    pub(crate) async fn send(&mut self, message: FromPod) {
        self.socket.send(Message::text(message.to_json().unwrap())).await.unwrap();
    }

    /// Waits for the end of the stream.
    pub(crate) async fn ended(&mut self) {
        while let Some(Ok(_)) = self.socket.next().await {}
    }

    async fn carry_out(&mut self, steps: Vec<Step>) {
        let mut steps: std::collections::VecDeque<_> = steps.into();
        while let Some(step) = steps.pop_front() {
            match step {
                Step::Send(message) => self.send(message).await,
                Step::Apply(_) => {
                    let rejected = std::mem::take(&mut self.rejecting);
                    steps.extend(self.subscriber.settle(rejected));
                    let served: Vec<_> =
                        self.subscriber.served().map(|entry| Resource::decode(entry).unwrap()).collect();
                    self.snapshot = assemble(&served).snapshot;
                }
                Step::Leave(_) => {}
            }
        }
    }
}
