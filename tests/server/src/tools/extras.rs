//! Plain tools for tests of the gateway itself. Changes when a gateway test needs another handle on its backend.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use rmcp::model::{CallToolResult, object};
use serde_json::json;

use crate::call::{Call, Reply, Stop, Unfinished, text};

use super::{Entry, arguments, entry, no_arguments};

pub(super) const CRASH: &str = "crash";
/// More than any limit a test wants to exceed, and still harmless.
const BIGGEST: u64 = 256 * 1024 * 1024;

pub(super) fn tools() -> Vec<Entry> {
    let mut whoami =
        entry("whoami", "Identifies the process and the revision spoken", no_arguments(), |call| {
            Box::pin(async move { Ok(whoami(&call)) })
        });
    whoami.tool.output_schema = Some(Arc::new(object(json!({
        "type": "object",
        "properties": {
            "pid": { "type": "integer" },
            "instance": { "type": "string" },
            "protocolVersion": { "type": "string" },
            "startedSleeps": { "type": "integer" },
            "cancelledSleeps": { "type": "integer" },
        },
        "required": ["pid", "instance", "protocolVersion", "startedSleeps", "cancelledSleeps"],
    }))));
    vec![
        echo("echo"),
        entry(
            "sleep",
            "Returns after some milliseconds; can be cancelled",
            arguments(&[("ms", "integer")]),
            |call| Box::pin(sleep(call)),
        ),
        entry("big", "Returns a text of so many bytes", arguments(&[("bytes", "integer")]), |call| {
            Box::pin(async move { big(call.whole("bytes")?) })
        }),
        entry(
            "env_names",
            "Returns the names of the environment variables, one a line",
            no_arguments(),
            |_| Box::pin(async { env_names() }),
        ),
        whoami,
        entry(CRASH, "Ends the process at once with code 1", no_arguments(), |_| {
            Box::pin(async { std::process::exit(1) })
        }),
    ]
}

pub(super) fn echo(name: impl Into<Cow<'static, str>>) -> Entry {
    entry(name, "Returns its message", arguments(&[("message", "string")]), |call| {
        Box::pin(async move { text(call.string("message")?) })
    })
}

/// Logs its start and a cancellation and reports the start as progress, so that a test can act in between.
async fn sleep(call: Call) -> Reply {
    let ms = call.whole("ms")?;
    tracing::info!(id = %call.context.id, ms, "sleep started");
    call.shared.world.started_sleeps.add()?;
    call.progress(0.0, 1.0).await;
    let (shared, id) = (Arc::clone(&call.shared), call.context.id.clone());
    let unfinished = Unfinished::new(move || {
        if let Err(error) = shared.world.cancelled_sleeps.add() {
            tracing::error!(%error, "a cancelled sleep is not counted");
        }
        tracing::info!(%id, "sleep cancelled");
    });
    tokio::select! {
        () = tokio::time::sleep(Duration::from_millis(ms)) => {
            unfinished.finish();
            text(format!("Slept {ms} ms"))
        }
        () = call.context.ct.cancelled() => Err(Stop::Failed("cancelled".to_owned())),
    }
}

fn big(bytes: u64) -> Reply {
    match usize::try_from(bytes) {
        Ok(length) if bytes <= BIGGEST => text("x".repeat(length)),
        _ => Err(Stop::Failed(format!("argument \"bytes\" must be at most {BIGGEST}"))),
    }
}

fn env_names() -> Reply {
    let mut names: Vec<String> =
        std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    text(names.join("\n"))
}

fn whoami(call: &Call) -> CallToolResult {
    let version = call.context.protocol_version();
    CallToolResult::structured(json!({
        "pid": std::process::id(),
        "instance": call.shared.instance,
        "protocolVersion": version.as_ref().map_or("unknown", |version| version.as_str()),
        "startedSleeps": call.shared.world.started_sleeps.get(),
        "cancelledSleeps": call.shared.world.cancelled_sleeps.get(),
    }))
}
