//! Tokens of our own, for `mcp-gateway admin token create`. Changes when they should say more.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use jsonwebtoken::{Algorithm, EncodingKey, errors};
use serde::Serialize;
use serde::ser::Error as _;

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

/// Signs with HS256. The header's members stand in the original's order, which the library's own encoding would change.
pub fn sign(claims: &Claims<'_>, secret: &[u8]) -> Result<String, serde_json::Error> {
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
    let payload = URL_SAFE_NO_PAD.encode(serde_json::to_vec(claims)?);
    let signed = format!("{header}.{payload}");
    let signature = signature(signed.as_bytes(), secret).map_err(serde_json::Error::custom)?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

fn signature(message: &[u8], secret: &[u8]) -> errors::Result<Vec<u8>> {
    let signer = (DEFAULT_PROVIDER.signer_factory)(&Algorithm::HS256, &EncodingKey::from_secret(secret))?;
    Ok(signer.try_sign(message)?)
}
