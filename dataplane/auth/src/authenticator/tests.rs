//! Tokens are made by a published library, not by our own code.

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bridge_snapshot::Material;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::*;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const NOW: u64 = 1_000_000;

/// An RSA key: the private half for the library, the public one as PEM.
static RSA: LazyLock<(EncodingKey, String)> = LazyLock::new(|| rsa(KeySize::Rsa2048));

fn rsa(size: KeySize) -> (EncodingKey, String) {
    let pair = KeyPair::generate(size).unwrap();
    let private: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    // The library takes the inner PKCS#1 structure; before it stand 26 bytes that are the same for all keys of this size.
    let private = EncodingKey::from_rsa_der(&private.as_ref()[26..]);
    (
        private,
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(&*public)),
    )
}

/// A file that goes away with its value.
struct KeyFile(PathBuf);

impl KeyFile {
    fn new(name: &str, content: &str) -> Self {
        let path = std::env::temp_dir().join(format!("bridge-auth-{}-{name}.pem", std::process::id()));
        std::fs::write(&path, content).unwrap();
        Self(path)
    }
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn config() -> Jwt {
    Jwt {
        issuer: Some("idp".to_owned()),
        audience: Some("gateway".to_owned()),
        secret: None,
        public_key_file: None,
        per_message: false,
        cache_ttl: Duration::from_mins(5),
    }
}

fn with_secret() -> Authenticator {
    let config = Jwt { secret: Some(Material::Env("SECRET".to_owned())), ..config() };
    let keys = Keys::load(&config, &|_| Some(SECRET.to_owned())).unwrap();
    Authenticator::new(&config, keys)
}

fn with_public_key(name: &str, secret: bool) -> Authenticator {
    let file = KeyFile::new(name, &RSA.1);
    let secret = secret.then(|| Material::Env("SECRET".to_owned()));
    let config = Jwt { secret, public_key_file: Some(file.0.clone()), ..config() };
    let keys = Keys::load(&config, &|_| Some(SECRET.to_owned())).unwrap();
    Authenticator::new(&config, keys)
}

fn claims() -> Value {
    json!({ "iss": "idp", "aud": ["gateway"], "sub": "alice", "exp": NOW + 60 })
}

fn hmac(algorithm: Algorithm, secret: &[u8]) -> String {
    encode(&Header::new(algorithm), &claims(), &EncodingKey::from_secret(secret)).unwrap()
}

fn signed(algorithm: Algorithm) -> String {
    encode(&Header::new(algorithm), &claims(), &RSA.0).unwrap()
}

/// A token with any header; `signature` as it should stand there.
fn raw(header: &str, signature: &str) -> String {
    let [header, claims] = [header.to_owned(), claims().to_string()].map(|part| URL_SAFE_NO_PAD.encode(part));
    format!("{header}.{claims}.{signature}")
}

/// A token with any header and any claims, whose signature is good.
fn sealed(header: &str, claims: &str) -> String {
    let signed = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &key, Algorithm::HS256).unwrap();
    format!("{signed}.{signature}")
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(NOW)
}

fn verdict(judge: &Authenticator, token: &str) -> Result<String, Denial> {
    judge.verify(token, now()).map(|principal| principal.as_str().to_owned())
}

#[test]
fn each_algorithm_of_the_configured_kind_is_accepted() {
    for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
        assert_eq!(verdict(&with_secret(), &hmac(algorithm, SECRET.as_bytes())), Ok("alice".to_owned()));
    }
    let public = with_public_key("each", false);
    for algorithm in [Algorithm::RS256, Algorithm::RS384, Algorithm::RS512] {
        assert_eq!(verdict(&public, &signed(algorithm)), Ok("alice".to_owned()));
    }
    let both = with_public_key("both", true);
    assert!(verdict(&both, &hmac(Algorithm::HS256, SECRET.as_bytes())).is_ok());
    assert!(verdict(&both, &signed(Algorithm::RS256)).is_ok());
}

#[test]
fn a_public_key_is_never_taken_for_a_secret() {
    let der = STANDARD.decode(RSA.1.lines().nth(1).unwrap()).unwrap();
    let (alone, both) = (with_public_key("alone", false), with_public_key("beside", true));
    for secret in [RSA.1.as_bytes(), RSA.1.trim_end().as_bytes(), &der] {
        for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            let token = hmac(algorithm, secret);
            assert_eq!(verdict(&alone, &token), Err(Denial::UnsupportedAlgorithm));
            assert_eq!(verdict(&both, &token), Err(Denial::InvalidSignature));
        }
    }
}

