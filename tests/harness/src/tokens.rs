//! An issuer of tokens, built on a published library. Changes when tests need tokens of another kind.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, anyhow};
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use crate::Config;

/// Issuer and audience of tokens that the default configuration of `auth.jwt` accepts.
pub const NAME: &str = "mcp-gateway";

/// Signs with one key.
pub struct Issuer {
    algorithm: Algorithm,
    key: EncodingKey,
    public: Option<String>,
}

impl Issuer {
    /// HS256 with this secret.
    pub fn secret(secret: &str) -> Self {
        Self { algorithm: Algorithm::HS256, key: EncodingKey::from_secret(secret.as_bytes()), public: None }
    }

    /// RS256 with a key of its own.
    pub fn rsa() -> Result<Self> {
        let failed = |_| anyhow!("no RSA key");
        let pair = KeyPair::generate(KeySize::Rsa2048).map_err(failed)?;
        let private: Pkcs8V1Der<'_> = pair.as_der().map_err(failed)?;
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(failed)?;
        // The library takes the inner PKCS#1 structure; before it stand 26 bytes that all keys of this size share.
        let private = private.as_ref().get(26..).context("a PKCS#8 key")?;
        let public = STANDARD.encode(&*public);
        Ok(Self {
            algorithm: Algorithm::RS256,
            key: EncodingKey::from_rsa_der(private),
            public: Some(format!("-----BEGIN PUBLIC KEY-----\n{public}\n-----END PUBLIC KEY-----\n")),
        })
    }

    /// The public key as PEM, of an RSA issuer.
    pub fn public_pem(&self) -> Result<&str> {
        self.public.as_deref().context("an RSA issuer")
    }

    /// A token for `subject` that is valid for an hour.
    pub fn token(&self, subject: &str) -> Result<String> {
        self.sign(&claims(subject, &json!({})))
    }

    /// A token for `subject` with other claims on top; `null` takes one out.
    pub fn token_with(&self, subject: &str, changes: &Value) -> Result<String> {
        self.sign(&claims(subject, changes))
    }

    /// Signs any claims.
    pub fn sign(&self, claims: &Value) -> Result<String> {
        encode(&Header::new(self.algorithm), claims, &self.key).context("signing")
    }
}

/// The claims of [`Issuer::token_with`].
pub fn claims(subject: &str, changes: &Value) -> Value {
    let mut claims = json!({ "iss": NAME, "aud": NAME, "sub": subject, "exp": now() + 3600 });
    for (name, value) in changes.as_object().into_iter().flatten() {
        match value {
            Value::Null => drop(claims.as_object_mut().map(|claims| claims.remove(name))),
            value => claims[name] = value.clone(),
        }
    }
    claims
}

/// A token with any header and any signature.
pub fn forged(header: &Value, claims: &Value, signature: &str) -> String {
    let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    format!("{header}.{claims}.{signature}")
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A configuration that takes tokens by these keys of `auth.jwt`.
pub fn config(keys: Value) -> Config {
    Config::new().set("auth", "provider", "jwt".into()).set("auth", "jwt", keys)
}
