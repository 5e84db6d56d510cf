//! Backends that are child processes and end, hang, or talk nonsense; and what is left of them when the gateway ends.
//! Changes when the life of children changes.

use std::cell::Cell;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use bridge_tests::metrics::pause;
use bridge_tests::process::{Signal, find_processes, wait_gone};
use bridge_tests::{
    Backend, Config, Era, Exchange, Gateway, LegacySession, ModernClient, PATIENCE, Reply, RpcError, TempDir,
    TestServer,
};
use rustix::process::{Pid, kill_process};
use serde_json::{Value, json};

const UNAVAILABLE: i64 = -32004;
const TIMEOUT: i64 = -32005;

fn sleep(ms: u64) -> Value {
    json!({ "name": "sleep", "arguments": { "ms": ms } })
}

fn who() -> Value {
    json!({ "name": "whoami" })
}

fn expect(error: &RpcError, code: i64, reason: &str, retry: &str, backend: &str) -> Result<()> {
    let data = json!({ "reason": reason, "retry": retry, "backend": backend });
    ensure!(error.code == code && error.data == data, "expected {code} with {data}, got {error}");
    Ok(())
}

fn kill(pid: i32) -> Result<()> {
    let pid = Pid::from_raw(pid).context("a process id")?;
    kill_process(pid, Signal::KILL).context("kill")
}

/// A client of either generation, for tests that do the same in both.
enum Client {
    Legacy(LegacySession),
    Modern(ModernClient),
}

impl Client {
    fn both(url: &str) -> Result<[Self; 2]> {
        let legacy = LegacySession::open(url, &json!({}))?;
        Ok([Self::Legacy(legacy), Self::Modern(ModernClient::new(url, &json!({}))?)])
    }

    fn call(&mut self, params: &Value) -> Result<Reply> {
        match self {
            Self::Legacy(session) => session.request("tools/call", params),
            Self::Modern(client) => client.request("tools/call", params),
        }
    }

    fn start(&mut self, params: &Value) -> Result<(Value, Exchange)> {
        match self {
            Self::Legacy(session) => session.start("tools/call", params),
            Self::Modern(client) => client.start("tools/call", params),
        }
    }

    fn pid(&mut self) -> Result<i32> {
        let result = self.call(&who())?.into_result()?;
        let pid = result["structuredContent"]["pid"].as_i64().context("pid")?;
        i32::try_from(pid).context("pid")
    }
}

/// Waits until the children have logged this many lines with `what`.
fn wait_logged(gateway: &Gateway, what: &str, times: usize) -> Result<()> {
    let seen = Cell::new(0);
    // A child's own line is inside the gateway's.
    gateway
        .wait_log(PATIENCE, |line| {
            seen.set(seen.get() + usize::from(line.to_string().contains(what)));
            seen.get() == times
        })
        .map(drop)
}

#[test]
fn a_killed_child_fails_its_call_at_once_and_nothing_else() -> Result<()> {
    let command = TestServer::stdio(Era::Both)?;
    let gateway = Gateway::start(&Config::new().stdio("one", &command).stdio("two", &command))?;
    let mut started = 0;
    for (mut client, mut bystander) in
        Client::both(&gateway.url("/mcp/one"))?.into_iter().zip(Client::both(&gateway.url("/mcp/two"))?)
    {
        let first = client.pid()?;
        let (other_id, other_call) = bystander.start(&sleep(1_000))?;
        let (id, call) = client.start(&sleep(60_000))?;
        started += 2;
        wait_logged(&gateway, "sleep started", started)?;
        let killed = Instant::now();
        kill(first)?;
        let error = call.finish(&id, |_| Ok(()))?.into_error()?;
        assert!(killed.elapsed() < Duration::from_secs(1), "{:?}", killed.elapsed());
        expect(&error, UNAVAILABLE, "backend_lost", "may_have_executed", "one")?;

        let second = client.pid()?;
        assert_ne!(first, second, "another child serves");
        let slept = other_call.finish(&other_id, |_| Ok(()))?.into_result()?;
        assert_eq!(slept["content"][0]["text"], "Slept 1000 ms");
    }
    Ok(())
}

