//! The adapter as a program: how it gets into a pod, what it refuses, what its server sees, and what is left of the
//! server's processes when it ends. Changes when the life of an adapter changes.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bridge_tests::gateway::binary;
use bridge_tests::metrics::pause;
use bridge_tests::process::{Process, Signal, find_processes, wait_gone};
use bridge_tests::{Adapter, Era, LegacySession, PATIENCE, TempDir, TestServer};
use rustix::process::{Pid, kill_process};
use serde_json::json;

fn run(program: &std::path::Path, arguments: &[&str]) -> Result<std::process::Output> {
    Ok(Command::new(program).args(arguments).output()?)
}

#[test]
fn it_installs_itself_and_the_copy_runs() -> Result<()> {
    let dir = TempDir::new("install")?;
    let copy = dir.path().join("mcp-gateway");
    let flag = format!("--install={}", copy.display());
    // The second time over a program that is there already.
    for _ in 0..2 {
        let installed = run(&binary("mcp-gateway")?, &["stdio-adapter", &flag])?;
        ensure!(installed.status.code() == Some(0), "{installed:?}");
    }
    assert_eq!(copy.metadata()?.permissions().mode() & 0o7777, 0o755);
    assert_eq!(std::fs::read_dir(dir.path())?.count(), 1, "nothing but the program");
    let version = run(&copy, &["--version"])?;
    ensure!(version.status.success() && version.stdout.starts_with(b"mcp-gateway\n"), "{version:?}");
    Ok(())
}

#[test]
fn what_cannot_be_installed_or_started_is_said() -> Result<()> {
    let gateway = binary("mcp-gateway")?;
    for (arguments, code, text) in [
        (&["--install=/no/such/folder/x"][..], 1, "cannot write `/no/such/folder/x`"),
        (&["--install=/tmp"], 1, "`/tmp` is not a path of a file"),
        (&["--", "no-such-program"], 2, "`no-such-program` was not found in PATH"),
        (&["--", "/no/such/program"], 2, "`/no/such/program` does not exist"),
        (&["--", "/etc/passwd"], 2, "`/etc/passwd` is not an executable file"),
        (&[], 2, "<COMMAND>"),
        (&["--max-sessions=0", "--", "sh"], 2, "--max-sessions"),
        (&["--session-mode=many", "--", "sh"], 2, "per-session, shared"),
        (&["--listen=192.0.2.1:1", "--", "cat"], 2, "192.0.2.1:1"),
    ] {
        let output = run(&gateway, &[&["stdio-adapter"], arguments].concat())?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(code) && said.contains(text), "{arguments:?}: {output:?}");
    }
    let help = run(&gateway, &["stdio-adapter", "--help"])?;
    ensure!(help.status.success() && String::from_utf8_lossy(&help.stdout).contains("--install"), "{help:?}");
    Ok(())
}

#[test]
fn the_server_sees_the_environment_of_the_pod_and_its_log_shows_no_secret() -> Result<()> {
    let script = "echo \"short $SHORT, long $LONG, home $HOME\" >&2; exec sleep 1000";
    let env = [("SHORT", "here"), ("LONG", "a-longer-secret"), ("HOME", "/home/somebody")];
    let adapter = Adapter::spawn(&[], &["sh", "-c", script], &env)?;
    adapter.wait_line(PATIENCE, |line| {
        line.contains("short here, long [redacted], home /home/somebody").then_some(())
    })
}

/// A server with a grandchild, one that ignores signals, and one that has left for a session of its own.
fn family(marker: &str) -> Result<Vec<String>> {
    let script = "sh -c 'sleep 1000; :' \"$0\" & \
                  sh -c 'trap \"\" TERM HUP INT; sleep 1000; sleep 1000; :' \"$0\" & \
                  setsid sh -c 'sleep 1000; :' \"$0\" & \
                  \"$@\"; exit 0";
    let mut command: Vec<String> = ["sh", "-c", script, marker].map(str::to_owned).into();
    command.extend(TestServer::stdio(Era::Both)?);
    Ok(command)
}

/// Processes of the family, without the adapter and the guards, whose command lines have the marker, too.
fn members(marker: &str) -> Result<Vec<i32>> {
    find_processes(|line| line.contains(marker) && !line.contains("stdio-adapter"))
}

fn none_left(marker: &str) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let left = find_processes(|line| line.contains(marker))?;
        if left.is_empty() {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "left: {left:?}");
        pause(Duration::from_millis(20));
    }
}

/// The process that does the work, below the one that was started.
fn worker(adapter: &Process) -> Result<i32> {
    let flag = format!("--child-of={}", adapter.pid());
    let found = find_processes(|line| line.contains(&flag))?;
    found.first().copied().context("a worker")
}

fn kill(pid: i32) -> Result<()> {
    kill_process(Pid::from_raw(pid).context("a process id")?, Signal::KILL).context("kill")
}

#[test]
fn nothing_survives_the_adapter_however_it_ends() -> Result<()> {
    for end in ["TERM", "KILL", "KILL of the worker"] {
        let dir = TempDir::new("adapter-family")?;
        let marker = dir.path().to_str().context("UTF-8")?;
        let mut adapter = Adapter::start(&[], &family(marker)?)?;
        let mut session = LegacySession::open(&adapter.url(), &json!({}))?;
        session.request("tools/call", &json!({ "name": "whoami" }))?.into_result()?;
        let family = members(marker)?;
        // One set for the catalogue of each generation and one for the session.
        ensure!(family.len() >= 12, "{end}: {family:?}");
        match end {
            "TERM" => {
                adapter.process().signal(Signal::TERM)?;
                let exit = adapter.process().wait_exit(Duration::from_secs(30))?;
                ensure!(exit.code() == Some(0), "{exit:?}");
                // It waits for them, so that they end before the pod does.
                ensure!(members(marker)?.is_empty(), "{:?}", members(marker)?);
            }
            "KILL" => adapter.process().signal(Signal::KILL)?,
            _ => {
                kill(worker(adapter.process())?)?;
                let exit = adapter.process().wait_exit(Duration::from_secs(30))?;
                ensure!(exit.code() == Some(128 + 9), "{exit:?}");
            }
        }
        none_left(marker).with_context(|| end.to_owned())?;
        wait_gone(&family, Duration::from_secs(10)).with_context(|| end.to_owned())?;
    }
    Ok(())
}

#[test]
fn what_a_killed_guard_leaves_is_ended_and_reaped() -> Result<()> {
    let dir = TempDir::new("adapter-strays")?;
    let marker = dir.path().to_str().context("UTF-8")?;
    let mut adapter = Adapter::start(&[], &family(marker)?)?;
    let before = members(marker)?;
    for guard in find_processes(|line| line.starts_with("mcp-stdio-guard") && line.contains(marker))? {
        kill(guard)?;
    }
    wait_gone(&before, PATIENCE).context("the families of the guards")?;
    // No zombies: what has fallen to the first process has no entry any more.
    let deadline = Instant::now() + PATIENCE;
    let exists = |pid: &i32| std::path::Path::new(&format!("/proc/{pid}")).exists();
    while before.iter().any(exists) {
        ensure!(
            Instant::now() < deadline,
            "{:?}",
            before.iter().filter(|pid| exists(pid)).collect::<Vec<_>>()
        );
        pause(Duration::from_millis(20));
    }
    // And the adapter serves on, with new ones.
    adapter.process().signal(Signal::TERM)?;
    ensure!(adapter.process().wait_exit(Duration::from_secs(30))?.success());
    none_left(marker)
}
