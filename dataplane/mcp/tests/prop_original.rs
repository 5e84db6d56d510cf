//! The original's formats on TCP: chunking never changes the frames, written frames read back, and a connection gives every
//! request exactly one answer or ends, whatever comes in whatever order.

use std::time::Duration;

use bridge_mcp::id::Id;
use bridge_mcp::limits::Limits;
use bridge_mcp::original::binary::{
    BinaryError, BinaryFrame, Decoder, Dialect, FrameKind, MAX_PAYLOAD, encode,
};
use bridge_mcp::original::connection::{Accepted, Connection, Denied, Effect, Outcome, Settings};
use bridge_mcp::original::envelope::{self, Form};
use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

fn decode(limit: usize, chunks: &[&[u8]]) -> (Vec<BinaryFrame>, Option<BinaryError>) {
    let mut decoder = Decoder::new(limit);
    let mut frames = Vec::new();
    for chunk in chunks {
        decoder.push(chunk);
        loop {
            match decoder.next() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    (frames, None)
}

fn dialect() -> impl Strategy<Value = Dialect> {
    prop::sample::select(vec![Dialect::G, Dialect::R])
}

fn frame() -> impl Strategy<Value = BinaryFrame> {
    let payload = prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..40),
        1 => prop::collection::vec(any::<u8>(), 1000..3000),
    ];
    (prop::sample::select(FrameKind::ALL), payload)
        .prop_map(|(kind, payload)| BinaryFrame::new(kind, payload))
}

fn wire(dialect: Dialect, frames: &[BinaryFrame]) -> BytesMut {
    let mut out = BytesMut::new();
    for frame in frames {
        assert!(encode(&mut out, dialect, frame).is_ok());
    }
    out
}

proptest! {
    #[test]
    fn written_frames_read_back_in_any_chunks(
        dialect in dialect(),
        frames in prop::collection::vec(frame(), 1..6),
        broken in prop::option::of((any::<usize>(), any::<u8>())),
        limit in prop_oneof![Just(MAX_PAYLOAD), 0usize..40],
        places in prop::collection::vec(any::<usize>(), 0..20),
    ) {
        let mut input = wire(dialect, &frames);
        if let Some((at, byte)) = broken {
            let at = at % input.len();
            input[at] = byte;
        }
        let mut places: Vec<usize> = places.iter().map(|place| place % input.len()).collect();
        places.extend([0, input.len()]);
        places.sort_unstable();
        let chunks: Vec<&[u8]> = places.windows(2).map(|pair| &input[pair[0]..pair[1]]).collect();
        let whole = decode(limit, &[&input]);
        if broken.is_none() && limit == MAX_PAYLOAD {
            prop_assert_eq!(&whole, &(frames, None));
        }
        prop_assert!(whole.0.iter().all(|frame| frame.payload.len() <= limit));
        prop_assert_eq!(&decode(limit, &chunks), &whole);
        let single: Vec<&[u8]> = input.chunks(1).collect();
        prop_assert_eq!(&decode(limit, &single), &whole);
    }

    #[test]
    fn an_envelope_gives_back_the_message_that_was_put_in(
        id in prop_oneof![Just("1"), Just("\"a\""), Just("null"), Just("{\"x\":[1]}")],
        message in "\\{ ?(\"[a-c\"]{1,3}\" ?: ?[0-9]{1,4})?\\}",
        seconds in 0u64..10_000_000_000,
    ) {
        prop_assume!(serde_json::from_str::<serde_json::Value>(&message).is_ok());
        let wrapped = envelope::wrap(Some(id.as_bytes()), message.as_bytes(), seconds);
        prop_assert!(serde_json::from_slice::<serde_json::Value>(&wrapped).is_ok());
        match envelope::read(&wrapped, &Limits::client(1 << 16, 16)).unwrap() {
            Form::Wrapped(read) => {
                prop_assert_eq!(read.payload, Bytes::from(message));
                prop_assert_eq!(read.id, Some(Bytes::from(id)));
            }
            Form::Bare(_) => prop_assert!(false, "not taken for an envelope"),
        }
    }
}

/// What happens to a connection.
#[derive(Debug, Clone)]
enum Happening {
    Frame(BinaryFrame),
    /// The outcome of an authentication, asked for or not.
    Judged(bool),
    /// The end of the n-th request in flight, or of one that there never was.
    Finished(usize, bool),
    Idle,
    Expired,
    ShutDown,
}

