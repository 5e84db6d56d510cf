//! Changes of the configuration while the gateway serves. Changes when another part of it can change without a restart.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use bridge_tests::process::{Signal, find_processes, wait_gone};
use bridge_tests::raw::{Request, serves};
use bridge_tests::{
    Backend, Config, Era, Gateway, LegacySession, ModernClient, PATIENCE, TempDir, TestServer,
};
use serde_json::{Value, json};

fn sleep(ms: u64) -> Value {
    json!({ "name": "sleep", "arguments": { "ms": ms } })
}

fn pid(session: &mut LegacySession) -> Result<Value> {
    let result = session.request("tools/call", &json!({ "name": "whoami" }))?.into_result()?;
    Ok(result["structuredContent"]["pid"].clone())
}

/// Replaces the file and waits until the gateway has taken it over for the `times`-th time.
fn load(gateway: &Gateway, config: &Config, times: usize) -> Result<()> {
    gateway.rewrite_config(&config.to_yaml())?;
    wait_loaded(gateway, "configuration loaded", times)
}

fn wait_loaded(gateway: &Gateway, msg: &str, times: usize) -> Result<()> {
    let seen = std::cell::Cell::new(0);
    gateway
        .wait_log(PATIENCE, |line| {
            seen.set(seen.get() + usize::from(line["msg"] == msg));
            seen.get() == times
        })
        .map(drop)
}

#[test]
fn backends_come_and_go_without_a_trace_at_the_others() -> Result<()> {
    let server = TestServer::stdio(Era::Both)?;
    let mut web = TestServer::http(Era::Both)?;
    let base = Config::new().stdio("stays", &server).http("web", web.url());
    let gateway = Gateway::start(&base)?;
    gateway.wait_backends("legacy", &["stays", "web"])?;
    gateway.wait_backends("modern", &["stays", "web"])?;
    let mut session = LegacySession::open(&gateway.url("/mcp/stays"), &json!({}))?;
    let child = pid(&mut session)?;
    let mut merged = LegacySession::open(&gateway.url("/mcp"), &json!({}))?;
    let mut notifications = merged.listen()?;
    let (_, mut listen) =
        ModernClient::new(&gateway.url("/mcp"), &json!({}))?.listen(&json!({ "toolsListChanged": true }))?;
    let mut client = ModernClient::new(&gateway.url("/mcp/web"), &json!({}))?;
    let (legacy_id, legacy_call) = session.start("tools/call", &sleep(4_000))?;
    let (modern_id, modern_call) = client.start("tools/call", &sleep(4_000))?;
    gateway.wait_log(PATIENCE, |line| line.to_string().contains("sleep started"))?;
    web.process().wait_line(PATIENCE, |line| line.contains("sleep started").then_some(()))?;

    // One comes: its tools are announced on the streams that were open all the time, and are there when they say so.
    load(&gateway, &base.clone().stdio("comes", &server), 1)?;
    let told = notifications.next_message()?.context("the stream stays open")?;
    assert!(told["method"].as_str().is_some_and(|method| method.ends_with("list_changed")), "{told}");
    let told = listen.next_message()?.context("the listen stays open")?;
    assert_eq!(told["method"], "notifications/tools/list_changed");
    gateway.wait_backends("legacy", &["comes"])?;
    gateway.wait_backends("modern", &["comes"])?;
    let mut newcomer = LegacySession::open(&gateway.url("/mcp/comes"), &json!({}))?;
    let gone = pid(&mut newcomer)?;
    let names = |tools: &[Value]| tools.iter().filter(|tool| tool["name"] == "comes__echo").count();
    assert_eq!(names(&merged.list("tools/list", "tools")?), 1);

    // It goes again, with a call in flight: that call is told, and nobody else.
    let (id, call) = newcomer.start("tools/call", &sleep(60_000))?;
    wait_loaded(&gateway, "configuration loaded", 1)?;
    gateway.wait_log(PATIENCE, |line| {
        line["backend"] == "comes" && line.to_string().contains("sleep started")
    })?;
    load(&gateway, &base, 2)?;
    let error = call.finish(&id, |_| Ok(()))?.into_error()?;
    assert_eq!((error.code, &error.data["reason"]), (-32004, &json!("backend_lost")), "{error}");
    let gone = i32::try_from(gone.as_i64().context("pid")?)?;
    wait_gone(&[gone], PATIENCE)?;
    assert_eq!(names(&merged.list("tools/list", "tools")?), 0);
    let response = Request::modern("tools/list", &json!({}))?.send(&gateway.url("/mcp/comes"))?;
    assert_eq!(response.head.status, 404);

    let slept = session.finish(&legacy_id, legacy_call)?.into_result()?;
    assert_eq!(slept["content"][0]["text"], "Slept 4000 ms");
    let slept = modern_call.finish(&modern_id, |_| Ok(()))?.into_result()?;
    assert_eq!(slept["content"][0]["text"], "Slept 4000 ms");
    assert_eq!(pid(&mut session)?, child, "the same child in the same session");
    Ok(())
}

