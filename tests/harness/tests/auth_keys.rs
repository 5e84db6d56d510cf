//! Where keys come from, and what happens when they do not. Changes when keys are loaded differently.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use bridge_tests::gateway::binary;
use bridge_tests::process::Signal;
use bridge_tests::raw::Request;
use bridge_tests::tokens::{self, Issuer};
use bridge_tests::{Config, Gateway, PATIENCE, TempDir, http};
use serde_json::{Value, json};

const REFUSED: &str = "configuration refused; the running one stays";

/// Status and `error.data.code` of a request with this token.
fn discover(gateway: &Gateway, token: &str) -> Result<(u16, Value)> {
    let request =
        Request::modern("server/discover", &json!({}))?.with("Authorization", &format!("Bearer {token}"));
    let response = request.send(&gateway.url("/mcp"))?;
    Ok((response.head.status, response.json()?["error"]["data"]["code"].clone()))
}

fn accepts(gateway: &Gateway, token: &str) -> Result<()> {
    let answer = discover(gateway, token)?;
    ensure!(answer == (200, Value::Null), "{answer:?}");
    Ok(())
}

fn refuses(gateway: &Gateway, token: &str, code: &str) -> Result<()> {
    let answer = discover(gateway, token)?;
    ensure!(answer == (401, json!(code)), "{answer:?}");
    Ok(())
}

/// Waits for the `times`-th line with this message that says `words`.
fn wait_line(gateway: &Gateway, msg: &str, words: &str, times: usize) -> Result<()> {
    let seen = std::cell::Cell::new(0);
    let found = gateway.wait_log(PATIENCE, |line| {
        seen.set(seen.get() + usize::from(line["msg"] == msg && line.to_string().contains(words)));
        seen.get() == times
    });
    found.map(drop)
}

#[test]
fn a_reload_takes_new_keys_and_a_bad_one_keeps_the_old() -> Result<()> {
    let (old, new, dir) = (Issuer::rsa()?, Issuer::rsa()?, TempDir::new("keys")?);
    let file = dir.write("key.pem", old.public_pem()?)?;
    let config = tokens::config(json!({ "public_key_path": file }));
    let mut gateway = Gateway::start(&config)?;
    let (by_old, by_new) = (old.token("alice")?, new.token("alice")?);
    accepts(&gateway, &by_old)?;
    refuses(&gateway, &by_new, "AUTH_INVALID_SIGNATURE")?;

    for (times, (content, words)) in
        [("", "the file is empty"), ("-----BEGIN CERTIFICATE-----\n", "it holds a certificate")]
            .into_iter()
            .enumerate()
    {
        dir.write("key.pem", content)?;
        gateway.process().signal(Signal::HUP)?;
        wait_line(&gateway, REFUSED, words, 1).with_context(|| format!("reload {times}"))?;
        accepts(&gateway, &by_old)?;
    }
    std::fs::remove_file(&file)?;
    gateway.process().signal(Signal::HUP)?;
    wait_line(&gateway, REFUSED, "cannot read the public key", 1)?;
    accepts(&gateway, &by_old)?;

    dir.write("key.pem", new.public_pem()?)?;
    gateway.process().signal(Signal::HUP)?;
    wait_line(&gateway, "configuration unchanged", "", 1)?;
    accepts(&gateway, &by_new)?;
    // Also not from what was remembered of it.
    refuses(&gateway, &by_old, "AUTH_INVALID_SIGNATURE")
}