fn happening() -> impl Strategy<Value = Happening> {
    let id = prop_oneof![Just("1"), Just("\"b\""), Just("null"), Just("\"\""), Just("1.5")];
    let message =
        (id, prop::sample::select(vec!["ping", "tools/list", "initialize", "a..b"]), any::<[bool; 4]>());
    let message = message.prop_map(|(id, method, [request, token, wrapped, real])| {
        let id = if request { format!(",\"id\":{id}") } else { String::new() };
        let token = if token { "\"token\":\"T\"" } else { "\"namespace\":\"a\"" };
        let version = if real { ",\"protocolVersion\":\"2025-06-18\"" } else { "" };
        let text = format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{{{token}{version}}}{id}}}"#);
        if wrapped {
            format!(r#"{{"auth_token":"T","message":{text},"id":5,"mcp_payload":{text}}}"#)
        } else {
            text
        }
    });
    let kinds = prop::sample::select(FrameKind::ALL);
    prop_oneof![
        8 => message.prop_map(|text| Happening::Frame(BinaryFrame::new(FrameKind::Request, text))),
        2 => (kinds, prop::sample::select(vec!["", "{}", r#"{"max_version":1}"#, r#"{"message":"text"}"#, "[]"]))
            .prop_map(|(kind, payload)| Happening::Frame(BinaryFrame::new(kind, payload))),
        1 => frame().prop_map(Happening::Frame),
        8 => any::<bool>().prop_map(Happening::Judged),
        6 => (any::<usize>(), any::<bool>()).prop_map(|(at, fails)| Happening::Finished(at, fails)),
        1 => Just(Happening::Idle),
        1 => Just(Happening::Expired),
        1 => Just(Happening::ShutDown),
    ]
}

/// What the world around a connection knows of it.
#[derive(Default)]
struct World {
    /// Requests in flight by their ids.
    open: Vec<Id>,
    asked: bool,
    closed: bool,
    sent: Vec<BinaryFrame>,
}

impl World {
    fn apply(&mut self, effects: Vec<Effect<u8>>) {
        for effect in effects {
            assert!(!self.closed, "nothing happens after the end: {effect:?}");
            match effect {
                Effect::Send(frame) => self.sent.push(frame),
                Effect::Authenticate(_) => {
                    assert!(!self.asked, "one authentication at a time");
                    self.asked = true;
                }
                Effect::Serve(served) => {
                    self.open.extend(served.frame.id().filter(|_| !served.frame.is_response()));
                }
                Effect::Close(_) => self.closed = true,
            }
        }
    }
}

proptest! {
    #[test]
    fn every_request_gets_one_answer_or_the_connection_ends(
        dialect in dialect(),
        negotiated in prop::bool::weighted(0.9),
        happenings in prop::collection::vec(happening(), 0..60),
    ) {
        let settings = Settings {
            limits: Limits::client(1 << 16, 16),
            max_in_flight: 4,
            per_message_auth: true,
            session_id: "0".repeat(32),
        };
        let mut connection = Connection::new(dialect, settings);
        let mut world = World::default();
        if negotiated {
            let offer = BinaryFrame::new(FrameKind::VersionNegotiation, r#"{"max_version":1,"min_version":1}"#);
            world.apply(connection.receive(&offer));
        }
        for happening in happenings {
            let (sent, closed) = (world.sent.len(), world.closed);
            let open = world.open.len();
            match happening {
                Happening::Frame(frame) if connection.wants_input() => {
                    let is_request = frame.kind == FrameKind::Request
                        && serde_json::from_slice::<serde_json::Value>(&frame.payload)
                            .is_ok_and(|json| json.to_string().contains(r#""id":1,"#));
                    world.apply(connection.receive(&frame));
                    // Whatever becomes of it: an answer, a call, a wait for authentication, or the end.
                    let answered = world.sent.len() > sent || world.open.len() > open || world.asked;
                    prop_assert!(!is_request || answered || world.closed);
                }
                Happening::Frame(_) => {}
                Happening::Judged(yes) => {
                    let asked = std::mem::take(&mut world.asked);
                    let accepted = Accepted { principal: 1, expires_at: Duration::from_secs(1) };
                    let effects = connection.authenticated(if yes { Ok(accepted) } else { Err(Denied) });
                    prop_assert!(asked || effects.is_empty() || closed);
                    world.apply(effects);
                }
                Happening::Finished(at, fails) => {
                    if open == 0 {
                        prop_assert!(connection.finished(&Id::Int(7), Outcome::Failure("x".into(), None)).is_empty());
                        continue;
                    }
                    let id = world.open.remove(at % open);
                    let spelled = match &id {
                        Id::Text(text) => format!("\"{text}\""),
                        Id::Int(number) => number.to_string(),
                        Id::Number(number) => number.to_string(),
                    };
                    let outcome = if fails {
                        Outcome::Failure("Rate limit exceeded".into(), None)
                    } else {
                        Outcome::Answer(format!(r#"{{"jsonrpc":"2.0","result":{{}},"id":{spelled}}}"#).into())
                    };
                    let others = world.open.contains(&id);
                    world.apply(connection.finished(&id, outcome.clone()));
                    if !closed {
                        let answers: Vec<_> =
                            world.sent[sent..].iter().filter(|frame| frame.kind == FrameKind::Response).collect();
                        prop_assert_eq!(answers.len(), 1);
                        let text = String::from_utf8(answers[0].payload.to_vec()).unwrap();
                        prop_assert!(text.contains(&format!("\"id\":{spelled}}}")), "{}", text);
                    }
                    prop_assert!(others || connection.finished(&id, outcome).is_empty(), "one answer only");
                }
                Happening::Idle => world.apply(connection.idle()),
                Happening::Expired => connection.expire(Duration::from_secs(9)),
                Happening::ShutDown => world.apply(connection.shut_down()),
            }
            if dialect == Dialect::R {
                let understood = [FrameKind::Response, FrameKind::VersionAck];
                prop_assert!(world.sent.iter().all(|frame| understood.contains(&frame.kind)));
            }
            if world.closed {
                world.open.clear();
            }
            prop_assert_eq!(connection.in_flight(), world.open.len());
        }
    }
}
