//! Every metric of the data plane, by the original gateway's names. Labels come from closed sets only.
//!
//! Changes when a metric is added. The series of a label set appears with its first event.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bridge_mcp::method::Method;
use bridge_mcp::translate::losses::Losses;
use bridge_policy::refusal::Reason;
use http::Response;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use super::tcp::TcpMeter;
use super::websocket::WebSocketMeter;

/// How a request ended, as the original labels it.
#[derive(Debug, Clone, Copy)]
enum Status {
    Success,
    Error,
}

impl Status {
    fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Error => "error",
        }
    }
}

/// All metrics; cheap to clone.
#[derive(Clone)]
pub(crate) struct GatewayMetrics(Arc<Metrics>);

struct Metrics {
    requests_total: IntCounterVec,
    request_duration: HistogramVec,
    requests_in_flight: IntGauge,
    connections_total: IntGauge,
    connections_active: IntGauge,
    connections_rejected: IntCounter,
    auth_failures: IntCounterVec,
    routing_errors: IntCounterVec,
    errors_by_type: IntCounterVec,
    sessions_active: IntGauge,
    parked_calls: IntGauge,
    parked_bytes: IntGauge,
    bridging_losses: IntCounterVec,
    backend_offers: IntGaugeVec,
    tcp: TcpMeter,
    websocket: WebSocketMeter,
    /// Resolved series, by method and status: a request takes no lock of the vectors.
    cells: Vec<[OnceLock<Cell>; 2]>,
}

struct Cell {
    count: IntCounter,
    duration: Histogram,
}

