//! Tokens of WebSocket clients: on the upgrade, and in each message. Changes when such clients are judged differently.

use anyhow::{Context as _, Result, ensure};
use bridge_tests::peer::Wire as _;
use bridge_tests::tokens::{self, Issuer};
use bridge_tests::{Config, Gateway, Peer, WebSocket};
use serde_json::{Value, json};

const SECRET: &str = "a secret of at least 32 bytes, for tests";

fn gateway(config: &Config) -> Result<Gateway> {
    Gateway::start_with(&config.to_yaml(), &[], &[("TOKEN_SECRET", SECRET)])
}

fn config() -> Config {
    tokens::config(json!({ "secret_key_env": "TOKEN_SECRET" }))
}

fn connect(gateway: &Gateway, token: &str) -> Result<std::result::Result<WebSocket, u16>> {
    let bearer = format!("Bearer {token}");
    let opened = WebSocket::open(&gateway.url("/ws"), &[("Authorization", &bearer)])?;
    Ok(opened.map_err(|refused| refused.head.status))
}

#[test]
fn the_upgrade_needs_a_token() -> Result<()> {
    let (gateway, issuer) = (gateway(&config())?, Issuer::secret(SECRET));
    let refused = WebSocket::open(&gateway.url("/ws"), &[])?.err().context("refused")?;
    ensure!(refused.head.status == 401, "{:?}", refused.head);
    ensure!(refused.head.header("www-authenticate").is_some(), "{:?}", refused.head);
    for bad in [issuer.token_with("alice", &json!({ "exp": 1 }))?, Issuer::secret("another").token("alice")?]
    {
        ensure!(connect(&gateway, &bad)?.err() == Some(401), "{bad}");
    }
    let mut client = Peer::new(connect(&gateway, &issuer.token("alice")?)?.ok().context("accepted")?);
    ensure!(client.call("ping", &json!({}))? == json!({}), "served");
    Ok(())
}

#[test]
fn with_per_message_tokens_each_envelope_needs_one_of_the_same_party() -> Result<()> {
    let gateway = gateway(&config().set("auth", "per_message_auth", json!(true)))?;
    let issuer = Issuer::secret(SECRET);
    let mut socket = connect(&gateway, &issuer.token("alice")?)?.ok().context("accepted")?;
    let mut ask = |token: Option<&str>| -> Result<Value> {
        let mut envelope =
            json!({ "id": 1, "mcp_payload": { "jsonrpc": "2.0", "id": 1, "method": "tools/list" } });
        if let Some(token) = token {
            envelope["auth_token"] = token.into();
        }
        socket.send(&envelope.to_string())?;
        let answer: Value = serde_json::from_str(&socket.read()?.context("an answer")?)?;
        Ok(answer["mcp_payload"].clone())
    };
    let alice = issuer.token("alice")?;
    ensure!(ask(Some(&alice))?["result"]["tools"].is_array(), "her own");
    ensure!(ask(Some(&format!("Bearer {alice}")))?["result"].is_object(), "with the scheme word");
    for (token, code) in [(None, "AUTH_MISSING_TOKEN"), (Some(issuer.token("bob")?), "AUTH_OTHER_PRINCIPAL")]
    {
        let refused = ask(token.as_deref())?;
        ensure!(refused["error"]["code"] == -32002, "{refused}");
        ensure!(refused["error"]["data"]["code"] == code, "{refused}");
    }
    ensure!(ask(Some(&alice))?["result"].is_object(), "the connection stays");
    Ok(())
}
