//! `requestState` in the wrong hands: changed, or used for another call. Changes with what a state is bound to.

use anyhow::{Context as _, Result, ensure};
use bridge_tests::raw::{Request, answer};
use bridge_tests::{Config, Era, Gateway, ModernClient, TestServer};
use serde_json::{Value, json};

use crate::support::{BAD_STATE, Parked, Way, client, quiet, sampling, says, text};

/// Sends the retry with something changed and expects to be refused; the call itself must not suffer.
fn refused(
    client: &mut ModernClient,
    parked: &Parked,
    what: &str,
    change: impl FnOnce(&mut Value),
) -> Result<()> {
    let mut retry = parked.retry(|_| says("stolen"))?;
    change(&mut retry);
    let error = client.request("tools/call", &retry)?.into_error().with_context(|| what.to_owned())?;
    ensure!(error.code == BAD_STATE, "{what}: {error}");
    ensure!(!error.to_string().contains(parked.state()), "{what}: the error repeats the state");
    Ok(())
}

#[test]
fn a_changed_state_is_refused_and_the_call_stays() -> Result<()> {
    Way::each(&quiet(), |way| {
        let mut client = way.client()?;
        let parked = Parked::call(&mut client, &sampling("mine"))?;
        let state = parked.state().to_owned();
        let mut changed = vec![
            String::new(),
            "x".to_owned(),
            "A".repeat(state.len()),
            format!("{state}A"),
            format!(" {state}"),
        ];
        changed.push(state[..state.len() - 1].to_owned());
        changed.push(state.to_ascii_uppercase());
        changed.push("A".repeat(100_000));
        for position in (0..state.len()).step_by(state.len().div_ceil(40)) {
            let mut bytes = state.clone().into_bytes();
            bytes[position] = if bytes[position] == b'A' { b'B' } else { b'A' };
            changed.push(String::from_utf8(bytes)?);
        }
        for bad in changed {
            refused(&mut client, &parked, &format!("state {bad:.200}"), |retry| {
                retry["requestState"] = bad.into();
            })?;
        }
        for bad in [json!(7), json!({})] {
            let mut retry = parked.retry(|_| says("stolen"))?;
            retry["requestState"] = bad.clone();
            let error = client.request("tools/call", &retry)?.into_error();
            ensure!(error.is_ok_and(|error| error.code == BAD_STATE), "a state of another type: {bad}");
        }
        let result = parked.finish(&mut client, &says("mine"))?;
        ensure!(text(&result) == "LLM response: mine", "{result}");
        Ok(())
    })
}

#[test]
fn a_state_is_good_for_its_own_call_only() -> Result<()> {
    Way::each(&quiet(), |way| {
        let mut client = way.client()?;
        let parked = Parked::call(&mut client, &sampling("mine"))?;
        let other = Parked::call(&mut client, &sampling("another"))?;
        refused(&mut client, &parked, "the state of another call", |retry| {
            retry["requestState"] = other.state().into();
        })?;
        refused(&mut client, &parked, "other arguments", |retry| {
            retry["arguments"]["prompt"] = "yours".into();
        })?;
        refused(&mut client, &parked, "more arguments", |retry| retry["arguments"]["more"] = json!(null))?;
        refused(&mut client, &parked, "another tool", |retry| retry["name"] = "echo".into())?;
        let mut prompt = json!({ "name": "test_simple_prompt", "inputResponses": {} });
        prompt["requestState"] = parked.state().into();
        let error = client.request("prompts/get", &prompt)?.into_error()?;
        ensure!(error.code == BAD_STATE, "another method: {error}");
        for (parked, words) in [(parked, "mine"), (other, "another")] {
            let result = parked.finish(&mut client, &says(words))?;
            ensure!(text(&result) == format!("LLM response: {words}"), "{result}");
        }
        Ok(())
    })
}

#[test]
fn a_state_is_good_for_its_own_gateway_and_backend_only() -> Result<()> {
    let command = TestServer::stdio(Era::Legacy)?;
    let config = Config::new().stdio("fixture", &command).stdio("other", &command);
    let (gateway, another) = (Gateway::start(&config)?, Gateway::start(&config)?);
    let mut here = client(&gateway)?;
    let parked = Parked::call(&mut here, &sampling("mine"))?;
    refused(&mut client(&another)?, &parked, "another gateway", |_| {})?;
    let mut elsewhere = ModernClient::new(&gateway.url("/mcp/other"), &json!({ "sampling": {} }))?;
    refused(&mut elsewhere, &parked, "another backend", |_| {})?;
    let result = parked.finish(&mut here, &says("mine"))?;
    ensure!(text(&result) == "LLM response: mine", "{result}");
    Ok(())
}

/// Client libraries build the retry anew: members may be in another order, and numbers are what they are.
#[test]
fn a_retry_may_be_spelled_otherwise() -> Result<()> {
    Way::each(&quiet(), |way| {
        let arguments = r#""arguments": {"prompt": "é", "a": [1, {"x": 1, "y": 2}], "z": null}"#;
        let again = r#""arguments": {"z":null,"a":[1,{"y":2,"x":1}],"prompt":"\u00e9"}"#;
        let meta = r#""_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {"sampling": {}}}"#;
        let send = |id: u32, params: &str| -> Result<Value> {
            let body = format!(
                r#"{{"jsonrpc": "2.0", "id": {id}, "method": "tools/call", "params": {{{params}}}}}"#
            );
            let request = Request::modern("tools/call", &json!({ "name": "test_sampling" }))?.body(body);
            answer(&request.send(&way.gateway.url("/mcp/fixture"))?)
        };
        let asked = send(1, &format!(r#""name": "test_sampling", {arguments}, {meta}"#))?["result"].clone();
        let parked = Parked::of(&sampling("é"), asked)?;
        let responses: serde_json::Map<_, _> =
            parked.questions()?.into_iter().map(|(key, _)| (key.clone(), says("yes"))).collect();
        let retry = format!(
            r#"{meta}, {again}, "requestState": {}, "inputResponses": {}, "name": "test_sampling""#,
            Value::from(parked.state()),
            Value::from(responses),
        );
        let result = &send(2, &retry)?["result"];
        ensure!(text(result) == "LLM response: yes", "{result}");
        Ok(())
    })
}
