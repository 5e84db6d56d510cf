//! The reference page and the JSON Schema describe the keys that the program reads.
#![allow(clippy::unwrap_used, reason = "test code outside of `#[test]` functions")]

use std::path::{Path, PathBuf};

use mcp_gateway::config;
use serde_json::{Value, json};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

const BEGIN: &str = "<!-- keys: begin (written by UPDATE_REFERENCE=1 cargo test -p mcp-gateway --test config_reference) -->\n";
const END: &str = "<!-- keys: end -->";

#[test]
fn the_reference_page_lists_every_key() {
    let path = root().join("docs/configuration.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("the begin marker is in docs/configuration.md");
    let (tables, after) = rest.split_once(END).expect("the end marker is in docs/configuration.md");
    let expected = format!("\n{}", config::reference());
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{expected}{END}{after}")).unwrap();
        return;
    }
    assert!(
        tables == expected,
        "docs/configuration.md is out of date; run UPDATE_REFERENCE=1 cargo test -p mcp-gateway --test config_reference"
    );
}

/// The part of JSON Schema that the configuration's schema uses.
fn allows(schema: &Value, value: &Value) -> Result<(), String> {
    if let Some(forms) = schema.get("anyOf").and_then(Value::as_array) {
        let failures: Vec<String> = forms.iter().filter_map(|form| allows(form, value).err()).collect();
        return if failures.len() < forms.len() { Ok(()) } else { Err(failures.join(" | ")) };
    }
    if let Some(constant) = schema.get("const").filter(|constant| *constant != value) {
        return Err(format!("{value} is not {constant}"));
    }
    if let Some(names) = schema.get("enum").and_then(Value::as_array).filter(|names| !names.contains(value)) {
        return Err(format!("{value} is not one of {names:?}"));
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_i64() || number.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let kinds: Vec<&str> = match schema.get("type") {
        None => vec![kind],
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect(),
        Some(kind) => kind.as_str().into_iter().collect(),
    };
    let known = kinds.contains(&kind) || (kind == "integer" && kinds.contains(&"number"));
    if !known {
        return Err(format!("{value} is not of type {kinds:?}"));
    }
    let below = |bound: &str, wrong: fn(f64, f64) -> bool| {
        let (bound, number) = (schema.get(bound).and_then(Value::as_f64), value.as_f64());
        bound.zip(number).is_some_and(|(bound, number)| wrong(number, bound))
    };
    if below("minimum", |number, bound| number < bound) || below("maximum", |number, bound| number > bound) {
        return Err(format!("{value} is out of range"));
    }
    if let Value::Array(items) = value {
        items.iter().try_for_each(|item| allows(schema.get("items").unwrap_or(&Value::Null), item))?;
    }
    if let Value::Object(entries) = value {
        for (key, value) in entries {
            let known = schema.get("properties").and_then(|properties| properties.get(key));
            match known.or_else(|| schema.get("additionalProperties")) {
                Some(Value::Bool(false)) => return Err(format!("{key} is unknown")),
                Some(schema) => allows(schema, value).map_err(|error| format!("{key}: {error}"))?,
                None => {}
            }
        }
    }
    Ok(())
}

fn example(name: &str) -> Value {
    let text = std::fs::read_to_string(root().join("deploy/examples").join(name)).unwrap();
    serde_saphyr::from_str(&text).unwrap()
}

#[test]
fn the_schema_allows_the_examples() {
    let schema = config::schema();
    for name in ["original-sample.yaml", "quickstart.yaml"] {
        assert_eq!(allows(&schema, &example(name)), Ok(()), "{name}");
    }
}

#[test]
fn the_schema_refuses_what_the_gateway_reports() {
    let schema = config::schema();
    for (wrong, reason) in [
        (json!({"server": {"prot": 1}}), "server: prot is unknown"),
        (json!({"server": {"port": 70000}}), "server: port: 70000 is out of range"),
        (json!({"naming": "sometimes"}), "naming: \"sometimes\" is not one of"),
        (
            json!({"backends": [{"name": "b", "protocol": "stdio", "config": {"command": "x y"}}]}),
            "backends: ",
        ),
        (json!({"version": 2}), "version: 2 is not 1"),
    ] {
        let refused = allows(&schema, &wrong).expect_err(&wrong.to_string());
        assert!(refused.starts_with(reason), "{refused}");
    }
}

#[test]
fn every_key_is_explained_and_defaults_are_valid() {
    fn walk(schema: &Value, path: &str, seen: &mut usize) {
        for (key, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let path = format!("{path}.{key}");
            let text = property.get("description").and_then(Value::as_str).unwrap_or_default();
            assert!(text.trim().len() > 5, "{path} is not explained");
            if let Some(default) = property.get("default") {
                assert_eq!(allows(property, default), Ok(()), "{path}");
            }
            *seen += 1;
            walk(property, &path, seen);
        }
        for form in schema.get("anyOf").and_then(Value::as_array).into_iter().flatten() {
            walk(form, path, seen);
        }
        for nested in ["items", "additionalProperties"].iter().filter_map(|key| schema.get(key)) {
            walk(nested, path, seen);
        }
    }
    let mut seen = 0;
    walk(&config::schema(), "", &mut seen);
    assert!(seen > 200, "only {seen} keys");
}
