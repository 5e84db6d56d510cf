//! Pods of a gateway know each other. Changes with what they are told of each other.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bridge_snapshot::push::Peer;
use bridge_tests::pod::{Mounts, gateway, snapshot};
use bridge_tests::{Operator, PATIENCE, Pod};
use serde_json::json;

fn peer(number: u8) -> Peer {
    let addresses = vec![[10, 0, 0, number].into()];
    Peer { pod: format!("main-{number}"), uid: format!("uid-{number}"), addresses }
}

/// Waits until a pod says that it knows these others, on both pages.
fn wait_knows(pod: &Pod, names: &[&str]) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let gauge = format!("mcp_gateway_peers {}", names.len());
    loop {
        let shown = pod.health()?["subsystems"]["peers"].clone();
        let counted = pod.metrics()?.lines().any(|line| line == gauge);
        if shown["pods"] == json!(names) && shown["count"] == names.len() && counted {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{names:?} are not known, but {shown}");
        bridge_tests::metrics::pause(Duration::from_millis(20));
    }
}

#[test]
fn two_pods_of_a_gateway_know_each_other_until_one_leaves() -> Result<()> {
    let operator = Operator::start()?;
    let revision = operator.publish(&[gateway(snapshot())])?;
    let mounts = [Mounts::of(&operator)?, Mounts::of(&operator)?];
    let (first, second) = (Pod::start_as(1, &mounts[0])?, Pod::start_as(2, &mounts[1])?);
    first.wait_ready()?;
    second.wait_ready()?;
    ensure!(first.health()?["subsystems"]["peers"].is_null(), "nobody has named any");
    operator.name_pods([peer(1), peer(2)]);
    wait_knows(&first, &["main-2"])?;
    wait_knows(&second, &["main-1"])?;
    second.stop()?;
    operator.name_pods([peer(1)]);
    wait_knows(&first, &[])?;
    let metrics = first.metrics()?;
    ensure!(metrics.contains(&format!("mcp_gateway_config_revision {revision}\n")), "{metrics}");
    Ok(())
}

#[test]
fn other_pods_stay_known_without_an_operator_and_are_replaced_when_it_is_back() -> Result<()> {
    let operator = Operator::start()?;
    operator.publish(&[gateway(snapshot())])?;
    operator.name_pods([peer(0), peer(1), peer(2)]);
    let mounts = Mounts::of(&operator)?;
    let pod = Pod::start(&mounts)?;
    wait_knows(&pod, &["main-1", "main-2"])?;
    operator.fall();
    pod.wait_log(|line| line["msg"] == "no configuration stream")?;
    operator.name_pods([peer(0), peer(2), peer(3)]);
    wait_knows(&pod, &["main-1", "main-2"])?;
    operator.rise();
    wait_knows(&pod, &["main-2", "main-3"])
}
