//! Compares a direct run with one through the gateway, check by check, and prints the table. Changes with what counts as
//! lost.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::suite::{Check, Checks, Run, Status};

/// A finished comparison.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    /// Markdown.
    pub(crate) text: String,
    /// Why the run as a whole fails, one line each; empty when it passes.
    pub(crate) faults: Vec<String>,
}

/// Compares check by check. A fault is a check that does better directly than through the gateway, and a required scenario
/// that fails through the gateway.
pub(crate) fn compare(title: &str, direct: &Run, via: &Run, required: &BTreeSet<String>) -> Comparison {
    let mut out = Comparison::default();
    let _ = writeln!(out.text, "## {title}\n\npassed / failed checks\n");
    let names: BTreeSet<_> = direct.scenarios.keys().chain(via.scenarios.keys()).chain(required).collect();
    let width = names.iter().map(|name| name.len()).max().unwrap_or_default();
    let _ = writeln!(out.text, "| {:width$} | required | direct  | gateway | verdict |", "scenario");
    let _ = writeln!(out.text, "|-{:-<width$}-|----------|---------|---------|---------|", "");

    let nothing = Checks::new();
    let (mut direct_total, mut via_total) = ((0, 0), (0, 0));
    for name in names {
        let direct_checks = direct.scenarios.get(name).unwrap_or(&nothing);
        let via_checks = via.scenarios.get(name).unwrap_or(&nothing);
        let must = required.contains(name);
        let (direct_counts, via_counts) = (counts(direct_checks), counts(via_checks));
        direct_total = (direct_total.0 + direct_counts.0, direct_total.1 + direct_counts.1);
        via_total = (via_total.0 + via_counts.0, via_total.1 + via_counts.1);

        let lost = worse(direct_checks, via_checks);
        let gained = worse(via_checks, direct_checks);
        let fails = must && (via_counts.1 > 0 || via_checks.is_empty());
        for (check, message) in &lost {
            out.faults.push(format!("{title}: {name}: {check} is lost through the gateway: {message}"));
        }
        if fails {
            out.faults.push(format!("{title}: {name} is required and fails through the gateway"));
        }
        let verdict = if !lost.is_empty() {
            format!("LOST {}", ids(&lost))
        } else if fails {
            "FAILS, required".to_owned()
        } else if !gained.is_empty() {
            format!("better: {}", ids(&gained))
        } else if via_counts.1 > 0 {
            "fails directly too".to_owned()
        } else {
            "same".to_owned()
        };
        let must = if must { "yes" } else { "" };
        let (direct_counts, via_counts) = (cell(direct_counts), cell(via_counts));
        let _ = writeln!(
            out.text,
            "| {name:width$} | {must:8} | {direct_counts:>7} | {via_counts:>7} | {verdict} |"
        );
    }
    let (direct_total, via_total) = (cell(direct_total), cell(via_total));
    let _ = writeln!(out.text, "| {:width$} | {:8} | {direct_total:>7} | {via_total:>7} | |", "total", "");
    if !via.accepted {
        out.faults.push(format!("{title}: the suite's own verdict on the gateway is a failure"));
    }
    out.text.push('\n');
    for fault in &out.faults {
        let _ = writeln!(out.text, "- {fault}");
    }
    if !out.faults.is_empty() {
        out.text.push('\n');
    }
    out
}

/// Checks that are worse in `other` than in `base`, where only success and failure weigh.
fn worse(base: &Checks, other: &Checks) -> Vec<(String, String)> {
    let absent = Check { status: Status::Absent, message: "it did not run".to_owned() };
    let mut found = Vec::new();
    for (name, check) in base {
        let there = other.get(name).unwrap_or(&absent);
        let lost_pass = check.status == Status::Success && there.status < Status::Success;
        let new_failure = check.status > Status::Failure && there.status == Status::Failure;
        if lost_pass || new_failure {
            found.push((name.clone(), there.message.clone()));
        }
    }
    for (name, check) in other {
        if check.status == Status::Failure && !base.contains_key(name) {
            found.push((name.clone(), check.message.clone()));
        }
    }
    found
}

fn counts(checks: &Checks) -> (usize, usize) {
    let of = |status| checks.values().filter(|check| check.status == status).count();
    (of(Status::Success), of(Status::Failure))
}

fn cell((passed, failed): (usize, usize)) -> String {
    format!("{passed} / {failed}")
}

fn ids(checks: &[(String, String)]) -> String {
    checks.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::suite::read_checks;
    use super::*;

    fn run(checks: &[(&str, &str)]) -> Run {
        let list: Vec<_> = checks
            .iter()
            .map(|(id, status)| json!({ "id": id, "status": status, "errorMessage": "why" }))
            .collect();
        let scenarios = [("tools-list".to_owned(), read_checks(&list))].into();
        Run { scenarios, accepted: true }
    }

    fn faults(direct: &[(&str, &str)], via: &[(&str, &str)]) -> Vec<String> {
        compare("suite", &run(direct), &run(via), &BTreeSet::new()).faults
    }

    #[test]
    fn a_check_that_passes_only_directly_is_lost_whatever_it_became() {
        for became in ["FAILURE", "WARNING", "SKIPPED"] {
            let faults = faults(&[("shape", "SUCCESS")], &[("shape", became)]);
            assert_eq!(faults, ["suite: tools-list: shape is lost through the gateway: why"], "{became}");
        }
        assert_eq!(faults(&[("shape", "SUCCESS")], &[]).len(), 1, "a check that did not run");
        assert_eq!(faults(&[("shape", "WARNING")], &[("shape", "FAILURE")]).len(), 1);
        assert_eq!(
            faults(&[], &[("wire-schema-valid", "FAILURE")]).len(),
            1,
            "a failure that only the gateway has"
        );
    }

    #[test]
    fn equal_numbers_do_not_hide_a_lost_check() {
        let direct = [("a", "SUCCESS"), ("b", "FAILURE"), ("a", "SUCCESS")];
        let via = [("a", "FAILURE"), ("b", "SUCCESS"), ("a", "SUCCESS")];
        assert_eq!(faults(&direct, &via), ["suite: tools-list: a is lost through the gateway: why"]);
        assert!(faults(&direct, &direct).is_empty());
    }

    #[test]
    fn a_required_scenario_must_pass_even_where_it_fails_directly() {
        let both = run(&[("a", "FAILURE")]);
        let required = BTreeSet::from(["tools-list".to_owned(), "never-ran".to_owned()]);
        let comparison = compare("suite", &both, &both, &required);
        assert_eq!(comparison.faults.len(), 2, "{:?}", comparison.faults);
        assert!(comparison.text.contains("FAILS, required"), "{}", comparison.text);
    }
}