#[test]
fn other_algorithms_are_refused() {
    let (secret, public) = (with_secret(), with_public_key("other", false));
    assert_eq!(verdict(&secret, &signed(Algorithm::RS256)), Err(Denial::UnsupportedAlgorithm));
    assert_eq!(verdict(&public, &signed(Algorithm::PS256)), Err(Denial::UnsupportedAlgorithm));
    let tag = hmac(Algorithm::HS256, SECRET.as_bytes());
    let tag = tag.rsplit('.').next().unwrap();
    for algorithm in ["none", "None", "NONE", "nOnE", "", "hs256", "HS256 ", "HS1", "ES256", "EdDSA"] {
        let header = json!({ "alg": algorithm }).to_string();
        for signature in ["", tag] {
            let token = raw(&header, signature);
            assert_eq!(verdict(&secret, &token), Err(Denial::UnsupportedAlgorithm), "{algorithm}");
            assert_eq!(verdict(&public, &token), Err(Denial::UnsupportedAlgorithm), "{algorithm}");
        }
    }
}

#[test]
fn another_key_made_the_signature() {
    assert_eq!(verdict(&with_secret(), &hmac(Algorithm::HS256, b"other")), Err(Denial::InvalidSignature));
    let token = encode(&Header::new(Algorithm::RS256), &claims(), &rsa(KeySize::Rsa2048).0).unwrap();
    assert_eq!(verdict(&with_public_key("foreign", false), &token), Err(Denial::InvalidSignature));
}

#[test]
fn no_byte_of_a_token_can_be_changed() {
    for (judge, token) in [
        (with_secret(), hmac(Algorithm::HS256, SECRET.as_bytes())),
        (with_public_key("bytes", false), signed(Algorithm::RS256)),
    ] {
        assert!(verdict(&judge, &token).is_ok());
        for position in 0..token.len() {
            for byte in [b'A', b'B', b'_', b'.', b'=', b' ', 0] {
                let mut changed = token.clone().into_bytes();
                if changed[position] != byte {
                    changed[position] = byte;
                    let changed = String::from_utf8(changed).unwrap();
                    assert!(verdict(&judge, &changed).is_err(), "{position} {byte}");
                }
            }
        }
    }
}

