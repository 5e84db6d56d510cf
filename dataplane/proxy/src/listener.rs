//! Listening sockets and the life of their connections. Changes when connections are accepted or bounded differently.

mod certificates;

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use bridge_runtime::{listen, tasks};
use bridge_snapshot::{Carries, Listener};
use bridge_transport::frontend::body::Held;
use bridge_transport::frontend::handshake;
use bridge_transport::frontend::patience::{Activity, Patience, Patient};
use bridge_transport::tls;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::frontend;
use crate::gateway::Gateway;
use crate::observe::OpenConnection;
use crate::pipeline;

pub(crate) use certificates::{acceptor, pem};

/// Largest request head.
const MAX_HEAD: usize = 64 * 1024;
/// Pause after an accept that failed for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long the gateway still answers, with a refusal, whoever has not learned yet that it leaves: a request that is on
/// its way when the drain begins would otherwise meet a closed connection.
pub(crate) const LAME_DUCK: Duration = Duration::from_millis(500);
/// Time for a TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// A listening socket could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for `{name}`: {source}; choose another port or stop what uses it")]
pub struct ListenError {
    name: String,
    address: SocketAddr,
    source: io::Error,
}

/// A socket that is bound and not served yet.
pub(crate) struct Bound {
    pub(crate) config: Listener,
    pub(crate) address: SocketAddr,
    socket: TcpListener,
    tls: Option<Arc<tls::Server>>,
}

/// A socket that is served.
pub(crate) struct Running {
    /// The configuration as written: with port 0 the bound address differs.
    pub(crate) config: Listener,
    pub(crate) address: SocketAddr,
    current: Arc<ArcSwap<Listener>>,
    tls: Arc<ArcSwapOption<tls::Server>>,
    stop: CancellationToken,
    connections: TaskTracker,
}

impl Bound {
    pub(crate) async fn bind(config: Listener, tls: Option<Arc<tls::Server>>) -> Result<Self, ListenError> {
        let fail = |source| ListenError { name: config.name.clone(), address: config.address, source };
        let socket = listen::bind(config.address).await.map_err(fail)?;
        let address = socket.local_addr().map_err(fail)?;
        Ok(Self { config, address, socket, tls })
    }

    pub(crate) fn serve(self, gateway: Arc<Gateway>) -> Running {
        let Self { config, address, socket, tls } = self;
        tracing::info!(listener = %config.name, %address, tls = tls.is_some(), "listening");
        let current = Arc::new(ArcSwap::from_pointee(Listener { address, ..config.clone() }));
        let tls = Arc::new(ArcSwapOption::from(tls));
        let (stop, connections) = (CancellationToken::new(), TaskTracker::new());
        let shared = Arc::new(Shared {
            gateway,
            listener: Arc::clone(&current),
            tls: Arc::clone(&tls),
            stop: stop.clone(),
            open: Mutex::default(),
            connections: connections.clone(),
        });
        tasks::spawn("listener", accept(shared, socket));
        Running { config, address, current, tls, stop, connections }
    }
}

impl Running {
    /// Takes over the settings of a listener of the same address, for connections to come.
    pub(crate) fn update(&mut self, config: Listener, tls: Option<Arc<tls::Server>>) {
        self.current.store(Arc::new(Listener { address: self.address, ..config.clone() }));
        self.config = config;
        self.tls.store(tls);
    }

    /// What connections to come are to be secured with.
    pub(crate) fn tls(&self) -> Option<Arc<tls::Server>> {
        self.tls.load_full()
    }

    /// Accepts no more; open connections end after the answer that they wait for.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until no connection is open. Call [`Running::stop`] first.
    pub(crate) async fn ended(&self) {
        self.connections.close();
        self.connections.wait().await;
    }
}

struct Shared {
    gateway: Arc<Gateway>,
    listener: Arc<ArcSwap<Listener>>,
    tls: Arc<ArcSwapOption<tls::Server>>,
    stop: CancellationToken,
    open: Mutex<Open>,
    connections: TaskTracker,
}

/// Open connections.
#[derive(Default)]
struct Open {
    all: usize,
    by_peer: HashMap<IpAddr, usize>,
}

async fn accept(shared: Arc<Shared>, socket: TcpListener) {
    loop {
        let accepted = tokio::select! {
            () = shared.stop.cancelled() => return,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => match Slot::take(&shared, peer.ip().to_canonical()) {
                Ok(slot) => {
                    let connection = connection(Arc::clone(&shared), stream, slot);
                    tasks::spawn("connection", shared.connections.track_future(connection));
                }
                Err(status) => {
                    shared.gateway.metrics.connection_rejected();
                    // A TLS client could not read it, and who speaks something else would not understand it.
                    if shared.tls.load().is_none() && shared.listener.load().carries() == Carries::Http {
                        tasks::spawn("refuse-connection", refuse(stream, status));
                    }
                }
            },
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Room for one connection.
struct Slot {
    shared: Arc<Shared>,
    peer: IpAddr,
}

impl Slot {
    fn take(shared: &Arc<Shared>, peer: IpAddr) -> Result<Self, &'static str> {
        let listener = shared.listener.load();
        let mut open = shared.open.lock();
        let own = open.by_peer.get(&peer).copied().unwrap_or_default();
        if open.all >= listener.max_connections {
            return Err("503 Service Unavailable");
        }
        if listener.max_connections_per_ip > 0 && own >= listener.max_connections_per_ip {
            return Err("429 Too Many Requests");
        }
        open.by_peer.insert(peer, own + 1);
        open.all += 1;
        Ok(Self { shared: Arc::clone(shared), peer })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut open = self.shared.open.lock();
        open.all -= 1;
        if let Some(count) = open.by_peer.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                open.by_peer.remove(&self.peer);
            }
        }
    }
}

