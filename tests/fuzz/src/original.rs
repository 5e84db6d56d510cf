//! The original's formats: a byte stream drives a whole TCP connection, in chunks that do not matter; envelopes keep the
//! message inside.

use bridge_mcp::envelope::Kind;
use bridge_mcp::limits::Limits;
use bridge_mcp::original::binary::{BinaryError, BinaryFrame, Decoder, Dialect, FrameKind, encode};
use bridge_mcp::original::client::Client;
use bridge_mcp::original::connection::{Accepted, Connection, Denied, Effect, Outcome, Settings};
use bridge_mcp::original::envelope::{self, Form};
use bridge_mcp::original::input::Token;
use bridge_mcp::original::route::{Destination, decide};
use bytes::{Bytes, BytesMut};
use serde::de::IgnoredAny;
use std::time::Duration;

const LIMIT: usize = 4096;

fn limits() -> Limits {
    Limits::client(LIMIT, 32)
}

fn frames(chunk: usize, stream: &[u8]) -> (Option<Dialect>, Vec<BinaryFrame>, Option<BinaryError>) {
    let mut decoder = Decoder::new(LIMIT);
    let mut frames = Vec::new();
    for chunk in stream.chunks(chunk) {
        decoder.push(chunk);
        loop {
            match decoder.next() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (decoder.dialect(), frames, Some(error)),
            }
        }
    }
    (decoder.dialect(), frames, None)
}

/// A connection that sends `data`: the first byte chooses the chunks, and who is accepted.
pub fn fuzz_binary(data: &[u8]) {
    let (choice, stream) = data.split_first().unwrap_or((&0, &[]));
    let chunk = usize::from(choice % 16) + 1;
    let (dialect, frames_read, error) = frames(stream.len().max(1), stream);
    assert_eq!(frames(chunk, stream), (dialect, frames_read.clone(), error), "chunks of {chunk}");
    let Some(dialect) = dialect else { return };
    let mut wire = BytesMut::new();
    for frame in &frames_read {
        encode(&mut wire, dialect, frame).expect("what was read can be written");
    }
    assert_eq!(frames(chunk, &wire).1, frames_read, "written frames read back");
    serve(dialect, *choice, &frames_read);
    call(&frames_read);
}

/// The frames at a gateway that answers at once.
fn serve(dialect: Dialect, choice: u8, frames: &[BinaryFrame]) {
    let settings = Settings {
        limits: limits(),
        max_in_flight: 2,
        per_message_auth: choice & 16 != 0,
        session_id: "0".repeat(32),
    };
    let mut connection = Connection::new(dialect, settings);
    for (position, frame) in frames.iter().enumerate() {
        let mut effects = if position == 7 { connection.shut_down() } else { connection.receive(frame) };
        let mut rounds = 0;
        while !effects.is_empty() {
            rounds += 1;
            assert!(rounds < 10, "one frame has an end");
            let mut more = Vec::new();
            for effect in effects {
                match effect {
                    Effect::Send(sent) => understood(dialect, &sent),
                    Effect::Authenticate(token) => {
                        let known = token.as_ref().is_none_or(|token| token.expose().len() < 8);
                        let principal = token.as_ref().map_or(0, |token| token.expose().len());
                        let expires_at = Duration::from_secs(1);
                        let outcome =
                            if known { Ok(Accepted { principal, expires_at }) } else { Err(Denied) };
                        more.extend(connection.authenticated(outcome));
                    }
                    Effect::Serve(served) => {
                        let destination =
                            decide(served.named.as_ref(), &served.frame, |name| name == "system");
                        if let (Some(named), Destination::Merged) = (&served.named, &destination) {
                            assert_eq!(named.as_str(), "default", "who names a namespace gets no other");
                        }
                        if let (Kind::Request, Some(id)) = (served.frame.kind(), served.frame.id()) {
                            let raw = served.frame.raw_id().expect("a request has an id");
                            let answer = bridge_mcp::original::reply::result(raw, b"{}");
                            more.extend(connection.finished(&id, Outcome::Answer(answer)));
                        }
                    }
                    Effect::Close(_) => assert!(!connection.wants_input()),
                }
            }
            effects = more;
        }
        assert_eq!(connection.in_flight(), 0, "all is answered");
    }
}

/// What is sent can be read by a peer of the original.
fn understood(dialect: Dialect, sent: &BinaryFrame) {
    let is_json = serde_json::from_slice::<IgnoredAny>(&sent.payload).is_ok();
    match (dialect, sent.kind) {
        (_, FrameKind::Response | FrameKind::VersionAck) | (Dialect::G, FrameKind::Control) => {
            assert!(is_json, "{sent:?}");
        }
        (Dialect::G, FrameKind::Error) => assert!(std::str::from_utf8(&sent.payload).is_ok()),
        (Dialect::G, FrameKind::HealthCheck) => {}
        _ => panic!("a client of this dialect does not understand {sent:?}"),
    }
}

/// The frames at a gateway that called.
fn call(frames: &[BinaryFrame]) {
    for token in [None, Token::parse("T").expect("a short token")] {
        let (mut client, _) = Client::connect(token, limits());
        for frame in frames {
            let was_open = client.is_open();
            let effect = client.receive(frame.clone());
            if let Some(bridge_mcp::original::client::Effect::Deliver(message)) = effect {
                assert!(was_open && message == frame.payload);
            }
        }
    }
}

/// Reads `data` as an envelope and as an auth wrapper.
pub fn fuzz_wrapper(data: &[u8]) {
    let text = Bytes::copy_from_slice(data);
    for read in [envelope::read, envelope::read_auth_wrapper] {
        match read(&text, &limits()) {
            Ok(Form::Bare(message)) => assert_eq!(message, text),
            Ok(Form::Wrapped(envelope)) => {
                let wrapped = envelope::wrap(envelope.id.as_deref(), &envelope.payload, 1);
                let Ok(Form::Wrapped(again)) = envelope::read(&wrapped, &Limits::client(2 * LIMIT, 64))
                else {
                    panic!("what was wrapped is not read: {wrapped:?}");
                };
                assert_eq!((again.id.unwrap_or("null".into()), again.payload), {
                    (envelope.id.unwrap_or("null".into()), envelope.payload)
                });
            }
            Err(error) => {
                let answer = error.response(1);
                assert!(serde_json::from_slice::<IgnoredAny>(&answer).is_ok(), "{answer:?}");
            }
        }
    }
}
