//! A JSON Schema of the configuration file, for editors. Changes when the schema should say more.

use serde_json::{Map, Value, json};

use super::shape::{Key, Shape, Status};

/// The schema of a file with these keys. Draft 7, which the YAML plug-ins of editors know.
pub(crate) fn of(keys: &[Key]) -> Value {
    let mut schema = section(keys);
    if let Value::Object(object) = &mut schema {
        object.insert("$schema".to_owned(), json!("http://json-schema.org/draft-07/schema#"));
        object.insert("title".to_owned(), json!("Configuration of mcp-gateway"));
    }
    schema
}

fn section(keys: &[Key]) -> Value {
    let properties: Map<String, Value> =
        keys.iter().map(|key| (key.name.to_owned(), property(key))).collect();
    json!({ "type": ["object", "null"], "properties": properties, "additionalProperties": false })
}

fn property(key: &Key) -> Value {
    let mut description = key.doc.lines().map(str::trim).collect::<Vec<_>>().join(" ").trim().to_owned();
    let mut schema = match shape(&key.shape) {
        Value::Object(object) => object,
        other => Map::from_iter([("allOf".to_owned(), json!([other]))]),
    };
    match key.status {
        Status::Works => {}
        Status::NotYet(_) | Status::NotYetQuiet => description.push_str(" (Accepted, not available yet.)"),
        Status::NoEffect(reason) => {
            description.extend([" (Accepted, no effect: ", reason, ".)"]);
            schema.insert("deprecated".to_owned(), json!(true));
        }
    }
    schema.insert("description".to_owned(), json!(description));
    if let Some(default) = &key.default {
        schema.insert("default".to_owned(), default.clone());
    }
    Value::Object(schema)
}

fn shape(shape: &Shape) -> Value {
    match shape {
        Shape::Text { schema, .. } => schema.clone(),
        Shape::List(item) => json!({ "type": ["array", "null"], "items": self::shape(item) }),
        Shape::CommaList(item) => {
            json!({ "anyOf": [{ "type": "array", "items": self::shape(item) }, { "type": ["string", "null"] }] })
        }
        Shape::Map(value) => {
            json!({ "type": ["object", "null"], "additionalProperties": self::shape(value) })
        }
        Shape::Section(keys) => section(&keys()),
        Shape::OneOf(forms) => json!({ "anyOf": forms.iter().map(self::shape).collect::<Vec<_>>() }),
        Shape::Anything => json!({}),
    }
}
