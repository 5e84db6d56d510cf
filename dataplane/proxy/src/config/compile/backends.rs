//! `backends` and static discovery to backends. Changes when a new way to reach a server starts to work.

use std::collections::BTreeMap;

use bridge_mcp::original::input::Token;
use bridge_snapshot::{EraPolicy, HttpBackend, Secret, StdioBackend, Target, TcpBackend};

use super::url::{http_endpoint, scheme, tcp_endpoint};
use super::{FileUse, Places, Role};
use crate::config::Severity;
use crate::config::decode::{At, Context, Located, Named, Problem};
use crate::config::model::Config;
use crate::config::model::backends::{
    Backend, BackendConfig, CONNECT_TIMEOUT, Era, MAX_CONCURRENCY, Protocol, REQUEST_TIMEOUT, SecretSource,
};
use crate::config::model::discovery::{Discovery, Endpoint, Provider};

pub(super) fn compile(
    config: &Config,
    places: &mut Places,
    files: &mut Vec<FileUse>,
    cx: &mut Context<'_>,
) -> Vec<bridge_snapshot::Backend> {
    let mut backends = Vec::new();
    for entry in &config.backends.0 {
        if let Some(backend) = listed(entry, files, cx) {
            places.note("backend", &backend.name, &entry.name.at);
            let at = if entry.namespace.given { &entry.namespace.at } else { &entry.name.at };
            places.note("namespace", &backend.namespace, at);
            backends.push(backend);
        }
    }
    discovered(&config.service_discovery, places, &mut backends, cx);
    if backends.is_empty() && cx.errors() == 0 {
        let at = At { path: "backends".to_owned(), ..config.backends.at.clone() };
        cx.warn(&at, Problem::new("no usable backend: clients will find no tools"));
    }
    backends
}

fn listed(
    entry: &Located<Backend>,
    files: &mut Vec<FileUse>,
    cx: &mut Context<'_>,
) -> Option<bridge_snapshot::Backend> {
    let Some(name) = entry.name.value.clone() else {
        cx.error(&entry.name.at, Problem::new("missing").remedy("every backend needs a name"));
        return None;
    };
    let Some(protocol) = entry.protocol.value else {
        cx.error(&entry.protocol.at, Problem::new("missing").remedy("allowed: stdio, http"));
        return None;
    };
    let config = &entry.config;
    let target = match protocol {
        Protocol::Stdio => stdio(config, files, cx)?,
        Protocol::Http => http(config, cx)?,
        Protocol::TcpBinary => tcp(config, cx)?,
        Protocol::WebSocket | Protocol::Sse => {
            let problem =
                format!("`{}` backends are not available yet; `{name}` is left out", protocol.name());
            cx.warn(&entry.protocol.at, Problem::new(problem));
            return None;
        }
    };
    foreign_keys(protocol, config, cx);
    Some(bridge_snapshot::Backend {
        namespace: entry.namespace.value.clone().unwrap_or_else(|| name.clone()),
        name,
        target,
        era: match *config.era {
            Era::Auto => EraPolicy::Auto,
            Era::Legacy => EraPolicy::Legacy,
            Era::Modern => EraPolicy::Modern,
        },
        connect_timeout: config.connect_timeout.0,
        request_timeout: request_timeout(config, cx),
        max_concurrency: config.max_concurrency.0,
    })
}

fn request_timeout(config: &BackendConfig, cx: &mut Context<'_>) -> std::time::Duration {
    match config.timeout.value {
        Some(timeout) if config.request_timeout.given && timeout != *config.request_timeout => {
            let problem = "`request_timeout` sets the same limit to another value";
            cx.error(&config.timeout.at, Problem::new(problem).remedy("keep one of the two"));
            timeout.0
        }
        Some(timeout) => timeout.0,
        None => config.request_timeout.0,
    }
}

