//! Tools that look different to clients than to their server. Changes when something else of a tool can be replaced.

use bytes::Bytes;
use serde_json::{Map, Value};

use super::{Item, ListKind};
use crate::limits::Limits;
use crate::scan::{Scanner, Span, decode_string};
use crate::splice::Edits;

/// What clients see instead of what the server says; what is absent stays.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dress {
    /// Name.
    pub name: Option<String>,
    /// Description.
    pub description: Option<String>,
    /// Members of `annotations`; the server's others stay.
    pub annotations: Map<String, Value>,
}

impl Dress {
    /// A tool as clients see it; every byte that is not replaced stays. `None` when it cannot be read.
    pub fn put_on(&self, tool: &Item) -> Option<Item> {
        let raw = &tool.raw;
        let limits = Limits::backend(usize::MAX, usize::MAX);
        let (mut name, mut description, mut annotations) = (None, None, None);
        let mut scanner = Scanner::new(raw, &limits).ok()?;
        scanner
            .object(|scanner, key| {
                let value = scanner.value()?;
                match decode_string(key.of(raw)).as_deref() {
                    Some("name") => name = Some(value),
                    Some("description") => description = Some(value),
                    Some("annotations") => annotations = Some(value),
                    _ => {}
                }
                Ok(())
            })
            .ok()?;
        let name = name?;
        let mut edits = Edits::new();
        if let Some(new) = &self.name {
            edits.replace(name, text(new));
        }
        if let Some(new) = &self.description {
            put(&mut edits, "description", description, name, &text(new));
        }
        if !self.annotations.is_empty() {
            let before = annotations.and_then(|span| serde_json::from_slice(span.of(raw)).ok());
            let mut merged: Map<String, Value> = before.unwrap_or_default();
            merged.extend(self.annotations.clone());
            put(&mut edits, "annotations", annotations, name, &Value::Object(merged).to_string());
        }
        Item::read(ListKind::Tools, edits.apply(raw))
    }
}

/// Replaces a member, or adds it behind the name.
fn put(edits: &mut Edits, member: &str, found: Option<Span>, name: Span, value: &str) {
    match found {
        Some(span) => edits.replace(span, Bytes::copy_from_slice(value.as_bytes())),
        None => edits.insert(name.end(), format!(r#","{member}":{value}"#)),
    };
}

fn text(text: &str) -> String {
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn dressed(dress: &Dress, raw: &'static str) -> (String, String) {
        let item = Item::read(ListKind::Tools, Bytes::from_static(raw.as_bytes())).unwrap();
        let item = dress.put_on(&item).unwrap();
        (item.key.into(), String::from_utf8(item.raw.to_vec()).unwrap())
    }

    #[test]
    fn what_is_not_replaced_stays_as_it_was_written() {
        let raw =
            r#"{ "name":"a", "x":1e2, "description":"old","annotations":{"title":"T","readOnlyHint":true} }"#;
        assert_eq!(dressed(&Dress::default(), raw), ("a".to_owned(), raw.to_owned()));
        let mut dress = Dress { name: Some("b\"c".to_owned()), ..Dress::default() };
        let (key, text) = dressed(&dress, raw);
        assert_eq!(key, "b\"c");
        assert_eq!(text, raw.replace(r#""a""#, r#""b\"c""#));
        dress.description = Some("new".to_owned());
        dress.annotations = json!({ "readOnlyHint": false }).as_object().cloned().unwrap();
        let (_, text) = dressed(&dress, raw);
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["description"], "new");
        assert_eq!(value["annotations"], json!({ "title": "T", "readOnlyHint": false }));
        assert!(text.contains(r#""x":1e2"#), "{text}");
    }

    #[test]
    fn what_was_not_there_is_added() {
        let annotations = json!({ "title": "T" }).as_object().cloned().unwrap();
        let dress = Dress { description: Some("d".to_owned()), annotations, name: Some("b".to_owned()) };
        let (key, text) = dressed(&dress, r#"{"inputSchema":{"name":"no"},"name":"a"}"#);
        let value: Value = serde_json::from_str(&text).unwrap();
        let expected = json!({
            "inputSchema": { "name": "no" }, "name": "b", "description": "d", "annotations": { "title": "T" }
        });
        assert_eq!((key.as_str(), value), ("b", expected));
    }
}
