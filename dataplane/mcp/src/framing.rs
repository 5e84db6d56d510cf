//! Newline framing: one message per line, as on stdio and the byte-stream transports.
//! Changes when the framing of byte-stream transports (MCP transports, stdio) changes.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use memchr::{memchr, memchr2};

/// Lines shorter than this are copied out of the input; longer ones share its memory. A small message that is kept for
/// long then does not keep a whole read alive.
const SHARE_FROM: usize = 1024;

/// Why a line was left out, or input refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// A line is longer than a message may be. It is skipped up to its end, then decoding goes on.
    #[error("line exceeds the message limit of {limit} bytes and was skipped")]
    TooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// The caller pushed more input while more than a whole message was still unread. Terminal.
    #[error("more than {limit} bytes of lines were pushed without reading them")]
    Backlog {
        /// The limit in bytes.
        limit: usize,
    },
}

/// Incremental splitter of a byte stream into messages.
///
/// Memory: at most about twice the line limit plus the chunk pushed last; nothing while idle between messages.
#[derive(Debug)]
pub struct Decoder {
    max: usize,
    /// Input that was not looked at yet.
    chunk: Bytes,
    /// Beginning of a line whose end has not arrived.
    line: BytesMut,
    /// In the middle of a line that was reported as too long.
    skipping: bool,
    overrun: bool,
}

impl Decoder {
    /// A decoder of messages of at most `max_line` bytes, the line end not counted.
    pub fn new(max_line: usize) -> Self {
        Self { max: max_line, chunk: Bytes::new(), line: BytesMut::new(), skipping: false, overrun: false }
    }

    /// Adds a copy of `input`. Call [`Self::next`] until it gives `Ok(None)` before the next push.
    pub fn push(&mut self, input: &[u8]) {
        self.push_bytes(Bytes::copy_from_slice(input));
    }

    /// Adds `input` without copying it; long messages then share its memory.
    pub fn push_bytes(&mut self, input: Bytes) {
        if self.overrun {
            return;
        }
        if self.chunk.is_empty() {
            self.chunk = input;
        } else if self.chunk.len() > self.max {
            *self = Self { overrun: true, ..Self::new(self.max) };
        } else {
            let mut joined = BytesMut::with_capacity(self.chunk.len() + input.len());
            joined.put_slice(&self.chunk);
            joined.put_slice(&input);
            self.chunk = joined.freeze();
        }
    }

    /// The next message, without its line end; `Ok(None)` when more input is needed. Blank lines are skipped, one CR
    /// before the line feed is removed. A line over the limit is reported once, as soon as it is over.
    #[expect(clippy::should_implement_trait, reason = "`None` is not the end: more input may follow")]
    pub fn next(&mut self) -> Result<Option<Bytes>, FramingError> {
        if self.overrun {
            return Err(FramingError::Backlog { limit: self.max });
        }
        loop {
            let Some(end) = memchr(b'\n', &self.chunk) else {
                let rest = std::mem::take(&mut self.chunk);
                if self.skipping {
                    return Ok(None);
                }
                if self.is_too_long(&rest) {
                    self.skipping = true;
                    self.line = BytesMut::new();
                    return Err(FramingError::TooLong { limit: self.max });
                }
                self.line.put_slice(&rest);
                return Ok(None);
            };
            let part = self.chunk.split_to(end);
            self.chunk.advance(1);
            if std::mem::take(&mut self.skipping) {
                continue;
            }
            let too_long = self.is_too_long(&part);
            let line = if self.line.is_empty() {
                part
            } else {
                let mut line = std::mem::take(&mut self.line);
                if !too_long {
                    line.put_slice(&part);
                }
                line.freeze()
            };
            if too_long {
                return Err(FramingError::TooLong { limit: self.max });
            }
            if let Some(message) = message(line) {
                return Ok(Some(message));
            }
        }
    }

    /// Ends the stream and gives the unterminated rest, if any. A peer that died may have cut it short, so it is a
    /// message only if it parses. Read all complete messages first.
    pub fn finish(&mut self) -> Option<Bytes> {
        let ended = std::mem::replace(self, Self::new(self.max));
        let mut line = ended.line;
        line.put_slice(&ended.chunk);
        if ended.skipping { None } else { message(line.freeze()) }
    }

    /// Whether the current line, continued by `part`, is over the limit, leaving aside a CR that may belong to its end.
    fn is_too_long(&self, part: &[u8]) -> bool {
        let ends_with_cr = part.last().or(self.line.last()) == Some(&b'\r');
        self.line.len() + part.len() - usize::from(ends_with_cr) > self.max
    }
}

