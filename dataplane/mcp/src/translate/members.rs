//! Objects and arrays of a message, read member by member, and the edits that take members out and put members in.
//! Changes when translators need another way to address a part of a message.

use std::borrow::Cow;
use std::ops::Range;

use crate::limits::Limits;
use crate::scan::{Kind, ScanError, Scanner, Span, decode_string, kind_of};
use crate::splice::Edits;

/// Nesting that is read. Messages come here skimmed, within a bound that is lower.
const MAX_DEPTH: usize = 512;

/// A reader of a part of a message.
pub(super) fn scanner(text: &[u8]) -> Result<Scanner<'_>, ScanError> {
    Scanner::new(text, &Limits::backend(usize::MAX, MAX_DEPTH))
}

/// An object within `text`. Of members with the same key the last counts, as for most readers.
#[derive(Debug)]
pub(super) struct Object<'a> {
    text: &'a [u8],
    span: Span,
    members: Vec<Member<'a>>,
}

/// A member, its range relative to the text.
#[derive(Debug)]
pub(super) struct Member<'a> {
    /// Decoded; empty when it is not valid Unicode.
    pub(super) key: Cow<'a, str>,
    /// From the key's quote to the end of the value.
    whole: Range<usize>,
    pub(super) value: Span,
}

impl<'a> Object<'a> {
    /// The object that stands at `span`; `None` when something else does.
    pub(super) fn at(text: &'a [u8], span: Span) -> Option<Self> {
        let inner = span.of(text);
        let mut members = Vec::new();
        let mut scanner = scanner(inner).ok()?;
        if scanner.peek() != Some(b'{') {
            return None;
        }
        let found = scanner.object(|scanner, key| {
            let value = scanner.value()?.within(span);
            let whole = key.within(span).start()..value.end();
            members.push(Member { key: decode_string(key.of(inner)).unwrap_or_default(), whole, value });
            Ok(())
        });
        let span = found.ok()?.within(span);
        Some(Self { text, span, members })
    }

    /// The object that `text` is.
    pub(super) fn whole(text: &'a [u8]) -> Option<Self> {
        let span = scanner(text).and_then(|mut scanner| {
            let span = scanner.value()?;
            scanner.end()?;
            Ok(span)
        });
        Self::at(text, span.ok()?)
    }

    pub(super) fn members(&self) -> &[Member<'a>] {
        &self.members
    }

    /// Where the value of a member stands.
    pub(super) fn get(&self, key: &str) -> Option<Span> {
        self.members.iter().rev().find(|member| member.key == key).map(|member| member.value)
    }

    /// The raw value of a member.
    pub(super) fn raw(&self, key: &str) -> Option<&'a [u8]> {
        self.get(key).map(|span| span.of(self.text))
    }

    /// The value of a member that is a string.
    pub(super) fn text(&self, key: &str) -> Option<Cow<'a, str>> {
        self.raw(key).and_then(decode_string)
    }

    /// The value of a member that is an object.
    pub(super) fn object(&self, key: &str) -> Option<Self> {
        Self::at(self.text, self.get(key)?)
    }

    /// The value of a member that is an array.
    pub(super) fn array(&self, key: &str) -> Option<Vec<Span>> {
        elements(self.text, self.get(key)?)
    }

    /// Takes out the members that `drop` names and puts `first`, raw members without a trailing comma, in front.
    pub(super) fn rewrite(&self, edits: &mut Edits, drop: impl Fn(&str) -> bool, first: &[u8]) {
        let ranges: Vec<_> = self.members.iter().map(|member| member.whole.clone()).collect();
        let dropped: Vec<_> = self.members.iter().map(|member| drop(&member.key)).collect();
        cut(edits, &ranges, &dropped);
        if !first.is_empty() {
            let comma: &[u8] = if dropped.contains(&false) { b"," } else { b"" };
            edits.insert(self.span.start() + 1, [first, comma].concat());
        }
    }

    /// [`Object::rewrite`] that also takes the members that `meta.drop` names out of `_meta` and puts `meta.first` into
    /// it. A `_meta` in which nothing remains goes, one that is missing comes.
    pub(super) fn rewrite_with_meta<D: Fn(&str) -> bool>(
        &self,
        edits: &mut Edits,
        drop: impl Fn(&str) -> bool,
        first: &[u8],
        meta: &Meta<'_, D>,
    ) {
        let kept = match (self.get(META), self.object(META)) {
            (Some(_), None) => meta.first.is_empty(),
            (_, Some(old)) => {
                let members = old.members();
                let kept = !meta.first.is_empty()
                    || members.is_empty()
                    || members.iter().any(|member| !(meta.drop)(&member.key));
                if kept {
                    old.rewrite(edits, &meta.drop, meta.first);
                }
                kept
            }
            (None, None) => false,
        };
        let mut first = first.to_vec();
        if !kept && !meta.first.is_empty() {
            if !first.is_empty() {
                first.push(b',');
            }
            first.extend_from_slice(b"\"_meta\":{");
            first.extend_from_slice(meta.first);
            first.push(b'}');
        }
        self.rewrite(edits, |key| drop(key) || (key == META && !kept), &first);
    }
}

const META: &str = "_meta";

/// What changes in a `_meta`.
pub(super) struct Meta<'a, D> {
    /// Which members go.
    pub(super) drop: D,
    /// Raw members that come.
    pub(super) first: &'a [u8],
}

/// The elements of the array at `span`; `None` when something else stands there.
pub(super) fn elements(text: &[u8], span: Span) -> Option<Vec<Span>> {
    let inner = span.of(text);
    let mut found = Vec::new();
    let mut scanner = scanner(inner).ok()?;
    if scanner.peek() != Some(b'[') {
        return None;
    }
    let read = scanner.array(|scanner| {
        found.push(scanner.value()?.within(span));
        Ok(())
    });
    read.ok().map(|_| found)
}