#[test]
fn a_changed_backend_is_replaced_and_changed_limits_replace_nothing() -> Result<()> {
    let server = TestServer::stdio(Era::Both)?;
    let config = |env: &str| {
        Config::new().stdio("same", &server).backend(Backend::stdio("changed", &server).env("COLOUR", env))
    };
    let gateway = Gateway::start(&config("red"))?;
    let mut same = LegacySession::open(&gateway.url("/mcp/same"), &json!({}))?;
    let mut changed = LegacySession::open(&gateway.url("/mcp/changed"), &json!({}))?;
    let (same_pid, changed_pid) = (pid(&mut same)?, pid(&mut changed)?);

    load(&gateway, &config("blue"), 1)?;
    assert_eq!(pid(&mut same)?, same_pid);
    let replaced = pid(&mut changed)?;
    assert_ne!(replaced, changed_pid, "another environment needs another child; the session goes on");

    let limits = config("blue")
        .set("limits", "keep_alive", json!("1s"))
        .set("limits", "max_http_body", json!(2048))
        .set("limits", "read_timeout", json!("9s"))
        .set("server", "allowed_origins", json!(["https://app.example.com"]));
    load(&gateway, &limits, 2)?;
    assert_eq!((pid(&mut same)?, pid(&mut changed)?), (same_pid, replaced));
    // They hold from now on.
    let discover = Request::modern("server/discover", &json!({}))?;
    let big = discover.clone().body(vec![b' '; 3000]);
    assert_eq!(big.send(&gateway.url("/mcp"))?.head.status, 413);
    let allowed = discover.with("Origin", "https://app.example.com");
    assert_eq!(allowed.send(&gateway.url("/mcp"))?.head.status, 200);
    Ok(())
}

#[test]
fn a_bad_file_changes_nothing_and_the_next_good_one_is_taken() -> Result<()> {
    let fixture = TestServer::http(Era::Both)?;
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let good = Config::new().http("web", fixture.url());
    let gateway = Gateway::start(&good)?;
    let mut session = LegacySession::open(&gateway.url("/mcp/web"), &json!({}))?;
    let mut refusals = 0;
    for (bad, place) in [
        ("version: 1\nserver:\n  port: many\n".to_owned(), "gateway.yaml:3:9"),
        ("version: [".to_owned(), "gateway.yaml:1:"),
        (String::new() + "\u{0}", "gateway.yaml"),
        (
            good.clone()
                .http("other", fixture.url())
                .set(
                    "server",
                    "frontends",
                    json!([{ "protocol": "http", "config": { "port": taken.local_addr()?.port() } }]),
                )
                .to_yaml(),
            "cannot listen on",
        ),
    ] {
        gateway.rewrite_config(&bad)?;
        refusals += 1;
        let msg = "configuration refused; the running one stays";
        wait_loaded(&gateway, msg, refusals)?;
        gateway.wait_log(PATIENCE, |line| line["msg"] == msg && line["error"].to_string().contains(place))?;
        serves(&gateway)?;
        session.request("tools/call", &json!({ "name": "whoami" }))?.into_result()?;
    }
    // Away for a moment, as with an editor that moves files about.
    std::fs::remove_file(gateway.config_path())?;
    serves(&gateway)?;
    load(&gateway, &good.clone().http("more", fixture.url()), 1)?;
    LegacySession::open(&gateway.url("/mcp/more"), &json!({}))?;
    session.request("tools/call", &json!({ "name": "whoami" }))?.into_result()?;
    Ok(())
}

#[test]
fn a_signal_reloads_too() -> Result<()> {
    let fixture = TestServer::http(Era::Both)?;
    let config = Config::new().http("web", fixture.url());
    let mut gateway = Gateway::start(&config)?;
    gateway.process().signal(Signal::HUP)?;
    gateway.wait_log(PATIENCE, |line| line["msg"] == "configuration unchanged")?;
    gateway.rewrite_config(&config.http("more", fixture.url()).to_yaml())?;
    gateway.process().signal(Signal::HUP)?;
    gateway.wait_log(PATIENCE, |line| line["msg"] == "configuration loaded")?;
    LegacySession::open(&gateway.url("/mcp/more"), &json!({}))?;
    Ok(())
}