impl GatewayMetrics {
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let vec = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(vec.clone()))?;
            Ok::<_, prometheus::Error>(vec)
        };
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let request_duration = HistogramVec::new(
            HistogramOpts::new(
                "mcp_gateway_request_duration_seconds",
                "Time from a request to the head of its answer.",
            ),
            &["method", "status"],
        )?;
        registry.register(Box::new(request_duration.clone()))?;
        let connections_rejected =
            IntCounter::new("mcp_gateway_connections_rejected_total", "Connections refused by a limit.")?;
        registry.register(Box::new(connections_rejected.clone()))?;
        let backend_offers = IntGaugeVec::new(
            Opts::new(
                "mcp_gateway_backend_tools",
                "Tools that a backend lists, by generation; absent while unread.",
            ),
            &["backend", "era"],
        )?;
        registry.register(Box::new(backend_offers.clone()))?;
        Ok(Self(Arc::new(Metrics {
            requests_total: counters(
                "mcp_gateway_requests_total",
                "Requests answered.",
                &["method", "status"],
            )?,
            request_duration,
            requests_in_flight: gauge(
                "mcp_gateway_requests_in_flight",
                "Requests that wait for the head of their answer.",
            )?,
            connections_total: gauge("mcp_gateway_connections_total", "Connections accepted since start.")?,
            connections_active: gauge("mcp_gateway_connections_active", "Connections open.")?,
            connections_rejected,
            auth_failures: counters(
                "mcp_gateway_auth_failures_total",
                "Credentials that were not accepted, missing ones included.",
                &["reason"],
            )?,
            routing_errors: counters(
                "mcp_gateway_routing_errors_total",
                "Requests that no backend served.",
                &["reason"],
            )?,
            errors_by_type: counters(
                "mcp_gateway_errors_by_type_total",
                "Errors answered by the gateway itself.",
                &["type"],
            )?,
            sessions_active: gauge("mcp_gateway_sessions_active", "Legacy sessions open.")?,
            parked_calls: gauge(
                "mcp_gateway_parked_calls",
                "Calls that wait at a legacy server for the answers of their modern client.",
            )?,
            parked_bytes: gauge("mcp_gateway_parked_bytes", "Bytes of messages that parked calls hold.")?,
            bridging_losses: counters(
                "mcp_gateway_bridging_losses_total",
                "Messages of which a part could not cross between generations.",
                &["loss"],
            )?,
            backend_offers,
            tcp: TcpMeter::register(registry)?,
            websocket: WebSocketMeter::register(registry)?,
            cells: (0..=Method::ALL.len()).map(|_| [OnceLock::new(), OnceLock::new()]).collect(),
        })))
    }

    /// A request begins.
    pub(crate) fn start(&self, method: Method) -> Timer {
        self.0.requests_in_flight.inc();
        Timer { metrics: self.clone(), method, started: Instant::now(), outcome: Status::Error }
    }

    /// The gateway itself answered with an error.
    pub(crate) fn refused(&self, reason: Reason) {
        let metrics = &self.0;
        metrics.errors_by_type.with_label_values(&[reason.as_str()]).inc();
        match reason {
            Reason::UnknownTarget
            | Reason::UnknownResource
            | Reason::AmbiguousTarget
            | Reason::UnknownPath
            | Reason::BackendUnavailable
            | Reason::BackendCredential
            | Reason::BackendLost
            | Reason::BackendTimeout
            | Reason::BackendBusy
            | Reason::BackendProtocol
            | Reason::EraMismatch => metrics.routing_errors.with_label_values(&[reason.as_str()]).inc(),
            _ => {}
        }
    }

    /// A credential was not accepted.
    pub(crate) fn auth_failed(&self, reason: &'static str) {
        self.0.auth_failures.with_label_values(&[reason]).inc();
    }

    /// A connection was accepted; it is open until the guard is dropped.
    pub(crate) fn connection(&self) -> OpenConnection {
        self.0.connections_total.inc();
        self.0.connections_active.inc();
        OpenConnection(self.clone())
    }

    /// A connection was refused.
    pub(crate) fn connection_rejected(&self) {
        self.0.connections_rejected.inc();
    }

    /// What counts the messages of TCP clients.
    pub(crate) fn tcp(&self) -> TcpMeter {
        self.0.tcp.clone()
    }

    /// What counts the messages of WebSocket clients.
    pub(crate) fn websocket(&self) -> WebSocketMeter {
        self.0.websocket.clone()
    }

    /// Sessions at once.
    pub(crate) fn sessions(&self, count: usize) {
        self.0.sessions_active.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Calls that wait for their clients, and the bytes of their messages.
    pub(crate) fn parked(&self, calls: usize, bytes: usize) {
        self.0.parked_calls.set(i64::try_from(calls).unwrap_or(i64::MAX));
        self.0.parked_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Something could not cross between generations.
    pub(crate) fn lost(&self, losses: Losses) {
        for loss in losses.iter() {
            self.0.bridging_losses.with_label_values(&[loss.as_str()]).inc();
        }
    }

    /// Tools of a backend.
    pub(crate) fn backend_tools(&self, backend: &str, era: &str, tools: usize) {
        let tools = i64::try_from(tools).unwrap_or(i64::MAX);
        self.0.backend_offers.with_label_values(&[backend, era]).set(tools);
    }

    /// Forgets what was known of backends, before it is told anew.
    pub(crate) fn forget_backends(&self) {
        self.0.backend_offers.reset();
    }

    fn cell(&self, method: Method, status: Status) -> Option<&Cell> {
        let row = Method::ALL.iter().position(|known| *known == method).unwrap_or(Method::ALL.len());
        let cell = self.0.cells.get(row)?.get(status as usize)?;
        let labels = [method.as_str(), status.as_str()];
        Some(cell.get_or_init(|| Cell {
            count: self.0.requests_total.with_label_values(&labels),
            duration: self.0.request_duration.with_label_values(&labels),
        }))
    }
}

/// Marks an answer as an error of the gateway's own.
#[derive(Clone)]
pub(crate) struct Failed;

/// A request in flight. Dropped without an outcome (the client left), it counts as an error.
pub(crate) struct Timer {
    metrics: GatewayMetrics,
    method: Method,
    started: Instant,
    outcome: Status,
}

impl Timer {
    /// The head of the answer is known. An error of the gateway's own counts as one, whatever status it travels with.
    pub(crate) fn finish<B>(mut self, reply: &Response<B>) {
        if reply.status().is_success() && reply.extensions().get::<Failed>().is_none() {
            self.outcome = Status::Success;
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.metrics.0.requests_in_flight.dec();
        if let Some(cell) = self.metrics.cell(self.method, self.outcome) {
            cell.count.inc();
            cell.duration.observe(self.started.elapsed().as_secs_f64());
        }
    }
}

/// An open connection.
pub(crate) struct OpenConnection(GatewayMetrics);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.0.connections_active.dec();
    }
}
