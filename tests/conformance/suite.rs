//! Runs the official conformance suite against one URL and reads its results. Changes with the suite's command line or
//! its result files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result, ensure};
use bridge_tests::{Process, peers};
use serde_json::Value;

/// A run takes seconds; one that hangs in every scenario is stopped by its own time limits before this.
const RUN_TIME: Duration = Duration::from_mins(20);

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
        if out.exists() {
            fs::remove_dir_all(out).with_context(|| format!("emptying {}", out.display()))?;
        }
        fs::create_dir_all(out)?;
        let mut command = self.command()?;
        command.args(["server", "--url", url, "--output-dir"]).arg(out);
        if let Some(revision) = self.requirements {
            command.args(["--requirements", revision]);
        }
        let process = Process::spawn("conformance suite", &command)?;
        let exit = process.wait_exit(RUN_TIME)?;
        fs::write(out.join("output.txt"), process.log().join("\n"))?;

        let mut run = Run { accepted: exit.success(), ..Run::default() };
        for entry in fs::read_dir(out)? {
            let file = entry?.path().join("checks.json");
            if let Some((scenario, checks)) = read_scenario(&file)? {
                run.scenarios.insert(scenario, checks);
            }
        }
        ensure!(!run.scenarios.is_empty(), process.complain("ran no scenario"));
        Ok(run)
    }

    /// The scenarios that must pass among those that ran.
    pub(crate) fn required(&self, ran: &Run) -> Result<BTreeSet<String>> {
        let Some(revision) = self.requirements else { return Ok(ran.scenarios.keys().cloned().collect()) };
        let mut command = self.command()?;
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

    /// A name for files.
    pub(crate) fn slug(&self) -> String {
        format!(
            "{}-{}",
            self.title.split(',').next().unwrap_or_default(),
            self.requirements.unwrap_or("default")
        )
    }

    fn command(&self) -> Result<Command> {
        let mut command = Command::new(peers::node()?);
        command.arg(peers::npm(&format!("{}/dist/index.js", self.package))?);
        Ok(command)
    }
}

fn read_scenario(file: &PathBuf) -> Result<Option<(String, Checks)>> {
    let Some(dir) = file.parent().and_then(Path::file_name).and_then(|name| name.to_str()) else {
        return Ok(None);
    };
    let Some(name) = dir.strip_prefix("server-").filter(|name| name.len() > TIMESTAMP && file.is_file())
    else {
        return Ok(None);
    };
    let scenario = name[..name.len() - TIMESTAMP].to_owned();
    let text = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let list: Vec<Value> =
        serde_json::from_str(&text).with_context(|| format!("parsing {}", file.display()))?;
    Ok(Some((scenario, read_checks(&list))))
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
