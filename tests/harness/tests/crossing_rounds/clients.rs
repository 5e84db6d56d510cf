//! What clients do with questions. Changes when their answers are judged otherwise.

use std::sync::mpsc::channel;

use anyhow::{Context as _, Result, ensure};
use bridge_tests::fake::Act;
use serde_json::{Value, json};

use crate::support::{Way, accept, calls, done, form, question, quiet, rounds, scripted, session, text};

#[test]
fn a_client_may_decline_or_cancel() -> Result<()> {
    Way::each(&quiet(), |way| {
        let mut session = way.session()?;
        for action in ["decline", "cancel"] {
            session.on_server_request(move |_, _| json!({ "action": action }));
            let call = json!({ "name": "test_elicitation", "arguments": { "message": "Who?" } });
            let result = session.request("tools/call", &call)?.into_result()?;
            ensure!(text(&result).contains(&format!("action={action}")), "{result}");
        }
        Ok(())
    })
}

/// An answer in rounds has no form for an error. For a user it means "cancel"; for the model there is no such word.
#[test]
fn an_error_for_an_answer_cancels_a_form_and_fails_a_call_that_needs_the_model() -> Result<()> {
    Way::each(&quiet(), |way| {
        let mut session = way.session()?;
        let refuse = |session: &mut bridge_tests::LegacySession, call: &Value| -> Result<Value> {
            let (id, mut exchange) = session.start("tools/call", call)?;
            let asked = question(&mut exchange)?;
            let error = json!({ "code": -1, "message": "User rejected it" });
            let mut refusal =
                session.post(&json!({ "jsonrpc": "2.0", "id": asked["id"], "error": error }))?;
            ensure!(refusal.head()?.status == 202, "{:?}", refusal.head()?);
            session.finish(&id, exchange)?.into_result()
        };
        let form = json!({ "name": "test_elicitation", "arguments": { "message": "Who?" } });
        let result = refuse(&mut session, &form)?;
        ensure!(text(&result).contains("action=cancel"), "{result}");
        let model = json!({ "name": "test_sampling", "arguments": { "prompt": "p" } });
        let result = refuse(&mut session, &model)?;
        ensure!(result["isError"] == true && text(&result).contains("User rejected it"), "{result}");
        Ok(())
    })
}

/// What a form may be answered with is for the server to judge, which asks again; for the model there are no words but its
/// own.
#[test]
fn nonsense_counts_as_no_answer() -> Result<()> {
    Way::each(&quiet(), |way| {
        let mut session = way.session()?;
        for nonsense in [json!({}), json!(null), json!("yes"), json!({ "action": "maybe" }), json!([1, 2])] {
            let given = nonsense.clone();
            session.on_server_request(move |_, _| given.clone());
            let form = json!({ "name": "test_elicitation", "arguments": { "message": "Who?" } });
            let result = session.request("tools/call", &form)?.into_result()?;
            ensure!(text(&result).contains("action=cancel"), "{nonsense}: {result}");
            let model = json!({ "name": "test_sampling", "arguments": { "prompt": "p" } });
            let result = session.request("tools/call", &model)?.into_result()?;
            ensure!(result["isError"] == true, "{nonsense}: {result}");
        }
        // The session is none the worse for it.
        session.on_server_request(|_, _| json!({ "action": "decline" }));
        let call = json!({ "name": "test_elicitation", "arguments": { "message": "Who?" } });
        let result = session.request("tools/call", &call)?.into_result()?;
        ensure!(text(&result).contains("action=decline"), "{result}");
        Ok(())
    })
}

#[test]
fn a_session_that_ends_in_mid_question_ends_the_call() -> Result<()> {
    let (gateway, fake) = scripted(quiet(), |asked| form(asked, "q", Some("s")))?;
    let mut session = session(&gateway)?;
    let (_, mut exchange) = session.start("tools/call", &json!({ "name": "work" }))?;
    question(&mut exchange)?;
    ensure!(session.delete()?.head.status / 100 == 2);
    while exchange.next_message()?.is_some() {}
    // Whatever is asked next comes after anything that the end of that session could have caused.
    let mut other = crate::support::session(&gateway)?;
    let (_, mut exchange) =
        other.start("tools/call", &json!({ "name": "work", "arguments": { "of": "other" } }))?;
    question(&mut exchange)?;
    let calls = calls(&fake);
    ensure!(calls.len() == 2, "{calls:?}");
    ensure!(calls.iter().all(|call| call.message["params"].get("inputResponses").is_none()), "{calls:?}");
    Ok(())
}

