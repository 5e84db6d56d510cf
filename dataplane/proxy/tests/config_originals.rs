//! Configurations in the style of the original's own test suites and manifests: they carry unknown keys, wrong places and
//! old spellings, and must load.
#![allow(clippy::panic, reason = "test code outside of `#[test]` functions")]

use bridge_snapshot::{Access, Backend, SsePaths, Target};
use mcp_gateway::config::{self, Loaded};

fn load(text: &str) -> (Loaded, Vec<String>) {
    let loaded = config::parse(text, "g.yaml", &|_| None).unwrap_or_else(|error| panic!("{error}"));
    let warnings =
        loaded.warnings.iter().map(|warning| format!("{}: {}", warning.path, warning.problem)).collect();
    (loaded, warnings)
}

fn urls(backends: &[Backend]) -> Vec<(&str, &str)> {
    let url = |target: &Target| match target {
        Target::Http(http) => http.url.clone(),
        Target::Stdio(stdio) => stdio.command.join(" "),
        Target::Tcp(tcp) => format!("tcp://{}:{}", tcp.host, tcp.port),
        Target::WebSocket(websocket) => websocket.url.clone(),
        Target::Sse(sse) => format!("sse {}", sse.url),
        Target::Detect(detect) => format!("{} or sse {}", detect.http.url, detect.sse.url),
    };
    let all = |backend: &Backend| backend.targets().map(url).collect::<Vec<_>>().join(", ");
    backends.iter().map(|backend| (backend.namespace.as_str(), all(backend).leak() as &str)).collect()
}

const UNKNOWN: &str = "unknown key, ignored";

#[test]
fn full_stack_suite() {
    let (loaded, warnings) = load(
        r#"
server:
  port: 8443
  bind_addr: "0.0.0.0:8443"
  metrics_port: 9091
  health_port: 9092
  read_timeout: 30
  write_timeout: 30
  idle_timeout: 120
  tls: { enabled: true, cert_file: "/etc/mcp-gateway/tls/tls.crt", key_file: "/etc/mcp-gateway/tls/tls.key", min_version: "1.2" }
auth:
  provider: "jwt"
  jwt: { secret_key_env: "JWT_SECRET_KEY", issuer: "mcp-gateway-e2e", audience: "mcp-clients" }
service_discovery:
  provider: "static"
  static:
    endpoints:
      default: [{ url: "http://test-mcp-server:3000/mcp" }]
      system: [{ url: "http://test-mcp-server:3000/mcp" }]
routing:
  strategy: "round_robin"
  health_check_interval: "30s"
  circuit_breaker: { failure_threshold: 3, success_threshold: 2, timeout: 10 }
rate_limit: { requests_per_second: 1000, burst: 100 }
connection_limits: { max_concurrent_connections: 5, connection_timeout: 30, max_connections_per_ip: 3 }
sessions:
  provider: "redis"
  ttl: 3600
  cleanup_interval: 300
  redis: { url: "redis://redis:6379/0", pool_size: 10, max_retries: 3 }
logging: { level: "debug", format: "json", output: "stderr", include_caller: true }
metrics: { enabled: true, bind_addr: "0.0.0.0:9091", path: "/metrics" }
"#,
    );
    assert_eq!(
        urls(&loaded.snapshot.backends),
        [("default", "http://test-mcp-server:3000/mcp"), ("system", "http://test-mcp-server:3000/mcp")]
    );
    assert_eq!(loaded.snapshot.sessions.idle_ttl.as_secs(), 3600);
    assert_eq!(loaded.snapshot.limits.read_timeout.as_secs(), 30);
    assert_eq!(loaded.process.metrics.unwrap().address.to_string(), "0.0.0.0:9091");
    assert_eq!(loaded.process.health.unwrap().to_string(), "0.0.0.0:9092");
    assert!(loaded.process.log.include_caller);
    let expected = [
        format!("server.bind_addr: {UNKNOWN}"),
        "server.write_timeout: a time limit on slow readers is not available yet; the key is accepted and has no effect".into(),
        "auth.jwt.secret_key_env: the environment variable `JWT_SECRET_KEY` is not set; a gateway that starts without it refuses \
         every request"
            .into(),
        "routing: load balancing, health checks and circuit breakers are not available yet; the section is accepted and has \
         no effect"
            .into(),
        "rate_limit: rate limiting is not available yet; the section is accepted and has no effect".into(),
        format!("rate_limit.requests_per_second: {UNKNOWN}"),
        format!("connection_limits: {UNKNOWN}"),
        "sessions.provider: sessions in Redis are not available yet; they are kept in memory".into(),
        "sessions.cleanup_interval: has no effect: ended sessions are removed as they end".into(),
        format!("logging.output: {UNKNOWN}"),
        format!("metrics.bind_addr: {UNKNOWN}"),
    ];
    assert_eq!(warnings, expected);
}

