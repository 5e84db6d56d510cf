//! Crossing generations: whatever peers send, what the other side gets is a message, and every question gets one answer.

use bridge_mcp::envelope::Kind;
use bridge_mcp::frame::Frame;
use bridge_mcp::limits::Limits;
use bridge_mcp::merge::ListKind;
use bridge_mcp::translate::losses::Losses;
use bridge_mcp::translate::to_legacy::{self, Questions, UrlAnswer};
use bridge_mcp::translate::to_modern::{self, Client, Retry, Round, Step};
use bridge_mcp::version::Version;
use bytes::Bytes;
use serde::de::IgnoredAny;

const INFO: &[u8] = br#"{"name":"gw","version":"1"}"#;
const ID: &[u8] = b"\"up-1\"";

fn limits() -> Limits {
    Limits::backend(1 << 16, 64)
}

/// What is written must be read again; wrapping adds some levels.
fn message(bytes: &Bytes) -> Frame {
    let limits = Limits::backend(1 << 20, 80);
    Frame::parse(bytes.clone(), &limits).unwrap_or_else(|error| panic!("{error}: {bytes:?}"))
}

fn json(bytes: &[u8]) {
    assert!(serde_json::from_slice::<IgnoredAny>(bytes).is_ok(), "{bytes:?}");
}

/// Lines: a client's request, then messages of a server and of the client in turn. Each line is also taken as a raw value.
pub fn fuzz_translate(data: &[u8]) {
    let lines: Vec<&[u8]> = data.split(|byte| *byte == b'\n').take(16).collect();
    for line in &lines {
        raw_value(line);
    }
    let frames: Vec<_> =
        lines.iter().map(|line| Frame::parse(Bytes::copy_from_slice(line), &limits()).ok()).collect();
    let Some((Some(request), rest)) = frames.split_first() else { return };
    requests(request);
    if request.kind() != Kind::Request {
        return;
    }
    message(&to_legacy::failed(request, "\"\u{1}"));
    message(&to_modern::failed(request, "\"\u{1}"));
    let mut questions = [Questions::default(), Questions::new(request, Version::V2024_11_05)];
    for (index, frame) in rest.iter().enumerate() {
        let Some(frame) = frame else { continue };
        from_legacy(request, frame);
        from_modern(request, frame, rest.get(index + 1).and_then(Option::as_ref));
        for questions in &mut questions {
            asked(questions, frame);
        }
    }
    for mut questions in questions {
        let open = questions.len();
        let ended = questions.abandon();
        assert_eq!(ended.len(), open);
        ended.iter().for_each(|response| assert!(message(response).is_response()));
        assert!(questions.is_empty());
    }
}

fn raw_value(raw: &[u8]) {
    json(&to_legacy::capabilities(raw));
    let _ = to_legacy::undeclared(raw);
    for version in Version::ALL {
        json(&to_modern::capabilities(raw, version));
    }
    if serde_json::from_slice::<IgnoredAny>(raw).is_ok() {
        json(&to_legacy::discover_result(raw, &["2026-07-28"]));
        json(&to_modern::initialize_result(raw, Version::V2025_06_18));
        for kind in ListKind::ALL {
            let mut lost = Losses::default();
            let items = [to_legacy::item(kind, raw, &mut lost), to_modern::item(kind, raw, &mut lost)];
            items.iter().flatten().for_each(|item| json(item));
        }
    }
}

fn client(version: Version) -> Client {
    let all = br#"{"roots":{},"sampling":{"tools":{}},"elicitation":{"form":{},"url":{}}}"#;
    let capabilities = to_modern::capabilities(all, version);
    Client { version, capabilities, client_info: Bytes::from_static(INFO) }
}

