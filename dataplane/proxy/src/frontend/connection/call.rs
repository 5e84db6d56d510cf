//! One request of a connection, from its entry to the last message of its answer. Changes when answers travel
//! differently.

use std::sync::Arc;

use bridge_mcp::envelope::Kind;
use bridge_mcp::error::{code, error_response};
use bridge_mcp::frame::Frame;
use bridge_mcp::id::Id;
use bridge_mcp::method::Method;
use bridge_mcp::subscription;
use bridge_mcp::translate::losses;
use bridge_mcp::version::Era;
use bridge_policy::refusal::{Reason, Refusal};
use bridge_runtime::drain::InFlight;
use bridge_runtime::tasks;
use bridge_transport::frontend::events::{EventSource as _, StreamEvent};
use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::in_flight::Entry;
use super::{Dialect, Outbound, Shared, era_of, parsed};
use crate::pipeline::{self, Carrier, Context, error_of, legacy};
use crate::session::Session;

/// A request that has been taken.
pub(super) struct Call {
    shared: Arc<Shared>,
    context: Context,
    dialect: Dialect,
    frame: Frame,
    is_listen: bool,
    entry: Entry,
    held: Arc<InFlight>,
    #[allow(dead_code, reason = "held for its Drop")]
    slot: Option<OwnedSemaphorePermit>,
}

impl Call {
    pub(super) fn enter(
        shared: &Arc<Shared>,
        context: Context,
        dialect: Dialect,
        frame: Frame,
        slot: Option<OwnedSemaphorePermit>,
    ) -> Self {
        let era = era_of(&frame);
        let entry = shared.in_flight.enter(frame.id().unwrap_or(Id::Int(0)), era);
        let held = Arc::new(shared.gateway.drain.guard());
        let is_listen = era == Era::Modern && frame.method() == Method::Listen;
        Self { shared: Arc::clone(shared), context, dialect, frame, is_listen, entry, held, slot }
    }

    /// Serves it, unless its client cancels or leaves.
    pub(super) async fn run(self) {
        let cancelled = self.entry.cancelled.clone();
        tokio::select! {
            () = self.answer() => {}
            () = cancelled.cancelled() => {}
        }
    }

    /// Serves an `initialize`, and whatever its session has to say from then on.
    pub(super) async fn open(self) {
        let (shared, context, dialect) = (Arc::clone(&self.shared), self.context.clone(), self.dialect);
        // The client may not cancel it, but it may leave.
        Box::pin(self.run()).await;
        if let Some(session) = shared.sessions.get(&context.scope, &context.principal) {
            *shared.hello.lock() = Some(session.hello.clone());
            shared.follow(context, dialect, session);
        }
    }

    async fn answer(&self) {
        let (shared, context) = (&self.shared, &self.context);
        let max = context.plan.backend_limits.max_bytes;
        let reply = pipeline::serve(context, Carrier::Connection(&shared.sessions), &self.frame).await;
        let mut body = reply.into_body();
        loop {
            match body.next_message(max).await {
                Ok(Some(message)) => {
                    if self.is_listen {
                        self.announce_end(&message).await;
                    }
                    shared.deliver(context, self.dialect, message, Some(&self.held)).await;
                }
                Ok(None) => return,
                Err(error) => {
                    tracing::debug!(%error, "answer broke off");
                    let refusal = Refusal::new(Reason::BackendLost, "the answer broke off");
                    let answer = error_of(self.frame.raw_id(), &refusal);
                    let answer = Outbound::answer(self.dialect, self.frame.raw_id(), answer);
                    return shared.outbound.send(answer.holding(Some(&self.held))).await;
                }
            }
        }
    }

    /// Where no stream closes, a notification says that a listen has ended, before its answer does.
    async fn announce_end(&self, message: &Bytes) {
        let answer = parsed(message.clone(), &self.context.plan);
        if answer.is_some_and(|answer| answer.kind() == Kind::Result)
            && let Some(id) = self.frame.raw_id()
        {
            let (notice, held) = (subscription::cancelled(id), Some(&self.held));
            self.shared.deliver(&self.context, self.dialect, notice, held).await;
        }
    }
}

impl Shared {
    /// Gives the client what its session has to say besides answers, until either ends.
    pub(super) fn follow(self: &Arc<Self>, context: Context, dialect: Dialect, session: Arc<Session>) {
        let mut notices = session.streams.standalone().reader(None, false);
        let shared = Arc::clone(self);
        tasks::spawn("client-notices", async move {
            let listens = async {
                // Nobody is interested in the news of an original client's backends.
                if dialect == Dialect::Mcp {
                    session.start_listening().await;
                }
                std::future::pending::<()>().await;
            };
            let moved = async {
                while let Some(event) = notices.next().await {
                    if let StreamEvent::Message { data, .. } = event {
                        shared.deliver(&context, dialect, data, None).await;
                    }
                }
            };
            tokio::select! {
                () = listens => {}
                () = moved => {}
                () = shared.expired.cancelled() => {}
                () = shared.closed.cancelled() => {}
            }
        });
    }

    /// Queues a message for the client, if it is one that this client reads.
    async fn deliver(
        &self,
        context: &Context,
        dialect: Dialect,
        message: Bytes,
        held: Option<&Arc<InFlight>>,
    ) {
        if dialect == Dialect::Mcp {
            return self.outbound.send(Outbound::mcp(message).holding(held)).await;
        }
        let Some(frame) = parsed(message.clone(), &context.plan) else { return };
        context.gateway.metrics.lost(losses::unread(&frame));
        match frame.kind() {
            Kind::Result | Kind::Error => {
                self.outbound.send(Outbound::original(frame.raw_id(), message).holding(held)).await;
            }
            Kind::Notification => {}
            Kind::Request => {
                let text = "this client answers no requests";
                let answer = error_response(frame.raw_id(), code::METHOD_NOT_FOUND, text, None);
                let session = self.sessions.get(&context.scope, &context.principal);
                if let (Some(session), Some(answer)) = (session, parsed(answer, &context.plan)) {
                    legacy::answer(&session, &answer).await;
                }
            }
        }
    }
}
