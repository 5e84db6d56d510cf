//! Gauges of things that are counted elsewhere, set whenever they may have changed. Changes when another is added.

use std::sync::Arc;
use std::time::Duration;

use bridge_mcp::merge::ListKind;
use bridge_mcp::version::Era;
use bridge_runtime::tasks;

use crate::gateway::Gateway;

/// How often sessions and backends are counted.
const INTERVAL: Duration = Duration::from_secs(1);

/// Keeps the gauges current until the gateway drains.
pub(crate) fn keep_gauges(gateway: &Arc<Gateway>) {
    let gateway = Arc::clone(gateway);
    tasks::spawn("gauges", async move {
        let mut tick = tokio::time::interval(INTERVAL);
        loop {
            tokio::select! {
                () = gateway.drain.started() => return,
                _ = tick.tick() => set(&gateway),
            }
        }
    });
}

fn set(gateway: &Gateway) {
    gateway.metrics.sessions(gateway.sessions.len());
    let parked = gateway.parked.used();
    gateway.metrics.parked(parked.calls, parked.bytes);
    gateway.metrics.forget_backends();
    for cluster in &gateway.plan.load().clusters {
        for (era, label) in [(Era::Legacy, "legacy"), (Era::Modern, "modern")] {
            if let Some(lists) = cluster.catalogue(era).lists() {
                gateway.metrics.backend_tools(&cluster.name, label, lists.items(ListKind::Tools).len());
            }
        }
    }
}
