//! The simulated pods, in a process of their own: the data plane's state machine on real streams, which serves nothing.
//! Changes when pods do something else.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bridge_runtime::tasks;
use bridge_snapshot::push::{
    Entry, FromPod, Identity, Key, Step, Subscriber, SubscriberSettings, ToPod, Version,
};
use futures_util::{SinkExt as _, StreamExt as _};
use parking_lot::Mutex;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines, Stdin};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::cluster::{GATEWAY, NAMESPACE, Who};
use crate::wire::{Done, Order, Setup};

type Socket = WebSocketStream<TlsStream<TcpStream>>;

struct Shared {
    port: u16,
    tls: TlsConnector,
    /// Bodies that pods hold, once for all of them: a thousand copies would not fit into memory.
    bodies: Mutex<HashMap<(Key, Version), Entry>>,
    /// Pods that have taken the order, and pods that have done it.
    taken: AtomicUsize,
    met: AtomicUsize,
    progress: Notify,
    received: AtomicU64,
    sent: AtomicU64,
    messages: AtomicU64,
    retries: AtomicU64,
}

struct Pod {
    who: Who,
    shared: Arc<Shared>,
    subscriber: Subscriber,
    link: u64,
    socket: Option<Socket>,
    /// What it has not done yet, and the marks that it has seen.
    order: Option<Order>,
    seen: usize,
}

/// Does what it is told on standard input until that ends.
pub(crate) async fn run() {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let setup: Setup = next(&mut lines).await.unwrap();
    let shared = Arc::new(Shared {
        port: setup.port,
        tls: connector(&setup.authority),
        bodies: Mutex::default(),
        taken: AtomicUsize::new(0),
        met: AtomicUsize::new(0),
        progress: Notify::new(),
        received: AtomicU64::new(0),
        sent: AtomicU64::new(0),
        messages: AtomicU64::new(0),
        retries: AtomicU64::new(0),
    });
    let count = setup.pods.len();
    let (order, orders) = watch::channel(None);
    for who in setup.pods {
        tasks::spawn("pod", Pod::new(who, &shared).run(orders.clone()));
    }
    while let Some(told) = next::<Order>(&mut lines).await {
        shared.begin();
        match told {
            Order::Floor { port, authority, bytes, rounds } => {
                floor(port, &authority, count, bytes, rounds).await;
            }
            told => {
                let ready = matches!(told, Order::Expect(..));
                order.send_replace(Some(told));
                if ready {
                    shared.reach(&shared.taken, count).await;
                    println!("{}", serde_json::to_string(&Done::default()).unwrap());
                }
                shared.reach(&shared.met, count).await;
            }
        }
        println!("{}", serde_json::to_string(&shared.figures()).unwrap());
    }
}

async fn next<T: serde::de::DeserializeOwned>(lines: &mut Lines<BufReader<Stdin>>) -> Option<T> {
    Some(serde_json::from_str(&lines.next_line().await.unwrap()?).unwrap())
}

fn connector(authority: &str) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

/// The far end of the plain server.
async fn floor(port: u16, authority: &str, count: usize, bytes: usize, rounds: usize) {
    let connector = connector(authority);
    let ends = (0..count).map(|_| {
        let connector = connector.clone();
        tasks::spawn("floor", async move {
            let mut socket = tls(&connector, port).await.unwrap();
            let mut payload = vec![0; bytes.min(64 * 1024)];
            for _ in 0..rounds {
                let mut left = bytes;
                while left > 0 {
                    let most = left.min(payload.len());
                    left -= socket.read(&mut payload[..most]).await.unwrap();
                }
                socket.write_u8(1).await.unwrap();
                socket.flush().await.unwrap();
            }
        })
    });
    for end in ends.collect::<Vec<_>>() {
        end.await.unwrap();
    }
}

async fn tls(connector: &TlsConnector, port: u16) -> std::io::Result<TlsStream<TcpStream>> {
    let socket = TcpStream::connect(("127.0.0.1", port)).await?;
    socket.set_nodelay(true)?;
    connector.connect(ServerName::try_from("localhost").unwrap(), socket).await
}

impl Shared {
    fn begin(&self) {
        for count in [&self.taken, &self.met] {
            count.store(0, Ordering::SeqCst);
        }
        for count in [&self.received, &self.sent, &self.messages, &self.retries] {
            count.store(0, Ordering::SeqCst);
        }
    }

    async fn reach(&self, counter: &AtomicUsize, count: usize) {
        loop {
            let progress = self.progress.notified();
            if counter.load(Ordering::SeqCst) >= count {
                return;
            }
            progress.await;
        }
    }

