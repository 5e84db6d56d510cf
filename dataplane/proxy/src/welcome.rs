//! What `--welcome` prints for a person who starts the gateway by hand: where it is, how to connect a client, what to
//! try. Changes when a newcomer needs to know something else.

use std::fmt::Write as _;
use std::net::SocketAddr;

use bridge_mcp::merge::ListKind;
use bridge_mcp::version::Era;
use serde_json::json;

use crate::cluster::Offer;
use crate::gateway::Gateway;

/// One backend as a newcomer sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendSummary {
    /// Its namespace.
    pub namespace: String,
    /// Generations of clients that it serves, with the number of tools that they see.
    pub offers: Vec<(&'static str, usize)>,
    /// Why it is absent, when it is.
    pub absent: Option<String>,
}

/// Waits for the backends, within bounds, and says what they offer.
pub(crate) async fn summary(gateway: &Gateway) -> Vec<BackendSummary> {
    let plan = gateway.plan.load_full();
    let settled = async {
        for cluster in &plan.clusters {
            for era in [Era::Legacy, Era::Modern] {
                cluster.settled(era).await;
            }
        }
    };
    // A backend that is slower than this is shown as absent.
    drop(tokio::time::timeout(plan.snapshot.limits.catalogue_wait * 6, settled).await);
    let describe = |cluster: &std::sync::Arc<crate::cluster::Cluster>| {
        let mut summary =
            BackendSummary { namespace: cluster.config.namespace.clone(), offers: Vec::new(), absent: None };
        for (era, name) in [(Era::Legacy, "2024-11-05 to 2025-11-25"), (Era::Modern, "2026-07-28")] {
            match cluster.offer(era) {
                Offer::Ready(lists) => summary.offers.push((name, lists.items(ListKind::Tools).len())),
                Offer::Absent(refusal) => summary.absent = Some(refusal.detail),
                Offer::Loading => summary.absent = Some("not ready yet".to_owned()),
            }
        }
        summary
    };
    plan.clusters.iter().map(describe).collect()
}

/// The text.
pub fn text(address: SocketAddr, tls: bool, backends: &[BackendSummary]) -> String {
    let scheme = if tls { "https" } else { "http" };
    let url = format!("{scheme}://{address}/mcp");
    let mut out = format!("\nMCP Bridge is running.\n\n  all backends    {url}\n");
    for backend in backends {
        let offers: Vec<_> =
            backend.offers.iter().map(|(era, tools)| format!("{tools} tools for clients of {era}")).collect();
        let offers = match (&backend.absent, offers.is_empty()) {
            (Some(reason), true) => reason.clone(),
            _ => offers.join(", "),
        };
        // Writing to a string does not fail.
        let _ = writeln!(out, "  {:<15} {url}/{}   {offers}", backend.namespace, backend.namespace);
    }
    let client = json!({ "mcpServers": { "mcp-bridge": { "type": "http", "url": url } } });
    let client = serde_json::to_string_pretty(&client).unwrap_or_default();
    let insecure = if tls { " -k" } else { "" };
    let _ = write!(
        out,
        r#"
Client configuration (Claude, Cursor, VS Code and others take it as it is):

{client}

List all tools from a shell:

  curl -s{insecure} {url} \
    -H 'Content-Type: application/json' -H 'Accept: application/json, text/event-stream' \
    -H 'MCP-Protocol-Version: 2026-07-28' -H 'Mcp-Method: tools/list' \
    -d '{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{{"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{{}}}}}}}}'

Stop with Ctrl-C.

"#
    );
    out
}
