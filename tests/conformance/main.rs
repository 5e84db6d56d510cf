//! The official conformance suites through the gateway, beside the direct run against the same fixture, for each generation
//! of client and backend; and the suites' client scenarios with the gateway as the client. Changes when another suite or
//! another route is measured.
//!
//! `make conformance` runs this and prints the tables, which stay in `target/conformance/`; each run's own output and
//! result files are beside them.

mod clients;
mod expected;
mod report;
mod suite;

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use bridge_tests::{Config, Era, Gateway, TestServer, peers};

use report::Row;
use suite::Suite;

/// The backends of the gateway under test: the namespace, and what the server behind it speaks.
const BACKENDS: [(&str, Era); 3] = [("both", Era::Both), ("legacy", Era::Legacy), ("modern", Era::Modern)];

/// What stands behind the gateway when a suite crosses generations.
fn other_generation(suite: Suite) -> &'static str {
    if suite.is_modern() { "legacy" } else { "modern" }
}

#[test]
fn no_suite_loses_a_check_in_any_pair_of_generations() -> Result<()> {
    let servers: Vec<TestServer> =
        BACKENDS.iter().map(|(_, era)| TestServer::http(*era)).collect::<Result<_>>()?;
    let config = BACKENDS
        .iter()
        .zip(&servers)
        .fold(Config::new(), |config, ((name, _), server)| config.http(name, server.url()));
    let gateway = Gateway::start(&config)?;
    gateway.wait_backends("legacy", &["both", "legacy"])?;
    gateway.wait_backends("modern", &["both", "modern"])?;
    // By this name, because the suite checks what a server does with host names and wants to see localhost accepted.
    // A server of one generation cannot run the other's suite: a crossing is measured against the server of both.
    let direct_url = format!("http://localhost:{}/mcp", servers[0].port()?);

    let out = peers::target_dir()?.join("conformance");
    let expected = expected::read()?;
    let mut rows: Vec<Row> = Vec::new();
    let mut details = String::new();
    let mut faults: Vec<String> = Vec::new();
    for suite in suite::SUITES {
        let slug = suite.slug();
        let direct = suite.run(&direct_url, &out.join(format!("{slug}-direct")))?;
        let required = suite.required(&direct)?;
        for backend in ["both", other_generation(suite)] {
            let url = gateway.localhost_url(&format!("/mcp/{backend}"));
            let via = suite.run(&url, &out.join(format!("{slug}-{backend}")))?;
            let expected = expected::of(&expected, &slug, backend);
            let title = format!("{} on a backend of {backend}", suite.title);
            let comparison = report::compare(&title, &direct, &via, &required, &expected);
            details.push_str(&comparison.text);
            faults.extend(comparison.faults);
            rows.push(comparison.row);
        }
    }
    let mut text = String::from("# Conformance: direct and through the gateway\n\n");
    text.push_str(&report::summary(&rows));
    for fault in &faults {
        let _ = writeln!(text, "- {fault}");
    }
    publish(&out.join("report.md"), &format!("{text}\n{details}"), &faults)
}

#[test]
fn the_gateway_passes_the_scenarios_for_clients() -> Result<()> {
    let out = peers::target_dir()?.join("conformance");
    let (text, faults) = clients::run(&out.join("clients"))?;
    publish(&out.join("clients.md"), &text, &faults)
}

/// Keeps and prints a report, past the test runner's capture: the table is the point of the run, also when it passes.
fn publish(path: &Path, text: &str, faults: &[String]) -> Result<()> {
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
    std::io::stdout().write_all(text.as_bytes())?;
    ensure!(faults.is_empty(), "{} faults, listed above and in {}", faults.len(), path.display());
    Ok(())
}
