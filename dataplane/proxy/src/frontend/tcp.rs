//! Clients of the original's binary protocol over TCP or TLS, in both dialects. Changes when such clients are served
//! differently.
//!
//! Two machines meet here. [`bridge_mcp::original::connection`] knows the protocol: negotiation, handshake, what is answered
//! and when the connection ends. [`super::connection`] serves the messages. One half of this file reads for them, the other
//! writes, and both end when either does.

mod health;
mod words;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bridge_mcp::frame::Frame;
use bridge_mcp::id::Id;
use bridge_mcp::original::binary::{BinaryFrame, Dialect, MAX_PAYLOAD};
use bridge_mcp::original::connection::{
    Accepted, CloseReason, Connection as Machine, Denied, Effect, Outcome, Served, Settings,
};
use bridge_mcp::original::input::Token;
use bridge_policy::principal::Principal;
use bridge_policy::route::Scope;
use bridge_transport::binary::{self, BinaryIoError, Reader, Writer};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::connection::{self, Connection, Destination, Inbound, Outbound, Outbox, Over, Sender};
use crate::access::{self, Credentials};
use crate::gateway::Gateway;
use crate::observe::tcp::{Direction, ProtocolError, TcpMeter};
use crate::session::SessionId;

pub(crate) use health::serve as serve_health;

/// Silence after which the client is shown a sign of life, or, before it has said anything, given up.
const IDLE: Duration = Duration::from_mins(1);
/// Requests in flight of one connection; the core refuses before, but for listens, which it counts elsewhere.
const MAX_IN_FLIGHT: usize = 8192;
/// Frames beside the answers that wait for the writer; then the reader waits.
const SIGNALS: usize = 16;
/// Bytes that are written together.
const TOGETHER: usize = 64 * 1024;
/// Time for the last words of a connection that ends.
const LAST_WORDS: Duration = Duration::from_secs(5);

type Effects = Vec<Effect<Principal>>;

/// Why a client is served no longer.
#[derive(Debug, thiserror::Error)]
enum Ended {
    /// It closed.
    #[error("the client left")]
    Left,
    /// It said nothing, or stopped in the middle of a frame.
    #[error("the client says nothing")]
    Silent,
    /// The protocol says so.
    #[error(transparent)]
    Closed(CloseReason),
    /// The gateway leaves and nothing is in flight.
    #[error("the gateway leaves")]
    Over,
    /// It cannot be read from.
    #[error(transparent)]
    Unreadable(BinaryIoError),
    /// It cannot be written to.
    #[error(transparent)]
    Unwritable(BinaryIoError),
}

/// Serves one client until it leaves or is left. `stop` is cancelled when its listener is given up.
pub(crate) async fn serve<S>(gateway: &Arc<Gateway>, stop: CancellationToken, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let meter = gateway.metrics.tcp();
    let open = meter.connection();
    let plan = gateway.plan.load_full();
    let (mut reader, mut writer) =
        binary::accepted(stream, plan.snapshot.limits.max_message.min(MAX_PAYLOAD));
    let first = tokio::select! {
        first = timeout(IDLE, reader.next()) => first,
        () = leaving(gateway, &stop) => return,
    };
    let (first, dialect) = match (first, reader.dialect()) {
        (Ok(Ok(Some(first))), Some(dialect)) => (first, dialect),
        (Ok(Err(error)), _) => {
            meter.broken(ProtocolError::Receive);
            return tracing::debug!(%error, "TCP client refused");
        }
        _ => return,
    };
    writer.speak(dialect);
    let session_id = match SessionId::random() {
        Ok(id) => id.as_str().to_owned(),
        Err(error) => return tracing::error!(%error, "no randomness"),
    };
    let settings = Settings {
        limits: plan.connection_limits.clone(),
        max_in_flight: MAX_IN_FLIGHT,
        per_message_auth: plan.gate.is_per_message(),
        session_id,
    };
    drop(plan);
    let client = Client {
        gateway: Arc::clone(gateway),
        dialect,
        machine: Mutex::new(Machine::new(dialect, settings)),
        room: Notify::new(),
        meter,
    };
    let (connection, mut outbox) = Connection::open(gateway, stop.clone());
    let (signals, mut signalled) = mpsc::channel(SIGNALS);
    let ended = tokio::select! {
        ended = client.read(first, &mut reader, &connection, &signals) => ended,
        ended = client.write(&mut writer, &mut outbox, &mut signalled, &connection, &stop) => ended,
    };
    // Before the last words, which a lost client may be slow to take.
    drop(connection);
    client.part(ended, &mut writer, &mut signalled).await;
    drop(open);
}

