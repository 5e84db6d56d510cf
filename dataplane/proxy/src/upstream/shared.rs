//! One process that all clients of a backend share: each has a seat, and hears of it what is for everybody or names what
//! it watches. Changes when clients share more, or less.
//!
//! A message that names no call could be about anybody's. So the process is told of no client's abilities, what it asks
//! nevertheless is refused, and what it logs is shown to nobody.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bridge_mcp::error::{code, error_response, raw_response, result_response};
use bridge_mcp::frame::Frame;
use bridge_mcp::limits::Limits;
use bridge_mcp::method::Method;
use bridge_policy::principal::Principal;
use bridge_policy::refusal::{Reason, Refusal};
use bridge_runtime::tasks;
use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::handshake::with_raw_member;
use super::{
    Answer, Channel, Handshake, Link, OnLeave, Owner, Taken, UpstreamError, ask_on, own_request, request_on,
    unsent,
};

/// How long the process may take to begin or end watching a resource; others wait for their turn meanwhile.
const ASK: Duration = Duration::from_secs(30);

/// The conversation with the process.
pub(crate) struct Room {
    limits: Limits,
    link: Arc<Link>,
    handshake: Handshake,
    guests: Arc<Guests>,
    /// How many watch each resource. Locked while the process is asked about one.
    watched: tokio::sync::Mutex<HashMap<Box<str>, usize>>,
}

/// Who has a seat; the owner of the conversation.
#[derive(Default)]
pub(crate) struct Guests {
    seated: Mutex<HashMap<u64, Guest>>,
    next: AtomicU64,
}

struct Guest {
    owner: Arc<dyn Owner>,
    watches: HashSet<Box<str>>,
}

/// One client's part in the conversation. It ends when it is dropped, and the conversation goes on.
pub(crate) struct Seat {
    room: Arc<Room>,
    number: u64,
    stop: CancellationToken,
}

impl Room {
    /// `link` is open, and its owner is `guests`.
    pub(crate) fn new(limits: Limits, link: Arc<Link>, handshake: Handshake, guests: Arc<Guests>) -> Self {
        let handshake = without_logs(handshake);
        Self { limits, link, handshake, guests, watched: tokio::sync::Mutex::default() }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.link.is_open()
    }

    /// A seat for whoever `owner` stands for.
    pub(crate) fn seat(self: &Arc<Self>, owner: Arc<dyn Owner>) -> (Arc<Link>, Handshake) {
        let number = self.guests.next.fetch_add(1, Ordering::Relaxed);
        self.guests.seated.lock().insert(number, Guest { owner, watches: HashSet::new() });
        let seat = Seat { room: Arc::clone(self), number, stop: self.link.closed().child_token() };
        (Arc::new(Link::Shared(seat)), self.handshake.clone())
    }

    async fn ask(&self, method: &str, uri: &str) -> Result<Frame, UpstreamError> {
        let request = own_request(method, &json!({ "uri": uri }))?;
        let channel = self.channel()?;
        match tokio::time::timeout(ASK, ask_on(channel, &request)).await {
            Ok(answer) => answer.map_err(unsent),
            Err(_) => {
                let text = format!("it did not answer `{method}` within {ASK:?}");
                Err(Refusal::backend(Reason::BackendTimeout, channel.backend(), text).into())
            }
        }
    }

    fn channel(&self) -> Result<&Channel, UpstreamError> {
        match &*self.link {
            Link::Channel(channel) => Ok(channel),
            _ => Err(Refusal::new(Reason::BackendProtocol, "a process has a stream of bytes").into()),
        }
    }

    /// One watcher less of `uri`.
    async fn release(&self, uri: &str) {
        let mut watched = self.watched.lock().await;
        let Some(count) = watched.get_mut(uri) else { return };
        *count -= 1;
        if *count == 0 {
            watched.remove(uri);
            if let Err(error) = self.ask("resources/unsubscribe", uri).await {
                tracing::debug!(?error, "not unsubscribed");
            }
        }
    }
}

