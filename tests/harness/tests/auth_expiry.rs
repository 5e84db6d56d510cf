//! Open streams end with the token that opened them. Changes when something else ends them, or they may outlive it.

use anyhow::{Context as _, Result, ensure};
use bridge_tests::binary::kind;
use bridge_tests::http::Url;
use bridge_tests::peer::Wire as _;
use bridge_tests::raw::Request;
use bridge_tests::tokens::{self, Issuer, now};
use bridge_tests::websocket::CloseCode;
use bridge_tests::{Binary, Config, Era, Exchange, Gateway, ModernClient, SseClient, TestServer, WebSocket};
use serde_json::{Value, json};

const SECRET: &str = "a secret of at least 32 bytes, for tests";
const EXPIRED: &str = "the token has expired; get a new one";
/// Enough to open everything.
const LIFE: u64 = 6;

/// A gateway that wants tokens, on every transport, and keeps no stream open by comments.
fn gateway(change: impl Fn(Config) -> Config) -> Result<Gateway> {
    let config = tokens::config(json!({ "secret_key_env": "TOKEN_SECRET" }))
        .set("limits", "keep_alive", json!("10m"))
        .set("server", "protocols", json!(["http", "websocket", "sse", "tcp"]))
        .stdio("fixture", &TestServer::stdio(Era::Both)?);
    let gateway = Gateway::start_with(&change(config).to_yaml(), &[], &[("TOKEN_SECRET", SECRET)])?;
    gateway.wait_backends("legacy", &["fixture"])?;
    gateway.wait_backends("modern", &["fixture"])?;
    Ok(gateway)
}

/// A token that expires soon, as a header, and when.
fn short() -> Result<(String, u64)> {
    let expires = now() + LIFE;
    let token = Issuer::secret(SECRET).token_with("alice", &json!({ "exp": expires }))?;
    Ok((token, expires))
}

/// Waits for the end, which must not come before the token's.
fn ends_with_its_token(expires: u64, what: &str, wait: impl FnOnce() -> Result<()>) -> Result<()> {
    wait().with_context(|| what.to_owned())?;
    ensure!(now() >= expires, "{what} ended {} s early", expires - now());
    Ok(())
}

fn listen(gateway: &Gateway, path: &str, bearer: &str) -> Result<Exchange> {
    let mut client = ModernClient::new(&gateway.url(path), &json!({}))?;
    client.set_header("Authorization", bearer);
    Ok(client.listen(&json!({ "toolsListChanged": true }))?.1)
}

/// The notification stream of a new session.
fn notifications(gateway: &Gateway, bearer: &str) -> Result<Exchange> {
    let params = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "t", "version": "0" } });
    let initialize = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params });
    let request = Request::post(initialize.to_string()).with("Authorization", bearer);
    let opened = request.send(&gateway.url("/mcp"))?;
    let session = opened.head.header("mcp-session-id").with_context(|| format!("{opened:?}"))?;
    let headers = [("Accept", "text/event-stream"), ("Authorization", bearer), ("Mcp-Session-Id", session)];
    let mut stream = Exchange::start("GET", &Url::parse(&gateway.url("/mcp"))?, &headers, b"")?;
    ensure!(stream.is_stream()?);
    Ok(stream)
}

#[test]
fn each_kind_of_open_stream_ends_with_the_token_that_opened_it() -> Result<()> {
    let gateway = gateway(|config| config)?;
    let (token, expires) = short()?;
    let bearer = format!("Bearer {token}");
    let mut stream = notifications(&gateway, &bearer)?;
    let listens = [listen(&gateway, "/mcp", &bearer)?, listen(&gateway, "/mcp/fixture", &bearer)?];
    let mut sse = SseClient::connect_with(&gateway.url("/sse"), &[("Authorization", &bearer)])?;
    let opened = WebSocket::open(&gateway.url("/ws"), &[("Authorization", &bearer)])?;
    let mut websocket = opened.ok().context("accepted")?;
    let mut tcp = Binary::g(gateway.wait_listener("tcp")?)?;
    tcp.negotiate()?;
    ensure!(tcp.initialize(&token)?["result"].is_object());

    for mut listen in listens {
        ends_with_its_token(expires, "a listen", || {
            let last = listen.next_message()?.context("a reason")?;
            ensure!(last["error"]["data"]["code"] == "AUTH_TOKEN_EXPIRED", "{last}");
            ensure!(listen.next_message()?.is_none());
            Ok(())
        })?;
    }
    ends_with_its_token(expires, "a notification stream", || {
        while let Some(event) = stream.next_event()? {
            // The lists may have become known while the session was opened.
            let may_come = |data: &String| data.is_empty() || data.contains("/list_changed\"");
            ensure!(event.data.as_ref().is_none_or(may_come), "{event:?}");
        }
        Ok(())
    })?;
    ends_with_its_token(expires, "an HTTP+SSE stream", || {
        ensure!(sse.next_event()?.is_none());
        Ok(())
    })?;
    ends_with_its_token(expires, "a WebSocket", || {
        ensure!(websocket.read()?.is_none());
        ensure!(
            websocket.closed() == Some(&(CloseCode::Policy, EXPIRED.to_owned())),
            "{:?}",
            websocket.closed()
        );
        Ok(())
    })?;
    ends_with_its_token(expires, "a TCP connection", || {
        ensure!(tcp.expect(kind::ERROR)?.payload == b"Token expired");
        tcp.expect_end()
    })
}

#[test]
fn a_call_that_was_begun_with_a_good_token_is_answered_before_its_connection_ends() -> Result<()> {
    let gateway = gateway(|config| config)?;
    let (token, expires) = short()?;
    let opened =
        WebSocket::open(&gateway.url("/mcp/fixture"), &[("Authorization", &format!("Bearer {token}"))])?;
    let mut client = bridge_tests::Peer::new(opened.ok().context("accepted")?);
    client.initialize(&json!({}))?;
    let ms = (LIFE + 2) * 1000;
    let id = client.start("tools/call", &json!({ "name": "sleep", "arguments": { "ms": ms } }))?;
    let answer = client.answer(&id)?;
    ensure!(answer["result"]["isError"] != true && now() >= expires, "{answer}");
    ensure!(client.wire().read()?.is_none());
    ensure!(client.wire().closed().is_some_and(|(code, _)| *code == CloseCode::Policy));
    Ok(())
}

#[test]
fn a_connection_lives_on_with_the_tokens_of_its_messages() -> Result<()> {
    let gateway = gateway(|config| config.set("auth", "per_message_auth", json!(true)))?;
    let (token, expires) = short()?;
    let connect = || -> Result<WebSocket> {
        let opened = WebSocket::open(&gateway.url("/ws"), &[("Authorization", &format!("Bearer {token}"))])?;
        opened.ok().context("accepted")
    };
    let (mut renewed, mut other) = (connect()?, connect()?);
    let fresh = Issuer::secret(SECRET).token("alice")?;
    let mut ask = || -> Result<Value> {
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" });
        renewed.send(&json!({ "id": 1, "auth_token": fresh, "mcp_payload": message }).to_string())?;
        Ok(serde_json::from_str(&renewed.read()?.context("an answer")?)?)
    };
    ensure!(ask()?["mcp_payload"]["result"].is_object());
    ends_with_its_token(expires, "the one without another token", || {
        ensure!(other.read()?.is_none());
        Ok(())
    })?;
    let answer = ask()?;
    ensure!(answer["mcp_payload"]["result"].is_object(), "{answer}");
    Ok(())
}
