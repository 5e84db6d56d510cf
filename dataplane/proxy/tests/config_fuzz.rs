//! Whatever the text, loading ends with a configuration or with findings that print on one line each.

use mcp_gateway::config;
use proptest::prelude::*;

fn check(text: &str) -> Result<(), TestCaseError> {
    let env = |name: &str| name.len().is_multiple_of(7).then(|| text.chars().take(8).collect());
    for result in [config::parse(text, "g.yaml", &|_| None), config::parse(text, "g.yaml", &env)] {
        let findings = match &result {
            Ok(loaded) => {
                prop_assert!(loaded.snapshot.validate().is_ok());
                prop_assert!(loaded.warnings.iter().all(|warning| !warning.is_error()));
                loaded.warnings.as_slice()
            }
            Err(error) => {
                prop_assert!(error.diagnostics().iter().any(config::Diagnostic::is_error));
                error.diagnostics()
            }
        };
        for finding in findings {
            prop_assert!(!finding.to_string().contains(['\n', '\r', '\u{1b}']), "{finding:?}");
        }
    }
    Ok(())
}

/// Lines in the shape of a configuration, with values of every kind.
fn lines() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec![
        "server",
        "port",
        "host",
        "tls",
        "enabled",
        "auth",
        "provider",
        "backends",
        "name",
        "protocol",
        "config",
        "command",
        "env",
        "headers",
        "base_url",
        "limits",
        "max_depth",
        "static",
        "endpoints",
        "url",
        "<<",
        "frontends",
        "- name",
        "- protocol",
        "service_discovery",
        "redis",
        "logging",
        "level",
    ]);
    let value = prop::sample::select(vec![
        "",
        "1",
        "-1",
        "0",
        "none",
        "jwt",
        "stdio",
        "http",
        "[a, b]",
        "{env: A}",
        "{env: }",
        "http://h",
        "true",
        "~",
        "'x'",
        "\"\\u0000\"",
        "&a x",
        "*a",
        "!!int x",
        "|",
        "${A}",
        "127.0.0.1",
        "30s",
        "\u{1b}[2J",
        "{}",
        "[]",
        "[[]]",
    ]);
    let line = (0_usize..4, key, value)
        .prop_map(|(indent, key, value)| format!("{}{key}: {value}\n", "  ".repeat(indent)));
    prop::collection::vec(line, 0..12).prop_map(|lines| lines.concat())
}

proptest! {
    #[test]
    fn arbitrary_text(text in "\\PC{0,200}") {
        check(&text)?;
    }

    #[test]
    fn configuration_shaped_text(text in lines()) {
        check(&text)?;
    }
}
