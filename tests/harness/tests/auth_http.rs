//! Tokens on Streamable HTTP: who gets in, and what everybody else is told. Changes when requests are judged differently.

use anyhow::{Context as _, Result, ensure};
use bridge_tests::fake::{Act, Fake};
use bridge_tests::http::Response;
use bridge_tests::metrics::Metrics;
use bridge_tests::raw::{Request, answer};
use bridge_tests::tokens::{self, Issuer, NAME, claims, forged, now};
use bridge_tests::{Era, Gateway, TempDir, TestServer};
use serde_json::{Value, json};

const SECRET: &str = "a secret of at least 32 bytes, for tests";
const ENV: [(&str, &str); 1] = [("TOKEN_SECRET", SECRET)];

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

fn initialize() -> Request {
    let params = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "t", "version": "0" } });
    Request::post(json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params }).to_string())
}

/// One request of each kind that the endpoint takes.
fn requests() -> Result<[Request; 5]> {
    Ok([
        Request::modern("server/discover", &json!({}))?,
        initialize(),
        Request::legacy("0123456789abcdef0123456789abcdef", r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#),
        Request::post("").method("GET").with("Accept", "text/event-stream"),
        Request::post("").method("DELETE"),
    ])
}

/// Fails unless the answer is the refusal with this code and text.
fn denied(what: &str, response: &Response, code: &str, text: Option<&str>) -> Result<()> {
    let message = response.json().with_context(|| what.to_owned())?;
    let error = &message["error"];
    ensure!(
        response.head.status == 401 && error["code"] == -32002 && error["data"]["code"] == code,
        "{what}: {} {message}",
        response.head.status
    );
    ensure!(
        error["data"]["reason"] == "unauthorized" && error["data"]["retry"] == "pointless",
        "{what}: {message}"
    );
    let challenge = match text {
        None => r#"Bearer realm="mcp-gateway""#.to_owned(),
        Some(text) => {
            format!(r#"Bearer realm="mcp-gateway", error="invalid_token", error_description="{text}""#)
        }
    };
    let sent = response.head.header("www-authenticate");
    ensure!(sent == Some(&challenge), "{what}: {sent:?}");
    Ok(())
}

#[test]
fn tokens_of_either_kind_of_key_let_clients_of_both_generations_in() -> Result<()> {
    let (secret, rsa, dir) = (Issuer::secret(SECRET), Issuer::rsa()?, TempDir::new("keys")?);
    let file = dir.write("key.pem", rsa.public_pem()?)?;
    let fixture = TestServer::http(Era::Both)?;
    for (issuer, keys) in
        [(&secret, json!({ "secret_key_env": "TOKEN_SECRET" })), (&rsa, json!({ "public_key_path": file }))]
    {
        let config = tokens::config(keys).http("web", fixture.url());
        let gateway = Gateway::start_with(&config.to_yaml(), &[], &ENV)?;
        gateway.wait_backends("modern", &["web"])?;
        let token = issuer.token("alice")?;
        for scheme in ["Bearer", "bearer", "BEARER"] {
            let authorization = format!("{scheme} {token}");
            for path in ["/mcp", "/mcp/web"] {
                let url = gateway.url(path);
                let list = Request::modern("tools/list", &json!({}))?
                    .with("Authorization", &authorization)
                    .send(&url)?;
                ensure!(!answer(&list)?["result"]["tools"].as_array().context("tools")?.is_empty(), "{path}");
                let opened = initialize().with("Authorization", &authorization).send(&url)?;
                ensure!(
                    opened.head.status == 200 && opened.head.header("mcp-session-id").is_some(),
                    "{opened:?}"
                );
            }
        }
    }
    Ok(())
}

#[test]
fn every_kind_of_request_needs_a_token_and_health_pages_do_not() -> Result<()> {
    let fake = Fake::modern(|asked| Act::result(asked, &json!({})))?;
    let config = tokens::config(json!({ "secret_key_env": "TOKEN_SECRET" })).http("web", &fake.url());
    let gateway = Gateway::start_with(&config.to_yaml(), &[], &ENV)?;
    for request in requests()? {
        // Which namespaces exist is nobody's business without a token, either.
        for path in ["/mcp", "/mcp/web", "/mcp/nowhere"] {
            let response = request.send(&gateway.url(path))?;
            denied(&format!("{request:?} to {path}"), &response, "AUTH_MISSING_TOKEN", None)?;
        }
    }
    for page in ["/healthz", "/ready", "/health"] {
        ensure!(bridge_tests::http::get(&gateway.url(page))?.head.status == 200, "{page}");
    }
    ensure!(fake.asked().iter().all(|asked| asked.method() != "tools/call"), "nothing reaches a backend");
    Ok(())
}

#[test]
fn each_defect_is_refused_with_its_code_and_challenge() -> Result<()> {
    let (rsa, other, dir) = (Issuer::rsa()?, Issuer::rsa()?, TempDir::new("keys")?);
    let file = dir.write("key.pem", rsa.public_pem()?)?;
    let config = tokens::config(json!({ "public_key_path": file })).set("server", "port", 0.into());
    let (gateway, metrics) = Metrics::start(&config)?;
    let good = rsa.token("alice")?;
    let (_, signature) = good.rsplit_once('.').context("a signature")?;
    let plain = claims("root", &json!({}));
    let with = |changes: Value| rsa.token_with("alice", &changes).map(|token| bearer(&token));

    let unreadable = "the token cannot be read as one signed JWT of at most 4096 bytes";
    let algorithm = "the token is signed with an algorithm that is not accepted here";
    let signed = "the token is not signed with a key that is accepted here";
    let expired = "the token has expired; get a new one";
    let unusable = "the token's claims are not usable; `sub` and `exp` are needed";
    let none = json!({ "alg": "none", "typ": "JWT" });
    let cases = [
        ("garbage", bearer("garbage"), "AUTH_INVALID_TOKEN", Some(unreadable)),
        ("too long", bearer(&"a".repeat(5000)), "AUTH_INVALID_TOKEN", Some(unreadable)),
        ("cut", bearer(&good[..good.len() - 2]), "AUTH_INVALID_SIGNATURE", Some(signed)),
        ("no token", "Bearer ".to_owned(), "AUTH_MISSING_TOKEN", None),
        ("basic", "Basic YWxpY2U6c2VjcmV0".to_owned(), "AUTH_MISSING_TOKEN", None),
        ("alg none", bearer(&forged(&none, &plain, "")), "AUTH_UNSUPPORTED_ALGORITHM", Some(algorithm)),
        (
            "none, signed",
            bearer(&forged(&none, &plain, signature)),
            "AUTH_UNSUPPORTED_ALGORITHM",
            Some(algorithm),
        ),
        (
            "confusion: the public key as a secret",
            bearer(&Issuer::secret(rsa.public_pem()?).token("root")?),
            "AUTH_UNSUPPORTED_ALGORITHM",
            Some(algorithm),
        ),
        ("another key", bearer(&other.token("alice")?), "AUTH_INVALID_SIGNATURE", Some(signed)),
        (
            "other claims below a good signature",
            bearer(&forged(&json!({ "alg": "RS256", "typ": "JWT" }), &plain, signature)),
            "AUTH_INVALID_SIGNATURE",
            Some(signed),
        ),
        ("expired", with(json!({ "exp": now() - 1 }))?, "AUTH_TOKEN_EXPIRED", Some(expired)),
        ("no exp", with(json!({ "exp": null }))?, "AUTH_INVALID_CLAIMS", Some(unusable)),
        ("no sub", with(json!({ "sub": null }))?, "AUTH_INVALID_CLAIMS", Some(unusable)),
        (
            "not yet",
            with(json!({ "nbf": now() + 600 }))?,
            "AUTH_TOKEN_NOT_YET_VALID",
            Some("the token is not valid yet"),
        ),
        (
            "issuer",
            with(json!({ "iss": "somebody" }))?,
            "AUTH_INVALID_ISSUER",
            Some("the token's issuer is not accepted here"),
        ),
        (
            "audience",
            with(json!({ "aud": ["other", "another"] }))?,
            "AUTH_INVALID_AUDIENCE",
            Some("the token is meant for another audience"),
        ),
    ];
    for (what, authorization, code, text) in &cases {
        for request in requests()? {
            let response = request.with("Authorization", authorization).send(&gateway.url("/mcp"))?;
            denied(what, &response, code, *text)?;
        }
    }
    let twice = Request::modern("server/discover", &json!({}))?
        .with("Authorization", &bearer(&good))
        .and("Authorization", &bearer(&rsa.token("bob")?));
    denied("two tokens", &twice.send(&gateway.url("/mcp"))?, "AUTH_INVALID_TOKEN", Some(unreadable))?;

    let requests = i64::try_from(requests()?.len())?;
    for (label, count) in [
        ("invalid_token", 2 * requests + 1),
        ("missing_token", 2 * requests),
        ("unsupported_algorithm", 3 * requests),
        ("invalid_signature", 3 * requests),
        ("token_expired", requests),
        ("token_not_yet_valid", requests),
        ("invalid_claims", 2 * requests),
        ("invalid_issuer", requests),
        ("invalid_audience", requests),
    ] {
        let series = format!(r#"mcp_gateway_auth_failures_total{{reason="{label}"}}"#);
        ensure!(metrics.value(&series)? == count, "{series} {}", metrics.value(&series)?);
    }
    let still = Request::modern("server/discover", &json!({}))?.with("Authorization", &bearer(&good));
    ensure!(still.send(&gateway.url("/mcp"))?.head.status == 200, "the gateway still serves");
    Ok(())
}

#[test]
fn an_audience_among_several_and_no_required_issuer() -> Result<()> {
    let keys = json!({ "secret_key_env": "TOKEN_SECRET", "issuer": "", "audience": "here" });
    let gateway = Gateway::start_with(&tokens::config(keys).to_yaml(), &[], &ENV)?;
    let issuer = Issuer::secret(SECRET);
    let discover = |changes: Value| -> Result<u16> {
        let token = issuer.token_with("alice", &changes)?;
        let request = Request::modern("server/discover", &json!({}))?.with("Authorization", &bearer(&token));
        Ok(request.send(&gateway.url("/mcp"))?.head.status)
    };
    ensure!(discover(json!({ "aud": ["there", "here"], "iss": "anybody" }))? == 200);
    ensure!(discover(json!({ "aud": "here", "iss": null }))? == 200);
    ensure!(discover(json!({ "aud": NAME }))? == 401);
    Ok(())
}
