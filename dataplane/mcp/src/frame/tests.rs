use super::*;

fn limits() -> Limits {
    Limits::client(1024 * 1024, 16)
}

fn parse(text: &str) -> Result<Frame, FrameError> {
    Frame::parse(Bytes::copy_from_slice(text.as_bytes()), &limits())
}

fn code_of(text: &str) -> i64 {
    parse(text).expect_err(text).code()
}

#[test]
fn a_modern_call_gives_up_its_facts() {
    let frame = parse(
        r#"{ "jsonrpc":"2.0", "id":"a\u0062", "method":"tools/call", "params":{"name":"fs_read","arguments":{"path":"a"},
            "_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","progressToken":7}}}"#,
    )
    .unwrap();
    assert_eq!(frame.kind(), Kind::Request);
    assert_eq!(frame.method(), Method::ToolsCall);
    assert_eq!(frame.id(), Some(Id::Text("ab".into())));
    assert_eq!(frame.raw_id(), Some(&br#""a\u0062""#[..]));
    assert_eq!(frame.target().as_deref(), Some("fs_read"));
    assert_eq!(frame.raw(frame.progress_token()), Some(&b"7"[..]));
    let meta = &frame.envelope().params.as_ref().unwrap().meta;
    assert_eq!(frame.text(meta.protocol_version).as_deref(), Some("2026-07-28"));
}

#[test]
fn kinds_are_told_apart() {
    assert_eq!(parse(r#"{"jsonrpc":"2.0","method":"x"}"#).unwrap().kind(), Kind::Notification);
    assert_eq!(parse(r#"{"jsonrpc":"2.0","id":1,"result":null}"#).unwrap().kind(), Kind::Result);
    assert_eq!(parse(r#"{"jsonrpc":"2.0","id":null,"error":{}}"#).unwrap().kind(), Kind::Error);
}

#[test]
fn an_escaped_key_is_the_same_key() {
    assert_eq!(parse(r#"{"jsonrpc":"2.0","id":1,"m\u0065thod":"ping"}"#).unwrap().method(), Method::Ping);
    assert_eq!(
        code_of(r#"{"jsonrpc":"2.0","id":1,"method":"ping","m\u0065thod":"x"}"#),
        code::INVALID_REQUEST
    );
}

#[test]
fn malformed_messages_get_the_code_that_names_their_fault() {
    for (text, code) in [
        ("", code::PARSE),
        ("{", code::PARSE),
        ("{}x", code::PARSE),
        ("\u{feff}{}", code::PARSE),
        (r#"{"jsonrpc":"2.0","id":01,"method":"x"}"#, code::PARSE),
        (r#"{"jsonrpc":"2.0","id":1,"method":"x",}"#, code::PARSE),
        (r#"{"jsonrpc":"2.0","id":1,"method":"\ud8"}"#, code::PARSE),
        ("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\nb\"}", code::PARSE),
        ("7", code::INVALID_REQUEST),
        ("{}", code::INVALID_REQUEST),
        (r#"{"jsonrpc":"1.0","id":1,"method":"x"}"#, code::INVALID_REQUEST),
        (r#"{"jsonrpc":"2.0","id":null,"method":"x"}"#, code::INVALID_REQUEST),
        (r#"{"jsonrpc":"2.0","id":[1],"method":"x"}"#, code::INVALID_REQUEST),
        (r#"{"jsonrpc":"2.0","id":1.5,"method":"x"}"#, code::INVALID_REQUEST),
        (r#"{"jsonrpc":"2.0","id":1,"method":7}"#, code::INVALID_REQUEST),
        (r#"{"jsonrpc":"2.0","id":1,"method":"\ud800"}"#, code::INVALID_REQUEST),
        (r#"{"jsonrpc":"2.0","id":1,"method":"x","params":[]}"#, code::INVALID_PARAMS),
        (r#"{"jsonrpc":"2.0","id":1,"method":"x","result":1}"#, code::INVALID_REQUEST),
        (r#"{"jsonrpc":"2.0","id":1,"result":1,"error":{}}"#, code::INVALID_REQUEST),
        (r#"{"jsonrpc":"2.0","id":1}"#, code::INVALID_REQUEST),
        (r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"x"}"#, code::INVALID_REQUEST),
        (r#"{"jsonrpc":"2.0","id":1,"method":"x","params":{"a":{"b":1,"b":2}}}"#, code::INVALID_REQUEST),
        ("[]", code::INVALID_REQUEST),
    ] {
        assert_eq!(code_of(text), code, "{text}");
    }
    let invalid = Frame::parse(Bytes::from_static(b"{\"jsonrpc\":\"\xff\"}"), &limits()).unwrap_err();
    assert_eq!(invalid, FrameError::Scan(ScanError::Utf8 { offset: 12 }));
}

#[test]
fn bounds_hold() {
    let deep = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"x","params":{{"a":{}{}}}}}"#,
        "[".repeat(14),
        "]".repeat(14)
    );
    assert!(parse(&deep).is_ok(), "16 levels are allowed");
    let deeper = deep.replace("[[", "[[[").replace("]]", "]]]");
    assert!(matches!(parse(&deeper), Err(FrameError::Scan(ScanError::Depth { max: 16, .. }))));
    let small = Limits::client(10, 16);
    let large = Frame::parse(Bytes::from_static(b"{\"jsonrpc\":\"2.0\"}"), &small);
    assert!(matches!(large, Err(FrameError::Scan(ScanError::TooLarge { size: 17, max: 10 }))));
}

#[test]
fn many_keys_are_checked_in_bounded_time_and_duplicates_among_them_are_found() {
    let mut members: Vec<String> = (0..50_000).map(|i| format!("\"k{i}\":1")).collect();
    let text = |members: &[String]| {
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"x","params":{{{}}}}}"#, members.join(","))
    };
    assert!(parse(&text(&members)).is_ok());
    members.push("\"k7\":2".to_owned());
    assert_eq!(code_of(&text(&members)), code::INVALID_REQUEST);
}

#[test]
fn a_backend_may_repeat_keys_but_not_in_its_envelope() {
    let limits = Limits::backend(1024, 16);
    let parse = |text: &'static str| Frame::parse(Bytes::from_static(text.as_bytes()), &limits);
    assert!(parse(r#"{"jsonrpc":"2.0","id":1,"result":{"a":1,"a":2}}"#).is_ok());
    assert!(parse(r#"{"jsonrpc":"2.0","id":1,"id":2,"result":{}}"#).is_err());
}

#[test]
fn a_shape_error_echoes_the_id_as_spelled() {
    let error = parse(r#"{"jsonrpc":"2.0","id":"x\u0079","method":7}"#).unwrap_err();
    assert!(error.response().starts_with(br#"{"jsonrpc":"2.0","id":"x\u0079","error""#));
}

#[test]
fn an_edit_changes_its_range_only() {
    let frame =
        parse(r#"{"jsonrpc": "2.0", "id" : 10, "method":"tools/call","params":{"name":"x_y","n":1.10}}"#)
            .unwrap();
    let mut edits = Edits::new();
    edits.replace(frame.target_span().unwrap(), &b"\"y\""[..]);
    edits.replace(frame.envelope().id.unwrap(), &b"\"g1\""[..]);
    assert_eq!(
        frame.edited(edits),
        r#"{"jsonrpc": "2.0", "id" : "g1", "method":"tools/call","params":{"name":"y","n":1.10}}"#
    );
    assert_eq!(frame.edited(Edits::new()).as_ptr(), frame.bytes().as_ptr(), "no edit, no copy");
}

#[test]
fn a_batch_keeps_good_messages_beside_bad_ones() {
    let text = r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}, 5]"#;
    let Ok(Body::Batch(messages)) = Body::parse(Bytes::from_static(text.as_bytes()), &limits()) else {
        panic!()
    };
    assert!(matches!(messages.as_slice(), [Ok(_), Err(_)]));
    assert!(matches!(parse(text), Err(FrameError::Batch(_))));
}
