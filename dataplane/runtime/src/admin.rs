//! The ports for probes and scrapers. Changes when a port gets another page.
//!
//! These pages keep answering while the gateway drains, so that probes see "Not ready" instead of a refused connection.

mod listener;

use std::io;
use std::net::SocketAddr;
use std::time::SystemTime;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::health::Health;
use crate::metrics::{self, Metrics};
use crate::{listen, tasks};
use listener::BoundedListener;

/// What a port shows.
#[derive(Debug, Clone)]
pub enum Pages {
    /// Health pages only.
    Health(Health),
    /// Health pages, and the metrics on every other path: scrapers of the original gateway use any of them.
    Metrics(Health, Metrics),
}

/// The port could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for {name}: {source}; choose another port or stop what uses it")]
pub struct BindError {
    name: &'static str,
    address: SocketAddr,
    source: io::Error,
}

/// A bound port that is not served yet.
#[derive(Debug)]
pub struct AdminServer {
    name: &'static str,
    address: SocketAddr,
    listener: TcpListener,
}

impl AdminServer {
    /// Binds and logs where. `name` is for logs and errors, for example `metrics`.
    pub async fn bind(name: &'static str, address: SocketAddr) -> Result<Self, BindError> {
        let fail = |source| BindError { name, address, source };
        let listener = listen::bind(address).await.map_err(fail)?;
        let address = listener.local_addr().map_err(fail)?;
        tracing::info!(listener = name, %address, "listening");
        Ok(Self { name, address, listener })
    }

    /// The bound address; the port is the real one when 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` is cancelled; cancel it when draining is over. Open connections are then closed after the
    /// answer they wait for.
    pub async fn serve(self, pages: Pages, stop: CancellationToken) {
        let app = Router::new().fallback(show).with_state(pages);
        let server = axum::serve(BoundedListener::new(self.listener), app)
            .with_graceful_shutdown(async move { stop.cancelled().await });
        if let Err(error) = server.await {
            tracing::error!(listener = self.name, %error, "admin port failed");
        }
    }

    /// [`AdminServer::serve`] in a task of its own.
    pub fn spawn(self, pages: Pages, stop: CancellationToken) -> tokio::task::JoinHandle<()> {
        tasks::spawn("admin", self.serve(pages, stop))
    }
}

async fn show(State(pages): State<Pages>, method: Method, uri: Uri) -> Response {
    let mut response = if method == Method::GET || method == Method::HEAD {
        page(&pages, uri.path())
    } else {
        (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET, HEAD")], "Method not allowed").into_response()
    };
    for (name, value) in SECURITY_HEADERS {
        response.headers_mut().insert(name, value);
    }
    response
}

/// The original's headers on this port (seed: health and security endpoints).
const SECURITY_HEADERS: [(HeaderName, HeaderValue); 6] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store, no-cache, must-revalidate, private")),
    (header::PRAGMA, HeaderValue::from_static("no-cache")),
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'")),
];

fn page(pages: &Pages, path: &str) -> Response {
    let (Pages::Health(health) | Pages::Metrics(health, _)) = pages;
    if let Some(reply) = health.respond(path, SystemTime::now()) {
        let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        return (status, [(header::CONTENT_TYPE, reply.content_type)], reply.body).into_response();
    }
    let Pages::Metrics(_, metrics) = pages else {
        return (StatusCode::NOT_FOUND, "Not found; this port has /healthz, /ready and /health")
            .into_response();
    };
    match metrics.render() {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics cannot be rendered");
            (StatusCode::INTERNAL_SERVER_ERROR, "Metrics cannot be rendered; see the log").into_response()
        }
    }
}

#[cfg(test)]
#[path = "admin/tests.rs"]
mod tests;
