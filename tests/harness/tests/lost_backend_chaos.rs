//! Many clients of both generations while their backends are killed again and again: whoever asks gets an answer of their
//! own or a typed error, and afterwards nothing is left over. Changes when a new kind of traffic or loss is to be mixed in.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use bridge_tests::metrics::{Metrics, pause};
use bridge_tests::process::{Signal, find_processes};
use bridge_tests::{Config, Era, LegacySession, ModernClient, PATIENCE, Reply, TempDir, TestServer};
use rustix::process::{Pid, kill_process};
use serde_json::{Value, json};

/// How long the killing goes on.
const CHAOS: Duration = Duration::from_secs(6);
/// Between two kills.
const PACE: Duration = Duration::from_millis(120);
const CLIENTS: usize = 6;

/// A generator that gives the same numbers in every run (`SplitMix64`).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap_or_default()
    }
}

fn echo(text: &str) -> Value {
    json!({ "name": "echo", "arguments": { "message": text } })
}

/// Fails unless the reply is the echo of `text` or an error that says what happened and what to do. Returns whether it
/// was the echo.
fn judge(reply: &Reply, text: &str) -> Result<bool> {
    if let Some(result) = reply.message.get("result") {
        ensure!(result["content"][0]["text"] == *text, "asked to echo {text}, got {result}");
        return Ok(true);
    }
    let error = reply.clone().into_error()?;
    let typed = error.data["reason"].is_string() && error.data["retry"].is_string();
    ensure!(typed && matches!(error.code, -32_004 | -32_005), "{text}: {error}");
    Ok(false)
}

/// One client's life: sessions come and go, calls succeed or fail, streams are dropped.
fn live(base: &str, name: usize, stop: &AtomicBool, answered: &AtomicUsize) -> Result<()> {
    let mut numbers = Numbers(name as u64);
    let mut round = 0;
    while !stop.load(Ordering::Relaxed) {
        let path = ["/mcp/one", "/mcp/two", "/mcp/web"][numbers.below(3)];
        let url = format!("{base}{path}");
        let Ok(mut session) = LegacySession::open(&url, &json!({ "sampling": {} })) else { continue };
        session.on_server_request(move |_, params| {
            let asked = &params["messages"][0]["content"]["text"];
            json!({ "role": "assistant", "model": "m", "content": { "type": "text", "text": asked } })
        });
        let mut modern = ModernClient::new(&url, &json!({}))?;
        for _ in 0..numbers.below(12) {
            round += 1;
            let text = format!("client {name} round {round}");
            let kind = numbers.below(5);
            let done = || -> Result<bool> {
                match kind {
                    0 | 1 => judge(&session.request("tools/call", &echo(&text))?, &text),
                    2 => judge(&modern.request("tools/call", &echo(&text))?, &text),
                    3 => {
                        let call = json!({ "name": "test_sampling", "arguments": { "prompt": text } });
                        judge(&session.request("tools/call", &call)?, &format!("LLM response: {text}"))
                    }
                    _ => {
                        // Left alone: cancelled in one generation, running on in the other.
                        let sleep = json!({ "name": "sleep", "arguments": { "ms": 200 } });
                        drop(modern.start("tools/call", &sleep)?);
                        drop(session.start("tools/call", &sleep)?);
                        Ok(false)
                    }
                }
            };
            let mut done = done;
            let done = done().with_context(|| format!("{path}, kind {kind}, {text}"))?;
            answered.fetch_add(usize::from(done), Ordering::Relaxed);
        }
        // Every third client forgets its session, as most do.
        if !name.is_multiple_of(3) {
            session.delete()?;
        }
    }
    Ok(())
}

#[test]
fn nobody_gets_anothers_answer_and_nothing_is_left_over() -> Result<()> {
    let dir = TempDir::new("chaos")?;
    let marker = dir.path().to_str().context("UTF-8")?;
    let server = TestServer::stdio(Era::Both)?;
    // A marker on the command line, and a grandchild that has to go as well.
    let script = "sleep 1000 & exec -a \"$0\" \"$@\"";
    let mut command = vec!["bash", "-c", script, marker];
    command.extend(server.iter().map(String::as_str));
    let web = TestServer::http(Era::Both)?;
    let port = web.port()?;
    let config = Config::new()
        .stdio("one", &command)
        .stdio("two", &command)
        .http("web", web.url())
        .set("sessions", "ttl", json!("3s"))
        .set("limits", "keep_alive", json!("300ms"));
    let (mut gateway, metrics) = Metrics::start(&config)?;
    gateway.wait_backends("legacy", &["one", "two", "web"])?;
    gateway.wait_backends("modern", &["one", "two", "web"])?;
    let children = || find_processes(|line| line.starts_with(marker));
    let idle = children()?.len();
    let (stop, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let base = gateway.url("");
    let web = std::thread::scope(|scope| -> Result<TestServer> {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|name| {
                let (base, stop, answered) = (&base, &stop, &answered);
                scope.spawn(move || live(base, name, stop, answered))
            })
            .collect();
        let mut numbers = Numbers(42);
        let mut web = web;
        let begun = Instant::now();
        let mut kills = 0;
        while begun.elapsed() < CHAOS && !clients.iter().any(std::thread::ScopedJoinHandle::is_finished) {
            pause(PACE);
            kills += 1;
            if kills % 12 == 0 {
                web.process().signal(Signal::KILL)?;
                web.process().wait_exit(PATIENCE)?;
                web = TestServer::http_on(Era::Both, port)?;
                continue;
            }
            let living = children()?;
            if let Some(pid) = living.get(numbers.below(living.len().max(1))) {
                // It may have gone by itself just now.
                let _ = Pid::from_raw(*pid).map(|pid| kill_process(pid, Signal::KILL));
            }
        }
        stop.store(true, Ordering::Relaxed);
        for client in clients {
            client.join().map_err(|_| anyhow!("panic"))??;
        }
        Ok(web)
    })?;
    let answered = answered.load(Ordering::Relaxed);
    assert!(answered > 50, "only {answered} calls were served at all");

    // Sessions that were deleted or forgotten end, and everything that answered them.
    metrics.wait("mcp_gateway_sessions_active", 0)?;
    metrics.wait("mcp_gateway_requests_in_flight", 0)?;
    metrics.wait("mcp_gateway_connections_active", 0)?;
    let deadline = Instant::now() + PATIENCE;
    while children()?.len() > idle {
        ensure!(Instant::now() < deadline, "{} children remain of {idle}", children()?.len());
        pause(Duration::from_millis(50));
    }
    // And all of them serve, with everything listed.
    for path in ["/mcp/one", "/mcp/two", "/mcp/web"] {
        let mut client = ModernClient::new(&format!("{base}{path}"), &json!({}))?;
        let deadline = Instant::now() + PATIENCE;
        while !judge(&client.request("tools/call", &echo("after"))?, "after")? {
            ensure!(Instant::now() < deadline, "{path} does not come back");
        }
    }
    let mut merged = ModernClient::new(&format!("{base}/mcp"), &json!({}))?;
    let deadline = Instant::now() + PATIENCE;
    while merged.list("tools/list", "tools")?.len() < 3 * 40 {
        ensure!(Instant::now() < deadline, "not everything is listed again");
        pause(Duration::from_millis(50));
    }
    drop(web);
    gateway.process().signal(Signal::TERM)?;
    assert_eq!(gateway.process().wait_exit(PATIENCE)?.code(), Some(0));
    assert_eq!(children()?, Vec::<i32>::new());
    Ok(())
}
