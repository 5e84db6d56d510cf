//! A pod with a bad network to operators. Changes when it costs the others something.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Result, ensure};
use bridge_cluster::{Cluster, Lossy};

use crate::installed::SYSTEM;
use crate::standing::{
    BACKEND, CONNECTED, NAMESPACE, User, backend, operators, remove, stand, until_metric, until_served,
};

/// One of ten packets lost, half a second for the way there and back, and a second until something is sent again.
const BAD: Lossy = Lossy { delay: Duration::from_millis(250), one_in: 10, again: Duration::from_secs(1) };
const OPERATORS: (&str, &str) = (SYSTEM, "mcp-bridge-operator");
/// Of one backend, one after another.
const CHANGES: usize = 100;
/// Tools whose descriptions change each time.
const TOOLS: usize = 25;
/// Bytes of a description.
const DESCRIPTION: usize = 4000;

/// A backend of which every change is large.
fn large(number: usize) -> String {
    let mut tools = String::from("  tools:\n    overrides:\n");
    for tool in 0..TOOLS {
        let _ = writeln!(tools, "      - {{name: tool-{tool}, description: \"{number:0DESCRIPTION$}\"}}");
    }
    backend(NAMESPACE, "large", &tools)
}

/// What operators occupy of memory.
async fn memory(cluster: &Cluster) -> Result<u64> {
    operators(cluster).await?.iter().map(|pod| cluster.memory(pod)).sum()
}

pub(crate) async fn a_pod_with_a_bad_network_gets_what_is_newest_and_costs_nobody_anything(
    cluster: &'static Cluster,
) -> Result<()> {
    let pods = stand(cluster).await?;
    until_metric(&pods, CONNECTED, |value| value == 1).await?;
    let (slow, others) = (&pods[..1], &pods[1..]);
    // What so many changes cost when the network is good.
    for number in 0..CHANGES {
        cluster.apply(&large(number)).await?;
    }
    cluster.apply(&backend(NAMESPACE, "before-loss", "")).await?;
    until_served(&pods, "before-loss").await?;
    let (before, lost) = (memory(cluster).await?, cluster.lost());

    let user = User::of(&pods, BACKEND);
    cluster.set_lossy(&slow[0], OPERATORS, Some(BAD))?;
    let meanwhile = async {
        for number in CHANGES..2 * CHANGES {
            cluster.apply(&large(number)).await?;
        }
        cluster.apply(&backend(NAMESPACE, "past-loss", "")).await?;
        until_served(others, "past-loss").await?;
        let (after, sent) = (memory(cluster).await?, (CHANGES * TOOLS * DESCRIPTION) as u64);
        ensure!(after < before + sent / 2, "operators hold {} bytes of {sent}", after.saturating_sub(before));
        // It would take minutes to send it every change; it gets there because it gets the last one only.
        until_served(slow, "past-loss").await
    };
    let outcome = Box::pin(meanwhile).await;
    cluster.set_lossy(&slow[0], OPERATORS, None)?;
    outcome?;
    ensure!(cluster.lost() > lost, "nothing was lost");
    user.end().await?;
    for name in ["large", "before-loss", "past-loss"] {
        remove(cluster, &pods, name).await?;
    }
    Ok(())
}
