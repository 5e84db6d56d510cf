//! The documents against the tree: what they name must exist. Changes when documents name another kind of thing.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use bridge_tests::gateway::binary;
use bridge_tests::{TempDir, cargo};

/// A newcomer reads this one whole.
const README_LINES: usize = 200;

/// Where a path in a document may begin: the repository, or the crate that the document is about.
const BASES: [&str; 3] = ["", "dataplane", "dataplane/proxy/src"];

/// A token with one of these endings is a path, wherever it begins.
const SOURCES: [&str; 2] = [".rs", ".md"];

#[test]
fn the_readme_is_short() -> Result<()> {
    let lines = read(&cargo::root().join("README.md"))?.lines().count();
    ensure!(lines < README_LINES, "README.md has {lines} lines; details belong under docs/");
    Ok(())
}

#[test]
fn paths_in_documents_exist() -> Result<()> {
    let mut missing = Vec::new();
    let mut found = 0;
    for document in documents()? {
        let text = read(&document)?;
        for token in code_spans(&text) {
            let Some(reference) = Reference::of(&token) else { continue };
            match reference.check() {
                Ok(()) => found += 1,
                Err(problem) => missing.push(format!("{}: {problem}", document.display())),
            }
        }
        for target in links(&text) {
            let target = target.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let path = document.parent().context("a document has a directory")?.join(target);
            if !path.exists() {
                missing.push(format!("{}: links to `{target}`, which does not exist", document.display()));
            }
        }
    }
    ensure!(found > 50, "only {found} paths were found: this test no longer sees what documents name");
    ensure!(missing.is_empty(), "{}", missing.join("\n"));
    Ok(())
}

#[test]
fn make_targets_in_documents_exist() -> Result<()> {
    let makefile = read(&cargo::root().join("Makefile"))?;
    let targets: BTreeSet<&str> = makefile
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, _)| name)
        .filter(|name| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'))
        .collect();
    let mut unknown = Vec::new();
    let mut named = BTreeSet::new();
    for document in documents()? {
        for token in code_spans(&read(&document)?) {
            let Some(rest) = token.trim_start_matches("$ ").strip_prefix("make ") else { continue };
            let target = rest.split_whitespace().next().unwrap_or_default();
            if targets.contains(target) {
                named.insert(target.to_owned());
            } else {
                unknown.push(format!("{}: make {target}", document.display()));
            }
        }
    }
    ensure!(named.contains("run") && named.contains("test"), "only {named:?} is named");
    ensure!(unknown.is_empty(), "not in the Makefile: {unknown:#?}");
    Ok(())
}

#[test]
fn configurations_in_documents_are_usable() -> Result<()> {
    let folder = TempDir::new("docs")?;
    for document in ["README.md", "docs/configuration.md"] {
        let text = read(&cargo::root().join(document))?;
        let example = text.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next());
        let example = example.with_context(|| format!("{document} has no example"))?;
        let file = folder.write("gateway.yaml", example)?;
        let check = Command::new(binary("mcp-gateway")?).arg("check").arg("--config").arg(&file).output()?;
        let said = String::from_utf8_lossy(&check.stdout);
        ensure!(check.status.success(), "{document}: {said}");
        ensure!(!said.contains("unknown key") && !said.contains("not available"), "{document}: {said}");
    }
    Ok(())
}

#[test]
fn every_metric_is_documented() -> Result<()> {
    let documented: BTreeSet<String> = code_spans(&operations()?).into_iter().collect();
    let mut metrics = BTreeSet::new();
    for file in fs::read_dir(cargo::root().join("dataplane/proxy/src/observe"))? {
        let source = read(&file?.path())?;
        metrics.extend(source.split('"').filter(|text| is_metric(text)).map(ToOwned::to_owned));
    }
    let named: BTreeSet<_> = documented.into_iter().filter(|text| is_metric(text)).collect();
    assert!(metrics.len() > 5, "the metrics are not where this test looks: {metrics:?}");
    assert_eq!(named, metrics, "docs/operations.md (left) and the metrics that exist (right)");
    Ok(())
}

