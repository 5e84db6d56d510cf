//! Nothing that may be a secret reaches a message or a debug print.
#![allow(clippy::panic, reason = "test code outside of `#[test]` functions")]

use bridge_snapshot::Target;
use mcp_gateway::config;

const SECRET: &str = "hunter2";

fn env(name: &str) -> Option<String> {
    (name == "TOKEN").then(|| SECRET.to_owned())
}

#[test]
fn values_arrive_but_do_not_print() {
    let text = format!(
        "server: {{host: 127.0.0.1}}\n\
         redis: {{url: 'redis://:{SECRET}@r', password: {SECRET}}}\n\
         backends:\n\
         - {{name: h, protocol: http, config: {{base_url: 'http://h', headers: {{Authorization: {{env: TOKEN}}, X-Key: {SECRET}}}}}}}\n\
         - {{name: s, protocol: stdio, config: {{command: [x], env: {{TOKEN: {{env: TOKEN}}, KEY: {SECRET}}}}}}}\n"
    );
    let loaded = config::parse(&text, "g.yaml", &env).unwrap();
    let (Target::Http(http), Target::Stdio(stdio)) =
        (&loaded.snapshot.backends[0].target, &loaded.snapshot.backends[1].target)
    else {
        panic!("{:?}", loaded.snapshot.backends)
    };
    assert_eq!(http.headers["Authorization"].expose(), SECRET);
    assert_eq!(http.headers["X-Key"].expose(), SECRET);
    assert_eq!(stdio.env["TOKEN"].expose(), SECRET);
    assert_eq!(stdio.env["KEY"].expose(), SECRET);
    assert!(!format!("{loaded:?}").contains(SECRET));
}

#[test]
fn findings_about_secret_keys_do_not_quote_them() {
    for config in [
        format!("headers: {SECRET}"),
        format!("headers: [{SECRET}]"),
        format!("headers: {{A: [{SECRET}]}}"),
        format!("headers: {{A: {{value: {SECRET}}}}}"),
        format!("headers: {{A: \"{SECRET}\\n\"}}"),
        format!("headers: {{Host: {SECRET}}}"),
        format!("env: {SECRET}"),
        format!("env: {{A: \"{SECRET}\\0\"}}, command: [x]"),
        format!("command: server --token {SECRET}"),
        format!("token: {SECRET}"),
    ] {
        for protocol in ["http", "stdio"] {
            let text = format!(
                "server: {{host: 127.0.0.1}}\nbackends: [{{name: b, protocol: {protocol}, config: {{base_url: 'http://h', {config}}}}}]\n"
            );
            let shown = match config::parse(&text, "g.yaml", &env) {
                Ok(loaded) => format!("{:?}", loaded.warnings),
                Err(error) => format!("{error} {error:?}"),
            };
            assert!(shown.contains("backends[0]") && !shown.contains(SECRET), "{config}: {shown}");
        }
    }
    for text in [
        format!("redis: {{url: [{SECRET}], password: {{a: {SECRET}}}}}\n"),
        format!("auth: [{{type: bearer, token: {SECRET}}}]\n"),
        format!("jwt_secret: {SECRET}\n"),
        format!("sessions: {{redis: {SECRET}}}\n"),
    ] {
        let error = config::parse(&text, "g.yaml", &env)
            .map_or_else(|error| format!("{error:?}"), |ok| format!("{ok:?}"));
        assert!(!error.contains(SECRET), "{error}");
    }
}
