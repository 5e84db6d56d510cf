//! The suite's client scenarios, with the gateway as the client of the suite's servers. Changes when another scenario
//! concerns the gateway.
//!
//! The suite starts `conformance-client` (`client.rs` beside this file), which puts a gateway before the suite's server
//! and drives it with a client of either generation.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use bridge_tests::Process;
use bridge_tests::legacy::LATEST;
use bridge_tests::modern::REVISION;

use super::report::{cell, counts};
use super::suite::{Checks, RUN_TIME, Status, command, empty, read_scenarios};

const PACKAGE: &str = "@modelcontextprotocol/conformance";

/// What concerns the gateway, and on which revisions. The scenarios of authorization would concern an OAuth client, which
/// it is not.
const SCENARIOS: [(&str, &[&str]); 10] = [
    ("initialize", &[LATEST]),
    ("tools_call", &[LATEST, REVISION]),
    ("sse-retry", &[LATEST]),
    ("request-metadata", &[REVISION]),
    ("http-standard-headers", &[REVISION]),
    ("http-custom-headers", &[REVISION]),
    ("http-invalid-tool-headers", &[REVISION]),
    ("sep-2322-client-request-state", &[REVISION]),
    ("json-schema-ref-no-deref", &[REVISION]),
    ("json-schema-2020-12-preservation", &[LATEST, REVISION]),
];

/// Runs all of them with a client of each generation before the gateway. Returns the table and the faults.
pub(crate) fn run(out: &Path) -> Result<(String, Vec<String>)> {
    empty(out)?;
    let mut text = String::from(
        "# Conformance: the gateway as a client\n\nThe revision is that of the suite's server; the client stands before the gateway.\n\n",
    );
    let width = SCENARIOS.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let _ = writeln!(text, "| {:width$} | revision   | client | checks  | verdict |", "scenario");
    let _ = writeln!(text, "|-{:-<width$}-|------------|--------|---------|---------|", "");
    let mut faults = Vec::new();
    for (scenario, revisions) in SCENARIOS {
        for revision in revisions {
            for client in ["legacy", "modern"] {
                let dir = out.join(format!("{scenario}-{revision}-{client}"));
                let problems = one(scenario, revision, client, &dir)?;
                let checks = cell(counts(&problems.checks));
                let verdict = if problems.list.is_empty() { "passes" } else { "FAILS" };
                let _ =
                    writeln!(text, "| {scenario:width$} | {revision} | {client} | {checks:>7} | {verdict} |");
                let title = format!("{scenario} of {revision} with a {client} client");
                faults.extend(problems.list.iter().map(|problem| format!("{title}: {problem}")));
            }
        }
    }
    text.push('\n');
    for fault in &faults {
        let _ = writeln!(text, "- {fault}");
    }
    Ok((text, faults))
}

struct Problems {
    checks: Checks,
    list: Vec<String>,
}

fn one(scenario: &str, revision: &str, client: &str, dir: &Path) -> Result<Problems> {
    empty(dir)?;
    let mut suite = command(PACKAGE)?;
    let program = format!("{} {client}", env!("CARGO_BIN_EXE_conformance-client"));
    suite.args(["client", "--command", &program, "--scenario", scenario, "--spec-version", revision]);
    suite.args(["--timeout", "60000", "--verbose", "--output-dir"]).arg(dir);
    let process = Process::spawn("conformance suite", &suite)?;
    let exit = process.wait_exit(RUN_TIME)?;
    fs::write(dir.join("output.txt"), process.log().join("\n"))?;

    let mut scenarios = read_scenarios(dir, "")?;
    let checks = scenarios.remove(scenario).with_context(|| process.complain("left no results"))?;
    let mut list: Vec<String> = checks
        .iter()
        .filter(|(_, check)| matches!(check.status, Status::Failure | Status::Warning))
        .map(|(name, check)| format!("{name}: {}", check.message))
        .collect();
    if counts(&checks).0 == 0 {
        list.push("no check passed".to_owned());
    }
    if list.is_empty() && !exit.success() {
        list.push(format!("the suite is not satisfied ({exit}): see output.txt"));
    }
    Ok(Problems { checks, list })
}
