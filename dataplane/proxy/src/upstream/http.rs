//! Streamable HTTP towards a backend, both generations. Changes when the client half of the transport changes.
//!
//! Source: MCP "Streamable HTTP" of 2025-03-26 to 2026-07-28. A JSON-RPC body is read from any status before the status
//! is judged, and either media type is accepted for any answer, because servers differ.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bridge_mcp::envelope::Kind;
use bridge_mcp::error::{code, error_response, raw_response};
use bridge_mcp::frame::Frame;
use bridge_mcp::limits::Limits;
use bridge_mcp::method::Method::{Discover, Initialize, ToolsList};
use bridge_mcp::param_headers::encode_value;
use bridge_mcp::translate::without_invalid_tools;
use bridge_mcp::version::{Era, Version};
use bridge_policy::refusal::{Reason, Refusal};
use bridge_transport::backend::body::{Beginning, begin};
use bridge_transport::backend::events::EventStream;
use bridge_transport::backend::http::{Content, HttpClient, SendError, SharedHeaders, content};
use bridge_transport::frontend::request::{ReadError, collect};
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode, Uri};
use hyper::body::Incoming;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Answer, Event, HttpStream, Messages, Place, UpstreamError, error_code, parse_answer};

pub(crate) const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
pub(crate) const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
pub(crate) const METHOD: HeaderName = HeaderName::from_static("mcp-method");
pub(crate) const NAME: HeaderName = HeaderName::from_static("mcp-name");

/// Answers up to this size are held whole before they are forwarded, so that a backend lost in the middle of one still
/// gives the client a typed error.
const HOLD: usize = 64 * 1024;
/// How long a message without an answer may take.
pub(super) const TELL: Duration = Duration::from_secs(5);

/// An endpoint with what every conversation with it shares.
pub(crate) struct HttpTarget {
    pub(crate) backend: Arc<str>,
    pub(super) client: HttpClient,
    pub(super) uri: Uri,
    /// Headers of every POST.
    post: SharedHeaders,
    pub(super) limits: Limits,
    /// Which of the backend's endpoints it is.
    place: Place,
    /// Where the ends of sessions are waited for.
    pub(super) farewells: TaskTracker,
}

/// Where a server is, and how it is asked.
pub(crate) struct HttpServer {
    pub(crate) client: HttpClient,
    pub(crate) uri: Uri,
    /// Configured headers.
    pub(crate) headers: HeaderMap,
}

impl HttpTarget {
    pub(crate) fn new(
        backend: Arc<str>,
        server: HttpServer,
        limits: Limits,
        place: Place,
        farewells: TaskTracker,
    ) -> Self {
        let HttpServer { client, uri, headers: mut post } = server;
        post.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        post.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        Self { backend, client, uri, post: post.into(), limits, place, farewells }
    }

    /// Sends from now on the headers that `newer` sends, also in conversations that are open.
    pub(crate) fn renew(&self, newer: &Self) {
        self.post.replace(&newer.post);
    }

    /// Headers of a POST in a conversation.
    pub(super) fn headers(&self, version: Option<Version>, session: Option<&HeaderValue>) -> HeaderMap {
        let mut headers = self.post.get();
        if let Some(version) = version {
            headers.insert(PROTOCOL_VERSION, HeaderValue::from_static(version.as_str()));
        }
        if let Some(session) = session {
            headers.insert(SESSION_ID, session.clone());
        }
        headers
    }
}

/// One conversation over HTTP: a legacy session, or stateless requests. Small, because each session has one for each
/// backend that it uses.
pub(crate) struct HttpLink {
    pub(super) target: Arc<HttpTarget>,
    era: Era,
    /// `MCP-Protocol-Version`, once it is known and if the revision has that header.
    version: Option<Version>,
    session: Option<HeaderValue>,
    open: AtomicBool,
    /// The server knows the session no more, or is being told that it has ended.
    pub(super) parted: AtomicBool,
    /// Ends the notification stream.
    pub(super) stop: CancellationToken,
    pub(super) listening: AtomicBool,
}

