//! Calls of modern clients that wait, at a legacy server, for an answer of their client. Changes when such calls are kept
//! or bounded differently.
//!
//! ```text
//! park ──▶ waiting ──take (the client repeats the request)──▶ running again
//!             └──expire──▶ dropped, which cancels the call upstream and answers what its server asked
//! ```

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use bridge_mcp::frame::Frame;
use bridge_policy::principal::Principal;
use bridge_policy::refusal::{Reason, Refusal};
use bridge_runtime::drain::InFlight;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::call::ToLegacyCall;
use super::handle::{Handle, HandleKey, Kind, Opened, principal_digest};

/// Bounds on what waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ParkedLimits {
    /// How long a call waits for its client.
    pub(crate) ttl: Duration,
    /// Of all calls.
    pub(crate) all: Bound,
    /// Of one principal's calls.
    pub(crate) of_one: Bound,
}

/// A bound on calls, or how much of it is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Bound {
    pub(crate) calls: usize,
    /// Of the messages that calls hold: the request twice, as it came and as it was sent, and what the server asks.
    pub(crate) bytes: usize,
}

impl Bound {
    /// Whether one more call of `bytes` fits into `limit`.
    fn has_room(self, bytes: usize, limit: Self) -> bool {
        self.calls < limit.calls && self.bytes.saturating_add(bytes) <= limit.bytes
    }

    fn add(&mut self, bytes: usize) {
        self.calls += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }

    fn subtract(&mut self, bytes: usize) {
        self.calls = self.calls.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// Whose request is parked, and which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) principal: Principal,
    pub(super) backend: Arc<str>,
    /// Digest of method and params.
    pub(super) request: [u8; 32],
}

impl Claim {
    /// A digest of the backend and the request.
    fn digest(&self) -> [u8; 32] {
        // Of fixed length first, so that no two pairs read the same.
        Sha256::new().chain_update(self.request).chain_update(&*self.backend).finalize().into()
    }
}

/// All parked calls of this process.
pub(crate) struct Parked {
    key: HandleKey,
    next: AtomicU64,
    waiting: Mutex<Waiting<Kept>>,
}

struct Kept {
    call: Box<ToLegacyCall>,
    /// Until its drop.
    _held: Held,
}

/// A parked call as those see it that wait for calls before they end: a gateway that stops, and the client's connection.
pub(super) struct Held {
    _in_flight: InFlight,
    _connection: Option<TaskTrackerToken>,
}

impl Held {
    pub(super) fn new(in_flight: InFlight, connection: Option<&TaskTracker>) -> Self {
        Self { _in_flight: in_flight, _connection: connection.map(TaskTracker::token) }
    }
}

/// What waits. `C` is a call.
struct Waiting<C> {
    calls: HashMap<u64, Entry<C>>,
    used: Bound,
    by_principal: HashMap<Principal, Bound>,
}

struct Entry<C> {
    claim: Claim,
    expires: Instant,
    bytes: usize,
    call: C,
}

/// What a retry continues.
pub(super) enum Taken {
    /// The call that waited.
    Call(Box<ToLegacyCall>),
    /// The call is to be made again after this many URLs were visited.
    Again { urls: usize },
}

/// A number for a wait to come, and the handle for the client.
pub(super) struct Ticket {
    wait: u64,
    pub(super) handle: String,
}

impl Parked {
    pub(crate) fn new(key: HandleKey) -> Self {
        Self { key, next: AtomicU64::new(1), waiting: Mutex::default() }
    }

    /// A handle for the next wait of a call.
    pub(super) fn ticket(&self, claim: &Claim, kind: Kind, ttl: Duration) -> Result<Ticket, Refusal> {
        let wait = self.next.fetch_add(1, Ordering::Relaxed);
        let handle = Handle {
            kind,
            wait,
            expires: SystemTime::now() + ttl,
            principal: principal_digest(&claim.principal),
            request: claim.digest(),
        };
        let handle = self.key.seal(&handle).map_err(|_| {
            Refusal::new(Reason::Exhausted, "the gateway cannot seal the state of this call now")
        })?;
        Ok(Ticket { wait, handle })
    }

    /// Keeps a call until it is taken or expires. The call comes back when there is no room.
    pub(super) fn park(
        &self,
        ticket: &Ticket,
        claim: Claim,
        call: Box<ToLegacyCall>,
        limits: ParkedLimits,
        held: Held,
    ) -> Result<(), Box<ToLegacyCall>> {
        let (bytes, expires) = (call.size(), Instant::now() + limits.ttl);
        let entry = Entry { claim, expires, bytes, call: Kept { call, _held: held } };
        self.waiting.lock().insert(ticket.wait, entry, limits).map_err(|refused| refused.call.call)
    }

