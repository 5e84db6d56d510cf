//! Event streams and newline framing: chunks do not matter, limits hold, what is written reads back.

use bridge_mcp::framing::{self, FramingError};
use bridge_mcp::sse::{self, Event, SseError};
use bytes::{Bytes, BytesMut};

/// The first byte chooses chunk size and limit, the rest is the stream.
fn split(data: &[u8]) -> (usize, usize, &[u8]) {
    let (choice, stream) = data.split_first().unwrap_or((&0, &[]));
    (usize::from(choice % 16) + 1, 1 << (choice / 16), stream)
}

fn events(limit: usize, chunk: usize, stream: &[u8]) -> (Vec<Event>, Option<SseError>) {
    let mut decoder = sse::Decoder::new(limit);
    let mut events = Vec::new();
    for chunk in stream.chunks(chunk) {
        decoder.push(chunk);
        loop {
            match decoder.next() {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(error) => return (events, Some(error)),
            }
        }
    }
    decoder.finish();
    (events, None)
}

/// Decodes an event stream.
pub fn fuzz_sse(data: &[u8]) {
    let (chunk, limit, stream) = split(data);
    let whole = events(limit, stream.len().max(1), stream);
    assert_eq!(events(limit, chunk, stream), whole, "chunks of {chunk}");
    let mut wire = BytesMut::new();
    for event in &whole.0 {
        assert!(event.data.len() <= limit);
        sse::encode(&mut wire, event.id.as_deref(), event.name.as_deref(), event.retry_ms, &event.data);
        sse::encode_comment(&mut wire, "keep-alive");
    }
    let (again, error) = events(usize::MAX, chunk, &wire);
    assert_eq!(error, None);
    assert_eq!(again, whole.0, "written events read back");
}

fn messages(limit: usize, chunk: usize, stream: &[u8]) -> (Vec<Result<Bytes, FramingError>>, Option<Bytes>) {
    let mut decoder = framing::Decoder::new(limit);
    let mut all = Vec::new();
    for chunk in stream.chunks(chunk) {
        decoder.push(chunk);
        while let Some(item) = decoder.next().transpose() {
            assert_ne!(item, Err(FramingError::Backlog { limit }));
            all.push(item);
        }
    }
    (all, decoder.finish())
}

/// Decodes a newline-framed stream.
pub fn fuzz_framing(data: &[u8]) {
    let (chunk, limit, stream) = split(data);
    let (all, rest) = messages(limit, stream.len().max(1), stream);
    assert_eq!(messages(limit, chunk, stream), (all.clone(), rest), "chunks of {chunk}");
    let mut wire = BytesMut::new();
    let mut expected = Vec::new();
    for message in all.into_iter().flatten() {
        assert!(message.len() <= limit && !message.contains(&b'\n'));
        framing::encode(&mut wire, &message);
        // A CR inside a message is white space between JSON tokens and becomes a space.
        expected
            .push(Ok(Bytes::from_iter(message.iter().map(|byte| if *byte == b'\r' { b' ' } else { *byte }))));
    }
    assert_eq!(messages(usize::MAX, chunk, &wire), (expected, None), "written messages read back");
}
