//! Server-sent events: an incremental decoder and an encoder, bytes in and events out.
//! Changes when the event-stream format (WHATWG HTML, section 9.2) or what MCP puts into it changes.

mod encode;

pub use encode::{encode, encode_comment};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use memchr::memchr2;

/// Values up to this many bytes are copied out of the input; longer ones share its memory. A small event that is kept
/// for long (a replay log) then does not keep a whole network read alive.
const SHARE_FROM: usize = 1024;

const BOM: &[u8] = b"\xEF\xBB\xBF";

/// One event of a stream.
///
/// Unlike a browser, the decoder also delivers an event without data when it carries an id or a retry time: MCP
/// 2025-11-25 opens a stream with such an event and announces the reconnection delay with another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// `id` of this event; `Some("")` resets the last event id. Ids that contain NUL are ignored (WHATWG).
    pub id: Option<Box<str>>,
    /// `event` of this event; `None` means `message`.
    pub name: Option<Box<str>>,
    /// `data` lines joined by line feeds; empty if there was none.
    pub data: Bytes,
    /// `retry` in milliseconds.
    pub retry_ms: Option<u64>,
}

/// Why a stream cannot be decoded any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SseError {
    /// One event is larger than the decoder may hold.
    #[error(
        "server-sent event exceeds the limit of {limit} bytes; raise the message size limit or close the stream"
    )]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The caller pushed more input while more than a whole event was still unread.
    #[error("more than {limit} bytes of an event stream were pushed without reading its events")]
    Backlog {
        /// The limit in bytes.
        limit: usize,
    },
}

/// Incremental decoder of one event stream.
///
/// Memory: at most about twice the event limit plus the chunk pushed last; nothing while the stream is idle between
/// events. An error is terminal: what was read is dropped and every later call reports the same error, because an event
/// that was left out may be the answer somebody waits for. The caller closes the stream.
#[derive(Debug)]
pub struct Decoder {
    max: usize,
    /// Input that was not looked at yet.
    chunk: Bytes,
    /// Beginning of a line whose end has not arrived; holds no line end.
    line: BytesMut,
    first_line: bool,
    /// The last line ended with CR at the end of the input: an LF that follows belongs to it.
    skip_lf: bool,
    event: Partial,
    failed: Option<SseError>,
}

impl Decoder {
    /// A decoder that holds at most `max_event_bytes` for one event: its kept fields plus the line being read.
    pub fn new(max_event_bytes: usize) -> Self {
        Self {
            max: max_event_bytes,
            chunk: Bytes::new(),
            line: BytesMut::new(),
            first_line: true,
            skip_lf: false,
            event: Partial::default(),
            failed: None,
        }
    }

    /// Adds a copy of `input`. Call [`Self::next`] until it gives `None` before the next push.
    pub fn push(&mut self, input: &[u8]) {
        self.push_bytes(Bytes::copy_from_slice(input));
    }

    /// Adds `input` without copying it; large single-line events then share its memory.
    pub fn push_bytes(&mut self, input: Bytes) {
        if self.failed.is_some() {
            return;
        }
        if self.chunk.is_empty() {
            self.chunk = input;
        } else if self.chunk.len() > self.max {
            self.fail(SseError::Backlog { limit: self.max });
        } else {
            let mut joined = BytesMut::with_capacity(self.chunk.len() + input.len());
            joined.put_slice(&self.chunk);
            joined.put_slice(&input);
            self.chunk = joined.freeze();
        }
    }

    /// The next complete event; `None` when more input is needed.
    #[expect(clippy::should_implement_trait, reason = "`None` is not the end: more input may follow")]
    pub fn next(&mut self) -> Result<Option<Event>, SseError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        loop {
            if self.skip_lf && !self.chunk.is_empty() {
                self.skip_lf = false;
                if self.chunk.first() == Some(&b'\n') {
                    self.chunk.advance(1);
                }
            }
            let end = memchr2(b'\n', b'\r', &self.chunk);
            let part = self.chunk.get(..end.unwrap_or(self.chunk.len())).unwrap_or_default();
            if self.line_len(part) > self.max.saturating_sub(self.event.held()) {
                return Err(self.fail(SseError::TooLarge { limit: self.max }));
            }
            let Some(end) = end else {
                self.line.put_slice(part);
                self.chunk = Bytes::new();
                return Ok(None);
            };
            let event = if self.line.is_empty() && !self.first_line {
                let chunk = &self.chunk;
                self.event.absorb(part, |from| {
                    let value = chunk.slice(from..end);
                    if value.len() < SHARE_FROM { Bytes::copy_from_slice(&value) } else { value }
                })
            } else {
                self.line.put_slice(part);
                let mut line = std::mem::take(&mut self.line).freeze();
                if self.first_line && line.starts_with(BOM) {
                    line.advance(BOM.len());
                }
                self.first_line = false;
                self.event.absorb(&line, |from| line.slice(from..))
            };
            self.skip_lf = self.chunk.get(end) == Some(&b'\r');
            self.chunk.advance(end + 1);
            if event.is_some() {
                return Ok(event);
            }
        }
    }

    /// Ends the stream. An event that was not closed by a blank line is dropped, as WHATWG demands; tells whether there
    /// was one. Read all complete events first.
    pub fn finish(&mut self) -> bool {
        let event = std::mem::take(&mut self.event);
        let rest = std::mem::take(&mut self.line).len() + std::mem::take(&mut self.chunk).len();
        rest > 0 || event.is_started()
    }

    /// Bytes of the current line that count against the limit: all but a byte order mark (or a start of one).
    fn line_len(&self, part: &[u8]) -> usize {
        let len = self.line.len() + part.len();
        if !self.first_line {
            return len;
        }
        let marks = self.line.iter().chain(part).zip(BOM).take_while(|(byte, mark)| byte == mark).count();
        if marks == BOM.len() || marks == len { len - marks } else { len }
    }

    fn fail(&mut self, error: SseError) -> SseError {
        self.finish();
        self.failed = Some(error);
        error
    }
}

