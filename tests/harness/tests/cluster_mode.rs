//! A pod and its operator: first configuration, changes, rejections, reports, the end. Changes with what a pod promises
//! its operator.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bridge_snapshot::push::{Entry, Key, Problem, RejectionCode, Report, Resource, ResourceType};
use bridge_snapshot::{Access, Jwt, Target, WebSocketBackend};
use bridge_tests::fake::{Act, Fake};
use bridge_tests::pod::{Mounts, backend, gateway, part, snapshot};
use bridge_tests::tokens::Issuer;
use bridge_tests::{Era, LegacySession, Operator, Pod, TempDir, TestServer};
use serde_json::json;

fn calls(session: &mut LegacySession) -> Result<()> {
    let call = json!({ "name": "echo", "arguments": { "message": "hi" } });
    session.request("tools/call", &call)?.into_result().map(drop)
}

#[test]
fn a_pod_is_ready_with_its_first_configuration_and_not_before() -> Result<()> {
    let (operator, fixture) = (Operator::start()?, TestServer::http(Era::Both)?);
    let mounts = Mounts::of(&operator)?;
    let pod = Pod::start(&mounts)?;
    operator.wait_streams(1)?;
    ensure!(!pod.is_ready()?, "ready without a configuration");
    let revision = operator.publish(&[gateway(snapshot()), backend("web", fixture.url())])?;
    assert_eq!(operator.wait_serves(revision)?, []);
    let url = pod.wait_ready()?;
    calls(&mut LegacySession::open(&format!("{url}/mcp/web"), &json!({}))?)
}

#[test]
fn a_change_of_one_backend_leaves_the_sessions_of_others_alone() -> Result<()> {
    let operator = Operator::start()?;
    let (kept, before, after) =
        (TestServer::http(Era::Both)?, TestServer::http(Era::Both)?, TestServer::http(Era::Both)?);
    let mounts = Mounts::of(&operator)?;
    operator.publish(&[gateway(snapshot()), backend("kept", kept.url()), backend("moved", before.url())])?;
    let pod = Pod::start(&mounts)?;
    let url = pod.wait_ready()?;
    let mut session = LegacySession::open(&format!("{url}/mcp/kept"), &json!({}))?;
    let mut stream = session.listen()?;
    ensure!(stream.is_stream()?, "no stream");
    calls(&mut session)?;
    let revision = operator.publish(&[backend("moved", after.url())])?;
    drop(before);
    assert_eq!(operator.wait_serves(revision)?, []);
    calls(&mut session)?;
    calls(&mut LegacySession::open(&format!("{url}/mcp/moved"), &json!({}))?)?;
    let added = TestServer::http(Era::Both)?;
    let revision = operator.publish(&[backend("added", added.url())])?;
    operator.wait_serves(revision)?;
    calls(&mut LegacySession::open(&format!("{url}/mcp/added"), &json!({}))?)?;
    let revision = operator.withdraw(Key::new(ResourceType::Backend, "added"));
    operator.wait_serves(revision)?;
    ensure!(LegacySession::open(&format!("{url}/mcp/added"), &json!({})).is_err(), "it is served still");
    // What the server says outside of calls still comes on the stream that was open all the time.
    session.delete()?;
    while stream.next_event()?.is_some() {}
    Ok(())
}

#[test]
fn what_cannot_be_served_is_named_and_its_last_good_version_serves() -> Result<()> {
    let (operator, fixture) = (Operator::start()?, TestServer::http(Era::Both)?);
    let mounts = Mounts::of(&operator)?;
    operator.publish(&[gateway(snapshot()), backend("web", fixture.url())])?;
    let pod = Pod::start(&mounts)?;
    let url = pod.wait_ready()?;
    let mut session = LegacySession::open(&format!("{url}/mcp/web"), &json!({}))?;

    let revision = operator.publish(&[backend("web", "ftp://nowhere"), backend("good", fixture.url())])?;
    let rejected = operator.wait_serves(revision)?;
    let [rejection] = rejected.as_slice() else { anyhow::bail!("{rejected:?}") };
    assert_eq!((rejection.name.as_str(), rejection.code), ("web", RejectionCode::Invalid));
    ensure!(rejection.message.contains("url: "), "the field: {}", rejection.message);
    ensure!(rejection.message.contains("http or https"), "what is allowed: {}", rejection.message);
    calls(&mut session)?;
    calls(&mut LegacySession::open(&format!("{url}/mcp/good"), &json!({}))?)?;

    let unreadable = Entry::new(Key::new(ResourceType::Backend, "other"), &json!({ "rank": 1 }))?;
    let revision = operator.publish_entry(unreadable);
    let rejected = operator.wait_serves(revision)?;
    let of = |name: &str| rejected.iter().find(|rejection| rejection.name == name).context("a rejection");
    assert_eq!(of("other")?.code, RejectionCode::Unreadable);
    ensure!(of("other")?.message.contains("`backend`"), "the field: {}", of("other")?.message);
    assert_eq!(of("web")?.code, RejectionCode::Invalid);
    ensure!(
        pod.health()?["subsystems"]["configuration"]["message"]
            .to_string()
            .contains("2 resources are rejected")
    );

    let revision = operator.publish(&[backend("web", &format!("{}?again", fixture.url()))])?;
    let rejected = operator.wait_serves(revision)?;
    ensure!(rejected.iter().all(|rejection| rejection.name == "other"), "{rejected:?}");
    Ok(())
}