#[test]
fn what_is_no_token_is_said_to_be_none() {
    let judge = with_secret();
    let good = hmac(Algorithm::HS256, SECRET.as_bytes());
    let long = format!("{good}{}", "A".repeat(4096));
    let padded = format!("{good}=");
    let nested = format!("{good}.{good}");
    for token in ["", ".", "..", "...", "a.b", "a.b.c", "alice", "eyJ", "🦀.🦀.🦀", &long, &padded, &nested]
    {
        assert_eq!(verdict(&judge, token), Err(Denial::InvalidToken), "{token}");
    }
    let wrong =
        [r#"{"alg":"HS256","alg":"none"}"#, r#"{"alg":7}"#, "{}", "[]", "HS256", r#"{"alg":"HS256"} "#];
    for header in &wrong[..5] {
        assert_eq!(verdict(&judge, &raw(header, "")), Err(Denial::InvalidToken), "{header}");
    }
    // White space is JSON; the signature is what is wrong with it.
    assert_eq!(verdict(&judge, &raw(wrong[5], "")), Err(Denial::InvalidSignature));
}

#[test]
fn a_header_that_demands_to_be_understood_is_not() {
    for crit in [json!(["exp"]), json!(["b64"]), json!([]), json!(null), json!(false)] {
        for name in ["crit", r"\u0063rit"] {
            let token = sealed(&format!(r#"{{"alg":"HS256","{name}":{crit}}}"#), &claims().to_string());
            assert_eq!(verdict(&with_secret(), &token), Err(Denial::InvalidToken), "{name} {crit}");
        }
    }
}

#[test]
fn a_good_signature_does_not_make_a_list_a_header_or_claims() {
    let judge = with_secret();
    let (header, claims) = (json!({ "alg": "HS256" }).to_string(), claims().to_string());
    assert!(verdict(&judge, &sealed(&header, &claims)).is_ok());
    let list = json!(["HS256", null]).to_string();
    assert_eq!(verdict(&judge, &sealed(&list, &claims)), Err(Denial::InvalidToken));
    let list = json!(["idp", "alice", "gateway", NOW + 60, null, null, null, null, null, null]).to_string();
    assert_eq!(verdict(&judge, &sealed(&header, &list)), Err(Denial::InvalidClaims));
}

#[test]
fn claims_are_looked_at_only_below_a_good_signature() {
    let expired = json!({ "iss": "idp", "aud": "gateway", "sub": "alice", "exp": 1 });
    let by = |secret: &[u8]| {
        encode(&Header::new(Algorithm::HS256), &expired, &EncodingKey::from_secret(secret)).unwrap()
    };
    assert_eq!(verdict(&with_secret(), &by(b"other")), Err(Denial::InvalidSignature));
    assert_eq!(verdict(&with_secret(), &by(SECRET.as_bytes())), Err(Denial::TokenExpired));
}

#[test]
fn a_remembered_token_still_expires() {
    let judge = with_public_key("expires", false);
    let token = signed(Algorithm::RS256);
    for _ in 0..2 {
        assert!(judge.verify(&token, now()).is_ok());
    }
    assert_eq!(judge.verify(&token, now() + Duration::from_mins(1)), Err(Denial::TokenExpired));
}

#[test]
fn our_own_tokens_are_accepted() {
    let scopes = ["mcp:*:read".to_owned()];
    let claims = crate::Claims {
        iss: "idp",
        sub: "bob",
        aud: ["gateway"],
        exp: NOW + 1,
        nbf: NOW,
        iat: NOW,
        jti: "tok_x",
        scopes: &scopes,
        rate_limit: crate::Rates { requests_per_minute: 1000, burst: 50 },
    };
    let token = crate::sign(&claims, SECRET.as_bytes()).unwrap();
    let principal = with_secret().verify(&token, now()).unwrap();
    let grant = principal.grant().unwrap();
    assert_eq!((grant.subject.as_str(), &grant.scopes[..]), ("bob", &scopes[..]));
    let key = jsonwebtoken::DecodingKey::from_secret(SECRET.as_bytes());
    let mut rules = jsonwebtoken::Validation::new(Algorithm::HS256);
    rules.validate_exp = false;
    rules.set_audience(&["gateway"]);
    assert_eq!(jsonwebtoken::decode::<Value>(&token, &key, &rules).unwrap().claims["sub"], "bob");
}

fn any(ways: &[(&str, &str, &str)]) -> Authenticator {
    let configs: Vec<_> = ways
        .iter()
        .map(|(issuer, audience, secret)| {
            let secret = Some(Material::Env((*secret).to_owned()));
            Jwt {
                issuer: Some((*issuer).to_owned()),
                audience: Some((*audience).to_owned()),
                secret,
                ..config()
            }
        })
        .collect();
    let load = |config| (config, Keys::load(config, &|name| Some(name.to_owned())).unwrap());
    Authenticator::any(configs.iter().map(load))
}

#[test]
fn a_token_must_satisfy_one_of_several_with_a_key_of_that_one() {
    const OTHER: &str = "fedcba9876543210fedcba9876543210";
    let sign = |issuer: &str, audience: &str, secret: &str| {
        let mut claims = claims();
        (claims["iss"], claims["aud"]) = (issuer.into(), audience.into());
        let key = EncodingKey::from_secret(secret.as_bytes());
        encode(&Header::new(Algorithm::HS256), &claims, &key).unwrap()
    };
    let judge = any(&[("idp", "gateway", SECRET), ("idp", "second", SECRET), ("partner", "gateway", OTHER)]);
    for (issuer, audience, secret, expected) in [
        ("idp", "gateway", SECRET, Ok(())),
        ("idp", "second", SECRET, Ok(())),
        ("partner", "gateway", OTHER, Ok(())),
        // Nobody vouches for another issuer.
        ("partner", "gateway", SECRET, Err(Denial::InvalidIssuer)),
        ("idp", "gateway", OTHER, Err(Denial::InvalidIssuer)),
        ("partner", "second", OTHER, Err(Denial::InvalidAudience)),
        ("idp", "third", SECRET, Err(Denial::InvalidAudience)),
        ("idp", "gateway", "a secret that nobody has configured", Err(Denial::InvalidSignature)),
    ] {
        let found = verdict(&judge, &sign(issuer, audience, secret)).map(drop);
        assert_eq!(found, expected, "{issuer} {audience}");
    }
    assert_eq!(verdict(&any(&[]), &sign("idp", "gateway", SECRET)), Err(Denial::PolicyUnusable));
}

#[test]
fn whom_another_set_of_policies_let_in_is_judged_anew() {
    let (one, two) =
        (any(&[("idp", "gateway", SECRET)]), any(&[("idp", "gateway", SECRET), ("x", "y", SECRET)]));
    let principal = one.verify(&hmac(Algorithm::HS256, SECRET.as_bytes()), now()).unwrap();
    assert!(one.has_admitted(&principal) && !two.has_admitted(&principal));
    assert!(any(&[("idp", "gateway", SECRET)]).has_admitted(&principal));
}