/// The fields of the event being read.
#[derive(Debug, Default)]
struct Partial {
    id: Option<Box<str>>,
    name: Option<Box<str>>,
    data: Option<Data>,
    retry_ms: Option<u64>,
}

#[derive(Debug)]
enum Data {
    One(Bytes),
    Many(BytesMut),
}

impl Partial {
    /// Takes one line without its end. `share` gives the line from an offset on as owned bytes.
    fn absorb(&mut self, line: &[u8], share: impl FnOnce(usize) -> Bytes) -> Option<Event> {
        if line.is_empty() {
            return std::mem::take(self).dispatch();
        }
        let colon = memchr::memchr(b':', line);
        let field = line.get(..colon.unwrap_or(line.len())).unwrap_or_default();
        let from = match colon {
            None => line.len(),
            Some(at) if line.get(at + 1) == Some(&b' ') => at + 2,
            Some(at) => at + 1,
        };
        let value = line.get(from..).unwrap_or_default();
        match field {
            b"data" => self.add_data(value, || share(from)),
            b"event" => self.name = (!value.is_empty()).then(|| String::from_utf8_lossy(value).into()),
            b"id" if !value.contains(&0) => self.id = Some(String::from_utf8_lossy(value).into()),
            b"retry" if value.iter().all(u8::is_ascii_digit) => {
                // Empty or beyond 64 bits: not a number, so the field is ignored.
                let number = std::str::from_utf8(value).ok().and_then(|digits| digits.parse().ok());
                self.retry_ms = number.or(self.retry_ms);
            }
            // Comments have an empty field name; unknown fields are ignored.
            _ => {}
        }
        None
    }

    fn add_data(&mut self, value: &[u8], share: impl FnOnce() -> Bytes) {
        let mut joined = match self.data.take() {
            None => {
                self.data = Some(Data::One(share()));
                return;
            }
            Some(Data::One(first)) => BytesMut::from(&*first),
            Some(Data::Many(joined)) => joined,
        };
        joined.put_u8(b'\n');
        joined.put_slice(value);
        self.data = Some(Data::Many(joined));
    }

    fn dispatch(self) -> Option<Event> {
        if self.data.is_none() && self.id.is_none() && self.retry_ms.is_none() {
            return None;
        }
        let data = match self.data {
            None => Bytes::new(),
            Some(Data::One(data)) => data,
            Some(Data::Many(joined)) => joined.freeze(),
        };
        Some(Event { id: self.id, name: self.name, data, retry_ms: self.retry_ms })
    }

    fn held(&self) -> usize {
        let data = match &self.data {
            None => 0,
            Some(Data::One(data)) => data.len(),
            Some(Data::Many(joined)) => joined.len(),
        };
        data + self.id.as_ref().map_or(0, |id| id.len()) + self.name.as_ref().map_or(0, |name| name.len())
    }

