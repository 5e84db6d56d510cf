//! One request of a session to one backend, from its entry to the form of its answer. Changes when calls are bounded,
//! repeated or answered differently.

use std::sync::Arc;
use std::time::Duration;

use bridge_mcp::envelope::Kind;
use bridge_mcp::error::{code, error_response};
use bridge_mcp::frame::Frame;
use bridge_mcp::id::Id;
use bridge_mcp::method::Method;
use bridge_mcp::version::Era;
use bridge_policy::refusal::{Reason, Refusal};
use bridge_runtime::tasks;
use bridge_transport::frontend::body::ReplyBody;
use bytes::Bytes;
use http::HeaderMap;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{Context, Reply, exposed, legacy_stream, respond};
use crate::cluster::Cluster;
use crate::session::{CallGuard, Conversation, Session};
use crate::upstream::{Answer, Event, Link, Messages, OnLeave, UpstreamError};

/// What a call holds while it is in flight.
pub(super) struct Held {
    #[allow(dead_code, reason = "held for its Drop")]
    pub(super) permit: OwnedSemaphorePermit,
    pub(super) call: CallGuard,
}

/// Sends a request to one backend and answers with what comes back.
pub(crate) async fn forward(
    context: &Context,
    session: &Arc<Session>,
    cluster: &Arc<Cluster>,
    frame: &Frame,
) -> Result<Reply, Refusal> {
    let frame = &*exposed::admit(context, cluster, Era::Legacy, frame)?;
    let permit = cluster.permit()?;
    if frame.method() == Method::ResourcesSubscribe && !session.settings.has_room() {
        return Err(Refusal::new(Reason::Exhausted, "this session has as many subscriptions as it may have"));
    }
    let (conversation, _) = context.or_end(&cluster.name, session.converse(cluster)).await??;
    if matches!(*conversation.link, Link::ToModern(_) | Link::Shared(_)) {
        return Box::pin(serve_apart(context, session, cluster, frame, permit, conversation)).await;
    }
    serve(context, session, cluster, frame, permit, conversation).await
}

/// Serves a request to its end, also when its client leaves. Here the end of a request is its cancellation; a legacy client that loses its connection has cancelled nothing.
async fn serve_apart(
    context: &Context,
    session: &Arc<Session>,
    cluster: &Arc<Cluster>,
    frame: &Frame,
    permit: OwnedSemaphorePermit,
    conversation: Conversation,
) -> Result<Reply, Refusal> {
    let (context, session, cluster, frame) =
        (context.clone(), Arc::clone(session), Arc::clone(cluster), frame.clone());
    let (name, in_flight) = (Arc::clone(&cluster.name), context.gateway.drain.guard());
    let (reply_in, reply) = oneshot::channel();
    tasks::spawn("crossed-call", async move {
        // Nobody may wait for it any more.
        drop(reply_in.send(serve(&context, &session, &cluster, &frame, permit, conversation).await));
        drop(in_flight);
    });
    reply.await.unwrap_or_else(|_| {
        let text = "the call ended without an answer; the request may have been executed";
        Err(Refusal::backend(Reason::BackendLost, &name, text))
    })
}

async fn serve(
    context: &Context,
    session: &Arc<Session>,
    cluster: &Arc<Cluster>,
    frame: &Frame,
    permit: OwnedSemaphorePermit,
    conversation: Conversation,
) -> Result<Reply, Refusal> {
    let sent = context.or_end(&cluster.name, send(session, cluster, frame, conversation)).await??;
    let Some((conversation, call, answer)) = sent else { return Ok(respond::accepted()) };
    let subscribes = matches!(frame.method(), Method::ResourcesSubscribe | Method::ResourcesUnsubscribe);
    let held = Held { permit, call };
    let cuts = exposed::cuts(cluster, frame);
    if subscribes || cuts.is_some() {
        let limit = cluster.config.request_timeout;
        let cancelled = held.call.cancelled.clone();
        let answered = tokio::time::timeout(limit, Box::pin(whole(context, session, &conversation, answer)));
        let bytes = tokio::select! {
            answered = context.or_end(&cluster.name, answered) => match answered? {
                Ok(answered) => answered?,
                Err(_) => {
                    legacy_stream::cancel(&conversation.link, frame, "the gateway's time limit passed");
                    return Err(timed_out(limit, cluster));
                }
            },
            () = cancelled.cancelled() => return Ok(respond::accepted()),
        };
        if let Some(kind) = cuts {
            return Ok(respond::json(200, exposed::cut(context, cluster, kind, bytes)?));
        }
        Box::pin(note_subscription(context, session, &conversation, frame, &bytes)).await;
        return Ok(respond::json(200, bytes));
    }
    match answer {
        Answer::Whole { bytes, .. } => Ok(respond::json(200, bytes)),
        Answer::Forward(body) => {
            let limit = context.plan.snapshot.limits.max_request_duration;
            Ok(respond::forward(ReplyBody::forwarded(body, limit, held)))
        }
        Answer::Stream(messages) => {
            let stream = legacy_stream::Stream {
                session: Arc::clone(session),
                cluster: Arc::clone(cluster),
                conversation,
                request: frame.clone(),
                messages,
                questions: Vec::new(),
                held,
            };
            Box::pin(legacy_stream::answer(context, stream)).await
        }
    }
}

