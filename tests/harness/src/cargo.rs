//! What Cargo knows about this workspace, for the tests that guard its shape. Changes with Cargo's output formats.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// The platform whose dependency graph is judged: what we ship runs there.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new("/")).to_owned()
}

/// A package that a build really uses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Package {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Licence expression as its author wrote it; empty when there is none.
    pub licence: String,
}

/// The packages of this workspace, each with the names of those of ours that it depends on in any way (also for its
/// build and its tests).
pub fn workspace() -> Result<BTreeMap<String, BTreeSet<String>>> {
    let text = cargo(&["metadata", "--format-version", "1", "--no-deps", "--locked"])?;
    let metadata: Value = serde_json::from_str(&text).context("cargo metadata")?;
    let packages = metadata["packages"].as_array().context("packages")?;
    let name = |value: &Value| value["name"].as_str().map(str::to_owned);
    let ours: BTreeSet<_> = packages.iter().filter_map(name).collect();
    let edges = packages.iter().filter_map(|package| {
        let dependencies = package["dependencies"].as_array()?.iter().filter_map(name);
        Some((name(package)?, dependencies.filter(|dependency| ours.contains(dependency)).collect()))
    });
    Ok(edges.collect())
}

/// All packages that building `package` (or with `None` the whole workspace) uses, itself included. `edges` is Cargo's
/// notation, such as `normal` or `normal,build,dev`. Unlike the lock file and `cargo metadata`, this knows which optional
/// parts are switched on.
pub fn closure(package: Option<&str>, edges: &str) -> Result<BTreeSet<Package>> {
    let mut args = vec!["tree", "--locked", "--target", TARGET, "--prefix", "none", "--format", "{p}\t{l}"];
    args.extend(["--edges", edges]);
    match package {
        Some(name) => args.extend(["--package", name]),
        None => args.push("--workspace"),
    }
    let mut packages = BTreeSet::new();
    for line in cargo(&args)?.lines().filter(|line| !line.is_empty()) {
        let (id, licence) = line.split_once('\t').with_context(|| format!("cargo tree printed {line:?}"))?;
        let mut words = id.split(' ');
        let (Some(name), Some(version)) = (words.next(), words.next()) else { continue };
        let licence = licence.trim_end_matches(" (*)").to_owned();
        let version = version.trim_start_matches('v').to_owned();
        packages.insert(Package { name: name.to_owned(), version, licence });
    }
    ensure!(packages.len() > 1, "cargo tree names no dependency");
    Ok(packages)
}

fn cargo(args: &[&str]) -> Result<String> {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(program).args(args).current_dir(root()).output().context("running cargo")?;
    ensure!(output.status.success(), "cargo {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).context("cargo's output")
}
