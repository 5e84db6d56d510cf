//! One tool call: its arguments, its way to the client, and how it may end. Changes when tools get another facility.

use std::sync::Arc;
use std::time::Duration;

use rmcp::RoleServer;
use rmcp::model::{
    CallToolResponse, CallToolResult, ContentBlock, CreateTaskResult, ErrorData, InputRequiredResult,
    JsonObject, ProgressNotificationParam,
};
use rmcp::service::RequestContext;
use serde_json::Value;

use crate::input_required::Inputs;
use crate::logging;
use crate::state::{Session, Shared};

/// What a tool hands back.
pub(crate) type Reply = Result<CallToolResult, Stop>;

/// Ends of a call other than a plain result.
pub(crate) enum Stop {
    /// The user is needed first (modern only).
    Ask(Box<InputRequiredResult>),
    /// The work goes on as a task (modern only).
    Task(Box<CreateTaskResult>),
    /// A JSON-RPC error.
    Protocol(ErrorData),
    /// A result that says why it failed.
    Failed(String),
}

impl From<ErrorData> for Stop {
    fn from(error: ErrorData) -> Self {
        Self::Protocol(error)
    }
}

/// The world did not change as the call wanted.
impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(format!("the fixture's state cannot be changed: {error}"))
    }
}

/// Maps a tool's reply to the SDK's form.
pub(crate) fn respond(reply: Reply) -> Result<CallToolResponse, ErrorData> {
    match reply {
        Ok(result) => Ok(result.into()),
        Err(Stop::Ask(result)) => Ok((*result).into()),
        Err(Stop::Task(result)) => Ok((*result).into()),
        Err(Stop::Failed(text)) => Ok(CallToolResult::error(vec![ContentBlock::text(text)]).into()),
        Err(Stop::Protocol(error)) => Err(error),
    }
}

/// A successful result of one text.
#[expect(clippy::unnecessary_wraps, reason = "tools end with it, and a tool ends with a reply")]
pub(crate) fn text(text: impl Into<String>) -> Reply {
    Ok(CallToolResult::success(vec![ContentBlock::text(text)]))
}

/// A call in progress.
pub(crate) struct Call {
    pub(crate) shared: Arc<Shared>,
    pub(crate) session: Arc<Session>,
    pub(crate) context: RequestContext<RoleServer>,
    pub(crate) arguments: JsonObject,
    pub(crate) inputs: Inputs,
}

impl Call {
    /// A required string argument.
    pub(crate) fn string(&self, name: &str) -> Result<&str, Stop> {
        self.arguments
            .get(name)
            .and_then(Value::as_str)
            .ok_or_else(|| Stop::Failed(format!("argument {name:?} must be a string")))
    }

    /// A required argument that is a whole number of at least zero.
    pub(crate) fn whole(&self, name: &str) -> Result<u64, Stop> {
        self.arguments
            .get(name)
            .and_then(Value::as_u64)
            .ok_or_else(|| Stop::Failed(format!("argument {name:?} must be a whole number of at least 0")))
    }

    /// Waits, unless the call is cancelled first.
    pub(crate) async fn pause(&self, time: Duration) -> Result<(), Stop> {
        tokio::select! {
            () = tokio::time::sleep(time) => Ok(()),
            () = self.context.ct.cancelled() => Err(Stop::Failed("cancelled".to_owned())),
        }
    }

    /// Reports progress when the caller asked for it.
    pub(crate) async fn progress(&self, progress: f64, total: f64) {
        let Some(token) = self.context.meta.get_progress_token() else { return };
        let report = ProgressNotificationParam::new(token, progress).with_total(total);
        if let Err(error) = self.context.peer.notify_progress(report).await {
            tracing::debug!(%error, "progress was not delivered");
        }
    }

    /// Logs to the client at level info.
    pub(crate) async fn log(&self, message: &str) {
        logging::log(&self.session, &self.context, message).await;
    }
}
