//! A conversation of a legacy session with a server that speaks the modern generation only. To the session it looks like
//! any other conversation. Changes when such conversations can do more.
//!
//! Source: what is translated how is `bridge_mcp::translate::to_modern`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bridge_mcp::error::{code, error_response, result_response};
use bridge_mcp::frame::Frame;
use bridge_mcp::id::Id;
use bridge_mcp::limits::Limits;
use bridge_mcp::method::Method;
use bridge_mcp::translate::to_modern::{self, Client, Retry};
use bridge_mcp::version::Era;
use bridge_policy::principal::Principal;
use bridge_policy::refusal::{Reason, Refusal};
use bytes::Bytes;
use http::HeaderMap;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::rounds::ToModernCall;
use super::subscriptions::Subscriptions;
use crate::cluster::{Cluster, with_params};
use crate::pipeline::level_of;
use crate::upstream::{Answer, Handshake, Hello, Link, Messages, OnLeave, Owner, UpstreamError};

/// How long a new reading of the tools may take before a call is tried again.
const RELIST: Duration = Duration::from_secs(2);
/// Resources that one conversation may watch.
const MAX_WATCHED: usize = 1000;

/// The conversation.
pub(crate) struct ToModern {
    shared: Arc<Shared>,
    subscriptions: Subscriptions,
}

/// What the conversation and its calls share.
pub(super) struct Shared {
    pub(super) cluster: Arc<Cluster>,
    pub(super) link: Arc<Link>,
    pub(super) client: Client,
    asker: Option<Principal>,
    pub(super) limits: Limits,
    pub(super) max_rounds: u32,
    level: Mutex<Option<Box<str>>>,
    next: AtomicI64,
    /// Calls that wait for an answer of the client's, by the id of the question.
    pub(super) waiting: Mutex<HashMap<Id, mpsc::Sender<Frame>>>,
    stop: CancellationToken,
}

/// Opens a conversation for a client, over the one that all modern clients of the backend share.
pub(crate) async fn open(
    cluster: &Arc<Cluster>,
    hello: &Hello,
    owner: Arc<dyn Owner>,
) -> Result<(Arc<Link>, Handshake), Refusal> {
    let (link, handshake) = cluster.modern_link().await?;
    let known = cluster.catalogue(Era::Modern).lists().map(|lists| lists.handshake.clone());
    let handshake = match handshake.or(known) {
        Some(handshake) => handshake,
        None => cluster.rediscover(&link).await?,
    };
    let version = hello.version;
    let result = to_modern::initialize_result(&handshake.result, version);
    cluster.metrics().lost(to_modern::unoffered(&handshake.result));
    let client = Client {
        version,
        capabilities: to_modern::capabilities(&hello.capabilities, version),
        client_info: hello.client_info.clone(),
    };
    let stop = cluster.closing();
    let shared = Arc::new(Shared {
        cluster: Arc::clone(cluster),
        link: Arc::clone(&link),
        client,
        asker: owner.principal(),
        limits: cluster.limits().clone(),
        max_rounds: cluster.max_rounds,
        level: Mutex::default(),
        next: AtomicI64::new(1),
        waiting: Mutex::default(),
        stop: stop.clone(),
    });
    let subscriptions = Subscriptions::new(&shared, owner, &handshake, stop);
    let handshake = Handshake { version, result, ..handshake };
    Ok((Arc::new(Link::ToModern(ToModern { shared, subscriptions })), handshake))
}

