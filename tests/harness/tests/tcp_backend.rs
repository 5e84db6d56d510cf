//! A server of the binary protocol as a backend: the gateway as its own peer, in both generations, and servers made by hand
//! that misbehave. Changes with how such servers are spoken to.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bridge_tests::process::Signal;
use bridge_tests::tokens::Issuer;
use bridge_tests::{Backend, Config, Era, Gateway, LegacySession, ModernClient, TestServer};
use serde_json::{Value, json};

const SECRET: &str = "a secret of thirty-two bytes, ok";

fn backend(url: &str) -> Backend {
    Backend::http("remote", url).key("protocol", "tcp_binary".into())
}

/// A gateway that serves a fixture over TCP.
fn inner() -> Result<Gateway> {
    let stdio = TestServer::stdio(Era::Both)?;
    let config = Config::new().set("server", "protocol", "both".into()).stdio("fixture", &stdio);
    let inner = Gateway::start(&config)?;
    for era in ["legacy", "modern"] {
        inner.wait_backends(era, &["fixture"])?;
    }
    Ok(inner)
}

/// A gateway that has another as its backend.
fn outer(inner: &Gateway) -> Result<Gateway> {
    let url = format!("tcp://{}", inner.wait_listener("tcp")?);
    let outer = Gateway::start(&Config::new().backend(backend(&url)))?;
    for era in ["legacy", "modern"] {
        outer.wait_backends(era, &["remote"])?;
    }
    Ok(outer)
}

fn call(name: &str, arguments: &Value) -> Value {
    json!({ "name": name, "arguments": arguments })
}

fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap_or_default()
}

#[test]
fn both_generations_cross_two_gateways() -> Result<()> {
    let inner = inner()?;
    let outer = outer(&inner)?;
    let url = outer.url("/mcp/remote");
    let echo = call("echo", &json!({ "message": "weit" }));
    let mut session = LegacySession::open(&url, &json!({ "sampling": {} }))?;
    let tools = session.list("tools/list", "tools")?;
    ensure!(tools.iter().any(|tool| tool["name"] == "echo"), "{tools:?}");
    ensure!(text(&session.request("tools/call", &echo)?.into_result()?) == "weit");
    let mut modern = ModernClient::new(&url, &json!({}))?;
    ensure!(text(&modern.request("tools/call", &echo)?.into_result()?) == "weit");
    let large = "x".repeat(512 * 1024);
    let result = modern.request("tools/call", &call("echo", &json!({ "message": large })))?.into_result()?;
    ensure!(text(&result) == large, "{} bytes", text(&result).len());

    // A question of the server's, and progress, on the way back.
    session.on_server_request(|method, _| {
        json!({ "role": "assistant", "model": method, "content": { "type": "text", "text": "gefragt" } })
    });
    let asked = session.request("tools/call", &call("test_sampling", &json!({ "prompt": "wie?" })))?;
    ensure!(text(&asked.into_result()?).contains("gefragt"));
    let mut progress = call("test_tool_with_progress", &json!({}));
    progress["_meta"] = json!({ "progressToken": "p" });
    let reply = session.request("tools/call", &progress)?;
    ensure!(!reply.notifications("notifications/progress").is_empty(), "{reply:?}");
    Ok(())
}

#[test]
fn many_calls_share_one_connection_and_keep_their_ids() -> Result<()> {
    let inner = inner()?;
    let outer = outer(&inner)?;
    let url = outer.url("/mcp/remote");
    thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|client| {
                let url = &url;
                scope.spawn(move || -> Result<()> {
                    let mut modern = ModernClient::new(url, &json!({}))?;
                    for round in 0..25 {
                        let message = format!("{client} {round}");
                        let params = call("echo", &json!({ "message": message }));
                        let result = modern.request("tools/call", &params)?.into_result()?;
                        ensure!(text(&result) == message, "{result}");
                    }
                    Ok(())
                })
            })
            .collect();
        for client in clients {
            client.join().map_err(|_| anyhow::anyhow!("a client panicked"))??;
        }
        Ok(())
    })
}

