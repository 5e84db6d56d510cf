//! Who is calling, as data. Changes when identities carry more.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::SystemTime;

/// An authenticated caller, or everybody when authentication is off. Cheap to clone.
///
/// Two are equal when they are the same party: issuer and subject decide who owns a session, and a fresh token of the
/// same party continues it. Nobody who authenticated equals the anonymous principal, whatever the token calls them.
#[derive(Debug, Clone)]
pub struct Principal(Option<Arc<Bearer>>);

#[derive(Debug)]
struct Bearer {
    grant: Grant,
    policy: u64,
}

/// What a verified credential says of its bearer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Who vouches for the subject; empty when the credential does not say.
    pub issuer: String,
    /// Whom the credential names; never empty.
    pub subject: String,
    /// What it allows, in its own order.
    pub scopes: Vec<String>,
    /// From this moment on it is void.
    pub expires_at: SystemTime,
    /// Its own identifier (`jti`).
    pub token_id: Option<String>,
    /// Limits that replace the configured ones.
    pub rate_limit: Option<RateLimit>,
}

/// Requests that a credential allows; without a bound where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Requests in any 60 seconds.
    pub requests_per_minute: Option<u32>,
    /// Requests in any 10 seconds.
    pub burst: Option<u32>,
}

impl Principal {
    /// The principal of a gateway without authentication.
    pub fn anonymous() -> Self {
        Self(None)
    }

    /// The bearer of a verified credential.
    pub fn authenticated(grant: Grant) -> Self {
        Self::admitted(grant, 0)
    }

    /// The bearer of a credential that was verified by this policy, a number that stands for its keys and rules.
    pub fn admitted(grant: Grant, policy: u64) -> Self {
        Self(Some(Arc::new(Bearer { grant, policy })))
    }

    /// Its name, for logs. Not an identity: different issuers may use the same.
    pub fn as_str(&self) -> &str {
        self.grant().map_or("anonymous", |grant| &grant.subject)
    }

    /// What it authenticated with; `None` for the anonymous principal.
    pub fn grant(&self) -> Option<&Grant> {
        self.0.as_deref().map(|bearer| &bearer.grant)
    }

    /// The policy that verified its credential; `None` for the anonymous principal.
    pub fn policy(&self) -> Option<u64> {
        self.0.as_deref().map(|bearer| bearer.policy)
    }

    /// Issuer and subject, the two that make it this party and no other; `None` for the anonymous principal.
    pub fn identity(&self) -> Option<(&str, &str)> {
        self.grant().map(|grant| (grant.issuer.as_str(), grant.subject.as_str()))
    }

    /// From when on its credential is void; `None` where that never happens.
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.grant().map(|grant| grant.expires_at)
    }

    /// Whether its credential is void at `now`.
    pub fn has_expired(&self, now: SystemTime) -> bool {
        self.expires_at().is_some_and(|expires_at| expires_at <= now)
    }
}

impl PartialEq for Principal {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for Principal {}

impl Hash for Principal {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn party(issuer: &str, subject: &str, expires: u64) -> Principal {
        Principal::authenticated(Grant {
            issuer: issuer.to_owned(),
            subject: subject.to_owned(),
            scopes: Vec::new(),
            expires_at: SystemTime::UNIX_EPOCH + Duration::from_secs(expires),
            token_id: Some(expires.to_string()),
            rate_limit: None,
        })
    }

    #[test]
    fn a_fresh_credential_is_the_same_party() {
        assert_eq!(party("idp", "alice", 1), party("idp", "alice", 2));
    }

    #[test]
    fn issuer_and_subject_tell_parties_apart() {
        assert_ne!(party("idp", "alice", 1), party("idp", "bob", 1));
        assert_ne!(party("idp", "alice", 1), party("other", "alice", 1));
        assert_ne!(party("ab", "c", 1), party("a", "bc", 1));
    }

    #[test]
    fn no_credential_makes_anybody_anonymous() {
        assert_ne!(party("", "anonymous", 1), Principal::anonymous());
        assert_eq!(Principal::anonymous(), Principal::anonymous());
    }

    #[test]
    fn a_credential_is_void_from_its_expiry_on() {
        let at = |secs| SystemTime::UNIX_EPOCH + Duration::from_secs(secs);
        let alice = party("idp", "alice", 10);
        assert!(!alice.has_expired(at(9)) && alice.has_expired(at(10)));
        assert!(!Principal::anonymous().has_expired(at(10)));
        assert_eq!((alice.expires_at(), Principal::anonymous().expires_at()), (Some(at(10)), None));
    }
}
