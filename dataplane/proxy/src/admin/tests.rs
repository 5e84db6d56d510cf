use bridge_auth::{Authenticator, Keys};
use bridge_snapshot::{Jwt, Material};

use super::*;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_339_800_123)
}

fn create(user: &str) -> Admin {
    let scopes = ["a", "b"].map(str::to_owned).to_vec();
    Admin::Token(Token::Create(Create { user: user.to_owned(), expiry: Duration::from_mins(90), scopes }))
}

fn token(output: &Output) -> &str {
    output.text.lines().find_map(|line| line.strip_prefix("Token: ")).unwrap()
}

#[test]
fn the_output_is_the_original_s() {
    let output =
        create("alice").run(&|name| (name == "JWT_SECRET_KEY").then(|| SECRET.to_owned()), now()).unwrap();
    let expected = format!(
        "Creating new auth token...\n\nToken: {}\nExpires: 2026-11-22T11:00:00Z\nUser: alice\nScopes: [a b]\n\n\
         Save this token - it cannot be retrieved again.\n",
        token(&output)
    );
    assert_eq!(output.text, expected);
    assert_eq!(output.warning, None);
}

#[test]
fn a_gateway_with_defaults_accepts_it() {
    let config = Jwt {
        issuer: Some(NAME.to_owned()),
        audience: Some(NAME.to_owned()),
        secret: Some(Material::Env("S".to_owned())),
        public_key_file: None,
        per_message: false,
        cache_ttl: Duration::ZERO,
    };
    let judge = Authenticator::new(&config, Keys::load(&config, &|_| Some(SECRET.to_owned())).unwrap());
    // The second variable counts when the first is empty.
    let env = |name: &str| match name {
        "MCP_JWT_SECRET_KEY" => Some(SECRET.to_owned()),
        _ => Some(String::new()),
    };
    let output = create("alice").run(&env, now()).unwrap();
    let principal = judge.verify(token(&output), now()).unwrap();
    let grant = principal.grant().unwrap();
    assert_eq!(
        (grant.issuer.as_str(), grant.subject.as_str(), &grant.scopes[..]),
        (NAME, "alice", &["a".to_owned(), "b".to_owned()][..])
    );
    let id = grant.token_id.as_deref().unwrap();
    assert!(id.starts_with("tok_") && id.len() == 20, "{id}");
    let rates = grant.rate_limit.unwrap();
    assert_eq!((rates.requests_per_minute, rates.burst), (Some(1000), Some(50)));
}

#[test]
fn without_a_secret_it_warns() {
    let output = create("alice").run(&|_| None, now()).unwrap();
    assert!(output.warning.unwrap().contains("JWT_SECRET_KEY is not set"));
    assert_ne!(token(&output), token(&create("alice").run(&|_| None, now()).unwrap()));
    assert!(matches!(create("").run(&|_| None, now()), Err(AdminError::NoUser)));
}

#[test]
fn what_never_worked_says_what_to_use() {
    for (command, instead) in [
        (Admin::Status, "/health"),
        (Admin::Token(Token::List), "not stored"),
        (Admin::Token(Token::Revoke { id: None }), "not stored"),
        (Admin::Namespace(Namespace::List), "/health"),
        (Admin::Debug(Debug::Health), "/health"),
        (Admin::Debug(Debug::Metrics), "/metrics"),
    ] {
        let error = command.run(&|_| None, now()).unwrap_err().to_string();
        assert!(error.contains("is not available; ") && error.contains(instead), "{error}");
    }
}
