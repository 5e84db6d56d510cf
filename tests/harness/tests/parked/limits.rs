//! Many parked calls at once, too many, and what is left of them. Changes with the limits of parked calls.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, anyhow, ensure};
use bridge_tests::{Gateway, ModernClient, RpcError};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::support::{Parked, Way, accept, client, metered, quiet, sampling, says, scripted, text, who};

const MANY: usize = 1000;
const THREADS: usize = 8;

/// Runs `one` for many numbers on a few threads, each with a client of its own.
fn spread<T: Send>(
    gateway: &Gateway,
    numbers: usize,
    one: impl Fn(&mut ModernClient, usize) -> Result<T> + Sync,
) -> Result<BTreeMap<usize, T>> {
    let done = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS)
            .map(|worker| {
                let (done, one) = (&done, &one);
                scope.spawn(move || -> Result<()> {
                    let mut client = client(gateway)?;
                    for number in (worker..numbers).step_by(THREADS) {
                        let outcome = one(&mut client, number).with_context(|| format!("number {number}"))?;
                        done.lock().insert(number, outcome);
                    }
                    Ok(())
                })
            })
            .collect();
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| anyhow!("panic"))?)
    })?;
    Ok(done.into_inner())
}

/// The question must be the call's own, and so must the result.
fn asks_for(parked: &Parked, prompt: &str) -> Result<()> {
    let (_, question) = parked.questions()?[0];
    let asked = &question["params"]["messages"][0]["content"]["text"];
    ensure!(asked == prompt, "{prompt} is asked {asked}");
    Ok(())
}

fn answer_all(gateway: &Gateway, parked: &BTreeMap<usize, Parked>) -> Result<()> {
    let numbers: Vec<_> = parked.keys().copied().collect();
    // In another order than they were parked in.
    spread(gateway, numbers.len(), |client, index| {
        let number = numbers[(index * 7919) % numbers.len()];
        let result = parked[&number].finish(client, &says(&format!("for {number}")))?;
        ensure!(text(&result) == format!("LLM response: for {number}"), "{number}: {result}");
        Ok(())
    })
    .map(drop)
}

#[test]
fn a_thousand_calls_are_parked_at_once_and_each_gets_its_own_answer() -> Result<()> {
    let way = Way::http(quiet().set("limits", "max_parked_per_principal", json!(MANY)))?;
    let parked = spread(&way.gateway, MANY, |client, number| {
        let prompt = format!("prompt {number}");
        let parked = Parked::call(client, &sampling(&prompt))?;
        asks_for(&parked, &prompt)?;
        Ok(parked)
    })?;
    ensure!(parked.len() == MANY);
    answer_all(&way.gateway, &parked)
}

/// Questions on a pipe name no call. However the gateway keeps them apart, nobody may get another's, and who finds no
/// place is told so.
#[test]
fn many_calls_to_a_child_are_parked_or_refused_but_never_mixed_up() -> Result<()> {
    let way = Way::stdio(quiet())?;
    let outcomes = spread(&way.gateway, 100, |client, number| {
        let prompt = format!("prompt {number}");
        let reply = client.request("tools/call", &sampling(&prompt))?;
        if reply.message.get("error").is_some() {
            return Ok(Err(reply.into_error()?));
        }
        let parked = Parked::of(&sampling(&prompt), reply.into_result()?)?;
        asks_for(&parked, &prompt)?;
        Ok(Ok(parked))
    })?;
    let mut parked = BTreeMap::new();
    for (number, outcome) in outcomes {
        match outcome {
            Ok(call) => drop(parked.insert(number, call)),
            Err(error) => safe_to_retry(&error)?,
        }
    }
    ensure!(!parked.is_empty(), "not one call found a place");
    answer_all(&way.gateway, &parked)?;
    let again = Parked::call(&mut way.client()?, &sampling("afterwards"))?;
    again.finish(&mut way.client()?, &says("yes")).map(drop)
}

fn safe_to_retry(error: &RpcError) -> Result<()> {
    let reason = error.data["reason"].as_str().unwrap_or_default();
    ensure!(["exhausted", "backend_busy"].contains(&reason), "{error}");
    ensure!(error.data["retry"] == "safe", "{error}");
    Ok(())
}

