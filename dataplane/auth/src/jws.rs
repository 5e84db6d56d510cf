//! Signed tokens on the wire: the compact serialization of RFC 7515, section 7.1. Changes when another algorithm is
//! accepted.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bridge_policy::denial::Denial;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::keys::Keys;

/// The algorithms of RFC 7518, section 3.1, that are accepted. Each belongs to one kind of key, and only that kind ever
/// verifies it: a public key is never taken for a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Hmac(Hash),
    Rsa(Hash),
}

/// The hash of an algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl Algorithm {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "HS256" => Self::Hmac(Hash::Sha256),
            "HS384" => Self::Hmac(Hash::Sha384),
            "HS512" => Self::Hmac(Hash::Sha512),
            "RS256" => Self::Rsa(Hash::Sha256),
            "RS384" => Self::Rsa(Hash::Sha384),
            "RS512" => Self::Rsa(Hash::Sha512),
            _ => return None,
        })
    }
}

/// The members of a header that decide something; `kid`, `typ` and the rest do not.
#[derive(Deserialize)]
struct Header<'a> {
    #[serde(borrow)]
    alg: std::borrow::Cow<'a, str>,
    /// Extensions that must be understood (RFC 7515, 4.1.11); none is.
    crit: Option<IgnoredAny>,
}

/// Verifies the signature and gives the claims, as JSON that nobody has looked at yet.
pub(crate) fn open(token: &str, keys: &Keys) -> Result<Vec<u8>, Denial> {
    let (signed, signature) = token.rsplit_once('.').ok_or(Denial::InvalidToken)?;
    let (header, payload) = signed.split_once('.').ok_or(Denial::InvalidToken)?;
    let header = decode(header)?;
    let header: Header<'_> = serde_json::from_slice(&header).map_err(|_| Denial::InvalidToken)?;
    if header.crit.is_some() {
        return Err(Denial::InvalidToken);
    }
    // A payload with a dot in it is no base64, and so are two dots in a row.
    let (payload, signature) = (decode(payload)?, decode(signature)?);
    let algorithm = Algorithm::named(&header.alg).ok_or(Denial::UnsupportedAlgorithm)?;
    keys.verify(algorithm, signed.as_bytes(), &signature)?;
    Ok(payload)
}

fn decode(part: &str) -> Result<Vec<u8>, Denial> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Denial::InvalidToken)
}