#[test]
fn the_table_of_errors_is_what_the_code_answers() -> Result<()> {
    let source = read(&cargo::root().join("dataplane/policy/src/refusal.rs"))?;
    let codes = read(&cargo::root().join("dataplane/mcp/src/error.rs"))?;
    let code_of = |name: &str| {
        let line = codes.lines().find(|line| line.contains(&format!("const {name}: i64 =")));
        line.and_then(|line| line.split("= ").nth(1)).map(|value| value.trim_end_matches(';').to_owned())
    };
    let between = |from: &str, to: &str| {
        let start = source.find(from).with_context(|| format!("{from} in refusal.rs"))?;
        let rest = source.get(start..).unwrap_or_default();
        let end = rest.find(to).with_context(|| format!("{to} after {from} in refusal.rs"))?;
        Ok::<_, anyhow::Error>(Arms::read(rest.get(..end).unwrap_or_default()))
    };
    let spelling = between("impl Retry", "impl Reason")?;
    let labels = between("pub fn as_str", "pub fn status")?;
    let statuses = between("pub fn status", "pub fn code")?;
    let code_names = between("pub fn code", "pub fn retry")?;
    let retries = between("pub fn retry", "pub struct Refusal")?;

    let mut expected = BTreeSet::new();
    for (reason, label) in &labels.0 {
        let code = code_of(code_names.get(reason)?.trim_start_matches("code::")).context("a known code")?;
        let retry = spelling.get(retries.get(reason)?.trim_start_matches("Retry::"))?;
        expected.insert(format!("| `{label}` | {} | {code} | {retry} |", statuses.get(reason)?));
    }
    assert!(expected.len() > 15, "the reasons are not where this test looks: {expected:?}");
    let page = operations()?;
    let rows = page.lines().filter(|line| line.starts_with("| `") && line.contains(" | -32"));
    let rows: BTreeSet<_> = rows.map(|row| row.split_inclusive('|').take(5).collect::<String>()).collect();
    assert_eq!(rows, expected, "docs/operations.md (left) and dataplane/policy/src/refusal.rs (right)");
    Ok(())
}

fn operations() -> Result<String> {
    read(&cargo::root().join("docs/operations.md"))
}

fn is_metric(text: &str) -> bool {
    text.starts_with("mcp_gateway_") && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// The arms of one `match` over `Self::…`, as written; `_` stands for the rest.
struct Arms(Vec<(String, String)>);

impl Arms {
    fn read(source: &str) -> Self {
        let mut arms = Vec::new();
        let mut names = Vec::new();
        let mut words = source.split_whitespace();
        while let Some(word) = words.next() {
            if word == "=>" {
                let value = words.by_ref().find(|word| *word != "{").unwrap_or_default();
                let value = value.trim_matches([',', '"']);
                arms.extend(names.drain(..).map(|name| (name, value.to_owned())));
            } else if word == "_" {
                names.push("_".to_owned());
            } else if let Some(name) = word.strip_prefix("Self::") {
                names.push(name.to_owned());
            }
        }
        Self(arms)
    }

    fn get(&self, name: &str) -> Result<&str> {
        let find =
            |wanted: &str| self.0.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
        find(name).or_else(|| find("_")).with_context(|| format!("no arm for {name}"))
    }
}

/// `path` or `path:item`, where the item is defined in that file.
#[derive(Debug)]
struct Reference<'a> {
    path: &'a str,
    item: Option<&'a str>,
}

impl<'a> Reference<'a> {
    /// `None` for tokens that are no path of ours: methods such as `tools/call`, media types, URLs, patterns.
    fn of(token: &'a str) -> Option<Self> {
        let (path, item) = match token.split_once(".rs:") {
            Some((stem, item)) => (token.get(..stem.len() + 3)?, Some(item)),
            None => (token, None),
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte);
        if path.is_empty() || path.starts_with('/') || !path.bytes().all(plain) {
            return None;
        }
        let first = path.split('/').next().unwrap_or_default();
        // What is built or installed is not in a fresh checkout.
        let built = first == "target";
        let ours = path.contains('/') && resolve(first).is_some();
        let source = SOURCES.iter().any(|ending| path.ends_with(ending));
        (!built && (ours || source)).then_some(Self { path, item })
    }

    fn check(&self) -> Result<(), String> {
        let file = resolve(self.path).ok_or_else(|| format!("`{}` does not exist", self.path))?;
        let Some(item) = self.item else { return Ok(()) };
        let name = item.rsplit("::").next().unwrap_or(item).trim_end_matches("()");
        let text = fs::read_to_string(&file).map_err(|error| format!("`{}`: {error}", self.path))?;
        let defines = ["fn", "struct", "enum", "trait", "mod", "const", "type"].iter().any(|keyword| {
            text.match_indices(&format!("{keyword} {name}")).any(|(at, found)| {
                let next = text[at + found.len()..].bytes().next();
                !next.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            })
        });
        if defines { Ok(()) } else { Err(format!("`{}` defines no `{item}`", self.path)) }
    }
}

fn resolve(path: &str) -> Option<PathBuf> {
    BASES.iter().map(|base| cargo::root().join(base).join(path)).find(|path| path.exists())
}

fn documents() -> Result<Vec<PathBuf>> {
    let root = cargo::root();
    let mut documents: Vec<_> =
        ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"].map(|name| root.join(name)).into();
    for folder in ["docs", "docs/adr"] {
        for entry in fs::read_dir(root.join(folder)).with_context(|| folder.to_owned())? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "md") {
                documents.push(path);
            }
        }
    }
    documents.sort();
    Ok(documents)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| path.display().to_string())
}

/// What stands in backticks, and each line of fenced and indented code.
fn code_spans(text: &str) -> Vec<String> {
    let mut spans = Vec::new();
    let mut fenced = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if fenced || line.starts_with("    ") {
            spans.push(line.trim().to_owned());
        } else {
            spans.extend(line.split('`').skip(1).step_by(2).map(ToOwned::to_owned));
        }
    }
    spans
}

/// Targets of inline links.
fn links(text: &str) -> Vec<&str> {
    text.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect()
}
