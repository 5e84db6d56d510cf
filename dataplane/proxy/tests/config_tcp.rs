//! Where the TCP binary protocol is served, and what of it is refused.
#![allow(clippy::unwrap_used, reason = "test code outside of `#[test]` functions")]

use bridge_snapshot::{Carries, Listener, Protocol, Target};
use mcp_gateway::config;

const OPEN: &str = "auth: {provider: none}\n";

fn listeners(server: &str) -> Result<Vec<Listener>, String> {
    let text = format!("server: {{host: 127.0.0.1, {server}}}\n{OPEN}");
    let loaded = config::parse(&text, "g.yaml", &|_| None).map_err(|error| error.to_string())?;
    Ok(loaded.snapshot.listeners)
}

fn shown(server: &str) -> Vec<String> {
    let one = |listener: &Listener| {
        let tls = if listener.tls.is_some() { " tls" } else { "" };
        let plain = if listener.takes_plain_too() { " or plain" } else { "" };
        format!("{} {} {:?}{tls}{plain}", listener.name, listener.address.port(), listener.carries())
    };
    listeners(server).unwrap().iter().map(one).collect()
}

#[test]
fn the_port_beside_the_main_one_is_that_of_the_original() {
    let plain = "tls: {enabled: false}";
    assert_eq!(shown(&format!("protocol: both, {plain}")), ["main 8443 Http", "tcp 9443 TcpBinary"]);
    assert_eq!(shown(&format!("protocol: universal, port: 1, {plain}"))[1], "tcp 1001 TcpBinary");
    assert_eq!(
        shown(&format!("protocol: tcp, tcp_port: 8444, tcp_health_port: 9002, {plain}")),
        ["main 8443 Http", "tcp 8444 TcpBinary", "tcp-health 9002 TcpHealth"]
    );
    assert_eq!(shown(&format!("protocol: both, port: 0, {plain}"))[1], "tcp 0 TcpBinary");
    assert_eq!(shown(plain), ["main 8443 Http"], "only where it is asked for");
    assert_eq!(shown(&format!("tcp_port: 8444, tcp_health_port: 9002, {plain}")), ["main 8443 Http"]);
}

#[test]
fn plain_clients_come_in_beside_tls_but_not_beside_client_certificates() {
    assert_eq!(shown("protocol: both")[1], "tcp 9443 TcpBinary tls or plain");
    for wanted in ["request", "require"] {
        let tls = format!("protocol: both, tls: {{client_auth: {wanted}, ca_file: ca.pem}}");
        assert_eq!(shown(&tls)[1], "tcp 9443 TcpBinary tls");
    }
}

#[test]
fn further_listeners_have_the_port_of_the_original_and_their_own_encryption() {
    let more = "tls: {enabled: false}, frontends: [{protocol: tcp_binary}, {protocol: tcp_binary, name: other, config: \
                {port: 1, health_port: 2, tls: {enabled: true}}}]";
    assert_eq!(
        shown(more),
        ["main 8443 Http", "frontend-0 8444 TcpBinary", "other-health 2 TcpHealth", "other 1 TcpBinary tls"]
    );
    let binary = &listeners(more).unwrap()[1];
    assert_eq!(binary.protocols, [Protocol::TcpBinary { plain_too: false }]);
    assert_eq!(binary.carries(), Carries::TcpBinary);
}

#[test]
fn one_port_cannot_carry_http_and_frames() {
    for (server, says) in [
        ("protocol: both, tcp_port: 8443", "listener `main` has the same address 127.0.0.1:8443"),
        ("protocol: both, tcp_port: 9002, tcp_health_port: 9002", "listener `tcp` has the same address"),
        ("frontends: [{protocol: tcp_binary, config: {port: 8443}}]", "listener `main` has the same address"),
        ("protocol: both, port: 65000", "there is no port 1000 above `server.port`"),
    ] {
        let error = listeners(server).unwrap_err();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn everybody_may_check_health_but_not_call() {
    let text = "server: {host: 0.0.0.0, protocol: both, tcp_health_port: 9002}\n";
    let error = config::parse(text, "g.yaml", &|_| None).unwrap_err().to_string();
    assert!(error.contains("listener `tcp` on 0.0.0.0:9443 is reachable from the network"), "{error}");
    assert!(!error.contains("listener `tcp-health`"), "{error}");
}

#[test]
fn a_backend_is_a_url_with_host_and_port() {
    let load = |config: &str| {
        let text = format!(
            "server: {{host: 127.0.0.1, tls: {{enabled: false}}}}\nbackends: [{{name: b, protocol: tcp, config: {{{config}}}}}]\n"
        );
        config::parse(&text, "g.yaml", &|name| (name == "T").then(|| "hunter2".to_owned()))
    };
    let loaded = load("base_url: 'tcps://h:1', token: {env: T}").unwrap();
    assert_eq!(loaded.warnings, []);
    assert!(matches!(&loaded.snapshot.backends[0].target, Target::Tcp(tcp)
        if tcp.tls && tcp.token.as_ref().is_some_and(|token| token.expose() == "hunter2")));
    assert!(!format!("{:?}", loaded.snapshot).contains("hunter2"));
    let warned = load("base_url: 'tcp://h:1', token: x").unwrap().warnings;
    assert!(warned[0].problem.contains("travels unencrypted"), "{warned:?}");
    for (config, says) in [
        ("", "this backend needs the URL of the server"),
        ("base_url: 'http://h:1'", "not a `tcp` or `tcps` URL"),
        ("base_url: 'tcp://h'", "no usable host and port"),
        ("base_url: 'tcps://h:1', token: \"a\\nb\"", "not a possible token"),
    ] {
        let error = load(config).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}