/// Completes when no more requests are to be taken.
async fn leaving(gateway: &Gateway, stop: &CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = gateway.drain.started() => {}
    }
}

struct Client {
    gateway: Arc<Gateway>,
    dialect: Dialect,
    machine: Mutex<Machine<Principal>>,
    /// The machine may take frames again.
    room: Notify,
    meter: TcpMeter,
}

impl Client {
    async fn read<S: AsyncRead>(
        &self,
        first: BinaryFrame,
        reader: &mut Reader<S>,
        connection: &Connection,
        signals: &mpsc::Sender<BinaryFrame>,
    ) -> Ended {
        let mut frame = first;
        loop {
            let begun = Instant::now();
            self.meter.count(Direction::Inbound, frame.kind, frame.wire_len(self.dialect));
            let effects = {
                let mut machine = self.machine.lock();
                machine.expire(now());
                machine.receive(&frame)
            };
            if let Err(ended) = self.apply(effects, connection, signals).await {
                return ended;
            }
            self.meter.taken(frame.kind, begun.elapsed());
            frame = match self.next(reader, connection, signals).await {
                Ok(frame) => frame,
                Err(ended) => return ended,
            };
        }
    }

    /// The next frame, as soon as the machine takes one.
    async fn next<S: AsyncRead>(
        &self,
        reader: &mut Reader<S>,
        connection: &Connection,
        signals: &mpsc::Sender<BinaryFrame>,
    ) -> Result<BinaryFrame, Ended> {
        while !self.machine.lock().wants_input() {
            self.room.notified().await;
        }
        let mut stuck = false;
        loop {
            match timeout(IDLE, reader.next()).await {
                Ok(Ok(Some(frame))) => return Ok(frame),
                Ok(Ok(None)) => return Err(Ended::Left),
                Ok(Err(error)) => return Err(Ended::Unreadable(error)),
                // Half a frame for two minutes is nothing to wait for.
                Err(_) if stuck && reader.is_mid_frame() => return Err(Ended::Silent),
                Err(_) => {
                    stuck = reader.is_mid_frame();
                    let effects = self.machine.lock().idle();
                    self.apply(effects, connection, signals).await?;
                }
            }
        }
    }

