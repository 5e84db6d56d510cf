//! Requests whose message is right and whose HTTP is not: methods, media types, origins, sessions, versions, mirrored
//! headers. Changes when the rules for headers change.

use anyhow::{Context as _, Result, ensure};
use bridge_tests::raw::{ACCEPT, Request, answer, refused, serves, session};
use bridge_tests::{Backend, Config, Era, Gateway, LegacySession, ModernClient, TestServer};
use serde_json::{Value, json};

const INVALID_REQUEST: i64 = -32600;
const INVALID_PARAMS: i64 = -32602;
const HEADER_MISMATCH: i64 = -32020;
const UNSUPPORTED_VERSION: i64 = -32022;

const PING: &str = r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#;

fn start() -> Result<(TestServer, Gateway)> {
    let fixture = TestServer::http(Era::Both)?;
    let gateway = Gateway::start(&Config::new().http("fixture", fixture.url()))?;
    Ok((fixture, gateway))
}

#[test]
fn other_http_methods_are_told_what_is_allowed() -> Result<()> {
    let (_fixture, gateway) = start()?;
    let url = gateway.url("/mcp");
    for method in ["PUT", "PATCH", "OPTIONS", "TRACE", "MADEUP"] {
        let response = Request::legacy(&session(&url)?, "").method(method).send(&url)?;
        refused(&gateway, method, &response, 405, INVALID_REQUEST)?;
        assert_eq!(response.head.header("allow"), Some("POST, GET, DELETE"), "{method}");
    }
    for method in ["GET", "DELETE"] {
        let session = session(&url)?;
        let request = Request::legacy(&session, "").method(method).with("Accept", "text/event-stream");
        let response = request.with("MCP-Protocol-Version", "2026-07-28").send(&url)?;
        assert_eq!(response.head.status, 405, "{method}");
        assert_eq!(response.head.header("allow"), Some("POST"), "{method}");
        // A DELETE that means nothing must not have ended the session either.
        let response = Request::legacy(&session, PING).send(&url)?;
        assert_eq!(response.json()?["result"], json!({}));
    }
    serves(&gateway)
}

#[test]
fn media_types_are_checked_before_the_body_is_read() -> Result<()> {
    let (_fixture, gateway) = start()?;
    let url = gateway.url("/mcp");
    let session = session(&url)?;
    let ping = Request::legacy(&session, PING);
    for accept in
        ["application/json", "text/event-stream", "text/html", "application/json;q=0, text/event-stream", ""]
    {
        let response = ping.clone().with("Accept", accept).send(&url)?;
        refused(&gateway, &format!("Accept {accept:?}"), &response, 406, INVALID_REQUEST)?;
        let modern = Request::modern("tools/list", &json!({}))?.with("Accept", accept).send(&url)?;
        refused(&gateway, &format!("modern, Accept {accept:?}"), &modern, 406, INVALID_REQUEST)?;
    }
    for content_type in ["text/plain", "application/json5", "application/x-www-form-urlencoded", "", "json"] {
        let response = ping.clone().with("Content-Type", content_type).send(&url)?;
        refused(&gateway, &format!("Content-Type {content_type:?}"), &response, 415, INVALID_REQUEST)?;
    }
    let response = ping.clone().without("Content-Type").send(&url)?;
    refused(&gateway, "no Content-Type", &response, 415, INVALID_REQUEST)?;

    // What says the same in another way is fine; no `Accept` at all means any (RFC 9110 section 12.5.1).
    for request in [
        ping.clone().with("Accept", "*/*"),
        ping.clone().with("Accept", "text/event-stream;q=0.5,application/json"),
        ping.clone().with("Accept", "application/json").and("Accept", "text/event-stream"),
        ping.clone().without("Accept"),
        ping.clone().with("Content-Type", "Application/JSON; charset=utf-8"),
    ] {
        let response = request.send(&url)?;
        ensure!(response.json()?["result"] == json!({}), "{request:?}: {response:?}");
    }

    let get = Request::legacy(&session, "").method("GET").with("Accept", "application/json").send(&url)?;
    refused(&gateway, "a GET that takes no stream", &get, 406, INVALID_REQUEST)?;
    Ok(())
}