    fn step(&self, counter: &AtomicUsize) {
        counter.fetch_add(1, Ordering::SeqCst);
        // One waits at most; the permit is kept if it does not wait yet.
        self.progress.notify_one();
    }

    fn figures(&self) -> Done {
        let read = |count: &AtomicU64| count.load(Ordering::SeqCst);
        Done {
            received: read(&self.received),
            sent: read(&self.sent),
            messages: read(&self.messages),
            retries: read(&self.retries),
        }
    }
}

impl Pod {
    fn new(who: Who, shared: &Arc<Shared>) -> Self {
        let identity = Identity {
            gateway: format!("{NAMESPACE}/{GATEWAY}"),
            pod: who.pod.clone(),
            uid: who.uid.clone(),
            build: "1".into(),
            features: Vec::new(),
        };
        let subscriber = Subscriber::new(identity, &SubscriberSettings::default());
        Self { who, shared: Arc::clone(shared), subscriber, link: 0, socket: None, order: None, seen: 0 }
    }

    async fn run(mut self, mut orders: watch::Receiver<Option<Order>>) {
        loop {
            let message = async {
                match &mut self.socket {
                    Some(socket) => socket.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = orders.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.order.clone_from(&orders.borrow_and_update());
                    self.seen = 0;
                    if !matches!(self.order, Some(Order::Expect(..))) {
                        self.connect().await;
                    }
                    self.shared.step(&self.shared.taken);
                }
                message = message => match message {
                    Some(Ok(Message::Text(text))) => self.receive(&text).await,
                    Some(Ok(_)) => {}
                    // As a pod does: it comes back at once, and with what it has.
                    _ => {
                        self.shared.retries.fetch_add(1, Ordering::SeqCst);
                        self.connect().await;
                    }
                }
            }
        }
    }

    /// Connects, however often that takes.
    async fn connect(&mut self) {
        self.socket = None;
        self.subscriber.disconnect(self.link);
        self.link += 1;
        loop {
            match open(&self.shared, &self.who.token).await {
                Ok(socket) => {
                    self.socket = Some(socket);
                    break;
                }
                Err(_) => {
                    self.shared.retries.fetch_add(1, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
        let steps = self.subscriber.connect(self.link, Instant::now());
        self.carry_out(steps).await;
    }

    async fn receive(&mut self, text: &str) {
        self.shared.received.fetch_add(text.len() as u64, Ordering::SeqCst);
        self.shared.messages.fetch_add(1, Ordering::SeqCst);
        let mut message = ToPod::from_json(text).unwrap();
        let greeted = matches!(message, ToPod::Hello(_));
        if let ToPod::Delta(delta) = &mut message {
            let mut bodies = self.shared.bodies.lock();
            for entry in &mut delta.upsert {
                let known = bodies.entry((entry.key.clone(), entry.version)).or_insert_with(|| entry.clone());
                *entry = known.clone();
                if let Some(Order::Expect(mark, _)) = &self.order {
                    self.seen += usize::from(entry.body().contains(&**mark));
                }
            }
        }
        let steps = self.subscriber.receive(self.link, message, Instant::now());
        self.carry_out(steps).await;
        let met = match &self.order {
            Some(Order::Connect(least)) => self.subscriber.served().count() >= *least,
            Some(Order::Reconnect) => greeted,
            Some(Order::Expect(_, count)) => self.seen >= *count,
            Some(Order::Floor { .. }) | None => false,
        };
        if met {
            self.order = None;
            self.shared.step(&self.shared.met);
        }
    }

    async fn carry_out(&mut self, steps: Vec<Step>) {
        let mut steps: VecDeque<_> = steps.into();
        while let Some(step) = steps.pop_front() {
            match step {
                Step::Send(message) => self.send(&message).await,
                Step::Apply(_) => steps.extend(self.subscriber.settle(Vec::new())),
                Step::Leave(_) => self.socket = None,
            }
        }
    }

    async fn send(&mut self, message: &FromPod) {
        let text = message.to_json().unwrap();
        self.shared.sent.fetch_add(text.len() as u64, Ordering::SeqCst);
        if let Some(socket) = &mut self.socket {
            // A stream that is lost shows at the next read.
            let _ = socket.send(Message::text(text)).await;
        }
    }
}

async fn open(shared: &Shared, token: &str) -> std::io::Result<Socket> {
    let mut socket = tls(&shared.tls, shared.port).await?;
    let head = format!(
        "GET /v1/stream HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: mcp-bridge-config.v1\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(socket.read_u8().await?);
    }
    if !answer.starts_with(b"HTTP/1.1 101 ") {
        return Err(std::io::Error::other("no stream"));
    }
    Ok(WebSocketStream::from_raw_socket(socket, Role::Client, None).await)
}
