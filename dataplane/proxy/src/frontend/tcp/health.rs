//! The health port of the original: one health check per connection, in dialect G, without negotiation. Changes when the
//! check or its answer does.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bridge_mcp::original::binary::{BinaryFrame, Dialect, FrameKind};
use bridge_transport::binary;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use crate::gateway::Gateway;
use crate::observe::tcp::ProtocolError;

/// Time for the question, and again for its answer to be taken.
const PATIENCE: Duration = Duration::from_secs(5);
/// Largest question.
const MAX_PAYLOAD: usize = 64 * 1024;

/// Answers one health check.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite>(gateway: &Gateway, stream: S) {
    let meter = gateway.metrics.tcp();
    let (mut reader, mut writer) = binary::accepted(stream, MAX_PAYLOAD);
    let asked = match timeout(PATIENCE, reader.next()).await {
        Ok(Ok(Some(asked))) => asked,
        Ok(Ok(None)) => return,
        Ok(Err(error)) => {
            tracing::debug!(%error, "health check not read");
            return meter.broken(ProtocolError::HealthReceive);
        }
        Err(_) => return meter.broken(ProtocolError::HealthReceive),
    };
    if asked.kind != FrameKind::HealthCheck {
        return meter.broken(ProtocolError::HealthInvalid);
    }
    writer.speak(reader.dialect().unwrap_or(Dialect::G));
    let answer = BinaryFrame::new(FrameKind::HealthCheck, answer(gateway, &asked.payload));
    let written = async {
        writer.queue(&answer)?;
        writer.close().await
    };
    if !matches!(timeout(PATIENCE, written).await, Ok(Ok(()))) {
        meter.broken(ProtocolError::HealthSend);
    }
}

fn answer(gateway: &Gateway, asked: &[u8]) -> Bytes {
    let now = SystemTime::now();
    let page = gateway.health.respond("/health", now);
    let page: Value = page.and_then(|page| serde_json::from_str(&page.body).ok()).unwrap_or_default();
    let healthy = page["healthy"] == true;
    let simple = serde_json::from_slice::<Value>(asked).is_ok_and(|asked| asked["check"] == "simple");
    let answer = if simple { json!({ "healthy": healthy }) } else { report(&page, healthy, now) };
    answer.to_string().into()
}

/// The checks of the health page, by the names and members that the original's answer has.
fn report(page: &Value, healthy: bool, now: SystemTime) -> Value {
    let time = &page["timestamp"];
    let mut checks = serde_json::Map::new();
    for (name, check) in page["checks"].as_object().into_iter().flatten() {
        let check = json!({ "healthy": check["healthy"], "message": check["message"], "last_check": time });
        checks.insert(name.clone(), check);
    }
    let tcp = json!({ "healthy": true, "message": "TCP service is running", "last_check": time });
    checks.insert("tcp_service".to_owned(), tcp);
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    json!({ "checks": checks, "healthy": healthy, "timestamp": seconds })
}
