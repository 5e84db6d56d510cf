//! `backends`: the MCP servers. Changes when a new way to reach a server gets keys.

use std::path::PathBuf;
use std::time::Duration;

use bridge_snapshot::Secret;

use super::Anything;
use crate::config::decode::{Absent, At, CommaList, Context, Decode, FromText, Located, Named, Problem};
use crate::config::shape::Status::{NoEffect, NotYet, Works};
use crate::config::shape::{Shape, choice, section};
use crate::config::values::{Interval, Positive};
use crate::config::yaml::{Node, Value};

/// The `backends` key: a list, or the original's map around the list.
#[derive(Debug, Clone)]
pub(crate) struct Backends(pub(crate) Vec<Located<Backend>>);

impl Decode for Backends {
    fn shape() -> Shape {
        Shape::OneOf(vec![Vec::<Located<Backend>>::shape(), Wrapped::shape()])
    }

    fn decode(node: &Node, at: &At, cx: &mut Context<'_>) -> Option<Self> {
        match node.value {
            Value::Map(_) => Wrapped::decode(node, at, cx).map(|wrapped| Self(wrapped.backends.value)),
            _ => Vec::decode(node, at, cx).map(Self),
        }
    }
}

impl Absent for Backends {
    fn absent(_: &At) -> Self {
        Self(Vec::new())
    }
}

section! {
    /// The map form of `backends`.
    pub(crate) struct Wrapped {
        /// The list.
        backends: Vec<Located<Backend>>, Works;
    }
}

section! {
    /// One MCP server.
    pub(crate) struct Backend {
        /// Required and unique, 1 to 63 characters of `A-Z a-z 0-9 _ . -`. It shows in logs, metrics and prefixes.
        name: Option<String>, Works;
        /// How the server is reached: `stdio`, `http` (Streamable HTTP), `sse` (HTTP+SSE of 2024-11-05), `websocket` or
        /// `tcp_binary`. When this is left out, a `ws` or `tcp` URL says enough, and a server with an `http` URL is asked:
        /// Streamable HTTP first, then HTTP+SSE.
        protocol: Option<Protocol>, Works;
        /// The server alone, with nothing renamed, is at `/mcp/{namespace}`; the name when left out.
        namespace: Option<String>, Works;
        /// Settings of the protocol.
        config: BackendConfig, Works;
    }
}

choice! {
    /// How a server is reached.
    pub(crate) enum Protocol {
        /// A child process.
        Stdio = "stdio",
        /// Streamable HTTP.
        Http = "http" | "https" | "streamable_http" | "streamable-http",
        /// WebSocket.
        WebSocket = "websocket" | "ws" | "wss",
        /// Server-sent events of 2024-11-05.
        Sse = "sse" | "server-sent-events",
        /// TCP binary.
        TcpBinary = "tcp_binary" | "tcp",
    }
}

/// Time for a connection or a child's first answer, unless configured.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Time for an answer, unless configured. Clients have limits of their own; this one only ends what nobody waits for.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_mins(5);
/// Requests in flight per backend, unless configured.
pub(crate) const MAX_CONCURRENCY: usize = 1024;

