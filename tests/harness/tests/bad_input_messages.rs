//! Bodies that are no message, or none that is legal where they come: each with its status and its code, and the gateway
//! serves on. Changes when the rules for messages change.

use anyhow::{Context as _, Result, ensure};
use bridge_tests::raw::{Request, answer, refused, serves, session};
use bridge_tests::{Config, Era, Gateway, LegacySession, TestServer};
use serde_json::{Value, json};

const PARSE: i64 = -32700;
const INVALID_REQUEST: i64 = -32600;
const METHOD_NOT_FOUND: i64 = -32601;
const INVALID_PARAMS: i64 = -32602;

fn start() -> Result<(TestServer, Gateway)> {
    let fixture = TestServer::http(Era::Both)?;
    let gateway = Gateway::start(&Config::new().http("fixture", fixture.url()))?;
    Ok((fixture, gateway))
}

/// Sends a body as a client of each generation would and expects the same refusal each time.
fn refused_in_both_eras(gateway: &Gateway, session: &str, body: &[u8], code: i64, id: &Value) -> Result<()> {
    let what = String::from_utf8_lossy(body.get(..body.len().min(80)).unwrap_or_default()).into_owned();
    for (era, request) in
        [("legacy", Request::legacy(session, body)), ("modern", Request::modern_headers(body))]
    {
        let response = request.send(&gateway.url("/mcp"))?;
        let message = refused(gateway, &format!("{era}: {what}"), &response, 400, code)?;
        ensure!(message["id"] == *id, "{era}: {what}: the id is {}", message["id"]);
    }
    Ok(())
}

#[test]
fn what_is_not_json_is_a_parse_error() -> Result<()> {
    let (_fixture, gateway) = start()?;
    let session = session(&gateway.url("/mcp"))?;
    let nul = b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\0b\"}";
    let invalid_utf8 = b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"params\":{\"x\":\"\xff\xfe\"}}";
    let overlong = b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"params\":{\"x\":\"\xc0\xaf\"}}";
    let surrogate = b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"params\":{\"x\":\"\xed\xa0\x80\"}}";
    let bodies: [&[u8]; 17] = [
        b"",
        b" ",
        b"{",
        br#"{"jsonrpc":"2.0","id":1,"method":"ping""#,
        br#"{"jsonrpc":"2.0","id":1,"method":"ping",}"#,
        br#"{"jsonrpc":"2.0","id":1,"method":'ping'}"#,
        br#"{"jsonrpc":"2.0","id":01,"method":"ping"}"#,
        br#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":NaN}}"#,
        br#"{"jsonrpc":"2.0","id":1,"method":"ping"} {"#,
        br#"{"jsonrpc":"2.0","id":1,"method":"ping"}{"jsonrpc":"2.0","id":2,"method":"ping"}"#,
        b"\xef\xbb\xbf{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}",
        b"[",
        b"GET / HTTP/1.1",
        nul,
        invalid_utf8,
        overlong,
        surrogate,
    ];
    for body in bodies {
        refused_in_both_eras(&gateway, &session, body, PARSE, &Value::Null)?;
    }
    Ok(())
}

#[test]
fn a_key_that_comes_twice_is_refused_wherever_it_stands() -> Result<()> {
    let (_fixture, gateway) = start()?;
    let session = session(&gateway.url("/mcp"))?;
    for body in [
        r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"tools/list"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{},"params":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","unknown":1,"unknown":2}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","name":"crash"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","n\u0061me":"crash"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"a":1,"a":2}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"b":[{"a":1,"\u0061":2}]}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","_meta":{"progressToken":1,"progressToken":2}}}"#,
    ] {
        refused_in_both_eras(&gateway, &session, body.as_bytes(), INVALID_REQUEST, &Value::Null)?;
    }
    Ok(())
}

