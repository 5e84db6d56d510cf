//! Answers that come late, in parts, twice, or make no sense. Changes when answers to parked calls are judged otherwise.

use std::sync::mpsc::channel;

use anyhow::{Context as _, Result, anyhow, ensure};
use bridge_tests::ModernClient;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::support::{BAD_STATE, Parked, Way, accept, client, quiet, sampling, says, scripted, text, who};

#[test]
fn a_call_goes_on_however_much_happens_before_the_answer() -> Result<()> {
    Way::each(&quiet(), |way| {
        let mut client = way.client()?;
        let first = Parked::call(&mut client, &sampling("first"))?;
        // The same client asks for other things, and so do others.
        for number in 0..20 {
            let echo = json!({ "name": "echo", "arguments": { "message": number.to_string() } });
            for client in [&mut client, &mut way.client()?] {
                let result = client.request("tools/call", &echo)?.into_result()?;
                ensure!(text(&result) == number.to_string(), "{result}");
            }
        }
        let second = Parked::call(&mut client, &sampling("second"))?;
        ensure!(second.state() != first.state(), "two calls have one state");
        for (parked, words) in [(&second, "for the second"), (&first, "for the first")] {
            let result = parked.finish(&mut client, &says(words))?;
            ensure!(text(&result) == format!("LLM response: {words}"), "{result}");
        }
        Ok(())
    })
}

#[test]
fn questions_say_what_the_server_said() -> Result<()> {
    Way::each(&quiet(), |way| {
        let mut client = way.client()?;
        let call = json!({ "name": "test_input_required_result_multiple_inputs" });
        let parked = Parked::call(&mut client, &call)?;
        let mut methods: Vec<_> =
            parked.questions()?.into_iter().map(|(_, question)| question["method"].to_string()).collect();
        methods.sort();
        ensure!(
            methods == ["\"elicitation/create\"", "\"roots/list\"", "\"sampling/createMessage\""],
            "{methods:?}"
        );
        for (_, question) in parked.questions()? {
            if question["method"] == "elicitation/create" {
                let fields = &question["params"]["requestedSchema"]["properties"];
                ensure!(fields["name"]["type"] == "string", "{question}");
            }
        }
        let retry = parked.retry(|method| match method {
            "elicitation/create" => accept(&json!({ "name": "Ann" })),
            "roots/list" => json!({ "roots": [{ "uri": "file:///ann" }] }),
            _ => says("Good day,"),
        })?;
        let result = client.request("tools/call", &retry)?.into_result()?;
        ensure!(text(&result) == "Good day, Ann; roots: file:///ann", "{result}");
        Ok(())
    })
}

#[test]
fn what_is_missing_or_makes_no_sense_is_asked_again() -> Result<()> {
    Way::each(&quiet(), |way| {
        let mut client = way.client()?;
        let call = json!({ "name": "test_input_required_result_multiple_inputs" });
        let parked = Parked::call(&mut client, &call)?;
        let mut retry = parked.retry(|method| match method {
            "elicitation/create" => accept(&json!({ "name": "Ann" })),
            "roots/list" => json!(12345),
            _ => Value::Null,
        })?;
        let answers = retry["inputResponses"].as_object_mut().context("answers")?;
        answers.retain(|_, answer| !answer.is_null());
        answers.insert("nobody asked".to_owned(), json!({ "action": "accept" }));

        let again = Parked::of(&call, client.request("tools/call", &retry)?.into_result()?)?;
        let methods: Vec<_> =
            again.questions()?.into_iter().map(|(_, question)| &question["method"]).collect();
        ensure!(methods.len() == 2 && !methods.contains(&&json!("elicitation/create")), "{methods:?}");
        let (first, second) = (parked.state(), again.state());
        ensure!(first != second, "the next round has the state of the last");
        parked.refused(&mut client, &says("too late")).context("the state of the last round")?;

        let retry = again.retry(|method| match method {
            "roots/list" => json!({ "roots": [] }),
            _ => says("Well,"),
        })?;
        let result = client.request("tools/call", &retry)?.into_result()?;
        ensure!(text(&result) == "Well, Ann; roots: ", "{result}");
        Ok(())
    })
}

#[test]
fn rounds_follow_each_other_and_progress_is_told_in_each() -> Result<()> {
    Way::each(&quiet(), |way| {
        let mut client = way.client()?;
        client.set_meta("progressToken", json!("mine"));
        let call = json!({ "name": "test_streaming_elicitation" });
        let reply = client.request("tools/call", &call)?;
        ensure!(reply.notifications("notifications/progress").len() == 1, "{:?}", reply.earlier);
        ensure!(reply.earlier[0]["params"]["progressToken"] == "mine", "{:?}", reply.earlier);
        let parked = Parked::of(&call, reply.into_result()?)?;
        let result = parked.finish(&mut client, &accept(&json!({ "answer": "yes" })))?;
        ensure!(text(&result).contains("action=accept"), "{result}");

        let call = json!({ "name": "test_rounds", "arguments": { "rounds": 5 } });
        let mut parked = Parked::call(&mut client, &call)?;
        for round in 1..5 {
            let answer = accept(&json!({ "answer": round.to_string() }));
            parked = Parked::of(&call, parked.answer(&mut client, &answer)?.into_result()?)?;
        }
        let result = parked.finish(&mut client, &accept(&json!({ "answer": "5" })))?;
        ensure!(text(&result) == "Answers: 1, 2, 3, 4, 5", "{result}");
        Ok(())
    })
}

