//! An operator without a cluster: the real publisher behind a WebSocket over TLS, and tests decide what it publishes.
//! Changes with how configuration travels between operator and pod.

use std::collections::HashMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bridge_snapshot::push::{
    Effect, Entry, FromPod, HeldReason, Key, Peer, Publisher, PublisherSettings, Rejection, Report, Resource,
    StreamId, ToPod,
};
use parking_lot::{Condvar, Mutex};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

use crate::PATIENCE;

/// How long a connection waits for the pod before it looks for something to send.
const LOOK: Duration = Duration::from_millis(10);

/// A running operator; its connections end on drop.
#[derive(Debug)]
pub struct Operator {
    shared: Arc<Shared>,
    address: SocketAddr,
    authority: String,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    tls: Arc<ServerConfig>,
}

#[derive(Debug)]
struct State {
    publisher: Publisher,
    revision: u64,
    streams: StreamId,
    senders: HashMap<StreamId, Sender<String>>,
    /// Resources that were sent.
    sent: usize,
    effects: Vec<Effect>,
    tokens: Vec<String>,
    /// The only token that is good; any is when absent.
    good_token: Option<String>,
    up: bool,
    ended: bool,
}

impl Operator {
    /// Starts it with an authority of its own. Nothing is published before [`Operator::publish`].
    pub fn start() -> Result<Self> {
        let rcgen::CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
        let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
        let tls = ServerConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key.into())?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let settings = PublisherSettings { quiet: Duration::ZERO, ..PublisherSettings::default() };
        let state = State {
            publisher: Publisher::new("epoch", settings),
            revision: 0,
            streams: 0,
            senders: HashMap::new(),
            sent: 0,
            effects: Vec::new(),
            tokens: Vec::new(),
            good_token: None,
            up: true,
            ended: false,
        };
        let shared =
            Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new(), tls: Arc::new(tls) });
        let (accepting, ticking) = (Arc::clone(&shared), Arc::clone(&shared));
        thread::spawn(move || accept(&listener, &accepting));
        thread::spawn(move || tick(&ticking));
        Ok(Self { shared, address, authority: cert.pem() })
    }

    /// As pods address it.
    pub fn address(&self) -> String {
        format!("localhost:{}", self.address.port())
    }

    /// Who vouches for it, PEM.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Publishes these resources besides what was published before; gives the revision.
    pub fn publish(&self, resources: &[Resource]) -> Result<u64> {
        let entries = resources.iter().map(Resource::encode).collect::<Result<Vec<_>, _>>()?;
        Ok(self.change(entries.into_iter().map(|entry| (entry.key.clone(), Some(entry)))))
    }

    /// Publishes an entry as it is, also one that no pod can read.
    pub fn publish_entry(&self, entry: Entry) -> u64 {
        self.change([(entry.key.clone(), Some(entry))])
    }

    /// Withdraws a resource.
    pub fn withdraw(&self, key: Key) -> u64 {
        self.change([(key, None)])
    }

    /// Withdraws resources at once.
    pub fn withdraw_all(&self, keys: impl IntoIterator<Item = Key>) -> u64 {
        self.change(keys.into_iter().map(|key| (key, None)))
    }

    fn change(&self, entries: impl IntoIterator<Item = (Key, Option<Entry>)>) -> u64 {
        let now = Instant::now();
        let mut state = self.shared.state.lock();
        state.revision += 1;
        let revision = state.revision;
        for (key, entry) in entries {
            state.publisher.set(key, entry, revision, now);
        }
        let effects = state.publisher.complete(now);
        self.shared.carry_out(&mut state, effects);
        let effects = state.publisher.tick(now);
        self.shared.carry_out(&mut state, effects);
        revision
    }

    /// Names the pods of the gateway.
    pub fn name_pods(&self, peers: impl IntoIterator<Item = Peer>) {
        let mut state = self.shared.state.lock();
        let effects = state.publisher.peers(peers);
        self.shared.carry_out(&mut state, effects);
    }

    /// Takes no other token from now on.
    pub fn require_token(&self, token: &str) {
        self.shared.state.lock().good_token = Some(token.to_owned());
    }

    /// Tokens that were shown, in order.
    pub fn tokens(&self) -> Vec<String> {
        self.shared.state.lock().tokens.clone()
    }

    /// Breaks every connection, and takes none until [`Operator::rise`].
    pub fn fall(&self) {
        let mut state = self.shared.state.lock();
        state.up = false;
        state.senders.clear();
    }

    /// Takes connections again.
    pub fn rise(&self) {
        self.shared.state.lock().up = true;
    }

    /// Sends every pod away.
    pub fn go_away(&self, after: Duration) {
        let mut state = self.shared.state.lock();
        let after = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        let effects = state.publisher.go_away(|_| after);
        self.shared.carry_out(&mut state, effects);
    }

    /// Sends every pod a text as it is.
    pub fn say(&self, text: &str) {
        for sender in self.shared.state.lock().senders.values() {
            // A stream that has ended takes nothing.
            let _ = sender.send(text.to_owned());
        }
    }

    /// Resources that were sent so far, over all streams.
    pub fn sent(&self) -> usize {
        self.shared.state.lock().sent
    }

    /// Waits until a pod holds a change; gives the reason.
    pub fn wait_held(&self) -> Result<HeldReason> {
        self.wait("change held", |effect| match effect {
            Effect::Holds(_, held) => Some(held.reason),
            _ => None,
        })
    }

    /// Waits until a pod serves this revision; gives what it rejects.
    pub fn wait_serves(&self, wanted: u64) -> Result<Vec<Rejection>> {
        self.wait(&format!("revision {wanted} served"), |effect| match effect {
            Effect::Serves(_, revision, rejected) if *revision >= wanted => Some(rejected.clone()),
            _ => None,
        })
    }

    /// Waits until a pod that has rejected something last said that it serves all there is.
    pub fn wait_accepted(&self) -> Result<()> {
        let last = |state: &State| {
            let mut latest = state.effects.iter().rev();
            latest.find_map(|effect| match effect {
                Effect::Serves(_, _, rejected) => Some(rejected.is_empty()),
                _ => None,
            })
        };
        self.wait_for("everything served", |state| last(state).unwrap_or_default().then_some(()))
    }

    /// Waits for a report of this kind.
    pub fn wait_report(&self, wanted: impl Fn(&Report) -> bool) -> Result<Report> {
        self.wait("a report", |effect| match effect {
            Effect::Reported(_, report) if wanted(report) => Some(report.clone()),
            _ => None,
        })
    }

    /// Streams opened so far.
    pub fn streams(&self) -> u64 {
        self.shared.state.lock().streams
    }

    /// Waits until this many streams were opened.
    pub fn wait_streams(&self, count: u64) -> Result<()> {
        self.wait_for(&format!("stream number {count}"), |state| (state.streams >= count).then_some(()))
    }

    fn wait<T>(&self, what: &str, find: impl Fn(&Effect) -> Option<T>) -> Result<T> {
        self.wait_for(what, |state| state.effects.iter().rev().find_map(&find))
    }

    fn wait_for<T>(&self, what: &str, find: impl Fn(&State) -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.shared.state.lock();
        loop {
            if let Some(found) = find(&state) {
                return Ok(found);
            }
            if self.shared.changed.wait_until(&mut state, deadline).timed_out() {
                bail!("no {what} within {PATIENCE:?}; what happened: {:?}", state.effects);
            }
        }
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.ended = true;
        state.senders.clear();
        drop(state);
        // Wakes the thread that accepts.
        drop(TcpStream::connect(self.address));
    }
}

