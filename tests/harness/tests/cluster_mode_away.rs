//! A pod without its operator: it serves on, starts from what was saved, and finds the way back. Changes with what a pod
//! can do alone.

use anyhow::{Context as _, Result, ensure};
use bridge_snapshot::push::{HeldReason, Key, RejectionCode, ResourceType, Saved};
use bridge_tests::pod::{GATEWAY, Mounts, backend, gateway, snapshot};
use bridge_tests::process::Signal;
use bridge_tests::{Era, LegacySession, Operator, PATIENCE, Pod, TestServer};
use serde_json::{Value, json};

/// A place where nobody listens.
fn nowhere() -> Result<String> {
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    Ok(format!("localhost:{port}"))
}

fn open(url: &str) -> Result<LegacySession> {
    LegacySession::open(&format!("{url}/mcp/web"), &json!({}))
}

fn calls(session: &mut LegacySession) -> Result<()> {
    let call = json!({ "name": "echo", "arguments": { "message": "hi" } });
    session.request("tools/call", &call)?.into_result().map(drop)
}

fn source(pod: &Pod) -> Result<Value> {
    Ok(pod.health()?["subsystems"]["configuration"]["source"].clone())
}

#[test]
fn an_operator_that_dies_is_missed_by_no_client() -> Result<()> {
    let (operator, fixture) = (Operator::start()?, TestServer::http(Era::Both)?);
    let mounts = Mounts::of(&operator)?;
    operator.publish(&[gateway(snapshot()), backend("web", fixture.url())])?;
    let pod = Pod::start(&mounts)?;
    let url = pod.wait_ready()?;
    let mut session = open(&url)?;
    operator.fall();
    pod.wait_log(|line| line["msg"] == "no configuration stream")?;
    ensure!(pod.is_ready()?, "readiness depends on the operator");
    calls(&mut session)?;
    calls(&mut open(&url)?)?;
    let revision = operator.publish(&[backend("new", fixture.url())])?;
    operator.rise();
    assert_eq!(operator.wait_serves(revision)?, []);
    calls(&mut session)
}

#[test]
fn a_container_that_restarts_serves_the_last_good_configuration() -> Result<()> {
    let (operator, fixture) = (Operator::start()?, TestServer::http(Era::Both)?);
    let mounts = Mounts::of(&operator)?;
    operator.publish(&[gateway(snapshot()), backend("web", fixture.url())])?;
    let pod = Pod::start(&mounts)?;
    pod.wait_ready()?;
    mounts.last_known_good()?;
    assert_eq!(source(&pod)?, "stream");
    operator.fall();
    pod.process().signal(Signal::KILL)?;
    pod.process().wait_exit(PATIENCE)?;
    drop(pod);

    let pod = Pod::start(&mounts)?;
    let url = pod.wait_ready()?;
    assert_eq!(source(&pod)?, "last_known_good");
    calls(&mut open(&url)?)?;
    // What comes back is told what it lacks.
    let revision = operator.publish(&[backend("new", fixture.url())])?;
    operator.rise();
    assert_eq!(operator.wait_serves(revision)?, []);
    assert_eq!(source(&pod)?, "stream");
    calls(&mut open(&url)?)
}

#[test]
fn the_last_good_configuration_is_for_its_owner_only() -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let operator = Operator::start()?;
    let mounts = Mounts::of(&operator)?;
    operator.publish(&[gateway(snapshot())])?;
    let pod = Pod::start(&mounts)?;
    pod.wait_ready()?;
    mounts.last_known_good()?;
    let mode = std::fs::metadata(mounts.path("state/last-known-good.json"))?.permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    Ok(())
}

#[test]
fn a_new_pod_starts_from_the_snapshot_whole_or_in_parts() -> Result<()> {
    let (operator, fixture) = (Operator::start()?, TestServer::http(Era::Both)?);
    let first = Mounts::of(&operator)?;
    operator.publish(&[gateway(snapshot()), backend("web", fixture.url())])?;
    let pod = Pod::start(&first)?;
    pod.wait_ready()?;
    let saved = first.last_known_good()?;

    let cold = Mounts::new(&[nowhere()?, nowhere()?], operator.authority())?;
    cold.cold_start(&saved)?;
    let pod = Pod::start(&cold)?;
    let url = pod.wait_ready()?;
    assert_eq!(source(&pod)?, "cold_start");
    calls(&mut open(&url)?)?;

    let parts = Mounts::new(&[nowhere()?], operator.authority())?;
    std::fs::create_dir(parts.path("snapshot"))?;
    for (index, part) in saved.as_bytes().chunks(saved.len() / 3).enumerate() {
        std::fs::write(parts.path(&format!("snapshot/part-{index:03}")), part)?;
    }
    let pod = Pod::start(&parts)?;
    calls(&mut open(&pod.wait_ready()?)?)
}

