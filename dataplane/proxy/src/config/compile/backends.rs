//! `backends` and static discovery to backends. Changes when a new way to reach a server starts to work.

use bridge_snapshot::{EraPolicy, StdioBackend, Target};

use super::targets::{Speaks, of_backend, of_url, secrets, urls};
use super::{FileUse, Places, Role};
use crate::config::decode::{At, Context, Located, Named, Problem};
use crate::config::model::Config;
use crate::config::model::backends::{
    Backend, BackendConfig, CONNECT_TIMEOUT, Era, MAX_CONCURRENCY, Protocol, REQUEST_TIMEOUT,
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
    let config = &entry.config;
    let protocol = entry.protocol.value;
    let targets = match protocol {
        Some(Protocol::Stdio) => vec![stdio(config, files, cx)?],
        Some(Protocol::Http) => located(Speaks::Http, config, cx)?,
        Some(Protocol::Sse) => located(Speaks::Sse, config, cx)?,
        Some(Protocol::WebSocket) => located(Speaks::WebSocket, config, cx)?,
        Some(Protocol::TcpBinary) => located(Speaks::TcpBinary, config, cx)?,
        // A URL says enough to ask the server itself.
        None if !urls(config).is_empty() => located(Speaks::Unknown, config, cx)?,
        None => {
            let remedy =
                "allowed: stdio, http, sse, websocket, tcp_binary; a backend with a URL may leave it out";
            cx.error(&entry.protocol.at, Problem::new("missing").remedy(remedy));
            return None;
        }
    };
    foreign_keys(protocol, config, cx);
    let mut targets = targets.into_iter();
    Some(bridge_snapshot::Backend {
        namespace: entry.namespace.value.clone().unwrap_or_else(|| name.clone()),
        name,
        target: targets.next()?,
        alternatives: targets.collect(),
        deserted: false,
        era: era(protocol, *config.era),
        connect_timeout: config.connect_timeout.0,
        request_timeout: request_timeout(config, cx),
        max_concurrency: config.max_concurrency.0,
        exposure: bridge_snapshot::Exposure::default(),
        tls: None,
    })
}

/// The places of a backend that has URLs.
fn located(speaks: Speaks, config: &BackendConfig, cx: &mut Context<'_>) -> Option<Vec<Target>> {
    if urls(config).is_empty() {
        let problem = Problem::new("missing").remedy("this backend needs the URL of the server");
        cx.error(&config.base_url.at, problem);
        return None;
    }
    Some(of_backend(speaks, config, cx))
}

/// HTTP+SSE comes from the older generation. A server that speaks the newer one over it has to be called that: those that
/// exist were written before there was anything to probe for.
fn era(protocol: Option<Protocol>, era: Era) -> EraPolicy {
    match (era, protocol) {
        (Era::Auto, Some(Protocol::Sse)) | (Era::Legacy, _) => EraPolicy::Legacy,
        (Era::Auto, _) => EraPolicy::Auto,
        (Era::Modern, _) => EraPolicy::Modern,
    }
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
        shared: false,
    }))
}

/// Names keys that belong to another protocol.
fn foreign_keys(protocol: Option<Protocol>, config: &BackendConfig, cx: &mut Context<'_>) {
    let for_stdio = [
        (config.command.given, &config.command.at),
        (config.working_dir.given, &config.working_dir.at),
        (config.env.given, &config.env.at),
        (config.max_processes.given, &config.max_processes.at),
    ];
    let for_url = [
        (config.base_url.given, &config.base_url.at),
        (config.endpoint.given, &config.endpoint.at),
        (config.endpoints.given, &config.endpoints.at),
        (config.headers.given, &config.headers.at),
    ];
    let for_sse = [
        (config.stream_endpoint.given, &config.stream_endpoint.at),
        (config.request_endpoint.given, &config.request_endpoint.at),
    ];
    let mut foreign: Vec<_> = if protocol == Some(Protocol::Stdio) { for_url } else { for_stdio }.into();
    if protocol != Some(Protocol::Sse) {
        foreign.extend(for_sse);
    }
    if protocol == Some(Protocol::TcpBinary) {
        foreign.push((config.headers.given, &config.headers.at));
    } else {
        foreign.push((config.token.given, &config.token.at));
    }
    let what = match protocol {
        Some(protocol) => format!("with `protocol: {}`", protocol.name()),
        None => "whose protocol is found out".to_owned(),
    };
    for (_, at) in foreign.into_iter().filter(|(given, _)| *given) {
        cx.warn(at, Problem::new(format!("has no effect on a backend {what}")));
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
        Some(Provider::Static) | None => {
            from_endpoints(endpoints, *discovery.auto_detect_protocols, places, backends, cx);
        }
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
            Some(Provider::Static) => {
                let detect = *entry.config.auto_detect_protocols;
                from_endpoints(&entry.config.endpoints, detect, places, backends, cx);
            }
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
    detect: bool,
    places: &mut Places,
    backends: &mut Vec<bridge_snapshot::Backend>,
    cx: &mut Context<'_>,
) {
    for (namespace, servers) in &endpoints.0 {
        let mut targets = Vec::new();
        for server in &servers.value {
            let Some(url) = &server.url.value else {
                cx.error(&server.url.at, Problem::new("missing").remedy("every endpoint needs a URL"));
                continue;
            };
            targets.extend(of_url(detect, url, &server.url.at, cx));
        }
        let mut targets = targets.into_iter();
        let Some(target) = targets.next() else { continue };
        places.note("backend", namespace, &servers.at);
        places.note("namespace", namespace, &servers.at);
        backends.push(bridge_snapshot::Backend {
            name: namespace.clone(),
            namespace: namespace.clone(),
            target,
            alternatives: targets.collect(),
            deserted: false,
            era: EraPolicy::Auto,
            connect_timeout: CONNECT_TIMEOUT,
            request_timeout: REQUEST_TIMEOUT,
            max_concurrency: MAX_CONCURRENCY,
            exposure: bridge_snapshot::Exposure::default(),
            tls: None,
        });
    }
}
