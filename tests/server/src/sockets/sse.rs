//! HTTP+SSE of 2024-11-05: an event stream that is the session, and POSTs to the endpoint that it names. Changes with how
//! such servers behave.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, StatusCode, Uri};
use http_body::Frame;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::{FromServer, Line, ToServer, together};
use crate::conversation::MAX_MESSAGE;
use crate::state::Shared;

/// The path of the event stream.
pub(super) const STREAM: &str = "/sse";
const MESSAGES: &str = "/messages";
/// Messages that wait for a session's pipe, or events for its stream; then whoever has more waits.
const QUEUE: usize = 16;

#[derive(Clone)]
struct Sessions {
    shared: Arc<Shared>,
    next: Arc<AtomicU64>,
    open: Arc<Mutex<HashMap<String, mpsc::Sender<Bytes>>>>,
    clients: TaskTracker,
}

pub(super) async fn serve(shared: Arc<Shared>, listener: TcpListener) -> anyhow::Result<()> {
    let sessions =
        Sessions { shared, next: Arc::default(), open: Arc::default(), clients: TaskTracker::new() };
    let app = Router::new()
        .route(STREAM, get(open))
        .route(MESSAGES, post(message))
        .layer(DefaultBodyLimit::max(MAX_MESSAGE))
        .with_state(sessions);
    Ok(axum::serve(listener, app).await?)
}

async fn open(State(sessions): State<Sessions>) -> Response {
    let id = format!("{}-{}", sessions.shared.instance, sessions.next.fetch_add(1, Ordering::Relaxed));
    let (posts, posted) = mpsc::channel(QUEUE);
    let (events, stream) = mpsc::channel(QUEUE);
    sessions.open.lock().insert(id.clone(), posts);
    let (line, conversation) = Line::open(&sessions.shared);
    let (from_server, to_server) = line.halves();
    let clients = sessions.clients.clone();
    clients.spawn(together(conversation, async move {
        let ended = tokio::select! {
            ended = hand_over(posted, to_server) => ended,
            ended = tell(&id, from_server, events) => ended,
        };
        sessions.open.lock().remove(&id);
        ended
    }));
    let mut response = Response::new(Body::new(Events(stream)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn hand_over(mut posted: mpsc::Receiver<Bytes>, mut to_server: ToServer) -> anyhow::Result<()> {
    while let Some(message) = posted.recv().await {
        to_server.send(&message).await?;
    }
    Ok(())
}

async fn tell(id: &str, mut from_server: FromServer, events: mpsc::Sender<Bytes>) -> anyhow::Result<()> {
    events.send(format!("event: endpoint\ndata: {MESSAGES}?session_id={id}\n\n").into()).await?;
    loop {
        let message = tokio::select! {
            message = from_server.next() => message?,
            () = events.closed() => return Ok(()),
        };
        let Some(message) = message else { return Ok(()) };
        events.send(format!("event: message\ndata: {message}\n\n").into()).await?;
    }
}

async fn message(State(sessions): State<Sessions>, uri: Uri, body: Bytes) -> Response {
    let id = uri.query().and_then(|query| query.strip_prefix("session_id="));
    let session = id.and_then(|id| sessions.open.lock().get(id).cloned());
    match session {
        Some(session) if session.send(body).await.is_ok() => {
            (StatusCode::ACCEPTED, "Accepted").into_response()
        }
        _ => (StatusCode::NOT_FOUND, "Could not find session").into_response(),
    }
}

/// The body of an event stream.
struct Events(mpsc::Receiver<Bytes>);

impl http_body::Body for Events {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(context).map(|event| event.map(|event| Ok(Frame::data(event))))
    }
}
