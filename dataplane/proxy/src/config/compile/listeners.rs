//! `server`, `metrics` and `logging` to listeners and process settings. Changes when a frontend starts to work.

use std::net::SocketAddr;

use bridge_snapshot::{Carries, Listener, Material, Protocol, SsePaths};

use super::served::Served;
use super::{FileUse, Places, Role, tcp};
use crate::config::decode::{At, CommaList, Context, Located, Problem};
use crate::config::model::Config;
use crate::config::model::server::{
    ClientAuth, Frontend, FrontendConfig, FrontendProtocol, Server, Tls, WebOrigin,
};
use crate::config::settings::{LogSettings, MetricsSettings, ProcessSettings};
use crate::config::values::Port;

/// The paths that every listener of HTTP serves.
const PATHS: [&str; 2] = ["/mcp", "/api/v1/mcp"];
/// Port of an additional WebSocket listener.
const WEBSOCKET_PORT: Port = Port(8443);
/// Where the original has its HTTP+SSE frontend.
const SSE_PORT: Port = Port(8081);
const SSE_STREAM: &str = "/events";
const SSE_MESSAGES: &str = "/api/v1/request";

pub(super) fn compile(
    server: &Located<Server>,
    places: &mut Places,
    files: &mut Vec<FileUse>,
    cx: &mut Context<'_>,
) -> Vec<Located<Listener>> {
    let frontends = Served::of(server);
    let tls = tls(&server.tls, true, files, cx);
    let main = Listener {
        name: "main".to_owned(),
        address: SocketAddr::new(server.host.0, server.port.0),
        protocols: frontends.on_main_port(server),
        tls,
        allowed_origins: origins(&server.allowed_origins, cx).unwrap_or_else(default_origins),
        allowed_hosts: server.allowed_hosts.0.iter().map(|host| host.value.to_ascii_lowercase()).collect(),
        max_connections: server.max_connections.0,
        max_connections_per_ip: server.max_connections_per_ip.0,
    };
    places.note("listener", &main.name, &server.at);
    places.note("address", &main.name, &server.host.at);
    let main = Located { value: main, at: server.port.at.clone(), given: server.port.given };
    let mut listeners: Vec<_> = frontends.has_main_port().then_some(main.clone()).into_iter().collect();
    if let Some(listener) = frontends.has_tcp_port().then(|| tcp::beside_main(server, &main, cx)).flatten() {
        let health = tcp::health(&listener, &server.tcp_health_port);
        for listener in [Some(listener), health].into_iter().flatten() {
            add(&mut listeners, listener, places, &server.host.at, cx);
        }
    }
    for (index, entry) in server.frontends.iter().enumerate() {
        let Some(listener) = frontend(entry, index, server, files, cx) else { continue };
        if let Some(health) = tcp::health(&listener, &entry.config.health_port)
            .filter(|_| listener.carries() == Carries::TcpBinary)
        {
            add(&mut listeners, health, places, &entry.config.host.at, cx);
        }
        places.note("listener", &listener.name, &entry.name.at);
        places.note("address", &listener.name, &entry.config.host.at);
        let same = |other: &&mut Located<Listener>| other.address == listener.address;
        if let Some(other) = listeners.iter_mut().find(same).filter(|_| listener.address.port() != 0) {
            share(other, entry, listener, cx);
            continue;
        }
        let at = entry.config.port.at.clone();
        listeners.push(Located { value: listener, at, given: true });
    }
    listeners
}

/// Adds a listener that can share its address with no other.
fn add(
    listeners: &mut Vec<Located<Listener>>,
    listener: Located<Listener>,
    places: &mut Places,
    host: &At,
    cx: &mut Context<'_>,
) {
    places.note("listener", &listener.name, &listener.at);
    places.note("address", &listener.name, host);
    let same = |other: &&Located<Listener>| other.address == listener.address;
    if let Some(other) = listeners.iter().find(same).filter(|_| listener.address.port() != 0) {
        cx.error(&listener.at, taken(other));
        return;
    }
    listeners.push(listener);
}

fn taken(other: &Listener) -> Problem {
    let problem = format!("listener `{}` has the same address {}", other.name, other.address);
    Problem::new(problem).remedy("choose another port")
}

/// The same address as another listener: one socket serves both, if they ask for the same.
fn share(other: &mut Located<Listener>, entry: &Frontend, listener: Listener, cx: &mut Context<'_>) {
    if other.carries() != listener.carries() {
        cx.error(&entry.config.port.at, taken(other));
        return;
    }
    if entry.config.tls.enabled.is_some() && other.tls != listener.tls {
        let problem = format!(
            "listener `{}` has the same address {} but other TLS settings",
            other.name, other.address
        );
        cx.error(
            &entry.config.port.at,
            Problem::new(problem).remedy("choose another port, or the same TLS settings"),
        );
    }
    let kind = std::mem::discriminant::<Protocol>;
    for protocol in listener.protocols {
        match other.value.protocols.iter_mut().find(|known| kind(known) == kind(&protocol)) {
            // The usual paths are served beside those that somebody chose.
            Some(known @ Protocol::Sse(_)) => *known = protocol,
            Some(_) => {}
            None => other.value.protocols.push(protocol),
        }
    }
}

