//! Endpoints and credentials of a backend change under the sessions that use it. Changes with what of a backend can change
//! without ending what goes on.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result, ensure};
use bridge_snapshot::push::{Credential, Destination, Endpoints, Resource};
use bridge_snapshot::{HttpBackend, Target, WebSocketBackend};
use bridge_tests::fake::{Act, Asked, Fake, response};
use bridge_tests::pod::{Mounts, gateway, part, secret, snapshot};
use bridge_tests::{Era, LegacySession, Operator, Pod, TestServer};
use serde_json::{Value, json};

/// A legacy server that hands out sessions `name-0`, `name-1`, …; its tool says in which of them it was called.
fn server(name: &'static str) -> Result<Fake> {
    let sessions = AtomicUsize::new(0);
    Fake::start(move |asked| {
        let json = |result: Value, session: Option<String>| {
            let message = json!({ "jsonrpc": "2.0", "id": asked.message["id"], "result": result });
            let session = session.unwrap_or_default();
            let mut headers = vec![("Content-Type", "application/json")];
            headers.extend((!session.is_empty()).then_some(("Mcp-Session-Id", session.as_str())));
            Act::Send(response(200, &headers, &message.to_string()))
        };
        match (asked.http_method.as_str(), asked.method()) {
            ("GET", _) => Act::reply(405, "text/plain", "no stream"),
            ("DELETE", _) => Act::reply(200, "text/plain", ""),
            (_, "initialize") => {
                let result = json!({
                    "protocolVersion": asked.message["params"]["protocolVersion"],
                    "capabilities": { "tools": { "listChanged": true } },
                    "serverInfo": { "name": name, "version": "0" },
                });
                json(result, Some(format!("{name}-{}", sessions.fetch_add(1, Ordering::Relaxed))))
            }
            (_, "tools/list") => {
                json(json!({ "tools": [{ "name": "work", "inputSchema": { "type": "object" } }] }), None)
            }
            (_, "tools/call") => {
                let text = asked.header("mcp-session-id").unwrap_or("no session");
                json(json!({ "content": [{ "type": "text", "text": text }] }), None)
            }
            (_, "server/discover") => {
                let error = json!({ "code": -32601, "message": "what?" });
                let message = json!({ "jsonrpc": "2.0", "id": asked.message["id"], "error": error });
                Act::reply(200, "application/json", &message.to_string())
            }
            _ => Act::reply(202, "text/plain", ""),
        }
    })
}

/// The session in which the tool is called.
fn at(session: &mut LegacySession) -> Result<String> {
    let result = session.request("tools/call", &json!({ "name": "work", "arguments": {} }))?.into_result()?;
    Ok(result["content"][0]["text"].as_str().context("a text")?.to_owned())
}

fn http(fake: &Fake) -> Target {
    Target::Http(HttpBackend { url: fake.url(), headers: BTreeMap::new() })
}

/// The backend `web`, whose endpoints come beside it.
fn web() -> Resource {
    Resource::Backend(Box::new(part("web", "http://unused.invalid/mcp")))
}

fn endpoints(targets: Vec<Target>) -> Resource {
    Resource::Endpoints("web".to_owned(), Endpoints { targets })
}

/// Waits until what the backend lists was read, so that it is no news for whoever listens from now on.
fn wait_read(operator: &Operator) -> Result<()> {
    operator.wait_report(|report| report.backends.iter().any(|backend| backend.tools == 1)).map(drop)
}

fn initialized(fake: &Fake) -> usize {
    fake.asked().iter().filter(|asked| asked.method() == "initialize").count()
}

#[test]
fn a_session_stays_where_it_is_while_other_endpoints_come_and_go() -> Result<()> {
    let (operator, first, second) = (Operator::start()?, server("first")?, server("second")?);
    let mounts = Mounts::of(&operator)?;
    operator.publish(&[gateway(snapshot()), web(), endpoints(vec![http(&first)])])?;
    let pod = Pod::start(&mounts)?;
    let url = pod.wait_ready()?;
    wait_read(&operator)?;
    let mut merged = LegacySession::open(&format!("{url}/mcp"), &json!({}))?;
    assert_eq!(merged.list("tools/list", "tools")?.len(), 1);
    let mut stream = merged.listen()?;
    ensure!(stream.is_stream()?, "no stream");
    let mut own = LegacySession::open(&format!("{url}/mcp/web"), &json!({}))?;
    let before = [at(&mut merged)?, at(&mut own)?];
    let opened = initialized(&first);
    for places in [vec![http(&first), http(&second)], vec![http(&second), http(&first)], vec![http(&first)]] {
        let revision = operator.publish(&[endpoints(places)])?;
        assert_eq!(operator.wait_serves(revision)?, []);
        assert_eq!([at(&mut merged)?, at(&mut own)?], before);
        assert_eq!(merged.list("tools/list", "tools")?.len(), 1);
    }
    assert_eq!(initialized(&first), opened, "nothing has opened anew");
    ensure!(first.asked().iter().all(|asked| asked.http_method != "DELETE"), "a session was ended");
    // All that the open stream has to say.
    merged.delete()?;
    while let Some(event) = stream.next_event()? {
        ensure!(event.data.as_deref().unwrap_or_default().is_empty(), "{event:?}");
    }
    Ok(())
}

