//! What `auth` means. A policy that cannot be applied never opens access.
#![allow(clippy::panic, reason = "test code outside of `#[test]` functions")]

use std::path::Path;

use bridge_snapshot::{Access, Jwt, Material};
use mcp_gateway::config::{self, Loaded};

fn with_auth(auth: &str) -> Loaded {
    let text = format!("server: {{host: 0.0.0.0, tls: {{enabled: false}}}}\n{auth}\n");
    config::parse(&text, "g.yaml", &|_| None).unwrap_or_else(|error| panic!("{auth}: {error}"))
}

#[test]
fn every_form_that_is_not_available_refuses_all_requests() {
    for auth in [
        "auth: {provider: jwt}",
        "auth: {provider: jwt, jwt: {secret_key_env: '', public_key_path: ''}}",
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

const JWT: &str = "auth:
  provider: jwt
  jwt:
    issuer: idp
    audience: ''
    secret_key_env: THE_SECRET
    public_key_path: /nonexistent/key.pem
  per_message_auth: true
  per_message_auth_cache: 60
";

#[test]
fn jwt_names_its_keys_and_holds_none() {
    let env = |name: &str| (name == "THE_SECRET").then(|| "hunter2".to_owned());
    let loaded = config::parse(JWT, "g.yaml", &env).unwrap();
    let expected = Jwt {
        issuer: Some("idp".to_owned()),
        audience: None,
        secret: Some(Material::Env("THE_SECRET".to_owned())),
        public_key_file: Some("/nonexistent/key.pem".into()),
        per_message: true,
        cache_ttl: std::time::Duration::from_mins(1),
    };
    assert_eq!(loaded.snapshot.access, Access::Jwt(expected));
    let written = serde_json::to_string(&loaded.snapshot).unwrap();
    assert_eq!(serde_json::from_str::<bridge_snapshot::Snapshot>(&written).unwrap(), loaded.snapshot);
    assert!(!format!("{loaded:?} {written}").contains("hunter2"));
    let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert!(
        warnings.contains(
            &"g.yaml:5:15: warning: auth.jwt.audience: no audience is required: tokens that were made for other services are \
              taken, too; name this gateway as its issuer does"
                .to_owned()
        ),
        "{warnings:?}"
    );
}

#[test]
fn keys_that_are_not_here_are_named_with_their_place() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("keys.yaml");
    std::fs::write(&path, JWT).unwrap();
    let report = config::check(&path, &|_| None);
    assert!(report.is_usable(), "{report}");
    let report = report.to_string();
    for finding in [
        ":6:21: warning: auth.jwt.secret_key_env: the environment variable `THE_SECRET` is not set; a gateway that starts \
         without it refuses every request; set it to the secret that signs the tokens",
        ":7:22: warning: auth.jwt.public_key_path: cannot read the public key `/nonexistent/key.pem`: No such file or \
         directory (os error 2); a gateway that starts like this refuses every request",
    ] {
        assert!(report.contains(finding), "{report}");
    }
}

#[test]
fn a_secret_in_the_place_of_its_name_is_not_shown() {
    for secret in ["hunter2", "HUNTER2", "correct horse", "a_b_c"] {
        let text = format!("auth: {{provider: jwt, jwt: {{secret_key_env: '{secret}'}}}}\n");
        let warnings = format!("{:?}", with_auth(text.trim_end()).warnings);
        assert!(warnings.contains("not the secret") && !warnings.contains(secret), "{warnings}");
    }
}

#[test]
fn without_a_named_key_the_documented_variables_count() {
    for (set, expected) in [
        (&["JWT_SECRET_KEY", "MCP_JWT_SECRET_KEY"] as &[&str], "JWT_SECRET_KEY"),
        (&["MCP_JWT_SECRET_KEY"], "MCP_JWT_SECRET_KEY"),
    ] {
        let env = |name: &str| set.contains(&name).then(|| "x".to_owned());
        let loaded = config::parse("auth: {}\n", "g.yaml", &env).unwrap();
        assert!(
            matches!(&loaded.snapshot.access, Access::Jwt(jwt) if jwt.secret == Some(Material::Env(expected.to_owned()))),
            "{:?}",
            loaded.snapshot.access
        );
    }
    let env = |name: &str| (name == "JWT_SECRET_KEY").then(|| "x".to_owned());
    let other = config::parse("auth: {type: bearer}\n", "g.yaml", &env).unwrap();
    assert!(matches!(other.snapshot.access, Access::Refuse { .. }), "{:?}", other.snapshot.access);
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
