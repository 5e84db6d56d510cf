//! What clients do to a connection: too much, too slowly, half, twice, or nothing at all. Changes when the bounds of
//! connections change.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bridge_tests::http::{Connection, Url};
use bridge_tests::metrics::Metrics;
use bridge_tests::raw::{Request, answer, refused, serves};
use bridge_tests::{Config, Era, Gateway, TestServer};
use serde_json::json;

const INVALID_REQUEST: i64 = -32600;
const LIMIT: usize = 1024 * 1024;

fn start(config: Config) -> Result<(TestServer, Gateway)> {
    let fixture = TestServer::http(Era::Both)?;
    let gateway = Gateway::start(&config.http("fixture", fixture.url()))?;
    Ok((fixture, gateway))
}

/// Timeouts low enough to be tested, and far enough apart to be told from each other.
fn hasty() -> Config {
    Config::new().set("server", "read_timeout", json!(1)).set("server", "idle_timeout", json!(30))
}

fn connect(gateway: &Gateway) -> Result<(Url, Connection)> {
    let url = Url::parse(&gateway.url("/mcp"))?;
    let connection = Connection::open_url(&url)?;
    Ok((url, connection))
}

/// An `echo` call whose body has exactly `size` bytes.
fn call_of(size: usize) -> Result<Request> {
    let call = |text: String| {
        Request::modern("tools/call", &json!({ "name": "echo", "arguments": { "message": text } }))
    };
    let empty = call(String::new())?.body_len();
    call("x".repeat(size - empty))
}

#[test]
fn a_body_over_the_limit_is_refused_before_it_is_sent() -> Result<()> {
    let (_fixture, gateway) = start(Config::new())?;
    let response = call_of(LIMIT)?.send(&gateway.url("/mcp"))?;
    let text = answer(&response)?["result"]["content"][0]["text"].as_str().map(str::len);
    assert!(text.is_some_and(|length| length > LIMIT - 1024), "the limit itself is allowed");

    for length in [LIMIT + 1, 10 * 1024 * 1024 * 1024] {
        let (url, mut connection) = connect(&gateway)?;
        let head = Request::modern_headers("").with("Content-Length", &length.to_string());
        connection.send(&head.bytes(&url))?;
        let response = connection.read_response()?;
        refused(&gateway, &format!("{length} bytes announced"), &response, 413, INVALID_REQUEST)?;
        assert!(connection.is_closed_by_peer()?, "what follows cannot be told from a body");
    }
    // A client that waits for permission gets the refusal instead.
    let (url, mut connection) = connect(&gateway)?;
    let head = Request::modern_headers("").with("Content-Length", "2000000").with("Expect", "100-continue");
    connection.send(&head.bytes(&url))?;
    let response = connection.read_response()?;
    refused(&gateway, "with Expect", &response, 413, INVALID_REQUEST)?;
    Ok(())
}

#[test]
fn a_body_that_grows_over_the_limit_is_refused_and_the_sender_can_read_why() -> Result<()> {
    let (_fixture, gateway) = start(Config::new())?;
    for total in [LIMIT + 1, 3 * LIMIT] {
        let (url, mut connection) = connect(&gateway)?;
        let head = Request::modern_headers("").with("Transfer-Encoding", "chunked");
        let head = String::from_utf8(head.bytes(&url))?.replace("Content-Length: 0\r\n", "");
        connection.send(head.as_bytes())?;
        let mut sent = 0;
        while sent < total {
            let size = (total - sent).min(50_000);
            connection.send(format!("{size:x}\r\n{}\r\n", "x".repeat(size)).as_bytes())?;
            sent += size;
        }
        connection.send(b"0\r\n\r\n")?;
        let response = connection.read_response().with_context(|| format!("{total} bytes in chunks"))?;
        refused(&gateway, "chunks", &response, 413, INVALID_REQUEST)?;
    }
    // A whole body at once that is only a little too large, as an ordinary HTTP library sends it.
    let response = call_of(LIMIT + 100_000)?.send(&gateway.url("/mcp"))?;
    refused(&gateway, "sent whole", &response, 413, INVALID_REQUEST)?;
    Ok(())
}

#[test]
fn a_stream_of_chunks_without_end_is_cut_off() -> Result<()> {
    let (_fixture, gateway) = start(hasty())?;
    let (url, mut connection) = connect(&gateway)?;
    let head = Request::modern_headers("").with("Transfer-Encoding", "chunked");
    let head = String::from_utf8(head.bytes(&url))?.replace("Content-Length: 0\r\n", "");
    connection.send(head.as_bytes())?;
    let chunk = format!("{:x}\r\n{}\r\n", 100_000, "x".repeat(100_000));
    let begun = Instant::now();
    let mut sent = 0_usize;
    while connection.send(chunk.as_bytes()).is_ok() {
        sent += 100_000;
        ensure!(sent < 4 << 30, "the gateway swallows whatever comes");
        ensure!(begun.elapsed() < Duration::from_secs(30), "still reading after {sent} bytes");
    }
    serves(&gateway)
}

