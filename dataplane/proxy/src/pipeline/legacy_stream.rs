//! Event streams towards clients with a session. Changes when streaming to them changes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge_mcp::error::{code, error_response};
use bridge_mcp::frame::Frame;
use bridge_mcp::id::Id;
use bridge_mcp::limits::Limits;
use bridge_mcp::version::Version;
use bridge_policy::refusal::{Reason, Refusal};
use bridge_runtime::drain::InFlight;
use bridge_runtime::tasks;
use bridge_transport::frontend::request::{accepts, text};
use bytes::Bytes;
use http::HeaderMap;
use tokio::sync::OwnedSemaphorePermit;

use super::legacy::{find, timed_out};
use super::{Context, Reply, error_of, refuse, respond};
use crate::cluster::Cluster;
use crate::session::{CallGuard, Session, StreamLog};
use crate::upstream::{Event, Link, Messages};

/// A call whose answer comes as messages.
pub(super) struct Stream {
    pub(super) session: Arc<Session>,
    pub(super) cluster: Arc<Cluster>,
    pub(super) link: Arc<Link>,
    pub(super) request: Frame,
    pub(super) messages: Messages,
    /// Released when the call is over.
    pub(super) held: (OwnedSemaphorePermit, CallGuard),
}

/// Opens a notification stream, or resumes a stream from `Last-Event-ID`.
pub(super) async fn get(context: &Context, headers: &HeaderMap) -> Reply {
    let session = match find(context, headers) {
        Ok(session) => session,
        Err(reply) => return reply,
    };
    if !accepts(headers).events {
        let refusal = Refusal::new(Reason::NotAcceptable, "Accept must list text/event-stream");
        return refuse(&context.gateway, &refusal);
    }
    session.touch(Instant::now());
    let keep_alive = context.plan.snapshot.limits.keep_alive;
    let primed = primes(&session);
    if let Some(last) = text(headers, "last-event-id") {
        let Some((log, after)) = session.streams.find(last) else {
            let text = "Last-Event-ID names no stream of this session, or one that is no longer kept";
            return refuse(&context.gateway, &Refusal::new(Reason::BadMessage, text));
        };
        return respond::events(log.reader(Some(after), false), keep_alive);
    }
    session.start_listening().await;
    respond::events(session.streams.standalone().reader(None, primed), keep_alive)
}

/// Clients before 2025-11-25 do not expect events without data.
fn primes(session: &Session) -> bool {
    session.hello.version >= Version::V2025_11_25
}

/// Answers with JSON when the answer is the first message and comes soon, else with an event stream.
pub(super) async fn answer(context: &Context, mut stream: Stream) -> Result<Reply, Refusal> {
    let keep_alive = context.plan.snapshot.limits.keep_alive;
    let first = match tokio::time::timeout(keep_alive, stream.messages.next()).await {
        Ok(Ok(Event::Answer(bytes))) => return Ok(respond::json(200, bytes)),
        Ok(Ok(event)) => Some(event),
        Ok(Err(refusal)) => return Err(refusal),
        Err(_) => None,
    };
    let log = stream.session.streams.open();
    let reader = log.reader(None, primes(&stream.session));
    let deadline = Instant::now() + context.plan.snapshot.limits.max_request_duration;
    let in_flight = context.gateway.drain.guard();
    tasks::spawn("call", pump(stream, first, log, deadline, in_flight));
    Ok(respond::events(reader, keep_alive))
}

/// Moves a call's messages into its log until the answer. It does not end with the client's connection: a client that
/// drops its stream has not cancelled, and may come back for the rest.
async fn pump(
    mut stream: Stream,
    mut first: Option<Event>,
    log: Arc<StreamLog>,
    deadline: Instant,
    in_flight: InFlight,
) {
    let mut idle = stream.cluster.config.request_timeout;
    loop {
        // Bounded by the request itself: a client that reads nothing may not keep its call for ever.
        drop(tokio::time::timeout(deadline.saturating_duration_since(Instant::now()), log.room()).await);
        let left = deadline.saturating_duration_since(Instant::now());
        let event = match first.take() {
            Some(event) => Ok(Ok(event)),
            None => tokio::time::timeout(idle.min(left), stream.messages.next()).await,
        };
        match event {
            Ok(Ok(Event::Notice(frame))) => {
                if let Some(message) = stream.session.show(&stream.cluster.name, &frame) {
                    log.append(message);
                }
            }
            Ok(Ok(Event::Request(frame))) => {
                // A person may have to answer; only the hard limit bounds that.
                idle = Duration::MAX;
                ask_client(&stream, &frame, &log).await;
            }
            Ok(Ok(Event::Primed)) => {}
            Ok(Ok(Event::Paused(retry_ms))) => {
                if primes(&stream.session) {
                    log.pause(retry_ms);
                }
            }
            Ok(Ok(Event::Answer(bytes))) => break log.append(bytes),
            Ok(Err(refusal)) => break log.append(error_of(stream.request.raw_id(), &refusal)),
            Err(_) => {
                cancel(&stream.link, &stream.request, "the gateway's time limit passed").await;
                break log.append(error_of(stream.request.raw_id(), &timed_out(&stream.cluster)));
            }
        }
    }
    log.end();
    drop((stream.held, in_flight));
}

async fn ask_client(stream: &Stream, frame: &Frame, log: &StreamLog) {
    if let Some(message) = stream.session.ask(&stream.cluster.name, frame) {
        log.append(message);
        return;
    }
    let text = "too many requests wait for this client";
    let reply = error_response(frame.raw_id(), code::INTERNAL, text, None);
    if let Err(error) = stream.link.tell(reply).await {
        tracing::warn!(backend = %stream.cluster.name, ?error, "refusal not delivered");
    }
}

/// Cancels a request upstream on the gateway's own decision.
pub(super) async fn cancel(link: &Link, request: &Frame, reason: &str) {
    let (Some(id), Some(raw)) = (request.id(), request.raw_id()) else { return };
    let notification = cancellation(raw, reason);
    let Ok(frame) = Frame::parse(notification, &Limits::backend(usize::MAX, 8)) else { return };
    send_cancel(link, &id, &frame).await;
}

async fn send_cancel(link: &Link, id: &Id, frame: &Frame) {
    if let Err(error) = link.cancel(id, frame).await {
        tracing::debug!(?error, "cancellation not delivered");
    }
}

fn cancellation(id: &[u8], reason: &str) -> Bytes {
    let mut text = br#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"#.to_vec();
    text.extend_from_slice(id);
    text.extend_from_slice(format!(",\"reason\":{}}}}}", serde_json::Value::from(reason)).as_bytes());
    text.into()
}
