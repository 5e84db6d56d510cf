//! Event streams towards a legacy client, each with a bounded log from which it can be resumed.
//!
//! Changes when resumption changes. Source: MCP 2025-11-25 "Streamable HTTP: resumability and redelivery". Each event is
//! appended before it is written to a socket; a stream has at most one reader, and a newer reader takes it over.
//!
//! ```text
//! open ──append*──▶ open ──end──▶ ended (kept for a while for clients that lost the tail)
//!   └──pause──▶ open, without reader (the client polls)
//! ```

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use bridge_transport::frontend::events::{EventSource, StreamEvent};
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// How much is kept of a session's streams.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogBounds {
    /// Events of one stream.
    pub(crate) events: usize,
    /// Bytes of one stream.
    pub(crate) bytes: usize,
    /// Streams that have ended, for a client that lost the tail.
    pub(crate) ended: usize,
}

impl LogBounds {
    /// Ended streams of a client that may come back.
    pub(crate) const ENDED: usize = 8;
}

/// All streams of one session.
pub(crate) struct Streams {
    bounds: LogBounds,
    standalone: Arc<StreamLog>,
    next: AtomicU32,
    calls: Mutex<VecDeque<Arc<StreamLog>>>,
}

impl Streams {
    pub(crate) fn new(bounds: LogBounds) -> Self {
        Self {
            bounds,
            standalone: Arc::new(StreamLog::new(0, bounds)),
            next: AtomicU32::new(1),
            calls: Mutex::default(),
        }
    }

    /// The stream that belongs to no call.
    pub(crate) fn standalone(&self) -> &Arc<StreamLog> {
        &self.standalone
    }

    /// A stream for one call.
    pub(crate) fn open(&self) -> Arc<StreamLog> {
        let log = Arc::new(StreamLog::new(self.next.fetch_add(1, Ordering::Relaxed), self.bounds));
        let mut calls = self.calls.lock();
        let mut ended = calls.iter().filter(|log| log.state.lock().ended.is_some()).count();
        calls.retain(|log| {
            let keep = ended < self.bounds.ended || log.state.lock().ended.is_none();
            // One may have ended since they were counted.
            ended = ended.saturating_sub(usize::from(!keep));
            keep
        });
        calls.push_back(Arc::clone(&log));
        log
    }

    /// The stream and position that a `Last-Event-ID` names. An event that was never written was read by nobody.
    pub(crate) fn find(&self, event_id: &str) -> Option<(Arc<StreamLog>, u64)> {
        let (number, after) = event_id.split_once('-')?;
        let (number, after) = (number.parse::<u32>().ok()?, after.parse::<u64>().ok()?);
        let log = if number == 0 {
            Arc::clone(&self.standalone)
        } else {
            Arc::clone(self.calls.lock().iter().find(|log| log.number == number)?)
        };
        let written = log.state.lock().last;
        (after <= written).then_some((log, after))
    }

    /// Whether the client reads any stream now.
    pub(crate) fn has_reader(&self) -> bool {
        self.standalone.has_reader() || self.calls.lock().iter().any(|log| log.has_reader())
    }

    /// A stream that the client reads, when it does not read `log` and may not come back for it.
    pub(crate) fn read_instead_of(&self, log: &StreamLog) -> Option<Arc<StreamLog>> {
        if log.has_reader() {
            return None;
        }
        if self.standalone.has_reader() {
            return Some(Arc::clone(&self.standalone));
        }
        self.calls.lock().iter().rev().find(|log| log.has_reader()).map(Arc::clone)
    }

    /// Drops streams that ended before `before`.
    pub(crate) fn expire(&self, before: Instant) {
        self.calls.lock().retain(|log| log.state.lock().ended.is_none_or(|ended| ended > before));
    }
}

/// One stream's events.
pub(crate) struct StreamLog {
    number: u32,
    bounds: LogBounds,
    state: Mutex<State>,
    /// Something was appended, or the stream changed hands or ended.
    wake: Notify,
    /// The reader has read, or has left.
    read: Notify,
}

#[derive(Default)]
struct State {
    events: VecDeque<(u64, Bytes)>,
    size: usize,
    /// Number of the last event; the first is 1, and 0 stands for the priming event.
    last: u64,
    /// Number of the last event that a reader was given.
    given: u64,
    /// When nothing more could follow.
    ended: Option<Instant>,
    /// Which reader is the current one; 0 when there is none.
    reader: u64,
    readers: u64,
    retry_ms: Option<u64>,
}

impl State {
    fn has_room(&self, bounds: LogBounds) -> bool {
        if self.reader == 0 || self.ended.is_some() {
            return true;
        }
        let unread = self.events.iter().rev().take_while(|(number, _)| *number > self.given);
        let (events, bytes) =
            unread.fold((0, 0), |(events, bytes), (_, event)| (events + 1, bytes + event.len()));
        events <= bounds.events / 2 && bytes <= bounds.bytes / 2
    }
}