#[test]
fn the_log_level_follows_the_file_unless_the_command_line_has_set_it() -> Result<()> {
    let fixture = TestServer::http(Era::Both)?;
    let config = |level: &str| Config::new().http("web", fixture.url()).set("logging", "level", level.into());
    let debug_lines = |gateway: &mut Gateway| {
        gateway.process().log().iter().filter(|line| line.contains(r#""level":"debug""#)).count()
    };
    for (args, wanted) in [(&[][..], true), (&["--log-level", "info"], false)] {
        let mut gateway = Gateway::start_with(&config("info").to_yaml(), args, &[])?;
        LegacySession::open(&gateway.url("/mcp"), &json!({}))?;
        assert_eq!(debug_lines(&mut gateway), 0);
        gateway.rewrite_config(&config("debug").to_yaml())?;
        wait_loaded(&gateway, "configuration unchanged", 1)?;
        let deadline = Instant::now() + Duration::from_secs(if wanted { 60 } else { 1 });
        while debug_lines(&mut gateway) == 0 && Instant::now() < deadline {
            LegacySession::open(&gateway.url("/mcp"), &json!({}))?;
        }
        assert_eq!(debug_lines(&mut gateway) > 0, wanted, "{args:?}");
    }
    Ok(())
}

#[test]
fn listeners_come_and_go() -> Result<()> {
    let fixture = TestServer::http(Era::Both)?;
    let base = Config::new().http("web", fixture.url());
    let gateway = Gateway::start(&base)?;
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let extra = json!([{ "name": "extra", "protocol": "http", "config": { "port": port } }]);
    load(&gateway, &base.clone().set("server", "frontends", extra), 1)?;
    let url = format!("http://127.0.0.1:{port}/mcp/web");
    let mut session = LegacySession::open(&url, &json!({}))?;
    // A session belongs to the gateway and not to a port.
    let id = session.id().context("session")?.to_owned();
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    assert_eq!(Request::legacy(&id, ping).send(&gateway.url("/mcp/web"))?.json()?["result"], json!({}));

    let (call_id, call) = session.start("tools/call", &sleep(1_500))?;
    load(&gateway, &base, 2)?;
    let slept = call.finish(&call_id, |_| Ok(()))?.into_result()?;
    assert_eq!(slept["content"][0]["text"], "Slept 1500 ms", "a call on the port that went is answered");
    let deadline = Instant::now() + PATIENCE;
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
        ensure!(Instant::now() < deadline, "port {port} is still open");
    }
    assert_eq!(Request::legacy(&id, ping).send(&gateway.url("/mcp/web"))?.json()?["result"], json!({}));
    Ok(())
}

#[test]
fn many_changes_in_a_row_lose_nothing_and_leak_nothing() -> Result<()> {
    let dir = TempDir::new("churn")?;
    let marker = dir.path().to_str().context("UTF-8")?;
    let server = TestServer::stdio(Era::Both)?;
    let mut command = vec!["sh", "-c", "exec \"$@\" # $0", marker];
    command.extend(server.iter().map(String::as_str));
    let fixture = TestServer::http(Era::Both)?;
    let config = |round: usize| {
        let base = Config::new().http("web", fixture.url());
        if round.is_multiple_of(2) {
            base
        } else {
            base.backend(Backend::stdio("child", &command).env("ROUND", &round.to_string()))
        }
    };
    let gateway = Gateway::start(&config(0))?;
    let url = gateway.url("/mcp/web");
    let stop = std::sync::atomic::AtomicBool::new(false);
    let rounds = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| -> Result<usize> {
                    let mut client = ModernClient::new(&url, &json!({}))?;
                    let mut session = LegacySession::open(&url, &json!({}))?;
                    let mut done = 0;
                    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                        let call = json!({ "name": "echo", "arguments": { "message": "hi" } });
                        client.request("tools/call", &call)?.into_result()?;
                        session.request("tools/call", &call)?.into_result()?;
                        done += 1;
                    }
                    Ok(done)
                })
            })
            .collect();
        let changed = (1..=8).try_for_each(|round| load(&gateway, &config(round), round));
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let called = callers.into_iter().map(|caller| caller.join().map_err(|_| anyhow!("panic"))?);
        let called = called.sum::<Result<usize>>();
        changed.and(called)
    })?;
    assert!(rounds > 8, "{rounds}");
    let left = find_processes(|line| line.contains(marker))?;
    wait_gone(&left, PATIENCE).context("children of backends that are gone")?;
    serves(&gateway)
}
