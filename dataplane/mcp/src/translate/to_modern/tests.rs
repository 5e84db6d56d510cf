use serde_json::{Value, json};

use super::*;
use crate::limits::Limits;

const NEWEST: Version = Version::V2025_11_25;

fn frame(text: &str) -> Frame {
    Frame::parse(Bytes::copy_from_slice(text.as_bytes()), &Limits::backend(1 << 20, 64)).unwrap()
}

fn call(method: &str, params: &str) -> Frame {
    frame(&format!(r#"{{"jsonrpc":"2.0","id":"c\u0031","method":"{method}","params":{params}}}"#))
}

fn client(version: Version, declared: &str) -> Client {
    Client {
        version,
        capabilities: capabilities(declared.as_bytes(), version),
        client_info: Bytes::from_static(br#"{"name":"c","version":"1.0"}"#),
    }
}

fn value(text: &[u8]) -> Value {
    serde_json::from_slice(text).unwrap()
}

fn text(bytes: &Bytes) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The translated response to `result`, and what was lost.
fn result(request: &Frame, version: Version, result: &str) -> (String, Vec<Loss>) {
    let mut lost = Losses::default();
    let answered = frame(&format!(r#"{{"jsonrpc":"2.0","id":44,"result":{result}}}"#));
    match answer(request, &answered, version, &mut lost) {
        Answer::Response(bytes) => {
            let whole = text(&bytes);
            let inner = whole.strip_prefix(r#"{"jsonrpc":"2.0","id":"c\u0031","result":"#).unwrap();
            (inner.strip_suffix('}').unwrap().to_owned(), lost.iter().collect())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_server_may_use_what_the_clients_revision_has() {
    let everything = r#"{"roots":{"listChanged":true},"sampling":{"tools":{},"context":{}},"elicitation":{"form":{},"url":{}},"tasks":{"list":{}},"experimental":{"x":{}}}"#;
    for (version, relayed) in [
        (Version::V2024_11_05, r#"{"roots":{},"sampling":{}}"#),
        (Version::V2025_03_26, r#"{"roots":{},"sampling":{}}"#),
        (Version::V2025_06_18, r#"{"elicitation":{"form":{}},"roots":{},"sampling":{}}"#),
        (NEWEST, r#"{"elicitation":{"form":{},"url":{}},"roots":{},"sampling":{"context":{},"tools":{}}}"#),
    ] {
        assert_eq!(capabilities(everything.as_bytes(), version), relayed, "{version}");
    }
    assert_eq!(capabilities(br#"{"elicitation":{}}"#, NEWEST), r#"{"elicitation":{"form":{}}}"#);
    assert_eq!(capabilities(br#"{"elicitation":{"url":{}}}"#, NEWEST), r#"{"elicitation":{"url":{}}}"#);
    assert_eq!(capabilities(b"[]", NEWEST), "{}");
}

#[test]
fn a_request_says_who_asks_and_keeps_the_rest() {
    let legacy = frame(
        r#"{"jsonrpc":"2.0" ,"id":1e0,"method":"tools/call","params":{ "name":"t","arguments":{"n":1.0},"task":{"ttl":1},"_meta":{"progressToken":7,"io.modelcontextprotocol/related-task":{}},"requestState":"forged" },"z":0}"#,
    );
    assert_eq!(
        request(&legacy, b"9", &client(NEWEST, r#"{"roots":{}}"#), Some("info"), None),
        concat!(
            r#"{"jsonrpc":"2.0" ,"id":9,"method":"tools/call","params":{ "name":"t","arguments":{"n":1.0},"_meta":{"#,
            r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"roots":{}},"#,
            r#""io.modelcontextprotocol/clientInfo":{"name":"c","version":"1.0"},"io.modelcontextprotocol/logLevel":"info","#,
            r#""progressToken":7} },"z":0}"#
        )
    );
    assert!(unsent(&legacy).contains(Loss::CoreTasks));
    let bare = frame(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#);
    assert!(unsent(&bare).is_empty());
    let nobody = Client { client_info: Bytes::new(), ..client(NEWEST, "{}") };
    assert_eq!(
        request(&bare, b"1", &nobody, None, None),
        r#"{"params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}},"jsonrpc":"2.0","id":1,"method":"tools/list"}"#
    );
}

#[test]
fn a_retry_brings_answers_and_state_exactly() {
    let retried = |responses: &str, state: Option<&str>| {
        let retry = Retry { responses: responses.as_bytes(), state: state.map(str::as_bytes) };
        let bytes =
            request(&call("tools/call", r#"{"name":"t"}"#), b"2", &client(NEWEST, "{}"), None, Some(retry));
        let whole = text(&bytes);
        let params = &whole[whole.find("\"params\":{").unwrap() + 10..];
        params[..params.find("\"_meta\"").unwrap()].to_owned()
    };
    assert_eq!(
        retried(r#"{"a":{"n":1.0}}"#, Some(r#""s\u0074""#)),
        r#""inputResponses":{"a":{"n":1.0}},"requestState":"s\u0074","#
    );
    assert_eq!(retried("{}", Some(r#""s""#)), r#""requestState":"s","#);
    assert_eq!(retried(r#"{"a":{}}"#, None), r#""inputResponses":{"a":{}},"#);
    assert_eq!(retried("{}", None), "");
}

#[test]
fn a_result_loses_what_only_modern_clients_read() {
    let modern = r#"{"resultType":"complete","contents":[{"uri":"a:b","n":1.50}],"ttlMs":5,"cacheScope":"public","_meta":{"io.modelcontextprotocol/serverInfo":{},"k":1},"x":{}}"#;
    let (legacy, lost) = result(&call("resources/read", r#"{"uri":"a:b"}"#), NEWEST, modern);
    assert_eq!(legacy, r#"{"contents":[{"uri":"a:b","n":1.50}],"_meta":{"k":1},"x":{}}"#);
    assert_eq!(lost, []);
    let (legacy, _) =
        result(&call("completion/complete", "{}"), NEWEST, r#"{"resultType":"complete","ttlMs":5}"#);
    assert_eq!(legacy, r#"{"ttlMs":5}"#, "not a cache hint there");
    assert_eq!(result(&call("tools/call", "{}"), NEWEST, r#"{"content":[]}"#).0, r#"{"content":[]}"#);
}

#[test]
fn output_schemas_are_of_objects() {
    let tools = r#"{"tools":[{"name":"a","outputSchema":{"type":"object","n":1.0}},{"name":"b","outputSchema":{"type":"array"}},{"outputSchema":{"anyOf":[]},"name":"c"}]}"#;
    let request = call("tools/list", "{}");
    let (listed, lost) = result(&request, NEWEST, tools);
    assert_eq!(
        listed,
        r#"{"tools":[{"name":"a","outputSchema":{"type":"object","n":1.0}},{"name":"b"},{"name":"c"}]}"#
    );
    assert_eq!(lost, [Loss::OutputSchema]);
    assert_eq!(
        result(&request, Version::V2025_03_26, tools).0,
        r#"{"tools":[{"name":"a"},{"name":"b"},{"name":"c"}]}"#
    );
    let mut lost = Losses::default();
    let shown = item(ListKind::Tools, br#"{"name":"b","outputSchema":true}"#, &mut lost);
    assert_eq!(shown.unwrap(), r#"{"name":"b"}"#);
    assert_eq!(
        item(ListKind::Prompts, br#"{"outputSchema":1}"#, &mut lost).unwrap(),
        r#"{"outputSchema":1}"#
    );
}

#[test]
fn structured_content_is_there_as_text_when_it_cannot_be() {
    let tool = call("tools/call", "{}");
    let block = |json: &str| format!(r#"{{"type":"text","text":{}}}"#, quoted(json));
    for (version, from, to) in [
        (
            NEWEST,
            r#"{"content":[],"structuredContent":{"a":1}}"#,
            r#"{"content":[],"structuredContent":{"a":1}}"#.to_owned(),
        ),
        (
            NEWEST,
            r#"{"content":[ ],"structuredContent":[1.0]}"#,
            format!(r#"{{"content":[{} ]}}"#, block("[1.0]")),
        ),
        (NEWEST, r#"{"structuredContent":"a"}"#, format!(r#"{{"content":[{}]}}"#, block("\"a\""))),
        (
            NEWEST,
            r#"{"content":null,"structuredContent":3,"z":1}"#,
            format!(r#"{{"content":[{}],"z":1}}"#, block("3")),
        ),
        (
            NEWEST,
            r#"{"structuredContent":[1],"content":[{"type":"text","text":" [1.0] "}]}"#,
            r#"{"content":[{"type":"text","text":" [1.0] "}]}"#.to_owned(),
        ),
        (
            NEWEST,
            r#"{"structuredContent":"hi","content":[{"type":"text","text":"hi"}]}"#,
            r#"{"content":[{"type":"text","text":"hi"}]}"#.to_owned(),
        ),
        (
            Version::V2025_03_26,
            r#"{"content":[{"type":"text","text":"x"}],"structuredContent":{"a":1}}"#,
            format!(r#"{{"content":[{{"type":"text","text":"x"}},{}]}}"#, block(r#"{"a":1}"#)),
        ),
    ] {
        assert_eq!(result(&tool, version, from).0, to, "{from}");
    }
}

#[test]
fn blocks_that_a_revision_does_not_know_are_told() {
    let link = r#"{"type":"resource_link","uri":"a:b","name":"n"}"#;
    let from = format!(
        r#"{{"content":[{link} ,{{"type":"image","n":1.0}}],"structuredContent":{{}},"isError":false}}"#
    );
    let (old, lost) = result(&call("tools/call", "{}"), Version::V2025_03_26, &from);
    assert_eq!(
        old,
        r#"{"content":[{"type":"text","text":"[resource] n: a:b"} ,{"type":"image","n":1.0},{"type":"text","text":"{}"}],"isError":false}"#
    );
    assert_eq!(lost, [Loss::StructuredContent, Loss::ResourceLink]);
    assert_eq!(result(&call("tools/call", "{}"), Version::V2025_06_18, &from).0, from);
    let prompt =
        r#"{"messages":[{"role":"user","content":{"type":"audio","mimeType":"a/b"}},{"role":"user"}]}"#;
    let (old, lost) = result(&call("prompts/get", "{}"), Version::V2024_11_05, prompt);
    assert!(
        old.starts_with(r#"{"messages":[{"role":"user","content":{"type":"text","text":"[audio, a/b"#),
        "{old}"
    );
    assert_eq!(lost, [Loss::AudioContent]);
}

#[test]
fn errors_get_the_codes_that_legacy_clients_know() {
    let error = |request: &Frame, error: &str| {
        let answered = frame(&format!(r#"{{"jsonrpc":"2.0","id":44,"error":{error}}}"#));
        match answer(request, &answered, NEWEST, &mut Losses::default()) {
            Answer::Response(bytes) => value(&bytes),
            other => panic!("{other:?}"),
        }
    };
    let read = call("resources/read", r#"{"uri":"a:\u0062"}"#);
    let missing = r#"{"code":-32602,"message":"m","data":{"uri":"a:b"}}"#;
    assert_eq!(error(&read, missing)["error"], json!({"code":-32002,"message":"m","data":{"uri":"a:b"}}));
    assert_eq!(error(&read, missing)["id"], "c1");
    for other in [
        r#"{"code":-32602}"#,
        r#"{"code":-32602,"data":{"uri":"a:c"}}"#,
        r#"{"code":-1,"data":{"uri":"a:b"}}"#,
    ] {
        assert_eq!(error(&read, other)["error"], value(other.as_bytes()), "{other}");
    }
    assert_eq!(error(&call("tools/call", r#"{"name":"a:b"}"#), missing)["error"]["code"], -32602);

    let needs = r#"{"code":-32021,"message":"m","data":{"requiredCapabilities":{"elicitation":{"url":{}},"sampling":{}}}}"#;
    let told = error(&call("tools/call", "{}"), needs);
    assert_eq!(told["result"]["isError"], true);
    assert!(told["result"].get("resultType").is_none());
    let said = told["result"]["content"][0]["text"].as_str().unwrap();
    assert!(said.ends_with("elicitation.url, sampling"), "{said}");
    assert_eq!(error(&read, needs)["error"], value(needs.as_bytes()), "others see code and data");
}

#[test]
fn answers_that_mean_nothing_to_a_legacy_client_fail() {
    let tool = call("tools/call", "{}");
    let failed = |request: &Frame, answered: &str| match answer(
        request,
        &frame(answered),
        NEWEST,
        &mut Losses::default(),
    ) {
        Answer::Failed(reason) => reason,
        other => panic!("{other:?}"),
    };
    for (request, answered, reason) in [
        (&tool, r#"{"resultType":"task","taskId":"t"}"#, "of the type \"task\""),
        (&tool, r#"{"resultType":7}"#, "of the type \"\""),
        (&tool, "[]", "no object"),
        (&tool, r#"{"resultType":"input_required"}"#, "does not say which"),
        (&tool, r#"{"resultType":"input_required","inputRequests":[]}"#, "no object"),
        (&tool, r#"{"resultType":"input_required","requestState":5}"#, "no text"),
        (&tool, r#"{"resultType":"input_required","inputRequests":{"a":1}}"#, "no request"),
        (
            &tool,
            r#"{"resultType":"input_required","inputRequests":{"a":{"method":"ping"}}}"#,
            "no revision defines",
        ),
        (
            &tool,
            r#"{"resultType":"input_required","inputRequests":{"a":{"method":"roots/list"},"\u0061":{"method":"roots/list"}}}"#,
            "twice",
        ),
        (&call("tools/list", "{}"), r#"{"resultType":"input_required","requestState":"s"}"#, "may not ask"),
    ] {
        let said = failed(request, &format!(r#"{{"jsonrpc":"2.0","id":1,"result":{answered}}}"#));
        assert!(said.contains(reason), "{said}");
    }
    assert!(failed(&tool, r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#).contains("no answer"));
    assert_eq!(
        value(&super::failed(&tool, "r"))["result"],
        json!({"content":[{"type":"text","text":"r"}],"isError":true})
    );
    assert_eq!(value(&super::failed(&call("prompts/get", "{}"), "r"))["error"]["code"], -32603);
}

#[test]
fn a_session_hears_what_its_revision_knows() {
    let notification = |method: &str, params: &str| {
        frame(&format!(r#"{{"jsonrpc":"2.0","method":"notifications/{method}","params":{params}}}"#))
    };
    let tagged = notification(
        "resources/updated",
        r#"{"uri":"a:b","_meta":{"io.modelcontextprotocol/subscriptionId":1,"k":2}}"#,
    );
    assert!(notice(&tagged, NEWEST).unwrap().ends_with(br#""params":{"uri":"a:b","_meta":{"k":2}}}"#));
    let bare =
        notification("tools/list_changed", r#"{"_meta":{"io.modelcontextprotocol/subscriptionId":1}}"#);
    assert!(notice(&bare, NEWEST).unwrap().ends_with(br#""params":{}}"#));
    let plain = frame(r#"{"jsonrpc":"2.0","method":"notifications/prompts/list_changed"}"#);
    assert_eq!(notice(&plain, NEWEST).unwrap(), plain.bytes());
    let progress = notification("progress", r#"{"progressToken":1,"progress":1.0,"message":"m"}"#);
    assert_eq!(notice(&progress, Version::V2025_03_26).unwrap(), progress.bytes());
    assert!(
        notice(&progress, Version::V2024_11_05).unwrap().ends_with(br#"{"progressToken":1,"progress":1.0}}"#)
    );
    for method in ["subscriptions/acknowledged", "cancelled", "tasks", "x/y"] {
        assert_eq!(notice(&notification(method, "{}"), NEWEST), None, "{method}");
    }
}

#[test]
fn a_discovery_becomes_a_handshake_result() {
    let discovered = br#"{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{},"logging":{},"extensions":{"a/b":{}}},"instructions":"do","ttlMs":1,"cacheScope":"public","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s","version":"1.0"},"k":1},"z":1.0}"#;
    assert_eq!(
        initialize_result(discovered, Version::V2025_06_18),
        r#"{"protocolVersion":"2025-06-18","serverInfo":{"name":"s","version":"1.0"},"capabilities":{"tools":{},"logging":{}},"instructions":"do","_meta":{"k":1},"z":1.0}"#
    );
    for broken in [&b"[]"[..], b"", br#"{"capabilities":3}"#] {
        let result = value(&initialize_result(broken, NEWEST));
        assert_eq!((&result["capabilities"], &result["serverInfo"]["version"]), (&json!({}), &json!("0")));
    }
}

mod rounds;