#[test]
fn a_session_whose_endpoint_goes_goes_on_at_another_and_its_tools_stay_listed() -> Result<()> {
    let (operator, first, second) = (Operator::start()?, server("first")?, server("second")?);
    let mounts = Mounts::of(&operator)?;
    operator.publish(&[gateway(snapshot()), web(), endpoints(vec![http(&first)])])?;
    let pod = Pod::start(&mounts)?;
    let url = pod.wait_ready()?;
    wait_read(&operator)?;
    let mut session = LegacySession::open(&format!("{url}/mcp"), &json!({}))?;
    assert_eq!(session.list("tools/list", "tools")?.len(), 1);
    let mut stream = session.listen()?;
    ensure!(stream.is_stream()? && at(&mut session)?.starts_with("first"), "not at the first");
    let revision = operator.publish(&[endpoints(vec![http(&second)])])?;
    assert_eq!(operator.wait_serves(revision)?, []);
    assert_eq!(session.list("tools/list", "tools")?.len(), 1);
    ensure!(at(&mut session)?.starts_with("second"), "not at the second");
    // The lists are read there, too, and the session at the first is ended.
    second.wait_asked(|asked| asked.method() == "tools/list")?;
    first.wait_asked(|asked| asked.http_method == "DELETE")?;
    session.delete()?;
    while let Some(event) = stream.next_event()? {
        ensure!(event.data.as_deref().unwrap_or_default().is_empty(), "{event:?}");
    }
    Ok(())
}

#[test]
fn a_backend_without_endpoints_keeps_its_tools_in_the_list_until_it_has_some() -> Result<()> {
    let (operator, first, second) = (Operator::start()?, server("first")?, server("second")?);
    let mounts = Mounts::of(&operator)?;
    operator.publish(&[gateway(snapshot()), web(), endpoints(vec![http(&first)])])?;
    let pod = Pod::start(&mounts)?;
    let url = pod.wait_ready()?;
    wait_read(&operator)?;
    let mut session = LegacySession::open(&format!("{url}/mcp"), &json!({}))?;
    let mut stream = session.listen()?;
    ensure!(stream.is_stream()? && at(&mut session)?.starts_with("first"), "not at the first");
    let revision = operator.publish(&[endpoints(Vec::new())])?;
    assert_eq!(operator.wait_serves(revision)?, []);
    operator.wait_report(|report| {
        report.backends.iter().any(|web| web.endpoints == 0 && web.healthy == 0 && web.problem.is_some())
    })?;
    assert_eq!(session.list("tools/list", "tools")?.len(), 1);
    let answer = session.request("tools/call", &json!({ "name": "work", "arguments": {} }))?.message;
    assert_eq!(answer["error"]["data"]["reason"], "backend_unavailable", "{answer}");
    ensure!(answer.to_string().contains("no endpoint of it is ready"), "{answer}");
    let revision = operator.publish(&[endpoints(vec![http(&second)])])?;
    assert_eq!(operator.wait_serves(revision)?, []);
    wait_read(&operator)?;
    ensure!(at(&mut session)?.starts_with("second"), "not at the second");
    session.delete()?;
    // Nobody was told that the list changed, because it did not.
    while let Some(event) = stream.next_event()? {
        ensure!(event.data.as_deref().unwrap_or_default().is_empty(), "{event:?}");
    }
    Ok(())
}

#[test]
fn a_pod_that_starts_while_a_backend_has_no_endpoints_knows_it_nevertheless() -> Result<()> {
    let (operator, late) = (Operator::start()?, server("late")?);
    let mounts = Mounts::of(&operator)?;
    operator.publish(&[gateway(snapshot()), web(), endpoints(Vec::new())])?;
    let pod = Pod::start(&mounts)?;
    let url = pod.wait_ready()?;
    let refused = LegacySession::open(&format!("{url}/mcp/web"), &json!({}));
    ensure!(refused.is_err(), "a session with a server that is not there");
    let revision = operator.publish(&[endpoints(vec![http(&late)])])?;
    assert_eq!(operator.wait_serves(revision)?, []);
    wait_read(&operator)?;
    ensure!(at(&mut LegacySession::open(&format!("{url}/mcp/web"), &json!({}))?)?.starts_with("late"));
    Ok(())
}

