//! Keeps the views current and tells sessions what changed. Changes when clients are told differently.

use std::sync::Arc;

use bridge_mcp::merge::ListKind;
use bridge_mcp::version::Era;
use bridge_policy::route::Scope;
use bridge_runtime::tasks;
use bridge_snapshot::Backend;
use bytes::Bytes;
use tokio::sync::broadcast::error::RecvError;

use crate::gateway::Gateway;

/// Rebuilds the views whenever a catalogue changes, until the gateway stops.
pub(crate) fn keep_views(gateway: &Arc<Gateway>) {
    let wake = Arc::clone(&gateway.shared.offers_changed);
    let rebuilt = Arc::clone(gateway);
    tasks::spawn("views", async move {
        loop {
            wake.notified().await;
            rebuilt.views.rebuild(&rebuilt.plan);
        }
    });
    let mut changes = gateway.views.changes.subscribe();
    let gateway = Arc::clone(gateway);
    tasks::spawn("list-changes", async move {
        loop {
            match changes.recv().await {
                Ok(change) if change.era == Era::Legacy => announce(&gateway, &Scope::Merged, &[change.kind]),
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => announce(&gateway, &Scope::Merged, &ListKind::ALL),
                Err(RecvError::Closed) => return,
            }
        }
    });
}

/// The notification for a changed list.
pub(super) fn notification(kind: ListKind) -> &'static str {
    match kind {
        ListKind::Tools => "notifications/tools/list_changed",
        ListKind::Prompts => "notifications/prompts/list_changed",
        ListKind::Resources | ListKind::Templates => "notifications/resources/list_changed",
    }
}

/// Tells the sessions of one backend's own endpoint that its lists are others now, because other items of them are hidden.
pub(crate) fn announce_exposure(gateway: &Gateway, before: &Backend, after: &Backend) {
    let (old, new) = (&before.exposure, &after.exposure);
    let changed = [
        (ListKind::Tools, old.tools != new.tools || old.overrides != new.overrides),
        (ListKind::Prompts, old.prompts != new.prompts),
        (ListKind::Resources, old.resources != new.resources),
    ];
    let kinds: Vec<_> = changed.iter().filter_map(|(kind, changed)| changed.then_some(*kind)).collect();
    announce(gateway, &Scope::One(after.namespace.clone()), &kinds);
}

fn announce(gateway: &Gateway, scope: &Scope, kinds: &[ListKind]) {
    let messages: Vec<_> = kinds
        .iter()
        .map(|kind| Bytes::from(format!(r#"{{"jsonrpc":"2.0","method":"{}"}}"#, notification(*kind))))
        .collect();
    gateway.sessions.for_each(|session| {
        if session.scope != *scope {
            return;
        }
        let log = session.streams.standalone();
        for message in &messages {
            // Several changes that a client has not read yet are one to it.
            if !log.has_unread(message) {
                log.append(message.clone());
            }
        }
    });
}
