//! The stream to an operator, opened again whenever it ends. Changes when a lost stream is treated differently.
//!
//! ```text
//! resting ──time──▶ dialing ──open──▶ open ──lost, left──▶ resting
//!    ▲                 │ failed
//!    └─────────────────┘ growing delays
//! ```

use std::time::{Duration, Instant};

use bridge_policy::backoff::{Backoff, Schedule};
use bridge_runtime::tasks;
use bridge_snapshot::push::{FromPod, ToPod};
use bridge_transport::backend::websocket::Io;
use bridge_transport::websocket::{Closing, Reader, SocketError, Writer, close};
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::dial::{DialError, Dialer};

/// How operators are tried again. A thousand pods come back within the longest delay.
const RETRY: Schedule = Schedule {
    first: Duration::from_millis(500),
    max: Duration::from_secs(15),
    stable_after: Duration::from_secs(30),
};
/// No operator can send a pod away for longer.
const LONGEST_ABSENCE: Duration = Duration::from_mins(1);
/// Messages that wait for the operator: the state machine has at most one answer of each kind and one report on their way.
const OUTBOUND: usize = 16;
/// Messages that wait for this pod: the operator sends one change, and one message about other pods, at a time.
const INBOUND: usize = 4;

/// What happened.
#[derive(Debug)]
pub(super) enum Event {
    /// A stream is open. Its number is never used again.
    Opened(u64),
    /// A message has come on it.
    Message(u64, ToPod),
    /// It has ended.
    Lost(u64),
    /// No stream could be opened.
    Failed,
}

/// The stream, or the way to it.
pub(super) struct Link {
    dialer: Dialer,
    backoff: Backoff,
    random: fn() -> u64,
    opened: u64,
    state: State,
}

enum State {
    Resting(Instant),
    Dialing(JoinHandle<Result<Open, DialError>>),
    Open(Open),
}

/// An open stream, moved by a task of its own.
struct Open {
    outbound: mpsc::Sender<FromPod>,
    inbound: mpsc::Receiver<ToPod>,
    task: JoinHandle<()>,
}

impl Link {
    /// The first attempt begins at once.
    pub(super) fn new(dialer: Dialer, random: fn() -> u64, now: Instant) -> Self {
        Self { dialer, backoff: Backoff::new(RETRY), random, opened: 0, state: State::Resting(now) }
    }

    /// Whether a stream is open.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// Whether every operator has failed since the last stream.
    pub(super) fn has_tried_all(&self) -> bool {
        usize::try_from(self.backoff.failures()).is_ok_and(|failures| failures >= self.dialer.count())
    }

    /// Waits for the next event. May be dropped and called again.
    pub(super) async fn next(&mut self) -> Event {
        loop {
            match &mut self.state {
                State::Resting(until) => {
                    tokio::time::sleep_until((*until).into()).await;
                    let dialer = self.dialer.clone();
                    self.state = State::Dialing(tasks::spawn("dial-operator", open(dialer)));
                }
                State::Dialing(dialing) => match dialing.await {
                    Ok(Ok(open)) => {
                        self.opened += 1;
                        self.backoff.succeeded(Instant::now());
                        tracing::info!(operator = self.dialer.operator(), "configuration stream open");
                        self.state = State::Open(open);
                        return Event::Opened(self.opened);
                    }
                    Ok(Err(error)) => {
                        self.rest(&error.to_string());
                        return Event::Failed;
                    }
                    Err(error) => {
                        self.rest(&error.to_string());
                        return Event::Failed;
                    }
                },
                State::Open(open) => {
                    if let Some(message) = open.inbound.recv().await {
                        return Event::Message(self.opened, message);
                    }
                    self.rest("the stream has ended");
                    return Event::Lost(self.opened);
                }
            }
        }
    }

    /// Sends a message. Whoever does not take messages any more is left.
    pub(super) fn send(&mut self, message: FromPod) {
        let State::Open(open) = &self.state else { return };
        if open.outbound.try_send(message).is_err() {
            // The task ends when it has nobody to write for; the end of the stream follows from that.
            let (outbound, _) = mpsc::channel(1);
            if let State::Open(open) = &mut self.state {
                open.outbound = outbound;
            }
        }
    }

    /// Ends the stream; the next one begins after this time, at another operator.
    pub(super) fn leave(&mut self, after: Option<Duration>, why: &str) {
        match after {
            Some(after) => {
                tracing::info!(operator = self.dialer.operator(), ?after, why, "configuration stream left");
                self.dialer.pass_on();
                self.state = State::Resting(Instant::now() + after.min(LONGEST_ABSENCE));
            }
            None => self.rest(why),
        }
    }

    /// Ends the stream for good, after everything that was sent is written, or `patience` is over.
    pub(super) async fn end(self, patience: Duration) {
        if let State::Open(Open { outbound, mut inbound, task }) = self.state {
            drop(outbound);
            inbound.close();
            drop(tokio::time::timeout(patience, task).await);
        }
    }

    fn rest(&mut self, why: &str) {
        let now = Instant::now();
        let after = self.backoff.failed(now, (self.random)());
        tracing::warn!(operator = self.dialer.operator(), error = why, retry = ?after, "no configuration stream");
        self.dialer.pass_on();
        self.state = State::Resting(now + after);
    }
}

async fn open(dialer: Dialer) -> Result<Open, DialError> {
    let (mut reader, mut writer) = dialer.open().await?;
    let (outbound, mut messages_out) = mpsc::channel(OUTBOUND);
    let (messages_in, inbound) = mpsc::channel(INBOUND);
    let task = tasks::spawn("configuration-stream", async move {
        let ended = tokio::select! {
            read = read(&mut reader, messages_in) => read,
            written = write(&mut writer, &mut messages_out) => written,
        };
        match ended {
            Ok(closing) => close(reader, writer, closing, "").await,
            Err(error) => {
                tracing::warn!(%error, "configuration stream lost");
                close(reader, writer, error.closing(), "").await;
            }
        }
    });
    Ok(Open { outbound, inbound, task })
}

/// Takes messages until the operator closes, or says what nobody understands.
async fn read(reader: &mut Reader<Io>, inbound: mpsc::Sender<ToPod>) -> Result<Closing, SocketError> {
    while let Some(text) = reader.next().await? {
        // Text messages are UTF-8, which the socket has checked.
        let message = std::str::from_utf8(&text).ok().map(ToPod::from_json);
        let Some(Ok(message)) = message else {
            // The error of the decoder may quote a secret.
            tracing::error!(bytes = text.len(), "the operator sent a message that cannot be read");
            return Ok(Closing::Protocol);
        };
        if inbound.send(message).await.is_err() {
            // Nobody reads, but what was sent is still to be written.
            std::future::pending::<()>().await;
        }
    }
    Ok(Closing::Normal)
}

/// Sends what comes, and pings in between.
async fn write(
    writer: &mut Writer<Io>,
    outbound: &mut mpsc::Receiver<FromPod>,
) -> Result<Closing, SocketError> {
    loop {
        let message = tokio::select! {
            biased;
            message = outbound.recv() => message,
            beat = writer.beat() => {
                beat?;
                continue;
            }
        };
        let Some(message) = message else { return Ok(Closing::Normal) };
        match message.to_json() {
            Ok(text) => writer.feed(Bytes::from(text)).await?,
            Err(error) => tracing::error!(%error, "a message cannot be encoded"),
        }
        writer.flush().await?;
    }
}