fn stdio(config: &BackendConfig, files: &mut Vec<FileUse>, cx: &mut Context<'_>) -> Option<Target> {
    let command = match &config.command.value {
        Some(command) if command.0.first().is_some_and(|program| !program.is_empty()) => command.0.clone(),
        _ => {
            let problem = Problem::new(if config.command.given { "empty" } else { "missing" });
            cx.error(&config.command.at, problem.remedy("give the program and its arguments as a list"));
            return None;
        }
    };
    if command.iter().any(|word| word.contains('\0')) {
        cx.error(&config.command.at, Problem::new("a zero byte cannot be passed to a program"));
    }
    for (name, value) in &config.env.0 {
        if name.is_empty() || name.contains(['=', '\0']) || value.0.expose().contains('\0') {
            cx.error(&value.at, Problem::new("not a possible environment variable"));
        }
    }
    // A program found through a PATH of its own cannot be judged from here.
    if let Some(program) = command.first().filter(|_| config.env.0.iter().all(|(name, _)| name != "PATH")) {
        let mut path = std::path::PathBuf::from(program);
        if program.contains('/')
            && let Some(directory) = &config.working_dir.value
        {
            path = directory.join(path);
        }
        files.push(FileUse { at: config.command.at.clone(), path, role: Role::Program });
    }
    if let Some(path) = &config.working_dir.value {
        files.push(FileUse { at: config.working_dir.at.clone(), path: path.clone(), role: Role::WorkingDir });
    }
    Some(Target::Stdio(StdioBackend {
        command,
        working_dir: config.working_dir.value.clone(),
        env: secrets(&config.env),
        max_processes: config.max_processes.0,
    }))
}

/// The URL of the server, and where it is written.
fn one_url<'a>(config: &'a BackendConfig, kind: &str, cx: &mut Context<'_>) -> Option<(&'a str, &'a At)> {
    let single = [&config.base_url, &config.endpoint];
    let single = single.into_iter().filter_map(|key| key.value.as_ref().map(|url| (url, &key.at)));
    let several = config.endpoints.0.iter().map(|url| (&url.value, &url.at));
    let mut urls = single.chain(several);
    let Some((url, at)) = urls.next() else {
        let remedy = format!("{kind} backend needs the URL of the server");
        cx.error(&config.base_url.at, Problem::new("missing").remedy(remedy));
        return None;
    };
    for (_, at) in urls {
        cx.warn(
            at,
            Problem::new("several servers for one backend are not available yet; only the first URL is used"),
        );
    }
    Some((url, at))
}

fn http(config: &BackendConfig, cx: &mut Context<'_>) -> Option<Target> {
    let (url, at) = one_url(config, "an `http`", cx)?;
    let url = checked(url, http_endpoint, at, cx)?;
    for (name, value) in &config.headers.0 {
        header(name, value, cx);
    }
    Some(Target::Http(HttpBackend { url, headers: secrets(&config.headers) }))
}

fn tcp(config: &BackendConfig, cx: &mut Context<'_>) -> Option<Target> {
    let (url, at) = one_url(config, "a `tcp_binary`", cx)?;
    let (host, port, tls) = checked(url, tcp_endpoint, at, cx)?;
    let token = config.token.value.as_ref().map(|token| token.0.clone());
    if token.as_ref().is_some_and(|token| Token::parse(token.expose()).is_err()) {
        let remedy = "tokens have up to 4096 bytes and no line breaks";
        cx.error(&config.token.at, Problem::new("not a possible token").remedy(remedy));
    }
    if token.is_some() && !tls {
        cx.warn(
            at,
            Problem::new("the token travels unencrypted").remedy("use `tcps://` outside of this machine"),
        );
    }
    Some(Target::Tcp(TcpBackend { host, port, tls, token }))
}

fn checked<T>(
    url: &str,
    endpoint: impl Fn(&str) -> Result<T, Problem>,
    at: &At,
    cx: &mut Context<'_>,
) -> Option<T> {
    match endpoint(url) {
        Ok(url) => Some(url),
        Err(problem) => {
            let found = problem.shown().map(str::to_owned);
            cx.report(Severity::Error, at, problem, found);
            None
        }
    }
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
    } else if RESERVED.iter().any(|reserved| reserved.eq_ignore_ascii_case(name)) {
        cx.error(&value.at, Problem::new("this header is the gateway's own").remedy("remove it"));
    } else if value.0.expose().parse::<http::HeaderValue>().is_err() {
        cx.error(
            &value.at,
            Problem::new("not a possible header value").remedy("line breaks are not allowed"),
        );
    }
}

fn secrets(named: &Named<SecretSource>) -> BTreeMap<String, Secret> {
    named.0.iter().map(|(name, value)| (name.clone(), value.0.clone())).collect()
}

