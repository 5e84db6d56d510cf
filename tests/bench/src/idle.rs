//! What an idle client costs in memory: legacy sessions without and with one call behind them, and open GET streams.
//! Changes when another kind of idle state is measured.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::time::timeout;

use crate::calls::{Client, Mode};
use crate::targets::Target;

/// Sessions opened before the first reading, so that the first use of everything is not charged to the sessions.
const WARM_UP: u32 = 64;
/// For all steps together: a target that stalls must not hang the run.
const DEADLINE: Duration = Duration::from_mins(2);
const CALL_BYTES: usize = 256;

/// How many of each.
#[derive(Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) sessions: u32,
    pub(crate) streams: u32,
}

/// Bytes of the process: resident before, and growth per idle thing.
#[derive(Clone, Copy)]
pub(crate) struct Idle {
    pub(crate) counts: Counts,
    pub(crate) at_start: u64,
    /// A session after `initialize` and `notifications/initialized`.
    pub(crate) per_session: f64,
    /// The same session after one `tools/call`, over the same base.
    pub(crate) per_used_session: f64,
    /// An open GET stream, its TCP connection included, on top of its session.
    pub(crate) per_stream: f64,
}

/// Opens idle sessions and streams on a freshly started target.
pub(crate) async fn measure(target: &Target, path: &str, counts: Counts) -> Result<Idle> {
    timeout(DEADLINE, open_all(target, path, counts)).await.map_err(|_| {
        anyhow::anyhow!("{} sessions and {} streams took over {DEADLINE:?}", counts.sessions, counts.streams)
    })?
}

async fn open_all(target: &Target, path: &str, counts: Counts) -> Result<Idle> {
    let family = target.family()?.context("a direct call has no process to measure")?;
    let endpoint = target.endpoint.with_path(path);
    // One connection carries all sessions: what is counted is the session, not its socket.
    let mut client = Client::open(&endpoint, Mode::Legacy).await?;
    let tool = client.find_tool().await?;
    for number in 0..WARM_UP {
        client.open_session().await.with_context(|| format!("warm-up session {number}"))?;
        client.call(&mut client.call_template(&tool, CALL_BYTES, number), true).await?;
    }

    let base = family.resident()?;
    let mut sessions = Vec::new();
    for number in 1..=counts.sessions {
        let opened = client.open_session().await;
        sessions.push(opened.with_context(|| format!("session {number} of {}", counts.sessions))?);
    }
    let opened = family.resident()?;
    for (number, session) in (WARM_UP..).zip(&sessions) {
        client.resume_session(session);
        let mut call = client.call_template(&tool, CALL_BYTES, number);
        client.call(&mut call, true).await.context("a call in an idle session")?;
    }
    let used = family.resident()?;
    let mut streams = Vec::new();
    for (number, session) in (1..=counts.streams).zip(&sessions) {
        let mut stream = Client::attach(&endpoint, session).await?;
        let opened = stream.open_get_stream().await;
        opened.with_context(|| format!("stream {number} of {}", counts.streams))?;
        streams.push(stream);
    }
    let streaming = family.resident()?;

    let growth = |from: u64, to: u64, count: u32| (to as f64 - from as f64) / f64::from(count.max(1));
    Ok(Idle {
        counts,
        at_start: target.resident_at_start.unwrap_or(base),
        per_session: growth(base, opened, counts.sessions),
        per_used_session: growth(base, used, counts.sessions),
        per_stream: growth(used, streaming, counts.streams),
    })
}
