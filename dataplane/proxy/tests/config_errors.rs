//! Every kind of finding, with the exact text a user sees.

use mcp_gateway::config;

/// A configuration without findings; cases replace or add lines.
const LOCAL: &str =
    "server: {host: 127.0.0.1, port: 1, tls: {enabled: false}, health_port: 0, metrics_port: 0}\n";
const BACKEND: &str = "backends: [{name: b, protocol: http, config: {base_url: 'http://h/mcp'}}]\n";

/// All findings about a text.
fn findings(text: &str) -> String {
    let found = match config::parse(text, "g.yaml", &|name| (name == "SET").then(|| "value".to_owned())) {
        Ok(loaded) => loaded.warnings.iter().map(ToString::to_string).collect(),
        Err(error) => vec![error.to_string()],
    };
    found.join("\n")
}

#[track_caller]
fn expect(text: &str, expected: &[&str]) {
    assert_eq!(findings(text), expected.join("\n"), "\nfor:\n{text}");
}

#[test]
fn the_base_of_the_cases_is_clean() {
    expect(&format!("{LOCAL}{BACKEND}"), &[]);
}

#[test]
fn wrong_values_name_place_text_and_what_is_allowed() {
    let server = "server:\n  host: 127.0.0.1\n  tls: {enabled: false}\n";
    for (lines, expected) in [
        (
            "  port: eight\n",
            "g.yaml:4:9: error: server.port: not a port number; found `eight`; allowed: 0 to 65535",
        ),
        (
            "  port: 65536\n",
            "g.yaml:4:9: error: server.port: not a port number; found `65536`; allowed: 0 to 65535",
        ),
        ("  port: [1]\n", "g.yaml:4:3: error: server.port: expected a single value, found a list"),
        (
            "  max_connections: 0\n",
            "g.yaml:4:20: error: server.max_connections: not a whole number above 0; found `0`; allowed: 1 or more",
        ),
        (
            "  idle_timeout: 2 minutes\n",
            "g.yaml:4:17: error: server.idle_timeout: not a duration; found `2 minutes`; allowed: above 0, for example \
             `30s`, `1h30m`, `250ms`, or a whole number of seconds",
        ),
        (
            "  protocol: websockets\n",
            "g.yaml:4:13: error: server.protocol: not a known value; found `websockets`; did you mean `websocket`? \
             allowed: web, http, websocket, tcp, both, universal, stdio",
        ),
        (
            "  allowed_origins: [https://a.example/]\n",
            "g.yaml:4:21: error: server.allowed_origins[0]: not an origin; found `https://a.example/`; allowed: \
             `scheme://host[:port]` without a path, for example `https://app.example.com`, or `*`",
        ),
        (
            "  frontends: 8080\n",
            "g.yaml:4:14: error: server.frontends: expected a list, found a single value",
        ),
    ] {
        expect(&format!("{server}{lines}{BACKEND}"), &[expected]);
    }
    expect(
        &format!(
            "{LOCAL}{BACKEND}logging: {{level: loud, format: xml}}\nversion: 2\nmetrics: {{enabled: yes}}\n"
        ),
        &[
            "g.yaml:3:18: error: logging.level: not a known value; found `loud`; allowed: trace, debug, info, warn, error",
            "g.yaml:3:32: error: logging.format: not a known value; found `xml`; allowed: json, text",
            "g.yaml:4:10: error: version: not a version of this format; found `2`; allowed: 1",
            "g.yaml:5:20: error: metrics.enabled: not a boolean; found `yes`; allowed: true, false",
        ],
    );
    expect(
        &format!("{LOCAL}{BACKEND}limits: {{max_depth: 100000, keep_alive: 15, max_http_body: 1MB}}\n"),
        &[
            "g.yaml:3:21: error: limits.max_depth: too deep; found `100000`; allowed: 1 to 512",
            "g.yaml:3:41: error: limits.keep_alive: not a duration; found `15`; allowed: above 0 with a unit, for example \
             `30s`, `1h30m`, `250ms`",
            "g.yaml:3:60: error: limits.max_http_body: not a size; found `1MB`; allowed: bytes above 0, for example \
             `1048576` or `1MiB`",
        ],
    );
}

#[test]
fn one_wrong_value_is_one_finding() {
    let host = "g.yaml:2:9: error: server.host: not an address to listen on; found `127.0.0.300`; allowed: an IP address \
                such as `127.0.0.1`, `0.0.0.0` or `::1`, or `localhost`";
    expect(&format!("server:\n  host: 127.0.0.300\n{BACKEND}"), &[host]);
}

