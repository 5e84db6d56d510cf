use std::time::Duration;

use bridge_auth::{Claims, Rates, sign};
use bridge_snapshot::Material;
use http::HeaderValue;

use super::*;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn at(secs: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(secs)
}

fn token(sub: &str, exp: u64) -> String {
    signed(SECRET, sub, exp)
}

fn signed(secret: &str, sub: &str, exp: u64) -> String {
    let rate_limit = Rates { requests_per_minute: 1, burst: 1 };
    let claims = Claims { iss: "i", sub, aud: ["a"], exp, nbf: 0, iat: 0, jti: "j", scopes: &[], rate_limit };
    sign(&claims, secret.as_bytes()).unwrap()
}

fn gate(per_message: bool) -> Gate {
    gate_with(SECRET, None, per_message)
}

fn gate_with(secret: &str, audience: Option<&str>, per_message: bool) -> Gate {
    let config = bridge_snapshot::Jwt {
        issuer: None,
        audience: audience.map(str::to_owned),
        secret: Some(Material::Env("SECRET".to_owned())),
        public_key_file: None,
        per_message,
        cache_ttl: Duration::ZERO,
    };
    let keys = Keys::load(&config, &|_| Some(secret.to_owned())).unwrap();
    Gate::Tokens { authenticator: Box::new(Authenticator::new(&config, keys)), per_message }
}

#[test]
fn headers_are_read_as_http_has_it() {
    let read = |values: &[&[u8]]| {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("authorization", HeaderValue::from_bytes(value).unwrap());
        }
        match Credentials::from_headers(&headers) {
            Credentials::None => None,
            Credentials::Bearer(token) => Some(token.to_owned()),
        }
    };
    assert_eq!(read(&[]), None);
    for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
        assert_eq!(read(&[format!("{scheme} t.o.k").as_bytes()]), Some("t.o.k".to_owned()));
    }
    assert_eq!(read(&[b"Bearer   t "]), Some("t".to_owned()));
    assert_eq!(read(&[b"Bearer t", b"Bearer t"]), Some("t".to_owned()));
    // No credentials of ours.
    for other in ["Basic dXNlcjpwYXNz", "Bearer", "Bearert.o.k", "t.o.k"] {
        assert_eq!(read(&[other.as_bytes()]), None, "{other}");
    }
    // Ours, but not to be read; never the first of two.
    for values in
        [&[b"Bearer \xff" as &[u8]] as &[&[u8]], &[b"Bearer a", b"Bearer b"], &[b"Bearer a", b""], &[b""]]
    {
        assert_eq!(read(values), Some(String::new()));
    }
}

#[test]
fn tokens_in_messages_come_with_and_without_the_scheme_word() {
    for (text, expected) in
        [(Some("t.o.k"), Some("t.o.k")), (Some("bearer t.o.k"), Some("t.o.k")), (None, None)]
    {
        let read = match Credentials::from_token(text) {
            Credentials::None => None,
            Credentials::Bearer(token) => Some(token),
        };
        assert_eq!(read, expected);
    }
}

#[test]
fn a_gate_asks_for_what_its_policy_says() {
    let alice = token("alice", 100);
    let bearer = Credentials::Bearer(&alice);
    assert_eq!(Gate::Open.judge(bearer, at(1)), Ok(Principal::anonymous()));
    assert_eq!(Gate::Closed.judge(bearer, at(1)), Err(Denial::PolicyUnusable));
    assert_eq!(gate(false).judge(Credentials::None, at(1)), Err(Denial::MissingToken));
    assert_eq!(gate(false).judge(bearer, at(1)).unwrap().as_str(), "alice");
    assert_eq!(gate(false).judge(bearer, at(100)), Err(Denial::TokenExpired));
}

#[test]
fn with_a_token_per_message_each_is_judged() {
    let (gate, fresh, bob) = (gate(true), token("alice", 200), token("bob", 200));
    let alice = gate.judge(Credentials::Bearer(&token("alice", 100)), at(1)).unwrap();
    let message = |credentials, now| gate.judge_message(&alice, credentials, at(now));
    assert_eq!(message(Credentials::None, 1), Err(Denial::MissingToken));
    assert_eq!(message(Credentials::Bearer("x"), 1), Err(Denial::InvalidToken));
    assert_eq!(message(Credentials::Bearer(&bob), 1), Err(Denial::OtherPrincipal));
    // The fresher credential counts.
    let served = message(Credentials::Bearer(&fresh), 150).unwrap();
    assert_eq!((&served, served.has_expired(at(150))), (&alice, false));
}

#[test]
fn without_a_connection_lives_as_long_as_its_token_or_with_new_ones() {
    let (gate, fresh, bob) = (gate(false), token("alice", 200), token("bob", 200));
    let alice = gate.judge(Credentials::Bearer(&token("alice", 100)), at(1)).unwrap();
    let message = |credentials, now| gate.judge_message(&alice, credentials, at(now));
    for credentials in [Credentials::None, Credentials::Bearer("x"), Credentials::Bearer(&bob)] {
        assert_eq!(message(credentials, 99).as_ref(), Ok(&alice));
    }
    assert_eq!(message(Credentials::None, 100), Err(Denial::TokenExpired));
    assert_eq!(message(Credentials::Bearer(&bob), 100), Err(Denial::OtherPrincipal));
    assert_eq!(message(Credentials::Bearer(&fresh), 100).as_ref(), Ok(&alice));
}

#[test]
fn a_policy_that_came_by_reload_holds_for_open_connections() {
    let (nobody, alice) = (Principal::anonymous(), token("alice", 100));
    assert_eq!(gate(false).judge_message(&nobody, Credentials::None, at(1)), Err(Denial::MissingToken));
    let stranger = gate(false).judge_message(&nobody, Credentials::Bearer(&alice), at(1));
    assert_eq!(stranger, Err(Denial::OtherPrincipal));
    assert_eq!(Gate::Closed.judge_message(&nobody, Credentials::None, at(1)), Err(Denial::PolicyUnusable));
    let alice = gate(false).judge(Credentials::Bearer(&alice), at(1)).unwrap();
    assert_eq!(Gate::Open.judge_message(&alice, Credentials::None, at(1000)), Ok(alice));
}

#[test]
fn a_connection_does_not_outlive_the_keys_and_rules_that_let_it_in() {
    let alice = gate(false).judge(Credentials::Bearer(&token("alice", 100)), at(1)).unwrap();
    // A reload that changes nothing of them is not noticed.
    assert_eq!(gate(false).judge_message(&alice, Credentials::None, at(2)).as_ref(), Ok(&alice));
    let other = "another secret, of 32 bytes also";
    for changed in [gate_with(other, None, false), gate_with(SECRET, Some("elsewhere"), false)] {
        assert_eq!(changed.judge_message(&alice, Credentials::None, at(2)), Err(Denial::MissingToken));
        let old = changed.judge_message(&alice, Credentials::Bearer(&token("alice", 100)), at(2));
        assert!(matches!(old, Err(Denial::InvalidSignature | Denial::InvalidAudience)), "{old:?}");
    }
    let (rotated, fresh) = (gate_with(other, None, false), signed(other, "alice", 100));
    assert_eq!(rotated.judge_message(&alice, Credentials::Bearer(&fresh), at(2)).as_ref(), Ok(&alice));
}
