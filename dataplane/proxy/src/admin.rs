//! `mcp-gateway admin`, for scripts of the original gateway. Changes when one of its commands starts to work.

use std::fmt;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bridge_auth::{Claims, Rates, sign};
use bridge_runtime::timestamp;
use clap::{Args, Subcommand};

use crate::config;

/// Issuer and audience of tokens: fixed in the original, and the defaults of `auth.jwt`.
const NAME: &str = "mcp-gateway";
/// Requests that a token allows, as in the original.
const RATES: Rates = Rates { requests_per_minute: 1000, burst: 50 };
/// Variables with the secret, in the order in which the gateway itself looks for it.
const SECRETS: [&str; 2] = ["JWT_SECRET_KEY", "MCP_JWT_SECRET_KEY"];

/// What to administer.
#[derive(Debug, Subcommand)]
pub enum Admin {
    /// Tokens of clients.
    #[command(subcommand)]
    Token(Token),
    /// Not available: ask the health page.
    Status,
    /// Not available: ask the health page.
    #[command(subcommand)]
    Namespace(Namespace),
    /// Not available: ask the health and metrics pages.
    #[command(subcommand)]
    Debug(Debug),
}

/// Tokens of clients.
#[derive(Debug, Subcommand)]
pub enum Token {
    /// Make a token, signed with the secret in `JWT_SECRET_KEY`, or `MCP_JWT_SECRET_KEY`.
    Create(Create),
    /// Not available: tokens are not stored.
    List,
    /// Not available: tokens are not stored.
    Revoke {
        /// Identifier of a token.
        id: Option<String>,
    },
}

/// How to make a token.
#[derive(Debug, Args)]
pub struct Create {
    /// Whom the token names.
    #[arg(short, long, default_value = "default")]
    pub user: String,
    /// How long it is valid, for example 720h or 30m.
    #[arg(short, long, default_value = "8760h", value_parser = config::go_duration)]
    pub expiry: Duration,
    /// What it allows, separated by commas.
    #[arg(short, long, value_delimiter = ',', default_values = ["mcp:*:read", "mcp:*:write"])]
    pub scopes: Vec<String>,
}

/// Namespaces of backends.
#[derive(Debug, Subcommand)]
pub enum Namespace {
    /// Not available: ask the health page.
    List,
}

/// The state of a gateway.
#[derive(Debug, Subcommand)]
pub enum Debug {
    /// Not available: ask the health page.
    Health,
    /// Not available: ask the metrics page.
    Metrics,
}

/// What a command says.
#[derive(Debug)]
pub struct Output {
    /// Its result, for standard output.
    pub text: String,
    /// What its user should know besides.
    pub warning: Option<&'static str>,
}

/// Why a command has no result.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The command never worked in the original and does not here.
    #[error("`mcp-gateway admin {command}` is not available; {instead}")]
    NotAvailable {
        /// Its words.
        command: &'static str,
        /// What to do instead.
        instead: &'static str,
    },
    /// A token without a subject is nobody's.
    #[error("the user is empty: a token names somebody")]
    NoUser,
    /// No randomness.
    #[error("the system gives no randomness: {0}")]
    Random(getrandom::Error),
    /// The token cannot be written.
    #[error("the token cannot be encoded: {0}")]
    Encoding(#[from] serde_json::Error),
}

impl Admin {
    /// Does it. `env` reads the environment.
    pub fn run(&self, env: &dyn Fn(&str) -> Option<String>, now: SystemTime) -> Result<Output, AdminError> {
        const HEALTH: &str =
            "ask a running gateway: curl http://127.0.0.1:8080/health (`server.health_port`)";
        const STATELESS: &str =
            "tokens are not stored: let them expire soon, or change the secret and restart to end them all";
        let (command, instead) = match self {
            Self::Token(Token::Create(create)) => return create.run(env, now),
            Self::Token(Token::List) => ("token list", STATELESS),
            Self::Token(Token::Revoke { .. }) => ("token revoke", STATELESS),
            Self::Status => ("status", HEALTH),
            Self::Namespace(Namespace::List) => ("namespace list", HEALTH),
            Self::Debug(Debug::Health) => ("debug health", HEALTH),
            Self::Debug(Debug::Metrics) => (
                "debug metrics",
                "ask a running gateway: curl http://127.0.0.1:9090/metrics (`server.metrics_port`)",
            ),
        };
        Err(AdminError::NotAvailable { command, instead })
    }
}

impl Create {
    fn run(&self, env: &dyn Fn(&str) -> Option<String>, now: SystemTime) -> Result<Output, AdminError> {
        if self.user.is_empty() {
            return Err(AdminError::NoUser);
        }
        let secret = SECRETS.iter().find_map(|name| env(name).filter(|secret| !secret.is_empty()));
        let warning = secret.is_none().then_some(
            "Warning: JWT_SECRET_KEY is not set; this token is signed with a random secret, and no gateway accepts it",
        );
        let secret =
            secret.map_or_else(|| random::<32>().map(Vec::from), |secret| Ok(secret.into_bytes()))?;
        let expires = now + self.expiry;
        let claims = Claims {
            iss: NAME,
            sub: &self.user,
            aud: [NAME],
            exp: seconds(expires),
            nbf: seconds(now),
            iat: seconds(now),
            jti: &format!("tok_{}", URL_SAFE_NO_PAD.encode(random::<12>()?)),
            scopes: &self.scopes,
            rate_limit: RATES,
        };
        let token = sign(&claims, &secret)?;
        Ok(Output { text: Created { token: &token, expires, create: self }.to_string(), warning })
    }
}

/// The original's words: scripts look for the line `Token: `.
struct Created<'a> {
    token: &'a str,
    expires: SystemTime,
    create: &'a Create,
}

impl fmt::Display for Created<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let expires = timestamp::rfc3339(self.expires);
        // Whole seconds, as `exp` has them.
        let expires = expires.split_once('.').map_or(expires.as_str(), |(seconds, _)| seconds);
        let Create { user, scopes, .. } = self.create;
        writeln!(f, "Creating new auth token...\n\nToken: {}\nExpires: {expires}Z", self.token)?;
        writeln!(f, "User: {user}\nScopes: [{}]\n", scopes.join(" "))?;
        writeln!(f, "Save this token - it cannot be retrieved again.")
    }
}

fn random<const N: usize>() -> Result<[u8; N], AdminError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(AdminError::Random)?;
    Ok(bytes)
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;