    /// Takes the call that `handle` names. Each handle is good for one retry of one request by one principal.
    pub(super) fn take(&self, handle: &str, claim: &Claim) -> Result<Taken, Refusal> {
        let expired = || {
            let text =
                "this call does not wait any more: it was answered, it expired, or the gateway was restarted";
            Refusal::new(Reason::CallExpired, text)
        };
        let handle = match self.key.open(handle) {
            Opened::Handle(handle) => handle,
            Opened::Foreign => return Err(expired()),
            Opened::Bad => {
                let text = "`requestState` is not one that this gateway gave out";
                return Err(Refusal::new(Reason::BadRequestState, text));
            }
        };
        // One answer for every mismatch: a stolen handle teaches nothing.
        if handle.principal != principal_digest(&claim.principal) || handle.request != claim.digest() {
            let text = "`requestState` belongs to another request; repeat method and params unchanged";
            return Err(Refusal::new(Reason::BadRequestState, text));
        }
        if let Kind::Again { urls } = handle.kind {
            if SystemTime::now() > handle.expires {
                let text = "`requestState` has expired; send the request anew, without it";
                return Err(Refusal::new(Reason::BadRequestState, text));
            }
            return Ok(Taken::Again { urls: usize::from(urls) });
        }
        let mut waiting = self.waiting.lock();
        let is_here = waiting.calls.get(&handle.wait).is_some_and(|entry| entry.claim == *claim);
        let entry = is_here.then(|| waiting.remove(handle.wait)).flatten();
        entry.map(|entry| Taken::Call(entry.call.call)).ok_or_else(expired)
    }

    /// Whether a request continues what this process keeps, whatever its backend was found to speak meanwhile.
    pub(crate) fn holds(&self, request: &Frame) -> bool {
        self.handle_in(request).is_some()
    }

    /// Whether a request continues a call that was begun here, and so can be continued nowhere else.
    pub(crate) fn is_continued_by(&self, request: &Frame) -> bool {
        self.handle_in(request).is_some_and(|handle| handle.kind == Kind::Waiting)
    }

    fn handle_in(&self, request: &Frame) -> Option<Handle> {
        let state = request.envelope().params.as_ref().and_then(|params| params.members.request_state);
        match self.key.open(&request.text(state)?) {
            Opened::Handle(handle) => Some(handle),
            Opened::Foreign | Opened::Bad => None,
        }
    }

    /// Drops the calls whose time is over; returns how many.
    pub(crate) fn sweep(&self, now: Instant) -> usize {
        let expired = self.waiting.lock().expire(now);
        // Outside of the lock: dropping a call does work.
        expired.len()
    }

    /// Drops all calls, for the end of the process.
    pub(crate) fn clear(&self) {
        let all = std::mem::take(&mut *self.waiting.lock());
        drop(all);
    }

    /// What the calls that wait use of their bounds.
    pub(crate) fn used(&self) -> Bound {
        self.waiting.lock().used
    }
}

impl<C> Default for Waiting<C> {
    fn default() -> Self {
        Self { calls: HashMap::new(), used: Bound::default(), by_principal: HashMap::new() }
    }
}

impl<C> Waiting<C> {
    /// Adds a call, or gives it back when there is no room.
    fn insert(&mut self, wait: u64, entry: Entry<C>, limits: ParkedLimits) -> Result<(), Entry<C>> {
        let mut own = self.by_principal.get(&entry.claim.principal).copied().unwrap_or_default();
        if !self.used.has_room(entry.bytes, limits.all) || !own.has_room(entry.bytes, limits.of_one) {
            return Err(entry);
        }
        self.used.add(entry.bytes);
        own.add(entry.bytes);
        self.by_principal.insert(entry.claim.principal.clone(), own);
        self.calls.insert(wait, entry);
        Ok(())
    }

    fn remove(&mut self, wait: u64) -> Option<Entry<C>> {
        let entry = self.calls.remove(&wait)?;
        self.used.subtract(entry.bytes);
        if let Some(own) = self.by_principal.get_mut(&entry.claim.principal) {
            own.subtract(entry.bytes);
            if own.calls == 0 {
                self.by_principal.remove(&entry.claim.principal);
            }
        }
        Some(entry)
    }

    /// Takes out the calls whose time is over.
    fn expire(&mut self, now: Instant) -> Vec<Entry<C>> {
        let over = self.calls.iter().filter(|(_, entry)| entry.expires <= now);
        let over: Vec<_> = over.map(|(wait, _)| *wait).collect();
        over.into_iter().filter_map(|wait| self.remove(wait)).collect()
    }
}

#[cfg(test)]
mod tests;
