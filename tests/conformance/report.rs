//! Compares a direct run with one through the gateway, check by check, and prints the table. Changes with what counts as
//! lost.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::suite::{Check, Checks, Run, Status};

/// A finished comparison.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    /// Markdown.
    pub(crate) text: String,
    /// The same in one line.
    pub(crate) row: Row,
    /// Why the run as a whole fails, one line each; empty when it passes.
    pub(crate) faults: Vec<String>,
}

/// One line of the summary.
#[derive(Debug, Default)]
pub(crate) struct Row {
    title: String,
    direct: (usize, usize),
    via: (usize, usize),
    required: (usize, usize),
    lost: usize,
    expected: usize,
}

/// The table of all comparisons.
pub(crate) fn summary(rows: &[Row]) -> String {
    let width = rows.iter().map(|row| row.title.len()).max().unwrap_or_default();
    let mut text = String::from(
        "passed / failed checks; a crossing is compared with the same suite on a server of both generations\n\n",
    );
    let _ = writeln!(
        text,
        "| {:width$} | direct    | gateway   | required | lost | of these expected |",
        "suite"
    );
    let _ =
        writeln!(text, "|-{:-<width$}-|-----------|-----------|----------|------|-------------------|", "");
    for row in rows {
        let required = format!("{} of {}", row.required.0, row.required.1);
        let _ = writeln!(
            text,
            "| {:width$} | {:>9} | {:>9} | {required:>8} | {:>4} | {:>17} |",
            row.title,
            cell(row.direct),
            cell(row.via),
            row.lost,
            row.expected
        );
    }
    text.push('\n');
    text
}

/// Compares check by check. A fault is a check that does better directly than through the gateway, unless `expected` gives
/// the reason; and a required scenario that fails through the gateway. A reason for a whole scenario is a fault where the
/// scenario is required; one for a single check, where the check fails outright; either, where nothing is lost.
pub(crate) fn compare(
    title: &str,
    direct: &Run,
    via: &Run,
    required: &BTreeSet<String>,
    expected: &BTreeMap<String, String>,
) -> Comparison {
    let mut out =
        Comparison { row: Row { title: title.to_owned(), ..Row::default() }, ..Comparison::default() };
    let _ = writeln!(out.text, "## {title}\n\npassed / failed checks\n");
    let names: BTreeSet<_> = direct.scenarios.keys().chain(via.scenarios.keys()).chain(required).collect();
    let width = names.iter().map(|name| name.len()).max().unwrap_or_default();
    let _ = writeln!(out.text, "| {:width$} | required | direct  | gateway | verdict |", "scenario");
    let _ = writeln!(out.text, "|-{:-<width$}-|----------|---------|---------|---------|", "");

    let nothing = Checks::new();
    let mut unused: BTreeSet<_> = expected.keys().collect();
    for name in names {
        let direct_checks = direct.scenarios.get(name).unwrap_or(&nothing);
        let via_checks = via.scenarios.get(name).unwrap_or(&nothing);
        let must = required.contains(name);
        let (direct_counts, via_counts) = (counts(direct_checks), counts(via_checks));
        out.row.direct = sum(out.row.direct, direct_counts);
        out.row.via = sum(out.row.via, via_counts);

        let lost = worse(direct_checks, via_checks);
        let gained = worse(via_checks, direct_checks);
        let fails = must && (via_counts.1 > 0 || via_checks.is_empty());
        out.row.lost += lost.len();
        out.row.required = sum(out.row.required, (usize::from(must && !fails), usize::from(must)));
        let (mut reasons, mut unexplained) = (BTreeSet::new(), Vec::new());
        for (check, message) in &lost {
            let failed = via_checks.get(check).is_some_and(|check| check.status == Status::Failure);
            let one = format!("{name}:{check}");
            let key = [(name, !must), (&one, !failed)]
                .into_iter()
                .find(|(key, may)| *may && expected.contains_key(*key));
            match key {
                Some((key, _)) => {
                    unused.remove(key);
                    reasons.insert(&expected[key]);
                    out.row.expected += 1;
                }
                None => {
                    unexplained.push((check.clone(), message.clone()));
                    out.faults
                        .push(format!("{title}: {name}: {check} is lost through the gateway: {message}"));
                }
            }
        }
        if fails {
            out.faults.push(format!("{title}: {name} is required and fails through the gateway"));
        }
        let verdict = match reasons.iter().map(|reason| reason.as_str()).collect::<Vec<_>>().join("; ") {
            _ if !unexplained.is_empty() => format!("LOST {}", ids(&unexplained)),
            _ if fails => "FAILS, required".to_owned(),
            why if !lost.is_empty() => format!("lost {}: {why}", ids(&lost)),
            _ if !gained.is_empty() => format!("better: {}", ids(&gained)),
            _ if via_counts.1 > 0 => "fails directly too".to_owned(),
            _ => "same".to_owned(),
        };
        let must = if must { "yes" } else { "" };
        let (direct_counts, via_counts) = (cell(direct_counts), cell(via_counts));
        let _ = writeln!(
            out.text,
            "| {name:width$} | {must:8} | {direct_counts:>7} | {via_counts:>7} | {verdict} |"
        );
    }
    let (direct_total, via_total) = (cell(out.row.direct), cell(out.row.via));
    let _ = writeln!(out.text, "| {:width$} | {:8} | {direct_total:>7} | {via_total:>7} | |", "total", "");
    for key in unused {
        out.faults.push(format!(
            "{title}: the expectation of {key} excuses nothing: nothing is lost there, or it may not be"
        ));
    }
    if !via.accepted {
        out.faults.push(format!("{title}: the suite's own verdict on the gateway is a failure"));
    }
    out.text.push('\n');
    out
}

