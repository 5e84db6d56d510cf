//! Event streams towards clients with a session. Changes when streaming to them changes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge_mcp::frame::Frame;
use bridge_mcp::id::Id;
use bridge_mcp::limits::Limits;
use bridge_mcp::version::Version;
use bridge_policy::principal::Principal;
use bridge_policy::refusal::{Reason, Refusal};
use bridge_runtime::tasks;
use bridge_transport::frontend::events::{EventSource, StreamEvent};
use bridge_transport::frontend::request::{accepts, text};
use http::HeaderMap;

use super::legacy::find;
use super::legacy_call::{Held, refuse_question, timed_out};
use super::{Context, Reply, error_of, refuse, respond, stopped};
use crate::access;
use crate::cluster::Cluster;
use crate::session::{Conversation, Session, StreamLog};
use crate::upstream::{Event, Link, Messages, cancellation};

/// Why a backend is told that a call was cancelled.
const OUT_OF_TIME: &str = "the gateway's time limit passed";

/// A call whose answer comes as messages.
pub(super) struct Stream {
    pub(super) session: Arc<Session>,
    pub(super) cluster: Arc<Cluster>,
    pub(super) conversation: Conversation,
    pub(super) request: Frame,
    pub(super) messages: Messages,
    /// What the backend has asked the client in the course of this call.
    pub(super) questions: Vec<Id>,
    /// Released when the call is over.
    pub(super) held: Held,
}

/// Opens a notification stream, or resumes a stream from `Last-Event-ID`.
pub(super) async fn get(context: &Context, headers: &HeaderMap) -> Reply {
    // Who has no session yet looks for the stream of 2024-11-05. Only this status makes such a client try a POST.
    if !headers.contains_key("mcp-session-id") {
        let refusal = Refusal::new(Reason::HttpMethod, "GET needs an Mcp-Session-Id; begin with POST");
        return respond::with_post(refuse(&context.gateway, &refusal));
    }
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
        return respond::events(bearing(context, log.reader(Some(after), false)), keep_alive);
    }
    session.start_listening().await;
    respond::events(bearing(context, session.streams.standalone().reader(None, primed)), keep_alive)
}

/// A stream that ends when the token does with which it was opened; the client may open another.
struct Bearing<S> {
    source: S,
    principal: Principal,
}

fn bearing<S>(context: &Context, source: S) -> Bearing<S> {
    Bearing { source, principal: context.principal.clone() }
}

impl<S: EventSource> EventSource for Bearing<S> {
    async fn next(&mut self) -> Option<StreamEvent> {
        tokio::select! {
            biased;
            () = access::expired(&self.principal) => None,
            event = self.source.next() => event,
        }
    }
}

/// Clients before 2025-11-25 do not expect events without data.
fn primes(session: &Session) -> bool {
    session.hello.version >= Version::V2025_11_25
}

/// Answers with JSON when the answer is the first message and comes soon, else with an event stream.
pub(super) async fn answer(context: &Context, mut stream: Stream) -> Result<Reply, Refusal> {
    let limits = &context.plan.snapshot.limits;
    let keep_alive = limits.keep_alive;
    let deadline = Instant::now() + limits.max_request_duration;
    let cancelled = stream.held.call.cancelled.clone();
    let limit = stream.cluster.config.request_timeout.min(limits.max_request_duration);
    let first = tokio::select! {
        first = tokio::time::timeout(keep_alive.min(limit), stream.messages.next()) => first,
        () = cancelled.cancelled() => return abandoned(&stream).map_or_else(|| Ok(respond::accepted()), Err),
        () = context.ending.cancelled() => return Err(stopped(&stream.cluster.name)),
    };
    let first = match first {
        Ok(Ok(Event::Answer(bytes))) => return Ok(respond::json(200, bytes)),
        Ok(Ok(event)) => Some(event),
        Ok(Err(refusal)) => return Err(refusal),
        Err(_) if limit <= keep_alive => {
            cancel(&stream.conversation.link, &stream.request, OUT_OF_TIME);
            return Err(timed_out(limit, &stream.cluster));
        }
        Err(_) => None,
    };
    let silent_for = if first.is_none() { keep_alive } else { Duration::ZERO };
    let log = stream.session.streams.open();
    let reader = log.reader(None, primes(&stream.session));
    let (in_flight, ending) = (context.gateway.drain.guard(), context.ending.clone());
    tasks::spawn("call", async move {
        let mut is_answered = false;
        let unanswered = tokio::select! {
            () = pump(&mut stream, first, silent_for, &log, deadline) => {
                is_answered = true;
                None
            }
            () = cancelled.cancelled() => abandoned(&stream),
            () = ending.cancelled() => Some(stopped(&stream.cluster.name)),
        };
        // Nobody waits for these answers any more. After an answer nothing may follow on its stream.
        for question in stream.session.withdraw(&stream.questions).into_iter().filter(|_| !is_answered) {
            log.append(cancellation(question.to_json().as_bytes(), "the call that asked has ended"));
        }
        if let Some(refusal) = unanswered {
            log.append(error_of(stream.request.raw_id(), &refusal));
        }
        log.end();
        drop((stream, in_flight));
    });
    Ok(respond::events(reader, keep_alive))
}

