//! Clients on the same machine: standard input and output, and Unix sockets with several clients. Changes when local
//! clients are served differently.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use bridge_tests::peer::Lines;
use bridge_tests::{Backend, Config, Era, Gateway, PATIENCE, Peer, Process, TempDir, TestServer};
use serde_json::{Value, json};

fn call(name: &str, arguments: &Value) -> Value {
    json!({ "name": name, "arguments": arguments })
}

/// A gateway that is a server on its own standard streams, and nothing else.
fn on_standard_streams(fixture: &TestServer) -> Result<(Process, TempDir)> {
    let config = Config::new()
        .set("server", "protocol", json!("stdio"))
        .backend(Backend::http("web", fixture.url()).key("namespace", json!("web")));
    let dir = TempDir::new("stdio-frontend")?;
    let file = dir.write("gateway.yaml", &config.to_yaml())?;
    Ok((Gateway::spawn(&file, &[], &[])?, dir))
}

fn say(process: &mut Process, message: &Value) -> Result<()> {
    process.write_stdin(format!("{message}\n").as_bytes())
}

/// Waits for the line that answers a request.
fn answer(process: &Process, id: i64) -> Result<Value> {
    process.wait_line(PATIENCE, |line| {
        let message: Value = serde_json::from_str(line).ok()?;
        (message["jsonrpc"] == "2.0" && message["id"] == id && message.get("method").is_none())
            .then_some(message)
    })
}

fn initialize(id: i64) -> Value {
    let params = json!({
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "t", "version": "1" },
    });
    json!({ "jsonrpc": "2.0", "id": id, "method": "initialize", "params": params })
}

#[test]
fn the_gateway_is_a_server_on_its_standard_streams() -> Result<()> {
    let fixture = TestServer::http(Era::Both)?;
    let (mut gateway, _dir) = on_standard_streams(&fixture)?;
    say(&mut gateway, &initialize(1))?;
    let opened = answer(&gateway, 1)?;
    ensure!(opened["result"]["protocolVersion"] == "2025-06-18", "{opened}");
    let echo = json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": call("echo", &json!({ "message": "hi" })) });
    say(&mut gateway, &echo)?;
    let echoed = answer(&gateway, 2)?;
    ensure!(echoed["result"]["content"][0]["text"] == "hi", "{echoed}");
    // The end of the input: what was asked is answered, then the process ends by itself.
    let sleep = json!({ "jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": call("sleep", &json!({ "ms": 500 })) });
    say(&mut gateway, &sleep)?;
    gateway.close_stdin();
    ensure!(answer(&gateway, 3)?["result"].is_object(), "the last answer");
    let exit = gateway.wait_exit(PATIENCE)?;
    ensure!(exit.success(), "{exit}");
    Ok(())
}

#[test]
fn a_stop_ends_a_gateway_whose_input_stays_open() -> Result<()> {
    let fixture = TestServer::http(Era::Both)?;
    let (mut gateway, _dir) = on_standard_streams(&fixture)?;
    say(&mut gateway, &initialize(1))?;
    answer(&gateway, 1)?;
    gateway.signal(bridge_tests::process::Signal::TERM)?;
    ensure!(gateway.wait_exit(PATIENCE)?.success(), "a read of standard input holds nobody");
    Ok(())
}

/// A gateway that also listens on a Unix socket.
fn on_a_socket() -> Result<(TestServer, Gateway, TempDir, PathBuf)> {
    let fixture = TestServer::http(Era::Both)?;
    let dir = TempDir::new("unix-socket")?;
    let path = dir.path().join("gateway.sock");
    let modes = json!({
        "modes": [{ "type": "unix_socket", "path": path }],
        "process_management": { "max_concurrent_clients": 3 },
    });
    let config = Config::new().set("server", "stdio_frontend", modes).http("web", fixture.url());
    let gateway = Gateway::start(&config)?;
    gateway.wait_backends("legacy", &["web"])?;
    gateway.wait_backends("modern", &["web"])?;
    Ok((fixture, gateway, dir, path))
}

#[test]
fn several_clients_of_a_unix_socket_never_see_each_other() -> Result<()> {
    let (_fixture, gateway, _dir, path) = on_a_socket()?;
    ensure!(std::fs::metadata(&path)?.permissions().mode() & 0o777 == 0o600, "its owner's only");
    let mut clients = (0..3).map(|_| Ok(Peer::new(Lines::connect(&path)?))).collect::<Result<Vec<_>>>()?;
    for client in &mut clients {
        client.initialize(&json!({}))?;
    }
    let mut ids = Vec::new();
    for (number, client) in clients.iter_mut().enumerate() {
        ids.push(client.start("tools/call", &call("echo", &json!({ "message": number.to_string() })))?);
    }
    for (number, client) in clients.iter_mut().enumerate() {
        let answer = client.answer(&ids[number])?;
        ensure!(answer["result"]["content"][0]["text"] == json!(number.to_string()), "{answer}");
        let modern = client.modern("server/discover", &json!({}))?;
        ensure!(modern["resultType"] == "complete", "{modern}");
    }
    let mut fourth = Peer::new(Lines::connect(&path)?);
    ensure!(fourth.read()?.is_none(), "one too many is turned away");
    ensure!(gateway.stop(PATIENCE)?.success(), "stop");
    ensure!(clients[0].read()?.is_none(), "the gateway has left");
    ensure!(!path.exists(), "the socket's file goes with it");
    Ok(())
}

#[test]
fn a_socket_in_use_refuses_a_second_gateway_and_a_stale_one_does_not() -> Result<()> {
    let (_fixture, mut first, dir, path) = on_a_socket()?;
    let file = dir.write("second.yaml", &std::fs::read_to_string(first.config_path())?)?;
    let second = Gateway::spawn(&file, &[], &[])?;
    ensure!(!second.wait_exit(PATIENCE)?.success(), "the second must not start");
    ensure!(
        second.log().iter().any(|line| line.contains("somebody listens there already")),
        "{:?}",
        second.log()
    );
    first.process().signal(bridge_tests::process::Signal::KILL)?;
    first.process().wait_exit(PATIENCE)?;
    ensure!(path.exists(), "a killed process leaves the file");
    let third = Gateway::spawn(&file, &[], &[])?;
    third.wait_line(PATIENCE, |line| line.contains("listening on a Unix socket").then_some(()))?;
    let mut client = Peer::new(Lines::connect(&path)?);
    ensure!(client.call("ping", &json!({}))? == json!({}), "served again");
    Ok(())
}

#[test]
fn a_line_over_the_limit_is_answered_and_the_next_is_served() -> Result<()> {
    let fixture = TestServer::http(Era::Both)?;
    let dir = TempDir::new("unix-limit")?;
    let path = dir.path().join("gateway.sock");
    let config = Config::new()
        .set("server", "stdio_frontend", json!({ "socket_path": path }))
        .set("limits", "max_message", json!(2048))
        .http("web", fixture.url());
    let _gateway = Gateway::start(&config)?;
    let mut client = Peer::new(Lines::connect(&path)?);
    client.send(&json!({ "padding": "x".repeat(4000) }))?;
    let refused = client.read()?.context("an answer")?;
    ensure!(refused["error"]["code"] == -32600 && refused["id"] == Value::Null, "{refused}");
    ensure!(client.call("ping", &json!({}))? == json!({}), "reading goes on");
    Ok(())
}
