//! Handshakes, messages and their frames, signs of life.

use super::*;

fn limits() -> Limits {
    Limits::backend(1 << 16, 16)
}

fn frame(kind: FrameKind, payload: &'static str) -> BinaryFrame {
    BinaryFrame::new(kind, payload)
}

fn open() -> Client {
    let (mut client, offer) = Client::connect(None, limits());
    assert_eq!(offer, BinaryFrame::new(FrameKind::VersionNegotiation, OFFER));
    assert_eq!(client.receive(frame(FrameKind::VersionAck, r#"{"agreed_version":1}"#)), Some(Effect::Open));
    client
}

#[test]
fn messages_travel_after_the_ack() {
    let mut client = open();
    assert!(client.is_open());
    let answer = r#"{"jsonrpc":"2.0","result":{},"id":1}"#;
    for kind in [FrameKind::Response, FrameKind::Request] {
        assert_eq!(client.receive(frame(kind, answer)), Some(Effect::Deliver(answer.into())));
    }
    assert_eq!(Client::frame(answer.into()).kind, FrameKind::Response);
    let request = r#"{"jsonrpc":"2.0","id":1,"params":{},"method":"ping"}"#;
    assert_eq!(Client::frame(request.into()), frame(FrameKind::Request, request));
    let answer = r#"{"jsonrpc":"2.0","id":1,"result":{"method":"ping"}}"#;
    assert_eq!(Client::frame(answer.into()).kind, FrameKind::Response);
}

#[test]
fn a_token_is_shown_before_any_message() {
    let token = Token::parse("T").unwrap();
    let (mut client, _) = Client::connect(token.clone(), limits());
    let shown = client.receive(frame(FrameKind::VersionAck, r#"{"agreed_version":1}"#));
    let initialize = r#"{"jsonrpc":"2.0","method":"initialize","params":{"token":"T"},"id":"init-1"}"#;
    assert_eq!(shown, Some(Effect::Send(frame(FrameKind::Request, initialize))));
    assert!(!client.is_open());
    let accepted = r#"{"jsonrpc":"2.0","result":{"sessionId":"x"},"id":"init-1"}"#;
    assert_eq!(client.receive(frame(FrameKind::Response, accepted)), Some(Effect::Open));

    let (mut client, _) = Client::connect(token, limits());
    client.receive(frame(FrameKind::VersionAck, r#"{"agreed_version":1}"#));
    let refused = r#"{"jsonrpc":"2.0","error":{"code":-32603,"message":"no"},"id":"init-1"}"#;
    let closed = client.receive(frame(FrameKind::Response, refused));
    assert_eq!(closed, Some(Effect::Close(ClientError::Refused)));
    assert_eq!(client.receive(frame(FrameKind::Response, accepted)), None);
}

#[test]
fn a_server_without_agreement_is_given_up() {
    for answer in [
        frame(FrameKind::VersionAck, r#"{"agreed_version":2}"#),
        frame(FrameKind::Error, "no"),
        frame(FrameKind::Response, "{}"),
    ] {
        let (mut client, _) = Client::connect(None, limits());
        assert_eq!(client.receive(answer), Some(Effect::Close(ClientError::Negotiation)));
    }
}

#[test]
fn a_silent_server_is_asked_once_and_then_given_up() {
    let mut client = open();
    let ask = Some(Effect::Send(frame(FrameKind::HealthCheck, "")));
    assert_eq!(client.idle(), ask);
    assert_eq!(client.receive(frame(FrameKind::HealthCheck, "")), None, "never answered: it would not stop");
    assert_eq!(client.idle(), ask);
    assert_eq!(client.idle(), Some(Effect::Close(ClientError::Silent)));
    assert_eq!(client.idle(), None);
}

#[test]
fn a_server_says_that_it_leaves() {
    let mut client = open();
    let shutdown = r#"{"command":"shutdown","reason":"server shutting down"}"#;
    assert_eq!(client.receive(frame(FrameKind::Control, shutdown)), Some(Effect::Leaving));
    for other in ["{}", "no", r#"{"command":"x"}"#] {
        assert_eq!(client.receive(frame(FrameKind::Control, other)), None);
    }
    assert_eq!(client.receive(frame(FrameKind::Error, "text")), None);
}