impl ToModern {
    /// Sends a request.
    pub(crate) async fn request(&self, frame: &Frame) -> Result<Answer, UpstreamError> {
        let id = frame.raw_id().unwrap_or(b"null");
        let whole = |bytes| Ok(Answer::Whole { status: 200, bytes });
        let invalid = |text: &str| whole(error_response(Some(id), code::INVALID_PARAMS, text, None));
        match frame.method() {
            Method::SetLevel => {
                let Some(level) = level_of(frame) else {
                    return invalid("`params.level` is no log level of MCP");
                };
                *self.shared.level.lock() = Some(level.as_ref().into());
                whole(result_response(id, b"{}"))
            }
            Method::ResourcesSubscribe => {
                let Some(uri) = frame.target() else { return invalid("`params.uri` must be a string") };
                if self.subscriptions.watched() >= MAX_WATCHED {
                    return invalid("this session watches as many resources as it may");
                }
                if self.subscriptions.watch(&uri).await? {
                    whole(result_response(id, b"{}"))
                } else {
                    invalid("the server does not watch this resource")
                }
            }
            Method::ResourcesUnsubscribe => {
                if let Some(uri) = frame.target() {
                    self.subscriptions.forget(&uri);
                }
                whole(result_response(id, b"{}"))
            }
            method if !method.exists_in(Era::Modern) || method.as_str().starts_with("tasks/") => {
                let text = format!("method `{}` is not available", frame.method_name());
                whole(error_response(Some(id), code::METHOD_NOT_FOUND, &text, None))
            }
            _ => {
                let mut call = Box::new(ToModernCall::new(&self.shared, frame));
                match call.begin().await? {
                    Some(bytes) => whole(bytes),
                    None => Ok(Answer::Stream(Messages::ToModern(call))),
                }
            }
        }
    }

    /// Takes a message of the client's that has no answer.
    pub(crate) async fn tell(&self, message: Bytes) {
        let Ok(frame) = Frame::parse(message, &self.shared.limits) else { return };
        // What else a client tells has no meaning in this generation.
        if !frame.is_response() {
            return self.shared.cluster.metrics().lost(to_modern::untold(&frame));
        }
        let call = frame.id().and_then(|id| self.shared.waiting.lock().get(&id).cloned());
        match call {
            // The call may have ended meanwhile.
            Some(call) => drop(call.send(frame).await),
            None => tracing::debug!(backend = %self.shared.cluster.name, "answer to no question that waits"),
        }
    }

    /// List changes are wanted from now on.
    pub(crate) fn listen(&self) {
        self.subscriptions.listen();
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.shared.stop.is_cancelled() && self.shared.link.is_open()
    }

    pub(crate) fn closed(&self) -> CancellationToken {
        self.shared.stop.clone()
    }

    pub(crate) fn close(&self) {
        self.shared.stop.cancel();
    }

    pub(crate) fn backend(&self) -> &str {
        &self.shared.cluster.name
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.shared.limits
    }
}

/// Nobody can send on it any more, so its listen may end.
impl Drop for ToModern {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

impl Shared {
    /// A number that no other message of this conversation has.
    pub(super) fn fresh(&self) -> i64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Sends one round of a request.
    pub(super) async fn send(
        &self,
        request: &Frame,
        retry: Option<Retry<'_>>,
    ) -> Result<Answer, UpstreamError> {
        let id = self.fresh().to_string();
        let level = self.level.lock().clone();
        let bytes = to_modern::request(request, id.as_bytes(), &self.client, level.as_deref(), retry);
        let frame = Frame::parse(bytes, &self.limits)
            .map_err(|error| Refusal::new(Reason::BadMessage, error.to_string()))?;
        let headers = with_params(&self.cluster, &self.link, &frame);
        self.link.request_for(self.asker.as_ref(), &frame, headers, OnLeave::Cancel).await
    }

    /// Has the tools read again, for their schemas.
    pub(super) async fn relist(&self) {
        let reading = self.cluster.catalogue(Era::Modern).reread();
        if tokio::time::timeout(RELIST, reading).await.is_err() {
            tracing::debug!(backend = %self.cluster.name, "tools not read again in time");
        }
    }

    /// A notification as the client reads it, if it may.
    pub(super) fn shown(&self, notice: &Frame) -> Option<Frame> {
        let Some(bytes) = to_modern::notice(notice, self.client.version) else {
            self.cluster.metrics().lost(to_modern::unshown(notice));
            return None;
        };
        Frame::parse(bytes, &self.limits).ok()
    }

    /// Questions that nobody waits for any more.
    pub(super) fn forget(&self, questions: &[Id]) {
        let mut waiting = self.waiting.lock();
        for question in questions {
            waiting.remove(question);
        }
    }

    /// Headers for a request of the conversation's own.
    pub(super) fn headers(&self, frame: &Frame) -> HeaderMap {
        with_params(&self.cluster, &self.link, frame)
    }
}
