//! The table of events, row by row, in both dialects.

use std::time::Duration;

use super::*;
use crate::limits::Limits;
use crate::original::input::{Namespace, Token};
use crate::original::negotiation::OFFER;

const ANN: &str = "ann";

fn settings() -> Settings {
    Settings {
        limits: Limits::client(1 << 16, 16),
        max_in_flight: 3,
        per_message_auth: true,
        session_id: "00112233445566778899aabbccddeeff".into(),
    }
}

/// A connection whose effects are written as text, one per item.
struct Script(Connection<&'static str>);

impl Script {
    fn fresh(dialect: Dialect) -> Self {
        Self(Connection::new(dialect, settings()))
    }

    fn negotiated(dialect: Dialect) -> Self {
        let mut script = Self::fresh(dialect);
        assert_eq!(script.give(FrameKind::VersionNegotiation, OFFER), [r#"VersionAck {"agreed_version":1}"#]);
        script
    }

    /// After a handshake as `ann`.
    fn greeted() -> Self {
        let mut script = Self::negotiated(Dialect::G);
        script.request(r#"{"jsonrpc":"2.0","method":"initialize","params":{"token":"T"},"id":"init-1"}"#);
        script.accept(ANN);
        script
    }

    fn give(&mut self, kind: FrameKind, payload: impl AsRef<[u8]>) -> Vec<String> {
        let payload = Bytes::copy_from_slice(payload.as_ref());
        told(self.0.receive(&BinaryFrame::new(kind, payload)))
    }

    fn request(&mut self, payload: &str) -> Vec<String> {
        self.give(FrameKind::Request, payload)
    }

    fn accept(&mut self, principal: &'static str) -> Vec<String> {
        let expires_at = Duration::new(1_735_689_600, 5);
        told(self.0.authenticated(Ok(Accepted { principal, expires_at })))
    }

    fn deny(&mut self) -> Vec<String> {
        told(self.0.authenticated(Err(Denied)))
    }

    fn finish(&mut self, id: &str, answer: &str) -> Vec<String> {
        let id = Id::from_raw(id.as_bytes()).unwrap();
        told(self.0.finished(&id, Outcome::Answer(Bytes::copy_from_slice(answer.as_bytes()))))
    }
}

fn told(effects: Effects<&'static str>) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let one = |effect| match effect {
        Effect::Send(frame) => format!("{:?} {}", frame.kind, text(&frame.payload)).trim_end().to_owned(),
        Effect::Authenticate(token) => {
            format!("authenticate {}", token.as_ref().map_or("nobody", Token::expose))
        }
        Effect::Serve(served) => {
            let id = text(served.frame.raw_id().unwrap_or(b"-"));
            let named = served.named.as_ref().map_or("*", Namespace::as_str);
            // Of whom nothing was asked for this very message.
            let known = if served.is_judged { "" } else { "known " };
            format!("serve {id} {} in {named} for {known}{}", served.frame.method_name(), served.principal)
        }
        Effect::Close(reason) => format!("close: {reason}"),
    };
    effects.into_iter().map(one).collect()
}

fn error(id: &str, text: &str) -> String {
    format!(r#"Response {{"jsonrpc":"2.0","error":{{"code":-32603,"message":"{text}"}},"id":{id}}}"#)
}

const LIST: &str = r#"{"jsonrpc":"2.0","method":"tools/list","params":{"namespace":"k8s"},"id":1}"#;
const UNAUTHORIZED: &str = "Unauthorized: must initialize first";

#[test]
fn the_handshake_of_dialect_g_answers_session_and_expiry() {
    let mut script = Script::negotiated(Dialect::G);
    let asked =
        script.request(r#"{"jsonrpc":"2.0","method":"initialize","params":{"token":"T"},"id":"init-1"}"#);
    assert_eq!(asked, ["authenticate T"]);
    assert!(!script.0.wants_input(), "what comes next waits for the outcome");
    assert_eq!(
        script.accept(ANN),
        [
            r#"Response {"jsonrpc":"2.0","result":{"expiresAt":"2025-01-01T00:00:00.000000005Z","sessionId":"00112233445566778899aabbccddeeff"},"id":"init-1"}"#
        ]
    );
    assert_eq!(script.request(LIST), ["serve 1 tools/list in k8s for known ann"]);
    assert_eq!(
        script.request(r#"{"jsonrpc":"2.0","method":"initialize","params":{"token":"T"},"id":2}"#),
        ["serve 2 initialize in * for known ann"],
        "a second one is a request like any other"
    );
    script.finish("2", "{}");
    script.0.expire(Duration::new(1_735_689_600, 4));
    assert_eq!(script.request(LIST), ["serve 1 tools/list in k8s for known ann"], "not yet");
    script.finish("1", "{}");
    script.0.expire(Duration::new(1_735_689_600, 5));
    assert_eq!(script.request(LIST), ["authenticate nobody"]);
}

#[test]
fn a_connection_ends_with_the_token_of_its_handshake() {
    let mut script = Script::greeted();
    assert_eq!(script.0.identity(), Some(&ANN));
    assert_eq!(told(script.0.expired()), ["Error Token expired", "close: token expired"]);
    assert!(told(script.0.expired()).is_empty(), "once");
    assert_eq!(Script::negotiated(Dialect::G).0.identity(), None);
}

#[test]
fn a_handshake_that_fails_is_answered() {
    let mut script = Script::negotiated(Dialect::G);
    script.request(r#"{"jsonrpc":"2.0","method":"initialize","params":{"token":"T"},"id":1}"#);
    assert_eq!(script.deny(), [error("1", "Authentication failed"), "close: authentication failed".into()]);

    let mut script = Script::negotiated(Dialect::G);
    assert_eq!(
        script.request(r#"{"jsonrpc":"2.0","method":"initialize","params":{"token":7},"id":1}"#),
        [error("1", "Invalid token: it must be a string")]
    );
    script.request(r#"{"jsonrpc":"2.0","method":"initialize","params":{},"id":1}"#);
    assert_eq!(script.deny(), [error("1", "Invalid token: `params.token` is missing")], "and stays open");
}

#[test]
fn without_a_handshake_each_request_is_judged_by_what_it_carries() {
    let mut script = Script::negotiated(Dialect::G);
    assert_eq!(script.request(LIST), ["authenticate nobody"]);
    assert_eq!(script.deny(), [error("1", UNAUTHORIZED)], "and stays open");
    script.request(LIST);
    assert_eq!(script.accept("anonymous"), ["serve 1 tools/list in k8s for anonymous"]);
    let wrapped = r#"{"auth_token":"Bearer T","message":{"jsonrpc":"2.0","method":"ping","id":2}}"#;
    assert_eq!(script.request(wrapped), ["authenticate T"]);
    assert_eq!(script.accept(ANN), ["serve 2 ping in * for ann"]);
    assert_eq!(script.request(LIST), ["authenticate nobody"], "one token, one message");
}

#[test]
fn a_token_beside_a_message_must_be_of_the_same_person() {
    let wrapped = r#"{"auth_token":"T2","message":{"jsonrpc":"2.0","method":"ping","id":2}}"#;
    let mut script = Script::greeted();
    assert_eq!(script.request(wrapped), ["authenticate T2"]);
    assert_eq!(script.accept(ANN), ["serve 2 ping in * for ann"]);
    script.request(wrapped);
    assert_eq!(
        script.accept("bob"),
        [error("2", "Per-message authentication failed"), "close: authentication failed".into()]
    );

    let mut script = Script::greeted();
    script.0.settings.per_message_auth = false;
    assert_eq!(script.request(wrapped), ["serve 2 ping in * for known ann"]);
}

#[test]
fn before_the_negotiation_nothing_else_is_taken() {
    for kind in FrameKind::ALL.iter().filter(|kind| **kind != FrameKind::VersionNegotiation) {
        let mut script = Script::fresh(Dialect::G);
        assert_eq!(
            script.give(*kind, LIST),
            ["Error Version negotiation required", "close: no version negotiation"],
            "{kind:?}"
        );
        assert!(script.give(*kind, LIST).is_empty(), "nothing after the end");
    }
    let mut script = Script::fresh(Dialect::R);
    assert_eq!(
        script.request(r#"{"id":1,"mcp_payload":{"jsonrpc":"2.0","method":"ping","id":1}}"#),
        [
            r#"Response {"mcp_payload":{"jsonrpc":"2.0","error":{"code":-32603,"message":"Version negotiation required"},"id":1}}"#,
            "close: no version negotiation"
        ],
        "an answer is all that its reader understands"
    );
}

#[test]
fn a_client_of_other_versions_is_told() {
    let offer = br#"{"min_version":2,"max_version":3}"#;
    assert_eq!(
        Script::fresh(Dialect::G).give(FrameKind::VersionNegotiation, offer),
        [
            "Error Version negotiation failed: no compatible protocol version: client supports 2-3, server supports 1-1",
            "close: no version in common"
        ]
    );
    assert_eq!(
        Script::fresh(Dialect::R).give(FrameKind::VersionNegotiation, offer),
        ["close: no version in common"]
    );
    assert_eq!(
        Script::fresh(Dialect::G).give(FrameKind::VersionNegotiation, "no"),
        ["close: undecodable payload"]
    );
}

#[test]
fn after_the_negotiation_other_frames_have_their_row() {
    let rows = [
        (FrameKind::VersionNegotiation, vec!["Error Version already negotiated"]),
        (FrameKind::HealthCheck, vec!["HealthCheck"]),
        (FrameKind::Response, vec!["Error Unexpected response message from client"]),
        (FrameKind::VersionAck, vec!["Error Unexpected version ack from client"]),
        (FrameKind::Control, vec![]),
        (FrameKind::Error, vec![]),
    ];
    for (kind, told) in rows {
        assert_eq!(Script::negotiated(Dialect::G).give(kind, "{}"), told, "{kind:?}");
        let nothing: [&str; 0] = [];
        assert_eq!(Script::negotiated(Dialect::R).give(kind, "{}"), nothing, "{kind:?}");
    }
}

#[test]
fn silence_is_met_with_a_sign_of_life_in_dialect_g_only() {
    assert_eq!(told(Script::fresh(Dialect::G).0.idle()), ["HealthCheck"]);
    assert_eq!(told(Script::negotiated(Dialect::G).0.idle()), ["HealthCheck"]);
    assert!(told(Script::negotiated(Dialect::R).0.idle()).is_empty());
}

#[test]
fn what_is_no_message_is_answered_or_closed_and_never_served() {
    for undecodable in ["", "{", "\u{0}"] {
        assert_eq!(Script::greeted().request(undecodable), ["close: undecodable payload"]);
    }
    for (payload, id, text) in [
        (r#"{"message":"text"}"#, "null", "Invalid request: `message` must be an object, a JSON-RPC message"),
        ("[]", "null", "Invalid request: an empty batch holds no message"),
        ("7", "null", "Invalid request: a message is a JSON object"),
        (r#"{"jsonrpc":"2.0","method":"ping","id":""}"#, "\"\"", "Invalid request ID: it is empty"),
        (
            r#"{"jsonrpc":"2.0","method":"a..b","id":1}"#,
            "1",
            "Invalid method: `..` and control characters are not allowed",
        ),
        (
            r#"{"jsonrpc":"2.0","method":"ping","id":1,"id":2}"#,
            "null",
            "Invalid request: duplicate key in the object that ends at byte 46",
        ),
    ] {
        assert_eq!(
            Script::greeted().request(payload),
            [error(id, text), "close: invalid request".into()],
            "{payload}"
        );
    }
}

#[test]
fn notifications_are_served_and_never_close() {
    let mut script = Script::greeted();
    let notification = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    assert_eq!(script.request(notification), ["serve - notifications/initialized in * for known ann"]);
    assert!(script.request(r#"{"jsonrpc":"2.0","method":"a..b"}"#).is_empty());
    let mut script = Script::negotiated(Dialect::R);
    script.request(&format!(r#"{{"mcp_payload":{notification}}}"#));
    assert!(script.deny().is_empty(), "nobody waits for an answer");
    assert!(script.0.wants_input());
}

#[test]
fn answers_go_to_whoever_asked_in_any_order_and_once() {
    let mut script = Script::greeted();
    script.request(LIST);
    script.request(r#"{"jsonrpc":"2.0","method":"ping","id":"two"}"#);
    assert_eq!(script.finish("\"two\"", r#"{"id":"two"}"#), [r#"Response {"id":"two"}"#]);
    assert!(script.finish("\"two\"", "{}").is_empty());
    let limited = Outcome::Failure("Rate limit exceeded".into(), None);
    assert_eq!(told(script.0.finished(&Id::Int(1), limited)), [error("1", "Rate limit exceeded")]);
    assert_eq!(script.0.in_flight(), 0);
}

#[test]
fn a_request_that_its_client_cancels_is_not_answered() {
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1.0}}"#;
    let mut script = Script::greeted();
    script.request(LIST);
    script.request(LIST);
    assert_eq!(script.request(cancel), ["serve - notifications/cancelled in * for known ann"]);
    assert_eq!(script.finish("1", "{}"), ["Response {}"], "the earlier one is still in flight");
    assert!(script.finish("1", "{}").is_empty());
    script.request(r#"{"jsonrpc":"2.0","method":"initialize","params":{},"id":1}"#);
    script.request(cancel);
    assert_eq!(script.0.in_flight(), 1, "a session is opened or not");
}

#[test]
fn a_full_connection_takes_no_more_until_a_request_ends() {
    let mut script = Script::greeted();
    for _ in 0..3 {
        assert!(script.0.wants_input());
        script.request(LIST);
    }
    assert!(!script.0.wants_input());
    script.finish("1", "{}");
    assert!(script.0.wants_input());
    script.request(LIST);
    assert_eq!(script.request(LIST), ["close: more frames than the connection takes"]);
}

#[test]
fn dialect_r_authenticates_each_request_and_answers_in_an_envelope() {
    let mut script = Script::negotiated(Dialect::R);
    let request = r#"{"id":1,"timestamp":"2025-01-01T00:00:00Z","source":"local-router","target_namespace":"system","auth_token":"T","mcp_payload":{"jsonrpc":"2.0","method":"tools/list","id":1}}"#;
    assert_eq!(script.request(request), ["authenticate T"]);
    assert_eq!(script.accept(ANN), ["serve 1 tools/list in system for ann"]);
    assert_eq!(
        script.finish("1", r#"{"jsonrpc":"2.0","result":{"ok":true},"id":1}"#),
        [r#"Response {"mcp_payload":{"jsonrpc":"2.0","result":{"ok":true},"id":1}}"#]
    );
    script.request(request);
    let denied = script.deny();
    assert!(denied[0].contains("Unauthorized") && denied[0].starts_with(r#"Response {"mcp_payload":"#));
    assert_eq!(denied.len(), 1, "the connection is everybody's whose requests travel on it");
    assert_eq!(
        script.request(r#"{"id":9,"mcp_payload":{}}"#),
        [
            r#"Response {"mcp_payload":{"jsonrpc":"2.0","error":{"code":-32603,"message":"Invalid request: `jsonrpc` must be \"2.0\""},"id":9}}"#
        ]
    );
    assert_eq!(script.request(request), ["authenticate T"], "still open");
}

#[test]
fn only_clients_that_show_the_protocol_itself_get_more_than_answers() {
    let notice = || Bytes::from_static(b"{}");
    let mut script = Script::greeted();
    script.request(LIST);
    assert_eq!(script.0.notice(notice()), None);
    script.request(
        r#"{"jsonrpc":"2.0","method":"initialize","params":{"protocolVersion":"2025-06-18"},"id":2}"#,
    );
    assert_eq!(script.0.notice(notice()).unwrap().kind, FrameKind::Request);
    let answer = r#"{"jsonrpc":"2.0","result":{},"id":"asked"}"#;
    assert_eq!(script.give(FrameKind::Response, answer), ["serve \"asked\"  in * for known ann"]);
    assert_eq!(script.request(answer), ["serve \"asked\"  in * for known ann"]);

    let mut script = Script::negotiated(Dialect::R);
    script.request(
        r#"{"jsonrpc":"2.0","method":"initialize","params":{"protocolVersion":"2025-06-18"},"id":2}"#,
    );
    script.accept(ANN);
    assert_eq!(script.0.notice(notice()), None);
}

#[test]
fn shutting_down_waits_for_requests_and_takes_no_more() {
    let mut script = Script::greeted();
    script.request(LIST);
    assert_eq!(
        told(script.0.shut_down()),
        [r#"Control {"command":"shutdown","reason":"server shutting down"}"#]
    );
    assert!(script.0.shut_down().is_empty());
    let refused = script.request(LIST);
    assert!(refused[0].contains("Server shutting down") && refused[0].contains(r#""retry":"safe""#));
    assert_eq!(script.finish("1", "{}"), ["Response {}", "close: shutting down"]);
    assert_eq!(told(Script::negotiated(Dialect::R).0.shut_down()), ["close: shutting down"]);
    assert_eq!(told(Script::fresh(Dialect::R).0.shut_down()), ["close: shutting down"]);
}

#[test]
fn an_answer_that_no_peer_would_accept_becomes_an_error() {
    let mut script = Script::greeted();
    script.request(LIST);
    let answer = script.finish("1", &"x".repeat(MAX_PAYLOAD + 1));
    assert_eq!(answer, [error("1", "Response exceeds the protocol's limit of 10485760 bytes")]);
}