impl HttpLink {
    /// A conversation that has not opened yet: no session, no negotiated version. It ends with `stop`.
    pub(crate) fn new(target: Arc<HttpTarget>, era: Era, stop: CancellationToken) -> Self {
        Self {
            target,
            era,
            version: (era == Era::Modern).then_some(Version::NEWEST_MODERN),
            session: None,
            open: AtomicBool::new(true),
            parted: AtomicBool::new(false),
            stop,
            listening: AtomicBool::new(false),
        }
    }

    /// Takes over what the handshake agreed on.
    pub(crate) fn open_session(&mut self, version: Version, session: Option<HeaderValue>) {
        self.version = (version >= Version::V2025_06_18).then_some(version);
        self.session = session;
    }

    /// Headers of a POST.
    pub(super) fn post_headers(&self) -> HeaderMap {
        self.target.headers(self.version, self.session.as_ref())
    }

    pub(super) fn version(&self) -> Option<Version> {
        self.version
    }

    pub(crate) fn backend(&self) -> &str {
        &self.target.backend
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.target.limits
    }

    pub(crate) fn era(&self) -> Era {
        self.era
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed) && !self.stop.is_cancelled()
    }

    /// Marks the conversation as lost; the next request opens a new one.
    pub(super) fn lose(&self) {
        self.open.store(false, Ordering::Relaxed);
        self.stop.cancel();
    }

    pub(super) fn session(&self) -> Option<&HeaderValue> {
        self.session.as_ref()
    }

    /// The answer to a request of the gateway's own, read whole.
    pub(crate) async fn own_answer(&self, answer: Answer) -> Result<Frame, UpstreamError> {
        let bytes = match answer {
            Answer::Whole { bytes, .. } => bytes,
            Answer::Forward(rest) => {
                rest.collect(self.limits().max_bytes).await.map_err(|error| self.broken(error))?
            }
            Answer::Stream(mut messages) => loop {
                match messages.next().await? {
                    Event::Answer(bytes) => break bytes,
                    Event::Request(question) | Event::Elsewhere(question) => {
                        let text = "no client can answer this request";
                        let reply = error_response(question.raw_id(), code::INTERNAL, text, None);
                        self.tell(reply).await?;
                    }
                    Event::Notice(_) | Event::Primed | Event::Paused(_) => {}
                }
            },
        };
        parse_answer(bytes, self.limits(), self.backend()).map_err(UpstreamError::Failed)
    }

    /// Sends a request and reads the head of the answer.
    pub(crate) async fn request(&self, frame: &Frame, mirrored: HeaderMap) -> Result<Answer, UpstreamError> {
        let (answer, _) = self.exchange(frame, mirrored).await?;
        if self.era == Era::Modern && frame.method() == ToolsList {
            return Box::pin(self.valid_tools(answer)).await;
        }
        Ok(answer)
    }

    /// A list of tools without those that no client may use. An event stream does so itself.
    async fn valid_tools(&self, answer: Answer) -> Result<Answer, UpstreamError> {
        let (status, bytes) = match answer {
            Answer::Whole { status, bytes } => (status, bytes),
            Answer::Forward(rest) => {
                (200, rest.collect(self.limits().max_bytes).await.map_err(|error| self.broken(error))?)
            }
            stream @ Answer::Stream(_) => return Ok(stream),
        };
        Ok(Answer::Whole { status, bytes: valid_tools(bytes, self.limits(), self.backend()) })
    }

    /// Like [`HttpLink::request`], with the session id that the answer carries.
    pub(crate) async fn exchange(
        &self,
        frame: &Frame,
        mirrored: HeaderMap,
    ) -> Result<(Answer, Option<HeaderValue>), UpstreamError> {
        let mut headers = self.post_headers();
        headers.extend(mirrored);
        let sent =
            self.target.client.send(Method::POST, &self.target.uri, headers, frame.bytes().clone()).await;
        let response = sent.map_err(|error| self.failed(&error))?;
        // Copied: a header shares the buffer of everything that was read with it, and a session keeps this one.
        let session = response.headers().get(SESSION_ID);
        let session = session.and_then(|value| HeaderValue::from_bytes(value.as_bytes()).ok());
        Ok((self.read(frame, response).await?, session))
    }

    async fn read(&self, frame: &Frame, response: Response<Incoming>) -> Result<Answer, UpstreamError> {
        let status = response.status();
        match (status.is_success(), content(response.headers())) {
            (true, Content::Events) => {
                let events = EventStream::new(response.into_body(), self.target.limits.max_bytes);
                let stream = HttpStream::new(self.resumer(), frame, events);
                Ok(Answer::Stream(Messages::Http(Box::new(stream))))
            }
            (true, Content::Json) => {
                match begin(response.into_body(), HOLD).await.map_err(|error| self.broken(error))? {
                    Beginning::Whole(bytes) => {
                        let bytes = self.answer_to(frame, bytes)?;
                        Ok(Answer::Whole { status: status.as_u16(), bytes })
                    }
                    Beginning::Part(rest) => Ok(Answer::Forward(rest)),
                }
            }
            _ => Box::pin(self.read_refusal(frame, status, response)).await,
        }
    }

    /// A short answer, which must be one: a proxy's page may claim to be JSON, and a body may end too early unnoticed.
    fn answer_to(&self, request: &Frame, bytes: Bytes) -> Result<Bytes, Refusal> {
        let answer = parse_answer(bytes, self.limits(), self.backend())?;
        if answer.id() != request.id() && answer.kind() != Kind::Error {
            let detail = "it answered another request than the one that it was sent";
            return Err(Refusal::backend(Reason::BackendProtocol, self.backend(), detail));
        }
        Ok(addressed_to(request, &answer))
    }

    fn broken(&self, error: ReadError) -> Refusal {
        let reason = match error {
            ReadError::TooLarge(_) => Reason::BackendProtocol,
            ReadError::TooSlow(_) | ReadError::Aborted => Reason::BackendLost,
        };
        Refusal::backend(reason, self.backend(), format_args!("its answer: {error}"))
    }

    /// An answer that is no success, or not of a known media type.
    async fn read_refusal(
        &self,
        request: &Frame,
        status: StatusCode,
        response: Response<Incoming>,
    ) -> Result<Answer, UpstreamError> {
        let bytes = collect(response.into_body(), self.limits().max_bytes).await;
        let bytes = bytes.map_err(|error| self.broken(error))?;
        let answer = Frame::parse(bytes.clone(), &self.target.limits).ok().filter(Frame::is_response);
        if self.session.is_some() && session_is_lost(request, status, answer.as_ref(), &bytes) {
            self.forgotten();
            return Err(UpstreamError::SessionLost);
        }
        if status == StatusCode::SERVICE_UNAVAILABLE && request.method() == Initialize && answer.is_some() {
            let detail = "it takes no more sessions now; try again later";
            return Err(Refusal::backend(Reason::BackendBusy, self.backend(), detail).into());
        }
        // A greeting is the gateway's own, and what else a refusal of it says concerns nobody.
        let unknown = status == StatusCode::UNAUTHORIZED && is_greeting(request);
        if let Some(answer) = answer.filter(|_| !unknown) {
            return Ok(Answer::Whole { status: status.as_u16(), bytes: addressed_to(request, &answer) });
        }
        let (reason, detail) = refused(status);
        let refusal = Refusal::backend(reason, self.backend(), detail);
        Err(if status.is_server_error() { UpstreamError::ServerError(refusal) } else { refusal.into() })
    }

    /// Sends a message that has no answer.
    pub(crate) async fn tell(&self, message: Bytes) -> Result<(), UpstreamError> {
        let mut headers = self.post_headers();
        if self.era == Era::Modern
            && let Ok(frame) = Frame::parse(message.clone(), &self.target.limits)
        {
            headers.extend(mirror(&frame));
        }
        let sent = self.target.client.send(Method::POST, &self.target.uri, headers, message);
        let sent = tokio::time::timeout(TELL, sent).await.map_err(|_| {
            Refusal::backend(Reason::BackendTimeout, self.backend(), "it does not take messages")
        })?;
        let response = sent.map_err(|error| self.failed(&error))?;
        let status = response.status();
        if status == StatusCode::NOT_FOUND && self.session.is_some() {
            self.forgotten();
            return Err(UpstreamError::SessionLost);
        }
        if !status.is_success() {
            let detail = format!("it refused a message with HTTP {status}");
            return Err(Refusal::backend(Reason::BackendProtocol, self.backend(), detail).into());
        }
        Ok(())
    }

    fn failed(&self, error: &SendError) -> UpstreamError {
        tracing::warn!(backend = %self.target.backend, %error, "backend request failed");
        match error {
            // Nothing was sent, so another opening may take the request, at another endpoint.
            SendError::Connect(_) if self.target.place.has_others() => {
                self.target.place.failed(Instant::now());
                self.lose();
                return UpstreamError::SessionLost;
            }
            SendError::Connect(_) => {
                // A session may outlive this, so only the backend's own word ends it; what modern clients share is
                // asked again what it is.
                if self.era == Era::Modern {
                    self.lose();
                }
                Refusal::backend(
                    Reason::BackendUnavailable,
                    self.backend(),
                    "it cannot be reached; nothing was executed, send the request again later",
                )
            }
            SendError::Lost(_) => Refusal::backend(
                Reason::BackendLost,
                self.backend(),
                "the connection was lost before it answered; the request may have been executed",
            ),
        }
        .into()
    }
}