#[test]
fn more_than_the_limit_are_refused_and_cancelled_at_the_server() -> Result<()> {
    for key in ["max_parked", "max_parked_per_principal"] {
        let (gateway, fake) = scripted(quiet().set("limits", key, json!(2)), |asked, events| {
            let id = json!(format!("q {}", asked.message["params"]["arguments"]["number"]));
            let answer = events.ask(&id, "elicitation/create", &who())?;
            let said = answer.message["result"]["action"].clone();
            events.finish(asked, &json!({ "content": [{ "type": "text", "text": said }] }))
        })?;
        let call = |number: u32| json!({ "name": "work", "arguments": { "number": number } });
        let mut client = client(&gateway)?;
        let first = Parked::call(&mut client, &call(1))?;
        let second = Parked::call(&mut client, &call(2))?;
        let error = client.request("tools/call", &call(3))?.into_error().with_context(|| key.to_owned())?;
        ensure!(error.data["reason"] == "too_many_parked", "{key}: {error}");
        // It had been sent: that is how the question came to be.
        ensure!(error.data["retry"] == "may_have_executed", "{key}: {error}");
        let third = |asked: &bridge_tests::fake::Asked| asked.message["params"]["arguments"]["number"] == 3;
        let sent = fake.wait_asked(third)?;
        fake.wait_asked(|asked| {
            asked.method() == "notifications/cancelled"
                && asked.message["params"]["requestId"] == sent.message["id"]
        })?;

        let result = first.finish(&mut client, &accept(&json!({ "name": "ann" })))?;
        ensure!(text(&result) == "accept", "{result}");
        let fourth =
            Parked::call(&mut client, &call(4)).with_context(|| format!("{key}: a place became free"))?;
        for parked in [second, fourth] {
            parked.finish(&mut client, &accept(&json!({ "name": "ann" })))?;
        }
    }
    Ok(())
}

#[test]
fn calls_that_hold_too_much_are_refused_and_cancelled_at_the_server() -> Result<()> {
    for key in ["max_parked_bytes", "max_parked_bytes_per_principal"] {
        let (gateway, metrics, fake) =
            metered(quiet().set("limits", key, json!("64KiB")), |asked, events| {
                let id = json!(format!("q {}", asked.message["params"]["arguments"]["number"]));
                let mut question = who();
                question["message"] = "x".repeat(20 * 1024).into();
                let answer = events.ask(&id, "elicitation/create", &question)?;
                let said = answer.message["result"]["action"].clone();
                events.finish(asked, &json!({ "content": [{ "type": "text", "text": said }] }))
            })?;
        // The request counts as it came and as it was sent: 20 KiB of question and 20 KiB of requests.
        let padding = "x".repeat(10 * 1024);
        let call =
            |number: u32| json!({ "name": "work", "arguments": { "number": number, "padding": padding } });
        let mut client = client(&gateway)?;
        let first = Parked::call(&mut client, &call(1))?;
        let error = client.request("tools/call", &call(2))?.into_error().with_context(|| key.to_owned())?;
        ensure!(error.data["reason"] == "too_many_parked", "{key}: {error}");
        ensure!(error.data["retry"] == "may_have_executed", "{key}: {error}");
        let sent = fake.wait_asked(|asked| asked.message["params"]["arguments"]["number"] == 2)?;
        fake.wait_asked(|asked| {
            asked.method() == "notifications/cancelled"
                && asked.message["params"]["requestId"] == sent.message["id"]
        })?;
        let held = metrics.wait_some("mcp_gateway_parked_bytes")?;
        ensure!((40 * 1024..44 * 1024).contains(&held), "{key}: {held} bytes are said to be held");

        let result = first.finish(&mut client, &accept(&json!({ "name": "ann" })))?;
        ensure!(text(&result) == "accept", "{result}");
        metrics.wait("mcp_gateway_parked_bytes", 0)?;
        Parked::call(&mut client, &call(3)).with_context(|| format!("{key}: room became free"))?;
    }
    Ok(())
}

#[test]
fn calls_that_nobody_answered_leave_no_memory_behind() -> Result<()> {
    let config = quiet().set("limits", "parked_ttl", json!("1s")).set(
        "limits",
        "max_parked_per_principal",
        json!(MANY),
    );
    let (mut gateway, fake) = scripted(config, |_, events| {
        events
            .send(&json!({ "jsonrpc": "2.0", "id": "q", "method": "elicitation/create", "params": who() }))?;
        events.wait_closed();
        Ok(())
    })?;
    let pid = gateway.process().pid();
    let padding = "x".repeat(20_000);
    let call: Value = json!({ "name": "work", "arguments": { "padding": padding } });
    let mut abandoned = 0;
    let mut flood = |rounds: usize| -> Result<u64> {
        for _ in 0..rounds {
            spread(&gateway, 200, |client, _| Parked::call(client, &call).map(drop))?;
            abandoned += 200;
            fake.wait_abandoned(abandoned)?;
        }
        resident_kib(pid)
    };
    let before = flood(1)?;
    let after = flood(3)?;
    ensure!(after < before + 16 * 1024, "{before} KiB became {after} KiB");
    Ok(())
}

fn resident_kib(pid: i32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    line.trim().trim_end_matches(" kB").trim().parse().with_context(|| line.to_owned())
}
