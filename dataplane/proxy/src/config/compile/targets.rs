//! URLs and their settings to the places where a backend is reached. Changes when a URL can mean another protocol.

use std::collections::BTreeMap;

use bridge_mcp::original::input::Token;
use bridge_snapshot::{DetectBackend, HttpBackend, Secret, SseBackend, Target, TcpBackend, WebSocketBackend};

use super::url::{http_endpoint, join, scheme, sse_stream, tcp_endpoint, websocket_endpoint};
use crate::config::Severity;
use crate::config::decode::{At, Context, Located, Named, Problem};
use crate::config::model::backends::{BackendConfig, SecretSource};

/// What the servers of a list of URLs speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaks {
    /// Streamable HTTP.
    Http,
    /// HTTP+SSE.
    Sse,
    /// WebSocket.
    WebSocket,
    /// The original's binary protocol.
    TcpBinary,
    /// To be found out.
    Unknown,
}

/// The URLs of a backend, under whichever of its keys.
pub(super) fn urls(config: &BackendConfig) -> Vec<(&str, &At)> {
    let single = [&config.base_url, &config.endpoint];
    let single = single.into_iter().filter_map(|key| key.value.as_deref().map(|url| (url, &key.at)));
    let several = config.endpoints.0.iter().map(|url| (url.value.as_str(), &url.at));
    single.chain(several).collect()
}

/// The places that a backend's URLs name. What is wrong is reported and left out.
pub(super) fn of_backend(speaks: Speaks, config: &BackendConfig, cx: &mut Context<'_>) -> Vec<Target> {
    for (name, value) in &config.headers.0 {
        header(name, value, cx);
    }
    let token = config.token.value.as_ref().map(|token| &token.0);
    if token.is_some_and(|token| Token::parse(token.expose()).is_err()) {
        let remedy = "tokens have up to 4096 bytes and no line breaks";
        cx.error(&config.token.at, Problem::new("not a possible token").remedy(remedy));
    }
    let headers = secrets(&config.headers);
    let beside = Beside {
        stream: config.stream_endpoint.value.as_deref(),
        request: config.request_endpoint.value.as_deref(),
        headers: Some(&headers),
        token,
    };
    urls(config).into_iter().filter_map(|(url, at)| target(speaks, url, at, beside, cx)).collect()
}

/// The place that one URL of a list of servers names.
pub(super) fn of_url(detect: bool, url: &str, at: &At, cx: &mut Context<'_>) -> Option<Target> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (speaks, url) = match scheme(url).as_deref() {
        Some("sse") => (Speaks::Sse, format!("http://{rest}")),
        Some("ws" | "wss") => (Speaks::WebSocket, url.to_owned()),
        Some("tcp" | "tcps" | "tcp+tls") => (Speaks::TcpBinary, url.to_owned()),
        Some("stdio") => {
            cx.warn(at, Problem::new("`stdio` endpoints are not available yet; this one is left out"));
            return None;
        }
        _ => (if detect { Speaks::Unknown } else { Speaks::Http }, url.to_owned()),
    };
    target(speaks, &url, at, Beside::default(), cx)
}

/// What a backend's keys say beside its URLs.
#[derive(Debug, Clone, Copy, Default)]
struct Beside<'a> {
    /// Paths that are added to the URL.
    stream: Option<&'a str>,
    request: Option<&'a str>,
    headers: Option<&'a BTreeMap<String, Secret>>,
    token: Option<&'a Secret>,
}

fn target(speaks: Speaks, url: &str, at: &At, beside: Beside<'_>, cx: &mut Context<'_>) -> Option<Target> {
    let mut report = |outcome: Result<String, Problem>| reported(outcome, at, cx);
    let headers = beside.headers.cloned().unwrap_or_default();
    let http = |url: String| HttpBackend { url, headers: headers.clone() };
    let sse = |url: String, request_url| SseBackend { url, request_url, headers: headers.clone() };
    Some(match speaks {
        Speaks::Http => Target::Http(http(report(http_endpoint(url))?)),
        Speaks::Sse => {
            let stream = match beside.stream {
                Some(path) => join(url, path).and_then(|url| sse_stream(&url)),
                None => sse_stream(url),
            };
            let stream = report(stream)?;
            let request = match beside.request {
                Some(path) => Some(report(join(url, path))?),
                None => None,
            };
            Target::Sse(sse(stream, request))
        }
        Speaks::WebSocket => {
            let url = report(websocket_endpoint(url))?;
            Target::WebSocket(WebSocketBackend { url, headers })
        }
        Speaks::TcpBinary => {
            let (host, port, tls) = reported(tcp_endpoint(url), at, cx)?;
            if beside.token.is_some() && !tls {
                let problem = Problem::new("the token travels unencrypted");
                cx.warn(at, problem.remedy("use `tcps://` outside of this machine"));
            }
            Target::Tcp(TcpBackend { host, port, tls, token: beside.token.cloned() })
        }
        Speaks::Unknown if matches!(scheme(url).as_deref(), Some("ws" | "wss")) => {
            return target(Speaks::WebSocket, url, at, beside, cx);
        }
        Speaks::Unknown if matches!(scheme(url).as_deref(), Some("tcp" | "tcps" | "tcp+tls")) => {
            return target(Speaks::TcpBinary, url, at, beside, cx);
        }
        Speaks::Unknown => {
            let endpoint = report(http_endpoint(url))?;
            let stream = report(sse_stream(url))?;
            Target::Detect(DetectBackend { http: http(endpoint), sse: sse(stream, None) })
        }
    })
}

fn reported<T>(outcome: Result<T, Problem>, at: &At, cx: &mut Context<'_>) -> Option<T> {
    outcome
        .inspect_err(|problem| {
            let found = problem.shown().map(str::to_owned);
            cx.report(Severity::Error, at, problem.clone(), found);
        })
        .ok()
}

/// Headers that belong to the connection or to the protocol: setting them would break requests.
const RESERVED: [&str; 14] = [
    "accept",
    "connection",
    "content-length",
    "content-type",
    "host",
    "last-event-id",
    "mcp-method",
    "mcp-name",
    "mcp-protocol-version",
    "mcp-session-id",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

fn header(name: &str, value: &Located<SecretSource>, cx: &mut Context<'_>) {
    if name.parse::<http::HeaderName>().is_err() {
        cx.error(&value.at, Problem::new("not a possible header name"));
    } else if RESERVED.iter().any(|reserved| reserved.eq_ignore_ascii_case(name))
        || name.to_ascii_lowercase().starts_with("sec-websocket-")
    {
        cx.error(&value.at, Problem::new("this header is the gateway's own").remedy("remove it"));
    } else if value.0.expose().parse::<http::HeaderValue>().is_err() {
        cx.error(
            &value.at,
            Problem::new("not a possible header value").remedy("line breaks are not allowed"),
        );
    }
}

pub(super) fn secrets(named: &Named<SecretSource>) -> BTreeMap<String, Secret> {
    named.0.iter().map(|(name, value)| (name.clone(), value.0.clone())).collect()
}
