//! A legacy server's tool as a modern client may see it. Changes when tool definitions differ in another member.

use memchr::memmem;

use crate::merge::ListKind;
use crate::scan::{Kind, Span, kind_of};
use crate::splice::Edits;
use crate::translate::losses::{Loss, Losses};
use crate::translate::members::{Object, elements, retain};

const ANNOTATION: &str = "x-mcp-header";

/// Edits the tools of a raw list result.
pub(super) fn edit_list(text: &[u8], result: &Object<'_>, edits: &mut Edits, lost: &mut Losses) {
    if let Some(tools) = result.array(ListKind::Tools.member()) {
        retain(edits, &tools, |tool, edits| edit(text, tool, edits, lost));
    }
}

/// Edits the tool at `tool`; `false`, and no edits, when it may not be shown.
pub(super) fn edit(text: &[u8], tool: Span, edits: &mut Edits, lost: &mut Losses) -> bool {
    let Some(definition) = Object::at(text, tool) else { return true };
    if let Some(execution) = definition.object("execution") {
        if execution.text("taskSupport").as_deref() == Some("required") {
            lost.insert(Loss::TaskTool);
            return false;
        }
        lost.insert(Loss::TaskSupport);
    }
    definition.rewrite(edits, |key| key == "execution", b"");
    if let Some(schema) = definition.get("inputSchema") {
        let raw = schema.of(text);
        // An escaped key may spell the annotation without its literal bytes.
        let annotated =
            memmem::find(raw, ANNOTATION.as_bytes()).is_some() || memmem::find(raw, b"\\u").is_some();
        if annotated && strip(text, schema, edits) {
            lost.insert(Loss::HeaderAnnotation);
        }
    }
    true
}

/// Removes annotations from the schema at `schema` and from those inside it; `true` when there was one.
fn strip(text: &[u8], schema: Span, edits: &mut Edits) -> bool {
    let Some(object) = Object::at(text, schema) else { return false };
    object.rewrite(edits, |key| key == ANNOTATION, b"");
    let mut found = object.get(ANNOTATION).is_some();
    for member in object.members() {
        match &*member.key {
            // Instance data, in which the word is only a word.
            ANNOTATION | "default" | "const" | "enum" | "examples" => {}
            // Schemas by name, of which one may be this word.
            "properties" | "$defs" | "definitions" | "dependentSchemas" | "patternProperties" => {
                for schema in Object::at(text, member.value).iter().flat_map(Object::members) {
                    found |= strip(text, schema.value, edits);
                }
            }
            _ => found |= elsewhere(text, member.value, edits),
        }
    }
    found
}

fn elsewhere(text: &[u8], value: Span, edits: &mut Edits) -> bool {
    let mut found = false;
    match kind_of(value.of(text)) {
        Some(Kind::Object) => found |= strip(text, value, edits),
        Some(Kind::Array) => {
            for schema in elements(text, value).unwrap_or_default() {
                found |= elsewhere(text, schema, edits);
            }
        }
        _ => {}
    }
    found
}