#[test]
fn a_child_that_ends_by_itself_or_loses_its_guard_is_replaced() -> Result<()> {
    let command = TestServer::stdio(Era::Both)?;
    let gateway = Gateway::start(&Config::new().stdio("one", &command))?;
    for mut client in Client::both(&gateway.url("/mcp/one"))? {
        for _ in 0..3 {
            let before = client.pid()?;
            let error = client.call(&json!({ "name": "crash" }))?.into_error()?;
            expect(&error, UNAVAILABLE, "backend_lost", "may_have_executed", "one")?;
            assert_ne!(client.pid()?, before);
        }
        let child = client.pid()?;
        let guard = parent(child)?;
        kill(guard)?;
        wait_gone(&[guard, child], PATIENCE).context("the child goes with its guard")?;
        // The gateway may not have noticed yet; the call after that finds another child.
        let _ = client.call(&who())?;
        assert_ne!(client.pid()?, child);
    }
    // What crashed in between is still listed, and whole.
    let mut merged = ModernClient::new(&gateway.url("/mcp"), &json!({}))?;
    assert!(merged.list("tools/list", "tools")?.len() > 40);
    Ok(())
}

fn parent(pid: i32) -> Result<i32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:")).context("PPid")?;
    line.trim().parse().context("PPid")
}

#[test]
fn a_child_between_two_calls_dies_unnoticed() -> Result<()> {
    let command = TestServer::stdio(Era::Both)?;
    let gateway = Gateway::start(&Config::new().stdio("one", &command))?;
    for mut client in Client::both(&gateway.url("/mcp/one"))? {
        for _ in 0..5 {
            let pid = client.pid()?;
            kill(pid)?;
            wait_gone(&[pid], PATIENCE)?;
            // At worst the gateway has not noticed yet; then nothing was executed, and it says so.
            let reply = client.call(&who())?;
            if reply.message.get("error").is_some() {
                let error = reply.into_error()?;
                ensure!(error.code == UNAVAILABLE, "{error}");
                client.pid()?;
            }
        }
    }
    Ok(())
}

#[test]
fn nothing_survives_the_gateway_however_it_ends() -> Result<()> {
    let server = TestServer::stdio(Era::Both)?;
    for signal in [Signal::KILL, Signal::TERM] {
        let dir = TempDir::new("family")?;
        let marker = dir.path().to_str().context("UTF-8")?;
        // A grandchild, one that ignores signals, and one that has left for a session of its own.
        let script = "sh -c 'sleep 1000; :' \"$0\" & \
                      sh -c 'trap \"\" TERM HUP INT; sleep 1000; sleep 1000; :' \"$0\" & \
                      setsid sh -c 'sleep 1000; :' \"$0\" & \
                      exec \"$@\"";
        let mut command = vec!["sh", "-c", script, marker];
        command.extend(server.iter().map(String::as_str));
        let config =
            Config::new().stdio("family", &command).stdio("mute", &["sh", "-c", "sleep 1000; :", marker]);
        let mut gateway = Gateway::start(&config)?;
        let mut clients = Client::both(&gateway.url("/mcp/family"))?;
        let pids = [clients[0].pid()?, clients[1].pid()?];
        // One set for the catalogue of each generation and one for the session; some are shared.
        let family = find_processes(|line| line.contains(marker))?;
        assert!(family.len() >= 6, "{family:?}");
        let gateway_pid = gateway.process().pid();
        let guards = pids.map(|pid| parent(pid).unwrap_or_default());

        gateway.process().signal(signal)?;
        gateway.process().wait_exit(Duration::from_secs(20))?;

        wait_gone(&family, Duration::from_secs(10)).with_context(|| format!("{signal:?}"))?;
        wait_gone(&[&pids[..], &guards[..], &[gateway_pid]].concat(), Duration::from_secs(10))?;
        let deadline = Instant::now() + Duration::from_secs(10);
        // What was just being started when the gateway died.
        while !find_processes(|line| line.contains(marker))?.is_empty() {
            ensure!(Instant::now() < deadline, "{:?}", find_processes(|line| line.contains(marker))?);
            pause(Duration::from_millis(20));
        }
    }
    Ok(())
}