#[test]
fn a_stream_that_breaks_in_mid_question_is_not_the_end() -> Result<()> {
    Way::each(&quiet(), |way| {
        let mut session = way.session()?;
        let call = json!({ "name": "test_elicitation", "arguments": { "message": "Who?" } });
        let (id, mut exchange) = session.start("tools/call", &call)?;
        let (mut last, mut asked) = (None, None);
        while asked.is_none() {
            let event = exchange.next_event()?.context("a question")?;
            last = event.id.or(last);
            let data = event.data.filter(|data| !data.is_empty());
            asked = data.map(|data| serde_json::from_str::<Value>(&data)).transpose()?;
        }
        drop(exchange);
        let answer = json!({ "action": "accept", "content": { "username": "ann", "email": "a@b" } });
        session.answer(&asked.context("a question")?["id"], &answer)?;
        let resumed = session.resume(&last.context("an event id")?)?;
        let result = session.finish(&id, resumed)?.into_result()?;
        ensure!(text(&result).contains("ann"), "{result}");
        Ok(())
    })
}

#[test]
fn a_call_cancelled_between_rounds_is_over_on_both_sides() -> Result<()> {
    let (gateway, fake) = scripted(quiet(), |asked| form(asked, "q", Some("s")))?;
    let mut session = session(&gateway)?;
    let mut stream = session.listen()?;
    let (id, mut exchange) = session.start("tools/call", &json!({ "name": "work" }))?;
    let asked = question(&mut exchange)?;
    session.notify("notifications/cancelled", &json!({ "requestId": id, "reason": "enough" }))?;
    // The client's own question is taken back, on either of its streams, and the call gets no answer.
    let mut withdrawn = None;
    while let Some(message) = exchange.next_message()? {
        ensure!(
            message.get("result").is_none() && message.get("error").is_none(),
            "an answer came: {message}"
        );
        withdrawn = Some(message);
    }
    let withdrawn = match withdrawn {
        Some(message) => message,
        None => stream.next_message()?.context("the question is taken back")?,
    };
    ensure!(withdrawn["method"] == "notifications/cancelled", "{withdrawn}");
    ensure!(withdrawn["params"]["requestId"] == asked["id"], "{withdrawn}");
    // An answer that was on its way changes nothing.
    session.answer(&asked["id"], &accept("late"))?;
    let (_, mut exchange) =
        session.start("tools/call", &json!({ "name": "work", "arguments": { "of": "other" } }))?;
    question(&mut exchange)?;
    ensure!(calls(&fake).len() == 2, "{:?}", calls(&fake));
    Ok(())
}

#[test]
fn a_call_cancelled_in_its_second_round_is_cancelled_at_the_server() -> Result<()> {
    let (gateway, fake) = scripted(quiet(), |asked| {
        let answered = asked.message["params"].get("inputResponses").is_some();
        if answered { Act::hang() } else { form(asked, "q", Some("s")) }
    })?;
    let mut session = session(&gateway)?;
    let (id, mut exchange) = session.start("tools/call", &json!({ "name": "work" }))?;
    let asked = question(&mut exchange)?;
    session.answer(&asked["id"], &accept("go on"))?;
    fake.wait_asked(|asked| asked.message["params"].get("inputResponses").is_some())?;
    session.notify("notifications/cancelled", &json!({ "requestId": id }))?;
    fake.wait_abandoned(1)?;
    ensure!(exchange.next_message()?.is_none(), "the cancelled call got an answer");
    Ok(())
}