/// Takes the marked ones of neighbouring members or elements out, each with one comma beside it.
pub(super) fn cut(edits: &mut Edits, ranges: &[Range<usize>], dropped: &[bool]) {
    let mut kept_end = None;
    let mut open: Option<Range<usize>> = None;
    for (range, dropped) in ranges.iter().zip(dropped) {
        if *dropped {
            let start = open.map_or(kept_end.unwrap_or(range.start), |open| open.start);
            open = Some(start..range.end);
            continue;
        }
        if let Some(open) = open.take() {
            // At the front the comma behind goes, elsewhere the one before.
            let end = if kept_end.is_none() { range.start } else { open.end };
            edits.remove(open.start..end);
        }
        kept_end = Some(range.end);
    }
    if let Some(open) = open {
        edits.remove(open);
    }
}

/// Cuts elements of an array; `edit` says whether one stays and may edit it then.
pub(super) fn retain(edits: &mut Edits, elements: &[Span], mut edit: impl FnMut(Span, &mut Edits) -> bool) {
    let dropped: Vec<_> = elements.iter().map(|element| !edit(*element, edits)).collect();
    let ranges: Vec<_> = elements.iter().map(|element| element.start()..element.end()).collect();
    cut(edits, &ranges, &dropped);
}

/// A JSON string.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Whether a raw value is an object.
pub(super) fn is_object(raw: &[u8]) -> bool {
    kind_of(raw) == Some(Kind::Object)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn rewritten(text: &str, drop: &[&str], first: &str) -> String {
        let mut edits = Edits::new();
        Object::whole(text.as_bytes()).unwrap().rewrite(
            &mut edits,
            |key| drop.contains(&key),
            first.as_bytes(),
        );
        String::from_utf8(edits.apply(&Bytes::copy_from_slice(text.as_bytes())).to_vec()).unwrap()
    }

    #[test]
    fn members_go_with_one_comma_each() {
        let text = r#"{ "a" : 1 , "b":[2] ,"\u0063":3}"#;
        for (drop, expected) in [
            (&[][..], text),
            (&["a"], r#"{ "b":[2] ,"\u0063":3}"#),
            (&["b"], r#"{ "a" : 1 ,"\u0063":3}"#),
            (&["c"], r#"{ "a" : 1 , "b":[2]}"#),
            (&["a", "b"], r#"{ "\u0063":3}"#),
            (&["b", "c"], r#"{ "a" : 1}"#),
            (&["a", "c"], r#"{ "b":[2]}"#),
            (&["a", "b", "c"], "{ }"),
        ] {
            assert_eq!(rewritten(text, drop, ""), expected, "{drop:?}");
        }
    }

    #[test]
    fn members_come_first() {
        assert_eq!(rewritten("{}", &[], r#""x":0"#), r#"{"x":0}"#);
        assert_eq!(rewritten(r#"{"a":1}"#, &["a"], r#""x":0"#), r#"{"x":0}"#);
        assert_eq!(rewritten(r#"{"a":1,"b":2}"#, &["a"], r#""x":0"#), r#"{"x":0,"b":2}"#);
        assert_eq!(rewritten(r#"{"a":1,"b":2,"a":3}"#, &["a"], r#""x":0"#), r#"{"x":0,"b":2}"#);
    }

    fn with_meta(text: &str, first: &str) -> String {
        let mut edits = Edits::new();
        let meta = Meta { drop: |key: &str| key == "gone", first: first.as_bytes() };
        Object::whole(text.as_bytes()).unwrap().rewrite_with_meta(&mut edits, |key| key == "x", b"", &meta);
        String::from_utf8(edits.apply(&Bytes::copy_from_slice(text.as_bytes())).to_vec()).unwrap()
    }

    #[test]
    fn metadata_comes_and_goes_as_needed() {
        for (text, first, expected) in [
            (r#"{"x":1,"_meta":{"gone":1}}"#, "", "{}"),
            (r#"{"_meta":{"gone":1,"a":2}}"#, "", r#"{"_meta":{"a":2}}"#),
            (r#"{"_meta":{},"x":1}"#, "", r#"{"_meta":{}}"#),
            (r#"{"_meta":null,"y":1}"#, "", r#"{"_meta":null,"y":1}"#),
            (r#"{"_meta":null,"y":1}"#, r#""n":1"#, r#"{"_meta":{"n":1},"y":1}"#),
            (r#"{"y":1}"#, r#""n":1"#, r#"{"_meta":{"n":1},"y":1}"#),
            (r#"{"y":1,"_meta":{"gone":1,"a":2}}"#, r#""n":1"#, r#"{"y":1,"_meta":{"n":1,"a":2}}"#),
            ("{}", "", "{}"),
        ] {
            assert_eq!(with_meta(text, first), expected, "{text}");
        }
    }

    #[test]
    fn elements_are_cut_like_members() {
        let text = "[ 1, 2 ,3 ]";
        let cut = |drop: &[u8]| {
            let mut edits = Edits::new();
            let whole = scanner(text.as_bytes()).unwrap().value().unwrap();
            let all = elements(text.as_bytes(), whole).unwrap();
            retain(&mut edits, &all, |span, _| !drop.contains(&span.of(text.as_bytes())[0]));
            edits.apply(&Bytes::from_static(text.as_bytes()))
        };
        assert_eq!(cut(b""), text);
        assert_eq!(cut(b"1"), "[ 2 ,3 ]");
        assert_eq!(cut(b"2"), "[ 1 ,3 ]");
        assert_eq!(cut(b"13"), "[ 2 ]");
        assert_eq!(cut(b"123"), "[  ]");
    }
}