/// What a call is answered with that its client has not cancelled itself: its session has ended.
fn abandoned(stream: &Stream) -> Option<Refusal> {
    let text = "the session ended before it answered; the request may have been executed";
    let ended = || Refusal::backend(Reason::BackendLost, &stream.cluster.name, text);
    stream.session.is_closed().then(ended)
}

/// Moves a call's messages into its log until the answer. It does not end with the client's connection: a client that
/// drops its stream has not cancelled, and may come back for the rest.
async fn pump(
    stream: &mut Stream,
    mut first: Option<Event>,
    silent_for: Duration,
    log: &StreamLog,
    deadline: Instant,
) {
    let limit = stream.cluster.config.request_timeout;
    let mut idle = limit.saturating_sub(silent_for);
    loop {
        // Bounded by the request itself: a client that reads nothing may not keep its call for ever.
        let left = deadline.saturating_duration_since(Instant::now());
        drop(tokio::time::timeout(left, log.room()).await);
        let left = deadline.saturating_duration_since(Instant::now());
        let event = match first.take() {
            Some(event) => Ok(Ok(event)),
            None => tokio::time::timeout(idle.min(left), stream.messages.next()).await,
        };
        idle = idle.max(limit);
        match event {
            Ok(Ok(Event::Notice(frame))) => {
                if let Some(message) = stream.session.show(&stream.conversation.origin, &frame) {
                    log.append(message);
                }
            }
            Ok(Ok(Event::Request(frame))) => {
                // A person may have to answer; only the hard limit bounds that.
                idle = Duration::MAX;
                if let Some(question) = ask_client(stream, &frame, log).await {
                    stream.questions.push(question);
                }
            }
            // Not withdrawn with this call: it may be about another.
            Ok(Ok(Event::Elsewhere(frame))) => drop(ask_client(stream, &frame, log).await),
            Ok(Ok(Event::Primed)) => {}
            Ok(Ok(Event::Paused(retry_ms))) => {
                if primes(&stream.session) {
                    log.pause(retry_ms);
                }
            }
            Ok(Ok(Event::Answer(bytes))) => return log.append(bytes),
            Ok(Err(refusal)) => return log.append(error_of(stream.request.raw_id(), &refusal)),
            Err(_) => {
                cancel(&stream.conversation.link, &stream.request, OUT_OF_TIME);
                let refusal = timed_out(limit, &stream.cluster);
                return log.append(error_of(stream.request.raw_id(), &refusal));
            }
        }
    }
}

/// Puts a backend's request to the client, on a stream that it reads. Gives the id under which the client sees it.
async fn ask_client(stream: &Stream, frame: &Frame, log: &StreamLog) -> Option<Id> {
    let Some((question, message)) = stream.session.ask(&stream.conversation.origin, frame) else {
        refuse_question(&stream.conversation.link, frame).await;
        return None;
    };
    match stream.session.streams.read_instead_of(log) {
        Some(other) => other.append(message),
        None => log.append(message),
    }
    Some(question)
}

/// Cancels a request upstream on the gateway's own decision. Nobody waits for it: what is cancelled may well be silent.
pub(super) fn cancel(link: &Arc<Link>, request: &Frame, reason: &str) {
    let (Some(id), Some(raw)) = (request.id(), request.raw_id()) else { return };
    let notification = cancellation(raw, reason);
    let Ok(frame) = Frame::parse(notification, &Limits::backend(usize::MAX, 8)) else { return };
    // Before the call is forgotten, and with it the number under which the backend knows it.
    let Some(message) = link.cancellation(&id, &frame) else { return };
    let link = Arc::clone(link);
    tasks::spawn("cancel", async move {
        if let Err(error) = link.tell(message).await {
            tracing::debug!(?error, "cancellation not delivered");
        }
    });
}
