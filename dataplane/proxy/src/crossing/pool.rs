//! Legacy conversations that serve modern clients. Changes when such conversations are shared or kept differently.
//!
//! Two clients share one only if they are the same principal, declared the same capabilities and said the same of
//! themselves. Where a message of the server could not be told which call it is about, a call has a conversation to
//! itself: on byte streams when the client can be asked something or wants logs, over HTTP when it wants logs.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bridge_mcp::frame::Frame;
use bridge_mcp::method::Method;
use bridge_mcp::translate::to_legacy;
use bridge_policy::principal::Principal;
use bridge_policy::refusal::{Reason, Refusal};
use bytes::Bytes;
use http::HeaderMap;
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::{Notify, mpsc};

use crate::cluster::{Cluster, LinkSlot, Openable};
use crate::observe::GatewayMetrics;
use crate::upstream::{Handshake, Hello, Link, Owner, Taken, listen, outside_call, own_request};

/// Messages outside a call's own stream that may wait for the call.
const INBOX: usize = 128;
/// How long a call waits for a conversation of its own. Calls that wait for a person may hold all there are.
const ROOM: Duration = Duration::from_secs(10);
/// How long a conversation without calls is kept.
const IDLE: Duration = Duration::from_mins(1);
/// Conversations of one backend that are kept without calls.
const MAX_IDLE: usize = 32;
/// Shared conversations of one backend.
const MAX_SHARED: usize = 1024;

/// What makes two calls of the same kind.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) principal: Principal,
    /// Raw capabilities, canonical.
    pub(super) capabilities: Bytes,
    /// Raw `clientInfo`.
    pub(super) client_info: Bytes,
}

/// A legacy conversation. It ends when nobody uses or keeps it any more: a session is deleted, a child is stopped.
pub(super) struct Conversation {
    pub(super) link: Arc<Link>,
    pub(super) handshake: Handshake,
    inbox: Arc<Inbox>,
    /// The log level that its server was told.
    level: Mutex<Option<Box<str>>>,
}

/// The conversations of one backend.
#[derive(Default)]
pub(crate) struct Pool {
    /// A conversation was given back, or a child has ended.
    pub(crate) freed: Arc<Notify>,
    idle: Mutex<Vec<Idle>>,
    shared: Mutex<HashMap<Key, Shared>>,
    /// The server was heard to log outside the streams of its calls.
    logs_elsewhere: Arc<AtomicBool>,
}

struct Idle {
    key: Key,
    since: Instant,
    conversation: Arc<Conversation>,
}

struct Shared {
    slot: Arc<LinkSlot<Arc<Conversation>>>,
    used: Instant,
}

/// The use of a conversation by one call.
pub(super) struct Lease {
    cluster: Arc<Cluster>,
    key: Key,
    pub(super) conversation: Arc<Conversation>,
    /// What the server says outside the call's own stream, when it can only be about this call.
    pub(super) inbox: Option<mpsc::Receiver<Frame>>,
    exclusive: bool,
    /// The call came to its end.
    is_clean: bool,
}

impl Shared {
    /// Leases hold the conversation, and whoever opens one holds the slot.
    fn is_in_use(&self) -> bool {
        Arc::strong_count(&self.slot) > 1 || self.slot.get().is_some_and(|open| Arc::strong_count(&open) > 2)
    }
}

impl Openable for Arc<Conversation> {
    fn is_open(&self) -> bool {
        self.link.is_open()
    }
}

impl Lease {
    /// A conversation for one call.
    pub(super) async fn take(cluster: &Arc<Cluster>, key: Key, wants_logs: bool) -> Result<Self, Refusal> {
        let stream = !cluster.is_http();
        // In a shared process nobody is asked and nobody sees logs.
        let exclusive = !cluster.shares_process() && (wants_logs || (stream && *key.capabilities != *b"{}"));
        let mut lease = if exclusive {
            let conversation = own(cluster, &key).await?;
            Self { cluster: Arc::clone(cluster), key, conversation, inbox: None, exclusive, is_clean: false }
        } else {
            let slot = cluster.pool.slot(&key)?;
            let conversation = match slot.get() {
                Some(conversation) => conversation,
                None => Box::pin(slot.open(|| open(cluster, &key))).await?.0,
            };
            Self { cluster: Arc::clone(cluster), key, conversation, inbox: None, exclusive, is_clean: false }
        };
        if exclusive {
            let (sender, inbox) = mpsc::channel(INBOX);
            *lease.conversation.inbox.current.lock() = Some(sender);
            lease.inbox = Some(inbox);
        }
        Ok(lease)
    }

