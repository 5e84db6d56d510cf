//! `docs/resources.md`: every field of every kind, every condition, every annotation. Changes when the page does; what it
//! says comes from the types.

use std::fmt::Write as _;

use serde_json::Value;

use crate::condition::{ConditionType, Verdict, words};
use crate::{manifest, service};

const HEAD: &str = "# Custom resources

<!-- Written by `make crds` from the types in crds/api. Do not edit. -->

Group `mcp.bridge`, version `v1alpha1`. Examples are in
[deploy/examples/kubernetes/](../deploy/examples/kubernetes/gateway.yaml). `kubectl explain mcpgateway.spec` says the same
for one field. Defaults that a description names are chosen by the operator and may change with it; those in the column
*default* are written into the object by the API server and do not.
";

/// The page.
pub fn page() -> Result<String, manifest::Error> {
    let mut page = HEAD.to_owned();
    for definition in manifest::definitions()? {
        let names = &definition["spec"]["names"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let (kind, short) = (text(&names["kind"]), text(&names["shortNames"][0]));
        let _ = writeln!(page, "\n## {kind} (`{short}`)\n\n{}\n", text(&schema["description"]));
        page += "| field | type | default | |\n|---|---|---|---|\n";
        rows(&mut page, "spec", &schema["properties"]["spec"]);
        page += "\nRules between fields:\n\n";
        rules(&mut page, "", schema);
    }
    page += "\n## Conditions\n\nTrue is good, except for `Degraded`. A condition says for which generation it holds.\n\n";
    page += "| condition | status | reason | means that |\n|---|---|---|---|\n";
    for word in words() {
        let verdict = match word.verdict {
            Verdict::True => "True",
            Verdict::False => "False",
            Verdict::Unknown => "Unknown",
        };
        let condition = ConditionType::as_str(word.condition);
        let _ = writeln!(page, "| {condition} | {verdict} | `{}` | {} |", word.reason, word.meaning);
    }
    page += "\n## Annotations of Services\n\nA Service with `mcp.bridge/enabled: \"true\"` is a backend of the gateways whose\n`discovery.services` takes its namespace and its labels. A wrong value, one without effect, and labels because of which no\ngateway takes it are reported as Events of the Service.\n\n| annotation | |\n|---|---|\n";
    for (name, meaning) in service::MEANINGS {
        let _ = writeln!(page, "| `{name}` | {meaning} |");
    }
    Ok(page)
}

fn rows(page: &mut String, path: &str, schema: &Value) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let required = schema["required"].as_array().is_some_and(|all| all.iter().any(|one| one == name));
        let list = if field["type"] == "array" { "[]" } else { "" };
        let at = format!("{path}.{name}{list}");
        let inner = if field["type"] == "array" { &field["items"] } else { field };
        let default =
            field.get("default").map(|value| value.to_string().replace('"', "")).unwrap_or_default();
        let needed = if required && default.is_empty() { "**required** " } else { "" };
        let description = field["description"].as_str().unwrap_or_default();
        let _ = writeln!(page, "| `{at}` | {} | {default} | {needed}{description} |", kind(field));
        rows(page, &at, inner);
    }
}

/// The type of a field in a few words.
fn kind(field: &Value) -> String {
    if field["x-kubernetes-int-or-string"] == true {
        return "number or text".to_owned();
    }
    if let Some(values) = field["enum"].as_array() {
        return values.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ");
    }
    let range = |least: &str, most: &str| match (field[least].as_i64(), field[most].as_i64()) {
        (Some(least), Some(most)) => format!(" {least} to {most}"),
        (None, Some(most)) => format!(" up to {most}"),
        _ => String::new(),
    };
    match field["type"].as_str() {
        Some("integer") => format!("number{}", range("minimum", "maximum")),
        Some("string") => "text".to_owned(),
        Some("boolean") => "true or false".to_owned(),
        Some("array") => format!("list{}", range("minItems", "maxItems")),
        _ if field.get("additionalProperties").is_some() => "map".to_owned(),
        _ if field["x-kubernetes-preserve-unknown-fields"] == true => "as Kubernetes defines it".to_owned(),
        _ => String::new(),
    }
}

fn rules(page: &mut String, path: &str, schema: &Value) {
    let at = if path.is_empty() { "(all)" } else { path };
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        let _ = writeln!(page, "- `{at}`: {}", rule["message"].as_str().unwrap_or_default());
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let at = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        rules(page, &at, field);
    }
    if schema["items"].is_object() {
        rules(page, &format!("{path}[]"), &schema["items"]);
    }
}
