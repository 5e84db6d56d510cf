//! The judge of tokens: keys, rules and what is remembered of earlier judgements. Changes when tokens are judged in another
//! order.

use std::time::SystemTime;

use bridge_policy::denial::Denial;
use bridge_policy::principal::Principal;
use bridge_snapshot::Jwt;

use crate::cache::Cache;
use crate::claims::{self, Rules};
use crate::jws;
use crate::keys::Keys;

/// Longest token in bytes, as in the original.
const MAX_TOKEN: usize = 4096;

/// Judges tokens by one access policy and the keys that were loaded for it. Immutable; a reload makes another one, which
/// remembers nothing of this one's judgements.
#[derive(Debug)]
pub struct Authenticator {
    keys: Keys,
    rules: Rules,
    cache: Option<Cache>,
}

impl Authenticator {
    /// From the policy and its keys.
    pub fn new(config: &Jwt, keys: Keys) -> Self {
        Self {
            cache: (!config.cache_ttl.is_zero()).then(|| Cache::new(config.cache_ttl)),
            rules: Rules { issuer: config.issuer.clone(), audience: config.audience.clone() },
            keys,
        }
    }

    /// The party that a token names at `now`: signature, then claims. Fails for the first reason that is found.
    pub fn verify(&self, token: &str, now: SystemTime) -> Result<Principal, Denial> {
        // First of all: on some transports a token is a part of a message, and those may be large.
        if token.len() > MAX_TOKEN {
            return Err(Denial::InvalidToken);
        }
        let Some(cache) = &self.cache else { return self.judge(token, now) };
        let key = Cache::key(token);
        if let Some(principal) = cache.get(&key, now) {
            return Ok(principal);
        }
        let principal = self.judge(token, now)?;
        cache.put(key, principal.clone(), now);
        Ok(principal)
    }

    fn judge(&self, token: &str, now: SystemTime) -> Result<Principal, Denial> {
        let claims = jws::open(token, &self.keys)?;
        claims::judge(&claims, &self.rules, now).map(Principal::authenticated)
    }
}

#[cfg(test)]
mod tests;
