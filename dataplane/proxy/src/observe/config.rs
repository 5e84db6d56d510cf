//! Metrics of a pod's configuration, read when they are scraped. Changes when they show another fact.

use std::sync::Arc;
use std::time::Instant;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, IntGauge, IntGaugeVec, Opts, Registry};

use crate::discovery::Standing;

/// What is shown of a [`Standing`].
pub(crate) struct ConfigCollector {
    standing: Arc<Standing>,
    connected: IntGauge,
    revision: IntGauge,
    age: IntGauge,
    rejected: IntGauge,
    rejections: IntCounter,
    held: IntCounter,
    info: IntGaugeVec,
    peers: IntGauge,
}

impl ConfigCollector {
    pub(crate) fn register(registry: &Registry, standing: Arc<Standing>) -> Result<(), prometheus::Error> {
        let collector = Self {
            standing,
            connected: IntGauge::new(
                "mcp_gateway_config_stream_connected",
                "Whether a configuration stream to an operator is open.",
            )?,
            revision: IntGauge::new(
                "mcp_gateway_config_revision",
                "Revision of the configuration that is served.",
            )?,
            age: IntGauge::new(
                "mcp_gateway_config_age_seconds",
                "Time since an operator last confirmed the configuration; 0 while a stream is open.",
            )?,
            rejected: IntGauge::new(
                "mcp_gateway_config_rejected",
                "Resources that were sent and are not served.",
            )?,
            rejections: IntCounter::new(
                "mcp_gateway_config_rejections_total",
                "Resources that were rejected.",
            )?,
            held: IntCounter::new(
                "mcp_gateway_config_held_total",
                "Changes that were held: they were older, or removed most backends.",
            )?,
            info: IntGaugeVec::new(
                Opts::new("mcp_gateway_config_info", "The configuration that is served: 1."),
                &["hash", "source"],
            )?,
            peers: IntGauge::new("mcp_gateway_peers", "Other pods of the same gateway that this one knows.")?,
        };
        registry.register(Box::new(collector))
    }

    fn parts(&self) -> [&dyn Collector; 8] {
        [
            &self.connected,
            &self.revision,
            &self.age,
            &self.rejected,
            &self.rejections,
            &self.held,
            &self.info,
            &self.peers,
        ]
    }

    fn update(&self) {
        let facts = self.standing.facts();
        let gauge = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.connected.set(i64::from(facts.connected));
        self.revision.set(gauge(facts.revision));
        self.age.set(gauge(facts.age(Instant::now())));
        self.rejected.set(gauge(facts.rejected as u64));
        self.rejections.inc_by(facts.rejections.saturating_sub(self.rejections.get()));
        self.held.inc_by(facts.held.saturating_sub(self.held.get()));
        self.peers.set(gauge(self.standing.peers().map_or(0, |peers| peers.count() as u64)));
        self.info.reset();
        if let Some(source) = facts.source {
            self.info.with_label_values(&[facts.hash.as_str(), source.as_str()]).set(1);
        }
    }
}

impl Collector for ConfigCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.parts().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.update();
        self.parts().into_iter().flat_map(Collector::collect).collect()
    }
}
