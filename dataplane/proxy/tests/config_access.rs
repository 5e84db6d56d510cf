//! Authentication that is not available never opens access.
#![allow(clippy::panic, reason = "test code outside of `#[test]` functions")]

use bridge_snapshot::Access;
use mcp_gateway::config::{self, Loaded};

fn with_auth(auth: &str) -> Loaded {
    let text = format!("server: {{host: 0.0.0.0, tls: {{enabled: false}}}}\n{auth}\n");
    config::parse(&text, "g.yaml", &|_| None).unwrap_or_else(|error| panic!("{auth}: {error}"))
}

#[test]
fn every_form_that_is_not_available_refuses_all_requests() {
    for auth in [
        "auth: {provider: jwt, jwt: {secret_key_env: KEY}}",
        "auth: {provider: oauth2, oauth2: {client_id: x, scopes: [a, b]}}",
        "auth: {provider: mtls}",
        "auth: {jwt: {issuer: x}}",
        "auth: {}",
        "auth:",
        "auth: {provider: }",
        "auth: {type: bearer, per_message_auth: false}",
        "auth: [{type: bearer, token: hunter2}]",
        "auth: []",
        "AUTH: {provider: JWT}",
    ] {
        let loaded = with_auth(auth);
        let Access::Refuse { reason } = &loaded.snapshot.access else {
            panic!("{auth}: {:?}", loaded.snapshot.access)
        };
        let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
        assert!(
            warnings.iter().any(|warning| warning.contains("EVERY REQUEST IS REFUSED")),
            "{auth}: {warnings:?}"
        );
        assert!(!format!("{reason}{warnings:?}").contains("hunter2"), "{auth}: {warnings:?}");
    }
}

#[test]
fn open_access_must_be_written_out() {
    let loaded = with_auth("auth: {provider: none}");
    assert_eq!(loaded.snapshot.access, Access::Anonymous { explicit: true });
}

#[test]
fn an_unknown_provider_is_an_error() {
    for provider in ["jtw", "''", "no"] {
        let text = format!("server: {{host: 127.0.0.1}}\nauth: {{provider: {provider}}}\n");
        let error = config::parse(&text, "g.yaml", &|_| None).unwrap_err().to_string();
        assert!(error.contains("g.yaml:2:18: error: auth.provider: not a known value"), "{error}");
        assert!(error.contains("allowed: none, jwt, oauth2, mtls"), "{error}");
    }
}

#[test]
fn a_variable_cannot_open_what_it_cannot_override() {
    let env = |name: &str| (name == "MCP_GATEWAY_AUTH_PROVIDER").then(|| "none".to_owned());
    let error = config::parse("auth: [{type: bearer}]\n", "g.yaml", &env).unwrap_err().to_string();
    assert!(
        error.contains(
            "environment variable MCP_GATEWAY_AUTH_PROVIDER: error: auth.provider: cannot override: the file has a list \
             where a map of keys is needed"
        ),
        "{error}"
    );
}