#[test]
fn what_is_damaged_or_of_another_gateway_is_not_started_from() -> Result<()> {
    let operator = Operator::start()?;
    let mounts = Mounts::of(&operator)?;
    operator.publish(&[gateway(snapshot())])?;
    let pod = Pod::start(&mounts)?;
    pod.wait_ready()?;
    let saved = mounts.last_known_good()?;
    let other = saved.replace("mcp-system/main", "mcp-system/other");
    let changed = saved.replace("1048576", "1048577");
    let half = saved.get(..saved.len() / 2).context("half of it")?;
    ensure!(changed != saved, "nothing was changed");
    for damaged in [other.as_str(), changed.as_str(), half] {
        let cold = Mounts::new(&[nowhere()?], operator.authority())?;
        cold.cold_start(damaged)?;
        let pod = Pod::start(&cold)?;
        pod.wait_log(|line| line["msg"] == "saved configuration ignored")?;
        pod.wait_log(|line| line["msg"].as_str().is_some_and(|text| text.contains("stays unready")))?;
        ensure!(!pod.is_ready()?, "ready without a configuration");
        assert_eq!(source(&pod)?, Value::Null);
    }
    Ok(())
}

#[test]
fn a_first_pod_without_anybody_says_why_it_is_not_ready() -> Result<()> {
    let operator = Operator::start()?;
    let mounts = Mounts::new(&[nowhere()?], operator.authority())?;
    let pod = Pod::start(&mounts)?;
    pod.wait_log(|line| line["msg"].as_str().is_some_and(|text| text.contains("stays unready")))?;
    ensure!(!pod.is_ready()?, "ready without a configuration");
    let health = pod.health()?;
    ensure!(health["message"].to_string().contains("configuration"), "{health}");
    ensure!(
        health["subsystems"]["configuration"]["message"].to_string().contains("no operator answers"),
        "{health}"
    );
    pod.stop()
}

#[test]
fn a_token_that_was_replaced_is_shown_at_the_next_connect() -> Result<()> {
    let operator = Operator::start()?;
    let mounts = Mounts::of(&operator)?;
    operator.publish(&[gateway(snapshot())])?;
    let pod = Pod::start(&mounts)?;
    pod.wait_ready()?;
    assert_eq!(operator.tokens(), ["first-token"]);
    operator.require_token("second-token");
    operator.fall();
    pod.wait_log(|line| line["msg"] == "no configuration stream")?;
    operator.rise();
    pod.wait_log(|line| line["error"].as_str().is_some_and(|error| error.contains("401")))?;
    mounts.hand("second-token")?;
    operator.wait_streams(2)?;
    assert_eq!(operator.tokens().last().map(String::as_str), Some("second-token"));
    let log = pod.process().log().join("\n");
    ensure!(!log.contains("first-token") && !log.contains("second-token"), "a token is in the log");
    Ok(())
}

#[test]
fn an_operator_whom_nobody_vouches_for_gets_nothing_until_the_authority_changes() -> Result<()> {
    let (operator, stranger) = (Operator::start()?, Operator::start()?);
    let mounts = Mounts::new(&[operator.address()], stranger.authority())?;
    operator.publish(&[gateway(snapshot())])?;
    let pod = Pod::start(&mounts)?;
    let line = pod.wait_log(|line| line["msg"] == "no configuration stream")?;
    let error = line["error"].as_str().context("an error")?;
    ensure!(error.contains("certificate") && error.contains("ca.crt"), "{error}");
    ensure!(operator.tokens().is_empty(), "a token was shown to a stranger");
    ensure!(!pod.is_ready()?, "ready by a stranger's configuration");
    // Both the old and the new authority are in the bundle while they change.
    mounts.trust(&format!("{}{}", stranger.authority(), operator.authority()))?;
    pod.wait_ready().map(drop)
}

#[test]
fn the_next_operator_is_asked_when_one_does_not_answer() -> Result<()> {
    let operator = Operator::start()?;
    operator.publish(&[gateway(snapshot())])?;
    let mounts = Mounts::new(&[nowhere()?, operator.address(), nowhere()?], operator.authority())?;
    Pod::start(&mounts)?.wait_ready().map(drop)
}

#[test]
fn a_container_that_restarts_is_sent_what_it_lacks_and_no_more() -> Result<()> {
    let (operator, fixture) = (Operator::start()?, TestServer::http(Era::Both)?);
    let mounts = Mounts::of(&operator)?;
    operator.publish(&[gateway(snapshot()), backend("web", fixture.url())])?;
    let pod = Pod::start(&mounts)?;
    pod.wait_ready()?;
    mounts.last_known_good()?;
    assert_eq!(operator.sent(), 2);
    drop(pod);
    let revision = operator.publish(&[backend("new", fixture.url())])?;
    let pod = Pod::start(&mounts)?;
    assert_eq!(operator.wait_serves(revision)?, []);
    let url = pod.wait_ready()?;
    assert_eq!(operator.sent(), 3);
    assert_eq!(source(&pod)?, "stream");
    for name in ["web", "new"] {
        calls(&mut LegacySession::open(&format!("{url}/mcp/{name}"), &json!({}))?)?;
    }
    Ok(())
}

