//! What flags mean.

use clap::Parser as _;

use super::*;
use crate::args::{Args as Line, Command};

fn parse(line: &str) -> Result<StdioAdapter, String> {
    match Line::try_parse_from(line.split_whitespace()).map_err(|error| error.to_string())?.command {
        Some(Command::StdioAdapter(adapter)) => Ok(adapter),
        other => panic!("{other:?}"),
    }
}

fn environment() -> impl Iterator<Item = (OsString, OsString)> {
    [("PATH", "/usr/bin:/bin"), ("TOKEN", "of-the-server"), ("HOME", "/home/me")]
        .map(|(name, value)| (name.into(), value.into()))
        .into_iter()
}

#[test]
fn the_flags_of_the_operator_are_understood() {
    let line = "mcp-gateway stdio-adapter --listen=0.0.0.0:8080 --session-mode=shared --max-sessions=7 -- \
                sh -c --install=x";
    let adapter = parse(line).unwrap();
    assert_eq!(adapter.listen, "0.0.0.0:8080".parse().unwrap());
    assert_eq!((adapter.session_mode, adapter.max_sessions.get()), (SessionMode::Shared, 7));
    assert_eq!(adapter.command, ["sh", "-c", "--install=x"]);
    let installer = parse("mcp-gateway stdio-adapter --install=/mcp-bridge/mcp-gateway").unwrap();
    assert_eq!(installer.install.as_deref(), Some(Path::new("/mcp-bridge/mcp-gateway")));
}

#[test]
fn what_is_wrong_with_flags_is_said() {
    for (flags, text) in [
        ("", "-- <COMMAND>..."),
        ("--max-sessions=0 -- sh", "--max-sessions"),
        ("--session-mode=both -- sh", "[possible values: per-session, shared]"),
        ("--listen=8080 -- sh", "--listen"),
        ("--session-ttl=soon -- sh", "--session-ttl"),
        ("sh", "unexpected argument 'sh'"),
        ("--install=/x --max-sessions=1 -- sh", "cannot be used with"),
    ] {
        let error = parse(&format!("mcp-gateway stdio-adapter {flags}")).unwrap_err();
        assert!(error.contains(text), "{flags}: {error}");
    }
}

#[test]
fn the_configuration_is_one_that_could_come_from_a_file() {
    let adapter = parse("mcp-gateway stdio-adapter --listen=0.0.0.0:0 --max-sessions=3 -- sh").unwrap();
    let snapshot = adapter.settings(environment()).unwrap().loaded.snapshot;
    assert_eq!(snapshot.validate(), Ok(()));
    assert_eq!(snapshot.sessions.max_sessions, 3);
}

#[test]
fn the_server_gets_the_whole_environment() {
    let adapter = parse("mcp-gateway stdio-adapter -- sh").unwrap();
    let snapshot = adapter.settings(environment()).unwrap().loaded.snapshot;
    let Some(Target::Stdio(stdio)) = snapshot.backends.first().map(|backend| &backend.target) else {
        panic!("{snapshot:?}");
    };
    // The rest is inherited.
    let set: Vec<_> = stdio.env.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
    assert_eq!(set, [("TOKEN", "of-the-server")]);
}

#[test]
fn a_program_that_does_not_exist_is_found_out_at_once() {
    let adapter = parse("mcp-gateway stdio-adapter -- no-such-program").unwrap();
    let error = adapter.settings(environment()).unwrap_err().to_string();
    assert!(error.contains("`no-such-program`") && error.contains("/usr/bin:/bin"), "{error}");
}
