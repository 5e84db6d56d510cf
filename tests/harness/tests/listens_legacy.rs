//! Listens of 2026-07-28 clients at servers that know subscriptions only: how few conversations they take, and what each of
//! them hears. Changes when such servers are watched differently.

use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result, ensure};
use bridge_tests::fake::{Act, Fake, Streams, response};
use bridge_tests::tokens::{self, Issuer};
use bridge_tests::{Backend, Config, Era, Exchange, Gateway, ModernClient, PATIENCE, TestServer};
use serde_json::{Value, json};

const SECRET: &str = "a secret of at least 32 bytes, for tests";

/// A server that numbers its sessions. Tests write to the notification stream of a session by its number.
fn server() -> Result<(Fake, Streams)> {
    let (sessions, streams) = (AtomicUsize::new(0), Streams::default());
    let open = streams.clone();
    let fake = Fake::start(move |asked| match (asked.http_method.as_str(), asked.method()) {
        ("GET", _) => {
            let id = asked.header("mcp-session-id").unwrap_or_default();
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
            Act::SendAndStream(head.as_bytes().to_vec(), open.clone(), id.parse().unwrap_or_default())
        }
        (_, "initialize") => {
            let result = json!({
                "protocolVersion": "2025-11-25", "capabilities": { "resources": { "subscribe": true } },
                "serverInfo": { "name": "fake", "version": "0" },
            });
            let message = json!({ "jsonrpc": "2.0", "id": asked.message["id"], "result": result });
            let number = sessions.fetch_add(1, Ordering::SeqCst).to_string();
            let headers = [("Content-Type", "application/json"), ("Mcp-Session-Id", &*number)];
            Act::Send(response(200, &headers, &message.to_string()))
        }
        (_, "resources/list") => Act::result(asked, &json!({ "resources": [] })),
        (_, "resources/templates/list") => Act::result(asked, &json!({ "resourceTemplates": [] })),
        (_, "resources/subscribe" | "resources/unsubscribe") => Act::result(asked, &json!({})),
        _ => Act::reply(202, "text/plain", ""),
    })?;
    Ok((fake, streams))
}

fn start(backend: Backend) -> Result<Gateway> {
    let config = Config::new().set("limits", "keep_alive", json!("10m"));
    let gateway = Gateway::start(&config.backend(backend.era("legacy")))?;
    gateway.wait_backends("legacy", &["fixture"])?;
    Ok(gateway)
}

fn listen(client: &mut ModernClient, uris: &[&str]) -> Result<Exchange> {
    let filter = json!({ "resourceSubscriptions": uris });
    let (acknowledged, stream) = client.listen(&filter)?;
    ensure!(acknowledged["params"]["notifications"] == filter, "{acknowledged}");
    Ok(stream)
}

fn hears(stream: &mut Exchange, uri: &str) -> Result<()> {
    let update = stream.next_message()?.context("the listen ended")?;
    ensure!(update["method"] == "notifications/resources/updated", "{update}");
    ensure!(update["params"]["uri"] == uri, "{update} instead of {uri}");
    Ok(())
}

fn updated(uri: &str) -> String {
    json!({ "jsonrpc": "2.0", "method": "notifications/resources/updated", "params": { "uri": uri } })
        .to_string()
}

/// The resources that a server was asked about, in order.
fn asked(server: &Fake, method: &str) -> Vec<Value> {
    let asked = server.asked().into_iter().filter(|asked| asked.method() == method);
    asked.map(|asked| asked.message["params"]["uri"].clone()).collect()
}

#[test]
fn listens_of_one_client_share_a_session_and_its_subscriptions() -> Result<()> {
    let (server, streams) = server()?;
    let gateway = start(Backend::http("fixture", &server.url()))?;
    let mut client = ModernClient::new(&gateway.url("/mcp/fixture"), &json!({}))?;
    let mut first = listen(&mut client, &["a:x"])?;
    let mut second = listen(&mut client, &["a:x", "a:y"])?;
    let mut third = listen(&mut client, &["a:y"])?;
    assert_eq!(asked(&server, "resources/subscribe"), [json!("a:x"), json!("a:y")]);
    assert_eq!(asked(&server, "initialize").len(), 2, "the catalogue's, and one for all listens");

    streams.push(1, "message", &updated("a:x"));
    hears(&mut first, "a:x")?;
    hears(&mut second, "a:x")?;
    streams.push(1, "message", &updated("a:y"));
    hears(&mut second, "a:y")?;
    hears(&mut third, "a:y")?;

    // Each resource is watched as long as somebody wants it, and the session as long as anybody does.
    drop((first, second));
    server.wait_asked(|asked| asked.method() == "resources/unsubscribe")?;
    assert_eq!(asked(&server, "resources/unsubscribe"), [json!("a:x")]);
    streams.push(1, "message", &updated("a:y"));
    hears(&mut third, "a:y")?;
    drop(third);
    let ended = server.wait_asked(|asked| asked.http_method == "DELETE")?;
    assert_eq!(ended.header("mcp-session-id"), Some("1"));

    // Whoever comes then gets another.
    let mut fourth = listen(&mut client, &["a:x"])?;
    streams.push(2, "message", &updated("a:x"));
    hears(&mut fourth, "a:x")
}

/// How many children were started so far.
fn children(gateway: &mut Gateway) -> usize {
    let log = gateway.process().log();
    let lines = log.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["msg"] == "started" && line["backend"] == "fixture").count()
}

#[test]
fn listens_of_one_client_share_a_child_and_those_of_another_do_not() -> Result<()> {
    let issuer = Issuer::secret(SECRET);
    let config = tokens::config(json!({ "secret_key_env": "TOKEN_SECRET" }));
    let backend = Backend::stdio("fixture", &TestServer::stdio(Era::Legacy)?).era("legacy");
    let config = config.backend(backend).to_yaml();
    let mut gateway = Gateway::start_with(&config, &[], &[("TOKEN_SECRET", SECRET)])?;
    gateway.wait_backends("legacy", &["fixture"])?;
    assert_eq!(children(&mut gateway), 1, "the catalogue's");
    let url = gateway.url("/mcp/fixture");
    let client = |name: &str| -> Result<ModernClient> {
        let mut client = ModernClient::new(&url, &json!({}))?;
        client.set_header("Authorization", &format!("Bearer {}", issuer.token(name)?));
        Ok(client)
    };
    let mut alice = client("alice")?;
    let mut open = Vec::new();
    for _ in 0..5 {
        open.push(listen(&mut alice, &["test://watched-resource"])?);
    }
    assert_eq!(children(&mut gateway), 2, "one for five listens");
    let other = listen(&mut client("bob")?, &["test://watched-resource"])?;
    assert_eq!(children(&mut gateway), 3, "one for somebody else");
    drop((open, other));
    let ended = std::cell::Cell::new(0);
    let both = |line: &Value| {
        ended.set(ended.get() + usize::from(line["msg"] == "child ended"));
        ended.get() == 2
    };
    gateway.wait_log(PATIENCE, both).map(drop)
}
