//! `ServiceMonitor`s: their kind belongs to somebody else, and may be defined at any time. Changes when they are looked for
//! differently.

use std::time::{Duration, Instant};

use bridge_api::v1alpha1::McpGateway;
use kube::ResourceExt as _;

use super::Writer;
use crate::apply::ApplyError;
use crate::desired::{Owned, OwnedKind};
use crate::layout;
use crate::start::has_service_monitors;
use crate::world::ObjectName;

/// Between looks for the definition, while somebody wants one.
const AGAIN: Duration = Duration::from_mins(1);

impl Writer {
    /// Looks for the definition when a gateway wants a monitor and there was none.
    pub(super) async fn find_monitors(&mut self, gateway: &McpGateway, now: Instant) {
        if !wanted(gateway) || self.installation.service_monitors || self.installation.confined {
            return;
        }
        if self.monitors_looked_at.is_none_or(|at| now >= at + AGAIN) {
            self.monitors_looked_at = Some(now);
            match has_service_monitors(&self.client).await {
                Ok(found) => self.installation.service_monitors = found,
                Err(error) => tracing::warn!(%error, "whether there are ServiceMonitors is not known"),
            }
        }
        if !self.installation.service_monitors {
            self.wake_at(now + AGAIN);
        }
    }

    /// Deletes the monitor of a gateway that wants none any more. No watch knows them, so each gateway's is looked at once.
    pub(super) async fn remove_monitor(
        &mut self,
        gateway: &McpGateway,
        applied: &[Owned],
    ) -> Result<(), ApplyError> {
        let uid = gateway.uid().unwrap_or_default();
        if applied.iter().any(|owned| owned.kind == OwnedKind::ServiceMonitor) {
            self.unmonitored.remove(&uid);
            return Ok(());
        }
        if !self.installation.service_monitors || self.unmonitored.contains(&uid) {
            return Ok(());
        }
        let name =
            ObjectName::new(gateway.namespace().unwrap_or_default(), layout::workload(&gateway.name_any()));
        let kind = OwnedKind::ServiceMonitor;
        let found = self.applier.look(kind, &name).await?;
        let ours = found.filter(|found| found.owner_references().iter().any(|owner| owner.uid == uid));
        if let Some(monitor) = ours {
            self.applier.delete(kind, &name, (&monitor, gateway.metadata.generation)).await?;
        }
        self.unmonitored.insert(uid);
        Ok(())
    }
}

fn wanted(gateway: &McpGateway) -> bool {
    let metrics = gateway.spec.observability.as_ref().and_then(|all| all.metrics.as_ref());
    let monitor = metrics.and_then(|metrics| metrics.service_monitor.as_ref());
    monitor.is_some_and(|monitor| monitor.enabled == Some(true))
}
