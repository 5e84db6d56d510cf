//! A `tools/list` answer of a modern HTTP server as its clients may pass it on: without tools whose `x-mcp-header`
//! annotations break the rules. Changes with the rules for annotated parameters.
//!
//! Source: MCP 2026-07-28, "Streamable HTTP: custom headers from tool parameters": clients must leave such tools out.

use bytes::Bytes;

use super::members::{Object, retain};
use crate::frame::Frame;
use crate::merge::ListKind;
use crate::param_headers::{ParamHeaders, Violation};
use crate::splice::Edits;

/// The answer without invalid tools, and why each is left out. Without any it is the same buffer.
pub fn without_invalid_tools(answer: &Frame) -> (Bytes, Vec<Violation>) {
    let text = answer.bytes();
    let mut edits = Edits::new();
    let mut violations = Vec::new();
    let result = answer.envelope().result.and_then(|span| Object::at(text, span));
    if let Some(tools) = result.and_then(|result| result.array(ListKind::Tools.member())) {
        retain(&mut edits, &tools, |tool, _| match ParamHeaders::of_tool(tool.of(text)) {
            Ok(_) => true,
            Err(violation) => {
                violations.push(violation);
                false
            }
        });
    }
    (answer.edited(edits), violations)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    fn filtered(text: &'static str) -> (Bytes, usize) {
        let frame = Frame::parse(Bytes::from_static(text.as_bytes()), &Limits::backend(4096, 16)).unwrap();
        let (bytes, violations) = without_invalid_tools(&frame);
        (bytes, violations.len())
    }

    #[test]
    fn only_tools_with_invalid_annotations_are_left_out() {
        let text = r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[ {"name":"a"} , {"name":"b","inputSchema":{"properties":{"x":{"type":"string","x-mcp-header":"no good"}}}}, {"name":"c","inputSchema":{"properties":{"x":{"type":"string","x-mcp-header":"Good"}}}} ],"ttlMs":0}}"#;
        let (bytes, violations) = filtered(text);
        assert_eq!(violations, 1);
        let kept: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let names: Vec<_> =
            kept["result"]["tools"].as_array().unwrap().iter().map(|tool| &tool["name"]).collect();
        assert_eq!(names, ["a", "c"]);
        assert!(bytes.ends_with(br#""ttlMs":0}}"#));
    }

    #[test]
    fn a_list_without_such_tools_passes_untouched() {
        for text in [
            r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[ {"name":"a"}, {"name":"b"} ]}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"tools":"none"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"x"}}"#,
        ] {
            assert_eq!(filtered(text), (Bytes::from_static(text.as_bytes()), 0));
        }
    }
}
