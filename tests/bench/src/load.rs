//! The closed-loop load: every connection has exactly one call in flight.
//! Changes when load is generated or accounted in another way.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bridge_runtime::tasks;

use crate::calls::{Call, Client, Mode};
use crate::histogram::Histogram;
use crate::wire::Endpoint;

/// How long an unanswered call may hold up the end of a run.
const GRACE: Duration = Duration::from_secs(10);
const WARM_UP: u8 = 0;
const MEASURE: u8 = 1;
const STOP: u8 = 2;

/// One run.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) endpoint: Endpoint,
    pub(crate) mode: Mode,
    pub(crate) connections: u32,
    /// Load before the measured window: pools fill, sessions are known, pages are touched.
    pub(crate) warm_up: Duration,
    pub(crate) window: Duration,
    /// Bytes of the serialised `arguments` object.
    pub(crate) arguments_size: usize,
}

impl Plan {
    #[cfg(test)]
    pub(crate) fn short(endpoint: Endpoint, mode: Mode) -> Self {
        let window = Duration::from_millis(50);
        Self { endpoint, mode, connections: 4, warm_up: Duration::ZERO, window, arguments_size: 256 }
    }
}

/// What a run measured.
#[derive(Clone)]
pub(crate) struct Outcome {
    /// Right answers to calls that began and ended within the window.
    pub(crate) requests: u64,
    /// Connections that ended with a wrong answer, a broken exchange or a call that was never answered.
    pub(crate) failures: u64,
    pub(crate) first_failure: Option<String>,
    pub(crate) elapsed: Duration,
    pub(crate) latency: Histogram,
}

impl Outcome {
    /// Requests per second.
    pub(crate) fn rate(&self) -> f64 {
        self.requests as f64 / self.elapsed.as_secs_f64()
    }

    /// A latency quantile in microseconds.
    pub(crate) fn micros(&self, permille: u64) -> f64 {
        self.latency.quantile(permille).as_secs_f64() * 1e6
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} requests in {:.2} s: {:.0}/s, p50 {:.0} µs, p90 {:.0} µs, p99 {:.0} µs, max {:.0} µs, {} failures",
            self.requests,
            self.elapsed.as_secs_f64(),
            self.rate(),
            self.micros(500),
            self.micros(900),
            self.micros(990),
            self.latency.max().as_secs_f64() * 1e6,
            self.failures,
        )?;
        self.first_failure.as_ref().map_or(Ok(()), |failure| write!(f, "\nfirst failure: {failure}"))
    }
}

/// Runs the plan. `snapshot` is taken at both ends of the measured window.
///
/// # Errors
/// When a client cannot get as far as its first call; failures of calls are counted in the outcome.
pub(crate) async fn run<T>(plan: &Plan, snapshot: impl Fn() -> T) -> Result<(Outcome, T, T)> {
    let mut clients = Vec::new();
    for connection in 0..plan.connections {
        let prepared = tokio::time::timeout(GRACE, prepare(plan, connection)).await;
        let client = prepared.map_err(|_| anyhow::anyhow!("no answer within {GRACE:?}")).flatten();
        clients.push(client.with_context(|| format!("{} refuses connection {connection}", plan.endpoint))?);
    }
    let phase = Arc::new(AtomicU8::new(WARM_UP));
    let running: Vec<_> = clients
        .into_iter()
        .map(|(client, call)| tasks::spawn("load", repeat(client, call, Arc::clone(&phase))))
        .collect();

    tokio::time::sleep(plan.warm_up).await;
    let before = snapshot();
    let started = Instant::now();
    phase.store(MEASURE, Ordering::Relaxed);
    tokio::time::sleep(plan.window).await;
    let elapsed = started.elapsed();
    let after = snapshot();
    phase.store(STOP, Ordering::Relaxed);

    let mut outcome =
        Outcome { requests: 0, failures: 0, first_failure: None, elapsed, latency: Histogram::new() };
    let deadline = tokio::time::Instant::now() + GRACE;
    for task in running {
        let abort = task.abort_handle();
        let failure = match tokio::time::timeout_at(deadline, task).await {
            Ok(Ok(share)) => {
                outcome.requests += share.requests;
                outcome.latency.merge(&share.latency);
                share.failure
            }
            Ok(Err(panic)) => Some(format!("a load task ended: {panic}")),
            Err(_) => {
                abort.abort();
                Some(format!("a call had no answer {GRACE:?} after the end of the run"))
            }
        };
        if let Some(failure) = failure {
            outcome.failures += 1;
            outcome.first_failure.get_or_insert(failure);
        }
    }
    Ok((outcome, before, after))
}