#[test]
fn children_that_never_answer_do_not_pile_up() -> Result<()> {
    let dir = TempDir::new("mute")?;
    let marker = dir.path().to_str().context("UTF-8")?.to_owned();
    let mute = Backend::stdio("mute", &["sh", "-c", "while :; do sleep 1000; done", &marker])
        .config("connect_timeout", json!("300ms"));
    let fixture = TestServer::stdio(Era::Both)?;
    let gateway = Gateway::start(&Config::new().backend(mute).stdio("fixture", &fixture))?;
    let count = || find_processes(|line| line.contains(&marker) && !line.contains("guard"));

    let url = gateway.url("/mcp/mute");
    std::thread::scope(|scope| {
        let attempts: Vec<_> = (0..6)
            .map(|_| {
                scope.spawn(|| -> Result<()> {
                    for _ in 0..3 {
                        let refused =
                            LegacySession::open(&url, &json!({})).err().context("it cannot open")?;
                        let text = format!("{refused:#}");
                        ensure!(text.contains("backend_unavailable") && text.contains("-32004"), "{text}");
                        let mut client = ModernClient::new(&url, &json!({}))?;
                        client.request("tools/list", &json!({}))?.into_error()?;
                    }
                    Ok(())
                })
            })
            .collect();
        attempts.into_iter().try_for_each(|attempt| attempt.join().map_err(|_| anyhow!("panic"))?)
    })?;
    // A client that goes away while it waits leaves nothing behind either.
    for _ in 0..5 {
        let (_, exchange) = LegacyStart::open(&url)?;
        drop(exchange);
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        // The catalogue may be trying again just now, in each generation.
        let left = count()?;
        if left.len() <= 4 {
            break;
        }
        ensure!(Instant::now() < deadline, "still {} children of a server that never answers", left.len());
        pause(Duration::from_millis(50));
    }
    let mut merged = ModernClient::new(&gateway.url("/mcp"), &json!({}))?;
    assert!(merged.list("tools/list", "tools")?.len() > 40);
    Ok(())
}

/// An `initialize` whose answer is not waited for.
struct LegacyStart;

impl LegacyStart {
    fn open(url: &str) -> Result<(Value, Exchange)> {
        let url = bridge_tests::http::Url::parse(url)?;
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": { "protocolVersion": "2025-11-25", "capabilities": {} } });
        let headers = [("Content-Type", "application/json"), ("Accept", bridge_tests::raw::ACCEPT)];
        Ok((json!(1), Exchange::start("POST", &url, &headers, body.to_string().as_bytes())?))
    }
}

#[test]
fn a_program_that_cannot_start_is_a_typed_error_and_others_serve() -> Result<()> {
    let fixture = TestServer::stdio(Era::Both)?;
    let dir = TempDir::new("programs")?;
    let plain = dir.write("plain.txt", "no program")?;
    let plain = plain.to_str().context("UTF-8")?;
    let config = Config::new()
        .stdio("missing", &["/no/such/program"])
        .stdio("plain", &[plain])
        .stdio("quits", &["false"])
        .backend(Backend::stdio("homeless", &["cat"]).config("working_dir", json!("/no/such/directory")))
        .stdio("fixture", &fixture);
    let gateway = Gateway::start(&config)?;
    for name in ["missing", "plain", "quits", "homeless"] {
        let url = gateway.url(&format!("/mcp/{name}"));
        let refused = LegacySession::open(&url, &json!({})).err().context("it cannot open")?;
        let text = format!("{refused:#}");
        ensure!(text.contains("-32004"), "{name}: {text}");
        // The path is for the operator's log only.
        ensure!(!text.contains("/no/such"), "{name}: {text}");
        let error = ModernClient::new(&url, &json!({}))?.request("tools/list", &json!({}))?.into_error()?;
        ensure!(error.code == UNAVAILABLE && error.data["backend"] == name, "{name}: {error}");
    }
    let mut merged = LegacySession::open(&gateway.url("/mcp"), &json!({}))?;
    assert!(merged.list("tools/list", "tools")?.len() > 40);
    Ok(())
}

#[test]
fn noise_on_standard_output_is_skipped() -> Result<()> {
    let server = TestServer::stdio(Era::Both)?;
    let script = "echo Welcome; echo; echo '{\"not\":\"rpc\"}'; printf '\\377\\376\\n'; echo '[1,2]'; \
                  head -c 100000 /dev/zero | tr '\\0' x; echo; exec \"$@\"";
    let mut command = vec!["sh", "-c", script, "sh"];
    command.extend(server.iter().map(String::as_str));
    let noisy = Backend::stdio("noisy", &command).config("request_timeout", json!("1s"));
    let config = Config::new().backend(noisy).set("limits", "max_backend_message", json!(204_800));
    let gateway = Gateway::start(&config)?;
    for mut client in Client::both(&gateway.url("/mcp/noisy"))? {
        client.pid()?;
        // A line over the limit is not read, so nobody can tell whose answer it was: the call's own limit ends it.
        let error =
            client.call(&json!({ "name": "big", "arguments": { "bytes": 250_000 } }))?.into_error()?;
        expect(&error, TIMEOUT, "backend_timeout", "may_have_executed", "noisy")?;
        client.pid()?;
    }
    Ok(())
}

