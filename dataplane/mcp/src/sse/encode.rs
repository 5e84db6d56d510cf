//! Writing server-sent events.
//! Changes when what MCP peers accept in an event stream changes.

use bytes::{BufMut, BytesMut};
use memchr::memchr2;

const LINE_ENDS: [char; 2] = ['\r', '\n'];

/// Appends one event to `out`.
///
/// Data that contains line ends (white space between JSON tokens) becomes several `data` lines; the reader sees each
/// line end as a line feed. CR and LF in `id` and `name`, and NUL in `id`, cannot be written and are left out. The `data`
/// line is always written, except for an event that only announces a retry time.
pub fn encode(out: &mut BytesMut, id: Option<&str>, name: Option<&str>, retry_ms: Option<u64>, data: &[u8]) {
    out.reserve(data.len() + id.map_or(0, str::len) + name.map_or(0, str::len) + 64);
    if let Some(name) = name {
        put_field(out, b"event: ", name, &LINE_ENDS);
    }
    if let Some(id) = id {
        put_field(out, b"id: ", id, &['\r', '\n', '\0']);
    }
    if let Some(retry_ms) = retry_ms {
        put_field(out, b"retry: ", &retry_ms.to_string(), &LINE_ENDS);
    }
    if !data.is_empty() || id.is_some() || retry_ms.is_none() {
        put_data(out, data);
    }
    out.put_u8(b'\n');
}

/// Appends a comment, which readers ignore: a keep-alive. Line ends in `text` are left out.
pub fn encode_comment(out: &mut BytesMut, text: &str) {
    put_field(out, b": ", text, &LINE_ENDS);
    out.put_u8(b'\n');
}

fn put_field(out: &mut BytesMut, field: &[u8], value: &str, without: &[char]) {
    out.put_slice(field);
    for part in value.split(without) {
        out.put_slice(part.as_bytes());
    }
    out.put_u8(b'\n');
}

fn put_data(out: &mut BytesMut, data: &[u8]) {
    let mut rest = data;
    loop {
        out.put_slice(b"data: ");
        let Some(at) = memchr2(b'\r', b'\n', rest) else {
            out.put_slice(rest);
            out.put_u8(b'\n');
            return;
        };
        let (line, tail) = rest.split_at(at);
        out.put_slice(line);
        out.put_u8(b'\n');
        rest = tail.strip_prefix(b"\r\n").unwrap_or_else(|| tail.get(1..).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_events_have_the_usual_form() {
        let mut out = BytesMut::new();
        encode(&mut out, None, Some("message"), None, b"{\"a\":\r\n1,\n\"b\":2}");
        encode(&mut out, Some("s-1"), None, None, b"");
        encode(&mut out, None, None, Some(500), b"");
        encode(&mut out, Some("a\nb\0"), Some("n\0\r"), Some(1), b"x");
        encode_comment(&mut out, "keep\nalive");
        let expected = "event: message\ndata: {\"a\":\ndata: 1,\ndata: \"b\":2}\n\nid: s-1\ndata: \n\nretry: 500\n\n\
                        event: n\0\nid: ab\nretry: 1\ndata: x\n\n: keepalive\n\n";
        assert_eq!(out, expected.as_bytes());
    }
}
