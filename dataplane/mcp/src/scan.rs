//! Bounded skim over JSON text: validates the grammar and finds where values begin and end, without building a tree.
//!
//! Changes when the accepted JSON grammar or its bounds change (RFC 8259; I-JSON's unique keys, RFC 7493 section 2.3).

use std::borrow::Cow;
use std::num::NonZeroU32;

use crate::limits::Limits;

/// A byte range of one message. Never empty, so `Option<Span>` costs nothing extra.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Span {
    start: u32,
    end: NonZeroU32,
}

impl Span {
    fn new(start: usize, end: usize) -> Option<Self> {
        let start = u32::try_from(start).ok()?;
        let end = NonZeroU32::new(u32::try_from(end).ok()?)?;
        (start < end.get()).then_some(Self { start, end })
    }

    /// First byte.
    pub fn start(self) -> usize {
        self.start as usize
    }

    /// One past the last byte.
    pub fn end(self) -> usize {
        self.end.get() as usize
    }

    /// The same range, read relative to `outer`, as a range of what `outer` is a range of.
    #[must_use]
    pub fn within(self, outer: Self) -> Self {
        Self { start: self.start.saturating_add(outer.start), end: self.end.saturating_add(outer.start) }
    }

    /// The bytes of `text` in this range.
    pub fn of(self, text: &[u8]) -> &[u8] {
        text.get(self.start()..self.end()).unwrap_or_default()
    }
}

impl std::fmt::Debug for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}..{}", self.start, self.end)
    }
}

/// Why a text was refused. Offsets are in bytes from its start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// Larger than allowed.
    #[error("message of {size} bytes exceeds the limit of {max} bytes")]
    TooLarge {
        /// Its size.
        size: usize,
        /// The bound.
        max: usize,
    },
    /// Not UTF-8.
    #[error("invalid UTF-8 at byte {offset}")]
    Utf8 {
        /// First offending byte.
        offset: usize,
    },
    /// Not JSON.
    #[error("invalid JSON at byte {offset}: expected {expected}")]
    Syntax {
        /// First offending byte.
        offset: usize,
        /// What would have been allowed.
        expected: &'static str,
    },
    /// Nested too deeply.
    #[error("JSON nested deeper than {max} levels at byte {offset}")]
    Depth {
        /// Where the bound was passed.
        offset: usize,
        /// The bound.
        max: usize,
    },
    /// One object has the same key twice, so that two readers could see two different messages.
    #[error("duplicate key in the object that ends at byte {offset}")]
    DuplicateKey {
        /// End of the object.
        offset: usize,
    },
}

/// What a value starts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `{`
    Object,
    /// `[`
    Array,
    /// `"`
    String,
    /// A digit or `-`.
    Number,
    /// `true` or `false`.
    Bool,
    /// `null`
    Null,
}

/// Kind of the value that `raw` (a skimmed value) holds.
pub fn kind_of(raw: &[u8]) -> Option<Kind> {
    Some(match raw.first()? {
        b'{' => Kind::Object,
        b'[' => Kind::Array,
        b'"' => Kind::String,
        b'-' | b'0'..=b'9' => Kind::Number,
        b't' | b'f' => Kind::Bool,
        b'n' => Kind::Null,
        _ => return None,
    })
}

/// Decodes a skimmed JSON string, quotes included. `None` when it is no string or holds a lone surrogate.
pub fn decode_string(raw: &[u8]) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if memchr::memchr(b'\\', inner).is_none() {
        return std::str::from_utf8(inner).ok().map(Cow::Borrowed);
    }
    serde_json::from_slice::<String>(raw).ok().map(Cow::Owned)
}

/// A cursor over one message.
pub struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    depth: usize,
    max_depth: usize,
    unique_keys: bool,
    /// Key spans of all open objects, innermost last.
    keys: Vec<Span>,
}

/// Objects up to this size are checked pairwise, larger ones by sorting.
const PAIRWISE: usize = 24;

impl<'a> Scanner<'a> {
    /// Checks size and UTF-8, and stands before the first value.
    pub fn new(text: &'a [u8], limits: &Limits) -> Result<Self, ScanError> {
        let max = limits.max_bytes.min(u32::MAX as usize - 1);
        if text.len() > max {
            return Err(ScanError::TooLarge { size: text.len(), max });
        }
        if let Err(error) = std::str::from_utf8(text) {
            return Err(ScanError::Utf8 { offset: error.valid_up_to() });
        }
        Ok(Self {
            text,
            at: 0,
            depth: 0,
            max_depth: limits.max_depth,
            unique_keys: limits.unique_keys,
            keys: Vec::new(),
        })
    }

