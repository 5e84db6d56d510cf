//! The port for pods: streams of configuration over TLS. Changes when pods connect in another way.
//!
//! `GET /v1/stream` with the subprotocol `mcp-bridge-config.v1` and the pod's token becomes a WebSocket that carries the
//! messages of `bridge_snapshot::push` as JSON.

mod authorities;
mod certificate;
mod handshake;
pub mod peer;
mod stream;
mod succession;
pub mod token;

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bridge_runtime::tasks;
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

pub use authorities::Authorities;
pub use certificate::{Authority, CertificateError, server_config};
pub use succession::Succession;

use crate::engine::Event;
use crate::metrics::OperatorMetrics;
use token::{Authenticator, Refusal};

/// Path of the stream.
pub const PATH: &str = "/v1/stream";
/// Version of the protocol as WebSocket names it.
pub const SUBPROTOCOL: &str = "mcp-bridge-config.v1";
/// Connections at once, open streams included.
const CONNECTIONS: usize = 4096;
/// Pause after an accept that failed for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Time for the handshakes of TLS and for the head of the request.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Takes connections of pods.
pub struct Server {
    listener: TcpListener,
    shared: Arc<Shared>,
}

struct Shared {
    tls: tokio::sync::watch::Receiver<Arc<ServerConfig>>,
    authenticator: Box<dyn Authenticator>,
    events: mpsc::Sender<Event>,
    metrics: OperatorMetrics,
    next: AtomicU64,
    /// No new streams.
    leaving: CancellationToken,
    stop: CancellationToken,
    random: fn() -> u64,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("listener", &self.listener).finish_non_exhaustive()
    }
}

impl Server {
    /// On a bound port. The first token ends the taking of streams, the second every stream.
    pub fn new(
        listener: TcpListener,
        tls: tokio::sync::watch::Receiver<Arc<ServerConfig>>,
        authenticator: Box<dyn Authenticator>,
        (events, metrics): (mpsc::Sender<Event>, OperatorMetrics),
        random: fn() -> u64,
        (leaving, stop): (CancellationToken, CancellationToken),
    ) -> Self {
        let next = AtomicU64::new(1);
        Self {
            listener,
            shared: Arc::new(Shared { tls, authenticator, events, metrics, next, leaving, stop, random }),
        }
    }

    /// Serves until `stop`.
    pub async fn run(self) {
        let slots = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            // The semaphore is never closed.
            let permit = Arc::clone(&slots).acquire_owned().await.ok();
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = self.shared.stop.cancelled() => return,
            };
            match accepted {
                Ok((socket, peer)) => {
                    let shared = Arc::clone(&self.shared);
                    tasks::spawn("pod-connection", async move {
                        connection(shared, socket, peer).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

async fn connection(shared: Arc<Shared>, socket: TcpStream, peer: SocketAddr) {
    // A socket that has ended already fails below.
    let _ = socket.set_nodelay(true);
    let acceptor = TlsAcceptor::from(Arc::clone(&shared.tls.borrow()));
    let socket = match tokio::time::timeout(HANDSHAKE, acceptor.accept(socket)).await {
        Ok(Ok(socket)) => socket,
        Ok(Err(error)) => return tracing::debug!(%peer, %error, "TLS handshake failed"),
        Err(_) => return tracing::debug!(%peer, "TLS handshake took too long"),
    };
    let (upgraded, stream) = tokio::sync::oneshot::channel();
    let upgraded = parking_lot::Mutex::new(Some(upgraded));
    let service = service_fn(|request| {
        let (shared, upgraded) = (Arc::clone(&shared), &upgraded);
        async move { Ok::<_, Infallible>(answer(&shared, peer.ip(), request, upgraded).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HANDSHAKE).keep_alive(false);
    let served = http.serve_connection(TokioIo::new(socket), service).with_upgrades().await;
    if let Err(error) = served {
        return tracing::debug!(%peer, %error, "connection failed");
    }
    drop(upgraded);
    let Ok(open) = stream.await else { return };
    stream::run(open, &shared).await;
}

/// A stream that is about to begin.
struct Open {
    upgrade: hyper::upgrade::OnUpgrade,
    peer: token::Peer,
}

type Upgraded = parking_lot::Mutex<Option<tokio::sync::oneshot::Sender<Open>>>;

async fn answer(
    shared: &Shared,
    from: IpAddr,
    mut request: Request<Incoming>,
    upgraded: &Upgraded,
) -> Response<Full<Bytes>> {
    if request.uri().path() == peer::PATH && request.method() == http::Method::POST {
        return told(shared, from, request).await;
    }
    if request.uri().path() != PATH {
        return plain(StatusCode::NOT_FOUND, "this port has /v1/stream");
    }
    if shared.leaving.is_cancelled() {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "the operator stops; ask another replica");
    }
    let accepted = match handshake::accept(request.method(), request.headers()) {
        Ok(accepted) => accepted,
        Err(problem) => return plain(StatusCode::BAD_REQUEST, problem),
    };
    let bearer = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some(token) = bearer.and_then(|value| value.strip_prefix("Bearer ")) else {
        shared.metrics.refused();
        return plain(StatusCode::UNAUTHORIZED, "a token is required");
    };
    let peer = match shared.authenticator.authenticate(from, token.to_owned()).await {
        Ok(peer) => peer,
        Err(Refusal::NotGood(why)) => {
            shared.metrics.refused();
            // Who it was is for the log alone.
            tracing::warn!(why, "stream refused");
            return plain(StatusCode::UNAUTHORIZED, "the token is not good");
        }
        Err(Refusal::Unavailable(why)) => {
            tracing::warn!(why, "a token cannot be checked");
            return plain(StatusCode::SERVICE_UNAVAILABLE, "tokens cannot be checked now");
        }
    };
    let upgrade = hyper::upgrade::on(&mut request);
    if let Some(upgraded) = upgraded.lock().take() {
        // The other end is there as long as the connection is.
        let _ = upgraded.send(Open { upgrade, peer });
    }
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().extend(accepted);
    response
}

/// Another replica says what its pods say.
async fn told(shared: &Shared, from: IpAddr, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let bearer = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = bearer.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default().to_owned();
    if let Err(refusal) = shared.authenticator.replica(from, token).await {
        tracing::warn!(?refusal, "what a replica says is refused");
        return plain(StatusCode::UNAUTHORIZED, "the token is not good");
    }
    let Some(facts) = peer::read(request.into_body()).await else {
        return plain(StatusCode::BAD_REQUEST, "the body cannot be read");
    };
    match shared.events.send(Event::Peer(Box::new(facts))).await {
        Ok(()) => plain(StatusCode::NO_CONTENT, ""),
        Err(_) => plain(StatusCode::SERVICE_UNAVAILABLE, "the operator stops"),
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    response
}

impl Shared {
    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }
}
