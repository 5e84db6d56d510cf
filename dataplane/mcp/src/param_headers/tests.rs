use serde_json::json;

use super::*;

fn of(schema: &Value) -> Result<Vec<(String, String)>, Violation> {
    let tool = json!({ "name": "t", "inputSchema": schema }).to_string();
    let headers = ParamHeaders::of_tool(tool.as_bytes())?;
    Ok(headers.params().iter().map(|param| (param.header.to_string(), param.path.join("/"))).collect())
}

fn one(property: &Value) -> Result<Vec<(String, String)>, Violation> {
    of(&json!({ "type": "object", "properties": { "p": property } }))
}

#[test]
fn annotations_are_found_along_properties() {
    let schema = json!({ "type": "object", "properties": {
        "region": { "type": "string", "x-mcp-header": "Region" },
        "x-mcp-header": { "type": "string" },
        "options": { "type": "object", "properties": {
            "limit": { "type": "integer", "x-mcp-header": "Limit", "default": { "x-mcp-header": 1 } },
            "properties": { "type": "boolean", "x-mcp-header": "~ok" },
        } },
    } });
    let mut found = of(&schema).unwrap();
    found.sort();
    let expected = [
        ("Mcp-Param-Limit", "options/limit"),
        ("Mcp-Param-Region", "region"),
        ("Mcp-Param-~ok", "options/properties"),
    ];
    assert_eq!(found, expected.map(|(header, path)| (header.to_owned(), path.to_owned())));
    assert_eq!(of(&json!({ "type": "object" })), Ok(vec![]));
    assert!(ParamHeaders::of_tool(br#"{"name":"t"}"#).unwrap().is_empty());
}

#[test]
fn an_annotation_cannot_hide_behind_an_escape() {
    let tool = br#"{"inputSchema":{"properties":{"p":{"type":"number","x-mcp-\u0068eader":"P"}}}}"#;
    assert_eq!(ParamHeaders::of_tool(tool), Err(Violation::NotPrimitive { at: "p".into() }));
}

#[test]
fn invalid_annotations_are_named() {
    let at = || "p".to_owned();
    for name in ["", "My Region", "Region:Primary", "Région", "Region\t1", "a\nb"] {
        let property = json!({ "type": "string", "x-mcp-header": name });
        assert_eq!(one(&property), Err(Violation::NotToken { at: at() }), "{name:?}");
    }
    for kind in
        [json!("object"), json!("array"), json!("null"), json!("number"), json!(["string"]), json!(null)]
    {
        let property = json!({ "type": kind, "x-mcp-header": "X" });
        assert_eq!(one(&property), Err(Violation::NotPrimitive { at: at() }), "{kind}");
    }
    assert_eq!(one(&json!({ "type": "string", "x-mcp-header": 1 })), Err(Violation::NotText { at: at() }));
    let twice = json!({ "properties": {
        "a": { "type": "string", "x-mcp-header": "MyField" }, "b": { "type": "string", "x-mcp-header": "myfield" },
    } });
    assert_eq!(of(&twice), Err(Violation::Repeated { at: "b".into() }));
}

#[test]
fn an_annotation_elsewhere_makes_the_tool_invalid() {
    let annotated = json!({ "type": "string", "x-mcp-header": "X" });
    for property in [
        json!({ "type": "array", "items": annotated }),
        json!({ "oneOf": [annotated] }),
        json!({ "if": annotated }),
        json!({ "additionalProperties": { "properties": { "q": annotated } } }),
    ] {
        assert_eq!(one(&property), Err(Violation::Unreachable { at: "p".into() }), "{property}");
    }
    let root = Err(Violation::Unreachable { at: String::new() });
    assert_eq!(of(&json!({ "$defs": { "d": annotated } })), root);
    assert_eq!(of(&annotated), root);
}

#[test]
fn annotations_and_depth_are_bounded() {
    let many: Map<String, Value> = (0..=MAX_PARAMS)
        .map(|i| (format!("p{i}"), json!({ "type": "string", "x-mcp-header": format!("P{i}") })))
        .collect();
    assert_eq!(of(&json!({ "properties": many })), Err(Violation::TooMany));
    let deep = format!(r#"{{"inputSchema":{{"x-mcp-header":{}{}}}}}"#, "[".repeat(200), "]".repeat(200));
    assert_eq!(ParamHeaders::of_tool(deep.as_bytes()), Err(Violation::Unreadable));
}

fn headers() -> ParamHeaders {
    ParamHeaders::of_schema(&json!({ "properties": {
        "s": { "type": "string", "x-mcp-header": "S" },
        "o": { "properties": {
            "n": { "type": "integer", "x-mcp-header": "N" }, "b": { "type": "boolean", "x-mcp-header": "B" },
        } },
    } }))
    .unwrap()
}

fn check(arguments: &str, sent: &[(&str, &'static str)]) -> Result<(), (String, Reason)> {
    let lookup = |name: &str| {
        let mut values =
            sent.iter().filter(|(sent, _)| name.eq_ignore_ascii_case(sent)).map(|(_, value)| value);
        match (values.next(), values.next()) {
            (None, _) => Sent::Absent,
            (Some(value), None) => Sent::Text(value),
            _ => Sent::Unusable,
        }
    };
    headers().check(Some(arguments.as_bytes()), &Limits::client(1000, 10), lookup).map_err(
        |error| match error {
            ArgumentsError::Mismatch(mismatch) => (mismatch.header.to_string(), mismatch.reason),
            ArgumentsError::Scan(error) => panic!("{error}"),
        },
    )
}

#[test]
fn agreeing_headers_pass() {
    for (arguments, sent) in [
        (r#"{"s":"us-west1"}"#, &[("mcp-param-s", " us-west1 ")][..]),
        (r#"{"s":"Hello, \u4e16界"}"#, &[("Mcp-Param-S", "=?base64?SGVsbG8sIOS4lueVjA==?=")]),
        (r#"{"s":"=?base64?SGVsbG8="}"#, &[("Mcp-Param-S", "=?base64?SGVsbG8=")]),
        (r#"{"s":""}"#, &[("Mcp-Param-S", "")]),
        (r#"{"s":null,"o":{"b":null}}"#, &[]),
        ("{}", &[]),
        (r#"{"o":{"n":42,"b":false}}"#, &[("Mcp-Param-N", "42.0"), ("Mcp-Param-B", "false")]),
        (r#"{"o":{"n":4.2e1}}"#, &[("Mcp-Param-N", "42")]),
        (r#"{"o":{"n":-0}}"#, &[("Mcp-Param-N", "0")]),
        (r#"{"o":[{"n":1}],"n":1}"#, &[]),
    ] {
        assert_eq!(check(arguments, sent), Ok(()), "{arguments}");
    }
}

#[test]
fn a_disagreeing_header_is_named_with_the_reason() {
    for (arguments, sent, header, reason) in [
        (r#"{"s":"a"}"#, &[][..], "Mcp-Param-S", Reason::Missing),
        (r#"{"s":"a"}"#, &[("Mcp-Param-S", "A")], "Mcp-Param-S", Reason::Different),
        (r#"{"s":"Hello"}"#, &[("Mcp-Param-S", "=?base64?SGVsbG8?=")], "Mcp-Param-S", Reason::Malformed),
        (r#"{"s":"Hello"}"#, &[("Mcp-Param-S", "=?base64?SGVs!!!bG8=?=")], "Mcp-Param-S", Reason::Malformed),
        (r#"{"s":"Hello"}"#, &[("Mcp-Param-S", "=?base64?/w==?=")], "Mcp-Param-S", Reason::Malformed),
        (r#"{"s":"é"}"#, &[("Mcp-Param-S", "é")], "Mcp-Param-S", Reason::Malformed),
        (r#"{"s":"a"}"#, &[("Mcp-Param-S", "a"), ("mcp-param-s", "a")], "Mcp-Param-S", Reason::Malformed),
        (r#"{"s":null}"#, &[("Mcp-Param-S", "null")], "Mcp-Param-S", Reason::Unexpected),
        ("{}", &[("Mcp-Param-N", "1")], "Mcp-Param-N", Reason::Unexpected),
        (r#"{"o":{"n":42}}"#, &[("Mcp-Param-N", "43")], "Mcp-Param-N", Reason::Different),
        (r#"{"o":{"n":42}}"#, &[("Mcp-Param-N", "forty-two")], "Mcp-Param-N", Reason::Different),
        (r#"{"o":{"b":true}}"#, &[("Mcp-Param-B", "True")], "Mcp-Param-B", Reason::Different),
        (r#"{"s":{}}"#, &[("Mcp-Param-S", "{}")], "Mcp-Param-S", Reason::Different),
    ] {
        assert_eq!(check(arguments, sent), Err((header.to_owned(), reason)), "{arguments}");
    }
}

#[test]
fn written_headers_follow_the_specification_examples() {
    for (value, header) in [
        (r#""us-west1""#, "us-west1"),
        (r#""Hello, 世界""#, "=?base64?SGVsbG8sIOS4lueVjA==?="),
        (r#"" padded ""#, "=?base64?IHBhZGRlZCA=?="),
        (r#""line1\nline2""#, "=?base64?bGluZTEKbGluZTI=?="),
        (r#""=?base64?literal?=""#, "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
        (r#""two words""#, "two words"),
        (r#""""#, ""),
    ] {
        let arguments = format!(r#"{{"s":{value}}}"#);
        let written = headers();
        let written = written.write(Some(arguments.as_bytes()), &Limits::client(1000, 10)).unwrap();
        assert_eq!(written, [("Mcp-Param-S", header.to_owned())], "{value}");
    }
    let arguments = br#"{"s":null,"o":{"n":7.0,"b":true}}"#;
    let written = headers();
    let mut written = written.write(Some(arguments), &Limits::client(1000, 10)).unwrap();
    written.sort();
    assert_eq!(written, [("Mcp-Param-B", "true".to_owned()), ("Mcp-Param-N", "7".to_owned())]);
    assert_eq!(headers().write(None, &Limits::client(1000, 10)).unwrap(), []);
}

#[test]
fn broken_arguments_are_reported_as_such() {
    let error = headers().check(Some(b"{\"s\":1,\"s\":2}"), &Limits::client(1000, 10), |_| Sent::Absent);
    assert!(matches!(error, Err(ArgumentsError::Scan(_))));
}