#[test]
fn an_answer_counts_once_even_when_it_is_given_twice_at_once() -> Result<()> {
    let (gateway, fake) = scripted(quiet(), |asked, events| {
        let answer = events.ask(&json!("q"), "elicitation/create", &who())?;
        let name = answer.message["result"]["content"]["name"].clone();
        events.finish(asked, &json!({ "content": [{ "type": "text", "text": name }] }))
    })?;
    let parked = Parked::call(&mut client(&gateway)?, &json!({ "name": "work" }))?;
    let names = ["ann", "bob", "eve", "joe"];
    let outcomes = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        let answers = names.map(|name| {
            let (parked, outcomes, gateway) = (&parked, &outcomes, &gateway);
            scope.spawn(move || -> Result<()> {
                let answer = accept(&json!({ "name": name }));
                outcomes.lock().push((name, parked.answer(&mut client(gateway)?, &answer)?));
                Ok(())
            })
        });
        answers.into_iter().try_for_each(|answer| answer.join().map_err(|_| anyhow!("panic"))?)
    })?;
    let (done, refused): (Vec<_>, Vec<_>) =
        outcomes.into_inner().into_iter().partition(|(_, reply)| reply.message.get("result").is_some());
    ensure!(done.len() == 1, "{done:?} and {refused:?}");
    let (name, reply) = &done[0];
    ensure!(text(&reply.message["result"]) == *name, "{reply:?}");
    for (_, reply) in refused {
        ensure!(reply.into_error()?.code == BAD_STATE);
    }
    let answers = fake.asked().into_iter().filter(|asked| asked.message["id"] == "q");
    ensure!(answers.count() == 1, "the server got several answers: {:?}", fake.asked());
    parked.refused(&mut client(&gateway)?, &accept(&json!({ "name": "late" })))?;
    Ok(())
}

#[test]
fn a_result_that_comes_while_the_client_thinks_is_kept_for_it() -> Result<()> {
    let (withdraw, withdrawn) = channel();
    let withdrawn = std::sync::Arc::new(Mutex::new(withdrawn));
    let (gateway, _fake) = scripted(quiet(), move |asked, events| {
        events
            .send(&json!({ "jsonrpc": "2.0", "id": "q", "method": "elicitation/create", "params": who() }))?;
        withdrawn.lock().recv()?;
        let params = json!({ "requestId": "q", "reason": "no longer needed" });
        events.send(&json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": params }))?;
        events.finish(asked, &json!({ "content": [{ "type": "text", "text": "without you" }] }))
    })?;
    let mut client: ModernClient = client(&gateway)?;
    let parked = Parked::call(&mut client, &json!({ "name": "work" }))?;
    withdraw.send(())?;
    let result = parked.finish(&mut client, &accept(&json!({ "name": "ann" })))?;
    ensure!(text(&result) == "without you", "{result}");
    Ok(())
}

#[test]
fn a_page_to_visit_is_asked_for_and_the_call_made_again() -> Result<()> {
    Way::each(&quiet(), |way| {
        let mut client = way.client()?;
        let call = |key: &str| json!({ "name": "test_url_required", "arguments": { "key": key } });
        let parked = Parked::call(&mut client, &call("terms"))?;
        let (_, question) = parked.questions()?[0];
        let params = &question["params"];
        ensure!(question["method"] == "elicitation/create" && params["mode"] == "url", "{question}");
        ensure!(params.get("elicitationId").is_none(), "2026-07-28 has no such id: {question}");
        let result = parked.finish(&mut client, &json!({ "action": "accept" }))?;
        ensure!(text(&result) == "Agreed to terms", "{result}");

        // Who does not go is not asked again and gets no result.
        let parked = Parked::call(&mut client, &call("other terms"))?;
        let reply = parked.answer(&mut client, &json!({ "action": "decline" }))?;
        let failed = reply.message.get("error").is_some() || reply.message["result"]["isError"] == true;
        ensure!(failed, "{:?}", reply.message);
        Ok(())
    })
}

#[test]
fn a_server_that_asks_what_the_client_cannot_answer_is_refused() -> Result<()> {
    Way::each(&quiet(), |way| {
        let mut client = ModernClient::new(&way.gateway.url("/mcp/fixture"), &json!({ "elicitation": {} }))?;
        let reply = client.request("tools/call", &json!({ "name": "test_missing_capability" }))?;
        ensure!(reply.head.status == 400, "{reply:?}");
        let error = reply.into_error()?;
        ensure!(error.code == -32021, "{error}");
        ensure!(error.data["requiredCapabilities"]["sampling"].is_object(), "{error}");
        Ok(())
    })
}
