//! The sample frames of the original's codecs, byte for byte in both directions, and what is refused.

use super::*;

/// Dialect, kind, the whole frame in hexadecimal, payload.
const SAMPLES: &[(Dialect, FrameKind, &str, &str)] = &[
    // negotiate
    (
        Dialect::G,
        FrameKind::VersionNegotiation,
        "4d43504200010006000000507b226d696e5f76657273696f6e223a312c226d61785f76657273696f6e223a312c227072656665727265645f76657273696f6e223a312c22737570706f727465645f76657273696f6e73223a5b315d7d",
        r#"{"min_version":1,"max_version":1,"preferred_version":1,"supported_versions":[1]}"#,
    ),
    // ack
    (
        Dialect::G,
        FrameKind::VersionAck,
        "4d43504200010007000000147b226167726565645f76657273696f6e223a317d",
        r#"{"agreed_version":1}"#,
    ),
    // health, empty
    (Dialect::G, FrameKind::HealthCheck, "4d4350420001000400000000", ""),
    // health simple
    (
        Dialect::G,
        FrameKind::HealthCheck,
        "4d43504200010004000000127b22636865636b223a2273696d706c65227d",
        r#"{"check":"simple"}"#,
    ),
    // health reply
    (
        Dialect::G,
        FrameKind::HealthCheck,
        "4d43504200010004000000107b226865616c746879223a747275657d",
        r#"{"healthy":true}"#,
    ),
    // error
    (
        Dialect::G,
        FrameKind::Error,
        "4d435042000100050000001c56657273696f6e206e65676f74696174696f6e207265717569726564",
        "Version negotiation required",
    ),
    // shutdown ctl
    (
        Dialect::G,
        FrameKind::Control,
        "4d43504200010003000000367b22636f6d6d616e64223a2273687574646f776e222c22726561736f6e223a22736572766572207368757474696e6720646f776e227d",
        r#"{"command":"shutdown","reason":"server shutting down"}"#,
    ),
    // initialize
    (
        Dialect::G,
        FrameKind::Request,
        "4d435042000100010000004c7b226a736f6e727063223a22322e30222c226d6574686f64223a22696e697469616c697a65222c22706172616d73223a7b22746f6b656e223a2254227d2c226964223a22696e69742d31227d",
        r#"{"jsonrpc":"2.0","method":"initialize","params":{"token":"T"},"id":"init-1"}"#,
    ),
    // request
    (
        Dialect::G,
        FrameKind::Request,
        "4d435042000100010000004b7b226a736f6e727063223a22322e30222c226d6574686f64223a22746f6f6c732f6c697374222c22706172616d73223a7b226e616d657370616365223a226b3873227d2c226964223a317d",
        r#"{"jsonrpc":"2.0","method":"tools/list","params":{"namespace":"k8s"},"id":1}"#,
    ),
    // auth-wrapped
    (
        Dialect::G,
        FrameKind::Request,
        "4d43504200010001000000457b22617574685f746f6b656e223a2254222c226d657373616765223a7b226a736f6e727063223a22322e30222c226d6574686f64223a2270696e67222c226964223a327d7d",
        r#"{"auth_token":"T","message":{"jsonrpc":"2.0","method":"ping","id":2}}"#,
    ),
    // error resp
    (
        Dialect::G,
        FrameKind::Response,
        "4d43504200010002000000507b226a736f6e727063223a22322e30222c226572726f72223a7b22636f6465223a2d33323630332c226d657373616765223a2252617465206c696d6974206578636565646564227d2c226964223a317d",
        r#"{"jsonrpc":"2.0","error":{"code":-32603,"message":"Rate limit exceeded"},"id":1}"#,
    ),
    // negotiate
    (
        Dialect::R,
        FrameKind::VersionNegotiation,
        "4d4350000001000600000000000000507b226d61785f76657273696f6e223a312c226d696e5f76657273696f6e223a312c227072656665727265645f76657273696f6e223a312c22737570706f727465645f76657273696f6e73223a5b315d7d",
        r#"{"max_version":1,"min_version":1,"preferred_version":1,"supported_versions":[1]}"#,
    ),
    // ack
    (
        Dialect::R,
        FrameKind::VersionAck,
        "4d4350000001000700000000000000147b226167726565645f76657273696f6e223a317d",
        r#"{"agreed_version":1}"#,
    ),
    // ping
    (Dialect::R, FrameKind::HealthCheck, "4d4350000001000400000000000000027b7d", "{}"),
    // request
    (
        Dialect::R,
        FrameKind::Request,
        "4d4350000001000100000000000000ad7b226964223a312c2274696d657374616d70223a22323032352d30312d30315430303a30303a30305a222c22736f75726365223a226c6f63616c2d726f75746572222c227461726765745f6e616d657370616365223a2273797374656d222c22617574685f746f6b656e223a2254222c226d63705f7061796c6f6164223a7b226a736f6e727063223a22322e30222c226d6574686f64223a22746f6f6c732f6c697374222c226964223a317d7d",
        r#"{"id":1,"timestamp":"2025-01-01T00:00:00Z","source":"local-router","target_namespace":"system","auth_token":"T","mcp_payload":{"jsonrpc":"2.0","method":"tools/list","id":1}}"#,
    ),
    // response
    (
        Dialect::R,
        FrameKind::Response,
        "4d43500000010002000000000000003d7b226d63705f7061796c6f6164223a7b226a736f6e727063223a22322e30222c22726573756c74223a7b226f6b223a747275657d2c226964223a317d7d",
        r#"{"mcp_payload":{"jsonrpc":"2.0","result":{"ok":true},"id":1}}"#,
    ),
];

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn header(dialect: Dialect, version: u16, number: u16, length: u32) -> Vec<u8> {
    let mut out = Vec::from(*dialect.magic());
    out.put_u16(version);
    out.put_u16(number);
    if dialect == Dialect::R {
        out.put_u32(0xffff_ffff);
    }
    out.put_u32(length);
    out
}