#[test]
fn broken_yaml_names_the_place() {
    expect(
        "server:\n\tport: 1\n",
        &["g.yaml:2:2: error: not YAML: tabs disallowed within this context (block indentation)"],
    );
    expect("a: 1\na: 2\n", &["g.yaml:2:1: error: not YAML: duplicate mapping key `a` is not allowed here"]);
    expect("- 1\n", &["g.yaml:1:1: error: expected a map of keys, found a list"]);
}

#[test]
fn unknown_keys_warn_with_a_suggestion() {
    let text = format!(
        "{BACKEND}server:\n  host: 127.0.0.1\n  prot: 1\n  tls: {{enabled: false}}\ndiscovery: {{}}\nwombat: 1\nAuth:\n  provider: none\n"
    );
    expect(
        &text,
        &[
            "g.yaml:4:3: warning: server.prot: unknown key, ignored; did you mean `port`?",
            "g.yaml:6:1: warning: discovery: unknown key, ignored; did you mean `service_discovery`?",
            "g.yaml:7:1: warning: wombat: unknown key, ignored",
        ],
    );
    expect(
        &format!("{LOCAL}{BACKEND}Server: {{port: 2}}\n"),
        &["g.yaml:3:1: error: Server: `server` is given twice"],
    );
}

#[test]
fn placeholders_warn_because_nobody_expands_them() {
    let text = format!(
        "{LOCAL}backends:\n- {{name: b, protocol: http, config: {{base_url: 'http://h/mcp', headers: {{A: '${{TOKEN:-hunter2}}'}}}}}}\n"
    );
    expect(
        &text,
        &[
            "g.yaml:3:77: warning: backends[0].config.headers.A: `${TOKEN}` is not expanded: the text is taken as \
         it stands; use a `MCP_GATEWAY_…` variable, or `{env: NAME}` under `env` and `headers`",
        ],
    );
}

#[test]
fn backends_are_checked() {
    for (backend, expected) in [
        ("{protocol: http}", "g.yaml:2:12: error: backends[0].name: missing; every backend needs a name"),
        (
            "{name: b}",
            "g.yaml:2:12: error: backends[0].protocol: missing; allowed: stdio, http, sse, websocket, tcp_binary; a backend with a URL may leave it out",
        ),
        (
            "{name: b, protocol: htpp}",
            "g.yaml:2:32: error: backends[0].protocol: not a known value; found `htpp`; did you mean `http`? allowed: \
             stdio, http, websocket, sse, tcp_binary",
        ),
        (
            "{name: a b, protocol: http, config: {base_url: 'http://h'}}",
            "g.yaml:2:19: error: backends[0].name: backend `a b`: names have 1 to 63 characters of A-Z a-z 0-9 _ . -\n\
             g.yaml:2:19: error: backends[0].name: namespace `a b`: names have 1 to 63 characters of A-Z a-z 0-9 _ . -",
        ),
        (
            "{name: b, protocol: stdio, config: {}}",
            "g.yaml:2:39: error: backends[0].config.command: missing; give the program and its arguments as a list",
        ),
        (
            "{name: b, protocol: stdio, config: {command: npx server --token hunter2}}",
            "g.yaml:2:57: error: backends[0].config.command: expected a list of program and arguments, found a single \
             value; write a list, for example `[\"npx\", \"--flag\"]`; no shell splits the text",
        ),
        (
            "{name: b, protocol: stdio, config: {command: []}}",
            "g.yaml:2:48: error: backends[0].config.command: empty; give the program and its arguments as a list",
        ),
        (
            "{name: b, protocol: http, config: {base_url: 'ws://h'}}",
            "g.yaml:2:57: error: backends[0].config.base_url: not an `http` or `https` URL; found `ws://h`; allowed: \
             `http://host[:port][/path]` or `https://…`",
        ),
        (
            "{name: b, protocol: http, config: {base_url: 'http://u:hunter2@h/'}}",
            "g.yaml:2:57: error: backends[0].config.base_url: credentials in a URL end up in logs; found `http://…@h/`; \
             put them under `headers`, for example `Authorization: {env: NAME}`",
        ),
        (
            "{name: b, protocol: http, config: {}}",
            "g.yaml:2:38: error: backends[0].config.base_url: missing; this backend needs the URL of the server",
        ),
        (
            "{name: b, protocol: sse, config: {base_url: 'http://h?k=hunter2', stream_endpoint: /events}}",
            "g.yaml:2:56: error: backends[0].config.base_url: a query cannot stand before a path; found `http://h`; write the \
             whole URL, and leave the path out",
        ),
        (
            "{name: b, protocol: http, config: {base_url: 'http://h', headers: {Host: x}}}",
            "g.yaml:2:85: error: backends[0].config.headers.Host: this header is the gateway's own; remove it",
        ),
        (
            "{name: b, protocol: http, config: {base_url: 'http://h', headers: {A: {env: UNSET}}}}",
            "g.yaml:2:88: error: backends[0].config.headers.A.env: the environment variable UNSET is not set; set it, or \
             write the value here",
        ),
        (
            "{name: b, protocol: stdio, config: {command: [x], request_timeout: 5s, timeout: 6s}}",
            "g.yaml:2:92: error: backends[0].config.timeout: `request_timeout` sets the same limit to another value; \
             keep one of the two",
        ),
    ] {
        expect(&format!("{LOCAL}backends: [{backend}]\n"), &[expected]);
    }
    let twice = "backends:\n- &b {name: b, protocol: http, config: {base_url: 'http://h'}}\n- {<<: *b, namespace: c}\n";
    let found = findings(&format!("{LOCAL}{twice}"));
    assert!(
        found.contains("error: backends[1].name: backend `b` is defined twice; names must be unique"),
        "{found}"
    );
}

