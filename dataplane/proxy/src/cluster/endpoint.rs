//! One place where a backend is reached, made from its configuration. Changes when a new kind of place is added.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bridge_mcp::limits::Limits;
use bridge_mcp::version::Era;
use bridge_snapshot::{
    Backend, EraPolicy, HttpBackend, Secret, SseBackend, StdioBackend, Target, TcpBackend, WebSocketBackend,
};
use bridge_transport::backend::sse::SseServer;
use bridge_transport::backend::websocket::WebSocketServer;
use bridge_transport::websocket::{SUBPROTOCOL, Settings};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use parking_lot::Mutex;
use tokio_util::task::TaskTracker;

use super::{Clients, ClusterError};
use crate::upstream::{HttpServer, HttpTarget, Place, SseTarget, TcpTarget, WebSocketTarget};

/// Time between the pings to WebSocket servers.
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// One place.
pub(super) struct Endpoint {
    pub(super) place: Place,
    pub(super) reach: Reach,
}

/// How it is reached.
pub(super) enum Reach {
    Stdio(StdioBackend),
    Http(Arc<HttpTarget>),
    Sse(Arc<SseTarget>),
    Detect(Detect),
    WebSocket(Arc<WebSocketTarget>),
    Tcp(Arc<TcpTarget>),
}

/// An HTTP server whose protocol is found out.
pub(super) struct Detect {
    pub(super) http: Arc<HttpTarget>,
    pub(super) sse: Arc<SseTarget>,
    pub(super) found: Mutex<Option<Protocol>>,
}

/// What an endpoint speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Newline-framed messages of a child.
    Stdio,
    /// Streamable HTTP.
    StreamableHttp,
    /// HTTP+SSE of 2024-11-05.
    Sse,
    /// WebSocket.
    WebSocket,
    /// The original's binary protocol.
    TcpBinary,
}

impl Protocol {
    /// The word in logs and on the health page.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Stdio => "stdio",
            Self::StreamableHttp => "streamable_http",
            Self::Sse => "sse",
            Self::WebSocket => "websocket",
            Self::TcpBinary => "tcp_binary",
        }
    }
}

impl Endpoint {
    /// What it speaks, as far as is known.
    pub(super) fn protocol(&self) -> Option<Protocol> {
        match &self.reach {
            Reach::Stdio(_) => Some(Protocol::Stdio),
            Reach::Http(_) => Some(Protocol::StreamableHttp),
            Reach::Sse(_) => Some(Protocol::Sse),
            Reach::WebSocket(_) => Some(Protocol::WebSocket),
            Reach::Tcp(_) => Some(Protocol::TcpBinary),
            Reach::Detect(detect) => *detect.found.lock(),
        }
    }

    /// What it was found to speak, where that was to be found out.
    pub(super) fn detected(&self) -> Option<Protocol> {
        match &self.reach {
            Reach::Detect(detect) => *detect.found.lock(),
            _ => None,
        }
    }

    /// Whether its protocol exists in `era`, or is said to.
    pub(super) fn may_speak(&self, era: Era, policy: EraPolicy) -> bool {
        era == Era::Legacy || policy == EraPolicy::Modern || self.protocol() != Some(Protocol::Sse)
    }
}

impl Detect {
    /// Notes what it speaks.
    pub(super) fn found(&self, protocol: Protocol) {
        let before = self.found.lock().replace(protocol);
        if before != Some(protocol) {
            let protocol = protocol.as_str();
            tracing::info!(backend = %self.http.backend, protocol, "protocol detected");
        }
    }
}

impl Reach {
    /// Shows there from now on what `newer` shows. Connections that have shown it already go on as they are.
    pub(super) fn renew(&self, newer: &Self) {
        match (self, newer) {
            (Self::Http(target), Self::Http(newer)) => target.renew(newer),
            (Self::Sse(target), Self::Sse(newer)) => target.renew(newer),
            (Self::Detect(detect), Self::Detect(newer)) => {
                detect.http.renew(&newer.http);
                detect.sse.renew(&newer.sse);
            }
            (Self::WebSocket(target), Self::WebSocket(newer)) => target.renew(newer),
            (Self::Tcp(target), Self::Tcp(newer)) => target.renew(newer),
            // A command that is started with something else is another place, and so is another kind.
            _ => {}
        }
    }
}

