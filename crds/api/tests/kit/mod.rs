//! What the API server does with an object, as far as the schema says: structure, defaults, rules. Changes when schemas
//! use another keyword.

#![allow(dead_code, reason = "each test that includes this uses a part of it")]
#![allow(clippy::panic, clippy::unwrap_used, reason = "in a test, a step that fails is a failed test")]

use bridge_api::manifest;
use bridge_api::v1alpha1::{McpBackend, McpGateway};
use kube_cel::Validator;
use regex::Regex;
use serde_json::Value;

/// The schema of a kind.
pub(crate) fn schema(kind: &str) -> Value {
    let definition =
        manifest::definitions().unwrap().into_iter().find(|it| it["spec"]["names"]["kind"] == kind);
    definition.unwrap_or_else(|| panic!("no kind {kind}"))["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        .clone()
}

/// YAML as it is applied.
pub(crate) fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Why the API server refuses an object, as `path: message`; empty when it admits it. What is admitted must be readable
/// by the operator.
pub(crate) fn refusals(schema: &Value, object: &Value, old: Option<&Value>) -> Vec<String> {
    let mut found = Vec::new();
    structure(schema, object, "", &mut found);
    if !found.is_empty() {
        return found;
    }
    if let Err(errors) = Validator::new().validate(schema, object, old) {
        found
            .extend(errors.as_slice().iter().map(|error| format!("{}: {}", error.field_path, error.message)));
    }
    if found.is_empty() {
        decode(object);
    }
    found
}

/// The object with the defaults of the schema, as the operator gets it.
pub(crate) fn decode(object: &Value) {
    let defaulted = kube_cel::apply_defaults(&schema(object["kind"].as_str().unwrap()), object);
    let again = match object["kind"].as_str() {
        Some("McpGateway") => {
            serde_json::from_value::<McpGateway>(defaulted.clone()).map(serde_json::to_value)
        }
        Some("McpBackend") => {
            serde_json::from_value::<McpBackend>(defaulted.clone()).map(serde_json::to_value)
        }
        kind => panic!("no kind {kind:?}"),
    };
    let again = again.unwrap_or_else(|error| panic!("admitted, but unreadable: {error}\n{object}")).unwrap();
    assert_eq!(again["spec"], defaulted["spec"], "something is lost on the way through the types");
}

fn structure(schema: &Value, value: &Value, path: &str, found: &mut Vec<String>) {
    let mut refuse = |message: String| found.push(format!("{}: {message}", path.trim_start_matches('.')));
    let int_or_string = schema["x-kubernetes-int-or-string"] == true;
    let fits = match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64(),
        Some("boolean") => value.is_boolean(),
        _ => int_or_string && (value.is_i64() || value.is_string()),
    };
    if !fits {
        return refuse(format!("{value} is not of type {}", schema["type"]));
    }
    if schema["enum"].as_array().is_some_and(|allowed| !allowed.contains(value)) {
        refuse(format!("{value} is none of {}", schema["enum"]));
    }
    let bound = |keyword: &str| schema[keyword].as_i64();
    let size = match value {
        Value::String(text) => Some((text.chars().count(), "minLength", "maxLength")),
        Value::Array(items) => Some((items.len(), "minItems", "maxItems")),
        Value::Object(members) => Some((members.len(), "minProperties", "maxProperties")),
        _ => None,
    };
    if let Some((size, least, most)) = size {
        let size = i64::try_from(size).unwrap();
        if bound(least).is_some_and(|least| size < least) || bound(most).is_some_and(|most| size > most) {
            refuse(format!("{size} is outside of {least} and {most}"));
        }
    }
    if let Some(number) = value.as_i64()
        && (bound("minimum").is_some_and(|least| number < least)
            || bound("maximum").is_some_and(|most| number > most))
    {
        refuse(format!("{number} is outside of {} to {}", schema["minimum"], schema["maximum"]));
    }
    if let (Some(pattern), Some(text)) = (schema["pattern"].as_str(), value.as_str())
        && !Regex::new(pattern).unwrap().is_match(text)
    {
        refuse(format!("{text:?} does not match {pattern}"));
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        structure(&schema["items"], item, &format!("{path}[{index}]"), found);
    }
    let Some(members) = value.as_object() else { return };
    for required in schema["required"].as_array().into_iter().flatten() {
        let name = required.as_str().unwrap();
        if !members.contains_key(name) && schema["properties"][name].get("default").is_none() {
            found.push(format!("{}.{name}: Required value", path.trim_start_matches('.')));
        }
    }
    let open = schema["x-kubernetes-preserve-unknown-fields"] == true || path == ".metadata";
    for (name, member) in members {
        let inner = schema["properties"].get(name).or_else(|| schema.get("additionalProperties"));
        let at = format!("{path}.{name}");
        match inner {
            Some(inner) => structure(inner, member, &at, found),
            None if open
                || ["apiVersion", "kind", "metadata"].contains(&name.as_str()) && path.is_empty() => {}
            None => found.push(format!("{}: unknown field", at.trim_start_matches('.'))),
        }
    }
}

/// Every schema below `schema` with its path, itself first.
pub(crate) fn nodes(schema: &Value) -> Vec<(String, Value)> {
    let mut all = vec![(String::new(), schema.clone())];
    let mut next = 0;
    while let Some((path, node)) = all.get(next).cloned() {
        for (keyword, step) in [("items", "[]"), ("additionalProperties", "{}")] {
            if let Some(inner) = node.get(keyword).filter(|inner| inner.is_object()) {
                all.push((format!("{path}{step}"), inner.clone()));
            }
        }
        for (name, inner) in node["properties"].as_object().into_iter().flatten() {
            all.push((format!("{path}.{name}"), inner.clone()));
        }
        next += 1;
    }
    all
}
