//! Which backend a call on the merged endpoint is for. Changes when calls are routed by something else.

use std::sync::Arc;

use bridge_mcp::frame::Frame;
use bridge_mcp::method::{Method, Target};
use bridge_mcp::names::{NameTable, Resolution};
use bridge_mcp::resource::Ownership;
use bridge_mcp::splice::Edits;
use bridge_mcp::version::Era;
use bridge_policy::refusal::{Reason, Refusal};
use serde_json::Value;

use super::settled_view;
use super::view::View;
use crate::cluster::Cluster;
use crate::pipeline::Context;

/// Where a request goes, as its backend reads it.
pub(crate) struct Routed {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) frame: Frame,
}

/// Finds the owner of the tool, prompt or resource that a request names.
pub(crate) async fn route(context: &Context, era: Era, frame: &Frame) -> Result<Routed, Refusal> {
    let view = settled_view(context, era).await;
    let Some(target) = frame.target() else {
        let missing = if frame.method().target() == Target::Uri { "uri" } else { "name" };
        return Err(Refusal::new(Reason::UnknownTarget, format!("`params.{missing}` must be a string")));
    };
    match frame.method() {
        Method::ToolsCall => by_name(context, &view, &view.tools, "tool", frame, &target),
        Method::PromptsGet => by_name(context, &view, &view.prompts, "prompt", frame, &target),
        _ => by_uri(&view, era, &target).map(|cluster| Routed { cluster, frame: frame.clone() }),
    }
}

fn by_name(
    context: &Context,
    view: &View,
    names: &NameTable,
    kind: &str,
    frame: &Frame,
    shown: &str,
) -> Result<Routed, Refusal> {
    let (position, original) = resolve(view, names, kind, shown)?;
    let cluster = member(view, position)?;
    if *original == *shown {
        return Ok(Routed { cluster: Arc::clone(cluster), frame: frame.clone() });
    }
    let mut edits = Edits::new();
    if let Some(span) = frame.target_span() {
        edits.replace(span, Value::from(&*original).to_string());
    }
    let renamed = Frame::parse(frame.edited(edits), &context.plan.connection_limits)
        .map_err(|error| Refusal::new(Reason::BadMessage, error.to_string()))?;
    Ok(Routed { cluster: Arc::clone(cluster), frame: renamed })
}

/// The backend and its own name for a name that the merged endpoint shows.
pub(super) fn resolve(
    view: &View,
    names: &NameTable,
    kind: &str,
    shown: &str,
) -> Result<(usize, Arc<str>), Refusal> {
    match names.resolve(shown) {
        Resolution::Owner(owner) => Ok((owner.backend, Arc::clone(&owner.original))),
        Resolution::Ambiguous(owners) => {
            let choices: Vec<_> = owners
                .iter()
                .filter_map(|owner| names.exposed(owner.backend, &owner.original))
                .map(|name| format!("`{name}`"))
                .collect();
            let text = format!("several backends offer the {kind} `{shown}`; use {}", choices.join(" or "));
            Err(Refusal::new(Reason::AmbiguousTarget, text))
        }
        Resolution::Unknown => {
            let hint = if view.misses_backends() { "; some backends are not available now" } else { "" };
            Err(Refusal::new(Reason::UnknownTarget, format!("unknown {kind} `{shown}`{hint}")))
        }
    }
}

/// The backend that owns a resource; an unknown URI goes to the only backend that has resources at all.
pub(super) fn by_uri(view: &View, era: Era, uri: &str) -> Result<Arc<Cluster>, Refusal> {
    let position = match view.resources.owner_of_reference(uri) {
        Ownership::Listed(position) | Ownership::Template(position) => Some(position),
        Ownership::Unknown => {
            let mut offering = view.ready().filter(|(_, _, lists)| lists.handshake.offers(&["resources"]));
            let only = offering.next().filter(|_| offering.next().is_none());
            // Its owner may be one of those that are away.
            only.filter(|_| !view.misses_backends()).map(|(position, ..)| position)
        }
    };
    match position {
        Some(position) => member(view, position).map(Arc::clone),
        None => {
            let hint = if view.misses_backends() { "; some backends are not available now" } else { "" };
            let text = format!("no backend lists the resource `{uri}` or a template for it{hint}");
            let reason = match era {
                Era::Legacy => Reason::UnknownResource,
                Era::Modern => Reason::UnknownTarget,
            };
            Err(Refusal { uri: Some(uri.to_owned()), ..Refusal::new(reason, text) })
        }
    }
}

fn member(view: &View, position: usize) -> Result<&Arc<Cluster>, Refusal> {
    view.member(position)
        .ok_or_else(|| Refusal::new(Reason::UnknownTarget, "its backend is gone; list again"))
}
