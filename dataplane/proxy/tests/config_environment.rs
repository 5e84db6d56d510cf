//! Environment variables: which keys they override, in which order, and how they fail.
#![allow(clippy::unwrap_used, reason = "test code outside of `#[test]` functions")]

use std::collections::HashMap;

use mcp_gateway::config::{self, ConfigError, Loaded, LogLevel};

const FILE: &str = "\
server: {host: 127.0.0.1, port: 1, tls: {enabled: false}, metrics_port: 0, health_port: 0}
logging: {level: warn}
backends: [{name: b, protocol: http, config: {base_url: 'http://h/mcp'}}]
";

fn with(variables: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    let variables: HashMap<String, String> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    config::parse(FILE, "g.yaml", &|name| variables.get(name).cloned())
}

fn warnings(variables: &[(&str, &str)]) -> Vec<String> {
    with(variables).unwrap().warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn prefixed_variables_override_the_file_and_add_to_it() {
    let loaded = with(&[
        ("MCP_GATEWAY_SERVER_PORT", "8081"),
        ("MCP_GATEWAY_SERVER_METRICS_PORT", "9091"),
        ("MCP_GATEWAY_SERVER_ALLOWED_ORIGINS", "https://a.example, https://b.example"),
        ("MCP_GATEWAY_LIMITS_MAX_DEPTH", "32"),
        ("MCP_GATEWAY_NAMING", "always"),
        ("MCP_GATEWAY_SESSIONS_TTL", "1h"),
    ])
    .unwrap();
    let main = &loaded.snapshot.listeners[0];
    assert_eq!(main.address.to_string(), "127.0.0.1:8081");
    assert_eq!(main.allowed_origins, ["https://a.example", "https://b.example"]);
    assert_eq!(loaded.process.metrics.unwrap().address.to_string(), "127.0.0.1:9091");
    assert_eq!(loaded.snapshot.limits.max_depth, 32);
    assert_eq!(loaded.snapshot.naming, bridge_snapshot::Naming::Always);
    assert_eq!(loaded.snapshot.sessions.idle_ttl.as_secs(), 3600);
    assert_eq!(loaded.warnings, []);
}

#[test]
fn the_order_is_prefixed_then_plain_then_file_then_default() {
    let level = |variables: &[(&str, &str)]| with(variables).unwrap().process.log.level;
    assert_eq!(level(&[]), LogLevel::Warn);
    assert_eq!(level(&[("LOG_LEVEL", "debug")]), LogLevel::Debug);
    assert_eq!(level(&[("LOG_LEVEL", "debug"), ("MCP_GATEWAY_LOGGING_LEVEL", "error")]), LogLevel::Error);
    assert_eq!(
        level(&[("MCP_GATEWAY_LOGGING_LEVEL", "")]),
        LogLevel::Warn,
        "an empty variable counts as not set"
    );
    let without = config::parse("server: {host: 127.0.0.1}\n", "g.yaml", &|_| None).unwrap();
    assert_eq!(without.process.log.level, LogLevel::Info);
}

#[test]
fn a_bad_value_names_the_variable() {
    for (name, value, expected) in [
        (
            "MCP_GATEWAY_SERVER_PORT",
            "tcp://10.0.0.1:80",
            "environment variable MCP_GATEWAY_SERVER_PORT: error: server.port: not a port number; found \
             `tcp://10.0.0.1:80`; allowed: 0 to 65535",
        ),
        (
            "LOG_LEVEL",
            "loud",
            "environment variable LOG_LEVEL: error: logging.level: not a known value; found `loud`; allowed: trace, debug, \
             info, warn, error",
        ),
    ] {
        assert_eq!(with(&[(name, value)]).unwrap_err().to_string(), expected);
    }
}

#[test]
fn documented_variables_of_features_to_come_warn() {
    assert_eq!(
        warnings(&[("REDIS_URL", "redis://:hunter2@redis:6379/0"), ("REDIS_PASSWORD", "hunter2")]),
        [
            "environment variable REDIS_URL: warning: redis: state shared through Redis is not available yet; the key is \
          accepted and has no effect"
        ]
    );
    assert_eq!(
        warnings(&[
            ("SERVICE_DISCOVERY_ENABLED", "true"),
            ("AUTO_DETECT_PROTOCOLS", "false"),
            ("CONSUL_ADDRESS", "c:8500")
        ]),
        [
            "environment variable CONSUL_ADDRESS: warning: service discovery through Consul is not available yet; the \
             variable has no effect",
            "environment variable SERVICE_DISCOVERY_ENABLED: warning: switching service discovery by a variable is not \
             available yet; the variable has no effect",
        ]
    );
    assert_eq!(
        warnings(&[
            ("MCP_GATEWAY_SESSIONS_PROVIDER", "redis"),
            ("MCP_GATEWAY_SERVICE_DISCOVERY_PROVIDER", "kubernetes")
        ]),
        [
            "environment variable MCP_GATEWAY_SERVICE_DISCOVERY_PROVIDER: warning: service_discovery.provider: `kubernetes` \
             service discovery is not available yet; it finds no servers",
            "environment variable MCP_GATEWAY_SESSIONS_PROVIDER: warning: sessions.provider: sessions in Redis are not \
             available yet; they are kept in memory",
        ]
    );
}

#[test]
fn the_served_protocols_can_be_listed() {
    let served = |value: &str| {
        let loaded = with(&[("SUPPORTED_PROTOCOLS", value)]).unwrap();
        assert_eq!(loaded.warnings, [], "{value}");
        let main = loaded.snapshot.listeners[0].clone();
        (main.serves_http(), main.websocket().is_some())
    };
    assert_eq!(served("http"), (true, false));
    assert_eq!(served("websocket"), (false, true));
    assert_eq!(served("websocket, http"), (true, true));
    assert_eq!(served(""), (true, true), "an empty variable counts as not set");
    assert!(with(&[("SUPPORTED_PROTOCOLS", "carrier-pigeon")]).is_err());
}

#[test]
fn a_unix_socket_can_be_asked_for() {
    let loaded = with(&[("STDIO_SOCKET_PATH", "/run/mcp.sock")]).unwrap();
    assert_eq!(loaded.warnings, []);
    let places: Vec<_> = loaded.snapshot.local.iter().map(|local| local.place.clone()).collect();
    assert_eq!(places, [bridge_snapshot::Place::UnixSocket("/run/mcp.sock".into())]);
    let off = with(&[("STDIO_SOCKET_PATH", "/run/mcp.sock"), ("SUPPORTED_PROTOCOLS", "http")]).unwrap();
    assert_eq!(off.snapshot.local, [], "the list has the last word");
    let alone = with(&[("SUPPORTED_PROTOCOLS", "stdio")]).unwrap().snapshot;
    assert_eq!((alone.listeners.len(), alone.local.len()), (0, 1));
}

#[test]
fn variables_of_kubernetes_services_and_other_programs_change_nothing() {
    let loaded = with(&[
        ("MCP_GATEWAY_SERVICE_HOST", "10.0.0.1"),
        ("MCP_GATEWAY_SERVICE_PORT", "8443"),
        ("MCP_GATEWAY_PORT", "tcp://10.0.0.1:8443"),
        ("PORT", "1234"),
        ("HOST", "example"),
    ])
    .unwrap();
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.snapshot, with(&[]).unwrap().snapshot);
}

#[test]
fn misspelt_variables_are_noticed() {
    let names = ["MCP_GATEWAY_LOGING_LEVEL", "MCP_GATEWAY_SERVICE_PORT", "HOME"].map(str::to_owned);
    let found: Vec<String> =
        config::misspelt_variables(names.into_iter()).iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            "environment variable MCP_GATEWAY_LOGING_LEVEL: warning: overrides no key; did you mean MCP_GATEWAY_LOGGING_LEVEL?"
        ]
    );
}