    /// Next byte after white space, not consumed.
    pub fn peek(&mut self) -> Option<u8> {
        while let Some(byte) = self.text.get(self.at) {
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }

    /// Checks that nothing but white space follows.
    pub fn end(&mut self) -> Result<(), ScanError> {
        if self.peek().is_none() { Ok(()) } else { Err(self.expected("end of message")) }
    }

    /// Skips one value of any kind and returns where it was.
    pub fn value(&mut self) -> Result<Span, ScanError> {
        match self.peek() {
            Some(b'{') => self.object(|scanner, _| scanner.value().map(drop)),
            Some(b'[') => self.array(|scanner| scanner.value().map(drop)),
            Some(b'"') => self.string(),
            Some(b't') => self.literal(b"true"),
            Some(b'f') => self.literal(b"false"),
            Some(b'n') => self.literal(b"null"),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(self.expected("a JSON value")),
        }
    }

    /// Walks an object; `member` gets each key (quotes included) and must consume exactly its value.
    pub fn object(
        &mut self,
        mut member: impl FnMut(&mut Self, Span) -> Result<(), ScanError>,
    ) -> Result<Span, ScanError> {
        let start = self.open(b'{', "`{`")?;
        let first_key = self.keys.len();
        if self.peek() == Some(b'}') {
            self.at += 1;
        } else {
            loop {
                if self.peek() != Some(b'"') {
                    return Err(self.expected("a string key"));
                }
                let key = self.string()?;
                if self.unique_keys {
                    self.keys.push(key);
                }
                self.byte(b':', "`:`")?;
                member(self, key)?;
                if self.peek() == Some(b',') {
                    self.at += 1;
                    continue;
                }
                self.byte(b'}', "`,` or `}`")?;
                break;
            }
        }
        if self.unique_keys {
            self.check_unique(first_key)?;
            self.keys.truncate(first_key);
        }
        self.close(start)
    }

    /// Walks an array; `element` must consume exactly one value.
    pub fn array(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<(), ScanError>,
    ) -> Result<Span, ScanError> {
        let start = self.open(b'[', "`[`")?;
        if self.peek() == Some(b']') {
            self.at += 1;
            return self.close(start);
        }
        loop {
            element(self)?;
            if self.peek() == Some(b',') {
                self.at += 1;
                continue;
            }
            self.byte(b']', "`,` or `]`")?;
            return self.close(start);
        }
    }

    fn open(&mut self, byte: u8, expected: &'static str) -> Result<usize, ScanError> {
        self.byte(byte, expected)?;
        if self.depth == self.max_depth {
            return Err(ScanError::Depth { offset: self.at - 1, max: self.max_depth });
        }
        self.depth += 1;
        Ok(self.at - 1)
    }

    fn close(&mut self, start: usize) -> Result<Span, ScanError> {
        self.depth -= 1;
        self.span(start)
    }

    fn span(&self, start: usize) -> Result<Span, ScanError> {
        Span::new(start, self.at).ok_or(ScanError::TooLarge { size: self.at, max: u32::MAX as usize })
    }

    fn byte(&mut self, byte: u8, expected: &'static str) -> Result<(), ScanError> {
        if self.peek() != Some(byte) {
            return Err(self.expected(expected));
        }
        self.at += 1;
        Ok(())
    }

    fn literal(&mut self, word: &'static [u8]) -> Result<Span, ScanError> {
        let start = self.at;
        if self.text.get(start..start + word.len()) != Some(word) {
            return Err(self.expected("`true`, `false` or `null`"));
        }
        self.at += word.len();
        self.span(start)
    }

    /// Stands on the opening quote.
    fn string(&mut self) -> Result<Span, ScanError> {
        let start = self.at;
        self.at += 1;
        loop {
            match self.text.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return self.span(start);
                }
                Some(b'\\') => self.escape()?,
                Some(0..=0x1f) => return Err(self.expected("no control character inside a string")),
                Some(_) => self.at += 1,
                None => return Err(self.expected("`\"`")),
            }
        }
    }

    fn escape(&mut self) -> Result<(), ScanError> {
        match self.text.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') => {
                let digits = self.text.get(self.at + 2..self.at + 6);
                if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
                    return Err(self.expected("four hexadecimal digits after `\\u`"));
                }
                self.at += 6;
            }
            _ => return Err(self.expected("a JSON escape")),
        }
        Ok(())
    }

    fn number(&mut self) -> Result<Span, ScanError> {
        let start = self.at;
        if self.text.get(self.at) == Some(&b'-') {
            self.at += 1;
        }
        if self.text.get(self.at) == Some(&b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.text.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.text.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.text.get(self.at) {
                self.at += 1;
            }
            self.digits()?;
        }
        self.span(start)
    }

    fn digits(&mut self) -> Result<(), ScanError> {
        let start = self.at;
        while self.text.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        if self.at == start { Err(self.expected("a digit")) } else { Ok(()) }
    }

    fn check_unique(&self, first_key: usize) -> Result<(), ScanError> {
        let keys = self.keys.get(first_key..).unwrap_or_default();
        let plain = |span: &Span| -> &'a [u8] { span.of(self.text) };
        let escaped = keys.iter().any(|key| memchr::memchr(b'\\', plain(key)).is_some());
        let duplicate = if escaped {
            let mut names: Vec<_> = keys.iter().map(|key| decode_string(plain(key))).collect();
            names.sort_unstable();
            names.windows(2).any(|pair| matches!(pair, [a, b] if a == b))
        } else if keys.len() <= PAIRWISE {
            keys.iter()
                .enumerate()
                .any(|(i, key)| keys.iter().take(i).any(|other| plain(key) == plain(other)))
        } else {
            let mut names: Vec<_> = keys.iter().map(plain).collect();
            names.sort_unstable();
            names.windows(2).any(|pair| matches!(pair, [a, b] if a == b))
        };
        if duplicate { Err(ScanError::DuplicateKey { offset: self.at }) } else { Ok(()) }
    }

    fn expected(&self, expected: &'static str) -> ScanError {
        ScanError::Syntax { offset: self.at, expected }
    }
}
