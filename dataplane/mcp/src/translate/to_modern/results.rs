//! Results of a modern server in the forms of a legacy client's revision: tool definitions, structured content, blocks.
//! Changes when a revision's results differ in another member.

use bytes::Bytes;

use crate::merge::ListKind;
use crate::scan::{Kind, Span, decode_string, kind_of};
use crate::splice::Edits;
use crate::translate::canonical::canonical;
use crate::translate::content::downgraded;
use crate::translate::losses::{Loss, Losses};
use crate::translate::members::{Object, elements, is_object, quoted};
use crate::version::Version;

/// Edits the tools of a list result.
pub(super) fn edit_tools(
    text: &[u8],
    result: &Object<'_>,
    version: Version,
    edits: &mut Edits,
    lost: &mut Losses,
) {
    for tool in result.array(ListKind::Tools.member()).unwrap_or_default() {
        edit_tool(text, tool, version, edits, lost);
    }
}

/// Edits the tool definition at `tool`: an output schema must be one of objects, and of a revision that has such.
pub(super) fn edit_tool(text: &[u8], tool: Span, version: Version, edits: &mut Edits, lost: &mut Losses) {
    let Some(definition) = Object::at(text, tool) else { return };
    if definition.get("outputSchema").is_none() {
        return;
    }
    let of_objects = definition.object("outputSchema").and_then(|schema| schema.text("type"));
    if of_objects.as_deref() != Some("object") || !has_structured(version) {
        lost.insert(Loss::OutputSchema);
        definition.rewrite(edits, |key| key == "outputSchema", b"");
    }
}

fn has_structured(version: Version) -> bool {
    version >= Version::V2025_06_18
}

/// Edits the blocks of a prompt's messages.
pub(super) fn edit_prompt(
    text: &[u8],
    result: &Object<'_>,
    version: Version,
    edits: &mut Edits,
    lost: &mut Losses,
) {
    for message in result.array("messages").unwrap_or_default() {
        if let Some(block) = Object::at(text, message).and_then(|message| message.get("content")) {
            edit_block(text, block, version, edits, lost);
        }
    }
}

fn edit_block(text: &[u8], block: Span, version: Version, edits: &mut Edits, lost: &mut Losses) {
    if let Some(instead) = downgraded(block.of(text), version, lost) {
        edits.replace(block, instead);
    }
}

/// What a tool's result needs beside the edits of its blocks.
#[derive(Debug, Default)]
pub(super) struct ToolResult {
    /// Members that go.
    pub(super) drop: &'static [&'static str],
    /// Raw members that come.
    pub(super) first: Bytes,
}

/// Edits the content of a tool's result. Structured content that the client cannot have is made sure of as text.
pub(super) fn edit_tool_result(
    text: &[u8],
    result: &Object<'_>,
    version: Version,
    edits: &mut Edits,
    lost: &mut Losses,
) -> ToolResult {
    let content = result.get("content");
    let blocks = content.and_then(|span| elements(text, span));
    for block in blocks.iter().flatten() {
        edit_block(text, *block, version, edits, lost);
    }
    let structured = result.raw("structuredContent");
    let Some(structured) = structured.filter(|raw| !(is_object(raw) && has_structured(version))) else {
        return ToolResult::default();
    };
    lost.insert(Loss::StructuredContent);
    let kept = ToolResult { drop: &["structuredContent"], first: Bytes::new() };
    if blocks.iter().flatten().any(|block| says(block.of(text), structured)) {
        return kept;
    }
    let block = format!(r#"{{"type":"text","text":{}}}"#, quoted(&String::from_utf8_lossy(structured)));
    match (content, blocks.as_deref()) {
        (Some(content), Some([])) => {
            edits.insert(content.start() + 1, block);
            kept
        }
        (_, Some([.., end])) => {
            edits.insert(end.end(), format!(",{block}"));
            kept
        }
        _ => ToolResult {
            drop: &["structuredContent", "content"],
            first: format!(r#""content":[{block}]"#).into(),
        },
    }
}

/// Whether a block is text that holds the JSON of `structured`, however spelled.
fn says(block: &[u8], structured: &[u8]) -> bool {
    let Some(block) = Object::whole(block) else { return false };
    let Some(text) = block.text("text").filter(|_| block.text("type").as_deref() == Some("text")) else {
        return false;
    };
    let held = canonical(text.as_bytes());
    // A text is often given without its quotes.
    let plain =
        kind_of(structured) == Some(Kind::String) && decode_string(structured).as_ref() == Some(&text);
    plain || (held.is_some() && held == canonical(structured))
}
