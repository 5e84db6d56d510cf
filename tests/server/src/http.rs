//! Serving Streamable HTTP: the SDK's service behind a thin layer of our own. Changes when the SDK's service does.
//!
//! The layer does two things that the SDK leaves out: a server of one generation refuses the other as a real one
//! would, and a tool can cut the event stream of its own call.

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use http_body::{Body as HttpBody, Frame};
use rmcp::RoleServer;
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::session::local::{LocalSessionManager, SessionConfig};
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::era::Era;
use crate::fixture::Fixture;
use crate::state::Shared;
use crate::{ReplyKind, StopSignal, announce};

mod gate;

/// Largest accepted request body in bytes: above what any gateway limit under test lets through.
pub(super) const MAX_BODY: usize = 64 * 1024 * 1024;
/// How long a client should wait before it resumes a stream.
const RETRY: Duration = Duration::from_millis(500);
/// Idle sessions are kept longer than any test runs.
const SESSION_IDLE: Duration = Duration::from_hours(1);
/// After a stop signal: how long open requests get before their streams are closed.
const DRAIN: Duration = Duration::from_millis(500);
/// How long closing the streams may take before the process ends anyway.
const CLOSE: Duration = Duration::from_secs(2);

/// Serves until the process is asked to stop. Says on standard error where, once it accepts connections.
pub(crate) async fn run(
    shared: Arc<Shared>,
    address: SocketAddr,
    allow_hosts: &[String],
    reply: ReplyKind,
) -> anyhow::Result<()> {
    let mut signal = StopSignal::watch()?;
    let listener = tokio::net::TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let streams = CancellationToken::new();
    let app = router(Arc::clone(&shared), address.ip(), allow_hosts, reply, streams.clone());
    announce(&format!("listening on http://{address}/mcp"))?;

    let stopping = shared.stopping.clone();
    let serving =
        axum::serve(listener, app).with_graceful_shutdown(stopping.clone().cancelled_owned()).into_future();
    tokio::pin!(serving);
    tokio::select! {
        outcome = &mut serving => return Ok(outcome?),
        () = signal.received() => {}
    }
    stopping.cancel();
    if let Ok(outcome) = tokio::time::timeout(DRAIN, &mut serving).await {
        return Ok(outcome?);
    }
    streams.cancel();
    if let Ok(outcome) = tokio::time::timeout(CLOSE, serving).await {
        Ok(outcome?)
    } else {
        tracing::warn!("connections were still open at exit");
        Ok(())
    }
}

fn router(
    shared: Arc<Shared>,
    host: IpAddr,
    more_hosts: &[String],
    reply: ReplyKind,
    streams: CancellationToken,
) -> Router {
    let era = shared.era;
    let loopback = ["localhost", "127.0.0.1", "[::1]"];
    let origins = loopback.iter().flat_map(|name| [format!("http://{name}:*"), format!("https://{name}:*")]);
    let config = StreamableHttpServerConfig::default()
        .with_allowed_hosts(
            loopback
                .iter()
                .map(|name| (*name).to_owned())
                .chain([host.to_string()])
                .chain(more_hosts.iter().cloned()),
        )
        .with_allowed_origins(origins)
        .with_cancellation_token(streams)
        .with_legacy_session_mode(era != Era::Modern)
        .with_stateless_protocol_metadata_required(era == Era::Modern)
        .with_json_response(reply == ReplyKind::Json)
        .with_max_request_body_bytes(MAX_BODY)
        .with_sse_retry(Some(RETRY));
    let mut session = SessionConfig::default();
    session.sse_retry = Some(RETRY);
    session.keep_alive = Some(SESSION_IDLE);
    let mut sessions = LocalSessionManager::default();
    sessions.session_config = session;
    let service =
        StreamableHttpService::new(move || Ok(Fixture::new(Arc::clone(&shared))), Arc::new(sessions), config);
    let app = Router::new().route_service("/mcp", service).layer(from_fn(cuttable));
    if era == Era::Both { app } else { app.layer(from_fn_with_state(era, gate::refuse_other_era)) }
}

/// Ends the response stream of one HTTP request from inside its handler.
#[derive(Clone)]
pub(crate) struct StreamCutter(CancellationToken);

impl StreamCutter {
    /// The cutter of the HTTP request that carried this call; none on stdio.
    pub(crate) fn of(context: &RequestContext<RoleServer>) -> Option<Self> {
        context.extensions.get::<http::request::Parts>()?.extensions.get::<Self>().cloned()
    }

    /// What was written so far still goes out.
    pub(crate) fn cut(&self) {
        self.0.cancel();
    }
}

async fn cuttable(mut request: Request, next: Next) -> Response {
    let cut = CancellationToken::new();
    request.extensions_mut().insert(StreamCutter(cut.clone()));
    let cut = Box::pin(cut.cancelled_owned());
    next.run(request).await.map(|inner| Body::new(CuttableBody { inner, cut }))
}

struct CuttableBody {
    inner: Body,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl HttpBody for CuttableBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(context) {
            return Poll::Ready(frame);
        }
        self.cut.as_mut().poll(context).map(|()| None)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.inner.size_hint()
    }
}

/// A JSON-RPC error as a whole HTTP response.
fn error_response(status: StatusCode, id: &serde_json::Value, error: &serde_json::Value) -> Response {
    let body = serde_json::json!({ "jsonrpc": "2.0", "id": id, "error": error }).to_string();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    response
}
