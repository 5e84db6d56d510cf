//! Legacy clients that lose their connection while a modern server works for them: that is no cancellation, though to the
//! server the end of a request would be one. Changes when such calls end otherwise.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use bridge_tests::fake::{Act, Asked, Fake};
use bridge_tests::http::{Url, request};
use bridge_tests::metrics::Metrics;
use bridge_tests::{Backend, Config, Exchange, Gateway, LegacySession};
use parking_lot::{Condvar, Mutex};
use serde_json::{Value, json};

/// Something that servers wait for and the test gives, once.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn open(&self) {
        *self.0.0.lock() = true;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let mut is_open = self.0.0.lock();
        while !*is_open {
            self.0.1.wait(&mut is_open);
        }
    }
}

fn before(server: &Fake) -> Result<(Gateway, Metrics)> {
    let config = Config::new().backend(Backend::http("fixture", &server.url()).era("modern"));
    let (gateway, metrics) = Metrics::start(&config)?;
    gateway.wait_backends("modern", &["fixture"])?;
    Ok((gateway, metrics))
}

fn call(session: &mut LegacySession, number: u32) -> Result<(Value, Exchange)> {
    session.start(
        "tools/call",
        &json!({ "name": "work", "arguments": { "number": number }, "_meta": { "progressToken": "t" } }),
    )
}

fn is_retry(asked: &Asked) -> bool {
    asked.method() == "tools/call" && asked.message["params"]["requestState"] == "s"
}

/// The second round shows that the call goes on: the gateway would not make it for one that was given up.
#[test]
fn a_call_goes_on_though_its_client_left_before_anything_came_back() -> Result<()> {
    for stream in [true, false] {
        let gate = Gate::default();
        let of_server = gate.clone();
        let server = Fake::modern(move |asked| {
            let again = json!({ "resultType": "input_required", "requestState": "s" });
            if is_retry(asked) {
                return Act::result(asked, &json!({ "resultType": "complete", "content": [] }));
            }
            let (asked, gate) = (asked.clone(), of_server.clone());
            if stream {
                return Act::stream(move |events| {
                    gate.pass();
                    events.finish(&asked, &again)
                });
            }
            gate.pass();
            Act::result(&asked, &again)
        })?;
        let (gateway, metrics) = before(&server)?;
        let mut session = LegacySession::open(&gateway.url("/mcp/fixture"), &json!({}))?;
        let (_, exchange) = call(&mut session, 1)?;
        server.wait_asked(|asked| asked.method() == "tools/call")?;
        drop(exchange);
        // The gateway has noticed.
        metrics.wait("mcp_gateway_requests_in_flight", 0)?;
        gate.open();
        server.wait_asked(is_retry).with_context(|| format!("stream: {stream}"))?;
    }
    Ok(())
}

#[test]
fn the_answer_waits_for_a_client_that_comes_back() -> Result<()> {
    let server = Fake::modern(|asked| {
        let asked = asked.clone();
        Act::stream(move |events| {
            let token = &asked.message["params"]["_meta"]["progressToken"];
            let params = json!({ "progressToken": token, "progress": 1 });
            events
                .send(&json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": params }))?;
            events.wait_asked(|asked| asked.http_method == "PUT")?;
            let content = json!([{ "type": "text", "text": "done" }]);
            events.finish(&asked, &json!({ "resultType": "complete", "content": content }))
        })
    })?;
    let (gateway, _) = before(&server)?;
    let mut session = LegacySession::open(&gateway.url("/mcp/fixture"), &json!({}))?;
    let (id, mut exchange) = call(&mut session, 1)?;
    let mut last = None;
    while let Some(event) = exchange.next_event()? {
        last = event.id.or(last);
        if event.data.is_some_and(|data| data.contains("notifications/progress")) {
            break;
        }
    }
    drop(exchange);
    request("PUT", &Url::parse(&server.url())?, &[], b"")?;
    let resumed = session.resume(&last.context("events have ids")?)?;
    let result = resumed.finish(&id, |_| Ok(()))?.into_result()?;
    ensure!(result["content"][0]["text"] == "done", "{result}");
    Ok(())
}

#[test]
fn a_call_that_was_left_can_still_be_cancelled() -> Result<()> {
    let server = Fake::modern(|_| {
        Act::stream(|events| {
            events.wait_closed();
            Ok(())
        })
    })?;
    let (gateway, metrics) = before(&server)?;
    let mut session = LegacySession::open(&gateway.url("/mcp/fixture"), &json!({}))?;
    let leave = |session: &mut LegacySession, number: u32| -> Result<Value> {
        let (id, exchange) = call(session, number)?;
        server.wait_asked(|asked| asked.message["params"]["arguments"]["number"] == number)?;
        drop(exchange);
        metrics.wait("mcp_gateway_requests_in_flight", 0)?;
        Ok(id)
    };
    let id = leave(&mut session, 1)?;
    session.notify("notifications/cancelled", &json!({ "requestId": id }))?;
    server.wait_abandoned(1)?;
    // So does the end of its session.
    leave(&mut session, 2)?;
    session.delete()?;
    server.wait_abandoned(2)
}
