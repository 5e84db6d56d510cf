//! URLs and their settings to the places where a backend is reached. Changes when a URL can mean another protocol.

use std::collections::BTreeMap;

use bridge_snapshot::{DetectBackend, HttpBackend, Secret, SseBackend, Target, WebSocketBackend};

use super::url::{http_endpoint, join, scheme, sse_stream, websocket_endpoint};
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
    let headers = secrets(&config.headers);
    let paths = Paths {
        stream: config.stream_endpoint.value.as_deref(),
        request: config.request_endpoint.value.as_deref(),
    };
    urls(config).into_iter().filter_map(|(url, at)| target(speaks, url, at, paths, &headers, cx)).collect()
}

/// The place that one URL of a list of servers names.
pub(super) fn of_url(detect: bool, url: &str, at: &At, cx: &mut Context<'_>) -> Option<Target> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (speaks, url) = match scheme(url).as_deref() {
        Some("sse") => (Speaks::Sse, format!("http://{rest}")),
        Some("ws" | "wss") => (Speaks::WebSocket, url.to_owned()),
        Some(scheme @ ("tcp" | "tcps" | "stdio")) => {
            let problem = format!("`{scheme}` endpoints are not available yet; this one is left out");
            cx.warn(at, Problem::new(problem));
            return None;
        }
        _ => (if detect { Speaks::Unknown } else { Speaks::Http }, url.to_owned()),
    };
    target(speaks, &url, at, Paths::default(), &BTreeMap::new(), cx)
}

/// Paths that are added to a server's URL.
#[derive(Debug, Clone, Copy, Default)]
struct Paths<'a> {
    stream: Option<&'a str>,
    request: Option<&'a str>,
}

fn target(
    speaks: Speaks,
    url: &str,
    at: &At,
    paths: Paths<'_>,
    headers: &BTreeMap<String, Secret>,
    cx: &mut Context<'_>,
) -> Option<Target> {
    let mut report = |outcome: Result<String, Problem>| {
        outcome
            .inspect_err(|problem| {
                let found = problem.shown().map(str::to_owned);
                cx.report(Severity::Error, at, problem.clone(), found);
            })
            .ok()
    };
    let http = |url: String| HttpBackend { url, headers: headers.clone() };
    let sse = |url: String, request_url| SseBackend { url, request_url, headers: headers.clone() };
    Some(match speaks {
        Speaks::Http => Target::Http(http(report(http_endpoint(url))?)),
        Speaks::Sse => {
            let stream = match paths.stream {
                Some(path) => join(url, path).and_then(|url| sse_stream(&url)),
                None => sse_stream(url),
            };
            let stream = report(stream)?;
            let request = match paths.request {
                Some(path) => Some(report(join(url, path))?),
                None => None,
            };
            Target::Sse(sse(stream, request))
        }
        Speaks::WebSocket => {
            let url = report(websocket_endpoint(url))?;
            Target::WebSocket(WebSocketBackend { url, headers: headers.clone() })
        }
        Speaks::Unknown if matches!(scheme(url).as_deref(), Some("ws" | "wss")) => {
            return target(Speaks::WebSocket, url, at, paths, headers, cx);
        }
        Speaks::Unknown => {
            let endpoint = report(http_endpoint(url))?;
            let stream = report(sse_stream(url))?;
            Target::Detect(DetectBackend { http: http(endpoint), sse: sse(stream, None) })
        }
    })
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
