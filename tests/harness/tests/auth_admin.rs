//! `mcp-gateway admin` as scripts use it. Changes when one of its commands does.

use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};
use bridge_tests::Gateway;
use bridge_tests::gateway::binary;
use bridge_tests::raw::Request;
use bridge_tests::tokens;
use serde_json::json;

const SECRET: &str = "a secret of at least 32 bytes, for tests";

fn admin(args: &[&str], env: &[(&str, &str)]) -> Result<Output> {
    let mut command = Command::new(binary("mcp-gateway")?);
    command.arg("admin").args(args).env_remove("JWT_SECRET_KEY").env_remove("MCP_JWT_SECRET_KEY");
    command.envs(env.iter().copied()).output().context("running mcp-gateway admin")
}

/// What a script greps.
fn token(output: &Output) -> Result<String> {
    ensure!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout.clone())?;
    text.lines().find_map(|line| line.strip_prefix("Token: ")).map(str::to_owned).context(text.clone())
}

#[test]
fn a_gateway_with_the_same_secret_accepts_the_token() -> Result<()> {
    // As the original's manifests do it: the file names nothing, the variable is there.
    let env = [("JWT_SECRET_KEY", SECRET)];
    let gateway = Gateway::start_with(&tokens::config(json!({})).to_yaml(), &[], &env)?;
    let status = |token: &str| -> Result<u16> {
        let request =
            Request::modern("server/discover", &json!({}))?.with("Authorization", &format!("Bearer {token}"));
        Ok(request.send(&gateway.url("/mcp"))?.head.status)
    };
    let output = admin(&["token", "create", "-u", "alice", "-e", "1h30m", "-s", "mcp:*,mcp:a:read"], &env)?;
    ensure!(status(&token(&output)?)? == 200);
    let text = String::from_utf8(output.stdout.clone())?;
    let lines: Vec<&str> = text.lines().collect();
    ensure!(
        matches!(lines[..], [
            "Creating new auth token...", "", _, expires, "User: alice", "Scopes: [mcp:* mcp:a:read]", "",
            "Save this token - it cannot be retrieved again."
        ] if expires.starts_with("Expires: 20") && expires.ends_with('Z')),
        "{text}"
    );
    ensure!(output.stderr.is_empty(), "{output:?}");
    ensure!(status(&token(&admin(&["token", "create"], &env)?)?)? == 200);

    let throwaway = admin(&["token", "create"], &[])?;
    ensure!(
        String::from_utf8_lossy(&throwaway.stderr).contains("JWT_SECRET_KEY is not set"),
        "{throwaway:?}"
    );
    ensure!(status(&token(&throwaway)?)? == 401);
    Ok(())
}

#[test]
fn what_is_not_available_says_so_and_fails() -> Result<()> {
    for (args, instead) in [
        (&["status"] as &[&str], "/health"),
        (&["token", "list"], "expire"),
        (&["token", "revoke", "tok_1"], "expire"),
        (&["namespace", "list"], "/health"),
        (&["debug", "health"], "/health"),
        (&["debug", "metrics"], "/metrics"),
    ] {
        let output = admin(args, &[])?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(1) && output.stdout.is_empty(), "{args:?}: {output:?}");
        ensure!(said.contains("is not available; ") && said.contains(instead), "{args:?}: {said}");
    }
    let output = admin(&["token", "create", "-e", "7d"], &[("JWT_SECRET_KEY", SECRET)])?;
    ensure!(output.status.code() == Some(2), "{output:?}");
    Ok(())
}
