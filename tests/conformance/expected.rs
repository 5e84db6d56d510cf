//! The scenarios and checks that may be lost on a crossing, from `expected-failures.txt`. Changes with that file's form.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};

const TEXT: &str = include_str!("expected-failures.txt");

/// One line of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Expected {
    suite: String,
    backend: String,
    /// `scenario` or `scenario:check`.
    what: String,
    reason: String,
}

/// Reads the file.
pub(crate) fn read() -> Result<Vec<Expected>> {
    parse(TEXT)
}

/// The reasons for one suite on one backend, by scenario or `scenario:check`.
pub(crate) fn of(all: &[Expected], suite: &str, backend: &str) -> BTreeMap<String, String> {
    let ours = all.iter().filter(|line| line.suite == suite && line.backend == backend);
    ours.map(|line| (line.what.clone(), line.reason.clone())).collect()
}

fn parse(text: &str) -> Result<Vec<Expected>> {
    let mut found = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let fields: Vec<_> = line.split('|').map(str::trim).collect();
        let [suite, backend, what, reason] = fields[..] else {
            return Err(anyhow::anyhow!("four fields are expected")).with_context(|| line.to_owned());
        };
        ensure!(!reason.is_empty(), "{line:?} gives no reason");
        let [suite, backend, what, reason] = [suite, backend, what, reason].map(str::to_owned);
        found.push(Expected { suite, backend, what, reason });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_has_a_reason() {
        let lines = parse("# a comment\n\nsuite | legacy | tasks-lifecycle | there are no tasks\n").unwrap();
        assert_eq!(of(&lines, "suite", "legacy")["tasks-lifecycle"], "there are no tasks");
        assert!(of(&lines, "suite", "modern").is_empty());
        for bad in ["suite | legacy | tasks-lifecycle", "suite | legacy | tasks-lifecycle | "] {
            assert!(parse(bad).is_err(), "{bad:?} was accepted");
        }
    }
}
