//! Tokens and keys stay where they belong: neither in a log nor at a backend. Changes when secrets can leak elsewhere.

use anyhow::{Result, ensure};
use bridge_tests::fake::{Act, Fake};
use bridge_tests::raw::{Request, answer};
use bridge_tests::tokens::{self, Issuer};
use bridge_tests::{Backend, Gateway, PATIENCE, http};
use serde_json::{Value, json};

const SECRET: &str = "a secret of at least 32 bytes, for tests";
const COOKIE: &str = "session=only-between-client-and-gateway";

fn authorized(request: Request, token: &str) -> Request {
    request.with("Authorization", &format!("Bearer {token}")).with("Cookie", COOKIE)
}

/// Initializes a session at `path` and calls the tool there.
fn legacy_call(gateway: &Gateway, path: &str, tool: &str, token: &str) -> Result<Value> {
    let url = gateway.url(path);
    let params = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "t", "version": "0" } });
    let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params });
    let opened = authorized(Request::post(message.to_string()), token).send(&url)?;
    let id = opened.head.header("mcp-session-id").unwrap_or_default().to_owned();
    let message = json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": { "name": tool } });
    let called = authorized(Request::legacy(&id, message.to_string()), token).send(&url)?;
    let listened = Request::legacy(&id, "").method("DELETE");
    authorized(listened, token).send(&url)?;
    answer(&called)
}

fn done(asked: &bridge_tests::fake::Asked) -> Act {
    Act::result(asked, &json!({ "resultType": "complete", "content": [] }))
}

#[test]
fn a_backend_sees_nothing_of_the_client_s_credentials() -> Result<()> {
    let (legacy, modern) = (Fake::legacy(done)?, Fake::modern(done)?);
    let own = json!({ "Authorization": "Bearer of-the-gateway" });
    let config = tokens::config(json!({ "secret_key_env": "TOKEN_SECRET" }))
        .backend(Backend::http("legacy", &legacy.url()).era("legacy"))
        .backend(Backend::http("modern", &modern.url()).era("modern").config("headers", own));
    let gateway = Gateway::start_with(&config.to_yaml(), &[], &[("TOKEN_SECRET", SECRET)])?;
    gateway.wait_backends("legacy", &["legacy"])?;
    gateway.wait_backends("modern", &["modern"])?;
    let token = Issuer::secret(SECRET).token("alice")?;
    // Both generations see both backends on the merged endpoint, so the name says which is meant.
    for (path, tool) in [("/mcp/legacy", "work"), ("/mcp", "legacy__work")] {
        let called = legacy_call(&gateway, path, tool, &token)?;
        ensure!(called["result"]["content"].is_array(), "{path}: {called}");
    }
    for (path, tool) in [("/mcp/modern", "work"), ("/mcp", "modern__work")] {
        let call = authorized(Request::modern("tools/call", &json!({ "name": tool }))?, &token);
        let called = answer(&call.send(&gateway.url(path))?)?;
        ensure!(called["result"]["content"].is_array(), "{path}: {called}");
    }
    for (fake, allowed) in [(&legacy, None), (&modern, Some("Bearer of-the-gateway"))] {
        ensure!(fake.asked().iter().filter(|asked| asked.method() == "tools/call").count() == 2);
        for asked in fake.asked() {
            ensure!(asked.header("authorization") == allowed, "{asked:?}");
            let shown = format!("{asked:?}");
            ensure!(
                !shown.contains(&token) && !shown.contains("only-between") && !shown.contains("alice"),
                "{shown}"
            );
            ensure!(asked.header("cookie").is_none(), "{asked:?}");
        }
    }
    Ok(())
}

#[test]
fn the_log_holds_no_token_and_no_secret_and_children_do_not_see_it() -> Result<()> {
    let fake = Fake::legacy(done)?;
    let config = tokens::config(json!({ "secret_key_env": "TOKEN_SECRET" }))
        .http("web", &fake.url())
        .backend(Backend::stdio("curious", &["sh", "-c", "env >&2; exec cat >/dev/null"]).era("legacy"));
    let env = [("TOKEN_SECRET", SECRET)];
    let mut gateway = Gateway::start_with(&config.to_yaml(), &["--log-level", "trace"], &env)?;
    gateway.wait_backends("legacy", &["web"])?;
    gateway.wait_log(PATIENCE, |line| line["backend"] == "curious" && line.to_string().contains("PATH="))?;
    let issuer = Issuer::secret(SECRET);
    let good = issuer.token("alice")?;
    legacy_call(&gateway, "/mcp/web", &good)?;
    let tokens = [
        good,
        issuer.token_with("alice", &json!({ "exp": 1 }))?,
        issuer.token_with("alice", &json!({ "aud": "elsewhere" }))?,
        Issuer::secret("another").token("alice")?,
        "not-a-token-at-all".to_owned(),
        format!("{}{}", "x".repeat(5000), "very-long"),
    ];
    for token in &tokens {
        authorized(Request::modern("server/discover", &json!({}))?, token).send(&gateway.url("/mcp"))?;
        // In a query string it is nothing to us; it must not be echoed or logged either.
        http::get(&gateway.url(&format!("/mcp?access_token={token}")))?;
    }
    gateway.wait_log(PATIENCE, |line| line["code"] == "AUTH_INVALID_AUDIENCE")?;
    gateway.stop(PATIENCE)?;
    let log = gateway.process().log().join("\n");
    ensure!(log.contains("AUTH_INVALID_TOKEN") && log.contains("stopped"), "the log is there");
    for token in &tokens {
        // Neither whole nor its signature alone.
        let end = token.get(token.len().saturating_sub(12)..).unwrap_or(token);
        ensure!(!log.contains(end), "the log holds {end}");
    }
    for secret in [SECRET, "TOKEN_SECRET=", COOKIE] {
        ensure!(!log.contains(secret), "the log holds {secret}");
    }
    Ok(())
}