/// Names keys that belong to another protocol.
fn foreign_keys(protocol: Protocol, config: &BackendConfig, cx: &mut Context<'_>) {
    let for_stdio = [
        (config.command.given, &config.command.at),
        (config.working_dir.given, &config.working_dir.at),
        (config.env.given, &config.env.at),
        (config.max_processes.given, &config.max_processes.at),
    ];
    let for_remote = [
        (config.base_url.given, &config.base_url.at),
        (config.endpoint.given, &config.endpoint.at),
        (config.endpoints.given, &config.endpoints.at),
    ];
    let for_http = [(config.headers.given, &config.headers.at)];
    let for_tcp = [(config.token.given, &config.token.at)];
    let foreign: [&[(bool, &At)]; 2] = match protocol {
        Protocol::Stdio => [&for_remote, &for_http],
        Protocol::TcpBinary => [&for_stdio, &for_http],
        _ => [&for_stdio, &[]],
    };
    let own_token: &[(bool, &At)] = if protocol == Protocol::TcpBinary { &[] } else { &for_tcp };
    for (_, at) in foreign.into_iter().flatten().chain(own_token).filter(|(given, _)| *given) {
        cx.warn(at, Problem::new(format!("has no effect on a backend with `protocol: {}`", protocol.name())));
    }
}

fn discovered(
    discovery: &Located<Discovery>,
    places: &mut Places,
    backends: &mut Vec<bridge_snapshot::Backend>,
    cx: &mut Context<'_>,
) {
    let chosen = if discovery.provider.value.is_some() { &discovery.provider } else { &discovery.mode };
    let endpoints = &discovery.r#static.endpoints;
    match chosen.value {
        Some(Provider::Static) if endpoints.0.is_empty() && discovery.providers.is_empty() => {
            let problem = "`static` needs `service_discovery.static.endpoints`";
            cx.error(&chosen.at, Problem::new(problem).remedy("list the servers there, or under `backends`"));
        }
        // Endpoints that somebody wrote are meant to be used, although the original looks into Kubernetes by default.
        Some(Provider::Static) | None => from_endpoints(endpoints, places, backends, cx),
        Some(provider) => {
            not_yet(provider, &chosen.at, cx);
            if endpoints.given {
                let problem = format!("has no effect: the provider is `{}`", provider.name());
                cx.warn(&endpoints.at, Problem::new(problem));
            }
        }
    }
    for entry in &discovery.providers.value {
        match entry.r#type.value {
            Some(Provider::Static) => from_endpoints(&entry.config.endpoints, places, backends, cx),
            Some(provider) => not_yet(provider, &entry.r#type.at, cx),
            None => cx.error(
                &entry.r#type.at,
                Problem::new("missing").remedy("allowed: static, kubernetes, consul"),
            ),
        }
    }
}

fn not_yet(provider: Provider, at: &At, cx: &mut Context<'_>) {
    let problem =
        format!("`{}` service discovery is not available yet; it finds no servers", provider.name());
    cx.warn(at, Problem::new(problem));
}

fn from_endpoints(
    endpoints: &Named<Vec<Located<Endpoint>>>,
    places: &mut Places,
    backends: &mut Vec<bridge_snapshot::Backend>,
    cx: &mut Context<'_>,
) {
    for (namespace, servers) in &endpoints.0 {
        let mut used = false;
        for server in &servers.value {
            let Some(url) = &server.url.value else {
                cx.error(&server.url.at, Problem::new("missing").remedy("every endpoint needs a URL"));
                continue;
            };
            let scheme = scheme(url).unwrap_or_default();
            if let "ws" | "wss" | "sse" | "stdio" = scheme.as_str() {
                let problem = format!("`{scheme}` endpoints are not available yet; this one is left out");
                cx.warn(&server.url.at, Problem::new(problem));
                continue;
            }
            let at = &server.url.at;
            let target = if scheme.starts_with("tcp") {
                checked(url, tcp_endpoint, at, cx)
                    .map(|(host, port, tls)| Target::Tcp(TcpBackend { host, port, tls, token: None }))
            } else {
                checked(url, http_endpoint, at, cx)
                    .map(|url| Target::Http(HttpBackend { url, headers: BTreeMap::new() }))
            };
            let Some(target) = target else { continue };
            if used {
                let problem =
                    "several servers for one namespace are not available yet; only the first is used";
                cx.warn(&server.url.at, Problem::new(problem));
                continue;
            }
            used = true;
            places.note("backend", namespace, &servers.at);
            places.note("namespace", namespace, &servers.at);
            backends.push(bridge_snapshot::Backend {
                name: namespace.clone(),
                namespace: namespace.clone(),
                target,
                era: EraPolicy::Auto,
                connect_timeout: CONNECT_TIMEOUT,
                request_timeout: REQUEST_TIMEOUT,
                max_concurrency: MAX_CONCURRENCY,
            });
        }
    }
}