    fn is_started(&self) -> bool {
        self.data.is_some() || self.id.is_some() || self.name.is_some() || self.retry_ms.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(input: &[u8]) -> Vec<Event> {
        let mut decoder = Decoder::new(1 << 20);
        decoder.push(input);
        std::iter::from_fn(|| decoder.next().unwrap()).collect()
    }

    fn event(id: Option<&str>, name: Option<&str>, data: &str) -> Event {
        let data = Bytes::copy_from_slice(data.as_bytes());
        Event { id: id.map(Into::into), name: name.map(Into::into), data, retry_ms: None }
    }

    #[test]
    fn fields_follow_the_whatwg_rules() {
        let cases: &[(&str, &[Event])] = &[
            ("data: a\n\n", &[event(None, None, "a")]),
            ("data:a\n\n", &[event(None, None, "a")]),
            ("data:  a\n\n", &[event(None, None, " a")]),
            ("data: a\ndata\ndata:b\n\n", &[event(None, None, "a\n\nb")]),
            ("data\n\n", &[event(None, None, "")]),
            ("data: a\r\rdata: b\r\n\r\n", &[event(None, None, "a"), event(None, None, "b")]),
            ("event: ping\nevent: message\nid: 7\ndata: x\n\n", &[event(Some("7"), Some("message"), "x")]),
            ("id: 1\ndata: x\n\ndata: y\n\n", &[event(Some("1"), None, "x"), event(None, None, "y")]),
            ("id: a\0b\ndata: x\n\n", &[event(None, None, "x")]),
            ("id\ndata: x\n\n", &[event(Some(""), None, "x")]),
            ("event:\ndata: x\n\n", &[event(None, None, "x")]),
            (": keep-alive\n\n:\ndata: x\n: inside\n\n", &[event(None, None, "x")]),
            ("dat: x\nfoo: y\n data: z\n\n", &[]),
            ("event: only\n\n", &[]),
            ("\u{feff}data: x\n\n\u{feff}data: y\n\n", &[event(None, None, "x")]),
            ("data: cut", &[]),
            ("data: cut\n", &[]),
        ];
        for (input, expected) in cases {
            assert_eq!(decode(input.as_bytes()), *expected, "{input:?}");
        }
    }

    #[test]
    fn events_without_data_arrive_when_they_carry_an_id_or_a_retry() {
        assert_eq!(decode(b"id: s-1\ndata:\n\n"), [event(Some("s-1"), None, "")]);
        assert_eq!(decode(b"id: s-2\n\n"), [event(Some("s-2"), None, "")]);
        assert_eq!(decode(b"retry: 500\n\n"), [Event { retry_ms: Some(500), ..Event::default() }]);
        assert_eq!(decode(b"retry: 5s\n\nretry:\n\nretry: 99999999999999999999\n\n"), []);
    }

    #[test]
    fn a_large_event_shares_the_memory_of_the_input() {
        let input = Bytes::from([b"\ndata: ", "x".repeat(5000).as_bytes(), b"\n\n"].concat());
        let mut decoder = Decoder::new(1 << 20);
        decoder.push_bytes(input.clone());
        let data = decoder.next().unwrap().unwrap().data;
        assert_eq!(data.as_ptr(), input.slice(7..).as_ptr());
    }

    #[test]
    fn an_event_beyond_the_limit_is_refused_for_good() {
        for input in [
            &b"data: 1234567\n\n"[..],
            b"data: 1234567",
            b"id: 123\ndata: 1234\ndata: 1\n\n",
            b":123456789abc",
        ] {
            let mut decoder = Decoder::new(12);
            decoder.push(input);
            assert_eq!(decoder.next(), Err(SseError::TooLarge { limit: 12 }), "{input:?}");
            decoder.push(b"\n\ndata: 1\n\n");
            assert_eq!(decoder.next(), Err(SseError::TooLarge { limit: 12 }));
        }
        let mut decoder = Decoder::new(12);
        decoder.push(b"\xEF\xBB\xBFdata: 123456\n\n:12\n:12\n:12\n:12\n:12\ndata: 123456\n\n");
        assert_eq!(decoder.next().unwrap().unwrap().data, "123456", "the byte order mark does not count");
        assert_eq!(decoder.next().unwrap().unwrap().data, "123456", "comments do not add up");
    }

    #[test]
    fn what_is_held_stays_below_the_limit_whatever_comes() {
        let streams: [&[u8]; 4] =
            [b"data: 12345678\n", b"x", b"id: 1234567890\n:\n", b"data: 1\nevent: ab\n"];
        for piece in streams {
            let mut decoder = Decoder::new(64);
            for _ in 0..1000 {
                decoder.push(piece);
                while let Ok(Some(_)) = decoder.next() {}
                let held = decoder.chunk.len() + decoder.line.capacity() + decoder.event.held();
                assert!(held <= 2 * 64 + 8, "{held} bytes of {piece:?}");
            }
        }
        let mut decoder = Decoder::new(1 << 16);
        decoder.push(&[&b"data: "[..], &[b'x'; 5000], b"\n\n"].concat());
        assert!(decoder.next().unwrap().is_some());
        assert_eq!((decoder.next(), decoder.chunk.len(), decoder.line.capacity()), (Ok(None), 0, 0));
    }

    #[test]
    fn input_cannot_pile_up_unread() {
        let mut decoder = Decoder::new(8);
        decoder.push(b"data: 1\n\n");
        decoder.push(b"data: 2\n\n");
        decoder.push(b"data: 3\n\n");
        assert_eq!(decoder.next(), Err(SseError::Backlog { limit: 8 }));
    }

    #[test]
    fn the_end_of_the_stream_drops_an_open_event() {
        let mut decoder = Decoder::new(100);
        decoder.push(b"data: a\n\ndata: b\n");
        assert_eq!(decoder.next().unwrap().unwrap().data, "a");
        assert_eq!(decoder.next(), Ok(None));
        assert!(decoder.finish());
        decoder.push(b"\n");
        assert_eq!(decoder.next(), Ok(None));
        assert!(!decoder.finish());
    }
}