#[test]
fn foreign_hosts_and_origins_are_forbidden_on_every_method() -> Result<()> {
    let (_fixture, gateway) = start()?;
    let url = gateway.url("/mcp");
    let session = session(&url)?;
    let port = gateway.address().port();
    for method in ["POST", "GET", "DELETE"] {
        let request = |name: &str, value: &str| {
            let request = Request::legacy(&session, PING).with("Accept", ACCEPT).with(name, value);
            if method == "POST" { request.send(&url) } else { request.method(method).send(&url) }
        };
        for host in ["evil.example", "evil.example:80", "localhost.evil.example", "127.0.0.1.nip.example", ""]
        {
            let response = request("Host", host)?;
            refused(&gateway, &format!("{method}, Host {host:?}"), &response, 403, INVALID_REQUEST)?;
        }
        let evil = [
            "https://evil.example",
            "null",
            "http://localhost@evil.example",
            "http://127.0.0.1.evil.example",
            "file://",
            "",
        ];
        for origin in evil {
            let response = request("Origin", origin)?;
            refused(&gateway, &format!("{method}, Origin {origin:?}"), &response, 403, INVALID_REQUEST)?;
        }
    }
    for (name, value) in [
        ("Host", format!("localhost:{port}")),
        ("Host", format!("[::1]:{port}")),
        ("Origin", format!("http://localhost:{port}")),
        ("Origin", "https://127.0.0.1:3000".to_owned()),
    ] {
        let response = Request::legacy(&session, PING).with(name, &value).send(&url)?;
        assert_eq!(response.json()?["result"], json!({}), "{name}: {value}");
    }
    Ok(())
}

#[test]
fn a_listed_origin_and_host_pass_and_only_those() -> Result<()> {
    let fixture = TestServer::http(Era::Both)?;
    let config = Config::new()
        .http("fixture", fixture.url())
        .set("server", "allowed_origins", json!(["https://app.example.com"]))
        .set("server", "allowed_hosts", json!(["gateway.example.com"]));
    let gateway = Gateway::start(&config)?;
    let url = gateway.url("/mcp");
    let discover = Request::modern("server/discover", &json!({}))?;
    let passes =
        discover.clone().with("Origin", "https://app.example.com").with("Host", "gateway.example.com");
    assert_eq!(passes.send(&url)?.head.status, 200);
    for (name, value) in [
        ("Origin", "https://app.example.com.evil.example"),
        ("Origin", "http://app.example.com"),
        ("Origin", "https://other.example.com"),
        ("Host", "app.example.com"),
        ("Host", "gateway.example.com.evil.example"),
    ] {
        let response = discover.clone().with(name, value).send(&url)?;
        refused(&gateway, &format!("{name}: {value}"), &response, 403, INVALID_REQUEST)?;
    }
    Ok(())
}

#[test]
fn no_endpoint_but_the_documented_ones() -> Result<()> {
    let (_fixture, gateway) = start()?;
    for path in [
        "/",
        "/mcp/nobody",
        "/mcp/fixture/more",
        "/mcpx",
        "/MCP",
        "//mcp",
        "/mcp/%66ixture",
        "/mcp/..",
        "/sses",
    ] {
        let response = Request::modern("tools/list", &json!({}))?.send(&gateway.url(path))?;
        refused(&gateway, path, &response, 404, INVALID_REQUEST)?;
    }
    for path in ["/mcp/", "/mcp?x=1", "/mcp/fixture/", "/mcp/fixture?x=%00"] {
        let response = Request::modern("tools/list", &json!({}))?.send(&gateway.url(path))?;
        assert_eq!(response.head.status, 200, "{path}");
    }
    Ok(())
}

