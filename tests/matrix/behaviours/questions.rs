//! What servers ask of clients in the course of a call. Changes when they may ask something else.

use anyhow::{Context as _, Result, ensure};
use bridge_tests::Era;
use serde_json::{Value, json};

use super::text;
use crate::cell::Cell;
use crate::generation::Revision;
use crate::session::Session;

const PAGE: &str = "https://example.com/visit";

fn says(words: &str) -> Value {
    json!({ "role": "assistant", "model": "matrix-model", "stopReason": "endTurn",
        "content": { "type": "text", "text": words } })
}

fn accept(content: &Value) -> Value {
    json!({ "action": "accept", "content": content })
}

/// The only question since the answerer was set.
fn asked<'a>(session: &'a Session, method: &str) -> Result<&'a Value> {
    let [question] = &session.questions[..] else {
        anyhow::bail!("expected one question: {:?}", session.questions)
    };
    ensure!(question.method == method, "{question:?}");
    Ok(&question.params)
}

pub(super) fn sampling(session: &mut Session, _: Cell) -> Result<()> {
    session.answer_with(|_, params| {
        let prompt = params["messages"][0]["content"]["text"].as_str().unwrap_or_default();
        says(&format!("you said {prompt}"))
    });
    let result = session.call("test_sampling", &json!({ "prompt": "a word" }))?;
    ensure!(text(&result) == "LLM response: you said a word", "{result}");
    let question = asked(session, "sampling/createMessage")?;
    ensure!(question["maxTokens"] == 100 && question["messages"][0]["role"] == "user", "{question}");
    Ok(())
}

pub(super) fn form(session: &mut Session, _: Cell) -> Result<()> {
    let content = json!({ "username": "ann", "email": "ann@example.com" });
    for answer in [accept(&content), json!({ "action": "decline" }), json!({ "action": "cancel" })] {
        let (action, accepted) = (answer["action"].clone(), answer.get("content").is_some());
        session.answer_with(move |_, _| answer.clone());
        let result = session.call("test_elicitation", &json!({ "message": "Who are you?" }))?;
        let said = text(&result);
        ensure!(said.contains(&format!("action={}", action.as_str().unwrap_or_default())), "{said}");
        ensure!(said.contains("ann@example.com") == accepted, "{said}");
        let question = asked(session, "elicitation/create")?;
        ensure!(question["message"].as_str().is_some_and(|text| text.contains("Who are you?")), "{question}");
    }
    session.answer_with(|_, _| accept(&json!({})));
    session.call("test_elicitation_sep1034_defaults", &json!({}))?;
    let fields = &asked(session, "elicitation/create")?["requestedSchema"]["properties"];
    ensure!(fields["score"]["type"] == "number" && fields["verified"]["default"] == true, "{fields}");
    // Defaults of other fields came with 2025-11-25.
    let newest = session.revision >= Revision::V2025_11_25;
    ensure!(
        !newest || (fields["score"]["default"] == 95.5 && fields["name"]["default"] == "John Doe"),
        "{fields}"
    );
    Ok(())
}

pub(super) fn choices(session: &mut Session, _: Cell) -> Result<()> {
    session.answer_with(|_, _| accept(&json!({ "untitledSingle": "option1" })));
    session.call("test_elicitation_sep1330_enums", &json!({}))?;
    let fields = &asked(session, "elicitation/create")?["requestedSchema"]["properties"];
    ensure!(fields["titledSingle"]["oneOf"][0]["title"] == "First Option", "{fields}");
    ensure!(fields["legacyEnum"]["enumNames"][2] == "Option Three", "{fields}");
    ensure!(fields["titledMulti"]["items"]["anyOf"][1]["const"] == "value2", "{fields}");
    Ok(())
}

pub(super) fn url(session: &mut Session, cell: Cell) -> Result<()> {
    session.answer_with(|_, _| json!({ "action": "accept" }));
    let result = session.call("test_elicitation_url", &json!({}))?;
    ensure!(text(&result) == "URL elicitation: action=accept", "{result}");
    page(session, "Please visit the page")?;

    // A key of its own for each cell: the server remembers.
    let key = cell.to_string();
    session.answer_with(|_, _| json!({ "action": "accept" }));
    let arguments = json!({ "key": key });
    if session.revision.is_legacy() && cell.server == Era::Legacy {
        // In this pair the client itself reads the error, visits the page, and calls again.
        let required =
            session.error("tools/call", &json!({ "name": "test_url_required", "arguments": arguments }))?;
        let page = &required.data["elicitations"][0];
        ensure!(
            required.code == -32042 && page["url"] == PAGE && page["elicitationId"].is_string(),
            "{required}"
        );
    } else {
        let result = session.call("test_url_required", &arguments)?;
        ensure!(text(&result) == format!("Agreed to {key}"), "{result}");
        return page(session, &format!("Please agree to {key}"));
    }
    let result = session.call("test_url_required", &arguments)?;
    ensure!(text(&result) == format!("Agreed to {key}"), "{result}");
    Ok(())
}

fn page(session: &Session, message: &str) -> Result<()> {
    let question = asked(session, "elicitation/create")?;
    ensure!(question["mode"] == "url" && question["url"] == PAGE, "{question}");
    ensure!(question["message"].as_str().is_some_and(|text| text.contains(message)), "{question}");
    let id = question["elicitationId"].as_str().unwrap_or_default();
    ensure!(!session.revision.is_legacy() || !id.is_empty(), "a legacy client needs an id: {question}");
    Ok(())
}

pub(super) fn roots(session: &mut Session, _: Cell) -> Result<()> {
    let list = json!({ "roots": [{ "uri": "file:///one", "name": "One" }, { "uri": "file:///two" }] });
    session.answer_with(move |_, _| list.clone());
    let result = session.call("test_input_required_result_list_roots", &json!({}))?;
    ensure!(text(&result) == "Roots: file:///one, file:///two", "{result}");
    asked(session, "roots/list").map(drop)
}

pub(super) fn rounds(session: &mut Session, _: Cell) -> Result<()> {
    session.answer_with(|_, params| {
        let first = params["message"].as_str().is_some_and(|text| text.contains("Step 1"));
        accept(&if first { json!({ "name": "Ann" }) } else { json!({ "color": "blue" }) })
    });
    let result = session.call("test_input_required_result_multi_round", &json!({}))?;
    ensure!(text(&result) == "Ann likes blue", "{result}");
    ensure!(session.questions.len() == 2, "{:?}", session.questions);

    session.answer_with(|method, _| match method {
        "elicitation/create" => accept(&json!({ "name": "Ann" })),
        "roots/list" => json!({ "roots": [{ "uri": "file:///ann" }] }),
        _ => says("Good day,"),
    });
    let result = session.call("test_input_required_result_multiple_inputs", &json!({}))?;
    ensure!(text(&result) == "Good day, Ann; roots: file:///ann", "{result}");

    session.answer_with(|_, _| accept(&json!({ "context": "the matrix" })));
    let prompt = session.result("prompts/get", &json!({ "name": "test_input_required_result_prompt" }))?;
    let said = prompt["messages"][0]["content"]["text"].as_str().context("a message")?;
    ensure!(said == "Prompt with context: the matrix", "{prompt}");
    Ok(())
}