fn default_origins() -> Vec<String> {
    vec!["http://localhost".to_owned(), "https://localhost".to_owned()]
}

fn origins(list: &Located<Option<CommaList<WebOrigin>>>, cx: &mut Context<'_>) -> Option<Vec<String>> {
    let list = list.value.as_ref()?;
    for origin in list.0.iter().filter(|origin| origin.value.0 == "*") {
        cx.warn(&origin.at, Problem::new("`*` lets every web page that a user visits talk to this gateway"));
    }
    Some(list.0.iter().map(|origin| origin.value.0.clone()).collect())
}

fn tls(
    keys: &Tls,
    by_default: bool,
    files: &mut Vec<FileUse>,
    cx: &mut Context<'_>,
) -> Option<bridge_snapshot::Tls> {
    if !keys.enabled.unwrap_or(by_default) {
        return None;
    }
    let mut note = |at: &At, path: &std::path::Path| {
        files.push(FileUse { at: at.clone(), path: path.to_owned(), role: Role::Tls });
    };
    note(&keys.cert_file.at, &keys.cert_file);
    note(&keys.key_file.at, &keys.key_file);
    let client_auth = match *keys.client_auth {
        ClientAuth::None => bridge_snapshot::ClientAuth::None,
        ClientAuth::Request => bridge_snapshot::ClientAuth::Request,
        ClientAuth::Require => bridge_snapshot::ClientAuth::Require,
    };
    let wanted = client_auth != bridge_snapshot::ClientAuth::None;
    match &keys.ca_file.value {
        Some(path) if wanted => note(&keys.ca_file.at, path),
        None if wanted => {
            let problem =
                format!("`{}` needs `ca_file` to verify client certificates", keys.client_auth.name());
            cx.error(&keys.client_auth.at, Problem::new(problem).remedy("name the file, or choose `none`"));
        }
        _ => {}
    }
    Some(bridge_snapshot::Tls {
        certificate: Material::File(keys.cert_file.value.clone()),
        key: Material::File(keys.key_file.value.clone()),
        client_ca: keys.ca_file.value.clone().filter(|_| wanted).map(Material::File),
        client_auth,
        min_version: keys.min_version.0,
    })
}

fn frontend(
    entry: &Located<Frontend>,
    index: usize,
    server: &Server,
    files: &mut Vec<FileUse>,
    cx: &mut Context<'_>,
) -> Option<Listener> {
    if !*entry.enabled {
        return None;
    }
    let Some(protocol) = entry.protocol.value else {
        cx.error(
            &entry.protocol.at,
            Problem::new("missing").remedy("allowed: http, websocket, sse, tcp_binary, stdio"),
        );
        return None;
    };
    let config = &entry.config;
    let (protocol, default_port) = match protocol {
        FrontendProtocol::Http => (Protocol::StreamableHttp, None),
        FrontendProtocol::WebSocket => {
            let ping_interval = config.ping_interval.value.unwrap_or(server.ping_interval.value).0;
            (Protocol::WebSocket { ping_interval }, Some(WEBSOCKET_PORT))
        }
        FrontendProtocol::Sse => (sse(config, cx)?, Some(SSE_PORT)),
        FrontendProtocol::TcpBinary => (Protocol::TcpBinary { plain_too: false }, Some(tcp::FRONTEND_PORT)),
        // It has no address; see `local`.
        FrontendProtocol::Stdio => return None,
    };
    let Some(port) = config.port.value.or(default_port) else {
        cx.error(&config.port.at, Problem::new("missing").remedy("an additional listener needs a port"));
        return None;
    };
    for path in [&config.request_path, &config.path] {
        let known = |path: &String| PATHS.contains(&path.as_str());
        if protocol == Protocol::StreamableHttp && path.value.as_ref().is_some_and(|path| !known(path)) {
            let problem = "other paths are not available yet; the listener serves `/mcp` and `/api/v1/mcp`";
            cx.report(crate::config::Severity::Warning, &path.at, Problem::new(problem), path.value.clone());
        }
    }
    let tls = tls(&config.tls, false, files, cx);
    let origins = origins(&config.allowed_origins, cx).or_else(|| {
        server.allowed_origins.as_ref().map(|list| list.0.iter().map(|o| o.value.0.clone()).collect())
    });
    Some(Listener {
        name: entry.name.value.clone().unwrap_or_else(|| format!("frontend-{index}")),
        address: SocketAddr::new(config.host.value.unwrap_or(server.host.value).0, port.0),
        protocols: vec![protocol],
        tls,
        allowed_origins: origins.unwrap_or_else(default_origins),
        allowed_hosts: server.allowed_hosts.0.iter().map(|host| host.value.to_ascii_lowercase()).collect(),
        max_connections: config.max_connections.map_or(server.max_connections.0, |count| count.0),
        max_connections_per_ip: server.max_connections_per_ip.0,
    })
}