#[test]
fn a_session_is_known_only_where_and_while_it_is_open() -> Result<()> {
    let fixture = TestServer::http(Era::Both)?;
    let config = Config::new().http("one", fixture.url()).http("two", fixture.url());
    let gateway = Gateway::start(&config)?;
    let (merged, one, two) = (gateway.url("/mcp"), gateway.url("/mcp/one"), gateway.url("/mcp/two"));
    let id = session(&one)?;

    let stranger = "00000000000000000000000000000000";
    for (url, id) in [(&one, stranger), (&two, &*id), (&merged, &*id), (&one, ""), (&one, "../../etc/passwd")]
    {
        let response = Request::legacy(id, PING).send(url)?;
        let message = refused(&gateway, &format!("{url} with {id:?}"), &response, 404, INVALID_REQUEST)?;
        assert_eq!(
            (&message["id"], &message["error"]["data"]["reason"]),
            (&json!("p"), &json!("unknown_session"))
        );
        for method in ["GET", "DELETE"] {
            let response = Request::legacy(id, "").method(method).send(url)?;
            refused(&gateway, &format!("{method} {url} with {id:?}"), &response, 404, INVALID_REQUEST)?;
        }
        let note = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
        let response = Request::legacy(id, note).send(url)?;
        refused(&gateway, &format!("notification to {url} with {id:?}"), &response, 404, INVALID_REQUEST)?;
    }
    let two_ids = Request::legacy(&id, PING).and("Mcp-Session-Id", stranger).send(&one)?;
    refused(&gateway, "two session ids", &two_ids, 404, INVALID_REQUEST)?;

    for url in [&merged, &one] {
        let response = Request::post(PING).send(url)?;
        let message = refused(&gateway, "no session", &response, 400, INVALID_REQUEST)?;
        assert_eq!(message["id"], "p");
        let response = Request::post("").method("DELETE").send(url)?;
        refused(&gateway, "DELETE without session", &response, 400, INVALID_REQUEST)?;
        // A client that looks for the transport of 2024-11-05 goes on to POST.
        let response = Request::post("").method("GET").send(url)?;
        refused(&gateway, "GET without session", &response, 405, INVALID_REQUEST)?;
        assert_eq!(response.head.header("allow"), Some("POST"));
    }
    let response = Request::legacy(&id, PING).send(&one)?;
    assert_eq!(response.json()?["result"], json!({}), "the session is none the worse");
    Ok(())
}

#[test]
fn an_unknown_version_header_is_refused() -> Result<()> {
    let (_fixture, gateway) = start()?;
    let url = gateway.url("/mcp");
    let session = LegacySession::open(&url, &json!({}))?;
    let id = session.id().context("session")?;
    for version in ["2019-01-01", "latest", "", "2025-11-25x", "é"] {
        let response = Request::legacy(id, PING).with("MCP-Protocol-Version", version).send(&url)?;
        let message = refused(&gateway, &format!("version {version:?}"), &response, 400, INVALID_REQUEST)?;
        assert_eq!(message["id"], "p");
        for method in ["GET", "DELETE"] {
            let request = Request::legacy(id, "").method(method).with("MCP-Protocol-Version", version);
            let response = request.send(&url)?;
            refused(&gateway, &format!("{method}, version {version:?}"), &response, 400, INVALID_REQUEST)?;
        }
    }
    let two = Request::legacy(id, PING).and("MCP-Protocol-Version", "2025-11-25");
    let two = two.and("MCP-Protocol-Version", "2025-06-18").send(&url)?;
    refused(&gateway, "two versions", &two, 400, INVALID_REQUEST)?;
    Ok(())
}