#[test]
fn a_gateway_that_cannot_be_served_stays_as_it_was() -> Result<()> {
    let (operator, fixture) = (Operator::start()?, TestServer::http(Era::Both)?);
    let mounts = Mounts::of(&operator)?;
    operator.publish(&[gateway(snapshot()), backend("web", fixture.url())])?;
    let pod = Pod::start(&mounts)?;
    let url = pod.wait_ready()?;
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let mut wanted = snapshot();
    let mut further = bridge_tests::pod::listener("further");
    further.address = taken.local_addr()?;
    wanted.listeners.push(further);
    let revision = operator.publish(&[gateway(wanted), backend("new", fixture.url())])?;
    let rejected = operator.wait_serves(revision)?;
    let [rejection] = rejected.as_slice() else { anyhow::bail!("{rejected:?}") };
    assert_eq!((rejection.kind, rejection.code), (ResourceType::Gateway, RejectionCode::Unavailable));
    ensure!(rejection.message.contains("further"), "{}", rejection.message);
    calls(&mut LegacySession::open(&format!("{url}/mcp/new"), &json!({}))?)?;
    // Nothing changes but the port, which is free now: the pod tries again and tells.
    let address = taken.local_addr()?;
    drop(taken);
    operator.wait_accepted()?;
    calls(&mut LegacySession::open(&format!("http://{address}/mcp/new"), &json!({}))?)
}

#[test]
fn a_removal_that_cannot_take_effect_is_not_said_to_have_and_is_made_up_for() -> Result<()> {
    let (operator, fixture) = (Operator::start()?, TestServer::http(Era::Both)?);
    let mounts = Mounts::of(&operator)?;
    let key = TempDir::new("key")?;
    let issuer = Issuer::rsa()?;
    let file = key.write("public.pem", issuer.public_pem()?)?;
    let mut guarded = snapshot();
    guarded.access = Access::Jwt(Jwt {
        issuer: None,
        audience: None,
        secret: None,
        public_key_file: Some(file.clone()),
        per_message: false,
        cache_ttl: Duration::from_mins(5),
    });
    operator.publish(&[gateway(guarded), backend("web", fixture.url()), backend("gone", fixture.url())])?;
    let pod = Pod::start(&mounts)?;
    pod.wait_ready()?;
    let names = || -> Result<Vec<String>> {
        let health = pod.health()?;
        let backends = health["subsystems"]["backends"].as_object().context("backends")?;
        Ok(backends.keys().cloned().collect())
    };
    assert_eq!(names()?, ["gone", "web"]);
    std::fs::remove_file(&file)?;
    let revision = operator.withdraw(Key::new(ResourceType::Backend, "gone"));
    let rejected = operator.wait_serves(revision)?;
    let [rejection] = rejected.as_slice() else { anyhow::bail!("{rejected:?}") };
    assert_eq!((rejection.kind, rejection.code), (ResourceType::Gateway, RejectionCode::Unavailable));
    assert_eq!(names()?, ["gone", "web"], "it is served still");
    key.write("public.pem", issuer.public_pem()?)?;
    operator.wait_accepted()?;
    assert_eq!(names()?, ["web"]);
    Ok(())
}

#[test]
fn a_pod_tells_of_its_backends_and_sessions_and_says_goodbye() -> Result<()> {
    let (operator, fixture) = (Operator::start()?, TestServer::http(Era::Both)?);
    let mounts = Mounts::of(&operator)?;
    let nobody = { std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()? };
    operator.publish(&[
        gateway(snapshot()),
        backend("web", fixture.url()),
        backend("gone", &format!("http://{nobody}/mcp")),
    ])?;
    let pod = Pod::start(&mounts)?;
    let url = pod.wait_ready()?;
    let _session = LegacySession::open(&format!("{url}/mcp/web"), &json!({}))?;
    let report = operator.wait_report(|report| {
        let backend = |name| report.backends.iter().find(|backend| backend.name == name);
        let works =
            backend("web").is_some_and(|web| web.tools > 0 && web.healthy == 1 && web.server.is_some());
        let fails = backend("gone").is_some_and(|gone| gone.problem.is_some() && gone.healthy == 0);
        // The words that the operator reads.
        let speaks = backend("web").is_some_and(|web| web.protocol.as_deref() == Some("streamable_http"));
        report.sessions == 1 && works && fails && speaks
    })?;
    assert_eq!(report.listeners.len(), 1);
    let server = report.backends.iter().find_map(|backend| backend.server.clone()).context("a server")?;
    ensure!(!server.name.is_empty() && server.protocol.starts_with("20"), "{server:?}");
    pod.stop()?;
    operator
        .wait_report(|report| report.sessions == 0 && report.dropped == 0 && !report.backends.is_empty())?;
    Ok(())
}

