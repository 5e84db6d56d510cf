//! What backends ask the client of the merged endpoint. Changes when questions reach clients differently.

use anyhow::{Context as _, Result};
use bridge_tests::{Era, Exchange, Gateway, LegacySession, ModernClient, TestServer};
use serde_json::{Value, json};

use crate::support::quiet;

fn capabilities() -> Value {
    json!({ "sampling": {}, "elicitation": { "form": {} }, "roots": {} })
}

fn question(stream: &mut Exchange, method: &str) -> Result<Value> {
    let message = stream.next_message()?.context("the call ended without a question")?;
    anyhow::ensure!(message["method"] == method, "expected {method}, got {message}");
    Ok(message)
}

fn said(text: &str) -> Value {
    json!({ "role": "assistant", "model": "none", "content": { "type": "text", "text": text } })
}

#[test]
fn questions_of_two_backends_at_once_are_answered_to_the_one_that_asked() -> Result<()> {
    let web = TestServer::http(Era::Legacy)?;
    let config = quiet().http("web", web.url()).stdio("child", &TestServer::stdio(Era::Legacy)?);
    let gateway = Gateway::start(&config)?;
    gateway.wait_backends("legacy", &["web", "child"])?;
    let mut session = LegacySession::open(&gateway.url("/mcp"), &capabilities())?;
    // Twice, the other way round: each backend numbers its questions from the start, so theirs are the same.
    for (round, sampling, eliciting) in [("first", "web", "child"), ("second", "child", "web")] {
        let mut calls = Vec::new();
        for (backend, method, tool, argument) in [
            (sampling, "sampling/createMessage", "test_sampling", "prompt"),
            (eliciting, "elicitation/create", "test_elicitation", "message"),
        ] {
            let arguments = json!({ argument: format!("{round} of {backend}") });
            let call = json!({ "name": format!("{backend}__{tool}"), "arguments": arguments });
            let (id, stream) = session.start("tools/call", &call)?;
            calls.push((backend, method, id, stream));
        }
        let mut asked = Vec::new();
        for (backend, method, _, stream) in &mut calls {
            let question = question(stream, method)?;
            let text = question["params"].to_string();
            assert!(text.contains(&format!("{round} of {backend}")), "{text}");
            asked.push(question["id"].clone());
        }
        let different: std::collections::BTreeSet<_> = asked.iter().map(Value::to_string).collect();
        assert_eq!(different.len(), asked.len(), "questions that wait have different ids: {asked:?}");

        for ((backend, method, ..), id) in calls.iter().zip(&asked).rev() {
            let answer = if *method == "sampling/createMessage" {
                said(&format!("{round} for {backend}"))
            } else {
                let content = json!({ "username": format!("{round} for {backend}"), "email": "a@b" });
                json!({ "action": "accept", "content": content })
            };
            session.answer(id, &answer)?;
        }
        for (backend, method, id, stream) in calls {
            let result = session.finish(&id, stream)?.into_result()?;
            let text = result["content"][0]["text"].as_str().unwrap_or_default();
            assert!(text.contains(&format!("{round} for {backend}")), "{method} of {backend}: {text}");
        }
    }
    Ok(())
}

#[test]
fn two_sessions_are_asked_apart() -> Result<()> {
    let config = quiet().stdio("child", &TestServer::stdio(Era::Legacy)?);
    let gateway = Gateway::start(&config)?;
    let mut sessions = Vec::new();
    for name in ["ann", "bob"] {
        let mut session = LegacySession::open(&gateway.url("/mcp"), &capabilities())?;
        let call = json!({ "name": "test_sampling", "arguments": { "prompt": name } });
        let (id, stream) = session.start("tools/call", &call)?;
        sessions.push((name, session, id, stream));
    }
    let mut asked = Vec::new();
    for (name, _, _, stream) in &mut sessions {
        let question = question(stream, "sampling/createMessage")?;
        assert!(question["params"].to_string().contains(*name), "{question}");
        asked.push(question["id"].clone());
    }
    for ((name, mut session, id, stream), question) in sessions.into_iter().zip(asked) {
        session.answer(&question, &said(&format!("for {name}")))?;
        let result = session.finish(&id, stream)?.into_result()?;
        assert_eq!(result["content"][0]["text"], format!("LLM response: for {name}"));
    }
    Ok(())
}

#[test]
fn input_that_a_call_requires_goes_back_to_the_backend_that_required_it() -> Result<()> {
    let web = TestServer::http(Era::Modern)?;
    let config = quiet().http("web", web.url()).stdio("child", &TestServer::stdio(Era::Modern)?);
    let gateway = Gateway::start(&config)?;
    gateway.wait_backends("modern", &["web", "child"])?;
    let mut client = ModernClient::new(&gateway.url("/mcp"), &capabilities())?;
    let mut open = Vec::new();
    for backend in ["web", "child"] {
        let call = json!({ "name": format!("{backend}__test_input_required_result_request_state") });
        let result = client.request("tools/call", &call)?.into_result()?;
        assert_eq!(result["resultType"], "input_required");
        open.push((call, result));
    }
    for (call, required) in open.iter().rev() {
        let requests = required["inputRequests"].as_object().context("inputRequests")?;
        let answer = json!({ "action": "accept", "content": { "ok": true } });
        let mut again = call.clone();
        again["inputResponses"] = requests.keys().map(|key| (key.clone(), answer.clone())).collect();
        again["requestState"] = required["requestState"].clone();
        let result = client.request("tools/call", &again)?.into_result()?;
        assert_eq!(result["resultType"], "complete");
        assert!(result["content"].to_string().contains("state-ok"), "{result}");
    }
    for backend in ["web", "child"] {
        let call = json!({ "name": format!("{backend}__test_input_required_result_sampling") });
        let reply = client.request_with_input("tools/call", &call, |_, request| {
            assert_eq!(request["method"], "sampling/createMessage");
            said(&format!("Paris, {backend}"))
        })?;
        assert_eq!(reply.into_result()?["content"][0]["text"], format!("Paris, {backend}"));
    }
    Ok(())
}