#[test]
fn another_policy_takes_effect_by_reload_or_not_at_all() -> Result<()> {
    let env =
        [("SECRET_A", "a secret of at least 32 bytes: a"), ("SECRET_B", "a secret of at least 32 bytes: b")];
    let [by_a, by_b] = env.map(|(_, secret)| Issuer::secret(secret).token("alice"));
    let (by_a, by_b) = (by_a?, by_b?);
    let config = |name: &str| tokens::config(json!({ "secret_key_env": name }));
    let gateway = Gateway::start_with(&config("SECRET_A").to_yaml(), &[], &env)?;
    accepts(&gateway, &by_a)?;
    gateway.rewrite_config(&config("SECRET_C").to_yaml())?;
    wait_line(&gateway, REFUSED, "names is not set or empty", 1)?;
    accepts(&gateway, &by_a)?;
    gateway.rewrite_config(&config("SECRET_B").to_yaml())?;
    wait_line(&gateway, "configuration loaded", "", 1)?;
    accepts(&gateway, &by_b)?;
    refuses(&gateway, &by_a, "AUTH_INVALID_SIGNATURE")?;
    // A policy that is not available closes the gateway; it never opens it.
    gateway.rewrite_config(&Config::new().set("auth", "provider", "oauth2".into()).to_yaml())?;
    wait_line(&gateway, "configuration loaded", "", 2)?;
    refuses(&gateway, &by_b, "AUTH_POLICY_UNUSABLE")
}

#[test]
fn a_gateway_that_starts_without_its_keys_lets_nobody_in() -> Result<()> {
    let (issuer, dir) = (Issuer::rsa()?, TempDir::new("keys")?);
    let file = dir.path().join("key.pem");
    let token = issuer.token("alice")?;
    let empty = Issuer::secret("").token("root")?;
    for (keys, words) in [
        (json!({ "secret_key_env": "SECRET_NOWHERE" }), "names is not set or empty"),
        (json!({ "secret_key_env": "SECRET_EMPTY" }), "names is not set or empty"),
        (json!({ "public_key_path": file }), "cannot read the public key"),
        // One of two is not the policy.
        (json!({ "public_key_path": file, "secret_key_env": "SECRET_GOOD" }), "cannot read the public key"),
        (json!({}), "has no key"),
    ] {
        let env =
            [("SECRET_EMPTY", ""), ("SECRET_GOOD", "x"), ("JWT_SECRET_KEY", ""), ("MCP_JWT_SECRET_KEY", "")];
        let mut gateway = Gateway::start_with(&tokens::config(keys.clone()).to_yaml(), &[], &env)?;
        wait_line(&gateway, "every request will be refused", words, 1).with_context(|| keys.to_string())?;
        for token in [&token, &empty, &Issuer::secret("x").token("root")?] {
            refuses(&gateway, token, "AUTH_POLICY_UNUSABLE").with_context(|| keys.to_string())?;
        }
        let response = Request::modern("server/discover", &json!({}))?.send(&gateway.url("/mcp"))?;
        ensure!(
            response.head.status == 401 && response.head.header("www-authenticate").is_some(),
            "{response:?}"
        );
        ensure!(http::get(&gateway.url("/ready"))?.head.status == 200, "a restart would change nothing");
        if keys == json!({ "public_key_path": file }) {
            dir.write("key.pem", issuer.public_pem()?)?;
            gateway.process().signal(Signal::HUP)?;
            wait_line(&gateway, "configuration unchanged", "", 1)?;
            accepts(&gateway, &token)?;
            std::fs::remove_file(&file)?;
        }
    }
    Ok(())
}

#[test]
fn check_says_which_key_is_missing_and_where() -> Result<()> {
    let dir = TempDir::new("check")?;
    let key = dir.write("key.pem", "-----BEGIN PRIVATE KEY-----\n")?;
    let text = format!(
        "server: {{ host: 127.0.0.1, tls: {{ enabled: false }} }}\nauth:\n  provider: jwt\n  jwt:\n    secret_key_env: \
         SECRET_NOWHERE\n    public_key_path: {}\n",
        key.display()
    );
    let file = dir.write("gateway.yaml", &text)?;
    let check = Command::new(binary("mcp-gateway")?).arg("check").arg("--config").arg(&file).output()?;
    let said = String::from_utf8(check.stdout)?;
    ensure!(check.status.success(), "{said}");
    for finding in [
        "gateway.yaml:5:21: warning: auth.jwt.secret_key_env: the environment variable `SECRET_NOWHERE` is not set",
        "gateway.yaml:6:22: warning: auth.jwt.public_key_path: ",
        "it holds a private key, which does not belong here",
    ] {
        ensure!(said.contains(finding), "{said}");
    }
    Ok(())
}
