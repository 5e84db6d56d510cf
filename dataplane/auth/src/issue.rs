//! Tokens of our own, for `mcp-gateway admin token create`. Changes when they should say more.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;

/// The claims of a token, in the original's order.
#[derive(Debug, Clone, Serialize)]
pub struct Claims<'a> {
    /// Issuer.
    pub iss: &'a str,
    /// Subject.
    pub sub: &'a str,
    /// Audience.
    pub aud: [&'a str; 1],
    /// Expiry, seconds since 1970.
    pub exp: u64,
    /// Start of validity, seconds since 1970.
    pub nbf: u64,
    /// Time of issue, seconds since 1970.
    pub iat: u64,
    /// Identifier.
    pub jti: &'a str,
    /// What it allows.
    pub scopes: &'a [String],
    /// Requests that it allows.
    pub rate_limit: Rates,
}

/// Requests that a token allows.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Rates {
    /// In any 60 seconds.
    pub requests_per_minute: u32,
    /// In any 10 seconds.
    pub burst: u32,
}

/// Signs with HS256.
pub fn sign(claims: &Claims<'_>, secret: &[u8]) -> Result<String, serde_json::Error> {
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
    let payload = URL_SAFE_NO_PAD.encode(serde_json::to_vec(claims)?);
    let signed = format!("{header}.{payload}");
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes());
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag)))
}