#[test]
fn a_call_over_its_time_is_cancelled_and_answered() -> Result<()> {
    let command = TestServer::stdio(Era::Both)?;
    let slow = Backend::stdio("slow", &command).config("request_timeout", json!("600ms"));
    let gateway = Gateway::start(&Config::new().backend(slow))?;
    for (round, mut client) in Client::both(&gateway.url("/mcp/slow"))?.into_iter().enumerate() {
        let pid = client.pid()?;
        let begun = Instant::now();
        let error = client.call(&sleep(60_000))?.into_error()?;
        expect(&error, TIMEOUT, "backend_timeout", "may_have_executed", "slow")?;
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        wait_logged(&gateway, "sleep cancelled", round + 1)?;
        assert_eq!(client.pid()?, pid, "the child serves on");
    }
    Ok(())
}

#[test]
fn progress_keeps_a_call_alive_and_a_hard_limit_ends_it() -> Result<()> {
    let command = TestServer::stdio(Era::Both)?;
    let gateway = Gateway::start(
        &Config::new()
            .backend(Backend::stdio("slow", &command).config("request_timeout", json!("120ms")))
            .backend(Backend::stdio("endless", &command).config("request_timeout", json!("5m")))
            .set("limits", "max_request_duration", json!("800ms"))
            .set("limits", "keep_alive", json!("100ms")),
    )?;
    // It takes about 100 ms in steps of about 50.
    let call = json!({ "name": "test_tool_with_progress", "_meta": { "progressToken": "p" } });
    let mut session = LegacySession::open(&gateway.url("/mcp/slow"), &json!({}))?;
    for _ in 0..3 {
        let reply = session.request("tools/call", &call)?;
        if let Ok(error) = reply.clone().into_error() {
            // A machine under load may pause longer than that between two steps; the limit is then right.
            assert_eq!(error.code, TIMEOUT, "{error}");
        }
    }
    for mut client in Client::both(&gateway.url("/mcp/endless"))? {
        let begun = Instant::now();
        let error = client.call(&sleep(60_000))?.into_error()?;
        expect(&error, TIMEOUT, "backend_timeout", "may_have_executed", "endless")?;
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    }
    Ok(())
}

#[test]
fn calls_and_children_over_their_limits_are_told_to_come_back() -> Result<()> {
    let command = TestServer::stdio(Era::Both)?;
    let config = Config::new()
        .backend(Backend::stdio("narrow", &command).config("max_concurrency", json!(1)))
        .backend(Backend::stdio("few", &command).config("max_processes", json!(3)));
    let gateway = Gateway::start(&config)?;
    for (round, mut client) in Client::both(&gateway.url("/mcp/narrow"))?.into_iter().enumerate() {
        let (id, call) = client.start(&sleep(1_500))?;
        wait_logged(&gateway, "sleep started", round + 1)?;
        let error = client.call(&who())?.into_error()?;
        expect(&error, UNAVAILABLE, "backend_busy", "safe", "narrow")?;
        call.finish(&id, |_| Ok(()))?.into_result()?;
        client.pid()?;
    }

    gateway.wait_backends("legacy", &["few"])?;
    gateway.wait_backends("modern", &["few"])?;
    // Two serve the catalogues; one is left for sessions.
    let url = gateway.url("/mcp/few");
    let mut first = LegacySession::open(&url, &json!({}))?;
    let text = format!("{:#}", LegacySession::open(&url, &json!({})).err().context("one too many")?);
    ensure!(text.contains("-32004") && text.contains("\"safe\""), "{text}");
    first.request("tools/call", &who())?.into_result()?;
    first.delete()?;
    let deadline = Instant::now() + PATIENCE;
    while LegacySession::open(&url, &json!({})).is_err() {
        ensure!(Instant::now() < deadline, "no place became free after the session had ended");
        pause(Duration::from_millis(20));
    }
    Ok(())
}
