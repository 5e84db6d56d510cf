//! What a whole process writes to standard error: level changes while running, and panics.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code outside of the `#[test]` function")]

use std::process::Command;

use bridge_runtime::log::{self, Format, Settings};

const ROLE: &str = "LOG_PROCESS_CHILD";

/// Runs itself again as the process under test, because subscriber and panic hook belong to a whole process.
#[test]
fn level_changes_and_panics_reach_standard_error() {
    if std::env::var_os(ROLE).is_some() {
        child();
        return;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "level_changes_and_panics_reach_standard_error", "--nocapture"])
        .env(ROLE, "1")
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<serde_json::Value> = stderr
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}")))
        .collect();
    let messages: Vec<&str> = lines.iter().filter_map(|line| line["msg"].as_str()).collect();
    assert_eq!(
        messages,
        ["shown at info", "shown at debug", "panic: this is a bug in the gateway"],
        "{stderr}"
    );
    let panic = &lines[2];
    assert_eq!(panic["level"], "error");
    assert_eq!(panic["panic"], "the deliberate one");
    assert!(panic["location"].as_str().unwrap().contains("log_process.rs:"), "{panic}");
    assert_eq!(panic["thread"], "worker-7");
}

fn child() {
    let handle =
        log::init(Settings { service: "mcp-gateway", level: "info", format: Format::Json, caller: false })
            .unwrap();
    tracing::debug!("hidden at info");
    tracing::info!("shown at info");
    handle.set_level("debug").unwrap();
    handle.set_level("nonsense").unwrap_err();
    tracing::debug!("shown at debug");
    handle.set_level("error").unwrap();
    tracing::info!("hidden at error");
    assert!(
        log::init(Settings { service: "mcp-gateway", level: "info", format: Format::Json, caller: false })
            .is_err()
    );
    let worker =
        std::thread::Builder::new().name("worker-7".to_owned()).spawn(|| panic!("the deliberate one"));
    worker.unwrap().join().unwrap_err();
}
