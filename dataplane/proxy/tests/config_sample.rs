//! The sample of the original gateway's README and the quickstart: what users paste first must load.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code outside of `#[test]` functions")]

use std::path::{Path, PathBuf};

use bridge_snapshot::{Access, Material, Place, Target, TlsVersion};
use mcp_gateway::config::{self, Loaded};

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/examples").join(name)
}

fn parsed(name: &str) -> Loaded {
    let text = std::fs::read_to_string(example(name)).unwrap();
    config::parse(&text, name, &|_| None).unwrap()
}

/// Findings about the sample; those about files of this machine come on top.
const FINDINGS: &str = "\
original-sample.yaml:9:3: warning: server.connection_buffer_size: has no effect: buffers grow with the message, up to `limits.max_http_body`
original-sample.yaml:43:21: warning: auth.jwt.secret_key_env: the environment variable `JWT_SECRET_KEY` is not set; a gateway that starts without it refuses every request; set it to the secret that signs the tokens
original-sample.yaml:48:1: warning: routing: load balancing, health checks and circuit breakers are not available yet; the section is accepted and has no effect
original-sample.yaml:62:7: warning: backends[0].config.health_check: active health checks are not available yet; the key is accepted and has no effect
original-sample.yaml:70:7: warning: backends[1].config.connection_pool: has no effect: each session has a connection of its own, and all modern clients share one
original-sample.yaml:91:13: warning: service_discovery.providers[0].type: `kubernetes` service discovery is not available yet; it finds no servers
original-sample.yaml:99:13: warning: service_discovery.providers[1].type: `consul` service discovery is not available yet; it finds no servers
original-sample.yaml:108:1: warning: rate_limit: rate limiting is not available yet; the section is accepted and has no effect
original-sample.yaml:113:1: warning: circuit_breaker: the circuit breaker is not available yet; the section is accepted and has no effect
original-sample.yaml:118:1: warning: redis: state shared through Redis is not available yet; the key is accepted and has no effect";

#[test]
fn the_original_sample_loads_and_names_what_is_missing() {
    let loaded = parsed("original-sample.yaml");
    let findings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(findings.join("\n"), FINDINGS);
}

#[test]
fn the_original_sample_means_what_it_says() {
    let snapshot = parsed("original-sample.yaml").snapshot;
    let listeners: Vec<_> = snapshot
        .listeners
        .iter()
        .map(|one| format!("{} {} {:?}", one.name, one.address, one.carries()))
        .collect();
    assert_eq!(
        listeners,
        ["main 0.0.0.0:8443 Http", "tcp 0.0.0.0:8444 TcpBinary", "tcp-health 0.0.0.0:9002 TcpHealth"]
    );
    let main = &snapshot.listeners[0];
    let local: Vec<_> = snapshot.local.iter().map(|listener| &listener.place).collect();
    let socket = Place::UnixSocket("/tmp/mcp-gateway.sock".into());
    assert_eq!(local, [&socket, &Place::StandardStreams]);
    let tls = main.tls.as_ref().unwrap();
    assert_eq!(
        (&tls.certificate, tls.min_version),
        (&Material::File("/etc/mcp-gateway/tls/tls.crt".into()), TlsVersion::V13)
    );
    assert_eq!(
        main.allowed_origins,
        ["https://app.example.com", "https://dashboard.example.com", "http://localhost:3000"]
    );
    assert!(
        matches!(&snapshot.access, Access::Jwt(jwt) if jwt.secret == Some(Material::Env("JWT_SECRET_KEY".to_owned()))
            && jwt.audience.as_deref() == Some("mcp-gateway") && !jwt.per_message && jwt.cache_ttl.as_secs() == 300),
        "{:?}",
        snapshot.access
    );
    let names: Vec<&str> = snapshot.backends.iter().map(|backend| backend.name.as_str()).collect();
    assert_eq!(
        names,
        ["local-stdio-server", "websocket-server", "http-server", "sse-server", "tcp-binary-server"]
    );
    let [
        Target::Stdio(stdio),
        Target::WebSocket(websocket),
        Target::Http(http),
        Target::Sse(sse),
        Target::Tcp(tcp),
    ] = [0, 1, 2, 3, 4].map(|at| &snapshot.backends[at].target)
    else {
        panic!("{:?}", snapshot.backends);
    };
    assert_eq!(websocket.url, "ws://localhost:8080/");
    assert_eq!(stdio.command, ["python", "examples/weather_server.py"]);
    assert_eq!(stdio.working_dir.as_deref(), Some(Path::new("./examples")));
    assert_eq!(http.url, "http://localhost:8081/mcp");
    assert_eq!(sse.url, "http://localhost:8082/events");
    assert_eq!((tcp.host.as_str(), tcp.port, tcp.tls), ("localhost", 8083, false));
}

