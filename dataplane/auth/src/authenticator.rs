//! The judge of tokens: keys, rules and what is remembered of earlier judgements. Changes when tokens are judged in another
//! order.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::LazyLock;
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

/// Makes the numbers of policies: equal ones for equal keys and rules, which tell nothing of them outside this process.
static POLICIES: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// Judges tokens by one access policy and the keys that were loaded for it. Immutable; a reload makes another one, which
/// remembers nothing of this one's judgements.
#[derive(Debug)]
pub struct Authenticator {
    ways: Vec<(Keys, Rules)>,
    policy: u64,
    cache: Option<Cache>,
}

impl Authenticator {
    /// From the policy and its keys.
    pub fn new(config: &Jwt, keys: Keys) -> Self {
        Self::any([(config, keys)])
    }

    /// From several policies, each with its keys: a token must satisfy one of them, by a key of that one. The first says how
    /// long judgements are remembered.
    pub fn any<'a>(ways: impl IntoIterator<Item = (&'a Jwt, Keys)>) -> Self {
        let mut remembered = None;
        let ways: Vec<_> = ways
            .into_iter()
            .map(|(config, keys)| {
                remembered.get_or_insert(config.cache_ttl);
                let rules = Rules { issuer: config.issuer.clone(), audience: config.audience.clone() };
                (keys, rules)
            })
            .collect();
        let remembered = remembered.filter(|ttl| !ttl.is_zero());
        Self { cache: remembered.map(Cache::new), policy: POLICIES.hash_one(&ways), ways }
    }

    /// Whether `principal` was let in by these keys and rules, here or before a reload that left them as they are.
    pub fn has_admitted(&self, principal: &Principal) -> bool {
        principal.policy() == Some(self.policy)
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
        // Without any way nobody is let in.
        let mut refused = Denial::PolicyUnusable;
        for (position, (keys, rules)) in self.ways.iter().enumerate() {
            let judged = jws::open(token, keys).and_then(|claims| claims::judge(&claims, rules, now));
            match judged {
                Ok(grant) => return Ok(Principal::admitted(grant, self.policy)),
                Err(denial) if position == 0 || progress(denial) > progress(refused) => refused = denial,
                Err(_) => {}
            }
        }
        Err(refused)
    }
}

/// How far a token came before it was refused: the way on which it came furthest is the one that it was made for.
fn progress(denial: Denial) -> u8 {
    match denial {
        Denial::UnsupportedAlgorithm => 0,
        Denial::InvalidSignature => 1,
        Denial::InvalidIssuer => 2,
        Denial::InvalidAudience => 3,
        _ => 4,
    }
}

#[cfg(test)]
mod tests;
