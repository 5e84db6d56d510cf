//! Sessions belong to whoever opened them. Changes when sessions are bound to something else.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use bridge_tests::http::Response;
use bridge_tests::metrics::pause;
use bridge_tests::raw::{Request, answer};
use bridge_tests::tokens::{self, Issuer, now};
use bridge_tests::{Era, Gateway, PATIENCE, TestServer};
use serde_json::{Value, json};

const SECRET: &str = "a secret of at least 32 bytes, for tests";

/// A session that was opened with one token and is used with others.
struct Session<'a> {
    gateway: &'a Gateway,
    id: String,
}

impl<'a> Session<'a> {
    fn open(gateway: &'a Gateway, token: &str) -> Result<Self> {
        let params = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "t", "version": "0" } });
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params });
        let request = Request::post(message.to_string()).with("Authorization", &format!("Bearer {token}"));
        let response = request.send(&gateway.url("/mcp"))?;
        let id = response.head.header("mcp-session-id").with_context(|| format!("{response:?}"))?.to_owned();
        Ok(Self { gateway, id })
    }

    fn send(&self, request: Request, token: Option<&str>) -> Result<Response> {
        let request = request.with("Mcp-Session-Id", &self.id).with("MCP-Protocol-Version", "2025-11-25");
        let request = match token {
            Some(token) => request.with("Authorization", &format!("Bearer {token}")),
            None => request,
        };
        request.send(&self.gateway.url("/mcp"))
    }

    fn ping(&self, token: Option<&str>) -> Result<Response> {
        self.send(Request::post(r#"{"jsonrpc":"2.0","id":2,"method":"ping"}"#), token)
    }
}

fn gateway(keys: Value) -> Result<Gateway> {
    let server = TestServer::stdio(Era::Both)?;
    let config = tokens::config(keys).stdio("child", &server);
    Gateway::start_with(&config.to_yaml(), &[], &[("TOKEN_SECRET", SECRET)])
}

#[test]
fn a_session_in_other_hands_is_an_unknown_session() -> Result<()> {
    let gateway = gateway(json!({ "secret_key_env": "TOKEN_SECRET" }))?;
    let issuer = Issuer::secret(SECRET);
    let (alice, mallory) = (issuer.token("alice")?, issuer.token("mallory")?);
    let session = Session::open(&gateway, &alice)?;
    let stranger = Session { gateway: &gateway, id: "0".repeat(32) };
    let requests = [
        Request::post(r#"{"jsonrpc":"2.0","id":2,"method":"ping"}"#),
        Request::post(r#"{"jsonrpc":"2.0","id":"a","method":"tools/list"}"#),
        Request::post(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#),
        Request::post(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#),
        Request::post("").method("GET").with("Accept", "text/event-stream"),
        Request::post("").method("GET").with("Accept", "text/event-stream").with("Last-Event-ID", "0-1"),
        Request::post("").method("DELETE"),
    ];
    for request in requests {
        let stolen = session.send(request.clone(), Some(&mallory))?;
        ensure!(stolen.head.status == 404, "{request:?}: {stolen:?}");
        // To the thief it looks like a session that never existed.
        let unknown = stranger.send(request.clone(), Some(&mallory))?;
        ensure!((unknown.head.status, unknown.body) == (stolen.head.status, stolen.body), "{request:?}");
        let without = session.send(request.clone(), None)?;
        ensure!(without.head.status == 401, "{request:?}: {without:?}");
    }
    // None of this has harmed its owner.
    ensure!(session.ping(Some(&alice))?.head.status == 200);
    let list =
        session.send(Request::post(r#"{"jsonrpc":"2.0","id":3,"method":"tools/list"}"#), Some(&alice))?;
    ensure!(answer(&list)?["result"]["tools"].is_array());
    ensure!(session.send(Request::post("").method("DELETE"), Some(&alice))?.head.status == 204);
    Ok(())
}

#[test]
fn a_fresh_token_continues_a_session_whose_first_one_has_expired() -> Result<()> {
    let gateway = gateway(json!({ "secret_key_env": "TOKEN_SECRET" }))?;
    let issuer = Issuer::secret(SECRET);
    let short = issuer.token_with("alice", &json!({ "exp": now() + 3 }))?;
    let session = Session::open(&gateway, &short)?;
    let deadline = Instant::now() + PATIENCE;
    let refused = loop {
        let response = session.ping(Some(&short))?;
        if response.head.status != 200 {
            break response;
        }
        ensure!(Instant::now() < deadline, "the token never expires");
        pause(std::time::Duration::from_millis(50));
    };
    ensure!(
        refused.head.status == 401 && refused.json()?["error"]["data"]["code"] == "AUTH_TOKEN_EXPIRED",
        "{refused:?}"
    );
    let fresh = issuer.token_with("alice", &json!({ "scope": "more" }))?;
    ensure!(session.ping(Some(&fresh))?.head.status == 200);
    Ok(())
}

#[test]
fn the_same_name_at_another_issuer_is_somebody_else() -> Result<()> {
    let gateway = gateway(json!({ "secret_key_env": "TOKEN_SECRET", "issuer": "" }))?;
    let issuer = Issuer::secret(SECRET);
    let here = issuer.token_with("alice", &json!({ "iss": "here" }))?;
    let session = Session::open(&gateway, &here)?;
    for other in [json!({ "iss": "there" }), json!({ "iss": null })] {
        let response = session.ping(Some(&issuer.token_with("alice", &other)?))?;
        ensure!(response.head.status == 404, "{other}: {response:?}");
    }
    ensure!(session.ping(Some(&here))?.head.status == 200);
    Ok(())
}
