//! Settings of a pod that change under it: log level, limits, mounted files. Changes with what is hot.

use anyhow::{Result, ensure};
use bridge_snapshot::push::{Problem, Report};
use bridge_snapshot::{Access, Jwt, Limits, LogLevel, Material, Snapshot};
use bridge_tests::http::{Url, request};
use bridge_tests::metrics::pause;
use bridge_tests::pod::{Mounts, backend, gateway, snapshot};
use bridge_tests::tokens::Issuer;
use bridge_tests::{Era, ModernClient, Operator, PATIENCE, Pod, TestServer};
use serde_json::json;
use std::time::{Duration, Instant};

#[test]
fn the_log_level_follows_the_configuration() -> Result<()> {
    let (operator, fixture) = (Operator::start()?, TestServer::http(Era::Both)?);
    let mounts = Mounts::of(&operator)?;
    let level = |level| gateway(Snapshot { log_level: level, ..snapshot() });
    operator.publish(&[level(Some(LogLevel::Error)), backend("web", fixture.url())])?;
    let pod = Pod::start(&mounts)?;
    pod.wait_log(|line| line["msg"] == "configuration loaded")?;
    let revision = operator.publish(&[level(Some(LogLevel::Warn))])?;
    operator.wait_serves(revision)?;
    let loaded = || pod.process().log().iter().filter(|line| line.contains("configuration loaded")).count();
    assert_eq!(loaded(), 1, "what is logged at info is logged");
    // Without a level the one of the bootstrap file holds, which is debug.
    let revision = operator.publish(&[level(None)])?;
    operator.wait_serves(revision)?;
    operator.publish(&[gateway(Snapshot {
        limits: Limits { max_depth: 32, ..Limits::default() },
        ..snapshot()
    })])?;
    pod.process().wait_line(PATIENCE, |line| line.contains(r#""level":"debug""#).then_some(()))?;
    Ok(())
}

#[test]
fn limits_change_without_a_restart() -> Result<()> {
    let (operator, fixture) = (Operator::start()?, TestServer::http(Era::Both)?);
    let mounts = Mounts::of(&operator)?;
    let listens =
        |max_listens| gateway(Snapshot { limits: Limits { max_listens, ..Limits::default() }, ..snapshot() });
    operator.publish(&[listens(1), backend("web", fixture.url())])?;
    let pod = Pod::start(&mounts)?;
    let url = pod.wait_ready()?;
    let filter = json!({ "notifications": { "toolsListChanged": true } });
    let listen = || -> Result<_> {
        let mut client = ModernClient::new(&format!("{url}/mcp"), &json!({}))?;
        let (_, mut exchange) = client.start("subscriptions/listen", &filter)?;
        let opened = exchange.is_stream()?;
        Ok(opened.then_some(exchange))
    };
    let first = listen()?;
    ensure!(first.is_some(), "the first is refused");
    ensure!(listen()?.is_none(), "a second is open");
    let revision = operator.publish(&[listens(2)])?;
    operator.wait_serves(revision)?;
    let second = listen()?;
    ensure!(second.is_some(), "the second is refused");
    let revision = operator.publish(&[listens(1)])?;
    operator.wait_serves(revision)?;
    drop(second);
    ensure!(listen()?.is_none(), "a second is open again");
    drop(first);
    Ok(())
}

#[test]
fn a_mounted_key_that_is_replaced_is_read_again() -> Result<()> {
    const FIRST: &str = "the first secret, of at least 32 bytes";
    const SECOND: &str = "the second secret, of at least 32 bytes";
    let operator = Operator::start()?;
    let mounts = Mounts::of(&operator)?;
    let file = mounts.path("jwt");
    std::fs::write(&file, FIRST)?;
    let access = Access::Jwt(Jwt {
        issuer: None,
        audience: None,
        secret: Some(Material::File(file.clone())),
        public_key_file: None,
        per_message: false,
        cache_ttl: Duration::from_mins(5),
    });
    operator.publish(&[gateway(Snapshot { access, ..snapshot() })])?;
    let pod = Pod::start(&mounts)?;
    let url = Url::parse(&format!("{}/mcp", pod.wait_ready()?))?;
    let status = |secret: &str| -> Result<u16> {
        let token = format!("Bearer {}", Issuer::secret(secret).token("alice")?);
        let headers = [("Authorization", token.as_str()), ("Content-Type", "application/json")];
        Ok(request("POST", &url, &headers, b"{}")?.head.status)
    };
    assert_ne!(status(FIRST)?, 401);
    let fresh = mounts.path("jwt.new");
    std::fs::write(&fresh, SECOND)?;
    std::fs::rename(&fresh, &file)?;
    let deadline = Instant::now() + PATIENCE;
    while status(SECOND)? == 401 {
        ensure!(Instant::now() < deadline, "the new key never counts");
        pause(Duration::from_millis(50));
    }
    assert_eq!(status(FIRST)?, 401);
    Ok(())
}

#[test]
fn backends_are_not_the_machine_itself_where_that_is_refused() -> Result<()> {
    let (operator, fixture) = (Operator::start()?, TestServer::http(Era::Both)?);
    let mounts = Mounts::of(&operator)?;
    let named = fixture.url().replace("127.0.0.1", "localhost");
    assert_ne!(named, fixture.url());
    let refusing = |refuse_local| gateway(Snapshot { refuse_local, ..snapshot() });
    operator.publish(&[refusing(true), backend("literal", fixture.url()), backend("named", &named)])?;
    let _pod = Pod::start(&mounts)?;
    let all = |report: &Report, problem: Option<Problem>| {
        report.backends.len() == 2 && report.backends.iter().all(|backend| backend.problem == problem)
    };
    operator.wait_report(|report| all(report, Some(Problem::Unreachable)))?;
    operator.publish(&[refusing(false)])?;
    operator
        .wait_report(|report| all(report, None) && report.backends.iter().all(|backend| backend.tools > 0))?;
    Ok(())
}