#[test]
fn a_backend_that_wants_a_token_gets_the_configured_one() -> Result<()> {
    let fixture = TestServer::http(Era::Both)?;
    let config = Config::new().set("server", "protocol", "both".into()).http("fixture", fixture.url());
    let auth = json!({ "provider": "jwt", "jwt": { "secret_key_env": "TCP_TEST_SECRET" } });
    let config = format!("{}auth: {auth}\n", config.to_yaml());
    let inner = Gateway::start_with(&config, &[], &[("TCP_TEST_SECRET", SECRET)])?;
    inner.wait_backends("legacy", &["fixture"])?;
    let url = format!("tcp://{}", inner.wait_listener("tcp")?);
    let with = |issuer: &Issuer| -> Result<Gateway> {
        let token = issuer.token("gateway")?;
        let config = Config::new().backend(backend(&url).config("token", json!({ "env": "BACKEND_TOKEN" })));
        Gateway::start_with(&config.to_yaml(), &[], &[("BACKEND_TOKEN", &token)])
    };
    let outer = with(&Issuer::secret(SECRET))?;
    outer.wait_backends("legacy", &["remote"])?;
    let mut session = LegacySession::open(&outer.url("/mcp/remote"), &json!({}))?;
    let echo = call("echo", &json!({ "message": "drin" }));
    ensure!(text(&session.request("tools/call", &echo)?.into_result()?) == "drin");

    let refused = with(&Issuer::secret("another secret"))?;
    let said = refused.wait_log(bridge_tests::PATIENCE, |line| line["msg"] == "not connected")?;
    ensure!(said.to_string().contains("refused the gateway's token"), "{said}");
    Ok(())
}

#[test]
fn a_backend_that_is_lost_gives_typed_errors_and_heals() -> Result<()> {
    let mut inner = inner()?;
    let outer = outer(&inner)?;
    let mut modern = ModernClient::new(&outer.url("/mcp/remote"), &json!({}))?;
    let (id, exchange) = modern.start("tools/call", &call("sleep", &json!({ "ms": 600_000 })))?;
    // Both have it, once something behind it is answered.
    let echo = call("echo", &json!({ "message": "da" }));
    modern.request("tools/call", &echo)?.into_result()?;
    let address = inner.wait_listener("tcp")?;
    inner.process().signal(Signal::KILL)?;
    let killed = Instant::now();
    let error = exchange.finish(&id, |_| Ok(()))?.into_error()?;
    ensure!(killed.elapsed() < Duration::from_secs(5), "{:?}", killed.elapsed());
    let data = error.data;
    ensure!(data["retry"] == "may_have_executed" && data["backend"] == "remote", "{data}");
    let error = modern.request("tools/call", &echo)?.into_error()?;
    ensure!(error.code == -32004 && !error.message.contains(&address.port().to_string()), "{error:?}");

    let stdio = TestServer::stdio(Era::Both)?;
    let config = Config::new()
        .set("server", "protocol", "both".into())
        .set("server", "tcp_port", address.port().into())
        .stdio("fixture", &stdio);
    let again = Gateway::start(&config)?;
    again.wait_backends("modern", &["fixture"])?;
    ensure!(text(&modern.request("tools/call", &echo)?.into_result()?) == "da");
    Ok(())
}

#[test]
fn a_server_that_is_none_leaves_the_gateway_well() -> Result<()> {
    let answers: [&[u8]; 4] = [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"MCPB\x00\x01\x00\x05\x00\x00\x00\x02no",
        b"MCPB\x00\x01\x00\x07\x00\x00\x00\x02{}",
        b"MCPB\x00\x01\x00\x01\xff\xff\xff\xff",
    ];
    for answer in answers {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("tcp://{}", listener.local_addr()?);
        let serving = thread::spawn(move || -> Result<()> {
            let (mut stream, _) = listener.accept()?;
            let mut offer = [0; 92];
            stream.read_exact(&mut offer)?;
            ensure!(
                offer.starts_with(b"MCPB\x00\x01\x00\x06\x00\x00\x00\x50{\"min_version\":1"),
                "{offer:?}"
            );
            stream.write_all(answer)?;
            wait_end(stream)
        });
        let gateway = Gateway::start(&Config::new().backend(backend(&url)))?;
        let said = gateway.wait_log(bridge_tests::PATIENCE, |line| line["msg"] == "not connected")?;
        ensure!(said["backend"] == "remote", "{said}");
        serving.join().map_err(|_| anyhow::anyhow!("the server panicked"))??;
        bridge_tests::raw::serves(&gateway)?;
    }
    Ok(())
}

/// Waits until the other end has closed.
fn wait_end(mut stream: TcpStream) -> Result<()> {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Err(error) if error.kind() != std::io::ErrorKind::ConnectionReset => Err(error.into()),
        _ => Ok(()),
    }
}
