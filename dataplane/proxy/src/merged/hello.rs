//! What the merged endpoint says of itself. Changes when its capabilities change.

use bridge_mcp::modern::supported;
use bridge_mcp::version::{Era, Version};
use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::settled_view;
use super::view::View;
use crate::pipeline::Context;

/// Longest instructions of one backend that are passed on, in bytes.
const MAX_INSTRUCTIONS: usize = 4096;

/// The gateway's own implementation info, raw.
pub(super) fn server_info() -> &'static str {
    concat!(r#"{"name":"mcp-gateway","version":""#, env!("CARGO_PKG_VERSION"), r#""}"#)
}

/// The result of `initialize`.
pub(crate) async fn initialize_result(context: &Context, version: Version) -> Bytes {
    let view = settled_view(context, Era::Legacy).await;
    let mut result = json!({
        "protocolVersion": version.as_str(),
        "capabilities": capabilities(&view),
        "serverInfo": { "name": "mcp-gateway", "version": env!("CARGO_PKG_VERSION") },
    });
    add_instructions(&mut result, &view);
    result.to_string().into()
}

/// The result of `server/discover`.
pub(crate) async fn discover_result(context: &Context) -> Bytes {
    let view = settled_view(context, Era::Modern).await;
    let mut result = json!({
        "resultType": "complete",
        "supportedVersions": supported(),
        "capabilities": capabilities(&view),
        "ttlMs": 0,
        "cacheScope": "private",
        "_meta": { "io.modelcontextprotocol/serverInfo": { "name": "mcp-gateway", "version": env!("CARGO_PKG_VERSION") } },
    });
    add_instructions(&mut result, &view);
    result.to_string().into()
}

/// The lists are the gateway's own, so they are always offered and always announced when they change: a backend may
/// come later. The rest is offered when a backend offers it.
fn capabilities(view: &View) -> Value {
    let any = |path: &[&str]| view.ready().any(|(_, _, lists)| lists.handshake.offers(path));
    let mut capabilities = Map::new();
    capabilities.insert("tools".to_owned(), json!({ "listChanged": true }));
    capabilities.insert("prompts".to_owned(), json!({ "listChanged": true }));
    let mut resources = json!({ "listChanged": true });
    if any(&["resources", "subscribe"])
        && let Some(resources) = resources.as_object_mut()
    {
        resources.insert("subscribe".to_owned(), json!(true));
    }
    capabilities.insert("resources".to_owned(), resources);
    for name in ["completions", "logging"] {
        if any(&[name]) {
            capabilities.insert(name.to_owned(), json!({}));
        }
    }
    Value::Object(capabilities)
}

fn add_instructions(result: &mut Value, view: &View) {
    let parts: Vec<_> = view
        .ready()
        .filter_map(|(_, cluster, lists)| {
            let text = lists.handshake.instructions.as_deref()?;
            let end = text.char_indices().map(|(at, _)| at).find(|at| *at >= MAX_INSTRUCTIONS);
            let shown = end.and_then(|end| text.get(..end)).unwrap_or(text);
            Some(format!("[{}] {shown}", cluster.name))
        })
        .collect();
    if !parts.is_empty()
        && let Some(object) = result.as_object_mut()
    {
        object.insert("instructions".to_owned(), Value::from(parts.join("\n\n")));
    }
}
