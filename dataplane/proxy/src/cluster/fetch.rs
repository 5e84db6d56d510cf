//! Reading a backend's lists, page by page, within bounds. Changes when there is another list.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge_mcp::envelope::Kind;
use bridge_mcp::frame::Frame;
use bridge_mcp::merge::{CacheHints, Item, ListKind, ListLimits, items_from_result, reject_invalid_tools};
use bridge_mcp::method::Method;
use bridge_mcp::version::Era;
use bridge_policy::refusal::{Reason, Refusal};
use bridge_runtime::tasks;
use http::HeaderMap;
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::open::mirrored;
use super::{Cluster, Lists};
use crate::upstream::{
    Answer, Event, Handshake, Link, OnLeave, UpstreamError, error_code, modern_request, own_request,
};

/// Pages of one list.
const MAX_PAGES: usize = 100;
/// Items of one list.
const MAX_ITEMS: usize = 20_000;
/// Waits before a listen that ended is opened again.
const MIN_WAIT: Duration = Duration::from_millis(500);
const MAX_WAIT: Duration = Duration::from_secs(30);

/// Reads all lists that the backend's capabilities name.
pub(super) async fn lists(cluster: &Cluster, link: &Link, handshake: Handshake) -> Result<Lists, Refusal> {
    let mut parts = Vec::new();
    let mut params = HashMap::new();
    let mut hidden_tools = 0;
    for kind in ListKind::ALL {
        let capability = match kind {
            ListKind::Tools => "tools",
            ListKind::Prompts => "prompts",
            ListKind::Resources | ListKind::Templates => "resources",
        };
        if handshake.capabilities.get(capability).is_none() {
            continue;
        }
        let (mut items, hints) = list(cluster, link, kind).await?;
        if kind == ListKind::Tools && link.era() == Era::Modern {
            let (annotated, rejected) = reject_invalid_tools(&mut items);
            for tool in rejected {
                tracing::warn!(backend = %cluster.name, tool = %tool.name, error = %tool.violation, "tool left out");
            }
            params = items.iter().map(|item| item.key.clone()).zip(annotated).collect();
        }
        let listed = items.len();
        if !cluster.exposure.shows_as_is(kind) {
            items = items.into_iter().filter_map(|item| cluster.exposure.present(kind, item)).collect();
        }
        if kind == ListKind::Tools {
            hidden_tools = listed - items.len();
        }
        parts.push((kind, items, hints));
    }
    let mut lists = Lists::new(handshake, parts, params, Instant::now());
    lists.hidden_tools = hidden_tools;
    Ok(lists)
}

async fn list(cluster: &Cluster, link: &Link, kind: ListKind) -> Result<(Vec<Item>, CacheHints), Refusal> {
    let limits = ListLimits {
        max_bytes: cluster.limits.max_bytes,
        max_depth: cluster.limits.max_depth,
        max_items: MAX_ITEMS,
    };
    let mut items = Vec::new();
    let mut hints = Vec::new();
    let mut cursor: Option<Box<str>> = None;
    for _ in 0..MAX_PAGES {
        let params = cursor.as_ref().map_or_else(|| json!({}), |cursor| json!({ "cursor": cursor }));
        let answer = ask(cluster, link, kind.method(), &params).await?;
        let Some(result) = answer.raw(answer.envelope().result) else {
            // A server that names the capability for its other half only, such as resources without templates.
            if error_code(&answer) == Some(bridge_mcp::error::code::METHOD_NOT_FOUND) {
                break;
            }
            let detail =
                format!("it refuses `{}` with code {:?}", kind.method().as_str(), error_code(&answer));
            return Err(Refusal::backend(Reason::BackendProtocol, &cluster.name, detail));
        };
        let page = items_from_result(result, kind, &limits)
            .map_err(|error| Refusal::backend(Reason::BackendProtocol, &cluster.name, error))?;
        if page.skipped > 0 {
            tracing::warn!(backend = %cluster.name, list = kind.member(), skipped = page.skipped, "items without a key");
        }
        items.extend(page.items);
        hints.push(page.hints);
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok((items, CacheHints::merged(hints)));
        }
        if items.len() >= MAX_ITEMS {
            break;
        }
    }
    if cursor.is_some() {
        tracing::warn!(backend = %cluster.name, list = kind.member(), items = items.len(), "list cut: it is too long");
    }
    Ok((items, CacheHints::merged(hints)))
}

async fn ask(cluster: &Cluster, link: &Link, method: Method, params: &Value) -> Result<Frame, Refusal> {
    let frame = match link.era() {
        Era::Modern => modern_request(method.as_str(), params)?,
        Era::Legacy => own_request(method.as_str(), params)?,
    };
    let answer = link.ask(&frame, mirrored(link, &frame)).await;
    let answer = answer.map_err(|error| error.into_refusal(&cluster.name))?;
    debug_assert!(matches!(answer.kind(), Kind::Result | Kind::Error));
    Ok(answer)
}

/// Listens for list changes beside the requests of a modern backend, until the guard is dropped. Without a listen the
/// catalogue is still refreshed by age.
pub(super) fn listen_modern(cluster: &Arc<Cluster>, link: &Arc<Link>, handshake: &Handshake) -> DropGuard {
    let mut wanted = serde_json::Map::new();
    for (capability, filter) in [
        ("tools", "toolsListChanged"),
        ("prompts", "promptsListChanged"),
        ("resources", "resourcesListChanged"),
    ] {
        if handshake.offers(&[capability, "listChanged"]) {
            wanted.insert(filter.to_owned(), json!(true));
        }
    }
    let stop = CancellationToken::new();
    if !wanted.is_empty() {
        let (cluster, link, stop) = (Arc::clone(cluster), Arc::clone(link), stop.clone());
        tasks::spawn("backend-listen", async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = keep_listening(&cluster, &link, &wanted) => {}
            }
        });
    }
    stop.drop_guard()
}

async fn keep_listening(cluster: &Cluster, link: &Link, wanted: &serde_json::Map<String, Value>) {
    let mut wait = MIN_WAIT;
    loop {
        match follow(cluster, link, wanted).await {
            // Refused as a whole: this server has no listens, whatever its capabilities say.
            Ok(false) => return,
            Ok(true) => wait = MIN_WAIT,
            Err(error) => tracing::debug!(backend = %cluster.name, ?error, "listen lost"),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(MAX_WAIT);
    }
}

/// Follows one listen to its end. `false` when the backend refuses it.
async fn follow(
    cluster: &Cluster,
    link: &Link,
    wanted: &serde_json::Map<String, Value>,
) -> Result<bool, UpstreamError> {
    let frame = modern_request("subscriptions/listen", &json!({ "notifications": wanted }))?;
    let headers: HeaderMap = mirrored(link, &frame);
    let Answer::Stream(mut messages) = link.request(&frame, headers, OnLeave::Cancel).await? else {
        return Ok(false);
    };
    let mut acknowledged = false;
    loop {
        match messages.next().await? {
            Event::Notice(frame) => match frame.method() {
                Method::Acknowledged => {
                    acknowledged = true;
                    // What changed between the last reading and this listen was told to nobody.
                    cluster.catalogue(Era::Modern).refresh();
                }
                Method::ToolsListChanged | Method::PromptsListChanged | Method::ResourcesListChanged => {
                    cluster.catalogue(Era::Modern).refresh();
                }
                _ => {}
            },
            Event::Answer(_) => return Ok(acknowledged),
            Event::Request(_) | Event::Elsewhere(_) | Event::Primed | Event::Paused(_) => {}
        }
    }
}