    /// Whether log messages about the call may come after its answer: on another stream than that.
    pub(super) fn may_log_late(&self) -> bool {
        matches!(*self.conversation.link, Link::Http(_))
            && self.cluster.pool.logs_elsewhere.load(Ordering::Relaxed)
    }

    /// Tells the server from which level on the call wants logs. The conversation is this call's alone.
    pub(super) async fn set_level(&self, level: &str) {
        let conversation = &self.conversation;
        let told = conversation.level.lock().as_deref() == Some(level);
        if told || !conversation.handshake.offers(&["logging"]) {
            return;
        }
        // Servers may send logs outside any call's stream.
        listen(&conversation.link, Arc::clone(&conversation.inbox) as Arc<dyn Owner>).await;
        let Ok(request) = own_request("logging/setLevel", &json!({ "level": level })) else { return };
        match conversation.link.ask(&request, HeaderMap::new()).await {
            Ok(_) => *conversation.level.lock() = Some(level.into()),
            Err(error) => tracing::debug!(backend = %self.cluster.name, ?error, "log level not taken"),
        }
    }

    pub(super) fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// Gives the conversation back after a call that came to its end.
    pub(super) fn give_back(mut self) {
        self.is_clean = true;
    }
}

/// A call that was left: what its server may still say could be taken for another call's, so a conversation of its own
/// ends with it.
impl Drop for Lease {
    fn drop(&mut self) {
        if !self.exclusive {
            return;
        }
        *self.conversation.inbox.current.lock() = None;
        let conversation = Arc::clone(&self.conversation);
        refuse_rest(&conversation, self.inbox.take());
        // What is not kept ends here.
        if self.is_clean {
            drop(self.cluster.pool.keep(self.key.clone(), conversation));
            self.cluster.pool.freed.notify_one();
        }
    }
}

/// Tells the server that nobody answers what it asked after the end of the call.
fn refuse_rest(conversation: &Conversation, inbox: Option<mpsc::Receiver<Frame>>) {
    let Some(mut inbox) = inbox else { return };
    inbox.close();
    let mut replies = Vec::new();
    while let Ok(frame) = inbox.try_recv() {
        conversation.inbox.metrics.lost(to_legacy::stray(&frame));
        replies.extend(frame.raw_id().map(outside_call));
    }
    if !replies.is_empty() {
        super::call::tell(Arc::clone(&conversation.link), replies);
    }
}

/// A conversation for one call alone. While there is no room for another, whoever gives one back is waited for.
async fn own(cluster: &Arc<Cluster>, key: &Key) -> Result<Arc<Conversation>, Refusal> {
    let deadline = tokio::time::Instant::now() + cluster.config.request_timeout.min(ROOM);
    loop {
        let freed = cluster.pool.freed.notified();
        if let Some(conversation) = cluster.pool.take_idle(key) {
            return Ok(conversation);
        }
        match open(cluster, key).await {
            Err(refusal) if refusal.reason == Reason::BackendBusy => {
                let waited = tokio::time::timeout_at(deadline, freed).await;
                waited.map_err(|_| refusal)?;
            }
            opened => return opened,
        }
    }
}

async fn open(cluster: &Arc<Cluster>, key: &Key) -> Result<Arc<Conversation>, Refusal> {
    let hello = Hello {
        capabilities: key.capabilities.clone(),
        client_info: key.client_info.clone(),
        ..Hello::gateway()
    };
    let inbox = Arc::new(Inbox {
        backend: Arc::clone(&cluster.name),
        metrics: cluster.metrics().clone(),
        logs_elsewhere: Arc::clone(&cluster.pool.logs_elsewhere),
        current: Mutex::default(),
    });
    let owner = Arc::clone(&inbox) as Arc<dyn Owner>;
    let (link, handshake) = cluster.open_native_legacy(&hello, owner).await?;
    Ok(Arc::new(Conversation { link, handshake, inbox, level: Mutex::default() }))
}

