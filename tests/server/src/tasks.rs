//! The tasks extension (SEP-2663) on the SDK's task manager. Changes when the extension does.

use std::future::Future;
use std::sync::Arc;

use rmcp::model::{CallToolResult, CreateTaskResult, TASKS_EXTENSION_ID};
use rmcp::task_manager::{TaskContext, TaskExit, TaskOptions};
use serde_json::Value;

use crate::call::{Call, Reply, Stop};
use crate::input_required::Ask;
use crate::state::Shared;

pub(crate) const EXTENSION: &str = TASKS_EXTENSION_ID;

/// Suggested to pollers, in milliseconds: short, because tests wait for it.
const POLL_INTERVAL: u64 = 100;

/// True when this request declares the extension; only then may it be answered with a task.
pub(crate) fn declared(call: &Call) -> bool {
    call.inputs.is_modern() && call.inputs.client().supports_tasks()
}

/// Starts a task and ends the call with its handle.
pub(crate) fn start<F, W>(shared: &Arc<Shared>, work: F) -> Reply
where
    F: FnOnce(TaskContext) -> W,
    W: Future<Output = Result<CallToolResult, TaskExit>> + Send + 'static,
{
    let options = TaskOptions::new().with_poll_interval_ms(POLL_INTERVAL);
    let task = shared.tasks.spawn(options, |context| Box::pin(work(context)));
    Err(Stop::Task(Box::new(CreateTaskResult::new(task))))
}

/// Asks the user inside a task. Keys are used once in the life of a task, so a bad answer is asked again under a new key.
pub(crate) async fn ask(task: &TaskContext, key: &str, ask: &Ask) -> Result<Value, TaskExit> {
    let mut attempt = 1;
    loop {
        let key = if attempt == 1 { key.to_owned() } else { format!("{key}-{attempt}") };
        let answer = task.request_input(key, ask.request()?).await?;
        if ask.is_answered_by(&answer) {
            return Ok(answer);
        }
        attempt += 1;
    }
}
