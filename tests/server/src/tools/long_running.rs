//! Tools of the tasks extension. Changes when a way to finish or to pause a task is added.
//!
//! A client that declares the extension gets a task; others get the same work inside the call, except from
//! tools that insist on a task.

use std::time::Duration;

use rmcp::model::{CallToolResult, ContentBlock, ErrorData};
use rmcp::task_manager::TaskExit;
use serde_json::{Value, json};

use crate::call::{Call, Reply, Stop, text};
use crate::input_required::{Ask, StatePolicy, missing};
use crate::tasks;

use super::input::outcome;
use super::mrtr::{ask_name, name_in};
use super::{Entry, arguments, entry, no_arguments};

/// How long `failing_job` works before it fails.
const WORK: Duration = Duration::from_secs(1);

pub(super) fn tools() -> Vec<Entry> {
    vec![
        entry("greet", "Greets at once, never as a task", arguments(&[("name", "string")]), |call| {
            Box::pin(async move { text(format!("Hello, {}!", call.string("name")?)) })
        }),
        entry(
            "slow_compute",
            "Works for some seconds",
            json!({
                "type": "object",
                "properties": {
                    "seconds": { "type": "number", "minimum": 0 },
                    "label": { "type": "string" },
                },
                "required": ["seconds"],
            }),
            |call| Box::pin(slow_compute(call)),
        ),
        entry("failing_job", "Reports a failure after a second; only as a task", no_arguments(), |call| {
            Box::pin(failing_job(call))
        }),
        entry("protocol_error_job", "Ends with a protocol error", no_arguments(), |call| {
            Box::pin(async move { protocol_error_job(&call) })
        }),
        entry("confirm_delete", "Asks before it deletes", arguments(&[("filename", "string")]), |call| {
            Box::pin(confirm_delete(call))
        }),
        entry("multi_input", "Asks two questions at once", no_arguments(), |call| {
            Box::pin(multi_input(call))
        }),
        entry(
            "test_tool_with_task",
            "Asks for a name in the call, then goes on as a task",
            no_arguments(),
            |call| Box::pin(with_task(call)),
        ),
    ]
}

async fn slow_compute(call: Call) -> Reply {
    let seconds = call
        .arguments
        .get("seconds")
        .and_then(Value::as_f64)
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| Stop::Failed("argument \"seconds\" must be a number of at least 0".to_owned()))?;
    let label = call.arguments.get("label").and_then(Value::as_str).unwrap_or("work");
    let done = format!("Computed {label} in {} s", seconds.as_secs_f64());
    if seconds.is_zero() || !tasks::declared(&call) {
        call.pause(seconds).await?;
        return text(done);
    }
    tasks::start(&call.shared, |task| async move {
        tokio::select! {
            () = tokio::time::sleep(seconds) => Ok(success(done)),
            () = task.cancelled() => Err(TaskExit::Cancelled),
        }
    })
}

async fn failing_job(call: Call) -> Reply {
    let failed = "The job failed";
    if tasks::declared(&call) {
        return tasks::start(&call.shared, |task| async move {
            tokio::select! {
                () = tokio::time::sleep(WORK) => Ok(CallToolResult::error(vec![ContentBlock::text(failed)])),
                () = task.cancelled() => Err(TaskExit::Cancelled),
            }
        });
    }
    insist_on_tasks(&call)?;
    call.pause(WORK).await?;
    Err(Stop::Failed(failed.to_owned()))
}

fn protocol_error_job(call: &Call) -> Reply {
    let error = ErrorData::internal_error("The job broke", None);
    if tasks::declared(call) {
        return tasks::start(&call.shared, |_| async move { Err(TaskExit::Error(error)) });
    }
    Err(error.into())
}

async fn confirm_delete(mut call: Call) -> Reply {
    let filename = call.string("filename")?.to_owned();
    let ask = Ask::yes_or_no(&format!("Delete {filename}?"), "confirm");
    if tasks::declared(&call) && ask.is_supported_by(call.inputs.client()) {
        return tasks::start(&call.shared, |task| async move {
            let answer = tasks::ask(&task, "confirm", &ask).await?;
            Ok(success(deleted(&filename, &answer)))
        });
    }
    let answer = call.inputs.ask("confirm", ask).await?;
    text(deleted(&filename, &answer))
}

fn deleted(filename: &str, answer: &Value) -> String {
    match answer["content"]["confirm"].as_bool() {
        Some(true) => format!("Deleted {filename}"),
        _ => format!("Kept {filename}"),
    }
}

async fn multi_input(mut call: Call) -> Reply {
    let (name, sure) = (Ask::strings("Name?", &["name"]), Ask::yes_or_no("Sure?", "confirm"));
    if tasks::declared(&call) && name.is_supported_by(call.inputs.client()) {
        return tasks::start(&call.shared, |task| async move {
            let (name, sure) =
                tokio::try_join!(tasks::ask(&task, "name", &name), tasks::ask(&task, "confirm", &sure))?;
            Ok(success(both(&name, &sure)))
        });
    }
    call.inputs.ask_all(&[("name", name), ("confirm", sure)], StatePolicy::WhenNeeded).await?;
    text(both(&call.inputs.answer("name"), &call.inputs.answer("confirm")))
}

fn both(name: &Value, sure: &Value) -> String {
    format!("First: {}; second: {}", outcome(name), outcome(sure))
}

async fn with_task(mut call: Call) -> Reply {
    insist_on_tasks(&call)?;
    let answer = call.inputs.ask("user_name", ask_name()).await?;
    let done = format!("Task finished for {}", name_in(&answer).unwrap_or("nobody"));
    if !tasks::declared(&call) {
        return text(done);
    }
    tasks::start(&call.shared, |_| async move { Ok(success(done)) })
}

/// Legacy clients cannot know the extension and get the work inside the call instead.
fn insist_on_tasks(call: &Call) -> Result<(), Stop> {
    if tasks::declared(call) || !call.inputs.is_modern() {
        return Ok(());
    }
    Err(missing(&json!({ "extensions": { tasks::EXTENSION: {} } })).into())
}

fn success(text: String) -> CallToolResult {
    CallToolResult::success(vec![ContentBlock::text(text)])
}
