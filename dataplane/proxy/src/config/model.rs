//! The configuration file as types: every key, its meaning, default and status. Changes when a key is added or starts
//! to work.

pub(crate) mod auth;
pub(crate) mod backends;
pub(crate) mod discovery;
pub(crate) mod observe;
pub(crate) mod policy;
pub(crate) mod server;

use super::decode::{At, Context, Decode, FromText, Problem};
use super::shape::Status::{NotYet, NotYetQuiet, Works};
use super::shape::{Shape, choice, section};
use super::yaml::Node;

section! {
    /// The whole file.
    pub(crate) struct Config {
        /// Where clients connect.
        server: server::Server, Works;
        /// Who may use the gateway. Without this section everybody may, but only over loopback addresses. A provider that
        /// is not available yet refuses every request: it never opens access.
        auth: auth::Auth, Works;
        /// The MCP servers behind the gateway, in the order in which merged lists show them. Either a list, or a map with
        /// the list under `backends`.
        backends: backends::Backends, Works;
        /// Finding MCP servers instead of listing them under `backends`.
        service_discovery: discovery::Discovery, Works;
        /// When tools and prompts get the name of their backend as a prefix on the merged endpoint `/mcp`.
        naming: Naming = Naming::OnConflict, Works;
        /// Bounds on what one peer can make the gateway hold or do.
        limits: policy::Limits, Works;
        /// Sessions of clients that speak a revision before 2026-07-28.
        sessions: policy::SessionRules, Works;
        /// Choosing between several servers of one namespace.
        routing: Option<policy::Routing>, NotYetQuiet;
        /// Requests per client and time.
        rate_limit: Option<policy::RateLimit>, NotYetQuiet;
        /// Pausing servers that keep failing.
        circuit_breaker: Option<policy::CircuitBreaker>, NotYetQuiet;
        /// Prometheus metrics.
        metrics: observe::Metrics, Works;
        /// The log, on standard error.
        logging: observe::Logging, Works;
        /// Distributed tracing.
        tracing: Option<observe::Tracing>, NotYetQuiet;
    } accepts {
        /// Version of this format; only `1` exists.
        version: Version, Works;
        /// The Redis that gateways share.
        redis: policy::Redis, NotYet("state shared through Redis is");
    }
}

choice! {
    /// When names get a prefix.
    pub(crate) enum Naming {
        /// Never; of several owners of a name the first backend wins.
        Never = "never",
        /// Only names that more than one backend offers.
        OnConflict = "on_conflict",
        /// Every name.
        Always = "always",
    }
}

/// The version of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version;

impl FromText for Version {
    fn text_shape() -> Shape {
        Shape::Text { name: "number", schema: serde_json::json!({ "const": 1 }) }
    }

    fn from_text(text: &str) -> Result<Self, Problem> {
        if text == "1" {
            Ok(Self)
        } else {
            Err(Problem::new("not a version of this format").remedy("allowed: 1"))
        }
    }

    fn to_json(&self) -> serde_json::Value {
        1.into()
    }
}

/// A value that nothing looks at yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Anything;

impl Decode for Anything {
    fn shape() -> Shape {
        Shape::Anything
    }

    fn decode(_: &Node, _: &At, _: &mut Context<'_>) -> Option<Self> {
        Some(Self)
    }
}
