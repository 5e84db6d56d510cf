//! What holds for every field of every kind: the schema is structural and bounded, says what each field is for, and
//! promises no default that the operator may want to change.

#![allow(clippy::panic, clippy::unwrap_used, reason = "in a test, a step that fails is a failed test")]

mod kit;

use std::collections::BTreeSet;

use kit::{nodes, schema};
use serde_json::Value;

const KINDS: [&str; 2] = ["McpBackend", "McpGateway"];

/// The defaults that are written into objects, and so are part of `v1alpha1` for ever.
const DEFAULTS: [&str; 6] = [
    "McpBackend.spec.auth.type",
    "McpBackend.spec.state",
    "McpBackend.spec.stdio.sessionMode",
    "McpGateway.spec.backends.namespaces.from",
    "McpGateway.spec.discovery.services.namespaces.from",
    "McpGateway.spec.listeners[].port",
];

/// Keywords of a structural schema that we use.
const KEYWORDS: [&str; 24] = [
    "additionalProperties",
    "default",
    "description",
    "enum",
    "format",
    "items",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minimum",
    "pattern",
    "properties",
    "required",
    "type",
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-list-type",
    "x-kubernetes-map-type",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
    "title",
];

/// Words that YAML 1.1, which kubectl reads, takes for true and false. As a key they could not be written.
const BOOLEANS: [&str; 8] = ["y", "n", "yes", "no", "on", "off", "true", "false"];

/// Every field below spec and status, by `Kind.path`.
fn fields() -> Vec<(String, Value)> {
    let of = |kind: &str| {
        let named = move |(path, node): (String, Value)| (format!("{kind}{path}"), node);
        nodes(&schema(kind)).into_iter().map(named).collect::<Vec<_>>()
    };
    let fields: Vec<_> = KINDS.into_iter().flat_map(of).collect();
    assert!(fields.len() > 400, "the schemas are not where this test looks");
    fields
}

fn all(fields: &[(String, Value)], holds: impl Fn(&str, &Value) -> bool, what: &str) {
    let broken: Vec<_> =
        fields.iter().filter(|(path, node)| !holds(path, node)).map(|(path, _)| path).collect();
    assert!(broken.is_empty(), "{what}: {broken:#?}");
}

#[test]
fn schemas_are_structural() {
    let fields = fields();
    all(
        &fields,
        |_, node| node.as_object().is_some_and(|it| it.keys().all(|key| KEYWORDS.contains(&&**key))),
        "unknown keyword",
    );
    let typed =
        |_: &str, node: &Value| node["type"].is_string() != (node["x-kubernetes-int-or-string"] == true);
    all(&fields, typed, "exactly one type");
    let values =
        |_: &str, node: &Value| node["enum"].as_array().is_none_or(|it| it.iter().all(Value::is_string));
    all(&fields, values, "an enumeration of other things than texts");
    let one = |_: &str, node: &Value| {
        node.get("properties").is_none() || node.get("additionalProperties").is_none()
    };
    all(&fields, one, "fixed and free members at once");
}

#[test]
fn everything_that_a_rule_may_look_at_is_bounded() {
    let fields = fields();
    let bounded = |_: &str, node: &Value| match node["type"].as_str() {
        Some("string") => ["maxLength", "enum", "format"].iter().any(|keyword| node.get(keyword).is_some()),
        Some("array") => node["maxItems"].is_u64(),
        Some("object") => node.get("additionalProperties").is_none() || node["maxProperties"].is_u64(),
        Some("integer") | None => true,
        _ => node["type"] == "boolean",
    };
    all(&fields, bounded, "unbounded, so that the API server refuses rules above it for their cost");
    let ranged = |path: &str, node: &Value| {
        !path.contains(".spec.")
            || node["type"] != "integer"
            || node["minimum"].is_i64() && node["maximum"].is_i64()
    };
    all(&fields, ranged, "a number without a range");
}

#[test]
fn lists_say_how_they_merge() {
    for (path, node) in fields() {
        if node["type"] != "array" {
            continue;
        }
        let items = &node["items"];
        match node["x-kubernetes-list-type"].as_str() {
            Some("atomic") => {}
            Some("set") => assert_eq!(items["type"], "string", "{path}"),
            Some("map") => {
                for key in node["x-kubernetes-list-map-keys"].as_array().unwrap() {
                    let name = key.as_str().unwrap();
                    let required =
                        items["required"].as_array().is_some_and(|required| required.contains(key));
                    let default = items["properties"][name].get("default").is_some();
                    assert!(required || default, "{path}: the key {name} may be absent");
                }
            }
            other => panic!("{path}: list type {other:?}"),
        }
    }
}

#[test]
fn only_promised_defaults_are_in_the_schema() {
    let found: BTreeSet<_> = fields()
        .into_iter()
        .filter(|(_, node)| node.get("default").is_some())
        .map(|(path, _)| path)
        .collect();
    assert_eq!(found, DEFAULTS.iter().map(|&path| path.to_owned()).collect());
}

#[test]
fn kubectl_explain_says_what_each_field_is_for() {
    let fields = fields();
    let own = |path: &str| path.contains('.') && !path.ends_with("[]") && !path.ends_with("{}");
    let said = |path: &str, node: &Value| {
        !own(path) || node["description"].as_str().is_some_and(|text| text.len() > 5 && text.ends_with('.'))
    };
    all(&fields, said, "no description that ends like a sentence");
    let broken = |_: &str, node: &Value| {
        node["description"].as_str().is_none_or(|text| !text.contains(['\n', '`', '[', ']']))
    };
    all(&fields, broken, "a description with marks that kubectl shows as they are");
    let defaulted = |path: &str, node: &Value| {
        let choice = path.contains(".spec.") && node["enum"].is_array() && own(path);
        let text = node["description"].as_str().unwrap_or_default();
        !choice || node["enum"].as_array().unwrap().iter().all(|value| text.contains(value.as_str().unwrap()))
    };
    all(&fields, defaulted, "the description does not name every choice");
}

#[test]
fn names_can_be_written_in_yaml() {
    let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    all(&fields(), |path, _| !BOOLEANS.contains(&&*last(path)), "a key that kubectl reads as true or false");
}

#[test]
fn every_rule_has_a_message_and_can_be_evaluated_by_both_engines() {
    let mut rules = 0;
    for (path, node) in fields() {
        for rule in node["x-kubernetes-validations"].as_array().into_iter().flatten() {
            rules += 1;
            let (text, message) =
                (rule["rule"].as_str().unwrap(), rule["message"].as_str().unwrap_or_default());
            assert!(message.len() > 10 && !message.contains('\n'), "{path}: {text}: message {message:?}");
            assert!(!text.contains(['\n', '\\']), "{path}: {text}");
            // kube-cel knows no optional old value; the API server refuses transition rules where items have no identity.
            assert!(rule.get("optionalOldSelf").is_none(), "{path}: {text}");
            assert!(!text.contains("oldSelf") || !path.contains("[]"), "{path}: {text}");
        }
        let mut texts: Vec<_> = node["x-kubernetes-validations"].as_array().into_iter().flatten().collect();
        let before = texts.len();
        texts.dedup();
        assert_eq!(texts.len(), before, "{path}: a rule twice");
    }
    assert!(rules > 60, "{rules} rules");
}
