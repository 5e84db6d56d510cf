//! Completions on the merged endpoint: the reference names the owner. Changes when references get another form.

use bridge_mcp::error::{code, error_response, result_response};
use bridge_mcp::frame::Frame;
use bridge_mcp::scan::Scanner;
use bridge_mcp::scan::{Span, decode_string};
use bridge_mcp::splice::Edits;
use bridge_mcp::version::Era;
use bridge_policy::refusal::{Reason, Refusal};
use bytes::Bytes;
use serde_json::Value;

use super::route::{Routed, by_uri, resolve};
use super::settled_view;
use crate::pipeline::Context;

/// `params.ref`, read.
pub(crate) enum Reference<'a> {
    /// A prompt; the span is that of its name within the reference.
    Prompt { name: std::borrow::Cow<'a, str>, span: Span },
    /// A resource, or a template of resources.
    Resource { uri: std::borrow::Cow<'a, str> },
}

impl<'a> Reference<'a> {
    /// That of a request.
    pub(crate) fn of(context: &Context, frame: &'a Frame) -> Result<Self, Refusal> {
        let span = span_of(frame);
        let text = "`params.ref` must be {\"type\":\"ref/prompt\",\"name\":…} or {\"type\":\"ref/resource\",\"uri\":…}";
        span.and_then(|span| read(context, span.of(frame.bytes())))
            .ok_or_else(|| Refusal::new(Reason::UnknownTarget, text))
    }
}

fn span_of(frame: &Frame) -> Option<Span> {
    frame.envelope().params.as_ref().and_then(|params| params.members.reference)
}

/// The backend that completes, or `None` when the owner offers no completions.
pub(crate) async fn route(context: &Context, era: Era, frame: &Frame) -> Result<Option<Routed>, Refusal> {
    let view = settled_view(context, era).await;
    let (cluster, edits) = match Reference::of(context, frame)? {
        Reference::Resource { uri } => (by_uri(&view, era, &uri)?, Edits::new()),
        Reference::Prompt { name, span: at } => {
            let (position, original) = resolve(&view, &view.prompts, "prompt", &name)?;
            let cluster = view
                .member(position)
                .ok_or_else(|| Refusal::new(Reason::UnknownTarget, "its backend is gone; list again"))?;
            let mut edits = Edits::new();
            if *original != *name
                && let Some(outer) = span_of(frame)
            {
                edits.replace_within(outer, at, Value::from(&*original).to_string());
            }
            (std::sync::Arc::clone(cluster), edits)
        }
    };
    let offers = view.offers(&cluster, &["completions"]);
    if !offers {
        return Ok(None);
    }
    let frame = Frame::parse(frame.edited(edits), &context.plan.connection_limits)
        .map_err(|error| Refusal::new(Reason::BadMessage, error.to_string()))?;
    Ok(Some(Routed { cluster, frame }))
}

/// The answer when the owner completes nothing.
pub(crate) fn nothing(frame: &Frame, era: Era) -> Bytes {
    let Some(id) = frame.raw_id() else {
        return error_response(None, code::INVALID_REQUEST, "a completion is a request", None);
    };
    let result: &[u8] = match era {
        Era::Legacy => br#"{"completion":{"values":[]}}"#,
        Era::Modern => br#"{"resultType":"complete","completion":{"values":[]}}"#,
    };
    result_response(id, result)
}

fn read<'a>(context: &Context, reference: &'a [u8]) -> Option<Reference<'a>> {
    let mut scanner = Scanner::new(reference, &context.plan.client_limits).ok()?;
    let (mut kind, mut name, mut uri) = (None, None, None);
    scanner
        .object(|scanner, key| {
            let key = decode_string(key.of(reference)).unwrap_or_default();
            let value = scanner.value()?;
            match key.as_ref() {
                "type" => kind = Some(value),
                "name" => name = Some(value),
                "uri" => uri = Some(value),
                _ => {}
            }
            Ok(())
        })
        .ok()?;
    let text = |span: Option<Span>| decode_string(span?.of(reference));
    match text(kind)?.as_ref() {
        "ref/prompt" => Some(Reference::Prompt { name: text(name)?, span: name? }),
        "ref/resource" => Some(Reference::Resource { uri: text(uri)? }),
        _ => None,
    }
}
