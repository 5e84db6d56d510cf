//! Access, limits and session settings as data. Changes when a policy is added.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Material;

/// Who may use the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "snake_case")]
pub enum Access {
    /// Everybody, as the principal `anonymous`.
    Anonymous {
        /// Written out by the user (`auth.provider: none`), and so allowed beyond loopback addresses.
        explicit: bool,
    },
    /// Nobody: the configured policy is unusable or not available, and leaving it out would open access.
    Refuse {
        /// What is wrong and what to do, for the operator's log; clients only learn that they are refused.
        reason: String,
    },
    /// Bearers of signed tokens.
    Jwt(Jwt),
    /// Bearers of signed tokens that satisfy one of several, each with an issuer, an audience and keys of its own. How long
    /// tokens are remembered, and whether each message carries one, is said by the first.
    AnyJwt {
        /// At least one; nobody is let in by none.
        any_of: Vec<Jwt>,
    },
}

impl Access {
    /// What tokens may satisfy, where there are tokens.
    pub fn jwts(&self) -> &[Jwt] {
        match self {
            Self::Anonymous { .. } | Self::Refuse { .. } => &[],
            Self::Jwt(jwt) => std::slice::from_ref(jwt),
            Self::AnyJwt { any_of } => any_of,
        }
    }

    /// The same, to be filled in.
    pub(crate) fn jwts_mut(&mut self) -> &mut [Jwt] {
        match self {
            Self::Anonymous { .. } | Self::Refuse { .. } => &mut [],
            Self::Jwt(jwt) => std::slice::from_mut(jwt),
            Self::AnyJwt { any_of } => any_of,
        }
    }
}

/// Signed tokens (RFC 7519).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jwt {
    /// Required `iss`; any when absent.
    pub issuer: Option<String>,
    /// Required member of `aud`; any when absent.
    pub audience: Option<String>,
    /// The secret of HS256, HS384 and HS512.
    pub secret: Option<Material>,
    /// PEM file with the RSA public key of RS256, RS384 and RS512.
    pub public_key_file: Option<PathBuf>,
    /// Whether each message on a connection carries a token, and not only its beginning.
    pub per_message: bool,
    /// How long an accepted token may be remembered; not at all when zero.
    pub cache_ttl: Duration,
}

/// Bounds on what one peer can make the gateway hold or do. Sizes in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// One HTTP request body.
    pub max_http_body: usize,
    /// One message from a client on a connection of its own: WebSocket, stdio, TCP.
    pub max_message: usize,
    /// One message from a backend (line, event or JSON body that has to be held whole).
    pub max_backend_message: usize,
    /// Nesting of JSON values in one message.
    pub max_depth: usize,
    /// Time to send the request head, and then the body.
    pub read_timeout: Duration,
    /// Idle time of a keep-alive connection.
    pub idle_timeout: Duration,
    /// Hard bound on one request however much progress it reports.
    pub max_request_duration: Duration,
    /// Comment interval on open event streams.
    pub keep_alive: Duration,
    /// How long a merged list or an `initialize` waits for backends that were never listed before.
    pub catalogue_wait: Duration,
    /// Events kept per stream for `Last-Event-ID`.
    pub replay_events: usize,
    /// Bytes kept per stream for `Last-Event-ID`.
    pub replay_bytes: usize,
    /// Open `subscriptions/listen` streams at once.
    pub max_listens: usize,
    /// How long a call waits at a legacy server for the answers of its modern client.
    pub parked_ttl: Duration,
    /// Calls that wait so at once.
    pub max_parked: usize,
    /// Calls of one principal that wait so at once.
    pub max_parked_per_principal: usize,
    /// Bytes of messages that such calls hold together.
    pub max_parked_bytes: usize,
    /// Bytes of messages that such calls of one principal hold together.
    pub max_parked_bytes_per_principal: usize,
    /// How often a modern server may ask a legacy client within one call.
    pub max_rounds: u32,
    /// How long in-flight requests may take to finish after SIGTERM.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_http_body: 1024 * 1024,
            max_message: 10 * 1024 * 1024,
            max_backend_message: 10 * 1024 * 1024,
            max_depth: 64,
            read_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_mins(2),
            max_request_duration: Duration::from_hours(1),
            keep_alive: Duration::from_secs(15),
            catalogue_wait: Duration::from_secs(5),
            replay_events: 256,
            replay_bytes: 1024 * 1024,
            max_listens: 10_000,
            parked_ttl: Duration::from_mins(10),
            max_parked: 10_000,
            max_parked_per_principal: 1000,
            max_parked_bytes: 64 * 1024 * 1024,
            max_parked_bytes_per_principal: 16 * 1024 * 1024,
            max_rounds: 10,
            drain_timeout: Duration::from_secs(30),
        }
    }
}

/// Legacy sessions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sessions {
    /// Idle time after which a session ends.
    pub idle_ttl: Duration,
    /// Sessions at once; more are refused with a retryable error.
    pub max_sessions: usize,
}

impl Default for Sessions {
    fn default() -> Self {
        Self { idle_ttl: Duration::from_mins(30), max_sessions: 100_000 }
    }
}
