//! What a pod tells its operator about itself. Changes when status can tell another fact from what is known here.

use bridge_mcp::merge::ListKind;
use bridge_mcp::version::Era;
use bridge_policy::refusal::Reason;
use bridge_snapshot::push::{BackendReport, ListenerReport, Problem, Report, Server};

use crate::cluster::{Catalogue, Cluster, Lists, Offer};
use crate::run;
use crate::upstream::ServerInfo;

/// The state now. `dropped` are requests that were given up.
pub(super) fn report(server: &run::Server, dropped: u64) -> Report {
    let gateway = server.gateway();
    let plan = gateway.plan.load();
    let listeners = plan.snapshot.listeners.iter();
    Report {
        sessions: gateway.sessions.len() as u64,
        dropped,
        // A listener that cannot be opened refuses the whole configuration.
        listeners: listeners
            .map(|listener| ListenerReport { name: listener.name.clone(), error: None })
            .collect(),
        backends: plan.clusters.iter().map(|cluster| backend(cluster)).collect(),
    }
}

fn backend(cluster: &Cluster) -> BackendReport {
    let catalogues = [Era::Modern, Era::Legacy].map(|era| cluster.catalogue(era));
    let offers = catalogues.map(Catalogue::offer);
    let tools = offers.iter().filter_map(|offer| match offer {
        Offer::Ready(lists) => Some((lists.items(ListKind::Tools).len(), lists.hidden_tools)),
        Offer::Loading | Offer::Absent(_) => None,
    });
    let (exposed, filtered) = tools.max_by_key(|(exposed, hidden)| exposed + hidden).unwrap_or_default();
    let server = offers.iter().find_map(|offer| match offer {
        Offer::Ready(lists) => Some(about(lists)),
        Offer::Loading | Offer::Absent(_) => None,
    });
    // What was read stays listed while the server is away, which does not make it healthy.
    let each = catalogues.iter().zip(&offers);
    let is_ready = each
        .clone()
        .any(|(catalogue, offer)| matches!(offer, Offer::Ready(_)) && catalogue.trouble().is_none());
    let troubles = each.filter(|_| !is_ready).filter_map(|(catalogue, offer)| match offer {
        Offer::Absent(refusal) => Some(refusal.reason),
        Offer::Loading | Offer::Ready(_) => catalogue.trouble(),
    });
    // That it does not speak a generation says less than the trouble in the other.
    let problem = troubles.min_by_key(|reason| *reason == Reason::EraMismatch).map(problem);
    let (endpoints, failing) = cluster.endpoint_counts();
    BackendReport {
        name: cluster.config.name.clone(),
        endpoints: count(endpoints),
        healthy: if is_ready { count(endpoints.saturating_sub(failing)) } else { 0 },
        ejected: count(failing),
        problem,
        tools: count(exposed + filtered),
        exposed: count(exposed),
        filtered: count(filtered),
        conflicts: 0,
        protocol: cluster.protocol().map(str::to_owned),
        server,
    }
}

fn about(lists: &Lists) -> Server {
    let ServerInfo { name, version } = lists.server().clone();
    Server { name, version, protocol: lists.handshake.version.to_string() }
}

fn problem(reason: Reason) -> Problem {
    match reason {
        Reason::BackendCredential => Problem::Unauthorized,
        Reason::BackendProtocol | Reason::EraMismatch => Problem::ProtocolMismatch,
        _ => Problem::Unreachable,
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