#[test]
fn an_operator_that_talks_nonsense_is_left_and_not_quoted() -> Result<()> {
    let (operator, fixture) = (Operator::start()?, TestServer::http(Era::Both)?);
    let mounts = Mounts::of(&operator)?;
    operator.publish(&[gateway(snapshot()), backend("web", fixture.url())])?;
    let pod = Pod::start(&mounts)?;
    let url = pod.wait_ready()?;
    let mut session = open(&url)?;
    let texts = [
        "hunter2",
        r#"{"delta":"hunter2"}"#,
        r#"{"delta":{"seq":9,"revision":1,"last":true,"digest":"00000000000000000000000000000000"}}"#,
        r#"{"go_away":{"retry_after_ms":0}}"#,
    ];
    for (text, streams) in texts.into_iter().zip(2..) {
        operator.say(text);
        operator.wait_streams(streams)?;
        calls(&mut session)?;
    }
    ensure!(!pod.process().log().join("\n").contains("hunter2"), "what the operator said is in the log");
    // A pod cannot be sent away for ever: this is an instant beyond the clock's range.
    operator.say(r#"{"go_away":{"retry_after_ms":18446744073709551615}}"#);
    pod.wait_log(|line| line["msg"] == "configuration stream left" && line["after"] != "0ns")?;
    calls(&mut session)
}

#[test]
fn the_removal_of_most_backends_is_held_and_clients_are_served() -> Result<()> {
    let (operator, fixture) = (Operator::start()?, TestServer::http(Era::Both)?);
    let mounts = Mounts::of(&operator)?;
    let names: Vec<_> = (0..12).map(|number| format!("backend-{number}")).collect();
    let mut resources = vec![gateway(snapshot()), backend("web", fixture.url())];
    resources.extend(names.iter().map(|name| backend(name, fixture.url())));
    let revision = operator.publish(&resources)?;
    let pod = Pod::start(&mounts)?;
    let url = pod.wait_ready()?;
    operator.wait_serves(revision)?;
    operator.withdraw_all(
        names.iter().chain([&"web".to_owned()]).map(|name| Key::new(ResourceType::Backend, name)),
    );
    assert_eq!(operator.wait_held()?, HeldReason::MassRemoval);
    calls(&mut open(&url)?)?;
    ensure!(pod.metrics()?.contains("mcp_gateway_config_held_total 1"), "not counted");
    Ok(())
}

#[test]
fn a_saved_configuration_that_cannot_be_served_is_rejected() -> Result<()> {
    let operator = Operator::start()?;
    let mounts = Mounts::of(&operator)?;
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let mut wanted = snapshot();
    wanted.listeners[0].address = taken.local_addr()?;
    let wanted = gateway(wanted);
    // The operator has it from before, too: it need not send anything.
    let revision = operator.publish(std::slice::from_ref(&wanted))?;
    let saved = Saved::new(GATEWAY, "epoch", revision, vec![wanted.encode()?]);
    mounts.cold_start(&serde_json::to_string(&saved)?)?;
    let pod = Pod::start(&mounts)?;
    let rejected = operator.wait_serves(revision)?;
    let [rejection] = rejected.as_slice() else { anyhow::bail!("{rejected:?}") };
    assert_eq!((rejection.kind, rejection.code), (ResourceType::Gateway, RejectionCode::Unavailable));
    assert_eq!(operator.sent(), 0);
    ensure!(!pod.is_ready()?, "ready without a listener");
    // What was not served was not saved in its place.
    pod.stop()?;
    operator.fall();
    drop(taken);
    let pod = Pod::start(&mounts)?;
    pod.wait_ready()?;
    assert_eq!(source(&pod)?, "cold_start");
    Ok(())
}

#[test]
fn a_damaged_last_good_configuration_gives_way_to_the_cold_start() -> Result<()> {
    let operator = Operator::start()?;
    let first = Mounts::of(&operator)?;
    operator.publish(&[gateway(snapshot())])?;
    let pod = Pod::start(&first)?;
    pod.wait_ready()?;
    let saved = first.last_known_good()?;
    let mounts = Mounts::new(&[nowhere()?], operator.authority())?;
    std::fs::write(mounts.path("state/last-known-good.json"), saved.replace("1048576", "1048577"))?;
    mounts.cold_start(&saved)?;
    let pod = Pod::start(&mounts)?;
    pod.wait_ready()?;
    assert_eq!(source(&pod)?, "cold_start");
    Ok(())
}
