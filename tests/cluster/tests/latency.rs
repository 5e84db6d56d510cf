//! How long a change of one backend takes from the API write to the last acknowledgement of three real pods.
//! `make bench-push` runs it. Changes when another path from a user to pods is measured.
//!
//! The limit beside it is a bare watch: the time until a client of the API server that does nothing else sees the same
//! change.

#[path = "operator/installed.rs"]
#[allow(dead_code, reason = "it belongs to several programs")]
mod installed;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bridge_api::v1alpha1::McpBackend;
use bridge_cluster::{Cluster, Images, Program, Settings, root, suite, tests};
use bridge_tests::http;
use futures_util::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams, WatchEvent, WatchParams};
use serde_json::json;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

/// How many changes are measured, after [`WARM`].
const CHANGES: usize = 200;
const WARM: usize = 20;
/// Between two looks at the operators' counters: what the figures may be too large by.
const LOOK: Duration = Duration::from_millis(5);
/// Between two changes: none waits for the one before.
const BETWEEN: Duration = Duration::from_millis(150);

fn main() -> ExitCode {
    suite::main(settings, tests![], tests![a_change_reaches_every_pod])
}

fn settings() -> Result<Settings> {
    let built = |name: &str| Program::at(root().join("target/release").join(name));
    let images = Images::default()
        .with("mcp-gateway", built("mcp-gateway")?)
        .with("mcp-operator", built("mcp-operator")?)
        .with("mcp-test-server", built("mcp-test-server")?);
    Ok(Settings { images, ..Settings::new("latency") })
}

#[expect(clippy::print_stdout, reason = "the figures go there")]
async fn a_change_reaches_every_pod(cluster: &'static Cluster) -> Result<()> {
    installed::operator(cluster).await?;
    installed::server(cluster, "latency", "fixture").await?;
    installed::gateway(cluster, "latency").await?;
    installed::until_gateway(cluster, ("latency", "main"), ("Ready", "True")).await?;
    let pods: Api<Pod> = Api::namespaced(cluster.client(), installed::SYSTEM);
    let operators: Vec<_> = pods
        .list(&ListParams::default())
        .await?
        .items
        .into_iter()
        .filter_map(|pod| Some(format!("http://{}:9090/metrics", pod.status?.pod_ip?)))
        .collect();

    let (mut acknowledgements, mut sightings) = (Vec::new(), Vec::new());
    let mut tick = interval(BETWEEN);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for change in 0..WARM + CHANGES {
        tick.tick().await;
        let (everywhere, seen) = one(cluster, &operators, change).await?;
        if change >= WARM {
            acknowledgements.push(everywhere);
            sightings.push(seen);
        }
    }
    let (push, watch) = (summary(acknowledgements)?, summary(sightings)?);
    println!("{CHANGES} changes, 3 pods, 2 operators, milliseconds from the API write:");
    println!("  to the last acknowledgement   p50 {:.0}  p99 {:.0}  most {:.0}", push[0], push[1], push[2]);
    println!(
        "  to a bare watch               p50 {:.0}  p99 {:.0}  most {:.0}",
        watch[0], watch[1], watch[2]
    );
    println!("  ratio                         p50 {:.1}  p99 {:.1}", push[0] / watch[0], push[1] / watch[1]);
    Ok(())
}

/// Changes the backend, and waits for everybody. Times of the last acknowledgement and of a bare watch.
async fn one(cluster: &Cluster, operators: &[String], change: usize) -> Result<(Duration, Duration)> {
    let api: Api<McpBackend> = installed::backends(cluster, "latency");
    let version = api.get("tools").await?.metadata.resource_version.context("a version")?;
    let parameters = WatchParams::default().fields("metadata.name=tools");
    let mut events = api.watch(&parameters, &version).await?.boxed();
    let before = acknowledged(operators).await?;
    let spec =
        json!({ "spec": { "headers": { "set": [{ "name": "X-Change", "value": change.to_string() }] } } });
    let start = Instant::now();
    let seen = async {
        while let Some(event) = events.try_next().await? {
            if let WatchEvent::Modified(found) = event
                && json!(found.spec.headers)["set"][0]["value"] == *change.to_string()
            {
                return Ok(start.elapsed());
            }
        }
        anyhow::bail!("the watch ended")
    };
    let everywhere = async {
        let mut look = interval(LOOK);
        while acknowledged(operators).await? < before + 3 {
            look.tick().await;
            ensure!(start.elapsed() < bridge_cluster::PATIENCE, "not everywhere");
        }
        Ok(start.elapsed())
    };
    let (parameters, patch) = (PatchParams::default(), Patch::Merge(&spec));
    let write = api.patch("tools", &parameters, &patch);
    let (_, watched, pushed) = tokio::try_join!(async { anyhow::Ok(write.await?) }, seen, everywhere)?;
    Ok((pushed, watched))
}

/// Acknowledgements of all pods so far, to whichever operator.
async fn acknowledged(operators: &[String]) -> Result<u64> {
    let operators = operators.to_vec();
    let counted = spawn_blocking(move || -> Result<u64> {
        let mut sum = 0;
        for page in operators {
            let text = String::from_utf8(http::get(&page)?.body)?;
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix("operator_config_answers_total{result=\"ack\"} "));
            sum += line.map_or(Ok(0), str::parse)?;
        }
        Ok(sum)
    });
    counted.await?
}

/// Median, 99th percentile and maximum, in milliseconds.
fn summary(mut times: Vec<Duration>) -> Result<[f64; 3]> {
    times.sort_unstable();
    let at = |part: usize| times.get((times.len() * part).div_ceil(100).saturating_sub(1)).copied();
    let figures =
        [at(50), at(99), times.last().copied()].map(|time| time.map(|time| time.as_secs_f64() * 1e3));
    let [Some(median), Some(late), Some(most)] = figures else { anyhow::bail!("nothing was measured") };
    Ok([median, late, most])
}