/// Tells a client why it is not served.
async fn refuse(mut stream: TcpStream, status: &str) {
    let answer =
        format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\nretry-after: 1\r\n\r\n");
    if let Err(error) = stream.write_all(answer.as_bytes()).await {
        tracing::debug!(%error, "refusal not written");
    }
}

/// The connection below a request, for what outlives the request: an upgrade.
#[derive(Clone)]
pub(crate) struct Underlying {
    shared: Arc<Shared>,
    activity: Activity,
    open: Arc<(OpenConnection, Slot)>,
}

impl Underlying {
    /// Runs what the connection has become. It counts as open, and as busy, to its end.
    pub(crate) fn go_on(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let held = (Arc::clone(&self.open), self.activity.begin());
        let work = async move {
            work.await;
            drop(held);
        };
        tasks::spawn(name, self.shared.connections.track_future(work));
    }

    /// Cancelled when the listener is given up.
    pub(crate) fn stop(&self) -> CancellationToken {
        self.shared.stop.clone()
    }
}

async fn connection(shared: Arc<Shared>, stream: TcpStream, slot: Slot) {
    let open = Arc::new((shared.gateway.metrics.connection(), slot));
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "nodelay not set");
    }
    let Some(acceptor) = shared.tls.load_full() else {
        return carry(&shared, stream, open).await;
    };
    let plain_too = shared.listener.load().takes_plain_too();
    let secured = async {
        if plain_too && !begins_with_tls(&stream).await? {
            return Ok(Err(stream));
        }
        handshake::accept(&acceptor, stream).await.map(Ok)
    };
    match tokio::time::timeout(HANDSHAKE, secured).await {
        Ok(Ok(Ok(stream))) => carry(&shared, stream, open).await,
        Ok(Ok(Err(plain))) => carry(&shared, plain, open).await,
        Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
        Err(_) => tracing::debug!("TLS handshake took too long"),
    }
}

/// Whether a client begins with a TLS record of a handshake (RFC 8446 section 5.1). Reads nothing.
async fn begins_with_tls(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0];
    let count = stream.peek(&mut first).await?;
    Ok(count == 1 && first == [0x16])
}

/// Serves an accepted connection by what its listener is for.
async fn carry<S>(shared: &Arc<Shared>, stream: S, open: Arc<(OpenConnection, Slot)>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let carries = shared.listener.load().carries();
    match carries {
        Carries::Http => serve(shared, stream, open).await,
        Carries::TcpBinary => frontend::tcp::serve(&shared.gateway, shared.stop.clone(), stream).await,
        Carries::TcpHealth => frontend::tcp::serve_health(&shared.gateway, stream).await,
    }
}

/// Waits until connections that were open before the drain are to be closed.
async fn parting(shared: &Shared) {
    shared.gateway.drain.started().await;
    tokio::time::sleep(LAME_DUCK).await;
}

async fn serve<S>(shared: &Arc<Shared>, stream: S, open: Arc<(OpenConnection, Slot)>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let patience = {
        let plan = shared.gateway.plan.load();
        let limits = &plan.snapshot.limits;
        Patience { head: limits.read_timeout, idle: limits.idle_timeout }
    };
    let (stream, activity) = Patient::new(stream, patience);
    // Whoever connects now is told that the gateway leaves, instead of being cut off.
    let late = shared.gateway.drain.has_started();
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().header_read_timeout(None).max_buf_size(MAX_HEAD).keep_alive(!late);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(patience.idle / 2))
        .max_header_list_size(64 * 1024);
    let below = Underlying { shared: Arc::clone(shared), activity, open };
    let ending = shared.gateway.ending.child_token();
    let service = service_fn(move |request| {
        let (below, ending) = (below.clone(), ending.clone());
        // In flight until the last byte of the answer is written.
        let held = (below.activity.begin(), below.shared.gateway.drain.guard());
        async move {
            let listener = below.shared.listener.load_full();
            let gateway = Arc::clone(&below.shared.gateway);
            let reply = pipeline::handle(&gateway, &listener, &below, ending, request).await;
            Ok::<_, Infallible>(reply.map(|body| Held::new(body, held)))
        }
    });
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let leaving = async {
        tokio::select! {
            () = shared.stop.cancelled() => {}
            () = parting(shared), if !late => {}
        }
    };
    tokio::pin!(leaving);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = leaving => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended badly");
    }
}
