//! What comes before, beside or instead of an answer, and much at once. Changes with streams and their ends.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::{text, who};
use crate::cell::Cell;
use crate::client::WAIT;
use crate::session::Session;

/// A request of this size passes every frontend: HTTP takes 1 MiB.
const LARGE_REQUEST: usize = 900_000;
const LARGE_ANSWER: usize = 3_000_000;
const AT_ONCE: usize = 100;

pub(super) fn progress(session: &mut Session, _: Cell) -> Result<()> {
    for token in [json!("a token"), json!(7)] {
        session.forget();
        let params = json!({ "name": "test_tool_with_progress", "_meta": { "progressToken": token } });
        session.result("tools/call", &params)?;
        let reports = session.notices("notifications/progress", 3)?;
        for (report, progress) in reports.iter().zip([0.0, 50.0, 100.0]) {
            let params = &report["params"];
            ensure!(params["progressToken"] == token, "{token}: {report}");
            ensure!(params["progress"].as_f64() == Some(progress), "{report}");
            ensure!(params["total"].as_f64() == Some(100.0), "{report}");
        }
    }
    Ok(())
}

pub(super) fn log(session: &mut Session, _: Cell) -> Result<()> {
    session.log_level("info")?;
    session.forget();
    session.call("test_tool_with_logging", &json!({}))?;
    let logs = session.notices("notifications/message", 3)?;
    let said: Vec<_> = logs.iter().map(|log| log["params"]["data"].as_str().unwrap_or_default()).collect();
    ensure!(
        said == ["Tool execution started", "Tool processing data", "Tool execution completed"],
        "{logs:?}"
    );
    ensure!(logs.iter().all(|log| log["params"]["level"] == "info"), "{logs:?}");
    session.log_level("error")?;
    session.call("test_tool_with_logging", &json!({}))?;
    ensure!(session.seen("notifications/message") == 0, "logs below the level came");
    session.no_logs();
    Ok(())
}

/// Waits until the server has counted another of something.
fn counted(session: &mut Session, what: &str, before: u64) -> Result<()> {
    let deadline = Instant::now() + WAIT;
    while count(session, what)? == before {
        ensure!(Instant::now() < deadline, "{what} stays at {before}");
    }
    Ok(())
}

fn count(session: &mut Session, what: &str) -> Result<u64> {
    let who = who(session)?;
    who[what].as_u64().with_context(|| format!("{who}"))
}

pub(super) fn cancel(session: &mut Session, _: Cell) -> Result<()> {
    let (started, cancelled) = (count(session, "startedSleeps")?, count(session, "cancelledSleeps")?);
    let params = json!({ "name": "sleep", "arguments": { "ms": 600_000 } });
    let id = session.start("tools/call", &params)?;
    counted(session, "startedSleeps", started)?;
    session.cancel(&id)?;
    counted(session, "cancelledSleeps", cancelled)
}

pub(super) fn large(session: &mut Session, _: Cell) -> Result<()> {
    let message = "é".repeat(LARGE_REQUEST / 2);
    let echoed = session.call("echo", &json!({ "message": message }))?;
    ensure!(text(&echoed) == message, "{} bytes came back", text(&echoed).len());
    let answer = session.call("big", &json!({ "bytes": LARGE_ANSWER }))?;
    ensure!(text(&answer).len() == LARGE_ANSWER, "{} bytes came", text(&answer).len());
    Ok(())
}

pub(super) fn concurrent(session: &mut Session, _: Cell) -> Result<()> {
    let calls: Vec<(Value, String)> = (0..AT_ONCE)
        .map(|number| {
            let message = format!("message {number}");
            let params = json!({ "name": "echo", "arguments": { "message": message } });
            Ok((session.start("tools/call", &params)?, message))
        })
        .collect::<Result<_>>()?;
    for (id, message) in calls {
        let result = session.wait(&id)?.map_err(|error| anyhow::anyhow!("{id}: {error}"))?;
        ensure!(text(&result) == message, "{id}: expected {message}, got {result}");
    }
    Ok(())
}