#[test]
fn wrong_types_are_named_and_a_usable_id_comes_back() -> Result<()> {
    let (_fixture, gateway) = start()?;
    let session = session(&gateway.url("/mcp"))?;
    for (body, code, id) in [
        (r#"{"jsonrpc":"2.0","id":null,"method":"tools/list"}"#, INVALID_REQUEST, Value::Null),
        (r#"{"jsonrpc":"2.0","id":true,"method":"tools/list"}"#, INVALID_REQUEST, Value::Null),
        (r#"{"jsonrpc":"2.0","id":[1],"method":"tools/list"}"#, INVALID_REQUEST, Value::Null),
        (r#"{"jsonrpc":"2.0","id":{},"method":"tools/list"}"#, INVALID_REQUEST, Value::Null),
        (r#"{"jsonrpc":"2.0","id":1.5,"method":"tools/list"}"#, INVALID_REQUEST, Value::Null),
        (r#"{"jsonrpc":"2.0","id":"a","method":7}"#, INVALID_REQUEST, json!("a")),
        (r#"{"jsonrpc":"2.0","id":"a","method":null}"#, INVALID_REQUEST, json!("a")),
        (r#"{"jsonrpc":"1.0","id":5,"method":"tools/list"}"#, INVALID_REQUEST, json!(5)),
        (r#"{"jsonrpc":2.0,"id":5,"method":"tools/list"}"#, INVALID_REQUEST, json!(5)),
        (r#"{"id":5,"method":"tools/list"}"#, INVALID_REQUEST, json!(5)),
        (r#"{"jsonrpc":"2.0","id":5}"#, INVALID_REQUEST, json!(5)),
        (
            r#"{"jsonrpc":"2.0","id":5,"result":{},"error":{"code":1,"message":""}}"#,
            INVALID_REQUEST,
            json!(5),
        ),
        (r#"{"jsonrpc":"2.0","id":5,"method":"ping","result":{}}"#, INVALID_REQUEST, json!(5)),
        (r#"{"jsonrpc":"2.0","id":5,"error":"no"}"#, INVALID_REQUEST, json!(5)),
        (r#"{"jsonrpc":"2.0","result":{}}"#, INVALID_REQUEST, Value::Null),
        (r#"{"jsonrpc":"2.0","id":5,"method":"tools/list","params":[]}"#, INVALID_PARAMS, json!(5)),
        (r#"{"jsonrpc":"2.0","id":5,"method":"tools/list","params":null}"#, INVALID_PARAMS, json!(5)),
        (r#"{"jsonrpc":"2.0","id":5,"method":"tools/list","params":"x"}"#, INVALID_PARAMS, json!(5)),
        ("42", INVALID_REQUEST, Value::Null),
        (r#""tools/list""#, INVALID_REQUEST, Value::Null),
        ("null", INVALID_REQUEST, Value::Null),
    ] {
        refused_in_both_eras(&gateway, &session, body.as_bytes(), code, &id)?;
    }
    Ok(())
}

#[test]
fn nesting_is_bounded_whether_closed_or_not() -> Result<()> {
    let (_fixture, gateway) = start()?;
    let session = session(&gateway.url("/mcp"))?;
    let nested = |depth: usize, closed: bool| {
        let (open, close) = ("[".repeat(depth), if closed { "]".repeat(depth) } else { String::new() });
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"json_schema_2020_12_tool","arguments":{{"x":{open}{close}}}}}}}"#
        )
    };
    for (depth, closed) in [(65, true), (1000, true), (400_000, true), (900_000, false)] {
        let body = nested(depth, closed);
        refused_in_both_eras(&gateway, &session, body.as_bytes(), INVALID_REQUEST, &Value::Null)?;
    }
    let objects = format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
    refused_in_both_eras(&gateway, &session, objects.as_bytes(), INVALID_REQUEST, &Value::Null)?;

    let legal = Request::legacy(&session, nested(40, true)).send(&gateway.url("/mcp"))?;
    assert!(answer(&legal)?["result"]["content"][0]["text"].to_string().contains(&"[".repeat(40)));
    Ok(())
}

#[test]
fn an_unknown_method_is_not_found_in_the_form_of_its_generation() -> Result<()> {
    let (_fixture, gateway) = start()?;
    for path in ["/mcp", "/mcp/fixture"] {
        let url = gateway.url(path);
        let session = session(&url)?;
        for method in ["no/such", "", "tools/List", "server/discover", "subscriptions/listen"] {
            let body = json!({ "jsonrpc": "2.0", "id": "u", "method": method, "params": {} }).to_string();
            let response = Request::legacy(&session, body).send(&url)?;
            let message =
                refused(&gateway, &format!("legacy {path} {method}"), &response, 200, METHOD_NOT_FOUND)?;
            assert_eq!(message["id"], "u");
        }
        for method in ["no/such", "tools/List"] {
            let response = Request::modern(method, &json!({}))?.send(&url)?;
            let message =
                refused(&gateway, &format!("modern {path} {method}"), &response, 404, METHOD_NOT_FOUND)?;
            assert_eq!(message["id"], 1);
        }
        // They exist up to 2025-11-25 only; some of them would need other params than none.
        for method in [
            "initialize",
            "ping",
            "logging/setLevel",
            "resources/subscribe",
            "resources/unsubscribe",
            "tasks/list",
            "tasks/result",
        ] {
            let response = Request::modern(method, &json!({}))?.send(&url)?;
            refused(&gateway, &format!("modern {path} {method}"), &response, 404, METHOD_NOT_FOUND)?;
        }
    }
    Ok(())
}

#[test]
fn an_initialize_without_what_it_needs_opens_nothing() -> Result<()> {
    let (_fixture, gateway) = start()?;
    for params in [
        "",
        r#","params":{}"#,
        r#","params":{"protocolVersion":7,"capabilities":{}}"#,
        r#","params":{"protocolVersion":"2025-06-18","capabilities":[]}"#,
        r#","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":"me"}"#,
    ] {
        let body = format!(r#"{{"jsonrpc":"2.0","id":9,"method":"initialize"{params}}}"#);
        let response = Request::post(body.clone()).send(&gateway.url("/mcp"))?;
        let message = refused(&gateway, &body, &response, 400, INVALID_PARAMS)?;
        assert_eq!(message["id"], 9);
        assert_eq!(response.head.header("mcp-session-id"), None);
    }
    // An unknown revision is no mistake: the answer names one that is served.
    let opened = LegacySession::open_as(&gateway.url("/mcp"), "2019-01-01", &json!({}))?;
    assert_eq!(opened.initialize_result()["protocolVersion"], "2025-11-25");
    // And never the one that has no sessions.
    let opened = LegacySession::open_as(&gateway.url("/mcp"), "2026-07-28", &json!({}))?;
    assert_eq!(opened.initialize_result()["protocolVersion"], "2025-11-25");
    Ok(())
}

#[test]
fn batches_are_served_to_the_one_revision_that_has_them() -> Result<()> {
    let (_fixture, gateway) = start()?;
    let url = gateway.url("/mcp/fixture");
    let batch = json!([
        { "jsonrpc": "2.0", "id": "a", "method": "ping" },
        { "jsonrpc": "2.0", "method": "notifications/initialized" },
        { "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": { "name": "echo", "arguments": { "message": "hi" } } },
        { "jsonrpc": "2.0", "id": 3, "method": "no/such" },
        { "jsonrpc": "2.0", "id": 4, "method": "initialize", "params": { "protocolVersion": "2025-03-26" } },
        { "id": 5, "method": "ping" },
        7,
    ]);
    let old = LegacySession::open_as(&url, "2025-03-26", &json!({}))?;
    let old = old.id().context("session")?;
    let response = Request::legacy(old, batch.to_string()).send(&url)?;
    assert_eq!(response.head.status, 200);
    let answers = response.json()?;
    let by_id = |id: Value| -> Vec<Value> {
        answers
            .as_array()
            .map(|all| all.iter().filter(|one| one["id"] == id).cloned().collect())
            .unwrap_or_default()
    };
    assert_eq!(answers.as_array().map(Vec::len), Some(6), "{answers}");
    assert_eq!(by_id(json!("a"))[0]["result"], json!({}));
    assert_eq!(by_id(json!(2))[0]["result"]["content"][0]["text"], "hi");
    assert_eq!(by_id(json!(3))[0]["error"]["code"], METHOD_NOT_FOUND);
    assert_eq!(by_id(json!(4))[0]["error"]["code"], INVALID_REQUEST);
    assert_eq!(by_id(json!(5))[0]["error"]["code"], INVALID_REQUEST);
    assert_eq!(by_id(Value::Null)[0]["error"]["code"], INVALID_REQUEST);

    let notifications = json!([{ "jsonrpc": "2.0", "method": "notifications/initialized" }]).to_string();
    let response = Request::legacy(old, notifications.clone()).send(&url)?;
    assert_eq!((response.head.status, response.body.len()), (202, 0));

    let too_many = Value::from(vec![json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" }); 101]).to_string();
    for body in ["[]", &too_many] {
        let response = Request::legacy(old, body).send(&url)?;
        refused(&gateway, "an empty or oversized batch", &response, 400, INVALID_REQUEST)?;
    }

    for version in ["2024-11-05", "2025-06-18", "2025-11-25"] {
        let session = LegacySession::open_as(&url, version, &json!({}))?;
        let response = Request::legacy(session.id().context("session")?, notifications.clone()).send(&url)?;
        refused(&gateway, &format!("a batch in {version}"), &response, 400, INVALID_REQUEST)?;
    }
    let response = Request::post(notifications.clone()).send(&url)?;
    refused(&gateway, "a batch without a session", &response, 400, INVALID_REQUEST)?;
    let response = Request::modern_headers(notifications).send(&url)?;
    refused(&gateway, "a modern batch", &response, 400, INVALID_REQUEST)?;
    let response = Request::legacy("00000000000000000000000000000000", batch.to_string()).send(&url)?;
    refused(&gateway, "a batch of no session", &response, 404, INVALID_REQUEST)?;
    Ok(())
}

#[test]
fn the_calls_of_a_batch_run_at_the_same_time() -> Result<()> {
    let (fixture, gateway) = start()?;
    let url = gateway.url("/mcp/fixture");
    let session = LegacySession::open_as(&url, "2025-03-26", &json!({}))?;
    let call = |id: u32| json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": "sleep", "arguments": { "ms": 400 } } });
    let batch = Value::from((0..10).map(call).collect::<Vec<_>>());
    let begun = std::time::Instant::now();
    let response = Request::legacy(session.id().context("session")?, batch.to_string()).send(&url)?;
    assert_eq!(response.json()?.as_array().map(Vec::len), Some(10));
    assert!(
        begun.elapsed() < std::time::Duration::from_secs(3),
        "one after the other: {:?}",
        begun.elapsed()
    );
    drop(fixture);
    serves(&gateway)
}

#[test]
fn a_response_to_nothing_and_a_notification_of_any_kind_change_nothing() -> Result<()> {
    let (_fixture, gateway) = start()?;
    let url = gateway.url("/mcp");
    let session = session(&url)?;
    for body in [
        r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":"1","error":{"code":1,"message":"no"}}"#,
        r#"{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"no"}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled"}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":[]}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":77}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":{},"progress":"x"}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/made/up","params":{}}"#,
        r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"crash"}}"#,
    ] {
        let response = Request::legacy(&session, body).send(&url)?;
        assert_eq!((response.head.status, response.body.len()), (202, 0), "{body}");
        serves(&gateway)?;
    }
    // Clients of 2026-07-28 answer nothing: they repeat the request.
    let response = Request::modern_headers(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#).send(&url)?;
    let message = refused(&gateway, "a modern response", &response, 400, INVALID_REQUEST)?;
    assert_eq!(message["id"], 1);
    Ok(())
}
