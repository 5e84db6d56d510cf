//! What servers do with rounds. Changes when rounds are counted otherwise.

use anyhow::{Result, ensure};
use bridge_tests::fake::Act;
use bridge_tests::{LegacySession, Reply};
use serde_json::json;

use crate::support::{Way, accept, calls, done, form, quiet, rounds, scripted, session, text};

fn failed(reply: &Reply) -> bool {
    reply.message.get("error").is_some() || reply.message["result"]["isError"] == true
}

#[test]
fn ten_rounds_are_enough_and_more_are_too_many() -> Result<()> {
    Way::each(&quiet(), |way| {
        let mut session = way.session()?;
        session.on_server_request(|_, _| accept("yes"));
        let result = session.request("tools/call", &rounds(10))?.into_result()?;
        ensure!(text(&result).matches("yes").count() == 10, "{result}");
        let reply = session.request("tools/call", &rounds(11))?;
        ensure!(failed(&reply), "{:?}", reply.message);
        ensure!(reply.message.to_string().contains("10"), "it does not say why: {:?}", reply.message);
        Ok(())
    })
}

#[test]
fn the_number_of_rounds_can_be_chosen() -> Result<()> {
    Way::each(&quiet().set("limits", "max_rounds", json!(2)), |way| {
        let mut session = way.session()?;
        session.on_server_request(|_, _| accept("yes"));
        session.request("tools/call", &rounds(2))?.into_result()?;
        ensure!(failed(&session.request("tools/call", &rounds(3))?));
        Ok(())
    })
}

#[test]
fn a_server_that_wants_nothing_but_time_is_asked_again_by_the_gateway() -> Result<()> {
    let (gateway, fake) =
        scripted(quiet(), |asked| match asked.message["params"]["requestState"].as_str() {
            None => Act::result(asked, &json!({ "resultType": "input_required", "requestState": "1" })),
            Some("1") => Act::result(asked, &json!({ "resultType": "input_required", "requestState": "2" })),
            Some(state) => done(asked, &format!("done after {state}")),
        })?;
    let result = session(&gateway)?.request("tools/call", &json!({ "name": "work" }))?.into_result()?;
    ensure!(text(&result) == "done after 2", "{result}");
    ensure!(calls(&fake).len() == 3);
    Ok(())
}

#[test]
fn a_server_that_wants_time_for_ever_is_given_up() -> Result<()> {
    let (gateway, fake) = scripted(quiet().set("limits", "max_rounds", json!(3)), |asked| {
        Act::result(asked, &json!({ "resultType": "input_required", "requestState": "again" }))
    })?;
    let reply = session(&gateway)?.request("tools/call", &json!({ "name": "work" }))?;
    ensure!(failed(&reply), "{:?}", reply.message);
    ensure!(calls(&fake).len() <= 4, "{} calls", calls(&fake).len());
    Ok(())
}

/// A user who cannot be asked has cancelled; a model that is not there has no such word.
#[test]
fn what_the_client_never_offered_is_answered_for_it_or_fails_the_call() -> Result<()> {
    let (gateway, fake) = scripted(quiet(), |asked| {
        let answer = &asked.message["params"]["inputResponses"]["q"];
        if answer.is_null() { form(asked, "q", None) } else { done(asked, &answer.to_string()) }
    })?;
    let mut session = LegacySession::open(&gateway.url("/mcp/fixture"), &json!({ "sampling": {} }))?;
    let result = session.request("tools/call", &json!({ "name": "work" }))?.into_result()?;
    ensure!(text(&result) == r#"{"action":"cancel"}"#, "{result}");
    ensure!(calls(&fake).len() == 2, "{:?}", calls(&fake));

    let (gateway, fake) = scripted(quiet(), |asked| {
        let question =
            json!({ "method": "sampling/createMessage", "params": { "messages": [], "maxTokens": 1 } });
        Act::result(asked, &json!({ "resultType": "input_required", "inputRequests": { "q": question } }))
    })?;
    let mut session = LegacySession::open(&gateway.url("/mcp/fixture"), &json!({ "elicitation": {} }))?;
    let reply = session.request("tools/call", &json!({ "name": "work" }))?;
    ensure!(failed(&reply), "{:?}", reply.message);
    ensure!(calls(&fake).len() == 1, "{:?}", calls(&fake));
    Ok(())
}

#[test]
fn nonsense_of_a_server_is_an_error_of_the_backend() -> Result<()> {
    for result in [
        json!({ "resultType": "input_required" }),
        json!({ "resultType": "input_required", "inputRequests": [] }),
        json!({ "resultType": "input_required", "inputRequests": { "q": { "method": "tools/call", "params": {} } } }),
        json!({ "resultType": "input_required", "inputRequests": { "q": "who?" } }),
        json!({ "resultType": "task", "taskId": "t" }),
        json!({ "resultType": "surprise" }),
    ] {
        let answer = result.clone();
        let (gateway, _fake) = scripted(quiet(), move |asked| Act::result(asked, &answer))?;
        let reply = session(&gateway)?.request("tools/call", &json!({ "name": "work" }))?;
        ensure!(failed(&reply), "{result}: {:?}", reply.message);
    }
    Ok(())
}

#[test]
fn a_missing_capability_is_told_in_words_that_legacy_clients_show() -> Result<()> {
    Way::each(&quiet(), |way| {
        let mut session = LegacySession::open(&way.gateway.url("/mcp/fixture"), &json!({}))?;
        let result =
            session.request("tools/call", &json!({ "name": "test_missing_capability" }))?.into_result()?;
        ensure!(result["isError"] == true && result.to_string().contains("sampling"), "{result}");
        Ok(())
    })
}

#[test]
fn prompts_ask_too() -> Result<()> {
    Way::each(&quiet(), |way| {
        let mut session = way.session()?;
        session.on_server_request(|_, _| json!({ "action": "accept", "content": { "context": "a test" } }));
        let prompt = json!({ "name": "test_input_required_result_prompt" });
        let result = session.request("prompts/get", &prompt)?.into_result()?;
        ensure!(result.to_string().contains("Prompt with context: a test"), "{result}");
        Ok(())
    })
}
