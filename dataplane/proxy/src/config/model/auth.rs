//! `auth`: who may use the gateway. Changes when a provider is added.

use std::path::PathBuf;

use super::Anything;
use crate::config::decode::{Absent, At, CommaList, Context, Decode};
use crate::config::shape::Status::{NotYetQuiet, Works};
use crate::config::shape::{Shape, choice, section};
use crate::config::values::{Count, Hidden};
use crate::config::yaml::{Node, Value};

/// The `auth` key in all its forms.
#[derive(Debug, Clone)]
pub(crate) enum Auth {
    /// Not there at all.
    Missing,
    /// The map form; an empty one counts, so that a forgotten body never opens access.
    Section(Box<AuthSection>),
    /// A list of schemes, as in early configurations.
    List,
}

impl Decode for Auth {
    const NULL_IS_A_VALUE: bool = true;

    fn shape() -> Shape {
        Shape::OneOf(vec![AuthSection::shape(), Shape::List(Box::new(Shape::Anything))])
    }

    fn decode(node: &Node, at: &At, cx: &mut Context<'_>) -> Option<Self> {
        match node.value {
            Value::List(_) => Some(Self::List),
            _ => AuthSection::decode(node, at, cx).map(Box::new).map(Self::Section),
        }
    }
}

impl Absent for Auth {
    fn absent(_: &At) -> Self {
        Self::Missing
    }
}

section! {
    /// Who may use the gateway.
    pub(crate) struct AuthSection {
        /// How clients prove who they are. `none` lets everybody in, also over the network; `jwt` takes signed tokens. The
        /// others are not available yet: every request is refused until they are.
        provider: Provider = Provider::Jwt, Works;
        /// Scheme, in early configurations; every request is refused.
        r#type: Option<String>, NotYetQuiet;
        /// Signed tokens.
        jwt: Jwt, Works;
        /// Whether each message on a connection carries a token of the party that opened it, and not only its beginning.
        /// Streamable HTTP needs a token with each request anyway.
        per_message_auth: bool = false, Works;
        /// Seconds for which an accepted token is remembered instead of verified again, never beyond its expiry. 0: not at
        /// all.
        per_message_auth_cache: Count = Count(300), Works;
    } accepts {
        /// Tokens checked by an authorization server.
        oauth2: OAuth2, NotYetQuiet;
        /// Client certificates as identities.
        mtls: Anything, NotYetQuiet;
    }
}

choice! {
    /// How clients prove who they are.
    pub(crate) enum Provider {
        /// Not at all.
        None = "none",
        /// Signed tokens.
        Jwt = "jwt",
        /// Tokens checked by an authorization server.
        OAuth2 = "oauth2",
        /// Client certificates.
        Mtls = "mtls",
    }
}

section! {
    /// Signed tokens.
    pub(crate) struct Jwt {
        /// Required `iss`. Empty: tokens of every issuer are taken.
        issuer: String = "mcp-gateway".to_owned(), Works;
        /// Required `aud`, or one of several there. Empty: tokens that are meant for anybody are taken.
        audience: String = "mcp-gateway".to_owned(), Works;
        /// Name of the environment variable with the secret of HS256, HS384 and HS512 tokens. Without it and
        /// `public_key_path`, `JWT_SECRET_KEY` or `MCP_JWT_SECRET_KEY`, whichever is set.
        secret_key_env: Option<String>, Works;
        /// PEM file with the RSA public key (2048 bits or more) of RS256, RS384 and RS512 tokens. It is read at start and at
        /// each reload.
        public_key_path: Option<PathBuf>, Works;
    }
}

section! {
    /// Tokens checked by an authorization server.
    pub(crate) struct OAuth2 {
    } accepts {
        /// Client id at the authorization server.
        client_id: String, NotYetQuiet;
        /// Name of the environment variable with the client secret.
        client_secret_env: String, NotYetQuiet;
        /// Client secret.
        client_secret: Hidden, NotYetQuiet;
        /// Token endpoint.
        token_endpoint: String, NotYetQuiet;
        /// Introspection endpoint.
        introspect_endpoint: String, NotYetQuiet;
        /// Key set endpoint.
        jwks_endpoint: String, NotYetQuiet;
        /// Required scopes.
        scopes: CommaList<String>, NotYetQuiet;
        /// Required issuer.
        issuer: String, NotYetQuiet;
        /// Required audience.
        audience: String, NotYetQuiet;
    }
}