/// The paths of an HTTP+SSE frontend, beside the usual ones.
fn sse(config: &FrontendConfig, cx: &mut Context<'_>) -> Option<Protocol> {
    let mut path = |key: &Located<Option<String>>, default: &str| {
        let path = key.value.clone().unwrap_or_else(|| default.to_owned());
        let parsed = path.parse::<http::uri::PathAndQuery>();
        let usable = path.starts_with('/') && parsed.is_ok_and(|parsed| parsed.as_str() == parsed.path());
        let taken = PATHS.contains(&&*path)
            || path.starts_with("/mcp/")
            || matches!(&*path, "/" | "/health" | "/healthz" | "/ready");
        if usable && !taken {
            return Some(path);
        }
        let problem = Problem::new(if taken { "this path is taken" } else { "not a path" });
        let remedy = "allowed: a path of its own, for example `/events`";
        cx.report(crate::config::Severity::Error, &key.at, problem.remedy(remedy), Some(path));
        None
    };
    let (stream, messages) =
        (path(&config.stream_endpoint, SSE_STREAM), path(&config.request_endpoint, SSE_MESSAGES));
    let (stream, messages) = (stream?, messages?);
    if stream == messages {
        let problem = "the event stream has the same path";
        cx.error(&config.request_endpoint.at, Problem::new(problem).remedy("choose two paths"));
        return None;
    }
    Some(Protocol::Sse(SsePaths { stream, messages, keep_alive: config.keep_alive.value.map(|time| time.0) }))
}

/// Settings of the process: log, metrics page, health page.
pub(super) fn process(
    config: &Config,
    listeners: &[Located<Listener>],
    cx: &mut Context<'_>,
) -> ProcessSettings {
    let (server, metrics, logging) = (&config.server, &config.metrics, &config.logging);
    if let (Some(main), Some(other)) = (server.metrics_port.value, metrics.port.value)
        && main != other
    {
        let problem = format!("has no effect: `server.metrics_port` says {}", main.0);
        cx.warn(&metrics.port.at, Problem::new(problem));
    }
    let (port, port_at) = match (server.metrics_port.value, metrics.port.value) {
        (None, Some(port)) => (port, &metrics.port.at),
        (port, _) => (port.unwrap_or(Port(9090)), &server.metrics_port.at),
    };
    let given = server.metrics_port.given || metrics.port.given;
    let mut taken: Vec<(SocketAddr, At)> =
        listeners.iter().map(|listener| (listener.address, listener.at.clone())).collect();
    let page = |port: Port| (port.0 != 0).then(|| SocketAddr::new(server.host.0, port.0));
    let metrics_address = page(port).filter(|_| *metrics.enabled);
    let metrics_address = metrics_address.filter(|address| free(*address, port_at, given, &mut taken, cx));
    let health = page(*server.health_port);
    let health_at = &server.health_port.at;
    let health = health.filter(|address| free(*address, health_at, server.health_port.given, &mut taken, cx));
    ProcessSettings {
        log: LogSettings {
            level: *logging.level,
            format: *logging.format,
            include_caller: *logging.include_caller,
        },
        metrics: metrics_address.map(|address| MetricsSettings { address }),
        health,
    }
}

/// Whether a page can have this address. A clash is an error when the user chose the port, and turns the page off when it
/// is only a default.
fn free(
    address: SocketAddr,
    at: &At,
    given: bool,
    taken: &mut Vec<(SocketAddr, At)>,
    cx: &mut Context<'_>,
) -> bool {
    let clash = |other: &SocketAddr| {
        let same_host =
            other.ip() == address.ip() || other.ip().is_unspecified() || address.ip().is_unspecified();
        other.port() == address.port() && same_host
    };
    let Some((_, other)) = taken.iter().find(|(other, _)| clash(other)) else {
        taken.push((address, at.clone()));
        return true;
    };
    let problem = format!("port {} is also that of `{}`", address.port(), other.path);
    if given {
        cx.error(at, Problem::new(problem).remedy("choose another port, or 0 to turn this one off"));
    } else {
        cx.warn(at, Problem::new(format!("{problem}; it is turned off")).remedy("choose another port"));
    }
    false
}