impl StreamLog {
    fn new(number: u32, bounds: LogBounds) -> Self {
        Self { number, bounds, state: Mutex::default(), wake: Notify::new(), read: Notify::new() }
    }

    /// Adds an event. The oldest go when a bound is passed.
    pub(crate) fn append(&self, message: Bytes) {
        let mut state = self.state.lock();
        if state.ended.is_some() {
            return;
        }
        state.last += 1;
        state.size += message.len();
        let number = state.last;
        state.events.push_back((number, message));
        while state.events.len() > 1
            && (state.events.len() > self.bounds.events || state.size > self.bounds.bytes)
        {
            let Some((number, dropped)) = state.events.pop_front() else { break };
            state.size -= dropped.len();
            if number > state.given {
                tracing::warn!("an event that no client has read was dropped: the stream's log is full");
            }
        }
        drop(state);
        self.wake.notify_waiters();
    }

    /// Waits until the reader has caught up to half of the bounds, so that a slow client slows its own call down instead
    /// of losing events. Without a reader there is nobody to wait for.
    pub(crate) async fn room(&self) {
        loop {
            let read = self.read.notified();
            tokio::pin!(read);
            read.as_mut().enable();
            if self.state.lock().has_room(self.bounds) {
                return;
            }
            read.await;
        }
    }

    /// Whether an event is waiting that no reader was given and that equals `message`.
    pub(crate) fn has_unread(&self, message: &Bytes) -> bool {
        let state = self.state.lock();
        state.events.iter().any(|(number, event)| *number > state.given && event == message)
    }

    /// Nothing follows; the reader ends when it has read the rest.
    pub(crate) fn end(&self) {
        self.state.lock().ended.get_or_insert_with(Instant::now);
        self.wake.notify_waiters();
        self.read.notify_waiters();
    }

    /// Sends the reader away, to come back after `retry_ms`.
    pub(crate) fn pause(&self, retry_ms: u64) {
        let mut state = self.state.lock();
        state.retry_ms = Some(retry_ms);
        drop(state);
        self.wake.notify_waiters();
    }

    pub(super) fn has_reader(&self) -> bool {
        let state = self.state.lock();
        state.reader != 0 && state.ended.is_none()
    }

    /// A reader of the events after `after`, or of those that no reader was given. A priming event comes first when
    /// `primed`.
    pub(crate) fn reader(self: &Arc<Self>, after: Option<u64>, primed: bool) -> LogReader {
        let mut state = self.state.lock();
        state.readers += 1;
        state.reader = state.readers;
        state.retry_ms = None;
        let position = after.unwrap_or(state.given);
        let reader = LogReader {
            log: Arc::clone(self),
            reader: state.reader,
            position,
            prime: primed.then_some(position),
            done: false,
        };
        drop(state);
        self.wake.notify_waiters();
        reader
    }
}

/// The one reader of a stream.
pub(crate) struct LogReader {
    log: Arc<StreamLog>,
    reader: u64,
    position: u64,
    prime: Option<u64>,
    done: bool,
}

impl LogReader {
    fn event_id(&self, number: u64) -> String {
        format!("{}-{number}", self.log.number)
    }

    /// What can be written now; `Err` when the stream is over for this reader.
    fn take(&mut self) -> Result<Option<StreamEvent>, ()> {
        let mut state = self.log.state.lock();
        if self.done || state.reader != self.reader {
            return Err(());
        }
        if let Some(position) = self.prime.take() {
            return Ok(Some(StreamEvent::Primer { id: self.event_id(position) }));
        }
        let unread = state.events.partition_point(|(number, _)| *number <= self.position);
        if let Some((number, data)) = state.events.get(unread) {
            self.position = *number;
            let event = StreamEvent::Message { id: Some(self.event_id(*number)), data: data.clone() };
            state.given = state.given.max(self.position);
            self.log.read.notify_waiters();
            return Ok(Some(event));
        }
        let retry_ms = state.retry_ms.take();
        if retry_ms.is_none() && state.ended.is_none() {
            return Ok(None);
        }
        self.done = true;
        state.reader = 0;
        self.log.read.notify_waiters();
        retry_ms.map(|retry_ms| Some(StreamEvent::Retry(retry_ms))).ok_or(())
    }
}

impl EventSource for LogReader {
    async fn next(&mut self) -> Option<StreamEvent> {
        let log = Arc::clone(&self.log);
        loop {
            let notified = log.wake.notified();
            tokio::pin!(notified);
            // Before looking, so that an event appended in between is not missed.
            notified.as_mut().enable();
            match self.take() {
                Ok(Some(event)) => return Some(event),
                Ok(None) => notified.await,
                Err(()) => return None,
            }
        }
    }
}

impl Drop for LogReader {
    fn drop(&mut self) {
        let mut state = self.log.state.lock();
        if state.reader == self.reader {
            state.reader = 0;
            self.log.read.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests;