section! {
    /// Settings of a backend.
    pub(crate) struct BackendConfig {
        /// `stdio`: required. Program and arguments as a list; there is no shell. A program with a slash is relative to `working_dir`,
        /// others are found through `PATH`.
        command: Option<Command>, Works;
        /// `stdio`: working directory of the program, relative to that of the gateway, which it is when left out.
        working_dir: Option<PathBuf>, Works;
        /// `stdio`: environment variables of the program, on top of a minimal set. `{env: NAME}` takes the gateway's own.
        env: Named<SecretSource>, Works;
        /// `stdio`: processes of this backend at once, over all sessions.
        max_processes: Positive = Positive(64), Works;
        /// `http`, `sse`, `websocket`, `tcp_binary`: required. URL of the server. Without a path an `http` server gets `/mcp`, and
        /// the event stream of an `sse` server `/sse`. A `tcp_binary` server is `tcp://host:port`, encrypted `tcps://host:port`.
        base_url: Option<String>, Works;
        /// Other name of `base_url`.
        endpoint: Option<String>, Works;
        /// More URLs of the same server. A conversation opens at one of all, in turn, and stays there; one that cannot be
        /// reached is tried last for a while.
        endpoints: CommaList<String>, Works;
        /// `http`, `sse`, `websocket`: headers added to every request. `{env: NAME}` takes the value from the environment.
        headers: Named<SecretSource>, Works;
        /// `tcp_binary`: what the handshake shows to the server. `{env: NAME}` takes it from the environment. Without it there is
        /// no handshake.
        token: Option<SecretSource>, Works;
        /// `sse`: path of the event stream, behind `base_url`.
        stream_endpoint: Option<String>, Works;
        /// `sse`: path for messages, behind `base_url`, for servers whose stream does not name it.
        request_endpoint: Option<String>, Works;
        /// Which protocol generation to speak: `auto` asks the server (an `sse` server is taken for a legacy one), `legacy` is up
        /// to 2025-11-25, `modern` is 2026-07-28.
        era: Era = Era::Auto, Works;
        /// How long one request may take. Progress reports extend it up to `limits.max_request_duration`.
        request_timeout: Interval = Interval(REQUEST_TIMEOUT), Works;
        /// Other name of `request_timeout`.
        timeout: Option<Interval>, Works;
        /// How long connecting, or the first answer of a new process, may take.
        connect_timeout: Interval = Interval(CONNECT_TIMEOUT), Works;
        /// Requests in flight at once; more are refused with an error that says to retry.
        max_concurrency: Positive = Positive(MAX_CONCURRENCY), Works;
    } accepts {
        /// Asking the server regularly whether it is well.
        health_check: Anything, NotYet("active health checks are");
        /// `stdio`: restarts of the program.
        process: Anything, NotYet("tuning of restarts is");
        /// `websocket`: connections kept open.
        connection_pool: Anything, NoEffect("each session has a connection of its own, and all modern clients share one");
        /// `websocket`: time for the handshake.
        handshake_timeout: Interval, NoEffect("`connect_timeout` holds for the handshake, too");
        /// `websocket`: `Origin` to send.
        origin: String, NotYet("sending an `Origin` is");
        /// `sse`: pause before connecting again.
        reconnect_delay: Interval, NoEffect("a lost stream is opened again by the next request");
        /// `sse`: attempts to connect again.
        max_reconnects: Positive, NoEffect("a lost stream is opened again by the next request");
        /// Certificates for connections to the server.
        tls: Anything, NotYet("certificate settings for backends are");
    }
}

choice! {
    /// Protocol generation.
    pub(crate) enum Era {
        /// Found out by asking.
        Auto = "auto",
        /// Up to 2025-11-25.
        Legacy = "legacy",
        /// From 2026-07-28.
        Modern = "modern",
    }
}

/// A program and its arguments.
#[derive(Debug, Clone)]
pub(crate) struct Command(pub(crate) Vec<String>);

impl Decode for Command {
    fn shape() -> Shape {
        Shape::List(Box::new(String::text_shape()))
    }

    fn decode(node: &Node, at: &At, cx: &mut Context<'_>) -> Option<Self> {
        if let Value::Scalar(text) = &node.value {
            // Arguments may carry secrets, so only the program is shown.
            let program = text.split_whitespace().next().unwrap_or_default();
            let remedy =
                format!("write a list, for example `[\"{program}\", \"--flag\"]`; no shell splits the text");
            cx.error(
                at,
                Problem::new("expected a list of program and arguments, found a single value").remedy(remedy),
            );
            return None;
        }
        let words = Vec::<Located<String>>::decode(node, at, cx)?;
        Some(Self(words.into_iter().map(|word| word.value).collect()))
    }
}

/// A sensitive value: written out, or taken from the gateway's environment.
#[derive(Debug, Clone)]
pub(crate) struct SecretSource(pub(crate) Secret);

section! {
    /// A reference to the gateway's environment.
    pub(crate) struct SecretReference {
        /// Name of the environment variable.
        env: Option<String>, Works;
    }
}

impl Decode for SecretSource {
    fn shape() -> Shape {
        Shape::OneOf(vec![String::text_shape(), SecretReference::shape()])
    }

    fn decode(node: &Node, at: &At, cx: &mut Context<'_>) -> Option<Self> {
        match &node.value {
            Value::Scalar(text) => Some(Self(Secret::new(text.as_str()))),
            Value::Map(_) => {
                let reference = SecretReference::decode(node, at, cx)?;
                let Some(name) = &reference.env.value else {
                    cx.error(at, Problem::new("no value").remedy("allowed: a text, or `{env: NAME}`"));
                    return None;
                };
                if let Some(value) = (cx.env)(name) {
                    return Some(Self(Secret::new(value)));
                }
                let problem = Problem::new(format!("the environment variable {name} is not set"));
                cx.lacking(&reference.env.at, problem.remedy("set it, or write the value here"));
                Some(Self(Secret::new("")))
            }
            _ => {
                cx.wrong_kind(node, at, "a text or `{env: NAME}`");
                None
            }
        }
    }
}
