//! Questions of a legacy server: each gets one response, whatever the client does.

use super::*;

fn ask(id: &str, method: &str, params: &str) -> Frame {
    frame(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#))
}

fn form(id: &str) -> Frame {
    ask(id, "elicitation/create", r#"{"message":"Name?","requestedSchema":{"n":1.0}}"#)
}

fn retry(responses: &str) -> Frame {
    call("tools/call", &format!(r#"{{"name":"t","inputResponses":{responses}}}"#))
}

fn shown(questions: &Questions) -> Value {
    value(&questions.input_required(b"1e0", "st\"ate", INFO))
}

#[test]
fn questions_become_input_requests_byte_for_byte() {
    let mut questions = Questions::default();
    questions
        .ask(&ask("5", "elicitation/create", r#"{"message":"M","_meta":{"progressToken":3,"io.modelcontextprotocol/related-task":{}},"requestedSchema":{"n":1.50},"task":{}}"#))
        .unwrap();
    questions
        .ask(&ask(
            "\"x\"",
            "elicitation/create",
            r#"{"mode":"url","url":"https://a","message":"m","elicitationId":"e"}"#,
        ))
        .unwrap();
    questions.ask(&frame(r#"{"jsonrpc":"2.0","id":6,"method":"roots/list"}"#)).unwrap();
    assert_eq!(
        questions.input_required(b"1e0", "st\"ate", INFO),
        concat!(
            r#"{"jsonrpc":"2.0","id":1e0,"result":{"resultType":"input_required","inputRequests":{"#,
            r#""elicitation-1":{"method":"elicitation/create","params":{"message":"M","requestedSchema":{"n":1.50}}},"#,
            r#""elicitation-2":{"method":"elicitation/create","params":{"mode":"url","url":"https://a","message":"m"}},"#,
            r#""roots-3":{"method":"roots/list"}},"#,
            r#""requestState":"st\"ate","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"gw","version":"1"}}}}"#
        )
    );
    assert!(questions.losses().contains(Loss::UrlCompletion));
    assert_eq!(questions.len(), 3);
    assert!(questions.size() > 50);
    let none = shown(&Questions::default());
    assert_eq!(
        none["result"].as_object().unwrap().keys().collect::<Vec<_>>(),
        ["_meta", "requestState", "resultType"]
    );
}

#[test]
fn a_good_answer_closes_a_question_and_anything_else_leaves_it_open() {
    let mut questions = Questions::default();
    questions.ask(&form("7.0")).unwrap();
    questions.ask(&ask("8", "sampling/createMessage", "{}")).unwrap();
    for nothing in [
        "{}",
        "[]",
        "null",
        r#"{"elicitation-1":{"action":"yes"},"sampling-2":1,"elicitation-9":{"action":"accept"}}"#,
    ] {
        assert_eq!(questions.answer(&retry(nothing)), Vec::<Bytes>::new(), "{nothing}");
    }
    assert_eq!(questions.answer(&call("tools/call", "{}")), Vec::<Bytes>::new());
    let answers = questions.answer(&retry(r#"{"elicitation-1":{ "action":"accept","content":{"n":1.50}}}"#));
    assert_eq!(answers, [r#"{"jsonrpc":"2.0","id":7.0,"result":{ "action":"accept","content":{"n":1.50}}}"#]);
    assert_eq!(
        questions.answer(&retry(r#"{"elicitation-1":{"action":"accept"}}"#)),
        Vec::<Bytes>::new(),
        "twice"
    );
    assert_eq!(shown(&questions)["result"]["inputRequests"].as_object().unwrap().len(), 1);
    questions.ask(&form("7")).unwrap();
    assert!(
        shown(&questions)["result"]["inputRequests"]["elicitation-3"].is_object(),
        "a key is never used again"
    );
}

#[test]
fn what_cannot_be_asked_is_answered_at_once() {
    let declared = |capabilities: &str| {
        let meta = format!(r#"{{"_meta":{{"io.modelcontextprotocol/clientCapabilities":{capabilities}}}}}"#);
        Questions::new(&call("tools/call", &meta), Version::V2025_11_25)
    };
    let code = |questions: &mut Questions, question: &Frame| {
        questions.ask(question).err().map_or(0, |error| value(&error)["error"]["code"].as_i64().unwrap_or(1))
    };
    let url = ask("1", "elicitation/create", r#"{"mode":"url"}"#);
    let tools = ask("2", "sampling/createMessage", r#"{"tools":[]}"#);
    assert_eq!(code(&mut declared("{}"), &form("1")), -32601);
    assert_eq!(code(&mut declared(r#"{"elicitation":{}}"#), &form("1")), 0);
    assert_eq!(code(&mut declared(r#"{"elicitation":{}}"#), &url), -32602);
    assert_eq!(code(&mut declared(r#"{"elicitation":{"url":{}}}"#), &url), 0);
    assert_eq!(code(&mut declared(r#"{"elicitation":{"url":{}}}"#), &form("1")), -32602);
    assert_eq!(code(&mut declared(r#"{"sampling":{}}"#), &tools), -32602);
    assert_eq!(code(&mut declared(r#"{"sampling":{"tools":{}}}"#), &tools), 0);
    let mut all = Questions::default();
    assert_eq!(code(&mut all, &ask("1", "tools/call", "{}")), -32601);
    assert_eq!(all.ask(&ask("1", "ping", "{}")), Err(Bytes::from(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#)));
    assert_eq!(code(&mut all, &form("1")), 0);
    assert_eq!(code(&mut all, &form("1.0")), -32600, "still open");
    for id in 2..=64 {
        assert_eq!(code(&mut all, &form(&id.to_string())), 0);
    }
    assert_eq!(code(&mut all, &form("65")), -32603, "too many");
}

#[test]
fn a_server_takes_its_question_back() {
    let mut questions = Questions::default();
    questions.ask(&form("7")).unwrap();
    let cancel = |id: &str| {
        frame(&format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#
        ))
    };
    assert!(!questions.withdraw(&cancel("\"7\"")));
    assert!(!questions.withdraw(&cancel("null")));
    assert!(questions.withdraw(&cancel("7.0")));
    assert!(questions.is_empty());
    assert_eq!(questions.answer(&retry(r#"{"elicitation-1":{"action":"accept"}}"#)), Vec::<Bytes>::new());
}

#[test]
fn what_nobody_answers_is_ended() {
    let mut questions = Questions::default();
    questions.ask(&form("7")).unwrap();
    questions.ask(&ask("\"r\"", "roots/list", "{}")).unwrap();
    let ended = questions.abandon();
    assert_eq!(ended[0], r#"{"jsonrpc":"2.0","id":7,"result":{"action":"cancel"}}"#);
    assert_eq!((&value(&ended[1])["id"], &value(&ended[1])["error"]["code"]), (&json!("r"), &json!(-32603)));
    assert!(questions.is_empty() && questions.abandon().is_empty());
}

#[test]
fn an_old_server_gets_one_block_or_an_error() {
    let sampled = |server, content: &str| {
        let meta = r#"{"_meta":{"io.modelcontextprotocol/clientCapabilities":{"sampling":{}}}}"#;
        let mut questions = Questions::new(&call("tools/call", meta), server);
        questions.ask(&ask("1", "sampling/createMessage", "{}")).unwrap();
        let value = format!(
            r#"{{"sampling-1":{{"role":"assistant","model":"m","content":{content},"resultType":"complete"}}}}"#
        );
        let answers = questions.answer(&retry(&value));
        (String::from_utf8(answers[0].to_vec()).unwrap(), questions.losses().contains(Loss::SamplingBlocks))
    };
    let old = Version::V2025_06_18;
    let expected =
        r#"{"jsonrpc":"2.0","id":1,"result":{"role":"assistant","model":"m","content":{"type":"text"}}}"#;
    assert_eq!(sampled(old, r#"[ {"type":"text"} ]"#), (expected.to_owned(), false));
    assert_eq!(sampled(old, r#"{"type":"text"}"#), (expected.to_owned(), false));
    for blocks in
        [r#"[{"type":"text"},{"type":"text"}]"#, r#"{"type":"tool_use"}"#, r#"[{"type":"tool_use"}]"#, "[]"]
    {
        let (text, lost) = sampled(old, blocks);
        assert_eq!((&value(text.as_bytes())["error"]["code"], lost), (&json!(-32603), true), "{blocks}");
        assert!(!sampled(Version::V2025_11_25, blocks).1);
    }
}