#[test]
fn checking_the_original_sample_passes_without_its_files() {
    let report = config::check(&example("original-sample.yaml"), &|_| None);
    assert!(report.is_usable(), "{report}");
    for finding in report.diagnostics() {
        let from_file = FINDINGS.contains(&finding.problem);
        let from_machine = finding.problem.contains("/etc/mcp-gateway/tls")
            || finding.path.ends_with("working_dir")
            || finding.path.ends_with("command");
        assert!(from_file || from_machine, "{finding}");
    }
    assert!(
        report.to_string().trim_end().lines().last().unwrap().contains(": usable, 0 error(s), "),
        "{report}"
    );
}

#[test]
fn starting_without_the_certificate_is_an_error() {
    let text = "server: {port: 1, tls: {cert_file: /nonexistent/tls.crt, key_file: /nonexistent/tls.key}}\nauth: {provider: none}\n";
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("certificate.yaml");
    std::fs::write(&path, text).unwrap();
    let error = config::load(&path, &|_| None).unwrap_err().to_string();
    assert!(error.contains(
        ":1:36: error: server.tls.cert_file: cannot read `/nonexistent/tls.crt`: No such file or directory (os error 2); \
         provide the file, or set `tls.enabled: false`"
    ), "{error}");
    assert!(error.contains("server.tls.key_file"), "{error}");
    assert!(config::check(&path, &|_| None).is_usable());
}

#[test]
fn the_quickstart_is_clean_and_local() {
    let loaded = parsed("quickstart.yaml");
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.snapshot.access, Access::Anonymous { explicit: false });
    assert!(
        loaded
            .snapshot
            .listeners
            .iter()
            .all(|listener| listener.address.ip().is_loopback() && listener.tls.is_none())
    );
    assert_eq!(loaded.snapshot.listeners[0].address.to_string(), "127.0.0.1:8808");
    assert!(loaded.snapshot.backends.len() >= 2);
    assert_eq!(loaded.process.metrics.unwrap().address.to_string(), "127.0.0.1:9090");
    assert_eq!(loaded.process.health, None);
    assert!(config::load(&example("quickstart.yaml"), &|_| None).is_ok());
}

#[test]
fn a_missing_file_says_which_and_what_to_do() {
    let path = Path::new("/nonexistent/gateway.yaml");
    let expected = "/nonexistent/gateway.yaml: error: No such file or directory (os error 2); \
                    name another file with `--config FILE`; deploy/examples/quickstart.yaml is one to start from";
    assert_eq!(config::load(path, &|_| None).unwrap_err().to_string(), expected);
    let report = config::check(path, &|_| None);
    assert!(!report.is_usable());
    assert_eq!(report.to_string(), format!("{expected}\n"));
}

#[test]
fn programs_that_are_not_there_are_named() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("programs");
    std::fs::create_dir_all(directory.join("bin")).unwrap();
    std::fs::write(directory.join("bin/present"), "").unwrap();
    let path = directory.join("gateway.yaml");
    let text = "server: {host: 127.0.0.1, tls: {enabled: false}}\nbackends:\n\
        - {name: a, protocol: stdio, config: {command: [present]}}\n\
        - {name: b, protocol: stdio, config: {command: [absent]}}\n\
        - {name: c, protocol: stdio, config: {command: [bin/present], working_dir: DIR}}\n\
        - {name: d, protocol: stdio, config: {command: [bin/absent], working_dir: DIR}}\n";
    std::fs::write(&path, text.replace("DIR", &directory.display().to_string())).unwrap();
    let search = directory.join("bin").display().to_string();
    let report = config::check(&path, &|name| (name == "PATH").then(|| search.clone()));
    let found: Vec<(&str, &str)> =
        report.diagnostics().iter().map(|f| (f.path.as_str(), f.problem.as_str())).collect();
    let there = format!("the program `{}/bin/absent` is not on this machine", directory.display());
    assert_eq!(
        found,
        [
            ("backends[1].config.command", "the program `absent` is not on this machine"),
            ("backends[3].config.command", there.as_str()),
        ]
    );
}
