//! Questions of a modern server in the forms of an older client. Changes when a revision's questions differ in another
//! member.

use std::borrow::Cow;

use bytes::Bytes;

use crate::scan::Span;
use crate::splice::Edits;
use crate::translate::capabilities::Capabilities;
use crate::translate::content::downgraded;
use crate::translate::is_reserved;
use crate::translate::losses::{Loss, Losses};
use crate::translate::members::{Meta, Object, elements};
use crate::translate::question::Question;
use crate::version::Version;

/// The params as a client of `version` that declared `declared` may be asked; `None` when it cannot be asked.
pub(super) fn asked(
    question: Question,
    raw: &Bytes,
    version: Version,
    declared: Capabilities,
    lost: &mut Losses,
) -> Option<Bytes> {
    let params = Object::whole(raw)?;
    let by_url = params.text("mode").as_deref() == Some("url");
    let uses_tools = ["tools", "toolChoice"].iter().any(|key| params.get(key).is_some());
    let allowed = match question {
        Question::Elicitation if by_url => declared.url,
        Question::Elicitation => declared.form,
        Question::Sampling => declared.sampling && (declared.sampling_tools || !uses_tools),
        Question::Roots => declared.roots,
    };
    let mut edits = Edits::new();
    let fits = allowed
        && match question {
            Question::Elicitation if !by_url && version < Version::V2025_11_25 => {
                form(raw, &params, &mut edits, lost)?;
                true
            }
            Question::Sampling if version < Version::V2025_11_25 => {
                single_blocks(raw, &params, version, &mut edits, lost)
            }
            _ => true,
        };
    if !fits {
        lost.insert(Loss::UnaskedQuestion);
        return None;
    }
    let drop = |key: &str| by_url && key == "elicitationId";
    params.rewrite_with_meta(&mut edits, drop, b"", &Meta { drop: is_reserved, first: b"" });
    Some(edits.apply(raw))
}

/// A form of 2025-06-18: choices have their titles beside them, and only booleans a default. `None` when a field lets
/// choose several values.
fn form(text: &Bytes, params: &Object<'_>, edits: &mut Edits, lost: &mut Losses) -> Option<()> {
    let schema = params.object("requestedSchema");
    let properties = schema.and_then(|schema| schema.object("properties"));
    for member in properties.iter().flat_map(Object::members) {
        let Some(field) = Object::at(text, member.value) else { continue };
        let kind = field.text("type");
        if kind.as_deref() == Some("array") {
            lost.insert(Loss::MultiSelect);
            return None;
        }
        let defaults = field.get("default").is_some() && kind.as_deref() != Some("boolean");
        if defaults {
            lost.insert(Loss::FormDefaults);
        }
        let titled = match field.get("oneOf") {
            Some(choices) => {
                let titled = choice(text, choices);
                if titled.is_none() {
                    lost.insert(Loss::UnaskedQuestion);
                }
                Some(titled?)
            }
            None => None,
        };
        let drop = |key: &str| {
            (defaults && key == "default")
                || (titled.is_some() && matches!(key, "oneOf" | "enum" | "enumNames"))
        };
        field.rewrite(edits, drop, titled.as_deref().unwrap_or_default());
    }
    Some(())
}

/// `enum` and `enumNames` out of `oneOf` with `const` and `title`.
fn choice(text: &[u8], choices: Span) -> Option<Vec<u8>> {
    let (mut values, mut names) = (Vec::new(), Vec::new());
    for choice in elements(text, choices)? {
        let choice = Object::at(text, choice)?;
        choice.text("const")?;
        let value = choice.raw("const")?;
        values.push(value);
        names.push(choice.raw("title").filter(|_| choice.text("title").is_some()).unwrap_or(value));
    }
    let list = |items: &[&[u8]]| items.join(&b","[..]);
    Some([b"\"enum\":[", &*list(&values), b"],\"enumNames\":[", &*list(&names), b"]"].concat())
}

/// Up to 2025-06-18 a message for sampling holds one block: several become several messages. `false` when there is a
/// block that the revision has no form for.
fn single_blocks(
    text: &Bytes,
    params: &Object<'_>,
    version: Version,
    edits: &mut Edits,
    lost: &mut Losses,
) -> bool {
    let Some(messages) = params.get("messages") else { return true };
    let mut changed = false;
    let mut all: Vec<Bytes> = Vec::new();
    for span in elements(text, messages).unwrap_or_default() {
        let content = Object::at(text, span).and_then(|message| message.get("content"));
        let blocks = content.map(|content| elements(text, content).unwrap_or_else(|| vec![content]));
        let (Some(content), Some(blocks)) = (content, blocks) else {
            all.push(text.slice(span.start()..span.end()));
            continue;
        };
        changed |= blocks != [content];
        for block in blocks {
            let raw = block.of(text);
            let kind = Object::whole(raw).and_then(|block| block.text("type").map(Cow::into_owned));
            if matches!(kind.as_deref(), Some("tool_use" | "tool_result")) {
                return false;
            }
            let instead = downgraded(raw, version, lost);
            changed |= instead.is_some();
            let block = instead.map_or_else(|| raw.to_vec(), String::into_bytes);
            let around = (text.get(span.start()..content.start()), text.get(content.end()..span.end()));
            let (Some(before), Some(after)) = around else { continue };
            all.push([before, &block, after].concat().into());
        }
    }
    if changed {
        edits.replace(messages, [b"[", &*all.join(&b","[..]), b"]"].concat());
    }
    true
}