#[test]
fn a_pod_tells_why_a_server_cannot_be_asked() -> Result<()> {
    let (operator, fixture) = (Operator::start()?, TestServer::on("websocket", Era::Both, &[])?);
    let mounts = Mounts::of(&operator)?;
    let mut web = part("web", "http://unused.invalid");
    web.backend.target =
        Target::WebSocket(WebSocketBackend { url: fixture.url().to_owned(), headers: BTreeMap::new() });
    let locked = Fake::start(|_| Act::reply(401, "text/plain", "who are you?"))?;
    // What servers on SDKs say is JSON-RPC.
    let error = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"who are you?"}}"#;
    let spoken = Fake::start(move |_| Act::reply(401, "application/json", error))?;
    let other = Fake::start(|_| Act::reply(200, "text/html", "<h1>It works!</h1>"))?;
    let backends = [("locked", locked.url()), ("spoken", spoken.url()), ("other", other.url())];
    let backends = backends.iter().map(|(name, url)| backend(name, url));
    let all: Vec<_> =
        [gateway(snapshot()), Resource::Backend(Box::new(web))].into_iter().chain(backends).collect();
    operator.publish(&all)?;
    let _pod = Pod::start(&mounts)?;
    let says = |report: &Report, name: &str, problem: Option<Problem>| {
        let found = report.backends.iter().find(|backend| backend.name == name);
        found.is_some_and(|found| found.problem == problem && found.healthy == u32::from(problem.is_none()))
    };
    operator.wait_report(|report| {
        let refused = Some(Problem::Unauthorized);
        let locked = says(report, "locked", refused) && says(report, "spoken", refused);
        locked && says(report, "other", Some(Problem::ProtocolMismatch)) && says(report, "web", None)
    })?;
    // What it listed stays listed, which does not make it healthy.
    drop(fixture);
    let gone = |report: &Report| {
        let tools = report.backends.iter().any(|backend| backend.name == "web" && backend.tools > 0);
        tools && says(report, "web", Some(Problem::Unreachable))
    };
    operator.wait_report(gone)?;
    Ok(())
}

#[test]
fn a_pod_that_is_sent_away_comes_back_and_serves_meanwhile() -> Result<()> {
    let (operator, fixture) = (Operator::start()?, TestServer::http(Era::Both)?);
    let mounts = Mounts::of(&operator)?;
    operator.publish(&[gateway(snapshot()), backend("web", fixture.url())])?;
    let pod = Pod::start(&mounts)?;
    let url = pod.wait_ready()?;
    let mut session = LegacySession::open(&format!("{url}/mcp/web"), &json!({}))?;
    operator.go_away(Duration::from_millis(100));
    operator.wait_streams(2)?;
    calls(&mut session)?;
    let revision = operator.publish(&[backend("new", fixture.url())])?;
    assert_eq!(operator.wait_serves(revision)?, []);
    Ok(())
}

#[test]
fn the_metrics_say_what_is_served_and_how_fresh_it_is() -> Result<()> {
    let operator = Operator::start()?;
    let mounts = Mounts::of(&operator)?;
    let pod = Pod::start(&mounts)?;
    operator.wait_streams(1)?;
    ensure!(!pod.metrics()?.contains("mcp_gateway_config_info{"), "something is served");
    operator.publish(&[gateway(snapshot())])?;
    pod.wait_ready()?;
    let revision = operator.publish(&[backend("web", "ftp://nowhere")])?;
    operator.wait_serves(revision)?;
    let shows = |text: &str, wanted: &str| text.lines().any(|line| line == wanted);
    let text = pod.metrics()?;
    ensure!(shows(&text, "mcp_gateway_config_stream_connected 1"), "{text}");
    ensure!(shows(&text, &format!("mcp_gateway_config_revision {revision}")), "{text}");
    ensure!(shows(&text, "mcp_gateway_config_age_seconds 0"), "{text}");
    ensure!(shows(&text, "mcp_gateway_config_rejected 1"), "{text}");
    ensure!(shows(&text, "mcp_gateway_config_rejections_total 1"), "{text}");
    ensure!(
        text.contains("mcp_gateway_config_info{hash=\"") && text.contains("source=\"stream\"} 1"),
        "{text}"
    );
    operator.fall();
    pod.wait_log(|line| line["msg"] == "no configuration stream")?;
    ensure!(shows(&pod.metrics()?, "mcp_gateway_config_stream_connected 0"), "a stream is open");
    Ok(())
}