async fn prepare(plan: &Plan, connection: u32) -> Result<(Client, Call)> {
    let mut client = Client::open(&plan.endpoint, plan.mode).await?;
    let tool = client.find_tool().await?;
    let mut call = client.call_template(&tool, plan.arguments_size, connection);
    client.call(&mut call, true).await.context("the first call")?;
    Ok((client, call))
}

struct Share {
    requests: u64,
    latency: Histogram,
    failure: Option<String>,
}

async fn repeat(mut client: Client, mut call: Call, phase: Arc<AtomicU8>) -> Share {
    let mut share = Share { requests: 0, latency: Histogram::new(), failure: None };
    loop {
        let began_in = phase.load(Ordering::Relaxed);
        if began_in == STOP {
            share.failure = client.close().await.err().map(|error| format!("{error:#}"));
            return share;
        }
        let start = Instant::now();
        if let Err(error) = client.call(&mut call, false).await {
            share.failure = Some(format!("{error:#}"));
            return share;
        }
        if began_in == MEASURE && phase.load(Ordering::Relaxed) == MEASURE {
            share.requests += 1;
            share.latency.record(start.elapsed());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server;
    use bytes::Bytes;
    use http::Response;
    use http_body_util::Full;

    #[tokio::test]
    async fn every_mode_runs_against_the_backend_without_a_failure() {
        let backend = crate::backend::start_for_tests().await;
        for (mode, path) in [(Mode::Legacy, "/mcp"), (Mode::Modern, "/mcp"), (Mode::Raw, "/raw")] {
            let plan = Plan::short(backend.with_path(path), mode);
            let (outcome, ..) = run(&plan, || ()).await.unwrap();
            assert_eq!(outcome.failures, 0, "{mode:?}: {:?}", outcome.first_failure);
            assert!(outcome.requests > 0, "{mode:?}");
        }
    }

    #[tokio::test]
    async fn a_server_that_mixes_up_answers_fails_the_run() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Endpoint::local(listener.local_addr().unwrap().port(), "/raw");
        // Right until the hundredth call, then every answer carries the text of another one.
        let served = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let handle = move |request: http::Request<hyper::body::Incoming>| {
            let served = Arc::clone(&served);
            async move {
                let body = http_body_util::BodyExt::collect(request.into_body()).await.unwrap().to_bytes();
                let call: serde_json::Value = serde_json::from_slice(&body).unwrap();
                let mut text = call["params"]["arguments"]["text"].as_str().unwrap().to_owned();
                if served.fetch_add(1, Ordering::Relaxed) >= 100 {
                    text.replace_range(..1, "2");
                }
                let id = &call["id"];
                let body = format!(
                    r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[{{"type":"text","text":"{text}"}}]}}}}"#
                );
                let mut response = Response::new(Full::new(Bytes::from(body)));
                response
                    .headers_mut()
                    .insert("content-type", http::HeaderValue::from_static("application/json"));
                response
            }
        };
        tasks::spawn("mixing server", server::accept(listener, handle));
        let (outcome, ..) = run(&Plan::short(endpoint, Mode::Raw), || ()).await.unwrap();
        assert_eq!(outcome.failures, 4, "each of the four connections met a wrong answer");
        let failure = outcome.first_failure.unwrap();
        assert!(failure.contains("instead of its own text"), "{failure}");
    }
}