impl Shared {
    fn carry_out(&self, state: &mut State, effects: Vec<Effect>) {
        for effect in effects {
            match &effect {
                Effect::Send(id, message) => {
                    if let ToPod::Delta(delta) = message {
                        state.sent += delta.upsert.len();
                    }
                    if let (Some(sender), Ok(text)) = (state.senders.get(id), message.to_json()) {
                        // A stream that has ended takes nothing.
                        let _ = sender.send(text);
                    }
                }
                Effect::Close(id, _) => drop(state.senders.remove(id)),
                _ => state.effects.push(effect),
            }
        }
        self.changed.notify_all();
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming().flatten() {
        let state = shared.state.lock();
        if state.ended {
            return;
        }
        if state.up {
            let shared = Arc::clone(shared);
            // However a connection ends, the pod's next one says what it has.
            thread::spawn(move || drop(serve(stream, &shared)));
        }
    }
}

fn tick(shared: &Shared) {
    let mut state = shared.state.lock();
    while !state.ended {
        let effects = state.publisher.tick(Instant::now());
        if !effects.is_empty() {
            shared.carry_out(&mut state, effects);
        }
        shared.changed.wait_for(&mut state, LOOK);
    }
}

type Socket = WebSocket<StreamOwned<ServerConnection, TcpStream>>;

fn serve(stream: TcpStream, shared: &Shared) -> Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut stream = StreamOwned::new(ServerConnection::new(Arc::clone(&shared.tls))?, stream);
    let head = read_head(&mut stream)?;
    let header = |wanted: &str| {
        let named = |line: &str| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case(wanted).then(|| value.trim().to_owned())
        };
        head.lines().find_map(named)
    };
    ensure!(head.starts_with("GET /v1/stream HTTP/1.1\r\n"), "{head}");
    ensure!(header("sec-websocket-protocol").as_deref() == Some("mcp-bridge-config.v1"), "{head}");
    let token = header("authorization").unwrap_or_default();
    let token = token.strip_prefix("Bearer ").unwrap_or_default().to_owned();
    let good = {
        let mut state = shared.state.lock();
        state.tokens.push(token.clone());
        shared.changed.notify_all();
        state.good_token.as_ref().is_none_or(|good| *good == token)
    };
    if !good {
        stream.write_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
        return Ok(());
    }
    let key = header("sec-websocket-key").context("a key")?;
    let accept =
        digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11").as_bytes());
    write!(
        stream,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Protocol: mcp-bridge-config.v1\r\nSec-WebSocket-Accept: {}\r\n\r\n",
        STANDARD.encode(accept)
    )?;
    stream.flush()?;
    stream.sock.set_read_timeout(Some(LOOK))?;
    let socket = WebSocket::from_raw_socket(stream, Role::Server, None);
    let (sender, messages) = channel();
    let id = {
        let mut state = shared.state.lock();
        state.streams += 1;
        let id = state.streams;
        state.senders.insert(id, sender);
        state.publisher.connect(id);
        shared.changed.notify_all();
        id
    };
    let ended = talk(socket, id, &messages, shared);
    let mut state = shared.state.lock();
    state.senders.remove(&id);
    let effects = state.publisher.disconnect(id, true, Instant::now());
    shared.carry_out(&mut state, effects);
    ended
}

fn talk(mut socket: Socket, id: StreamId, messages: &Receiver<String>, shared: &Shared) -> Result<()> {
    loop {
        loop {
            match messages.try_recv() {
                Ok(message) => socket.send(Message::text(message))?,
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return Ok(()),
            }
        }
        match socket.read() {
            Ok(Message::Text(text)) => {
                let message = FromPod::from_json(&text)?;
                let mut state = shared.state.lock();
                let effects = state.publisher.receive(id, message, Instant::now());
                shared.carry_out(&mut state, effects);
            }
            Ok(Message::Close(_)) => return Ok(()),
            Ok(_) => {}
            Err(tungstenite::Error::Io(error))
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn read_head(stream: &mut StreamOwned<ServerConnection, TcpStream>) -> Result<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        ensure!(stream.read(&mut byte)? == 1, "the pod closed during the handshake");
        head.extend(byte);
    }
    Ok(String::from_utf8(head)?)
}