/// Sends a request, a second time when the backend did not know the session and so executed nothing. `None` when the
/// client has cancelled it meanwhile.
async fn send(
    session: &Arc<Session>,
    cluster: &Arc<Cluster>,
    frame: &Frame,
    mut conversation: Conversation,
) -> Result<Option<(Conversation, CallGuard, Answer)>, Refusal> {
    let id = frame.id().unwrap_or(Id::Int(0));
    for last in [false, true] {
        let call = session.calls.enter(id.clone(), &conversation.link);
        let asked = tokio::select! {
            asked = ask(&conversation.link, frame, cluster) => asked,
            () = call.cancelled.cancelled() => return abandoned(session, cluster),
        };
        match asked {
            Ok(answer) => return Ok(Some((conversation, call, answer))),
            Err(UpstreamError::SessionLost) if !last => (conversation, _) = session.converse(cluster).await?,
            Err(error) => return Err(error.into_refusal(&cluster.name)),
        }
    }
    Err(UpstreamError::SessionLost.into_refusal(&cluster.name))
}

/// What a request gets whose wait was ended from outside: nothing when its client cancelled it.
fn abandoned<T>(session: &Session, cluster: &Cluster) -> Result<Option<T>, Refusal> {
    if session.is_closed() {
        let text = "the session ended before it answered; the request may have been executed";
        return Err(Refusal::backend(Reason::BackendLost, &cluster.name, text));
    }
    Ok(None)
}

async fn ask(link: &Arc<Link>, frame: &Frame, cluster: &Cluster) -> Result<Answer, UpstreamError> {
    let sent = link.request(frame, HeaderMap::new(), OnLeave::Continue);
    match tokio::time::timeout(cluster.config.request_timeout, sent).await {
        Ok(answer) => answer,
        Err(_) => {
            legacy_stream::cancel(link, frame, "the gateway's time limit for this backend passed");
            Err(timed_out(cluster.config.request_timeout, cluster).into())
        }
    }
}

/// The refusal of a call that took too long.
pub(crate) fn timed_out(limit: Duration, cluster: &Cluster) -> Refusal {
    Refusal::backend(Reason::BackendTimeout, &cluster.name, format_args!("no answer within {limit:?}"))
}

/// Reads an answer to its end. What comes before it goes to the client's notification stream.
async fn whole(
    context: &Context,
    session: &Session,
    conversation: &Conversation,
    answer: Answer,
) -> Result<Bytes, Refusal> {
    let backend = &conversation.origin.backend;
    match answer {
        Answer::Whole { bytes, .. } => Ok(bytes),
        Answer::Forward(rest) => rest
            .collect(context.plan.backend_limits.max_bytes)
            .await
            .map_err(|error| Refusal::backend(Reason::BackendLost, backend, error)),
        Answer::Stream(messages) => last(session, conversation, messages).await,
    }
}

async fn last(
    session: &Session,
    conversation: &Conversation,
    mut messages: Messages,
) -> Result<Bytes, Refusal> {
    let standalone = session.streams.standalone();
    loop {
        match messages.next().await? {
            Event::Answer(bytes) => return Ok(bytes),
            Event::Notice(notice) => {
                if let Some(message) = session.show(&conversation.origin, &notice) {
                    standalone.append(message);
                }
            }
            Event::Request(question) | Event::Elsewhere(question) => {
                match session.ask(&conversation.origin, &question) {
                    Some((_, message)) => standalone.append(message),
                    None => refuse_question(&conversation.link, &question).await,
                }
            }
            Event::Primed | Event::Paused(_) => {}
        }
    }
}

/// Tells a backend that its request cannot be put to the client.
pub(super) async fn refuse_question(link: &Link, question: &Frame) {
    let text = "too many requests wait for this client";
    let reply = error_response(question.raw_id(), code::INTERNAL, text, None);
    if let Err(error) = link.tell(reply).await {
        tracing::warn!(?error, "refusal not delivered");
    }
}

async fn note_subscription(
    context: &Context,
    session: &Arc<Session>,
    conversation: &Conversation,
    frame: &Frame,
    answer: &Bytes,
) {
    let made = Frame::parse(answer.clone(), &context.plan.backend_limits);
    if !made.is_ok_and(|answer| answer.kind() == Kind::Result) {
        return;
    }
    let Some(uri) = frame.target() else { return };
    let on = frame.method() == Method::ResourcesSubscribe;
    session.settings.set_subscription(&conversation.origin.backend, &uri, on);
    if on {
        session.listen_to(conversation).await;
    }
}
