//! Every rule refuses what it is against, with its message at its path, and admits what it asks for.

#![allow(clippy::unwrap_used, reason = "in a test, a step that fails is a failed test")]

mod kit;
#[path = "rules/backend.rs"]
mod of_backends;
#[path = "rules/gateway.rs"]
mod of_gateways;

use std::collections::BTreeSet;

use kit::{nodes, refusals, schema, yaml};
use serde_json::{Value, json};

/// One rule of one field.
pub(crate) struct Case {
    /// Path and message of the refusal.
    refusal: &'static str,
    /// A specification that is refused (as YAML, added to the least that is valid).
    bad: &'static str,
    /// One that is admitted.
    good: &'static str,
    /// What was there before, for rules about changes.
    old: Option<&'static str>,
}

/// A rule about what an object is.
const fn refuses(refusal: &'static str, bad: &'static str, good: &'static str) -> Case {
    Case { refusal, bad, good, old: None }
}

/// A rule about what may become of an object.
const fn keeps(refusal: &'static str, old: &'static str, bad: &'static str, good: &'static str) -> Case {
    Case { refusal, bad, good, old: Some(old) }
}

fn object(base: &str, changes: &str) -> Value {
    let mut object = yaml(base);
    merge(&mut object, &yaml(changes));
    object
}

/// RFC 7396.
fn merge(target: &mut Value, patch: &Value) {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => {
            for (name, value) in patch {
                if value.is_null() {
                    target.remove(name);
                } else {
                    merge(target.entry(name).or_insert(Value::Null), value);
                }
            }
        }
        (target, patch) => *target = patch.clone(),
    }
}

fn check(kind: &str, base: &str, cases: &[Case]) {
    let schema = schema(kind);
    assert_eq!(refusals(&schema, &yaml(base), None), [] as [&str; 0], "the least that is valid");
    for case in cases {
        let old = case.old.map(|old| object(base, old));
        let good = refusals(&schema, &object(base, case.good), old.as_ref());
        assert_eq!(good, [] as [&str; 0], "{kind} {}: admitted", case.good);
        let bad = refusals(&schema, &object(base, case.bad), old.as_ref());
        assert_eq!(bad, [case.refusal], "{kind} {}: refused", case.bad);
    }
    let tested: BTreeSet<_> =
        cases.iter().map(|case| case.refusal.split_once(": ").unwrap().1.to_owned()).collect();
    let rules = nodes(&schema)
        .into_iter()
        .filter_map(|(_, node)| node["x-kubernetes-validations"].as_array().cloned());
    let text = |rule: &Value, member: &str| rule[member].as_str().unwrap().to_owned();
    let rules: BTreeSet<_> =
        rules.flatten().map(|rule| (text(&rule, "message"), text(&rule, "rule"))).collect();
    let messages: BTreeSet<_> = rules.iter().map(|(message, _)| message.clone()).collect();
    assert_eq!(
        messages.len(),
        rules.len(),
        "{kind}: two rules have the same message, so that one has no case"
    );
    assert_eq!(tested, messages, "{kind}: rules that have a case (left), and rules (right)");
}

#[test]
fn rules_of_gateways() {
    check("McpGateway", of_gateways::LEAST, &of_gateways::CASES);
}

#[test]
fn rules_of_backends() {
    check("McpBackend", of_backends::LEAST, &of_backends::CASES);
}

#[test]
fn namespaces_are_named_by_names_or_patterns() {
    let schema = schema("McpGateway");
    let refused = |names: &[String]| {
        let spec = json!({"discovery": {"services": {"namespaces": {"from": "Names", "names": names}}}});
        refusals(&schema, &object(of_gateways::LEAST, &json!({ "spec": spec }).to_string()), None)
    };
    for name in ["a", "*", "team-*", "*-dev", "a-*-b*", &"a".repeat(63)] {
        assert_eq!(refused(&[name.to_owned()]), [] as [&str; 0], "{name}");
    }
    for name in ["", "-a", "a-", "team-", "A*", "a.b", "a?", "[ab]", "a/*", &"a".repeat(64)] {
        let refused = refused(&[name.to_owned()]);
        assert!(
            refused.iter().any(|why| why.starts_with("spec.discovery.services.namespaces.names[0]: ")),
            "{name}: {refused:?}"
        );
    }
    for (count, admitted) in [(0, false), (64, true), (65, false)] {
        let names: Vec<_> = (0..count).map(|number| format!("a{number}")).collect();
        assert_eq!(refused(&names).is_empty(), admitted, "{count}");
    }
}

#[test]
fn a_misspelled_field_or_value_is_named() {
    let schema = schema("McpBackend");
    let refused = |changes: &str| refusals(&schema, &object(of_backends::LEAST, changes), None);
    assert_eq!(refused("{spec: {toolNamspace: a}}"), ["spec.toolNamspace: unknown field"]);
    assert_eq!(
        refused("{spec: {timeouts: {request: 5}}}"),
        [r#"spec.timeouts.request: 5 is not of type "string""#]
    );
    assert_eq!(
        refused("{spec: {state: enabled}}"),
        [r#"spec.state: "enabled" is none of ["Enabled","Draining","Disabled"]"#]
    );
    assert_eq!(
        refused("{spec: {serviceRef: {port: 0}}}"),
        ["spec.serviceRef.port: 0 is outside of 1 to 65535"]
    );
    assert_eq!(refused("{spec: {serviceRef: {port: null}}}"), ["spec.serviceRef.port: Required value"]);
}
