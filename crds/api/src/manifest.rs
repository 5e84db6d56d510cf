//! The definitions of the resources as they are installed. Changes when what kube derives needs another correction.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;
use serde_json::{Map, Value};

use crate::v1alpha1::{McpBackend, McpGateway};

/// A definition cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// As JSON.
    #[error("the definition of {kind} cannot be encoded: {error}")]
    Json {
        /// Kind of the resource.
        kind: String,
        /// What is wrong.
        error: serde_json::Error,
    },
    /// As YAML.
    #[error("the definition of {kind} cannot be encoded: {error}")]
    Yaml {
        /// Kind of the resource.
        kind: String,
        /// What is wrong.
        error: serde_saphyr::ser::Error,
    },
}

/// Every definition, with the corrections of this module.
pub fn definitions() -> Result<Vec<Value>, Error> {
    [McpBackend::crd(), McpGateway::crd()].into_iter().map(definition).collect()
}

/// Name and text of each file below `crds/manifests/`.
pub fn files() -> Result<Vec<(String, String)>, Error> {
    let named = |definition: Value| {
        let kind = definition["spec"]["names"]["kind"].as_str().unwrap_or_default().to_owned();
        let plural = definition["spec"]["names"]["plural"].as_str().unwrap_or_default();
        let file = format!("{}_{plural}.yaml", crate::GROUP);
        let yaml = serde_saphyr::to_string(&definition).map_err(|error| Error::Yaml { kind, error })?;
        Ok((file, format!("# Written by `make crds` from crds/api. Do not edit.\n{yaml}")))
    };
    definitions()?.into_iter().map(named).collect()
}

fn definition(crd: CustomResourceDefinition) -> Result<Value, Error> {
    let kind = crd.spec.names.kind.clone();
    let mut value = serde_json::to_value(crd).map_err(|error| Error::Json { kind, error })?;
    if let Some(versions) = value.pointer_mut("/spec/versions").and_then(Value::as_array_mut) {
        for version in versions {
            if let Some(schema) = version.pointer_mut("/schema/openAPIV3Schema") {
                correct(schema);
            }
        }
    }
    Ok(value)
}

/// Corrects a schema and everything below it.
///
/// - An absent field is not null: with `nullable`, `has()` in a rule and defaulting would mean something else than they
///   say.
/// - Bounds of integers are integers; `1000.0` looks like a difference to tools that compare.
/// - The API server knows the formats of signed integers only.
/// - Lines of a source file are not lines of a description.
fn correct(schema: &mut Value) {
    let Value::Object(object) = schema else { return };
    object.remove("nullable");
    if let Some(values) = object.get_mut("enum").and_then(Value::as_array_mut) {
        values.retain(|value| !value.is_null());
    }
    for bound in ["minimum", "maximum"] {
        if let Some(value) = object.get_mut(bound) {
            whole(value);
        }
    }
    correct_format(object);
    if let Some(Value::String(description)) = object.get_mut("description") {
        *description = paragraphs(description);
    }
    for keyword in ["items", "additionalProperties"] {
        if let Some(inner) = object.get_mut(keyword) {
            correct(inner);
        }
    }
    if let Some(properties) = object.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(correct);
    }
}

fn correct_format(object: &mut Map<String, Value>) {
    let known = match object.get("format").and_then(Value::as_str) {
        None => return,
        Some("int8" | "int16" | "int32" | "uint8" | "uint16" | "uint32") => Some("int32"),
        Some("int64") => Some("int64"),
        Some("date-time") => Some("date-time"),
        Some(_) => None,
    };
    match known {
        Some(format) => drop(object.insert("format".to_owned(), format.into())),
        None => drop(object.remove("format")),
    }
}

fn whole(value: &mut Value) {
    // Bounds in schemas are far below 2^53.
    #[allow(clippy::cast_possible_truncation, reason = "the condition says that nothing is lost")]
    if let Some(number) = value.as_f64().filter(|number| number.fract() == 0.0 && number.abs() < 9e15) {
        *value = (number as i64).into();
    }
}

fn paragraphs(text: &str) -> String {
    let joined =
        text.split("\n\n").map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "));
    joined.collect::<Vec<_>>().join("\n\n")
}