#[test]
fn mirrored_headers_agree_with_the_body() -> Result<()> {
    let (_fixture, gateway) = start()?;
    for path in ["/mcp", "/mcp/fixture"] {
        let url = gateway.url(path);
        let call =
            Request::modern("tools/call", &json!({ "name": "echo", "arguments": { "message": "é" } }))?;
        let read = Request::modern("resources/read", &json!({ "uri": "test://static-text" }))?;
        let prompt = Request::modern("prompts/get", &json!({ "name": "test_simple_prompt" }))?;
        for right in [&call, &read, &prompt] {
            let response = right.send(&url)?;
            ensure!(answer(&response)?["result"].is_object(), "{right:?} got {response:?}");
        }
        for (what, wrong) in [
            ("no version", call.clone().without("MCP-Protocol-Version")),
            ("another version", call.clone().with("MCP-Protocol-Version", "2025-11-25")),
            ("two versions", call.clone().and("MCP-Protocol-Version", "2025-11-25")),
            ("no method", call.clone().without("Mcp-Method")),
            ("another method", call.clone().with("Mcp-Method", "tools/list")),
            ("the method in another case", call.clone().with("Mcp-Method", "Tools/Call")),
            ("two methods", call.clone().and("Mcp-Method", "tools/list")),
            ("no name", call.clone().without("Mcp-Name")),
            ("another name", call.clone().with("Mcp-Name", "crash")),
            ("the name in another case", call.clone().with("Mcp-Name", "Echo")),
            ("two names", call.clone().and("Mcp-Name", "crash")),
            ("a name that only looks encoded", call.clone().with("Mcp-Name", "=?base64?e?=")),
            ("another name, encoded", call.clone().with("Mcp-Name", "=?base64?Y3Jhc2g=?=")),
            ("no URI", read.clone().without("Mcp-Name")),
            ("another URI", read.clone().with("Mcp-Name", "test://static-binary")),
            ("no prompt", prompt.clone().without("Mcp-Name")),
            ("another prompt", prompt.clone().with("Mcp-Name", "test_prompt_with_image")),
        ] {
            let response = wrong.send(&url)?;
            let message = refused(&gateway, &format!("{path}: {what}"), &response, 400, HEADER_MISMATCH)?;
            assert_eq!(message["id"], 1, "{what}");
        }
        for (what, right) in [
            (
                "blanks around a value",
                call.clone().with("Mcp-Name", " echo ").with("Mcp-Method", " tools/call\t"),
            ),
            ("names in any case", call.clone().without("Mcp-Method").with("mCP-mETHOD", "tools/call")),
            ("an encoded name", call.clone().with("Mcp-Name", "=?base64?ZWNobw==?=")),
            ("what only legacy has", call.clone().with("Mcp-Session-Id", "zzz").with("Last-Event-ID", "1-1")),
        ] {
            let response = right.send(&url)?;
            ensure!(answer(&response)?["result"].is_object(), "{path}: {what}: {response:?}");
            assert_eq!(response.head.header("mcp-session-id"), None, "{what}");
        }
    }
    Ok(())
}

#[test]
fn mirrored_parameters_agree_with_the_arguments_on_every_transport() -> Result<()> {
    let fixture = TestServer::http(Era::Both)?;
    let stdio = TestServer::stdio(Era::Modern)?;
    let config =
        Config::new().http("http", fixture.url()).backend(Backend::stdio("stdio", &stdio).era("modern"));
    let gateway = Gateway::start(&config)?;
    gateway.wait_backends("modern", &["http", "stdio"])?;
    for path in ["/mcp/http", "/mcp/stdio"] {
        let url = gateway.url(path);
        let arguments = json!({ "region": "eu", "priority": 5, "dryRun": true, "note": "x" });
        let call =
            Request::modern("tools/call", &json!({ "name": "test_x_mcp_header", "arguments": arguments }))?;
        let full = call
            .with("Mcp-Param-Region", "eu")
            .with("Mcp-Param-Priority", "5")
            .with("Mcp-Param-Dry-Run", "true");
        let response = full.send(&url)?;
        assert_eq!(answer(&response)?["result"]["content"][0]["text"], "Region: eu", "{path}");
        for (what, wrong) in [
            ("missing", full.clone().without("Mcp-Param-Region")),
            ("another text", full.clone().with("Mcp-Param-Region", "us")),
            ("another number", full.clone().with("Mcp-Param-Priority", "6")),
            ("another boolean", full.clone().with("Mcp-Param-Dry-Run", "false")),
            ("twice", full.clone().and("Mcp-Param-Region", "us")),
        ] {
            let response = wrong.send(&url)?;
            let message = refused(&gateway, &format!("{path}: {what}"), &response, 400, HEADER_MISMATCH)?;
            assert_eq!(message["id"], 1);
        }
        let encoded = full.with("Mcp-Param-Region", "=?base64?ZXU=?=").send(&url)?;
        assert_eq!(answer(&encoded)?["result"]["content"][0]["text"], "Region: eu", "{path}");
    }
    Ok(())
}

