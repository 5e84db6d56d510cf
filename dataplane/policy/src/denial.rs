//! Why a credential is not accepted. One closed set, shared by answers, metrics and logs.
//!
//! Changes when credentials are judged by something else. No text quotes a credential.

/// A reason to refuse a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Denial {
    /// There is none.
    MissingToken,
    /// It cannot be read: not one bearer token, too long, not three parts, no JSON.
    InvalidToken,
    /// It is signed with an algorithm that the configured keys do not have, `none` included.
    UnsupportedAlgorithm,
    /// No configured key made its signature.
    InvalidSignature,
    /// Its `exp` has passed.
    TokenExpired,
    /// Its `nbf` has not come.
    TokenNotYetValid,
    /// A claim is missing or is not what it has to be: `exp`, `sub`, the types of all.
    InvalidClaims,
    /// It comes from another issuer.
    InvalidIssuer,
    /// It is meant for somebody else.
    InvalidAudience,
    /// It names another party than the connection or session that it came on.
    OtherPrincipal,
    /// It does not allow what was asked for.
    InsufficientScope,
    /// The gateway cannot judge credentials at all.
    PolicyUnusable,
}

impl Denial {
    /// Every reason.
    pub const ALL: &[Self] = &[
        Self::MissingToken,
        Self::InvalidToken,
        Self::UnsupportedAlgorithm,
        Self::InvalidSignature,
        Self::TokenExpired,
        Self::TokenNotYetValid,
        Self::InvalidClaims,
        Self::InvalidIssuer,
        Self::InvalidAudience,
        Self::OtherPrincipal,
        Self::InsufficientScope,
        Self::PolicyUnusable,
    ];

    /// Code in `error.data.code` and in the log. `AUTH_INVALID_TOKEN`, `AUTH_TOKEN_EXPIRED`, `AUTH_MISSING_TOKEN` and
    /// `AUTH_INVALID_CLAIMS` are the original gateway's.
    pub fn code(self) -> &'static str {
        match self {
            Self::MissingToken => "AUTH_MISSING_TOKEN",
            Self::InvalidToken => "AUTH_INVALID_TOKEN",
            Self::UnsupportedAlgorithm => "AUTH_UNSUPPORTED_ALGORITHM",
            Self::InvalidSignature => "AUTH_INVALID_SIGNATURE",
            Self::TokenExpired => "AUTH_TOKEN_EXPIRED",
            Self::TokenNotYetValid => "AUTH_TOKEN_NOT_YET_VALID",
            Self::InvalidClaims => "AUTH_INVALID_CLAIMS",
            Self::InvalidIssuer => "AUTH_INVALID_ISSUER",
            Self::InvalidAudience => "AUTH_INVALID_AUDIENCE",
            Self::OtherPrincipal => "AUTH_OTHER_PRINCIPAL",
            Self::InsufficientScope => "AUTH_INSUFFICIENT_SCOPE",
            Self::PolicyUnusable => "AUTH_POLICY_UNUSABLE",
        }
    }

    /// Label of `mcp_gateway_auth_failures_total`: the code in lower case without `auth_`.
    pub fn label(self) -> &'static str {
        match self {
            Self::MissingToken => "missing_token",
            Self::InvalidToken => "invalid_token",
            Self::UnsupportedAlgorithm => "unsupported_algorithm",
            Self::InvalidSignature => "invalid_signature",
            Self::TokenExpired => "token_expired",
            Self::TokenNotYetValid => "token_not_yet_valid",
            Self::InvalidClaims => "invalid_claims",
            Self::InvalidIssuer => "invalid_issuer",
            Self::InvalidAudience => "invalid_audience",
            Self::OtherPrincipal => "other_principal",
            Self::InsufficientScope => "insufficient_scope",
            Self::PolicyUnusable => "policy_unusable",
        }
    }

    /// What to tell the client. Fit for a quoted string of a header (RFC 9110, 5.6.4): no quotes, no backslashes.
    pub fn text(self) -> &'static str {
        match self {
            Self::MissingToken => "a bearer token is needed; send `Authorization: Bearer <token>`",
            Self::InvalidToken => "the token cannot be read as one signed JWT of at most 4096 bytes",
            Self::UnsupportedAlgorithm => "the token is signed with an algorithm that is not accepted here",
            Self::InvalidSignature => "the token is not signed with a key that is accepted here",
            Self::TokenExpired => "the token has expired; get a new one",
            Self::TokenNotYetValid => "the token is not valid yet",
            Self::InvalidClaims => "the token's claims are not usable; `sub` and `exp` are needed",
            Self::InvalidIssuer => "the token's issuer is not accepted here",
            Self::InvalidAudience => "the token is meant for another audience",
            Self::OtherPrincipal => "the token names somebody else than the connection that it came on",
            Self::InsufficientScope => {
                "the token does not allow this; get one with the scopes that are needed"
            }
            Self::PolicyUnusable => {
                "access is refused: the gateway's authentication is not usable, its log says why"
            }
        }
    }

    /// Whether a credential was presented and is to blame; only then a challenge says `invalid_token` (RFC 6750, 3.1).
    pub fn blames_token(self) -> bool {
        !matches!(self, Self::MissingToken | Self::InsufficientScope | Self::PolicyUnusable)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_reason_has_a_label_made_of_its_code() {
        for denial in Denial::ALL {
            assert_eq!(format!("AUTH_{}", denial.label().to_uppercase()), denial.code());
        }
        let labels: HashSet<_> = Denial::ALL.iter().map(|denial| denial.label()).collect();
        assert_eq!(labels.len(), Denial::ALL.len());
    }

    #[test]
    fn texts_fit_into_a_quoted_string() {
        for denial in Denial::ALL {
            let text = denial.text();
            assert!(
                text.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\'),
                "{text}"
            );
        }
    }
}
