//! What clients of the binary protocol on TCP send and get, by the original gateway's names. Changes when something else of
//! them is counted.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bridge_mcp::original::binary::FrameKind;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
};

/// Which way a frame went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the client.
    Inbound,
    /// To the client.
    Outbound,
}

/// How the protocol was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProtocolError {
    /// What came cannot be read.
    Receive,
    /// What was to be said cannot be written.
    Send,
    /// The same on the health port.
    HealthReceive,
    /// Something else than a health check on the health port.
    HealthInvalid,
    /// An answer on the health port that cannot be written.
    HealthSend,
}

impl ProtocolError {
    fn label(self) -> &'static str {
        match self {
            Self::Receive => "receive_error",
            Self::Send => "send_error",
            Self::HealthReceive => "health_receive_error",
            Self::HealthInvalid => "health_invalid_message",
            Self::HealthSend => "health_send_error",
        }
    }
}

/// Metrics of all TCP clients; cheap to clone. Series are resolved once, so that a frame takes no lock of theirs.
#[derive(Clone)]
pub(crate) struct TcpMeter(Arc<Inner>);

struct Inner {
    connections: IntGauge,
    open: IntGauge,
    messages: IntCounterVec,
    bytes: IntCounterVec,
    durations: HistogramVec,
    errors: IntCounterVec,
    cells: Vec<[OnceLock<Cell>; 2]>,
    taken: Vec<OnceLock<Histogram>>,
}

struct Cell {
    messages: IntCounter,
    bytes: IntCounter,
}

/// An open connection, until dropped.
pub(crate) struct OpenTcp(TcpMeter);

impl TcpMeter {
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
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
        let durations = HistogramVec::new(
            HistogramOpts::new(
                "mcp_gateway_tcp_message_duration_seconds",
                "Time from a whole message of a TCP client until it is handed on.",
            ),
            &["message_type"],
        )?;
        registry.register(Box::new(durations.clone()))?;
        Ok(Self(Arc::new(Inner {
            connections: gauge("mcp_gateway_tcp_connections_total", "TCP connections served since start.")?,
            open: gauge("mcp_gateway_tcp_connections_active", "TCP connections open.")?,
            messages: counters(
                "mcp_gateway_tcp_messages_total",
                "Messages of TCP clients.",
                &["direction", "type"],
            )?,
            bytes: counters(
                "mcp_gateway_tcp_bytes_total",
                "Bytes in messages of TCP clients, headers included.",
                &["direction"],
            )?,
            durations,
            errors: counters(
                "mcp_gateway_tcp_protocol_errors_total",
                "TCP connections that broke the protocol.",
                &["error_type"],
            )?,
            cells: FrameKind::ALL.iter().map(|_| [OnceLock::new(), OnceLock::new()]).collect(),
            taken: FrameKind::ALL.iter().map(|_| OnceLock::new()).collect(),
        })))
    }

    /// A connection begins.
    pub(crate) fn connection(&self) -> OpenTcp {
        self.0.connections.inc();
        self.0.open.inc();
        OpenTcp(self.clone())
    }

    /// A frame of `bytes` bytes was read or queued.
    pub(crate) fn count(&self, direction: Direction, kind: FrameKind, bytes: usize) {
        let (column, name) = match direction {
            Direction::Inbound => (0, "inbound"),
            Direction::Outbound => (1, "outbound"),
        };
        let Some(cell) = self.0.cells.get(row(kind)).and_then(|row| row.get(column)) else { return };
        let cell = cell.get_or_init(|| Cell {
            messages: self.0.messages.with_label_values(&[name, kind.label()]),
            bytes: self.0.bytes.with_label_values(&[name]),
        });
        cell.messages.inc();
        cell.bytes.inc_by(bytes as u64);
    }

    /// A frame was handed on.
    pub(crate) fn taken(&self, kind: FrameKind, after: Duration) {
        let Some(cell) = self.0.taken.get(row(kind)) else { return };
        cell.get_or_init(|| self.0.durations.with_label_values(&[kind.label()])).observe(after.as_secs_f64());
    }

    /// The protocol was broken.
    pub(crate) fn broken(&self, error: ProtocolError) {
        self.0.errors.with_label_values(&[error.label()]).inc();
    }
}

fn row(kind: FrameKind) -> usize {
    usize::from(kind.number()).saturating_sub(1)
}

impl Drop for OpenTcp {
    fn drop(&mut self) {
        self.0.0.open.dec();
    }
}
