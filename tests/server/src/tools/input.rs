//! Tools that need the user or the client's model: sampling and elicitation. Changes when a form field kind is added.

use rmcp::model::CallToolResult;
use serde_json::{Value, json};

use crate::call::{Call, Reply, text};
use crate::input_required::Ask;

use super::{Entry, arguments, entry, no_arguments};

pub(super) fn tools() -> Vec<Entry> {
    vec![
        entry("test_sampling", "Asks the client's model", arguments(&[("prompt", "string")]), |call| {
            Box::pin(sampling(call))
        }),
        entry(
            "test_elicitation",
            "Asks the user for two fields",
            arguments(&[("message", "string")]),
            |call| Box::pin(elicitation(call)),
        ),
        entry(
            "test_elicitation_sep1034_defaults",
            "Asks with a default in each field",
            no_arguments(),
            |call| Box::pin(form(call, "Please review the defaults", defaults())),
        ),
        entry("test_elicitation_sep1330_enums", "Asks with each form of choice", no_arguments(), |call| {
            Box::pin(form(call, "Please choose", enums()))
        }),
        entry("test_missing_capability", "Needs sampling", no_arguments(), |mut call| {
            Box::pin(async move {
                let ask = Ask::Sample("Say hello".to_owned(), 20);
                let answer = call.inputs.ask_blindly("sample", ask).await?;
                text(format!("Sampling is available: {}", spoken(&answer)))
            })
        }),
        entry(
            "test_streaming_elicitation",
            "Asks the user after some progress, so that the question arrives on a stream",
            no_arguments(),
            |mut call| {
                Box::pin(async move {
                    call.progress(1.0, 2.0).await;
                    let answer =
                        call.inputs.ask("answer", Ask::strings("Please answer", &["answer"])).await?;
                    text(format!("Streaming elicitation: {}", outcome(&answer)))
                })
            },
        ),
    ]
}

async fn sampling(mut call: Call) -> Reply {
    let prompt = call.string("prompt")?.to_owned();
    let answer = call.inputs.ask("sample", Ask::Sample(prompt, 100)).await?;
    text(format!("LLM response: {}", spoken(&answer)))
}

async fn elicitation(mut call: Call) -> Reply {
    let message = call.string("message")?.to_owned();
    let schema = json!({
        "type": "object",
        "properties": {
            "username": { "type": "string", "description": "User's response" },
            "email": { "type": "string", "description": "User's email address" },
        },
        "required": ["username", "email"],
    });
    let answer = call.inputs.ask("user", Ask::Form(message, schema)).await?;
    text(format!("User response: {}", outcome(&answer)))
}

async fn form(
    mut call: Call,
    message: &'static str,
    schema: Value,
) -> Result<CallToolResult, crate::call::Stop> {
    let answer = call.inputs.ask("form", Ask::Form(message.to_owned(), schema)).await?;
    text(format!("Elicitation completed: {}", outcome(&answer)))
}

/// The text of a sampling answer, whose content is one block or several.
pub(super) fn spoken(answer: &Value) -> String {
    let content = &answer["content"];
    let blocks = content.as_array().map_or(std::slice::from_ref(content), Vec::as_slice);
    blocks.iter().filter_map(|block| block["text"].as_str()).collect::<Vec<_>>().join("\n")
}

/// An elicitation answer in words.
pub(super) fn outcome(answer: &Value) -> String {
    let action = answer["action"].as_str().unwrap_or("none");
    let content = answer.get("content").map_or_else(|| "{}".to_owned(), Value::to_string);
    format!("action={action}, content={content}")
}

fn defaults() -> Value {
    json!({
        "type": "object",
        "properties": {
            "name": { "type": "string", "description": "Name", "default": "John Doe" },
            "age": { "type": "integer", "description": "Age in years", "default": 30 },
            "score": { "type": "number", "description": "Score in percent", "default": 95.5 },
            "status": {
                "type": "string",
                "description": "State of the account",
                "enum": ["active", "inactive", "pending"],
                "default": "active",
            },
            "verified": { "type": "boolean", "description": "Whether the address was checked", "default": true },
        },
        "required": [],
    })
}

fn enums() -> Value {
    let titled = |first: &str, second: &str, third: &str| {
        json!([
            { "const": "value1", "title": first },
            { "const": "value2", "title": second },
            { "const": "value3", "title": third },
        ])
    };
    json!({
        "type": "object",
        "properties": {
            "untitledSingle": { "type": "string", "enum": ["option1", "option2", "option3"] },
            "titledSingle": {
                "type": "string",
                "oneOf": titled("First Option", "Second Option", "Third Option"),
            },
            "legacyEnum": {
                "type": "string",
                "enum": ["opt1", "opt2", "opt3"],
                "enumNames": ["Option One", "Option Two", "Option Three"],
            },
            "untitledMulti": {
                "type": "array",
                "items": { "type": "string", "enum": ["option1", "option2", "option3"] },
            },
            "titledMulti": {
                "type": "array",
                "items": { "anyOf": titled("First Choice", "Second Choice", "Third Choice") },
            },
        },
        "required": [],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_survive_the_sdk_unchanged() {
        for schema in [defaults(), enums()] {
            let request = Ask::Form("m".to_owned(), schema.clone()).request().ok().unwrap();
            let wire = serde_json::to_value(request).unwrap();
            assert_eq!(wire["params"]["requestedSchema"]["properties"], schema["properties"]);
        }
    }
}
