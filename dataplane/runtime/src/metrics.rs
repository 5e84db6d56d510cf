//! The metrics registry of this process, passed by value. Changes when the exposition format or the library changes.

use std::sync::Arc;

use prometheus::{Encoder as _, Registry, TextEncoder};

use crate::process::ProcessMetrics;

/// Content type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// Label value that stands for everything outside a known set.
pub const OTHER: &str = "other";

/// A registry and what is in it. Cheap to clone; tests make one each.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    process: Arc<ProcessMetrics>,
}

/// The metrics could not be collected or written.
#[derive(Debug, thiserror::Error)]
#[error("metrics: {0}")]
pub struct MetricsError(#[from] prometheus::Error);

impl Metrics {
    /// A registry that holds the `process_*` metrics.
    pub fn new() -> Result<Self, MetricsError> {
        let registry = Registry::new();
        let process = Arc::new(ProcessMetrics::register(&registry)?);
        Ok(Self { registry, process })
    }

    /// Where metrics are registered.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The text exposition format, version 0.0.4.
    pub fn render(&self) -> Result<Vec<u8>, MetricsError> {
        self.process.update();
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

/// `value` if it is one of `known`, else [`OTHER`]. Every label that a peer can influence goes through this, so that
/// no peer can grow the number of series.
pub fn bounded_label(value: &str, known: &[&'static str]) -> &'static str {
    known.iter().find(|candidate| **candidate == value).copied().unwrap_or(OTHER)
}

#[cfg(test)]
mod tests {
    use prometheus::IntCounterVec;

    use super::*;

    #[test]
    fn renders_own_and_process_metrics() {
        let metrics = Metrics::new().unwrap();
        let requests =
            IntCounterVec::new(prometheus::Opts::new("requests_total", "Requests."), &["method"]).unwrap();
        metrics.registry().register(Box::new(requests.clone())).unwrap();
        for method in ["tools/call", "x".repeat(1000).as_str(), "tools/call"] {
            requests.with_label_values(&[bounded_label(method, &["ping", "tools/call"])]).inc();
        }
        let text = String::from_utf8(metrics.render().unwrap()).unwrap();
        assert!(text.contains("requests_total{method=\"tools/call\"} 2\n"), "{text}");
        assert!(text.contains("requests_total{method=\"other\"} 1\n"), "{text}");
        for name in [
            "process_resident_memory_bytes",
            "process_open_fds",
            "process_start_time_seconds",
            "process_threads",
        ] {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            let value: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
            assert!(value > 0.0, "{name}: {line}");
        }
        assert!(text.contains("process_cpu_seconds_total"), "{text}");
    }

    #[test]
    fn two_registries_do_not_share_anything() {
        let (first, second) = (Metrics::new().unwrap(), Metrics::new().unwrap());
        let counter = prometheus::IntCounter::new("only_first", "x").unwrap();
        first.registry().register(Box::new(counter)).unwrap();
        assert!(!String::from_utf8(second.render().unwrap()).unwrap().contains("only_first"));
    }
}
