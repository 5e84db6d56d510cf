//! YAML text to a tree in which every value knows its place. The only module that knows the YAML library; changes
//! when that library does.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, MessageFormatter as _, Spanned, UserMessageFormatter};

use super::diagnostic::Position;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) position: Position,
}

/// A YAML value. Scalars stay text: what they mean depends on the key, not on how YAML would guess.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// `~`, `null` or nothing at all.
    Null,
    Scalar(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One key of a map.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_position: Position,
    pub(crate) value: Node,
}

/// Why the text is not a YAML document. `Display` is one line without a place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub(crate) struct YamlError {
    pub(crate) position: Position,
    pub(crate) problem: String,
}

impl Value {
    /// What it is, in the words of an error message.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Scalar(_) => "a single value",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }
}

/// Values in one document, aliases expanded. A thousand backends with twenty keys each fit.
const MAX_NODES: usize = 50_000;

/// Parses one document. An empty one is [`Value::Null`].
pub(crate) fn parse(text: &str) -> Result<Node, YamlError> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: 32, max_nodes: MAX_NODES, max_events: 4 * MAX_NODES },
        with_snippet: false,
        strict_booleans: true,
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::Error,
        non_finite_float_policy: serde_saphyr::NonFiniteFloatPolicy::AsString,
    };
    let raw =
        serde_saphyr::from_str_with_options::<Option<Spanned<Raw>>>(text, options).map_err(|error| {
            YamlError {
                position: error.location().map_or(Position::WholeFile, position),
                problem: UserMessageFormatter.format_message(&error).into_owned(),
            }
        })?;
    Ok(raw.map_or(Node { value: Value::Null, position: Position::WholeFile }, |raw| located(raw, text)))
}

fn position(location: Location) -> Position {
    match (location.line(), location.column()) {
        (0, _) | (_, 0) => Position::WholeFile,
        (line, column) => Position::File { line, column },
    }
}

fn located(raw: Spanned<Raw>, text: &str) -> Node {
    let value = match raw.value {
        Raw::Null => Value::Null,
        Raw::Text(scalar) => Value::Scalar(scalar),
        Raw::Typed(guess) => Value::Scalar(source_text(raw.defined, text).unwrap_or(guess)),
        Raw::List(items) => Value::List(items.into_iter().map(|item| located(item, text)).collect()),
        Raw::Map(entries) => Value::Map(
            entries
                .into_iter()
                .map(|(key, value)| Entry {
                    key_position: position(key.defined),
                    key: key.value,
                    value: located(value, text),
                })
                .collect(),
        ),
    };
    Node { value, position: position(raw.defined) }
}

/// The scalar as its author wrote it: `1.10` must not become `1.1`.
fn source_text(location: Location, text: &str) -> Option<String> {
    let span = location.span();
    let start = usize::try_from(span.byte_offset()?).ok()?;
    let length = usize::try_from(span.byte_len()?).ok()?;
    let slice = text.get(start..start.checked_add(length)?)?.trim();
    (!slice.is_empty()).then(|| slice.to_owned())
}

enum Raw {
    Null,
    Text(String),
    /// A plain scalar that YAML takes for a boolean or a number; the text is the fallback spelling.
    Typed(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Typed(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Typed(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Typed(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Typed(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: u64, column: u64) -> Position {
        Position::File { line, column }
    }

    fn entries(node: &Node) -> &[Entry] {
        match &node.value {
            Value::Map(entries) => entries,
            other => panic!("not a map: {other:?}"),
        }
    }

    #[test]
    fn scalars_keep_their_spelling_and_place() {
        let text =
            "a: 1.10\nb: \"1.10\"\nc: 007\nd: yes\ne: 1_000\nf: .inf\ng: ~\nh: ''\ni: é 🔑\nj: 0x1F # hex\n";
        let node = parse(text).unwrap();
        let found: Vec<_> =
            entries(&node).iter().map(|entry| (entry.key.as_str(), &entry.value.value)).collect();
        let scalar = |text: &str| Value::Scalar(text.to_owned());
        let expected = [
            ("a", scalar("1.10")),
            ("b", scalar("1.10")),
            ("c", scalar("007")),
            ("d", scalar("yes")),
            ("e", scalar("1_000")),
            ("f", scalar(".inf")),
            ("g", Value::Null),
            ("h", scalar("")),
            ("i", scalar("é 🔑")),
            ("j", scalar("0x1F")),
        ];
        assert_eq!(found, expected.iter().map(|(key, value)| (*key, value)).collect::<Vec<_>>());
        assert_eq!(entries(&node)[2].value.position, at(3, 4));
        assert_eq!(entries(&node)[2].key_position, at(3, 1));
    }

    #[test]
    fn aliases_and_merges_resolve_to_the_place_of_definition() {
        let node = parse("base: &b\n  n: 5\nuse:\n  <<: *b\n  m: 6\nagain: *b\n").unwrap();
        let merged = entries(&entries(&node)[1].value);
        let n = merged.iter().find(|entry| entry.key == "n").unwrap();
        assert_eq!((&n.value.value, &n.value.position), (&Value::Scalar("5".to_owned()), &at(2, 6)));
        let again = entries(&entries(&node)[2].value);
        assert_eq!(
            (&again[0].value.value, &again[0].value.position),
            (&Value::Scalar("5".to_owned()), &at(2, 6))
        );
    }

    #[test]
    fn empty_documents_are_null() {
        for text in ["", "\n\n", "# only a comment\n", "---\n", "~\n"] {
            assert_eq!(parse(text).unwrap().value, Value::Null, "{text:?}");
        }
    }

    #[test]
    fn broken_documents_name_the_place() {
        for (text, expected) in [
            ("a: 1\na: 2\n", at(2, 1)),
            ("a: [1, 2\nb: 3\n", at(2, 2)),
            ("a:\n\t- b\n", at(2, 2)),
            ("a: \"x\n", at(2, 1)),
            ("a: *nowhere\n", at(1, 4)),
            ("a: 1\n---\nb: 2\n", at(3, 1)),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.position, expected, "{text:?}: {error}");
        }
    }

    #[test]
    fn alias_bombs_are_refused() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let previous = format!("*a{}, ", level - 1).repeat(9);
            let line = format!("a{level}: &a{level} [{previous}]\n");
            text.push_str(&line);
        }
        assert!(parse(&text).is_err());
    }
}
