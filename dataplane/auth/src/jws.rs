//! Signed tokens on the wire: the compact serialization of RFC 7515, section 7.1. Changes when another algorithm is
//! accepted.
//!
//! Signatures are verified by `jsonwebtoken`. Its `decode` is not used: it reads the clock itself, and it takes headers
//! with `crit`. Time is an argument here, and claims are judged in `claims.rs`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bridge_policy::denial::Denial;
use jsonwebtoken::Algorithm;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

use crate::keys::Keys;
use crate::object::Object;

/// The algorithms of RFC 7518, section 3.1, that are accepted. Each belongs to one kind of key, and only that kind ever
/// verifies it: a public key is never taken for a secret.
fn accepted(name: &str) -> Option<Algorithm> {
    Some(match name {
        "HS256" => Algorithm::HS256,
        "HS384" => Algorithm::HS384,
        "HS512" => Algorithm::HS512,
        "RS256" => Algorithm::RS256,
        "RS384" => Algorithm::RS384,
        "RS512" => Algorithm::RS512,
        _ => return None,
    })
}

/// The members of a header that decide something; `kid`, `typ` and the rest do not.
#[derive(Deserialize)]
struct Header<'a> {
    #[serde(borrow)]
    alg: std::borrow::Cow<'a, str>,
    /// Whether it names extensions that must be understood (RFC 7515, 4.1.11); none is. Any value counts, `null` too.
    #[serde(default, rename = "crit", deserialize_with = "is_there")]
    has_crit: bool,
}

fn is_there<'de, D: Deserializer<'de>>(value: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(value).map(|_| true)
}

/// Verifies the signature and gives the claims, as JSON that nobody has looked at yet.
pub(crate) fn open(token: &str, keys: &Keys) -> Result<Vec<u8>, Denial> {
    let (signed, signature) = token.rsplit_once('.').ok_or(Denial::InvalidToken)?;
    let (header, payload) = signed.split_once('.').ok_or(Denial::InvalidToken)?;
    let header = decode(header)?;
    let Object::<Header<'_>>(header) = serde_json::from_slice(&header).map_err(|_| Denial::InvalidToken)?;
    if header.has_crit {
        return Err(Denial::InvalidToken);
    }
    // A payload with a dot in it is no base64, and so are two dots in a row.
    let (payload, signature) = (decode(payload)?, decode(signature)?);
    let algorithm = accepted(&header.alg).ok_or(Denial::UnsupportedAlgorithm)?;
    let verifier = keys.verifier(algorithm)?;
    verifier.verify(signed.as_bytes(), &signature).map_err(|_| Denial::InvalidSignature)?;
    Ok(payload)
}

fn decode(part: &str) -> Result<Vec<u8>, Denial> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Denial::InvalidToken)
}
