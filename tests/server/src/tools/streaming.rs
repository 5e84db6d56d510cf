//! Tools that send something before their result: logs, progress, a broken stream.
//! Changes when such a message is added.

use std::time::Duration;

use crate::call::{Call, Reply, text};
use crate::http::StreamCutter;

use super::{Entry, entry, no_arguments};

/// The suite wants to see the messages arrive one by one.
const STEP: Duration = Duration::from_millis(50);
/// Time between closing the stream and having the result. Longer than the wait that the server asks clients for: the SDK
/// keeps a result only for a client that has come back by then.
const AWAY: Duration = Duration::from_secs(1);

pub(super) fn tools() -> Vec<Entry> {
    vec![
        entry("test_tool_with_logging", "Logs three times while it runs", no_arguments(), |call| {
            Box::pin(with_logging(call))
        }),
        entry("test_logging_tool", "Logs once, where the caller asked for logs", no_arguments(), |call| {
            Box::pin(async move {
                call.log("test_logging_tool was called").await;
                text("Logging tool finished.")
            })
        }),
        entry(
            "test_tool_with_progress",
            "Reports progress of 0, 50 and 100 percent",
            no_arguments(),
            |call| Box::pin(with_progress(call)),
        ),
        entry(
            "test_reconnection",
            "Closes the event stream of its call; the result arrives after the client has resumed",
            no_arguments(),
            |call| Box::pin(reconnection(call)),
        ),
    ]
}

async fn with_logging(call: Call) -> Reply {
    call.log("Tool execution started").await;
    call.pause(STEP).await?;
    call.log("Tool processing data").await;
    call.pause(STEP).await?;
    call.log("Tool execution completed").await;
    text("Tool with logging executed.")
}

async fn with_progress(call: Call) -> Reply {
    call.progress(0.0, 100.0).await;
    call.pause(STEP).await?;
    call.progress(50.0, 100.0).await;
    call.pause(STEP).await?;
    call.progress(100.0, 100.0).await;
    text("Tool with progress executed.")
}

async fn reconnection(call: Call) -> Reply {
    // Only a legacy HTTP session can be resumed; elsewhere cutting would lose the call.
    if !call.inputs.is_modern()
        && let Some(cutter) = StreamCutter::of(&call.context)
    {
        cutter.cut();
    }
    call.pause(AWAY).await?;
    text("Reconnection test completed.")
}
