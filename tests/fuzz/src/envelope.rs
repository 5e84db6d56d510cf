//! Messages: the skim agrees with a full JSON parser about the grammar, and edits give messages again.

use bridge_mcp::frame::{Body, Frame};
use bridge_mcp::limits::Limits;
use bridge_mcp::scan::{ScanError, Scanner};
use bridge_mcp::splice::Edits;
use bridge_mcp::subscription::tag;
use bytes::Bytes;
use serde::de::IgnoredAny;

const MAX_BYTES: usize = 1 << 16;
const MAX_DEPTH: usize = 64;

/// Reads `data` as one message and as a batch.
pub fn fuzz_envelope(data: &[u8]) {
    agrees_with_serde(data);
    let limits = Limits::client(MAX_BYTES, MAX_DEPTH);
    let bytes = Bytes::copy_from_slice(data);
    match Body::parse(bytes.clone(), &limits) {
        Ok(Body::Single(frame)) => single(&frame, &limits),
        Ok(Body::Batch(elements)) => {
            for frame in elements.iter().flatten() {
                single(frame, &limits);
            }
        }
        Err(error) => {
            let answer = error.response();
            assert!(serde_json::from_slice::<IgnoredAny>(&answer).is_ok(), "{answer:?}");
        }
    }
    let _ = Frame::parse(bytes, &Limits::backend(MAX_BYTES, MAX_DEPTH));
}

fn single(frame: &Frame, limits: &Limits) {
    assert_eq!(frame.edited(Edits::new()), frame.bytes(), "no edit, no change");
    let _ = (
        frame.id(),
        frame.method_name(),
        frame.target(),
        frame.progress_token().map(|span| frame.slice(span)),
    );
    if frame.is_response() {
        return;
    }
    // One more level than before may be needed for the tag.
    let limits = Limits { max_bytes: 2 * MAX_BYTES, max_depth: MAX_DEPTH + 2, ..limits.clone() };
    let tagged = Frame::parse(tag(frame, b"\"l-1\""), &limits).expect("a tagged message is a message");
    assert_eq!(tagged.method_name(), frame.method_name());
    assert_eq!(tagged.raw_id(), frame.raw_id());
    let meta = tagged.envelope().params.as_ref().and_then(|params| params.meta.subscription_id);
    assert_eq!(tagged.raw(meta), Some(&b"\"l-1\""[..]));
    assert_eq!(tag(&tagged, b"\"l-1\""), tagged.bytes(), "tagging twice changes nothing");
}

/// Everything that JSON's grammar allows is skimmed, and nothing else.
fn agrees_with_serde(data: &[u8]) {
    let limits = Limits { max_bytes: usize::MAX, max_depth: 100, unique_keys: false };
    let ours = Scanner::new(data, &limits).and_then(|mut scanner| {
        scanner.value()?;
        scanner.end()
    });
    if matches!(ours, Err(ScanError::Depth { .. })) {
        return;
    }
    let theirs = std::str::from_utf8(data).is_ok() && serde_json::from_slice::<IgnoredAny>(data).is_ok();
    assert_eq!(ours.is_ok(), theirs, "{ours:?}");
}
