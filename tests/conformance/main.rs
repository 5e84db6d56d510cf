//! The official conformance suite through the gateway's unrenamed route, with the direct run of the same backend beside it.
//! Changes when another suite or another route is measured.
//!
//! `make conformance` runs this and prints the table, which stays in `target/conformance/report.md`; each run's own output
//! and result files are beside it.

mod report;
mod suite;

use std::fs;
use std::io::Write as _;

use anyhow::{Context as _, Result, ensure};
use bridge_tests::{Config, Era, Gateway, TestServer, peers};

#[test]
fn through_the_gateway_equals_direct() -> Result<()> {
    let server = TestServer::http(Era::Both)?;
    let gateway = Gateway::start(&Config::new().http("fixture", server.url()))?;
    gateway.wait_backends("legacy", &["fixture"])?;
    gateway.wait_backends("modern", &["fixture"])?;
    // By this name, because the suite checks what a server does with host names and wants to see localhost accepted.
    let direct_url = format!("http://localhost:{}/mcp", server.port()?);
    let via_url = gateway.localhost_url("/mcp/fixture");

    let out = peers::target_dir()?.join("conformance");
    let mut text = String::from("# Conformance: direct and through the gateway\n\n");
    let mut faults: Vec<String> = Vec::new();
    for suite in suite::SUITES {
        let slug = suite.slug();
        let direct = suite.run(&direct_url, &out.join(format!("{slug}-direct")))?;
        let via = suite.run(&via_url, &out.join(format!("{slug}-gateway")))?;
        let comparison = report::compare(suite.title, &direct, &via, &suite.required(&direct)?);
        text.push_str(&comparison.text);
        faults.extend(comparison.faults);
    }
    let path = out.join("report.md");
    fs::write(&path, &text).with_context(|| format!("writing {}", path.display()))?;
    // Past the test runner's capture: the table is the point of the run, also when it passes.
    std::io::stdout().write_all(text.as_bytes())?;
    ensure!(faults.is_empty(), "{} faults, listed above and in {}", faults.len(), path.display());
    Ok(())
}