#[test]
fn a_body_that_does_not_come_is_given_up() -> Result<()> {
    let (_fixture, gateway) = start(hasty())?;
    let begun = Instant::now();
    let (url, mut connection) = connect(&gateway)?;
    connection.send(&Request::modern_headers(r#"{"jsonrpc""#).with("Content-Length", "100").bytes(&url))?;
    let response = connection.read_response()?;
    let message = refused(&gateway, "half a body", &response, 408, INVALID_REQUEST)?;
    assert_eq!(message["error"]["data"], json!({ "reason": "body_timeout", "retry": "safe" }));
    assert!(connection.is_closed_by_peer()?);
    let took = begun.elapsed();
    assert!(took > Duration::from_millis(900) && took < Duration::from_secs(10), "{took:?}");

    // Every byte in time, the whole not.
    let (url, mut connection) = connect(&gateway)?;
    connection.send(&Request::modern_headers("").with("Content-Length", "100").bytes(&url))?;
    let response = trickle(&mut connection, b" ")?.context("an answer")?;
    refused(&gateway, "a trickle", &response, 408, INVALID_REQUEST)?;
    Ok(())
}

/// Sends `piece` again and again, a little slower than ten times a second, until the other side says something or
/// closes (`None`).
fn trickle(connection: &mut Connection, piece: &[u8]) -> Result<Option<bridge_tests::http::Response>> {
    let begun = Instant::now();
    connection.set_patience(Duration::from_millis(100))?;
    loop {
        match connection.is_closed_by_peer() {
            Ok(true) => return Ok(None),
            Ok(false) => {
                connection.set_patience(bridge_tests::PATIENCE)?;
                return connection.read_response().map(Some);
            }
            // Nothing yet.
            Err(_) => {}
        }
        ensure!(begun.elapsed() < Duration::from_secs(12), "still waiting after {:?}", begun.elapsed());
        if connection.send(piece).is_err() {
            return Ok(None);
        }
    }
}

#[test]
fn a_head_that_does_not_end_is_given_up() -> Result<()> {
    let (_fixture, gateway) = start(hasty())?;
    for start in [
        "P",
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\n",
        "PRI * HTTP/2.0\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let (_, mut connection) = connect(&gateway)?;
        connection.send(start.as_bytes())?;
        connection.set_patience(Duration::from_secs(12))?;
        // HTTP/1 may be told 408, HTTP/2 gets frames of its own; both end.
        let begun = Instant::now();
        while let Ok(Some(_)) = connection.read_some() {}
        ensure!(connection.is_closed_by_peer()?, "{start:?} holds a connection");
        ensure!(begun.elapsed() < Duration::from_secs(8), "{start:?} was given {:?}", begun.elapsed());
    }
    let (_, mut connection) = connect(&gateway)?;
    connection.send(b"POST /mcp HTTP/1.1\r\n")?;
    if let Some(response) = trickle(&mut connection, b"X-More: yes\r\n")? {
        assert_eq!(response.head.status, 408);
    }
    // The second head of a connection is a head like the first.
    let (url, mut connection) = connect(&gateway)?;
    connection.send(&Request::modern("server/discover", &json!({}))?.bytes(&url))?;
    assert_eq!(connection.read_response()?.head.status, 200);
    connection.send(b"POST /mcp HTTP/1.1\r\n")?;
    if let Some(response) = trickle(&mut connection, b"X-More: yes\r\n")? {
        assert_eq!(response.head.status, 408);
    }
    serves(&gateway)
}

#[test]
fn a_connection_that_says_nothing_ends_and_one_in_use_does_not() -> Result<()> {
    let config =
        Config::new().set("server", "read_timeout", json!(1)).set("server", "idle_timeout", json!(2));
    let (_fixture, gateway) = start(config)?;
    let (url, mut silent) = connect(&gateway)?;
    let mut used = Connection::open_url(&url)?;
    let mut busy = Connection::open_url(&url)?;
    // Longer than any of the limits.
    let call = Request::modern("tools/call", &json!({ "name": "sleep", "arguments": { "ms": 4000 } }))?;
    busy.send(&call.bytes(&url))?;
    used.send(&Request::modern("server/discover", &json!({}))?.bytes(&url))?;
    assert_eq!(used.read_response()?.head.status, 200);

    silent.set_patience(Duration::from_secs(10))?;
    assert!(silent.is_closed_by_peer()?, "silent from the start");
    used.set_patience(Duration::from_secs(10))?;
    assert!(used.is_closed_by_peer()?, "silent after one request");
    assert_eq!(answer(&busy.read_response()?)?["result"]["content"][0]["text"], "Slept 4000 ms");
    Ok(())
}

#[test]
fn a_peer_that_closes_its_half_leaves_nothing_behind() -> Result<()> {
    let mut fixture = TestServer::http(Era::Both)?;
    let (gateway, metrics) = Metrics::start(&Config::new().http("fixture", fixture.url()))?;
    let whole = Request::modern("tools/call", &json!({ "name": "sleep", "arguments": { "ms": 60_000 } }))?;
    let part = |bytes: usize| -> Result<Connection> {
        let (url, mut connection) = connect(&gateway)?;
        let whole = whole.bytes(&url);
        connection.send(whole.get(..bytes.min(whole.len())).unwrap_or(&whole))?;
        Ok(connection)
    };
    for bytes in [0, 10, 60, 320] {
        let mut connection = part(bytes)?;
        connection.half_close()?;
        // The middle of a body may be answered with 400, everything else simply ends.
        while let Ok(Some(_)) = connection.read_some() {}
        assert!(connection.is_closed_by_peer()?, "after {bytes} bytes");
    }
    metrics.wait("mcp_gateway_connections_active", 0)?;

    // After a whole request it means what closing means: the client has left, so the call is cancelled.
    let mut connection = part(usize::MAX)?;
    fixture
        .process()
        .wait_line(bridge_tests::PATIENCE, |line| line.contains("sleep started").then_some(()))?;
    connection.half_close()?;
    fixture
        .process()
        .wait_line(bridge_tests::PATIENCE, |line| line.contains("sleep cancelled").then_some(()))?;
    assert!(connection.is_closed_by_peer()?);
    metrics.wait("mcp_gateway_connections_active", 0)?;
    metrics.wait("mcp_gateway_requests_in_flight", 0)?;
    serves(&gateway)
}

#[test]
fn pipelined_requests_are_answered_in_order_whatever_is_among_them() -> Result<()> {
    let (_fixture, gateway) = start(Config::new())?;
    let (url, mut connection) = connect(&gateway)?;
    let echo = |text: &str| {
        Request::modern("tools/call", &json!({ "name": "echo", "arguments": { "message": text } }))
    };
    let mut bytes = Vec::new();
    for round in 0..10 {
        bytes.extend(echo(&format!("round {round}"))?.bytes(&url));
        bytes.extend(Request::modern_headers("{broken").bytes(&url));
        bytes.extend(Request::modern("no/such", &json!({}))?.bytes(&url));
        bytes.extend(Request::post("").method("PUT").bytes(&url));
    }
    connection.send(&bytes)?;
    for round in 0..10 {
        let echoed = connection.read_response()?;
        assert_eq!(answer(&echoed)?["result"]["content"][0]["text"], format!("round {round}"));
        let statuses =
            [connection.read_response()?, connection.read_response()?, connection.read_response()?];
        assert_eq!(statuses.map(|response| response.head.status), [400, 404, 405], "round {round}");
    }
    Ok(())
}

#[test]
fn heads_that_are_no_http_are_refused() -> Result<()> {
    let (_fixture, gateway) = start(Config::new())?;
    let line = |line: &str| format!("{line}\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
    let header = |header: &str| format!("POST /mcp HTTP/1.1\r\nHost: localhost\r\n{header}\r\n\r\n");
    let long = "x".repeat(200_000);
    for (what, request, statuses) in [
        ("no version", line("POST /mcp"), &[400][..]),
        ("another version", line("POST /mcp HTTP/9.9"), &[400, 505]),
        ("nothing known", "\u{0}\u{1}\u{2}\u{3}\r\n\r\n".to_owned(), &[400]),
        ("TLS", "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\r\n\r\n".to_owned(), &[400]),
        ("a blank before the colon", header("Content-Length : 5"), &[400]),
        ("two lengths", header("Content-Length: 5\r\nContent-Length: 6"), &[400]),
        ("no length", header("Content-Length: five"), &[400]),
        ("a negative length", header("Content-Length: -1"), &[400]),
        ("an unknown coding", header("Transfer-Encoding: gzip"), &[400, 501]),
        ("a header without end", header(&format!("X-Long: {long}")), &[400, 431]),
        ("too many headers", header(&"X: y\r\n".repeat(5000)), &[400, 431]),
        ("an address without end", line(&format!("POST /{long} HTTP/1.1")), &[400, 414, 431]),
    ] {
        let (_, mut connection) = connect(&gateway)?;
        // It may refuse before it has everything.
        let _ = connection.send(request.as_bytes());
        let head = connection.read_head().with_context(|| what.to_owned())?;
        ensure!(statuses.contains(&head.status), "{what}: {head:?}");
        serves(&gateway).with_context(|| what.to_owned())?;
    }
    Ok(())
}

#[test]
fn a_length_beside_chunks_smuggles_no_second_request() -> Result<()> {
    let (_fixture, gateway) = start(Config::new())?;
    let (url, mut connection) = connect(&gateway)?;
    let hidden = Request::modern("tools/call", &json!({ "name": "crash" }))?.bytes(&url);
    let body = [b"0\r\n\r\n", &*hidden].concat();
    let request = Request::modern_headers(body).with("Transfer-Encoding", "chunked");
    connection.send(&request.bytes(&url))?;
    let first = connection.read_head()?.status;
    assert_eq!(first, 400, "either the combination or the empty body is refused");
    connection.read_body()?;
    // By the length, the rest was the body; by the chunks, it is a request. Whoever stands in front may have read it
    // either way, so the connection has to end.
    assert!(connection.is_closed_by_peer()?);
    serves(&gateway)
}

#[test]
fn connections_are_bounded_per_peer_and_in_all() -> Result<()> {
    for (key, status) in [("max_connections_per_ip", 429), ("max_connections", 503)] {
        let (_fixture, gateway) = start(Config::new().set("server", key, json!(3)))?;
        let held: Vec<_> = (0..3)
            .map(|_| {
                let (url, mut connection) = connect(&gateway)?;
                connection.send(&Request::modern("server/discover", &json!({}))?.bytes(&url))?;
                ensure!(connection.read_response()?.head.status == 200);
                Ok(connection)
            })
            .collect::<Result<_>>()?;
        let (_, mut fourth) = connect(&gateway)?;
        assert_eq!(fourth.read_head()?.status, status, "{key}");
        drop(held);
        // The places are free as soon as the gateway has seen the ends.
        let deadline = Instant::now() + bridge_tests::PATIENCE;
        while serves(&gateway).is_err() {
            ensure!(Instant::now() < deadline, "{key}: no place became free");
        }
    }
    Ok(())
}

#[test]
fn garbage_without_end_costs_no_memory() -> Result<()> {
    let (_fixture, mut gateway) = start(Config::new())?;
    let pid = gateway.process().pid();
    let garbage = |seed: usize| -> Vec<u8> {
        // A small linear congruential generator: the same bytes in every run.
        let mut state = seed as u64;
        (0..seed % 4000)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                state.to_be_bytes()[0]
            })
            .collect()
    };
    let one = |seed: usize| -> Result<()> {
        let (url, mut connection) = connect(&gateway)?;
        let body = match seed % 4 {
            0 => garbage(seed),
            1 => format!("{{\"jsonrpc\":\"2.0\",\"id\":{seed},\"method\":\"m{seed}\"}}").into_bytes(),
            2 => "[".repeat(seed).into_bytes(),
            _ => format!("{{\"a{seed}\":").repeat(50).into_bytes(),
        };
        let request = match seed % 5 {
            0 => garbage(seed + 7),
            1 => Request::legacy(&format!("{seed:032x}"), body).bytes(&url),
            2 => Request::modern_headers(body).with("Mcp-Method", &format!("m{seed}")).bytes(&url),
            3 => Request::modern("tools/call", &json!({ "name": format!("tool{seed}") }))?.bytes(&url),
            _ => Request::post(body).with("Origin", &format!("http://{seed}.example")).bytes(&url),
        };
        // What comes back does not matter here, and whether anything does: garbage may look unfinished.
        let _ = connection.send(&request);
        let _ = connection.half_close();
        while let Ok(Some(_)) = connection.read_some() {}
        Ok(())
    };
    let flood = |from: usize, to: usize| -> Result<()> {
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..8)
                .map(|worker| scope.spawn(move || (from + worker..to).step_by(8).try_for_each(one)))
                .collect();
            workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| anyhow::anyhow!("panic"))?)
        })
    };
    flood(0, 2000)?;
    let before = resident_kib(pid)?;
    flood(2000, 12_000)?;
    let after = resident_kib(pid)?;
    assert!(after < before + 16 * 1024, "{before} KiB became {after} KiB");
    serves(&gateway)
}

fn resident_kib(pid: i32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    line.trim().trim_end_matches(" kB").trim().parse().with_context(|| line.to_owned())
}