fn message(mut line: Bytes) -> Option<Bytes> {
    if line.last() == Some(&b'\r') {
        line.truncate(line.len() - 1);
    }
    if line.iter().all(u8::is_ascii_whitespace) {
        return None;
    }
    Some(if line.len() < SHARE_FROM { Bytes::copy_from_slice(&line) } else { line })
}

/// Appends `message` and a line feed to `out`. Raw CR and LF inside become spaces: in JSON they can only be white space
/// between tokens.
pub fn encode(out: &mut BytesMut, message: &[u8]) {
    out.reserve(message.len() + 1);
    let mut rest = message;
    while let Some(at) = memchr2(b'\r', b'\n', rest) {
        let (before, after) = rest.split_at(at);
        out.put_slice(before);
        out.put_u8(b' ');
        rest = after.get(1..).unwrap_or_default();
    }
    out.put_slice(rest);
    out.put_u8(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The messages; a line that was reported as too long is written `!`.
    fn decode(max: usize, chunks: &[&[u8]]) -> Vec<String> {
        let mut decoder = Decoder::new(max);
        let mut all = Vec::new();
        for chunk in chunks {
            decoder.push(chunk);
            while let Some(item) = decoder.next().transpose() {
                all.push(match item {
                    Ok(message) => String::from_utf8(message.to_vec()).unwrap(),
                    Err(error) => {
                        assert_eq!(error, FramingError::TooLong { limit: max });
                        "!".into()
                    }
                });
            }
        }
        all
    }

    #[test]
    fn lines_become_messages() {
        assert_eq!(decode(100, &[b"{\"a\":1}\n{}\r\n\n\r\n \t\n[]\n{"]), ["{\"a\":1}", "{}", "[]"]);
        assert_eq!(decode(100, &[b"{", b"}\r", b"\n{}", b"\n"]), ["{}", "{}"]);
    }

    #[test]
    fn a_line_over_the_limit_is_reported_once_and_skipped() {
        for chunks in [&[&b"12345\n1234\r\n"[..]][..], &[b"12345", b"678", b"90\n", b"1234\r", b"\n"]] {
            assert_eq!(decode(4, chunks), ["!", "1234"]);
        }
        assert_eq!(decode(4, &[b"1234\r5\n1\n"]), ["!", "1"]);
        assert_eq!(decode(4, &[b"123456\n1234567\n1\n"]), ["!", "!", "1"]);
    }

    #[test]
    fn a_long_message_shares_the_memory_of_the_input() {
        let input = Bytes::from(["x".repeat(2000), "\n".into()].concat());
        let mut decoder = Decoder::new(1 << 20);
        decoder.push_bytes(input.clone());
        assert_eq!(decoder.next().unwrap().unwrap().as_ptr(), input.as_ptr());
    }

    #[test]
    fn what_is_held_stays_below_the_limit_whatever_comes() {
        for piece in [&b"x"[..], b"1234567890\n12345", b"\r", b"\n"] {
            let mut decoder = Decoder::new(64);
            for _ in 0..1000 {
                decoder.push(piece);
                while !matches!(decoder.next(), Ok(None)) {}
                let held = decoder.chunk.len() + decoder.line.capacity();
                assert!(held <= 2 * 64 + 8, "{held} bytes of {piece:?}");
            }
        }
    }

    #[test]
    fn input_cannot_pile_up_unread() {
        let mut decoder = Decoder::new(4);
        for _ in 0..3 {
            decoder.push(b"1\n2\n3\n");
        }
        assert_eq!(decoder.next(), Err(FramingError::Backlog { limit: 4 }));
    }

    #[test]
    fn the_rest_is_given_at_the_end() {
        let mut decoder = Decoder::new(100);
        decoder.push(b"{}\n{\"a\"");
        assert_eq!(decoder.next().unwrap().unwrap(), "{}");
        assert_eq!(decoder.next(), Ok(None));
        assert_eq!(decoder.finish().unwrap(), "{\"a\"");
        assert_eq!(decoder.finish(), None);
    }

    #[test]
    fn encoding_keeps_a_message_on_one_line() {
        let mut out = BytesMut::new();
        encode(&mut out, b"{\n  \"a\": 1\r\n}");
        encode(&mut out, b"{}");
        assert_eq!(&out[..], b"{   \"a\": 1  }\n{}\n");
    }
}
