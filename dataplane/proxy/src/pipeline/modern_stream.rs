//! Event streams towards clients of 2026-07-28: they belong to one request, have no ids, and closing one cancels.
//!
//! Changes when streaming to them changes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge_mcp::envelope::Kind;
use bridge_mcp::frame::Frame;
use bridge_mcp::limits::Limits;
use bridge_mcp::subscription::finished;
use bridge_policy::denial::Denial;
use bridge_policy::principal::Principal;
use bridge_policy::refusal::Refusal;
use bridge_runtime::drain::InFlight;
use bridge_transport::frontend::events::{EventSource, StreamEvent};
use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use super::legacy_call::timed_out;
pub(crate) use super::modern::status_of;
use super::{Context, Reply, error_of, respond, stopped};
use crate::access;
use crate::cluster::Cluster;
use crate::upstream::{Event, Messages};

/// A call whose answer comes as messages.
pub(crate) struct Stream {
    pub(crate) backend: Arc<Cluster>,
    pub(crate) request: Frame,
    pub(crate) messages: Messages,
    /// Longest silence of the backend; `None` for a listen, which is silent until something changes.
    pub(crate) timeout: Option<Duration>,
    #[allow(dead_code, reason = "held for its Drop")]
    pub(crate) held: OwnedSemaphorePermit,
}

/// What form an answer takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// An event stream at once.
    Stream,
    /// JSON when the answer is the first message and comes soon, else an event stream.
    Short,
    /// An event stream, but JSON for an error that comes soon: some have a status of their own.
    StreamOrStatus,
}

/// Answers with what comes of the call.
pub(crate) async fn answer(context: &Context, mut stream: Stream, form: Form) -> Result<Reply, Refusal> {
    let limits = &context.plan.snapshot.limits;
    if form == Form::Stream {
        return Ok(events(context, stream, None, Duration::ZERO));
    }
    let limit = stream.timeout.map(|timeout| timeout.min(limits.max_request_duration));
    let wait = limit.map_or(limits.keep_alive, |limit| limit.min(limits.keep_alive));
    let first = tokio::time::timeout(wait, stream.messages.next());
    match context.or_end(&stream.backend.name, first).await? {
        Ok(Ok(Event::Answer(bytes))) => match status_of(&bytes, context) {
            200 if form == Form::StreamOrStatus => {
                Ok(events(context, stream, Some(Event::Answer(bytes)), Duration::ZERO))
            }
            status => Ok(respond::json(status, bytes)),
        },
        Ok(Ok(event)) => Ok(events(context, stream, Some(event), Duration::ZERO)),
        Ok(Err(refusal)) => Err(refusal),
        Err(_) => match limit {
            Some(limit) if limit == wait => Err(timed_out(limit, &stream.backend)),
            _ => Ok(events(context, stream, None, wait)),
        },
    }
}

fn events(context: &Context, stream: Stream, first: Option<Event>, silent_for: Duration) -> Reply {
    let deadline =
        Instant::now() + context.plan.snapshot.limits.max_request_duration.saturating_sub(silent_for);
    let source = Source {
        stream,
        first,
        silent_for,
        deadline,
        limits: context.plan.backend_limits.clone(),
        principal: context.principal.clone(),
        ended: false,
        in_flight: context.gateway.drain.guard(),
        draining: context.gateway.drain.token(),
        ending: context.ending.clone(),
    };
    respond::events(source, context.plan.snapshot.limits.keep_alive)
}

struct Source {
    stream: Stream,
    first: Option<Event>,
    /// How long the backend has been silent before.
    silent_for: Duration,
    deadline: Instant,
    limits: Limits,
    principal: Principal,
    ended: bool,
    #[allow(dead_code, reason = "held for its Drop")]
    in_flight: InFlight,
    draining: CancellationToken,
    ending: CancellationToken,
}

impl Source {
    async fn step(&mut self) -> Result<Event, Refusal> {
        if let Some(first) = self.first.take() {
            return Ok(first);
        }
        let is_listen = self.stream.timeout.is_none();
        let left = self.deadline.saturating_duration_since(Instant::now());
        let silent_for = std::mem::take(&mut self.silent_for);
        let wait =
            self.stream.timeout.map_or(Duration::MAX, |timeout| timeout.saturating_sub(silent_for).min(left));
        tokio::select! {
            event = tokio::time::timeout(wait, self.stream.messages.next()) => match event {
                Ok(event) => event,
                Err(_) => Err(timed_out(wait, &self.stream.backend)),
            },
            // A listen would hold up the shutdown for ever; the client opens another elsewhere.
            () = self.draining.cancelled(), if is_listen => {
                let id = self.stream.request.raw_id().unwrap_or(b"null");
                Ok(Event::Answer(finished(id)))
            }
            // What was begun with a good token may end without; a listen has no end of its own.
            () = access::expired(&self.principal), if is_listen => Err(Refusal::denied(Denial::TokenExpired)),
            () = self.ending.cancelled() => Err(stopped(&self.stream.backend.name)),
        }
    }
}

impl Source {
    /// The end of a listen names the subscription, and on a shared wire that is a number of the gateway's own.
    fn answer(&self, bytes: Bytes) -> Bytes {
        let id = self.stream.request.raw_id().unwrap_or(b"null");
        match Frame::parse(bytes.clone(), &self.limits) {
            Ok(answer) if self.stream.timeout.is_none() && answer.kind() == Kind::Result => finished(id),
            _ => bytes,
        }
    }
}

impl EventSource for Source {
    async fn next(&mut self) -> Option<StreamEvent> {
        while !self.ended {
            let message = match self.step().await {
                Ok(Event::Notice(frame)) => frame.bytes().clone(),
                Ok(Event::Answer(bytes)) => {
                    self.ended = true;
                    self.answer(bytes)
                }
                // Neither exists in this revision.
                Ok(Event::Request(_) | Event::Elsewhere(_) | Event::Primed | Event::Paused(_)) => continue,
                Err(refusal) => {
                    self.ended = true;
                    error_of(self.stream.request.raw_id(), &refusal)
                }
            };
            return Some(StreamEvent::message(message));
        }
        None
    }
}