impl Seat {
    /// Sends a request. Erased: what requests are made of is nested deeply enough.
    pub(crate) fn request<'a>(
        &'a self,
        asker: Option<&'a Principal>,
        frame: &'a Frame,
    ) -> Pin<Box<dyn Future<Output = Result<Answer, UpstreamError>> + Send + 'a>> {
        Box::pin(self.request_now(asker, frame))
    }

    async fn request_now(&self, asker: Option<&Principal>, frame: &Frame) -> Result<Answer, UpstreamError> {
        match self.answer(frame).await? {
            Some(bytes) => Ok(Answer::Whole { status: 200, bytes }),
            // Whoever cancels drops the call: its id may be another client's, too, so the process knows it by a number.
            None => request_on(self.room.channel()?, frame, OnLeave::Cancel, asker).await,
        }
    }

    /// Asks on the gateway's own behalf.
    pub(crate) async fn ask(&self, frame: &Frame) -> Result<Frame, UpstreamError> {
        match self.answer(frame).await? {
            Some(bytes) => Frame::parse(bytes, &self.room.limits)
                .map_err(|error| Refusal::new(Reason::BadMessage, error.to_string()).into()),
            None => ask_on(self.room.channel()?, frame).await.map_err(unsent),
        }
    }

    /// The answer to a request about what the guests have in common.
    async fn answer(&self, frame: &Frame) -> Result<Option<Bytes>, UpstreamError> {
        let id = frame.raw_id().unwrap_or(b"null");
        let refused = |code, text| Ok(Some(error_response(Some(id), code, text, None)));
        match frame.method() {
            Method::SetLevel => {
                refused(code::METHOD_NOT_FOUND, "all clients share this server, so none sees what it logs")
            }
            Method::ResourcesSubscribe => match frame.target() {
                Some(uri) => self.watch(id, &uri).await.map(Some),
                None => refused(code::INVALID_PARAMS, "`params.uri` must be a string"),
            },
            Method::ResourcesUnsubscribe => {
                if let Some(uri) = frame.target()
                    && self.room.guests.forget(self.number, &uri)
                {
                    self.room.release(&uri).await;
                }
                Ok(Some(result_response(id, b"{}")))
            }
            _ => Ok(None),
        }
    }

    /// Watches a resource; the process is asked for the first who does.
    async fn watch(&self, id: &[u8], uri: &str) -> Result<Bytes, UpstreamError> {
        let mut watched = self.room.watched.lock().await;
        match watched.entry(uri.into()) {
            Entry::Occupied(mut count) => {
                if self.room.guests.note(self.number, uri) {
                    *count.get_mut() += 1;
                }
            }
            Entry::Vacant(first) => {
                let answer = self.room.ask("resources/subscribe", uri).await?;
                if let Some(error) = answer.raw(answer.envelope().error) {
                    return Ok(raw_response(id, "error", error));
                }
                if self.room.guests.note(self.number, uri) {
                    first.insert(1);
                }
            }
        }
        Ok(result_response(id, b"{}"))
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.stop.is_cancelled() && self.room.is_open()
    }

    pub(crate) fn closed(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Gives the seat up.
    pub(crate) fn close(&self) {
        self.stop.cancel();
        let guest = self.room.guests.seated.lock().remove(&self.number);
        let watches = guest.map(|guest| guest.watches).unwrap_or_default();
        if !watches.is_empty() && self.room.is_open() {
            let room = Arc::clone(&self.room);
            tasks::spawn("unwatch", async move {
                for uri in watches {
                    room.release(&uri).await;
                }
            });
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.close();
    }
}

impl Guests {
    /// Notes that a guest watches `uri`; `false` when it does already, or has left.
    fn note(&self, number: u64, uri: &str) -> bool {
        self.seated.lock().get_mut(&number).is_some_and(|guest| guest.watches.insert(uri.into()))
    }

    /// The opposite; `false` when it does not.
    fn forget(&self, number: u64, uri: &str) -> bool {
        self.seated.lock().get_mut(&number).is_some_and(|guest| guest.watches.remove(uri))
    }

    fn tell(&self, frame: &Frame, whom: impl Fn(&Guest) -> bool) {
        let seated = self.seated.lock();
        let owners: Vec<_> =
            seated.values().filter(|guest| whom(guest)).map(|guest| Arc::clone(&guest.owner)).collect();
        drop(seated);
        for owner in owners {
            owner.notice(frame.clone());
        }
    }
}

impl Owner for Guests {
    fn notice(&self, frame: Frame) {
        match frame.method() {
            Method::ToolsListChanged | Method::PromptsListChanged | Method::ResourcesListChanged => {
                self.tell(&frame, |_| true);
            }
            Method::ResourcesUpdated => {
                let Some(uri) = frame.target() else { return };
                self.tell(&frame, |guest| guest.watches.iter().any(|watched| is_within(&uri, watched)));
            }
            method => tracing::debug!(method = method.as_str(), "said to nobody: the process is shared"),
        }
    }

    fn request(&self, _: Frame, _: bool) -> Taken {
        Taken::Outside
    }

    fn is_many(&self) -> bool {
        true
    }
}

/// Whether an update of `uri` is for whoever watches `watched`: it may name a part of that (MCP "Resources:
/// subscriptions").
fn is_within(uri: &str, watched: &str) -> bool {
    uri.strip_prefix(watched)
        .is_some_and(|rest| rest.is_empty() || watched.ends_with('/') || rest.starts_with(['/', '?', '#']))
}

/// What the process offers to those who share it.
fn without_logs(handshake: Handshake) -> Handshake {
    let mut capabilities = handshake.capabilities.clone();
    let logs = capabilities.as_object_mut().and_then(|offered| offered.remove("logging"));
    if logs.is_none() {
        return handshake;
    }
    let result = with_raw_member(&handshake.result, "capabilities", capabilities.to_string());
    Handshake { result, capabilities, ..handshake }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_what_is_watched_is_no_neighbour_of_it() {
        for uri in ["file:///a", "file:///a/b", "file:///a?x", "file:///a#x"] {
            assert!(is_within(uri, "file:///a"), "{uri}");
        }
        for uri in ["file:///ab", "file:///", "file:///b/file:///a"] {
            assert!(!is_within(uri, "file:///a"), "{uri}");
        }
        assert!(is_within("file:///a/b", "file:///a/"));
    }
}