#[test]
fn several_backends_and_frontends() {
    let (loaded, warnings) = load(
        r#"
server:
  port: 8443
  tls: { enabled: true, min_version: "1.2" }
  frontends:
    - { name: websocket, protocol: websocket, enabled: true, config: { port: 8443, bind_addr: "0.0.0.0:8443", path: /ws } }
    - { name: http, protocol: http, enabled: true, config: { port: 8444, path: "/mcp", tls: { enabled: true, min_version: "1.2" } } }
    - { name: off, protocol: sse, enabled: false }
    - { name: api, protocol: http, config: { host: 127.0.0.1, port: 8445, request_path: /api/v1/mcp, max_connections: 7 } }
auth: { provider: none }
service_discovery:
  provider: static
  static:
    endpoints:
      default: [{ url: "http://one:3000/mcp" }, { url: "http://two:3000/mcp", labels: { a: b } }]
      sockets: [{ url: "ws://three:3000" }]
      old: [{ url: "sse://four:3000" }]
"#,
    );
    let listeners: Vec<(String, String, bool, usize)> = loaded
        .snapshot
        .listeners
        .iter()
        .map(|l| (l.name.clone(), l.address.to_string(), l.tls.is_some(), l.max_connections))
        .collect();
    assert_eq!(
        listeners,
        [
            ("main".to_owned(), "0.0.0.0:8443".to_owned(), true, 50_000),
            ("http".to_owned(), "0.0.0.0:8444".to_owned(), true, 50_000),
            ("api".to_owned(), "127.0.0.1:8445".to_owned(), false, 7),
        ]
    );
    let main = &loaded.snapshot.listeners[0];
    assert!(main.serves_http() && main.websocket().is_some(), "one address serves what both ask for");
    assert!(main.sse().is_some_and(|sse| sse.stream == "/sse"));
    assert_eq!(
        urls(&loaded.snapshot.backends),
        [
            ("default", "http://one:3000/mcp, http://two:3000/mcp"),
            ("sockets", "ws://three:3000/"),
            ("old", "sse http://four:3000/sse")
        ]
    );
    assert_eq!(warnings, [format!("server.frontends[0].config.bind_addr: {UNKNOWN}")]);
}

#[test]
fn frontends_of_the_old_transport() {
    let (loaded, warnings) = load(
        r"
server:
  host: 127.0.0.1
  port: 9000
  tls: { enabled: false }
  frontends:
    - { name: old, protocol: sse }
    - { name: shared, protocol: sse, config: { port: 9000, stream_endpoint: /stream, request_endpoint: /in, keep_alive: 5 } }
",
    );
    let paths: Vec<_> =
        loaded.snapshot.listeners.iter().map(|listener| (listener.address.port(), listener.sse())).collect();
    let SsePaths { stream, messages, keep_alive } = paths[0].1.unwrap();
    assert_eq!((paths[0].0, stream.as_str(), messages.as_str()), (9000, "/stream", "/in"));
    assert_eq!(keep_alive.unwrap().as_secs(), 5);
    let SsePaths { stream, messages, keep_alive } = paths[1].1.unwrap();
    assert_eq!((paths[1].0, stream.as_str(), messages.as_str()), (8081, "/events", "/api/v1/request"));
    assert_eq!((paths.len(), *keep_alive), (2, None));
    assert_eq!(warnings, ["backends: no usable backend: clients will find no tools"]);
}