fn requests(request: &Frame) {
    if request.is_response() {
        return;
    }
    let legacy = message(&to_legacy::request(request));
    assert_eq!((legacy.raw_id(), legacy.method_name()), (request.raw_id(), request.method_name()));
    assert_eq!(to_legacy::request(&legacy), legacy.bytes(), "once is enough");
    assert_eq!(to_legacy::digest(&legacy), to_legacy::digest(request));
    let retry = Retry { responses: br#"{"a":{}}"#, state: Some(b"\"s\"") };
    for version in Version::ALL {
        let modern = message(&to_modern::request(request, ID, &client(version), Some("info"), Some(retry)));
        let params = modern.envelope().params.as_ref().expect("metadata");
        assert_eq!(modern.raw(params.members.request_state), Some(&b"\"s\""[..]));
        assert_eq!(modern.text(params.meta.protocol_version).as_deref(), Some("2026-07-28"));
        assert_eq!(modern.method_name(), request.method_name());
    }
    let _ = to_modern::unsent(request);
}

fn from_legacy(request: &Frame, frame: &Frame) {
    let mut lost = Losses::default();
    match to_legacy::answer(request, frame, INFO, &mut lost) {
        to_legacy::Answer::Response(bytes) => {
            let response = message(&bytes);
            assert!(response.is_response());
            assert_eq!(response.raw_id(), request.raw_id());
        }
        to_legacy::Answer::UrlsRequired(urls) => {
            message(&to_legacy::urls_required(ID, &urls, "s", INFO));
            assert_eq!(to_legacy::urls_answered(request, 0), UrlAnswer::Accepted);
            let _ = to_legacy::urls_answered(request, urls.len());
            message(&to_legacy::urls_declined(request));
        }
    }
    if let Some(notice) = to_legacy::notice(frame, Some("debug")) {
        assert_eq!(notice, frame.bytes());
    }
}

fn from_modern(request: &Frame, frame: &Frame, reply: Option<&Frame>) {
    for version in Version::ALL {
        let mut lost = Losses::default();
        match to_modern::answer(request, frame, version, &mut lost) {
            to_modern::Answer::Response(bytes) => {
                let response = message(&bytes);
                assert!(response.is_response());
                assert_eq!(response.raw_id(), request.raw_id());
            }
            to_modern::Answer::Failed(reason) => assert!(!reason.is_empty()),
            to_modern::Answer::InputRequired(required) => {
                let asked = required.asks.len();
                let round = Round::new(required, &client(version), &mut lost);
                play(round, asked, reply);
            }
        }
        if let Some(notice) = to_modern::notice(frame, version) {
            assert_eq!(message(&notice).method_name(), frame.method_name());
        }
    }
}

/// The client answers with `reply` first, then with errors to everything.
fn play(mut round: Round, asked: usize, reply: Option<&Frame>) {
    let mut number = 0;
    let requests = round.requests(&mut || {
        number += 1;
        number
    });
    assert!(requests.len() <= asked);
    assert_eq!(round.open().len(), requests.len());
    assert_eq!(round.is_ready().is_some(), requests.is_empty());
    round.withdrawals().iter().for_each(|notice| drop(message(notice)));
    if let Some(reply) = reply {
        let _ = round.answered(reply);
    }
    for (number, bytes) in &requests {
        let request = message(bytes);
        let id = String::from_utf8_lossy(request.raw_id().expect("a request")).into_owned();
        let refusal = format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-1,"message":"no"}}}}"#);
        let open = round.open().contains(number);
        let step = round.answered(&message(&refusal.into()));
        assert_eq!(step != Step::NotMine, open);
    }
    assert!(round.open().is_empty());
    json(&round.is_ready().expect("all was answered"));
}

/// The frame as a question, as its withdrawal, and as a retry.
fn asked(questions: &mut Questions, frame: &Frame) {
    let before = questions.len();
    match questions.ask(frame) {
        Ok(()) => assert_eq!(questions.len(), before + 1),
        Err(response) => {
            assert!(message(&response).is_response());
            assert_eq!(questions.len(), before);
        }
    }
    let shown = message(&questions.input_required(ID, "st\"ate", INFO));
    assert_eq!(shown.raw_id(), Some(ID));
    let before = questions.len();
    let answers = questions.answer(frame);
    answers.iter().for_each(|response| assert!(message(response).is_response()));
    assert_eq!(questions.len() + answers.len(), before, "one response each");
    let before = questions.len();
    assert_eq!(questions.withdraw(frame), questions.len() < before);
    let _ = (questions.size(), questions.losses());
}