impl Pool {
    fn take_idle(&self, key: &Key) -> Option<Arc<Conversation>> {
        let mut idle = self.idle.lock();
        idle.retain(|idle| idle.conversation.is_open());
        let at = idle.iter().rposition(|idle| idle.key == *key)?;
        Some(idle.remove(at).conversation)
    }

    /// Takes out the conversation that has been idle the longest, to be closed.
    pub(crate) fn evict(&self) -> Option<Arc<Link>> {
        let mut idle = self.idle.lock();
        (!idle.is_empty()).then(|| Arc::clone(&idle.remove(0).conversation.link))
    }

    /// Keeps a conversation for the next call of its kind; gives back what is too much.
    fn keep(&self, key: Key, conversation: Arc<Conversation>) -> Option<Arc<Conversation>> {
        let mut idle = self.idle.lock();
        if conversation.is_open() {
            idle.push(Idle { key, since: Instant::now(), conversation });
        }
        (idle.len() > MAX_IDLE).then(|| idle.remove(0).conversation)
    }

    fn slot(&self, key: &Key) -> Result<Arc<LinkSlot<Arc<Conversation>>>, Refusal> {
        let mut shared = self.shared.lock();
        let now = Instant::now();
        if shared.len() >= MAX_SHARED && !shared.contains_key(key) {
            let unused = shared.iter().filter(|(_, shared)| !shared.is_in_use());
            let Some(oldest) = unused.min_by_key(|(_, shared)| shared.used).map(|(key, _)| key.clone())
            else {
                let text = "too many kinds of clients use this backend at once; send the request again later";
                return Err(Refusal::new(Reason::Exhausted, text));
            };
            // Its conversation ends with it.
            shared.remove(&oldest);
        }
        let entry = shared.entry(key.clone()).or_insert_with(|| Shared { slot: Arc::default(), used: now });
        entry.used = now;
        Ok(Arc::clone(&entry.slot))
    }

    /// Ends conversations that no call has used for a while.
    pub(crate) fn sweep(&self, now: Instant) {
        let is_over = |since: Instant| now.saturating_duration_since(since) > IDLE;
        let mut ended: Vec<_> = {
            let mut idle = self.idle.lock();
            idle.extract_if(.., |idle| is_over(idle.since)).map(|idle| idle.conversation).collect()
        };
        let mut shared = self.shared.lock();
        shared.retain(|_, shared| {
            let keep = shared.is_in_use() || !is_over(shared.used);
            if !keep {
                ended.extend(shared.slot.take());
            }
            keep
        });
        drop(shared);
        // Outside of the locks: ending a conversation does work.
        drop(ended);
    }

    /// Ends all conversations, those of calls in flight with their calls.
    pub(crate) fn clear(&self) {
        let idle: Vec<_> = self.idle.lock().drain(..).collect();
        let shared: Vec<_> = self.shared.lock().drain().collect();
        drop((idle, shared));
    }
}

/// What a server says that names no call: it is about the one call that has the conversation to itself, or about none.
struct Inbox {
    backend: Arc<str>,
    metrics: GatewayMetrics,
    logs_elsewhere: Arc<AtomicBool>,
    current: Mutex<Option<mpsc::Sender<Frame>>>,
}

impl Inbox {
    fn deliver(&self, frame: Frame) -> bool {
        let current = self.current.lock().clone();
        current.is_some_and(|call| call.try_send(frame).is_ok())
    }
}

impl Owner for Inbox {
    fn notice(&self, frame: Frame) {
        let (method, lost) = (frame.method(), to_legacy::stray(&frame));
        if method == Method::Message {
            self.logs_elsewhere.store(true, Ordering::Relaxed);
        }
        let is_heard = match method {
            Method::Message | Method::Cancelled => self.deliver(frame),
            // Between two calls it is most likely everybody's, and then the catalogue has heard it, too.
            Method::ToolsListChanged | Method::PromptsListChanged | Method::ResourcesListChanged => {
                self.current.lock().is_none()
            }
            _ => false,
        };
        if !is_heard {
            self.metrics.lost(lost);
            tracing::debug!(backend = %self.backend, method = method.as_str(), "message for no call");
        }
    }

    fn request(&self, frame: Frame, _: bool) -> Taken {
        let lost = to_legacy::stray(&frame);
        if self.deliver(frame) {
            return Taken::Yes;
        }
        self.metrics.lost(lost);
        Taken::Outside
    }
}