#[test]
fn answers_find_their_questions_in_any_order() -> Result<()> {
    Way::each(&quiet(), |way| {
        let mut session = way.session()?;
        let call = json!({ "name": "test_input_required_result_multiple_inputs" });
        let (id, mut exchange) = session.start("tools/call", &call)?;
        let mut asked: Vec<_> = (0..3).map(|_| question(&mut exchange)).collect::<Result<_>>()?;
        let ids: std::collections::BTreeSet<_> =
            asked.iter().map(|question| question["id"].to_string()).collect();
        ensure!(ids.len() == 3, "questions share an id: {asked:?}");
        asked.reverse();
        for question in asked {
            let answer = match question["method"].as_str() {
                Some("elicitation/create") => json!({ "action": "accept", "content": { "name": "Ann" } }),
                Some("roots/list") => json!({ "roots": [{ "uri": "file:///ann" }] }),
                _ => {
                    json!({ "role": "assistant", "model": "m", "content": { "type": "text", "text": "Hi," } })
                }
            };
            session.answer(&question["id"], &answer)?;
            // A second answer to the same question finds nobody.
            session.answer(&question["id"], &json!({ "action": "decline" }))?;
        }
        let result = session.finish(&id, exchange)?.into_result()?;
        ensure!(text(&result) == "Hi, Ann; roots: file:///ann", "{result}");
        Ok(())
    })
}

#[test]
fn calls_that_ask_at_the_same_time_are_asked_apart() -> Result<()> {
    Way::each(&quiet(), |way| {
        let mut session = way.session()?;
        let calls: Vec<_> = (0..8).map(|_| session.start("tools/call", &rounds(3))).collect::<Result<_>>()?;
        let (questions_in, questions) = channel();
        std::thread::scope(|scope| -> Result<()> {
            for (number, (id, mut exchange)) in calls.into_iter().enumerate() {
                let questions = questions_in.clone();
                scope.spawn(move || -> Result<()> {
                    while let Some(message) = exchange.next_message()? {
                        let done = message.get("method").is_none();
                        questions.send((number, id.clone(), message))?;
                        if done {
                            break;
                        }
                    }
                    Ok(())
                });
            }
            drop(questions_in);
            let mut finished = 0;
            for (number, id, message) in questions {
                if message["method"].is_string() {
                    session.answer(&message["id"], &accept(&format!("of {number}")))?;
                } else {
                    let said = format!("Answers: of {number}, of {number}, of {number}");
                    ensure!(message["id"] == id && text(&message["result"]) == said, "{number}: {message}");
                    finished += 1;
                }
            }
            ensure!(finished == 8, "{finished} calls were answered");
            Ok(())
        })
    })
}

/// Servers of 2026-07-28 keep nothing: what they wait for is in the state, which comes back as it was.
#[test]
fn states_come_back_byte_for_byte_under_new_ids() -> Result<()> {
    let state = "opaque \u{e9} \"quoted\" {\"a\":1}  ";
    let (gateway, fake) = scripted(quiet(), move |asked| {
        let params = &asked.message["params"];
        match params["requestState"].as_str() {
            None if params.get("inputResponses").is_some() => form(asked, "second", Some(state)),
            None => form(asked, "first", None),
            Some(back) => done(asked, back),
        }
    })?;
    let mut session = session(&gateway)?;
    session.on_server_request(|_, _| accept("yes"));
    let call = json!({ "name": "work", "arguments": { "n": 1 } });
    let result = session.request("tools/call", &call)?.into_result()?;
    ensure!(text(&result) == state, "{result}");
    let calls = calls(&fake);
    let ids: std::collections::BTreeSet<_> =
        calls.iter().map(|call| call.message["id"].to_string()).collect();
    ensure!(calls.len() == 3 && ids.len() == 3, "{calls:?}");
    ensure!(calls.iter().all(|sent| sent.message["params"]["arguments"] == call["arguments"]), "{calls:?}");
    ensure!(calls[1].message["params"].get("requestState").is_none(), "there was none: {calls:?}");
    let keys: Vec<_> = calls.iter().map(|call| &call.message["params"]["inputResponses"]).collect();
    ensure!(keys[1]["first"] == accept("yes") && keys[1].get("second").is_none(), "{keys:?}");
    ensure!(keys[2]["second"] == accept("yes") && keys[2].get("first").is_none(), "{keys:?}");
    Ok(())
}