#[test]
fn servers_of_unknown_protocol_are_asked() {
    let (loaded, warnings) = load(
        r#"
server: { host: localhost, tls: { enabled: false } }
backends:
  - { name: asked, config: { endpoints: ["http://one", "https://two/path"], headers: { Authorization: Bearer } } }
  - { name: told, protocol: http, config: { base_url: "http://three", endpoints: ["http://four"] } }
  - { name: old, protocol: sse, config: { base_url: "http://five/base", request_endpoint: /in, max_reconnects: 3 } }
service_discovery:
  auto_detect_protocols: true
  static:
    endpoints:
      found: [{ url: "http://six" }, { url: "sse://seven/events" }]
"#,
    );
    assert_eq!(
        urls(&loaded.snapshot.backends),
        [
            ("asked", "http://one/mcp or sse http://one/sse, https://two/path or sse https://two/path"),
            ("told", "http://three/mcp, http://four/mcp"),
            ("old", "sse http://five/base"),
            ("found", "http://six/mcp or sse http://six/sse, sse http://seven/events"),
        ]
    );
    assert_eq!(loaded.snapshot.backends[2].era, bridge_snapshot::EraPolicy::Legacy);
    let Target::Sse(old) = &loaded.snapshot.backends[2].target else { panic!("not sse") };
    assert_eq!(old.request_url.as_deref(), Some("http://five/base/in"));
    assert_eq!(
        warnings,
        [
            "backends[2].config.max_reconnects: has no effect: a lost stream is opened again by the next request"
        ]
    );
}

#[test]
fn struct_form_of_backends_and_other_spellings() {
    let (loaded, warnings) = load(
        r#"
server: { host: localhost, port: "0", tls: { enabled: "false", min_version: TLS1.3 }, health_port: 0, allowed_origins: "https://a.example" }
backends:
  backends:
    - { name: one, protocol: streamable_http, namespace: n1, config: { endpoint: "https://h:1", era: modern, timeout: 90s } }
    - { name: two, protocol: stdio, config: { command: [server, 8080], env: { TOKEN: x, EMPTY: "" }, process: { max_restarts: 3 } } }
"#,
    );
    assert_eq!(urls(&loaded.snapshot.backends), [("n1", "https://h:1/mcp"), ("two", "server 8080")]);
    assert_eq!(loaded.snapshot.backends[0].request_timeout.as_secs(), 90);
    assert_eq!(loaded.snapshot.backends[0].era, bridge_snapshot::EraPolicy::Modern);
    assert_eq!(loaded.snapshot.listeners[0].address.to_string(), "127.0.0.1:0");
    assert_eq!(loaded.snapshot.access, Access::Anonymous { explicit: false });
    assert_eq!(
        warnings,
        [
            "backends.backends[1].config.process: tuning of restarts is not available yet; the key is accepted and has no effect",
        ]
    );
}

#[test]
fn kubernetes_manifest_finds_nothing_yet_and_says_so() {
    let (loaded, warnings) = load(
        r"
version: 1
server: { port: 8443, metrics_port: 9090 }
auth: { provider: jwt, jwt: { issuer: mcp-gateway, audience: mcp-gateway, secret_key_env: JWT_SECRET_KEY } }
service_discovery:
  mode: kubernetes
  kubernetes: { in_cluster: true, namespace_pattern: mcp-*, service_labels: { mcp-enabled: 'true' } }
  namespace_selector: [mcp-servers]
  label_selector: { mcp.bridge/enabled: 'true' }
  refresh_rate: 30s
",
    );
    assert_eq!(loaded.snapshot.backends, []);
    assert!(
        warnings.contains(&"backends: no usable backend: clients will find no tools".to_owned()),
        "{warnings:?}"
    );
    assert!(
        warnings
            .iter()
            .any(|warning| warning.starts_with("service_discovery.mode: `kubernetes` service discovery")),
        "{warnings:?}"
    );
}

#[test]
fn static_discovery_without_endpoints_is_an_error() {
    let text = "server: {host: 127.0.0.1}\nservice_discovery: {provider: static}\n";
    let error = config::parse(text, "g.yaml", &|_| None).unwrap_err().to_string();
    assert!(error.contains("g.yaml:2:31: error: service_discovery.provider: `static` needs"), "{error}");
}