#[test]
fn request_metadata_is_complete_and_of_a_served_version() -> Result<()> {
    let (_fixture, gateway) = start()?;
    let url = gateway.url("/mcp");
    let version = "io.modelcontextprotocol/protocolVersion";
    let capabilities = "io.modelcontextprotocol/clientCapabilities";
    let with_meta = |meta: &Value, header: &str| {
        let body =
            json!({ "jsonrpc": "2.0", "id": "m", "method": "tools/list", "params": { "_meta": meta } });
        Request::modern_headers(body.to_string()).with("MCP-Protocol-Version", header).send(&url)
    };
    for meta in [
        json!({}),
        json!({ capabilities: {} }),
        json!({ version: "2026-07-28" }),
        json!({ version: "2026-07-28", capabilities: [] }),
        json!({ version: "2026-07-28", capabilities: null }),
        json!({ version: 2026, capabilities: {} }),
        json!("none"),
    ] {
        let response = with_meta(&meta, "2026-07-28")?;
        let message = refused(&gateway, &format!("_meta {meta}"), &response, 400, INVALID_PARAMS)?;
        assert_eq!(message["id"], "m");
    }
    let bare = Request::modern_headers(r#"{"jsonrpc":"2.0","id":"m","method":"tools/list"}"#).send(&url)?;
    refused(&gateway, "no params at all", &bare, 400, INVALID_PARAMS)?;

    for unknown in ["2030-01-01", "2025-11-25", "draft"] {
        let response = with_meta(&json!({ version: unknown, capabilities: {} }), unknown)?;
        let message = refused(&gateway, &format!("version {unknown}"), &response, 400, UNSUPPORTED_VERSION)?;
        let data = json!({ "supported": ["2026-07-28"], "requested": unknown });
        assert_eq!((&message["error"]["data"], &message["id"]), (&data, &json!("m")));
    }
    Ok(())
}

#[test]
fn a_bad_cursor_target_or_level_is_bad_params() -> Result<()> {
    let (_fixture, gateway) = start()?;
    let mut session = LegacySession::open(&gateway.url("/mcp"), &json!({}))?;
    let mut client = ModernClient::new(&gateway.url("/mcp"), &json!({}))?;
    for (method, params) in [
        ("tools/list", json!({ "cursor": "made up" })),
        ("tools/list", json!({ "cursor": "" })),
        ("tools/list", json!({ "cursor": 7 })),
        ("prompts/list", json!({ "cursor": "AAAA" })),
        ("tools/call", json!({ "name": "no_such_tool" })),
        ("tools/call", json!({ "name": 7 })),
        ("tools/call", json!({})),
        ("prompts/get", json!({ "name": "no_such_prompt" })),
        (
            "completion/complete",
            json!({ "ref": { "type": "ref/other" }, "argument": { "name": "a", "value": "" } }),
        ),
        ("completion/complete", json!({})),
        ("subscriptions/listen", json!({ "notifications": { "resourceSubscriptions": "all" } })),
        ("subscriptions/listen", json!({ "notifications": [] })),
        ("logging/setLevel", json!({ "level": "loud" })),
        ("logging/setLevel", json!({})),
    ] {
        if method != "subscriptions/listen" {
            let error = session.request(method, &params)?.into_error()?;
            assert_eq!(error.code, INVALID_PARAMS, "legacy {method} {params}: {error}");
        }
        if method != "logging/setLevel" {
            let error = client.request(method, &params)?.into_error()?;
            assert_eq!(error.code, INVALID_PARAMS, "modern {method} {params}: {error}");
        }
    }
    serves(&gateway)
}
