//! What WebSocket clients send and get, by the original gateway's names. Changes when something else of them is counted.

use std::sync::{Arc, OnceLock};

use bridge_transport::websocket::{Direction, Kind, Meter};
use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

const KINDS: usize = 5;

/// Counters of all WebSocket clients; cheap to clone. Series are resolved once, so that a message takes no lock of theirs.
#[derive(Clone)]
pub(crate) struct WebSocketMeter(Arc<Counters>);

struct Counters {
    messages: IntCounterVec,
    bytes: IntCounterVec,
    cells: [[OnceLock<[IntCounter; 2]>; KINDS]; 2],
}

impl WebSocketMeter {
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let messages = IntCounterVec::new(
            Opts::new("mcp_gateway_websocket_messages_total", "Messages of WebSocket clients."),
            &["direction", "type"],
        )?;
        let bytes = IntCounterVec::new(
            Opts::new("mcp_gateway_websocket_bytes_total", "Bytes in messages of WebSocket clients."),
            &["direction"],
        )?;
        registry.register(Box::new(messages.clone()))?;
        registry.register(Box::new(bytes.clone()))?;
        Ok(Self(Arc::new(Counters { messages, bytes, cells: Default::default() })))
    }
}

impl Meter for WebSocketMeter {
    fn count(&self, direction: Direction, kind: Kind, bytes: usize) {
        let (row, direction) = match direction {
            Direction::Inbound => (0, "inbound"),
            Direction::Outbound => (1, "outbound"),
        };
        let (column, kind) = match kind {
            Kind::Text => (0, "text"),
            Kind::Binary => (1, "binary"),
            Kind::Ping => (2, "ping"),
            Kind::Pong => (3, "pong"),
            Kind::Close => (4, "close"),
        };
        let counters = &self.0;
        let Some(cell) = counters.cells.get(row).and_then(|row| row.get(column)) else { return };
        let [messages, volume] = cell.get_or_init(|| {
            [
                counters.messages.with_label_values(&[direction, kind]),
                counters.bytes.with_label_values(&[direction]),
            ]
        });
        messages.inc();
        volume.inc_by(bytes as u64);
    }
}
