//! Runs the official conformance suite against one URL and reads its results. Changes with the suite's command line or
//! its result files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bridge_tests::{Process, peers};
use serde_json::Value;

/// A run takes seconds; one that hangs in every scenario is stopped by its own time limits before this.
pub(crate) const RUN_TIME: Duration = Duration::from_mins(20);

/// The length of `-2026-11-22T09-42-57-519Z`, which ends the name of each result directory.
const TIMESTAMP: usize = 25;

/// One published suite with one set of requirements.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Suite {
    /// For the table.
    pub(crate) title: &'static str,
    /// Directory of the npm package.
    package: &'static str,
    /// The revision whose frozen requirements decide; without one, all scenarios of the default suite do.
    requirements: Option<&'static str>,
}

/// All suites that must pass.
pub(crate) const SUITES: [Suite; 3] = [
    Suite { title: "0.1.16, default suite", package: "conformance-0-1", requirements: None },
    Suite {
        title: "0.2.0-alpha.12, requirements 2025-11-25",
        package: "@modelcontextprotocol/conformance",
        requirements: Some("2025-11-25"),
    },
    Suite {
        title: "0.2.0-alpha.12, requirements 2026-07-28",
        package: "@modelcontextprotocol/conformance",
        requirements: Some("2026-07-28"),
    },
];

/// How one check went. The order is from worst to best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Status {
    /// It did not run, although it did elsewhere.
    Absent,
    /// `FAILURE`.
    Failure,
    /// `INFO`, `SKIPPED` and anything else that decides nothing.
    Neutral,
    /// `WARNING`.
    Warning,
    /// `SUCCESS`.
    Success,
}

/// One check's outcome.
#[derive(Debug, Clone)]
pub(crate) struct Check {
    pub(crate) status: Status,
    /// The suite's own words on a failure.
    pub(crate) message: String,
}

/// Checks of one scenario by name. A check that ran several times has its number after the name from the second on.
pub(crate) type Checks = BTreeMap<String, Check>;

/// All scenarios of one run.
#[derive(Debug, Default)]
pub(crate) struct Run {
    pub(crate) scenarios: BTreeMap<String, Checks>,
    /// Whether the suite itself is satisfied (its exit code).
    pub(crate) accepted: bool,
}

impl Suite {
    /// Runs it; the suite's output and result files stay in `out` for the curious.
    pub(crate) fn run(&self, url: &str, out: &Path) -> Result<Run> {
        empty(out)?;
        let mut command = command(self.package)?;
        command.args(["server", "--url", url, "--output-dir"]).arg(out);
        if let Some(revision) = self.requirements {
            command.args(["--requirements", revision]);
        }
        let process = Process::spawn("conformance suite", &command)?;
        let exit = process.wait_exit(RUN_TIME)?;
        fs::write(out.join("output.txt"), process.log().join("\n"))?;

        let mut run = Run { accepted: exit.success(), ..Run::default() };
        run.scenarios = read_scenarios(out, "server-")?;
        ensure!(!run.scenarios.is_empty(), process.complain("ran no scenario"));
        Ok(run)
    }

    /// The scenarios that must pass among those that ran.
    pub(crate) fn required(&self, ran: &Run) -> Result<BTreeSet<String>> {
        let Some(revision) = self.requirements else { return Ok(ran.scenarios.keys().cloned().collect()) };
        let mut command = command(self.package)?;
        command.args(["list", "--requirements", revision]);
        let process = Process::spawn("conformance suite", &command)?;
        process.wait_exit(RUN_TIME)?;
        let log = process.log();
        let server_part = log.iter().skip_while(|line| !line.starts_with("Server scenarios"));
        let server_part = server_part.take_while(|line| !line.starts_with("Client scenarios"));
        let names = server_part.filter_map(|line| line.strip_prefix("  - ").map(str::to_owned)).collect();
        ensure!(!BTreeSet::is_empty(&names), process.complain("lists no required scenario"));
        Ok(names)
    }

    /// Whether its client speaks 2026-07-28.
    pub(crate) fn is_modern(&self) -> bool {
        self.requirements == Some("2026-07-28")
    }

    /// A name for files.
    pub(crate) fn slug(&self) -> String {
        format!(
            "{}-{}",
            self.title.split(',').next().unwrap_or_default(),
            self.requirements.unwrap_or("default")
        )
    }
}

/// The suite of an npm package as a program.
pub(crate) fn command(package: &str) -> Result<Command> {
    let mut command = Command::new(peers::node()?);
    command.arg(peers::npm(&format!("{package}/dist/index.js"))?);
    Ok(command)
}

/// Makes an empty directory.
pub(crate) fn empty(dir: &Path) -> Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("emptying {}", dir.display()))?;
    }
    fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))
}

/// All scenarios that left results in a directory. The suite puts `prefix` before the names of some.
pub(crate) fn read_scenarios(dir: &Path, prefix: &str) -> Result<BTreeMap<String, Checks>> {
    let mut scenarios = BTreeMap::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let Some(name) = name.strip_prefix(prefix).filter(|name| name.len() > TIMESTAMP) else { continue };
        let file = path.join("checks.json");
        if !file.is_file() {
            continue;
        }
        let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        let list: Vec<Value> =
            serde_json::from_str(&text).with_context(|| format!("parsing {}", file.display()))?;
        scenarios.insert(name[..name.len() - TIMESTAMP].to_owned(), read_checks(&list));
    }
    Ok(scenarios)
}

/// Numbers repeated checks, so that each has a key of its own.
pub(crate) fn read_checks(list: &[Value]) -> Checks {
    let mut checks = Checks::new();
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for check in list {
        let id = check["id"].as_str().unwrap_or("unnamed");
        let count = seen.entry(id).or_default();
        *count += 1;
        let key = if *count == 1 { id.to_owned() } else { format!("{id}#{count}") };
        let status = match check["status"].as_str() {
            Some("SUCCESS") => Status::Success,
            Some("WARNING") => Status::Warning,
            Some("FAILURE") => Status::Failure,
            _ => Status::Neutral,
        };
        let message = check["errorMessage"].as_str().unwrap_or_default().to_owned();
        checks.insert(key, Check { status, message });
    }
    checks
}