fn refused(input: &[u8]) -> BinaryError {
    let mut decoder = Decoder::new(100);
    decoder.push(input);
    let error = decoder.next().unwrap_err();
    decoder.push(&header(Dialect::G, 1, 4, 0));
    assert_eq!(decoder.next(), Err(error), "nothing is read behind an error");
    error
}

#[test]
fn sample_frames_are_read() {
    for (dialect, kind, hex, payload) in SAMPLES {
        let mut decoder = Decoder::new(MAX_PAYLOAD);
        decoder.push(&bytes(hex));
        let frame = BinaryFrame::new(*kind, payload.as_bytes());
        assert_eq!(decoder.next(), Ok(Some(frame)), "{hex}");
        assert_eq!((decoder.next(), decoder.dialect()), (Ok(None), Some(*dialect)));
        assert!(!decoder.is_mid_frame());
    }
}

#[test]
fn sample_frames_are_written() {
    for (dialect, kind, hex, payload) in SAMPLES {
        let mut out = BytesMut::new();
        encode(&mut out, *dialect, &BinaryFrame::new(*kind, payload.as_bytes())).unwrap();
        assert_eq!(out, bytes(hex), "{hex}");
    }
}

#[test]
fn a_connection_keeps_its_dialect() {
    for (first, second) in [(Dialect::G, Dialect::R), (Dialect::R, Dialect::G)] {
        let mut decoder = Decoder::new(100);
        decoder.push(&header(first, 1, 4, 0));
        decoder.push(&header(second, 1, 4, 0));
        assert!(decoder.next().unwrap().is_some());
        assert!(matches!(decoder.next(), Err(BinaryError::Magic(_))));
    }
}

#[test]
fn what_is_not_the_protocol_is_refused_at_its_first_byte_that_shows_it() {
    assert_eq!(refused(b"GET "), BinaryError::Magic(0x4745_5420));
    assert_eq!(refused(b"\x16\x03\x01\x02\x00"), BinaryError::Magic(0x1603_0102));
    assert_eq!(refused(&header(Dialect::G, 2, 4, 0)), BinaryError::Version(2));
    assert_eq!(refused(&header(Dialect::G, 1, 8, 0)), BinaryError::Kind(8));
    assert_eq!(refused(&header(Dialect::R, 1, 0, 0)), BinaryError::Kind(0));
    assert_eq!(refused(&header(Dialect::G, 1, 1, 101)), BinaryError::TooLarge { length: 101, max: 100 });
    let all = u32::MAX;
    assert_eq!(
        refused(&header(Dialect::R, 1, 1, all)),
        BinaryError::TooLarge { length: all as usize, max: 100 }
    );
}

#[test]
fn dialect_r_does_not_look_at_the_version() {
    let mut decoder = Decoder::new(100);
    decoder.push(&header(Dialect::R, 7, 4, 0));
    assert!(decoder.next().unwrap().is_some());
}

#[test]
fn a_payload_may_be_as_long_as_the_limit() {
    let mut decoder = Decoder::new(100);
    decoder.push(&header(Dialect::G, 1, 1, 100));
    decoder.push(&[b'x'; 99]);
    assert_eq!(decoder.next(), Ok(None));
    assert!(decoder.is_mid_frame());
    decoder.push(b"x");
    assert_eq!(decoder.next().unwrap().unwrap().payload.len(), 100);
}

#[test]
fn a_header_alone_takes_no_room() {
    let mut decoder = Decoder::new(MAX_PAYLOAD);
    decoder.push(&header(Dialect::G, 1, 1, u32::try_from(MAX_PAYLOAD).unwrap()));
    assert_eq!(decoder.next(), Ok(None));
    assert!(decoder.input.capacity() < 1024);
}

#[test]
fn what_a_peer_could_not_accept_is_not_written() {
    let mut out = BytesMut::new();
    let frame = BinaryFrame::new(FrameKind::Response, vec![b'x'; MAX_PAYLOAD + 1]);
    assert!(matches!(encode(&mut out, Dialect::G, &frame), Err(BinaryError::TooLarge { .. })));
    assert!(out.is_empty());
}
