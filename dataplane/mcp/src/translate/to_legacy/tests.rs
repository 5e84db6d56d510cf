use serde_json::{Value, json};

use super::*;
use crate::limits::Limits;

const INFO: &[u8] = br#"{"name":"gw","version":"1"}"#;

fn frame(text: &str) -> Frame {
    Frame::parse(Bytes::copy_from_slice(text.as_bytes()), &Limits::backend(1 << 20, 64)).unwrap()
}

fn call(method: &str, params: &str) -> Frame {
    frame(&format!(r#"{{"jsonrpc":"2.0","id":"c\u0031","method":"{method}","params":{params}}}"#))
}

fn response(request: &Frame, text: &str) -> (String, Vec<Loss>) {
    let mut lost = Losses::default();
    match answer(request, &frame(text), INFO, &mut lost) {
        Answer::Response(bytes) => (String::from_utf8(bytes.to_vec()).unwrap(), lost.iter().collect()),
        Answer::UrlsRequired(urls) => panic!("{urls:?}"),
    }
}

fn value(text: &[u8]) -> Value {
    serde_json::from_slice(text).unwrap()
}

#[test]
fn a_request_loses_only_what_is_the_specifications_own() {
    let modern = r#"{"jsonrpc":"2.0" ,"id":1e0,"method":"tools/call","params":{ "name":"t","arguments":{"n":1.0},"inputResponses":{"a":{}},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","progressToken":7,"traceparent":"x","io.modelcontextprotocol/clientCapabilities":{},"a/b":[1]},"requestState":"s" },"z":0}"#;
    assert_eq!(
        request(&frame(modern)),
        r#"{"jsonrpc":"2.0" ,"id":1e0,"method":"tools/call","params":{ "name":"t","arguments":{"n":1.0},"_meta":{"progressToken":7,"traceparent":"x","a/b":[1]} },"z":0}"#
    );
    let bare = call("tools/list", r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}"#);
    assert!(request(&bare).ends_with(br#""params":{}}"#));
    let plain = frame(r#"{"jsonrpc":"2.0","id":1,"method":"x/y"}"#);
    assert_eq!(request(&plain), plain.bytes());
}

#[test]
fn a_handshake_declares_what_can_be_asked() {
    for (modern, legacy) in [
        ("{}", "{}"),
        (r#"{"roots":{},"extensions":{"a":{}},"experimental":{"b":{}}}"#, r#"{"roots":{}}"#),
        (
            r#"{"sampling":{"tools":{"x":1},"y":2},"elicitation":{}}"#,
            r#"{"elicitation":{"form":{}},"sampling":{"tools":{}}}"#,
        ),
        (r#"{"elicitation":{"url":{}}}"#, r#"{"elicitation":{"url":{}}}"#),
        (r#"{"elicitation":{"url":{},"form":{}}}"#, r#"{"elicitation":{"form":{},"url":{}}}"#),
        (r#"{"roots":null,"sampling":[],"elicitation":true}"#, "{}"),
        ("null", "{}"),
    ] {
        assert_eq!(capabilities(modern.as_bytes()), legacy, "{modern}");
    }
    assert!(undeclared(br#"{"extensions":{}}"#).contains(Loss::ClientExtensions));
    assert!(undeclared(br#"{"roots":{}}"#).is_empty());
}

#[test]
fn a_digest_is_of_what_a_retry_repeats() {
    let first = digest(&call(
        "tools/call",
        r#"{"name":"t","arguments":{"a":1,"b":"é"},"_meta":{"progressToken":1}}"#,
    ));
    let retry = r#"{"requestState":"s","arguments":{"b":"\u00e9","a":1.0},"name":"t","_meta":{},"inputResponses":{"x":{}}}"#;
    assert_eq!(
        first,
        digest(&frame(&format!(r#"{{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{retry}}}"#)))
    );
    for (method, other) in [
        ("tools/call", r#"{"name":"t","arguments":{"a":2,"b":"é"}}"#),
        ("tools/call", r#"{"name":"t","arguments":{"a":1,"b":"é","_meta":{}}}"#),
        ("prompts/get", r#"{"name":"t","arguments":{"a":1,"b":"é"}}"#),
    ] {
        assert_ne!(first, digest(&call(method, other)), "{other}");
    }
    let bare = frame(r#"{"jsonrpc":"2.0","id":9,"method":"tools/list"}"#);
    assert_eq!(digest(&bare), digest(&call("tools/list", r#"{"_meta":{}}"#)));
}

#[test]
fn a_result_becomes_complete_and_keeps_its_bytes() {
    let (text, lost) = response(
        &call("tools/call", r#"{"name":"t"}"#),
        r#"{"result":{ "content":[{"type":"text","text":"a","n":1.50}] ,"x":{"y":[]},"_meta":{"k":1}},"id":4,"jsonrpc":"2.0","q":1}"#,
    );
    assert_eq!(
        text,
        r#"{"result":{"resultType":"complete", "content":[{"type":"text","text":"a","n":1.50}] ,"x":{"y":[]},"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"gw","version":"1"},"k":1}},"id":"c\u0031","jsonrpc":"2.0","q":1}"#
    );
    assert_eq!(lost, []);
    let (text, _) = response(
        &call("prompts/get", "{}"),
        r#"{"jsonrpc":"2.0","id":4,"result":{"resultType":"odd","ttlMs":5}}"#,
    );
    assert_eq!(
        value(text.as_bytes())["result"],
        json!({"resultType":"complete","ttlMs":5,"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"gw","version":"1"}}})
    );
}

#[test]
fn cacheable_results_get_the_most_careful_hints() {
    for method in
        ["tools/list", "prompts/list", "resources/list", "resources/templates/list", "resources/read"]
    {
        let (text, _) = response(
            &call(method, r#"{"uri":"a:b"}"#),
            r#"{"jsonrpc":"2.0","id":4,"result":{"cacheScope":"public","ttlMs":9,"nextCursor":""}}"#,
        );
        let result = &value(text.as_bytes())["result"];
        assert_eq!((&result["ttlMs"], &result["cacheScope"]), (&json!(0), &json!("private")), "{method}");
        assert_eq!(result["nextCursor"], "");
    }
}

#[test]
fn tools_lose_what_a_modern_client_would_misread() {
    let (text, lost) = response(
        &call("tools/list", "{}"),
        r#"{"jsonrpc":"2.0","id":4,"result":{"tools":[
            {"name":"a","execution":{"taskSupport":"required"},"inputSchema":{"properties":{"p":{"x-mcp-header":"P"}}}},
            {"name":"b","execution":{"taskSupport":"optional"},"inputSchema":{"type":"object","properties":{"x-mcp-header":{"type":"string","x-mcp-header":"P","default":{"x-mcp-header":1}}},"anyOf":[{"\u0078-mcp-header":1}]},"z":1.0}
        ]}}"#,
    );
    let tools = &value(text.as_bytes())["result"]["tools"];
    assert_eq!(
        *tools,
        json!([{"name":"b","inputSchema":{"type":"object","properties":{"x-mcp-header":{"type":"string","default":{"x-mcp-header":1}}},"anyOf":[{}]},"z":1.0}])
    );
    assert_eq!(lost, [Loss::TaskTool, Loss::TaskSupport, Loss::HeaderAnnotation]);
    let plain = br#"{"name":"a","inputSchema":{"description":"x-mcp-header"}}"#;
    let mut lost = Losses::default();
    assert_eq!(item(ListKind::Tools, plain, &mut lost).unwrap(), &plain[..]);
    assert_eq!(item(ListKind::Prompts, br#"{"execution":1}"#, &mut lost).unwrap(), r#"{"execution":1}"#);
    assert!(lost.is_empty());
    let hidden = br#"{"name":"a","execution":{"taskSupport":"required"}}"#;
    assert_eq!(item(ListKind::Tools, hidden, &mut lost), None);
}

#[test]
fn errors_get_the_codes_of_the_revision() {
    let read = call("resources/read", r#"{"uri":"a:\u0062"}"#);
    let error = |request: &Frame, error: &str| {
        let (text, lost) = response(request, &format!(r#"{{"jsonrpc":"2.0","id":4,"error":{error}}}"#));
        (text[text.find("error").unwrap() + 7..text.len() - 1].to_owned(), lost)
    };
    for (from, to) in [
        (r#"{"code":-32002,"message":"m"}"#, r#"{"data":{"uri":"a:\u0062"},"code":-32602,"message":"m"}"#),
        (r#"{"code":-32002,"data":{"uri":"other"}}"#, r#"{"code":-32602,"data":{"uri":"other"}}"#),
        (r#"{"code":-32002,"data":{"n":1e1}}"#, r#"{"code":-32602,"data":{"uri":"a:\u0062","n":1e1}}"#),
        (r#"{"code":-32002,"data":"gone"}"#, r#"{"code":-32602,"data":{"uri":"a:\u0062","detail":"gone"}}"#),
        (r#"{"code":-1,"message":"m"}"#, r#"{"code":-1,"message":"m"}"#),
        (r#"{"message":"m"}"#, r#"{"message":"m"}"#),
    ] {
        assert_eq!(error(&read, from), (to.to_owned(), vec![]));
    }
    let tool = call("tools/call", r#"{"name":"t"}"#);
    assert_eq!(error(&tool, r#"{"code":-32002}"#).0, r#"{"code":-32002}"#, "another method's own code");
    for code in ["-32020", "-32021.0", "-32022", "-32042", "-32099"] {
        let (text, lost) = error(&tool, &format!(r#"{{"code":{code},"data":[1]}}"#));
        assert_eq!(
            (text.as_str(), lost),
            (r#"{"code":-32603,"data":[1]}"#, vec![Loss::ReservedError]),
            "{code}"
        );
    }
    for code in ["-32019", "-32100", "-32601"] {
        assert_eq!(error(&tool, &format!(r#"{{"code":{code}}}"#)).0, format!(r#"{{"code":{code}}}"#));
    }
}

#[test]
fn an_answer_always_carries_the_clients_id() {
    let tool = call("tools/call", "{}");
    for answer in [
        r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"m"}}"#,
        r#"{"jsonrpc":"2.0","error":{"code":-32700,"message":"m"}}"#,
        r#"{"jsonrpc":"2.0","id":3,"result":null}"#,
        r#"{"jsonrpc":"2.0","id":3,"method":"ping"}"#,
    ] {
        let (text, _) = response(&tool, answer);
        assert!(text.contains(r#""id":"c\u0031""#), "{text}");
        assert!(value(text.as_bytes())["error"]["code"].is_i64(), "{text}");
    }
}

#[test]
fn only_what_a_call_asked_for_is_on_its_stream() {
    let progress =
        frame(r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1}}"#);
    assert_eq!(notice(&progress, None).unwrap(), progress.bytes());
    let log = |level: &str| {
        frame(&format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"level":"{level}"}}}}"#
        ))
    };
    for (sent, wanted, shown) in [
        ("info", None, false),
        ("info", Some("info"), true),
        ("emergency", Some("debug"), true),
        ("debug", Some("info"), false),
        ("loud", Some("debug"), false),
        ("info", Some("loud"), true),
    ] {
        // A client's own wrong level is refused before; here it must not panic.
        let expected = shown && wanted.is_none_or(|wanted| wanted != "loud");
        assert_eq!(notice(&log(sent), wanted).is_some(), expected, "{sent} {wanted:?}");
    }
    for method in ["tools/list_changed", "resources/updated", "elicitation/complete", "cancelled"] {
        let other = frame(&format!(r#"{{"jsonrpc":"2.0","method":"notifications/{method}"}}"#));
        assert_eq!(notice(&other, Some("debug")), None, "{method}");
    }
}

#[test]
fn a_handshake_result_becomes_a_discovery() {
    let result = br#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true},"tasks":{"list":{}},"logging":{}},"serverInfo":{"name":"s","version":"2"},"instructions":"do\n","_meta":{"k":1},"z":1.0}"#;
    assert_eq!(
        discover_result(result, &["2026-07-28"]),
        r#"{"resultType":"complete","supportedVersions":["2026-07-28"],"ttlMs":0,"cacheScope":"private","capabilities":{"tools":{"listChanged":true},"logging":{}},"instructions":"do\n","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s","version":"2"},"k":1},"z":1.0}"#
    );
    let old = discover_result(br#"{"protocolVersion":"2024-11-05","capabilities":{"prompts":{}}}"#, &[]);
    assert_eq!(value(&old)["capabilities"], json!({"completions":{},"prompts":{}}));
    for broken in [&b"[]"[..], b"", br#"{"capabilities":3}"#] {
        assert_eq!(value(&discover_result(broken, &[]))["capabilities"], json!({}));
    }
}

mod asking;
mod urls;
