//! HTTP requests to backends over pooled connections. Changes when the HTTP client changes.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap};
use http::{Method, Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::reach::Connector;

/// Idle connections are closed before common servers close theirs (five seconds is usual), so that a request rarely meets
/// a closing one.
const POOL_IDLE: Duration = Duration::from_secs(4);

/// A client whose connections are shared by all backends.
#[derive(Clone)]
pub struct HttpClient {
    inner: Client<HttpsConnector<Connector>, Full<Bytes>>,
}

/// Headers of every request to a server, its credentials among them. Clones are the same headers: what replaces them is
/// in the next request of everybody.
#[derive(Clone, Default)]
pub struct SharedHeaders(Arc<ArcSwap<HeaderMap>>);

impl SharedHeaders {
    /// Their values now.
    pub fn get(&self) -> HeaderMap {
        HeaderMap::clone(&self.0.load())
    }

    /// Takes over the values of others.
    pub fn replace(&self, others: &Self) {
        self.0.store(others.0.load_full());
    }
}

impl From<HeaderMap> for SharedHeaders {
    fn from(headers: HeaderMap) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(headers)))
    }
}

/// Why no answer came.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// No connection: nothing was sent.
    #[error("connection failed: {0}")]
    Connect(String),
    /// The connection was lost after the request may have been sent.
    #[error("connection lost: {0}")]
    Lost(String),
}

/// What kind of body an answer has, by its media type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// `application/json`.
    Json,
    /// `text/event-stream`.
    Events,
    /// Something else, or unnamed.
    Other,
}

impl HttpClient {
    /// A client over `connector`.
    pub fn new(connector: HttpsConnector<Connector>) -> Self {
        let inner = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE)
            .build(connector);
        Self { inner }
    }

    /// Sends one request and waits for the head of its answer.
    pub async fn send(
        &self,
        method: Method,
        uri: &Uri,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response<Incoming>, SendError> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = uri.clone();
        *request.headers_mut() = headers;
        self.inner.request(request).await.map_err(|error| {
            let text = causes(&error);
            if error.is_connect() { SendError::Connect(text) } else { SendError::Lost(text) }
        })
    }
}

/// The media type of an answer.
pub fn content(headers: &HeaderMap) -> Content {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Content::Other };
    let kind = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    if kind.eq_ignore_ascii_case(b"application/json") {
        Content::Json
    } else if kind.eq_ignore_ascii_case(b"text/event-stream") {
        Content::Events
    } else {
        Content::Other
    }
}

/// An error with its causes, for the log.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