/// What a status says that came without a JSON-RPC message.
pub(super) fn refused(status: StatusCode) -> (Reason, String) {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            (Reason::BackendCredential, format!("it refuses the gateway's credentials (HTTP {status})"))
        }
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
            (Reason::BackendUnavailable, format!("it takes no requests now (HTTP {status})"))
        }
        _ if status.is_server_error() => (Reason::BackendLost, format!("it failed (HTTP {status})")),
        _ => (Reason::BackendProtocol, format!("it answered HTTP {status} without a JSON-RPC message")),
    }
}

fn is_greeting(request: &Frame) -> bool {
    matches!(request.method(), Initialize | Discover)
}

/// Whether a refusal means that the session is unknown; then the request was not executed. 404 is the rule; servers on
/// older SDKs answer 400 with a text about the session, and then not under the request's id.
fn session_is_lost(request: &Frame, status: StatusCode, answer: Option<&Frame>, body: &[u8]) -> bool {
    match status {
        StatusCode::NOT_FOUND => answer.and_then(error_code) != Some(code::METHOD_NOT_FOUND),
        StatusCode::BAD_REQUEST => {
            let about_request = answer.is_some_and(|answer| answer.id() == request.id());
            !about_request && String::from_utf8_lossy(body).to_ascii_lowercase().contains("session")
        }
        _ => false,
    }
}

/// The answer to `tools/list` without tools whose annotations break the rules.
pub(super) fn valid_tools(answer: Bytes, limits: &Limits, backend: &str) -> Bytes {
    let Ok(frame) = Frame::parse(answer.clone(), limits) else { return answer };
    let (bytes, violations) = without_invalid_tools(&frame);
    for violation in violations {
        tracing::warn!(backend, error = %violation, "tool left out");
    }
    bytes
}

/// An error with the id of the request that it answers: some servers refuse a POST under an id of their own.
pub(super) fn addressed_to(request: &Frame, answer: &Frame) -> Bytes {
    match (answer.id() == request.id(), answer.raw(answer.envelope().error), request.raw_id()) {
        (false, Some(error), Some(id)) => raw_response(id, "error", error),
        _ => answer.bytes().clone(),
    }
}

/// The headers that mirror a modern request's body (2026-07-28, "Streamable HTTP").
pub(crate) fn mirror(frame: &Frame) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_str(&frame.method_name()) {
        headers.insert(METHOD, value);
    }
    if let Some(target) = frame.target()
        && let Ok(value) = HeaderValue::from_str(&encode_value(&target))
    {
        headers.insert(NAME, value);
    }
    headers
}
