//! Tools whose listing is the point: rich input schemas and header annotations.
//! Changes when a schema feature is to be tested.

use serde_json::{Value, json};

use crate::call::text;

use super::{Entry, entry};

pub(super) fn tools() -> Vec<Entry> {
    vec![
        entry(
            "json_schema_2020_12_tool",
            "Has an input schema with JSON Schema 2020-12 keywords",
            rich(),
            |call| Box::pin(async move { text(Value::Object(call.arguments).to_string()) }),
        ),
        entry(
            "test_x_mcp_header",
            "Has arguments that HTTP clients mirror into headers",
            json!({
                "type": "object",
                "properties": {
                    "region": { "type": "string", "x-mcp-header": "Region" },
                    "priority": { "type": "integer", "x-mcp-header": "Priority" },
                    "dryRun": { "type": "boolean", "x-mcp-header": "Dry-Run" },
                    "note": { "type": "string" },
                },
                "required": ["region"],
            }),
            |call| Box::pin(async move { text(format!("Region: {}", call.string("region")?)) }),
        ),
    ]
}

/// The keywords that a list must carry unchanged: SEP-1613 and SEP-2106.
fn rich() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {
            "address": {
                "$anchor": "addressDef",
                "type": "object",
                "properties": { "street": { "type": "string" }, "city": { "type": "string" } },
            },
        },
        "properties": {
            "name": { "type": "string" },
            "address": { "$ref": "#/$defs/address" },
            "contactMethod": { "type": "string", "enum": ["phone", "email"] },
            "phone": { "type": "string" },
            "email": { "type": "string" },
        },
        "allOf": [{ "anyOf": [{ "required": ["phone"] }, { "required": ["email"] }] }],
        "if": { "properties": { "contactMethod": { "const": "phone" } }, "required": ["contactMethod"] },
        "then": { "required": ["phone"] },
        "else": { "required": ["email"] },
        "additionalProperties": false,
    })
}
