//! Who may use a gateway. Changes when the data plane can prove or decide something else.
//!
//! Whatever cannot be applied refuses everybody: a policy that was left out would let everybody in.

use bridge_api::condition::Accepted;
use bridge_api::v1alpha1::McpGatewaySpec;
use bridge_api::v1alpha1::gateway::{Action, Auth, Authorization, JwtProvider};
use bridge_snapshot::{Access, Jwt};

use super::credentials::Secrets;
use super::finding::Problem;
use super::material;
use super::refs::Lookup;
use crate::defaults;

/// The policy, and why it refuses everybody if that is not what was asked for.
pub(super) fn access(
    lookup: &mut Lookup<'_>,
    namespace: &str,
    spec: &McpGatewaySpec,
    secrets: &mut Secrets,
) -> (Access, Option<Problem>) {
    match policy(lookup, namespace, spec, secrets) {
        Ok(access) => (access, None),
        Err(problem) => (
            Access::Refuse { reason: format!("all clients are refused: {}", problem.message()) },
            Some(problem),
        ),
    }
}

fn policy(
    lookup: &mut Lookup<'_>,
    namespace: &str,
    spec: &McpGatewaySpec,
    secrets: &mut Secrets,
) -> Result<Access, Problem> {
    if let Some(authorization) = &spec.authorization {
        check_authorization(authorization)?;
    }
    let Some(auth) = &spec.auth else {
        return Ok(nobody("spec.auth is absent, so nobody is let in"));
    };
    if auth.mtls.is_some() {
        return Err(unsupported("spec.auth.mtls"));
    }
    let anonymous = auth.anonymous == Some(Action::Allow);
    match (&auth.jwt, anonymous) {
        (Some(_), true) => Err(unsupported("spec.auth.anonymous: Allow together with spec.auth.jwt")),
        (Some(jwt), false) => {
            let mut ways = Vec::new();
            for provider in &jwt.providers {
                let jwt = signed_tokens(lookup, namespace, (auth, provider), secrets)?;
                ways.extend(for_audiences(jwt, provider.audiences.as_deref().unwrap_or_default()));
            }
            Ok(match <[Jwt; 1]>::try_from(ways) {
                Ok([only]) => Access::Jwt(only),
                Err(any_of) => Access::AnyJwt { any_of },
            })
        }
        (None, true) => Ok(Access::Anonymous { explicit: true }),
        (None, false) => Ok(nobody("spec.auth names no proof, and does not allow anonymous clients")),
    }
}

fn signed_tokens(
    lookup: &mut Lookup<'_>,
    namespace: &str,
    (auth, provider): (&Auth, &JwtProvider),
    secrets: &mut Secrets,
) -> Result<Jwt, Problem> {
    let field = format!("spec.auth.jwt.providers[{}]", provider.name);
    let Some(secret) = &provider.hmac_secret_ref else {
        return Err(unsupported(&format!("{field}: jwksURL and discovery")));
    };
    if provider.claims.is_some() {
        return Err(unsupported(&format!("{field}.claims")));
    }
    let value = lookup
        .value(namespace, secret)
        .map_err(|problem| problem.at(format_args!("{field}.hmacSecretRef")))?;
    let length = value.len();
    if length < defaults::HMAC_BYTES {
        return Err(Problem::spec(
            Accepted::Invalid,
            format_args!(
                "{field}.hmacSecretRef: the secret has {length} bytes; at least {} are needed; all clients are refused",
                defaults::HMAC_BYTES
            ),
        ));
    }
    let per_message = auth.per_message.as_ref();
    let cache = per_message.and_then(|each| each.cache_seconds);
    Ok(Jwt {
        issuer: Some(provider.issuer.clone()),
        audience: None,
        secret: Some(material::of_secret(secrets, namespace, secret, value)),
        public_key_file: None,
        per_message: per_message.and_then(|each| each.enabled).unwrap_or(false),
        cache_ttl: cache
            .map_or(defaults::TOKEN_CACHE, |seconds| std::time::Duration::from_secs(seconds.into())),
    })
}

/// A token for any of the audiences will do.
fn for_audiences(jwt: Jwt, audiences: &[String]) -> Vec<Jwt> {
    if audiences.is_empty() {
        return vec![jwt];
    }
    audiences.iter().map(|audience| Jwt { audience: Some(audience.clone()), ..jwt.clone() }).collect()
}

fn check_authorization(authorization: &Authorization) -> Result<(), Problem> {
    if authorization.rules.as_ref().is_some_and(|rules| !rules.is_empty()) {
        return Err(unsupported("spec.authorization.rules"));
    }
    if authorization.default_action == Some(Action::Deny) {
        return Err(Problem::spec(
            Accepted::Invalid,
            "spec.authorization.defaultAction: Deny without rules refuses every request",
        ));
    }
    Ok(())
}

fn unsupported(field: &str) -> Problem {
    Problem::unsupported(field, "all clients are refused")
}

fn nobody(reason: &str) -> Access {
    Access::Refuse { reason: reason.to_owned() }
}
