//! Log messages to the client. Changes when the logging part of the protocol does.
#![expect(deprecated, reason = "the specification deprecates logging, but it is still part of the surface")]

use rmcp::RoleServer;
use rmcp::model::{LoggingLevel, LoggingMessageNotificationParam, SetLevelRequestParams};
use rmcp::service::RequestContext;
use serde_json::Value;

use crate::era::is_modern;
use crate::state::Session;

/// Severity of a log message.
pub(crate) type Level = LoggingLevel;
/// Parameters of `logging/setLevel`.
pub(crate) type SetLevel = SetLevelRequestParams;

const LEVEL_KEY: &str = "io.modelcontextprotocol/logLevel";

/// True when the request names a level that does not exist.
pub(crate) fn level_is_bad(context: &RequestContext<RoleServer>) -> bool {
    context.meta.contains_key(LEVEL_KEY) && context.meta.log_level().is_none()
}

/// Sets the level of a legacy session.
pub(crate) fn set_level(session: &Session, request: &SetLevel) {
    *session.log_level.lock() = Some(request.level);
}

/// Logs at level info, when the level in force allows it.
pub(crate) async fn log(session: &Session, context: &RequestContext<RoleServer>, message: &str) {
    let threshold = if is_modern(context) {
        // A request that names no level gets no logs.
        let Some(level) = context.meta.log_level() else { return };
        level
    } else {
        session.log_level.lock().unwrap_or(Level::Info)
    };
    if rank(threshold) > rank(Level::Info) {
        return;
    }
    let entry = LoggingMessageNotificationParam::new(Level::Info, Value::from(message))
        .with_logger("mcp-test-server");
    if let Err(error) = context.peer.notify_logging_message(entry).await {
        tracing::debug!(%error, "log was not delivered");
    }
}

/// Severity as in RFC 5424, turned so that more severe is higher.
fn rank(level: Level) -> u8 {
    match level {
        Level::Debug => 0,
        Level::Info => 1,
        Level::Notice => 2,
        Level::Warning => 3,
        Level::Error => 4,
        Level::Critical => 5,
        Level::Alert => 6,
        Level::Emergency => 7,
    }
}
