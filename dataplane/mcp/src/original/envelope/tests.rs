//! What is taken for an envelope, and what is written.

use super::*;
use crate::frame::Frame;

const REQUEST: &str = r#"{"id":7,"timestamp":"2025-01-01T00:00:00Z","source":"local-router","target_namespace":"system","auth_token":"<jwt>","mcp_payload":{"jsonrpc":"2.0","method":"tools/call","params":{"name":"echo","arguments":{"message":"x"}},"id":7}}"#;

fn limits() -> Limits {
    Limits::client(1 << 16, 8)
}

fn envelope(text: &str) -> Envelope {
    match read(&Bytes::from(text.to_owned()), &limits()).unwrap() {
        Form::Wrapped(envelope) => envelope,
        Form::Bare(_) => panic!("not taken for an envelope: {text}"),
    }
}

fn error(text: &str) -> EnvelopeError {
    read(&Bytes::from(text.to_owned()), &limits()).unwrap_err()
}

#[test]
fn the_routers_envelope_is_read_and_its_message_shares_the_buffer() {
    let text = Bytes::from_static(REQUEST.as_bytes());
    let Form::Wrapped(envelope) = read(&text, &limits()).unwrap() else { panic!("bare") };
    assert_eq!(envelope.id.as_deref(), Some(&b"7"[..]));
    assert_eq!(envelope.namespace.unwrap().as_str(), "system");
    assert_eq!(envelope.token.unwrap().expose(), "<jwt>");
    let at = REQUEST.find(r#"{"jsonrpc"#).unwrap();
    assert_eq!(envelope.payload, &text[at..text.len() - 1]);
    assert_eq!(envelope.payload.as_ptr(), text[at..].as_ptr());
}

#[test]
fn an_answer_is_wrapped_in_the_originals_order() {
    let answer = br#"{"jsonrpc":"2.0","result":{},"id":7}"#;
    assert_eq!(
        wrap(Some(b"7"), answer, 1_735_689_600),
        r#"{"id":7,"timestamp":"2025-01-01T00:00:00Z","source":"gateway","mcp_payload":{"jsonrpc":"2.0","result":{},"id":7}}"#
    );
}

#[test]
fn a_message_of_its_own_is_bare_whatever_it_holds() {
    for text in [
        r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"x","mcp_payload":{}}"#,
        r#"{"id":1}"#,
        "[]",
        "7",
    ] {
        let text = Bytes::from(text);
        assert_eq!(read(&text, &limits()).unwrap(), Form::Bare(text));
    }
}

#[test]
fn empty_and_null_members_are_absent() {
    let read = envelope(r#"{"target_namespace":"","auth_token":null,"mcp_payload":{}}"#);
    assert_eq!((read.id, read.namespace, read.token), (None, None, None));
}

#[test]
fn a_wrapper_that_cannot_be_read_is_answered_to_the_id_beside() {
    for (text, id, says) in [
        (r#"{"id":"a","mcp_payload":"text"}"#, "\"a\"", "mcp_payload"),
        (r#"{"id":{"b":1},"mcp_payload":null}"#, "{\"b\":1}", "mcp_payload"),
        (r#"{"id":1,"target_namespace":"a b","mcp_payload":{}}"#, "1", "Invalid namespace"),
        (r#"{"id":1,"target_namespace":7,"mcp_payload":{}}"#, "1", "target_namespace"),
        (r#"{"id":1,"auth_token":"a\nb","mcp_payload":{}}"#, "1", "Invalid token"),
        (r#"{"id":1,"mcp_payload":{},"mcp_payload":{}}"#, "1", "duplicate"),
        (r#"{"id":1,"id":2,"mcp_payload":{}}"#, "null", "duplicate"),
        (r#"{"id":1,"mcp_payload":[[[[[[[[[[]]]]]]]]]]}"#, "1", "deeper"),
        (r#"{"id":1"#, "null", "JSON"),
    ] {
        let answer = error(text).response(0);
        let answer = String::from_utf8(answer.to_vec()).unwrap();
        assert!(
            answer.starts_with(&format!(r#"{{"id":{id},"timestamp":"1970-01-01T00:00:00Z""#)),
            "{answer}"
        );
        assert!(answer.contains(r#""code":-32600"#) && answer.contains(says), "{answer}");
        assert!(answer.ends_with(&format!(r#","id":{id}}}}}"#)), "{answer}");
    }
}

#[test]
fn a_payload_that_is_no_message_is_answered_to_its_own_id_or_the_envelopes() {
    for (payload, id) in [(r#"{"jsonrpc":"1.0","id":"in","method":"x"}"#, "\"in\""), ("{}", "\"out\"")] {
        let envelope = envelope(&format!(r#"{{"id":"out","mcp_payload":{payload}}}"#));
        let error = Frame::parse(envelope.payload.clone(), &limits()).unwrap_err();
        let answer = String::from_utf8(envelope.refuse(&error, 0).to_vec()).unwrap();
        assert!(answer.starts_with(&format!(r#"{{"id":{id},"#)), "{answer}");
    }
}

#[test]
fn the_message_may_be_as_deep_as_its_limit_says() {
    let deep = format!(r#"{{"mcp_payload":{}1{}}}"#, r#"{"a":"#.repeat(8), "}".repeat(8));
    envelope(&deep);
    let deeper = format!(r#"{{"mcp_payload":{}1{}}}"#, r#"{"a":"#.repeat(9), "}".repeat(9));
    assert!(matches!(error(&deeper).defect, Defect::Scan(ScanError::Depth { .. })));
}

#[test]
fn the_auth_wrapper_is_read_in_both_spellings() {
    for name in ["message", "request"] {
        let text = Bytes::from(format!(r#"{{"auth_token":"Bearer T","{name}":{{"jsonrpc":"2.0"}}}}"#));
        let Form::Wrapped(read) = read_auth_wrapper(&text, &limits()).unwrap() else { panic!("bare") };
        assert_eq!(read.token.unwrap().expose(), "T");
        assert_eq!(read.payload, r#"{"jsonrpc":"2.0"}"#);
    }
    for text in
        [r#"{"message":"text"}"#, r#"{"auth_token":"T","message":null}"#, r#"{"message":{},"request":{}}"#]
    {
        read_auth_wrapper(&Bytes::from(text), &limits()).unwrap_err();
    }
}

#[test]
fn nothing_prints_a_token() {
    assert!(!format!("{:?}", envelope(REQUEST)).contains("<jwt>"));
}