fn sum(left: (usize, usize), right: (usize, usize)) -> (usize, usize) {
    (left.0 + right.0, left.1 + right.1)
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

/// How many checks passed and failed.
pub(crate) fn counts(checks: &Checks) -> (usize, usize) {
    let of = |status| checks.values().filter(|check| check.status == status).count();
    (of(Status::Success), of(Status::Failure))
}

/// Both numbers for a table.
pub(crate) fn cell((passed, failed): (usize, usize)) -> String {
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
        compare("suite", &run(direct), &run(via), &BTreeSet::new(), &BTreeMap::new()).faults
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
        let comparison = compare("suite", &both, &both, &required, &BTreeMap::new());
        assert_eq!(comparison.faults.len(), 2, "{:?}", comparison.faults);
        assert!(comparison.text.contains("FAILS, required"), "{}", comparison.text);
    }

    #[test]
    fn an_expected_failure_excuses_nothing_required_and_must_happen() {
        let (passes, fails) = (run(&[("a", "SUCCESS")]), run(&[("a", "FAILURE")]));
        let (nothing, required) = (BTreeSet::new(), BTreeSet::from(["tools-list".to_owned()]));
        let expected = |what: &str| BTreeMap::from([(what.to_owned(), "it cannot".to_owned())]);

        let excused = compare("suite", &passes, &fails, &nothing, &expected("tools-list"));
        assert!(excused.faults.is_empty() && excused.row.expected == 1, "{:?}", excused.faults);
        assert!(excused.text.contains("it cannot"), "{}", excused.text);
        let unneeded = compare("suite", &passes, &passes, &nothing, &expected("tools-list"));
        assert!(unneeded.faults[0].contains("excuses nothing"), "{:?}", unneeded.faults);
        // The check is lost, the scenario fails, the excuse is no excuse.
        assert_eq!(compare("suite", &passes, &fails, &required, &expected("tools-list")).faults.len(), 3);
        assert_eq!(compare("suite", &passes, &fails, &required, &expected("tools-list:a")).faults.len(), 3);

        let optional = run(&[("a", "INFO")]);
        assert!(compare("suite", &passes, &optional, &required, &expected("tools-list:a")).faults.is_empty());
        assert_eq!(compare("suite", &passes, &optional, &required, &BTreeMap::new()).faults.len(), 1);
    }
}