/// What every place of a backend is made with.
pub(super) struct Maker<'a> {
    pub(super) backend: &'a Backend,
    pub(super) name: &'a Arc<str>,
    pub(super) clients: &'a Clients,
    pub(super) limits: &'a Limits,
    pub(super) work: &'a TaskTracker,
    /// What the server was found to speak at its other places.
    pub(super) detected: Option<Protocol>,
}

impl Maker<'_> {
    /// The way to `target`, which is at `place`.
    pub(super) fn reach(&self, target: &Target, place: &Place) -> Result<Reach, ClusterError> {
        Ok(match target {
            Target::Stdio(stdio) => Reach::Stdio(stdio.clone()),
            Target::Http(http) => Reach::Http(self.http(http, place)?),
            Target::Sse(sse) => Reach::Sse(self.sse(sse)?),
            Target::Detect(detect) => Reach::Detect(Detect {
                http: self.http(&detect.http, place)?,
                sse: self.sse(&detect.sse)?,
                found: Mutex::new(self.detected),
            }),
            Target::WebSocket(websocket) => Reach::WebSocket(self.websocket(websocket)?),
            Target::Tcp(tcp) => Reach::Tcp(self.tcp(tcp)),
        })
    }

    fn http(&self, http: &HttpBackend, place: &Place) -> Result<Arc<HttpTarget>, ClusterError> {
        let server = HttpServer {
            client: self.clients.http.clone(),
            uri: self.uri(&http.url)?,
            headers: self.headers(&http.headers)?,
        };
        let (name, limits, work) = (Arc::clone(self.name), self.limits.clone(), self.work.clone());
        Ok(Arc::new(HttpTarget::new(name, server, limits, place.clone(), work)))
    }

    fn sse(&self, sse: &SseBackend) -> Result<Arc<SseTarget>, ClusterError> {
        let server = SseServer {
            client: self.clients.http.clone(),
            stream: self.uri(&sse.url)?,
            fixed_endpoint: sse.request_url.as_deref().map(|url| self.uri(url)).transpose()?,
            headers: self.headers(&sse.headers)?.into(),
            max_message: self.limits.max_bytes,
        };
        let patience = self.backend.request_timeout;
        Ok(Arc::new(SseTarget::new(Arc::clone(self.name), server, self.limits.clone(), patience)))
    }

    fn websocket(&self, websocket: &WebSocketBackend) -> Result<Arc<WebSocketTarget>, ClusterError> {
        // The handshake is an HTTP request.
        let url = match websocket.url.split_once("://") {
            Some(("ws", rest)) => format!("http://{rest}"),
            Some(("wss", rest)) => format!("https://{rest}"),
            _ => {
                return Err(self.fail(format!("url: `{}` must be an absolute ws or wss URL", websocket.url)));
            }
        };
        let server = WebSocketServer {
            client: self.clients.upgradable.clone(),
            uri: self.uri(&url)?,
            subprotocol: SUBPROTOCOL,
            headers: self.headers(&websocket.headers)?.into(),
            settings: Settings {
                max_message: self.limits.max_bytes,
                ping_interval: PING_INTERVAL,
                meter: None,
            },
        };
        Ok(Arc::new(WebSocketTarget::new(Arc::clone(self.name), server)))
    }

    fn tcp(&self, server: &TcpBackend) -> Arc<TcpTarget> {
        let connector = self.clients.tcp.clone();
        Arc::new(TcpTarget::new(Arc::clone(self.name), server.clone(), connector, self.limits.clone()))
    }

    fn fail(&self, problem: String) -> ClusterError {
        ClusterError { backend: self.backend.name.clone(), problem }
    }

    fn uri(&self, url: &str) -> Result<Uri, ClusterError> {
        let uri: Uri = url.parse().map_err(|error| self.fail(format!("url: `{url}` is no URL: {error}")))?;
        match uri.scheme_str() {
            Some("http" | "https") if uri.host().is_some() => Ok(uri),
            _ => Err(self.fail(format!("url: `{url}` must be an absolute http or https URL"))),
        }
    }

    fn headers(&self, configured: &BTreeMap<String, Secret>) -> Result<HeaderMap, ClusterError> {
        let mut headers = HeaderMap::new();
        for (name, value) in configured {
            let header: HeaderName =
                name.parse().map_err(|_| self.fail(format!("headers: `{name}` is no header name")))?;
            let mut value = HeaderValue::from_str(value.expose()).map_err(|_| {
                self.fail(format!("headers: the value of `{name}` has characters that headers cannot carry"))
            })?;
            value.set_sensitive(true);
            headers.insert(header, value);
        }
        Ok(headers)
    }
}