#[test]
fn every_broken_backend_is_named_at_once() {
    let text = format!("{LOCAL}backends: [{{name: a}}, {{protocol: http}}, {{name: c, protocol: stdio}}]\n");
    assert_eq!(findings(&text).lines().count(), 3, "{}", findings(&text));
}

#[test]
fn keys_of_the_other_protocol_warn() {
    expect(
        &format!(
            "{LOCAL}backends: [{{name: b, protocol: stdio, config: {{command: [x], base_url: 'http://h'}}}}]\n"
        ),
        &[
            "g.yaml:2:72: warning: backends[0].config.base_url: has no effect on a backend with `protocol: stdio`",
        ],
    );
}

#[test]
fn a_network_listener_without_authentication_is_refused() {
    let open = "error: server.host: listener `main` on 0.0.0.0:8443 is reachable from the network without authentication; \
                bind it to 127.0.0.1, add an `auth` section, or write `auth.provider: none`";
    expect(BACKEND, &[&format!("g.yaml: {open}")]);
    expect(&format!("{BACKEND}server:\n  host: 0.0.0.0\n"), &[&format!("g.yaml:3:9: {open}")]);
    expect(&format!("{BACKEND}auth: {{provider: none}}\n"), &[]);
    let frontend = "frontends: [{protocol: http, config: {host: '::', port: 2}}]";
    let text = format!("{BACKEND}server:\n  host: ::1\n  tls: {{enabled: false}}\n  {frontend}\n");
    expect(
        &text,
        &[&format!(
            "g.yaml:5:47: {}",
            open.replace("server.host", "server.frontends[0].config.host")
                .replace("main", "frontend-0")
                .replace("0.0.0.0:8443", "[::]:2")
        )],
    );
}

#[test]
fn ports_must_not_clash() {
    let base = format!("{BACKEND}server:\n  host: 127.0.0.1\n  tls: {{enabled: false}}\n");
    expect(
        &format!("{base}  port: 9090\n  health_port: 0\n  metrics_port: 9090\n"),
        &[
            "g.yaml:7:17: error: server.metrics_port: port 9090 is also that of `server.port`; choose another port, or 0 to \
         turn this one off",
        ],
    );
    expect(
        &format!("{base}  port: 8080\n"),
        &[
            "g.yaml:2:1: warning: server.health_port: port 8080 is also that of `server.port`; it is turned off; choose \
         another port",
        ],
    );
    expect(&format!("{base}  port: 1\n  frontends: [{{protocol: http, config: {{port: 1}}}}]\n"), &[]);
}

#[test]
fn contradictions_between_two_keys_for_one_limit_are_errors() {
    let text = format!(
        "{BACKEND}server: {{host: 127.0.0.1, read_timeout: 5, tls: {{enabled: false}}}}\nlimits:\n  read_timeout: 6s\n"
    );
    expect(
        &text,
        &[
            "g.yaml:4:17: error: limits.read_timeout: `server.read_timeout` sets the same limit to another value; keep one of \
         the two",
        ],
    );
    expect(&text.replace("6s", "5s"), &[]);
    let only_ours = config::parse(&text.replace("read_timeout: 5, ", ""), "g.yaml", &|_| None);
    assert_eq!(only_ours.unwrap().snapshot.limits.read_timeout.as_secs(), 6);
}

#[test]
fn client_certificates_need_an_authority() {
    let text = format!("{BACKEND}auth: {{provider: none}}\nserver:\n  tls:\n    client_auth: require\n");
    expect(
        &text,
        &[
            "g.yaml:5:18: error: server.tls.client_auth: `require` needs `ca_file` to verify client certificates; name the \
         file, or choose `none`",
        ],
    );
    expect(&format!("{text}    ca_file: /etc/ca.crt\n"), &[]);
}