    /// Does what the machine says, in its order.
    async fn apply(
        &self,
        effects: Effects,
        connection: &Connection,
        signals: &mpsc::Sender<BinaryFrame>,
    ) -> Result<(), Ended> {
        let mut effects = VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            match effect {
                // The writer is there as long as this half is.
                Effect::Send(frame) => drop(signals.send(frame).await),
                Effect::Authenticate(token) => {
                    let outcome = self.judge(token.as_ref().map(Token::expose));
                    let mut machine = self.machine.lock();
                    let before = machine.identity().is_some();
                    effects.extend(machine.authenticated(outcome));
                    if let Some(principal) = machine.identity().filter(|_| !before) {
                        connection.bind(principal);
                    }
                }
                Effect::Serve(served) => serve_message(connection, &served).await,
                Effect::Close(reason) => return Err(Ended::Closed(reason)),
            }
        }
        Ok(())
    }

    fn judge(&self, token: Option<&str>) -> Result<Accepted<Principal>, Denied> {
        let plan = self.gateway.plan.load();
        let credentials = Credentials::from_token(token);
        let principal = access::authenticate(&self.gateway, &plan, credentials).map_err(|_| Denied)?;
        let expires_at = match principal.grant() {
            Some(grant) => grant.expires_at.duration_since(UNIX_EPOCH).unwrap_or_default(),
            None => now() + plan.snapshot.sessions.idle_ttl,
        };
        Ok(Accepted { principal, expires_at })
    }

    async fn write<S: AsyncWrite>(
        &self,
        writer: &mut Writer<S>,
        outbox: &mut Outbox,
        signalled: &mut mpsc::Receiver<BinaryFrame>,
        connection: &Connection,
        stop: &CancellationToken,
    ) -> Ended {
        let (over, leaving) = (connection.over(), leaving(&self.gateway, stop));
        tokio::pin!(over, leaving);
        let mut left = false;
        loop {
            // In flight until they are written.
            let mut writing = Vec::new();
            let mut ended = None;
            tokio::select! {
                biased;
                Some(frame) = signalled.recv() => self.queue(writer, &frame),
                Some(outbound) = outbox.next() => {
                    ended = self.queue_all(writer, self.answered(&outbound));
                    writing.push(outbound);
                }
                () = &mut leaving, if !left => {
                    left = true;
                    let effects = self.machine.lock().shut_down();
                    ended = self.queue_all(writer, effects);
                }
                why = &mut over => ended = match why {
                    Over::Leaving => Some(Ended::Over),
                    Over::Expired => {
                        let effects = self.machine.lock().expired();
                        self.queue_all(writer, effects)
                    }
                },
            }
            while ended.is_none()
                && writer.queued() < TOGETHER
                && let Some(outbound) = outbox.waiting()
            {
                ended = self.queue_all(writer, self.answered(&outbound));
                writing.push(outbound);
            }
            if let Err(error) = writer.flush().await {
                return Ended::Unwritable(error);
            }
            if let Some(ended) = ended {
                return ended;
            }
        }
    }

    /// What the machine makes of a message for the client.
    fn answered(&self, outbound: &Outbound) -> Effects {
        let message = &outbound.message;
        let mut machine = self.machine.lock();
        let effects = match outbound.dialect {
            connection::Dialect::Original => match outbound.id.as_deref().and_then(Id::from_raw) {
                Some(id) => machine.finished(&id, words::outcome(message)),
                None => Vec::new(),
            },
            connection::Dialect::Mcp => {
                let limits = &self.gateway.plan.load().backend_limits;
                let answers = Frame::parse(message.clone(), limits).ok().filter(Frame::is_response);
                match answers.and_then(|frame| frame.id()) {
                    Some(id) => machine.finished(&id, Outcome::Answer(message.clone())),
                    None => machine.notice(message.clone()).map(Effect::Send).into_iter().collect(),
                }
            }
        };
        if machine.wants_input() {
            self.room.notify_one();
        }
        effects
    }

    fn queue_all<S: AsyncWrite>(&self, writer: &mut Writer<S>, effects: Effects) -> Option<Ended> {
        for effect in effects {
            match effect {
                Effect::Send(frame) => self.queue(writer, &frame),
                Effect::Close(reason) => return Some(Ended::Closed(reason)),
                // Only what comes from the client leads to these.
                Effect::Authenticate(_) | Effect::Serve(_) => {}
            }
        }
        None
    }

    fn queue<S: AsyncWrite>(&self, writer: &mut Writer<S>, frame: &BinaryFrame) {
        match writer.queue(frame) {
            Ok(()) => self.meter.count(Direction::Outbound, frame.kind, frame.wire_len(self.dialect)),
            Err(error) => {
                self.meter.broken(ProtocolError::Send);
                tracing::warn!(%error, "message not sent");
            }
        }
    }

    /// Writes what the client is still to read, and closes.
    async fn part<S: AsyncWrite>(
        &self,
        ended: Ended,
        writer: &mut Writer<S>,
        signalled: &mut mpsc::Receiver<BinaryFrame>,
    ) {
        tracing::debug!(why = %ended, "TCP connection ends");
        match ended {
            Ended::Unreadable(_) | Ended::Closed(CloseReason::Undecodable) => {
                self.meter.broken(ProtocolError::Receive);
            }
            Ended::Unwritable(_) => return self.meter.broken(ProtocolError::Send),
            _ => {}
        }
        while let Ok(frame) = signalled.try_recv() {
            self.queue(writer, &frame);
        }
        match timeout(LAST_WORDS, writer.close()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "TCP connection not closed cleanly"),
            Err(_) => tracing::debug!("last words not taken"),
        }
    }
}

async fn serve_message(connection: &Connection, served: &Served<Principal>) {
    let scope = match &served.named {
        Some(namespace) => Scope::One(namespace.as_str().to_owned()),
        None => Scope::Merged,
    };
    let destination = if served.is_mcp {
        Destination::Scope(&scope)
    } else {
        Destination::Original { target: served.named.as_ref() }
    };
    let sender = if served.is_judged {
        Sender::Verified(&served.principal)
    } else {
        Sender::Connection(&served.principal)
    };
    let inbound = Inbound {
        message: served.frame.bytes().clone(),
        destination,
        sender,
        token: served.token.as_ref().map(Token::expose),
        id: served.frame.raw_id(),
        unasked: true,
    };
    connection.receive(inbound).await;
}

/// Since 1970-01-01 UTC.
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests;