#[test]
fn a_backend_that_could_not_be_reached_is_read_as_soon_as_it_has_a_place() -> Result<()> {
    let (operator, fake) = (Operator::start()?, server("late")?);
    let nobody = { std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()? };
    let dead = Target::Http(HttpBackend { url: format!("http://{nobody}/mcp"), headers: BTreeMap::new() });
    let mounts = Mounts::of(&operator)?;
    operator.publish(&[gateway(snapshot()), web(), endpoints(vec![dead.clone()])])?;
    let pod = Pod::start(&mounts)?;
    let url = pod.wait_ready()?;
    operator.wait_report(|report| report.backends.iter().any(|backend| backend.problem.is_some()))?;
    let revision = operator.publish(&[endpoints(vec![dead, http(&fake)])])?;
    assert_eq!(operator.wait_serves(revision)?, []);
    operator.wait_report(|report| {
        report.backends.iter().any(|backend| backend.tools == 1 && backend.endpoints == 2)
    })?;
    ensure!(at(&mut LegacySession::open(&format!("{url}/mcp/web"), &json!({}))?)?.starts_with("late"));
    Ok(())
}

/// `web` with a token of a Secret.
fn guarded(target: Target) -> Resource {
    let mut part = part("web", "http://unused.invalid/mcp");
    part.backend.target = target;
    part.credentials = vec![Credential {
        secret: "team/token".to_owned(),
        key: "token".to_owned(),
        prefix: "Bearer ".to_owned(),
        into: Destination::Header("Authorization".to_owned()),
    }];
    Resource::Backend(Box::new(part))
}

fn token(value: &str) -> Resource {
    secret("team/token", &[("token", value)])
}

#[test]
fn a_credential_that_is_replaced_is_in_the_next_request_of_the_same_session() -> Result<()> {
    let (operator, fake) = (Operator::start()?, server("web")?);
    let mounts = Mounts::of(&operator)?;
    operator.publish(&[gateway(snapshot()), guarded(http(&fake)), token("first")])?;
    let pod = Pod::start(&mounts)?;
    let mut session = LegacySession::open(&format!("{}/mcp/web", pod.wait_ready()?), &json!({}))?;
    let before = at(&mut session)?;
    let opened = initialized(&fake);
    let shown = |asked: &Asked| asked.header("authorization").map(str::to_owned);
    for (round, value) in ["second", "third"].into_iter().enumerate() {
        let revision = operator.publish(&[token(value)])?;
        assert_eq!(operator.wait_serves(revision)?, []);
        assert_eq!(at(&mut session)?, before);
        let calls: Vec<_> =
            fake.asked().iter().filter(|asked| asked.method() == "tools/call").map(shown).collect();
        assert_eq!(calls.get(round + 1), Some(&Some(format!("Bearer {value}"))), "{calls:?}");
    }
    assert_eq!(initialized(&fake), opened, "nothing has opened anew");
    // What the server lists for the new credential is read.
    fake.wait_asked(|asked| {
        asked.method() == "tools/list" && shown(asked).as_deref() == Some("Bearer third")
    })?;
    Ok(())
}

#[test]
fn a_call_on_a_connection_outlives_what_comes_beside_it_and_a_new_credential() -> Result<()> {
    let (operator, mut first) = (Operator::start()?, TestServer::on("websocket", Era::Legacy, &[])?);
    let mut second = TestServer::on("websocket", Era::Legacy, &[])?;
    let mounts = Mounts::of(&operator)?;
    let socket = |server: &TestServer| {
        Target::WebSocket(WebSocketBackend { url: server.url().to_owned(), headers: BTreeMap::new() })
    };
    let (here, there) = (socket(&first), socket(&second));
    let backend = guarded(here.clone());
    operator.publish(&[gateway(snapshot()), backend, endpoints(vec![here.clone()]), token("first")])?;
    let pod = Pod::start(&mounts)?;
    let mut session = LegacySession::open(&format!("{}/mcp/web", pod.wait_ready()?), &json!({}))?;
    let sleep = |ms: u64| json!({ "name": "sleep", "arguments": { "ms": ms } });
    let (id, call) = session.start("tools/call", &sleep(2_000))?;
    first.process().wait_line(bridge_tests::PATIENCE, |line| line.contains("sleep started").then_some(()))?;
    operator.publish(&[token("second")])?;
    let revision = operator.publish(&[endpoints(vec![here, there.clone()])])?;
    assert_eq!(operator.wait_serves(revision)?, []);
    let slept = session.finish(&id, call)?.into_result()?;
    assert_eq!(slept["content"][0]["text"], "Slept 2000 ms");

    // Its own endpoint goes: the call in flight is told, and the session goes on at the other.
    let (id, call) = session.start("tools/call", &sleep(60_000))?;
    first.process().wait_line(bridge_tests::PATIENCE, |line| line.contains("60000").then_some(()))?;
    let revision = operator.publish(&[endpoints(vec![there])])?;
    assert_eq!(operator.wait_serves(revision)?, []);
    let error = session.finish(&id, call)?.into_error()?;
    assert_eq!((error.code, &error.data["reason"]), (-32004, &json!("backend_lost")), "{error}");
    let (id, call) = session.start("tools/call", &sleep(0))?;
    session.finish(&id, call)?.into_result()?;
    second
        .process()
        .wait_line(bridge_tests::PATIENCE, |line| line.contains("sleep started").then_some(()))?;
    Ok(())
}
