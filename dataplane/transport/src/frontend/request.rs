//! Reading a client's HTTP request within bounds. Changes when the rules for media types or bodies change.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

/// Which forms of answer the client takes (RFC 9110 section 12.5.1; no `Accept` means any).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepts {
    /// `application/json`.
    pub json: bool,
    /// `text/event-stream`.
    pub events: bool,
}

/// Reads the `Accept` headers.
pub fn accepts(headers: &HeaderMap) -> Accepts {
    let mut found = Accepts { json: false, events: false };
    let mut present = false;
    for value in headers.get_all(ACCEPT) {
        present = true;
        for range in value.as_bytes().split(|byte| *byte == b',') {
            let mut parts = range.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
            let kind = parts.next().unwrap_or_default();
            if parts.any(is_zero_quality) {
                continue;
            }
            let is = |name: &str| kind.eq_ignore_ascii_case(name.as_bytes());
            found.json |= is("application/json") || is("application/*") || is("*/*");
            found.events |= is("text/event-stream") || is("text/*") || is("*/*");
        }
    }
    if present { found } else { Accepts { json: true, events: true } }
}

fn is_zero_quality(parameter: &[u8]) -> bool {
    let value = parameter.strip_prefix(b"q=").or_else(|| parameter.strip_prefix(b"Q="));
    value.is_some_and(|value| value.starts_with(b"0") && value.iter().all(|byte| matches!(byte, b'0' | b'.')))
}

/// Whether the body claims to be JSON. Parameters such as `charset` do not matter; JSON is UTF-8 (RFC 8259).
pub fn is_json(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| {
        let kind = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
        kind.trim_ascii().eq_ignore_ascii_case(b"application/json")
    })
}

/// A header as text; an empty string when it is present but no text or repeated with different values.
pub fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    if values.any(|other| other != first) {
        return Some("");
    }
    Some(std::str::from_utf8(first.as_bytes()).unwrap_or_default())
}

/// Why a body could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Larger than allowed.
    #[error("the body exceeds {0} bytes")]
    TooLarge(usize),
    /// Not complete in time.
    #[error("the body did not arrive within {0:?}")]
    TooSlow(Duration),
    /// The connection ended first.
    #[error("the body broke off")]
    Aborted,
}

/// How long the rest of a body that is too large is read on.
const DISCARD: Duration = Duration::from_secs(1);

/// Reads a whole body of at most `max` bytes within `timeout`.
pub async fn read_body(mut body: Incoming, max: usize, timeout: Duration) -> Result<Bytes, ReadError> {
    let read = if body.size_hint().lower() > max as u64 {
        Err(ReadError::TooLarge(max))
    } else {
        let whole = tokio::time::timeout(timeout, collect_from(&mut body, max)).await;
        whole.unwrap_or(Err(ReadError::TooSlow(timeout)))
    };
    if matches!(read, Err(ReadError::TooLarge(_))) {
        drop(tokio::time::timeout(DISCARD, discard(&mut body, max.saturating_mul(4))).await);
    }
    read
}

/// Reads up to `max` bytes and forgets them: a sender that is cut off in the middle cannot read why.
async fn discard(body: &mut Incoming, max: usize) {
    let mut left = max;
    while let Some(Ok(frame)) = body.frame().await {
        let size = frame.data_ref().map_or(0, Bytes::len);
        if size >= left {
            return;
        }
        left -= size;
    }
}

/// Reads a whole body of at most `max` bytes. A body that came in one piece is not copied.
pub async fn collect(mut body: Incoming, max: usize) -> Result<Bytes, ReadError> {
    collect_from(&mut body, max).await
}

async fn collect_from(body: &mut Incoming, max: usize) -> Result<Bytes, ReadError> {
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| ReadError::Aborted)?.into_data() else { continue };
        if first.len() + rest.len() + data.len() > max {
            return Err(ReadError::TooLarge(max));
        }
        if first.is_empty() && rest.is_empty() {
            first = data;
        } else {
            if rest.is_empty() {
                rest.reserve(first.len() + data.len());
                rest.extend_from_slice(&std::mem::take(&mut first));
            }
            rest.extend_from_slice(&data);
        }
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn accept(value: &'static str) -> (bool, bool) {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(value));
        let accepts = accepts(&headers);
        (accepts.json, accepts.events)
    }

    #[test]
    fn accept_is_read_as_a_list_of_ranges() {
        assert_eq!(accept("application/json, text/event-stream"), (true, true));
        assert_eq!(accept("*/*"), (true, true));
        assert_eq!(accept("application/json"), (true, false));
        assert_eq!(accept("TEXT/Event-Stream;q=0.9"), (false, true));
        assert_eq!(accept("application/json, text/event-stream;q=0"), (true, false));
        assert_eq!(accept("text/html"), (false, false));
        assert_eq!(accepts(&HeaderMap::new()), Accepts { json: true, events: true });
    }

    #[test]
    fn a_repeated_header_with_two_values_is_no_text() {
        let mut headers = HeaderMap::new();
        headers.append("mcp-method", HeaderValue::from_static("a"));
        headers.append("mcp-method", HeaderValue::from_static("a"));
        assert_eq!(text(&headers, "mcp-method"), Some("a"));
        headers.append("mcp-method", HeaderValue::from_static("b"));
        assert_eq!(text(&headers, "mcp-method"), Some(""));
        assert_eq!(text(&headers, "mcp-name"), None);
    }
}
