//! Who may: the one place where credentials become a principal, for every frontend. Changes with what frontends hand in.

use std::time::SystemTime;

use bridge_auth::{Authenticator, KeyError, Keys};
use bridge_policy::denial::Denial;
use bridge_policy::principal::Principal;
use bridge_policy::refusal::Refusal;
use bridge_snapshot::Access;
use bridge_transport::frontend::request::text;
use http::HeaderMap;

use crate::gateway::{Gateway, Plan};

/// The access policy of a plan, ready to judge.
#[derive(Debug)]
pub(crate) enum Gate {
    /// Everybody passes as `anonymous`.
    Open,
    /// Nobody passes.
    Closed,
    /// Bearers of tokens pass.
    Tokens {
        /// The judge.
        authenticator: Box<Authenticator>,
        /// Whether each message on a connection needs a token.
        per_message: bool,
    },
}

impl Gate {
    /// Loads the keys that `access` names; reads the environment and the file system.
    pub(crate) fn load(access: &Access) -> Result<Self, KeyError> {
        Ok(match access {
            Access::Anonymous { .. } => Self::Open,
            Access::Refuse { .. } => Self::Closed,
            Access::Jwt(_) | Access::AnyJwt { .. } => {
                let load = |config| -> Result<_, KeyError> {
                    let keys = Keys::load(config, &|name| std::env::var(name).ok())?;
                    if keys.has_weak_secret() {
                        tracing::warn!(
                            "the secret of the tokens is shorter than 32 bytes and can be guessed from any of them"
                        );
                    }
                    Ok((config, keys))
                };
                let ways = access.jwts().iter().map(load).collect::<Result<Vec<_>, _>>()?;
                Self::Tokens {
                    per_message: ways.first().is_some_and(|(config, _)| config.per_message),
                    authenticator: Box::new(Authenticator::any(ways)),
                }
            }
        })
    }

    /// Whether each message on a connection needs a token.
    pub(crate) fn is_per_message(&self) -> bool {
        matches!(self, Self::Tokens { per_message: true, .. })
    }

    fn judge(&self, credentials: Credentials<'_>, now: SystemTime) -> Result<Principal, Denial> {
        match (self, credentials) {
            (Self::Open, _) => Ok(Principal::anonymous()),
            (Self::Closed, _) => Err(Denial::PolicyUnusable),
            (Self::Tokens { .. }, Credentials::None) => Err(Denial::MissingToken),
            (Self::Tokens { authenticator, .. }, Credentials::Bearer(token)) => {
                authenticator.verify(token, now)
            }
        }
    }

    fn judge_message(
        &self,
        connection: &Principal,
        credentials: Credentials<'_>,
        now: SystemTime,
    ) -> Result<Principal, Denial> {
        let (authenticator, per_message) = match self {
            Self::Open => return Ok(connection.clone()),
            Self::Closed => return Err(Denial::PolicyUnusable),
            Self::Tokens { authenticator, per_message } => (authenticator, *per_message),
        };
        // A reload can ask for credentials on a connection that began without, or with one of a key that is withdrawn.
        let is_good = authenticator.has_admitted(connection) && !connection.has_expired(now);
        match credentials {
            _ if is_good && !per_message => Ok(connection.clone()),
            Credentials::None if connection.has_expired(now) => Err(Denial::TokenExpired),
            Credentials::None => Err(Denial::MissingToken),
            Credentials::Bearer(_) => {
                let principal = self.judge(credentials, now)?;
                if principal == *connection { Ok(principal) } else { Err(Denial::OtherPrincipal) }
            }
        }
    }
}

/// What a client presents.
#[derive(Clone, Copy)]
pub(crate) enum Credentials<'a> {
    /// Nothing.
    None,
    /// A bearer token, without the scheme word.
    Bearer(&'a str),
}

impl<'a> Credentials<'a> {
    /// Those of an HTTP request, a WebSocket upgrade included (RFC 6750, 2.1; RFC 9110, 11.1: schemes match without regard
    /// to case). Another scheme is none of ours; a header that is no text, or is there twice, is a token that cannot be
    /// read.
    pub(crate) fn from_headers(headers: &'a HeaderMap) -> Self {
        match text(headers, "authorization") {
            None => Self::None,
            Some("") => Self::Bearer(""),
            Some(value) => bearer(value).map_or(Self::None, Self::Bearer),
        }
    }

    /// A token that travels in a message: `auth_token` of an envelope, `params.token` of a handshake. The documentation of
    /// the original shows it with the scheme word, its programs send it without: both are taken.
    #[allow(dead_code, reason = "for frontends whose messages carry tokens")]
    pub(crate) fn from_token(token: Option<&'a str>) -> Self {
        token.map_or(Self::None, |token| Self::Bearer(bearer(token).unwrap_or(token)))
    }
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_matches(' '))
}

/// Judges what comes with a request, a connection or a handshake. Counts what it refuses.
pub(crate) fn authenticate(
    gateway: &Gateway,
    plan: &Plan,
    credentials: Credentials<'_>,
) -> Result<Principal, Refusal> {
    plan.gate.judge(credentials, SystemTime::now()).map_err(|denial| refused(gateway, denial, denial.label()))
}

/// Judges a message on a connection that authenticated as `connection`, by the plan that is current now: the principal
/// under which the message is served, which is the same party with the fresher credential.
///
/// With `auth.per_message_auth` each message needs a token of that party, and the connection lives on with them. Without
/// it a connection ends with its token, and one in a message is looked at only when keys and rules were replaced.
#[allow(dead_code, reason = "for frontends with connections")]
pub(crate) fn authenticate_message(
    gateway: &Gateway,
    plan: &Plan,
    connection: &Principal,
    credentials: Credentials<'_>,
) -> Result<Principal, Refusal> {
    plan.gate
        .judge_message(connection, credentials, SystemTime::now())
        .map_err(|denial| refused(gateway, denial, "invalid_message_token"))
}

/// Completes when the credential of `principal` is void. For whoever needs none it never does.
pub(crate) async fn expired(principal: &Principal) {
    let Some(expires_at) = principal.expires_at() else { return std::future::pending().await };
    // A clock that is set back makes it last longer.
    while let Ok(left) = expires_at.duration_since(SystemTime::now())
        && !left.is_zero()
    {
        tokio::time::sleep(left).await;
    }
}

/// `label` is the original gateway's where it has one.
fn refused(gateway: &Gateway, denial: Denial, label: &'static str) -> Refusal {
    gateway.metrics.auth_failed(label);
    tracing::debug!(code = denial.code(), "not authenticated");
    Refusal::denied(denial)
}

#[cfg(test)]
mod tests;
