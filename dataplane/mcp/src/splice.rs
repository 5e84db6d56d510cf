//! Edits of a message: named ranges are replaced, every other byte stays. Changes when edits get another form.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use crate::scan::Span;

/// Replacements to be made in one message.
#[derive(Debug, Clone, Default)]
pub struct Edits(Vec<Edit>);

#[derive(Debug, Clone)]
struct Edit {
    start: usize,
    end: usize,
    with: Bytes,
}

impl Edits {
    /// No edits.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces a value.
    pub fn replace(&mut self, span: Span, with: impl Into<Bytes>) -> &mut Self {
        self.0.push(Edit { start: span.start(), end: span.end(), with: with.into() });
        self
    }

    /// Replaces a value whose range was read relative to `outer`.
    pub fn replace_within(&mut self, outer: Span, inner: Span, with: impl Into<Bytes>) -> &mut Self {
        let (start, end) = (outer.start() + inner.start(), outer.start() + inner.end());
        self.0.push(Edit { start, end, with: with.into() });
        self
    }

    /// Inserts bytes before offset `at`.
    pub fn insert(&mut self, at: usize, with: impl Into<Bytes>) -> &mut Self {
        self.0.push(Edit { start: at, end: at, with: with.into() });
        self
    }

    /// Removes bytes.
    pub fn remove(&mut self, range: Range<usize>) -> &mut Self {
        self.0.push(Edit { start: range.start, end: range.end, with: Bytes::new() });
        self
    }

    /// Whether applying changes nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The edited message. Without edits it is the same buffer, not a copy. Overlapping or out-of-range edits cannot
    /// come from spans of this message; of two that overlap the first in order wins.
    pub fn apply(mut self, message: &Bytes) -> Bytes {
        if self.0.is_empty() {
            return message.clone();
        }
        self.0.sort_by_key(|edit| (edit.start, edit.end));
        let added: usize = self.0.iter().map(|edit| edit.with.len()).sum();
        let mut out = BytesMut::with_capacity(message.len() + added);
        let mut copied = 0;
        for edit in &self.0 {
            let Some(kept) = message.get(copied..edit.start) else { continue };
            out.extend_from_slice(kept);
            out.extend_from_slice(&edit.with);
            copied = edit.end;
        }
        out.extend_from_slice(message.get(copied..).unwrap_or_default());
        out.freeze()
    }
}
