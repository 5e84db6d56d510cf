//! The gateway when the system gives it no more of something. Changes when another resource can run out.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bridge_tests::http::{Connection, Url};
use bridge_tests::metrics::pause;
use bridge_tests::raw::{Request, answer, serves};
use bridge_tests::{Config, Era, Gateway, LegacySession, PATIENCE, TestServer};
use serde_json::json;

#[test]
fn without_file_descriptors_it_waits_and_serves_again_when_there_are_some() -> Result<()> {
    let fixture = TestServer::http(Era::Both)?;
    let stdio = TestServer::stdio(Era::Both)?;
    let mut gateway = Gateway::start(&Config::new().http("web", fixture.url()).stdio("child", &stdio))?;
    gateway.wait_backends("modern", &["web", "child"])?;
    gateway.wait_backends("legacy", &["web", "child"])?;
    let url = Url::parse(&gateway.url("/mcp/web"))?;
    let echo = Request::modern("tools/call", &json!({ "name": "echo", "arguments": { "message": "hi" } }))?;
    let mut early = Connection::open_url(&url)?;
    early.send(&echo.bytes(&url))?;
    assert_eq!(answer(&early.read_response()?)?["result"]["content"][0]["text"], "hi");

    let pid = gateway.process().pid();
    let open = std::fs::read_dir(format!("/proc/{pid}/fd"))?.count();
    let limit = format!("--nofile={}", open + 10);
    let limited = Command::new("prlimit").args(["--pid", &pid.to_string(), &limit]).status()?;
    ensure!(limited.success(), "prlimit {limited}");

    // More than it can take; the rest waits in the system's queue.
    let crowd: Vec<_> = (0..60).map(|_| Connection::open_url(&url)).collect::<Result<_>>()?;
    gateway.wait_log(PATIENCE, |line| line["msg"] == "accept failed")?;
    // Who is connected is served, and a session that needs a new process is refused with a reason.
    early.send(&echo.bytes(&url))?;
    let message = answer(&early.read_response()?)?;
    ensure!(
        message["result"].is_object() || message["error"]["data"]["reason"] == "backend_unavailable",
        "{message}"
    );
    let begun = Instant::now();
    let complaints = |gateway: &mut Gateway| {
        gateway.process().log().iter().filter(|line| line.contains("accept failed")).count()
    };
    let before = complaints(&mut gateway);
    while begun.elapsed() < Duration::from_secs(1) {
        pause(Duration::from_millis(50));
    }
    let more = complaints(&mut gateway) - before;
    assert!(more <= 25, "{more} complaints in a second: it spins");

    drop(crowd);
    let deadline = Instant::now() + PATIENCE;
    while serves(&gateway).is_err() {
        ensure!(Instant::now() < deadline, "it does not serve again");
    }
    let mut session = LegacySession::open(&gateway.url("/mcp/child"), &json!({}))?;
    session.request("tools/call", &json!({ "name": "whoami" }))?.into_result().context("a new child")?;
    Ok(())
}
