//! Metrics of the operator. Changes when another one is measured; they are named here alone.

use std::sync::Arc;
use std::time::Duration;

use bridge_runtime::metrics::{Metrics, MetricsError};
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
};

/// What is measured; cheap to clone.
#[derive(Debug, Clone)]
pub struct OperatorMetrics {
    build: IntGaugeVec,
    compile: Histogram,
    gateways: IntGauge,
    streams: IntGauge,
    propagation: HistogramVec,
    lag: IntGauge,
    answers: IntCounterVec,
    writes: IntCounterVec,
    leader: IntGauge,
    refused: IntCounter,
    ages: IntGaugeVec,
}

impl OperatorMetrics {
    /// Registers them.
    pub fn register(metrics: &Metrics) -> Result<Self, MetricsError> {
        let registry = metrics.registry();
        let build = IntGaugeVec::new(
            Opts::new("operator_build_info", "Always 1; says which version this replica is."),
            &["version"],
        )?;
        registry.register(Box::new(build.clone()))?;
        let compile = Histogram::with_opts(
            HistogramOpts::new("operator_compile_seconds", "Time to compile everything once.")
                .buckets(vec![0.001, 0.005, 0.02, 0.1, 0.5, 2.0]),
        )?;
        let gateways = IntGauge::new("operator_gateways", "Gateways that are served.")?;
        let streams =
            IntGauge::new("operator_config_streams", "Pods that get configuration from this replica.")?;
        let propagation = HistogramVec::new(
            HistogramOpts::new(
                "operator_config_propagation_seconds",
                "Time that a change took, by stage: until it was published, and from then until every pod served it.",
            )
            .buckets(vec![0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0]),
            &["stage"],
        )?;
        let lag = IntGauge::new(
            "operator_config_lag_pods",
            "Pods with a stream to this replica that do not serve yet what it has published.",
        )?;
        let answers = IntCounterVec::new(
            Opts::new("operator_config_answers_total", "Changes that pods serve, by whether all of it."),
            &["result"],
        )?;
        let writes = IntCounterVec::new(
            Opts::new(
                "operator_writes_total",
                "Requests to the API server that write, by what and with what result.",
            ),
            &["what", "result"],
        )?;
        let leader = IntGauge::new("operator_leader", "Whether this replica writes.")?;
        let refused =
            IntCounter::new("operator_streams_refused_total", "Streams refused for want of a good token.")?;
        let ages = IntGaugeVec::new(
            Opts::new("operator_watch_age_seconds", "Seconds since the API server answered a watch."),
            &["watch"],
        )?;
        registry.register(Box::new(ages.clone()))?;
        registry.register(Box::new(compile.clone()))?;
        registry.register(Box::new(propagation.clone()))?;
        for gauge in [&gateways, &streams, &lag, &leader] {
            registry.register(Box::new(gauge.clone()))?;
        }
        for counter in [&answers, &writes] {
            registry.register(Box::new(counter.clone()))?;
        }
        registry.register(Box::new(refused.clone()))?;
        Ok(Self {
            build,
            compile,
            gateways,
            streams,
            propagation,
            lag,
            answers,
            writes,
            leader,
            refused,
            ages,
        })
    }

    pub(crate) fn is_of(&self, version: &str) {
        self.build.with_label_values(&[version]).set(1);
    }

    pub(crate) fn compiled(&self, took: Duration, gateways: usize) {
        self.compile.observe(took.as_secs_f64());
        self.gateways.set(i64::try_from(gateways).unwrap_or(i64::MAX));
    }

    pub(crate) fn streams(&self, open: usize) {
        self.streams.set(i64::try_from(open).unwrap_or(i64::MAX));
    }

    /// A change of one gateway was published so long after the first event of its batch.
    pub(crate) fn published(&self, took: Duration) {
        self.propagation.with_label_values(&["compiled"]).observe(took.as_secs_f64());
    }

    /// Every pod that had a stream serves a change, so long after it was published.
    pub(crate) fn acknowledged(&self, took: Duration) {
        self.propagation.with_label_values(&["acknowledged"]).observe(took.as_secs_f64());
    }

    pub(crate) fn lag(&self, behind: usize) {
        self.lag.set(i64::try_from(behind).unwrap_or(i64::MAX));
    }

    pub(crate) fn served(&self, all: bool) {
        self.answers.with_label_values(&[if all { "ack" } else { "nack" }]).inc();
    }

    pub(crate) fn wrote(&self, what: &str, good: bool) {
        self.writes.with_label_values(&[what, if good { "ok" } else { "error" }]).inc();
    }

    pub(crate) fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    pub(crate) fn ages(&self, ages: impl IntoIterator<Item = (Arc<str>, Duration)>) {
        for (watch, age) in ages {
            let seconds = i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
            self.ages.with_label_values(&[&*watch]).set(seconds);
        }
    }

    pub(crate) fn refused(&self) {
        self.refused.inc();
    }
}
