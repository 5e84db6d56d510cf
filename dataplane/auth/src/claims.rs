//! What a token says, and whether that is enough. Changes when a claim is added or judged differently.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use bridge_policy::denial::Denial;
use bridge_policy::principal::{Grant, RateLimit};
use serde::Deserialize;

use crate::object::Object;

/// What has to be in a token.
#[derive(Debug)]
pub(crate) struct Rules {
    /// Required `iss`.
    pub(crate) issuer: Option<String>,
    /// Required member of `aud`.
    pub(crate) audience: Option<String>,
}

/// The claims that are looked at (RFC 7519, section 4.1, and the original gateway's). A wrong type is an error, not a
/// missing claim.
#[derive(Deserialize)]
struct Claims<'a> {
    #[serde(borrow)]
    iss: Option<Cow<'a, str>>,
    #[serde(borrow)]
    sub: Option<Cow<'a, str>>,
    aud: Option<Audience>,
    exp: Option<NumericDate>,
    nbf: Option<NumericDate>,
    /// Only its type is looked at: a clock that differs is no reason to refuse.
    #[serde(rename = "iat")]
    _iat: Option<NumericDate>,
    jti: Option<String>,
    scopes: Option<Vec<String>>,
    /// Separated by spaces (RFC 8693, section 4.2).
    #[serde(borrow)]
    scope: Option<Cow<'a, str>>,
    rate_limit: Option<Object<Rates>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Any(Vec<String>),
}

/// Seconds since 1970, with or without a fraction.
#[derive(Deserialize)]
#[serde(try_from = "f64")]
struct NumericDate(SystemTime);

impl TryFrom<f64> for NumericDate {
    type Error = &'static str;

    fn try_from(seconds: f64) -> Result<Self, Self::Error> {
        let since = Duration::try_from_secs_f64(seconds).map_err(|_| "not a date")?;
        SystemTime::UNIX_EPOCH.checked_add(since).map(Self).ok_or("not a date")
    }
}

#[derive(Deserialize)]
struct Rates {
    #[serde(default)]
    requests_per_minute: i64,
    #[serde(default)]
    burst: i64,
}

impl Rates {
    /// As in the original, 0 requests per minute mean that the token sets no limits, negative ones that there is none, and
    /// a burst of 0 or less that only the minute counts.
    fn limit(&self) -> Option<RateLimit> {
        let positive = |value: i64| (value > 0).then(|| u32::try_from(value).unwrap_or(u32::MAX));
        let limit = RateLimit {
            requests_per_minute: positive(self.requests_per_minute),
            burst: positive(self.burst),
        };
        (self.requests_per_minute != 0).then_some(limit)
    }
}

/// Judges the claims of a token whose signature is good. `exp` and `nbf` have no leeway, as in the original.
pub(crate) fn judge(json: &[u8], rules: &Rules, now: SystemTime) -> Result<Grant, Denial> {
    let Object::<Claims<'_>>(claims) = serde_json::from_slice(json).map_err(|_| Denial::InvalidClaims)?;
    let expires_at = claims.exp.ok_or(Denial::InvalidClaims)?.0;
    if expires_at <= now {
        return Err(Denial::TokenExpired);
    }
    if claims.nbf.is_some_and(|date| now < date.0) {
        return Err(Denial::TokenNotYetValid);
    }
    if rules.issuer.as_deref().is_some_and(|issuer| claims.iss.as_deref() != Some(issuer)) {
        return Err(Denial::InvalidIssuer);
    }
    if rules.audience.as_deref().is_some_and(|audience| !is_for(claims.aud.as_ref(), audience)) {
        return Err(Denial::InvalidAudience);
    }
    // Tokens without a subject would all be the same party.
    let subject = claims.sub.filter(|subject| !subject.is_empty()).ok_or(Denial::InvalidClaims)?;
    let mut scopes = claims.scopes.unwrap_or_default();
    for scope in claims.scope.iter().flat_map(|text| text.split(' ')).filter(|scope| !scope.is_empty()) {
        if !scopes.iter().any(|known| known == scope) {
            scopes.push(scope.to_owned());
        }
    }
    Ok(Grant {
        issuer: claims.iss.unwrap_or_default().into_owned(),
        subject: subject.into_owned(),
        scopes,
        expires_at,
        token_id: claims.jti,
        rate_limit: claims.rate_limit.and_then(|Object(rates)| rates.limit()),
    })
}

fn is_for(claim: Option<&Audience>, audience: &str) -> bool {
    match claim {
        None => false,
        Some(Audience::One(name)) => name == audience,
        Some(Audience::Any(names)) => names.iter().any(|name| name == audience),
    }
}

#[cfg(test)]
mod tests;
