//! What of one backend a client may see and use: requests before they are sent to it, lists before they are answered.
//! Changes when something else of a backend can be hidden or guarded.

use std::borrow::Cow;
use std::sync::Arc;

use bridge_mcp::envelope::Kind;
use bridge_mcp::frame::Frame;
use bridge_mcp::merge::{ListKind, ListLimits, rewrite_items};
use bridge_mcp::method::{Method, Target};
use bridge_mcp::splice::Edits;
use bridge_mcp::subscription::Filter;
use bridge_mcp::version::Era;
use bridge_policy::refusal::{Reason, Refusal};
use bridge_transport::backend::http::{Content, content};
use bytes::Bytes;

use super::{Context, Reply, respond};
use crate::cluster::Cluster;
use crate::merged::{MAX_ENTRIES, Reference};
use crate::observe::Failed;

/// A request as this backend knows it, if the client may make it. What is hidden is answered as if it did not exist.
pub(super) fn admit<'a>(
    context: &Context,
    cluster: &Cluster,
    era: Era,
    frame: &'a Frame,
) -> Result<Cow<'a, Frame>, Refusal> {
    let exposure = &cluster.exposure;
    if exposure.is_open() {
        return Ok(Cow::Borrowed(frame));
    }
    match frame.method() {
        Method::ToolsCall => {
            let tool = target(frame)?;
            let original = shown(cluster, era, ListKind::Tools, &tool)?;
            if let Some(scopes) = exposure.lacking(original, &context.principal) {
                return Err(Refusal::lacks_scopes(format_args!("tool `{tool}`"), scopes));
            }
            if *original != *tool {
                return renamed(context, frame, original).map(Cow::Owned);
            }
        }
        Method::PromptsGet => drop(shown(cluster, era, ListKind::Prompts, &target(frame)?)?),
        Method::ResourcesRead | Method::ResourcesSubscribe | Method::ResourcesUnsubscribe => {
            shown(cluster, era, ListKind::Resources, &target(frame)?)?;
        }
        Method::Complete => match Reference::of(context, frame)? {
            Reference::Prompt { name, .. } => drop(shown(cluster, era, ListKind::Prompts, &name)?),
            Reference::Resource { uri } => drop(shown(cluster, era, ListKind::Resources, &uri)?),
        },
        Method::Listen => {
            let params = frame.envelope().params.as_ref();
            let raw = params.and_then(|params| frame.raw(params.members.notifications));
            let wanted = Filter::parse(raw, &context.plan.connection_limits, MAX_ENTRIES)
                .map_err(|error| Refusal::new(Reason::UnknownTarget, error.to_string()))?;
            for uri in &wanted.resource_subscriptions {
                shown(cluster, era, ListKind::Resources, uri)?;
            }
        }
        _ => {}
    }
    Ok(Cow::Borrowed(frame))
}

fn renamed(context: &Context, frame: &Frame, name: &str) -> Result<Frame, Refusal> {
    let mut edits = Edits::new();
    if let Some(span) = frame.target_span() {
        edits.replace(span, serde_json::Value::from(name).to_string());
    }
    Frame::parse(frame.edited(edits), &context.plan.connection_limits)
        .map_err(|error| Refusal::new(Reason::BadMessage, error.to_string()))
}

/// Whether a message without an answer may go to this backend: one that is a request in all but its id may not, since
/// nobody has judged it.
pub(super) fn may_tell(cluster: &Cluster, frame: &Frame) -> bool {
    cluster.exposure.is_open() || frame.method().target() == Target::None
}

fn target(frame: &Frame) -> Result<Cow<'_, str>, Refusal> {
    let missing = if frame.method().target() == Target::Uri { "uri" } else { "name" };
    let text = || Refusal::new(Reason::UnknownTarget, format!("`params.{missing}` must be a string"));
    frame.target().ok_or_else(text)
}

/// The key by which the backend knows what the client sees.
fn shown<'a>(cluster: &'a Cluster, era: Era, kind: ListKind, key: &'a str) -> Result<&'a str, Refusal> {
    if let Some(original) = cluster.exposure.original(kind, key) {
        return Ok(original);
    }
    Err(match (kind, era) {
        (ListKind::Tools, _) => Refusal::new(Reason::UnknownTarget, format!("unknown tool `{key}`")),
        (ListKind::Prompts, _) => Refusal::new(Reason::UnknownTarget, format!("unknown prompt `{key}`")),
        (ListKind::Resources | ListKind::Templates, era) => {
            let reason = if era == Era::Legacy { Reason::UnknownResource } else { Reason::UnknownTarget };
            let text = format!("no backend lists the resource `{key}` or a template for it");
            Refusal { uri: Some(key.to_owned()), ..Refusal::new(reason, text) }
        }
    })
}

/// The list that a request asks for, if some of its items are hidden or look different.
pub(super) fn cuts(cluster: &Cluster, frame: &Frame) -> Option<ListKind> {
    ListKind::of_method(frame.method()).filter(|kind| !cluster.exposure.shows_as_is(*kind))
}

/// The answer to a list request as clients see it. One that cannot be read as a list is not shown.
pub(super) fn cut(
    context: &Context,
    cluster: &Cluster,
    kind: ListKind,
    answer: Bytes,
) -> Result<Bytes, Refusal> {
    let limits = &context.plan.backend_limits;
    let unreadable = |error: &dyn std::fmt::Display| {
        Refusal::backend(Reason::BackendProtocol, &cluster.name, format_args!("its list: {error}"))
    };
    let frame = Frame::parse(answer, limits).map_err(|error| unreadable(&error))?;
    let Some((span, result)) = frame.envelope().result.zip(frame.raw(frame.envelope().result)) else {
        return match frame.kind() {
            Kind::Error => Ok(frame.bytes().clone()),
            _ => Err(unreadable(&"not an answer")),
        };
    };
    let limits =
        ListLimits { max_bytes: limits.max_bytes, max_depth: limits.max_depth, max_items: usize::MAX };
    let list = rewrite_items(result, kind, &limits, |item| {
        cluster.exposure.present(kind, item).map(|item| item.raw)
    });
    let mut edits = Edits::new();
    edits.replace(span, list.map_err(|error| unreadable(&error))?);
    Ok(frame.edited(edits))
}

/// The same for an answer on its way. Nothing else that comes with a list has a meaning without it.
pub(super) async fn cut_reply(
    context: &Context,
    cluster: &Arc<Cluster>,
    kind: ListKind,
    reply: Reply,
) -> Result<Reply, Refusal> {
    if reply.extensions().get::<Failed>().is_some() {
        return Ok(reply);
    }
    let limits = &context.plan.backend_limits;
    let (status, is_stream) = (reply.status().as_u16(), content(reply.headers()) == Content::Events);
    let mut body = reply.into_body();
    while let Ok(Some(message)) = body.next_message(limits.max_bytes).await {
        let is_answer =
            !is_stream || Frame::parse(message.clone(), limits).is_ok_and(|message| message.is_response());
        if is_answer {
            return Ok(respond::json(status, cut(context, cluster, kind, message)?));
        }
    }
    Err(Refusal::backend(Reason::BackendLost, &cluster.name, "its list broke off"))
}
