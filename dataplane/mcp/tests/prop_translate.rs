//! Crossing generations: what is not translated keeps its bytes, there and back is where it was, digests see values and
//! not spelling, every question gets one answer.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test, a step that fails is a failed test")]

use std::collections::BTreeMap;

use bridge_mcp::frame::Frame;
use bridge_mcp::id::Id;
use bridge_mcp::limits::Limits;
use bridge_mcp::translate::losses::Losses;
use bridge_mcp::translate::to_legacy::{self, Questions};
use bridge_mcp::translate::to_modern::{self, Client, Round, Step};
use bridge_mcp::version::Version;
use bytes::Bytes;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Map, Value, json};

const INFO: &[u8] = br#"{"name":"gw","version":"1"}"#;
const LEGACY: [Version; 4] =
    [Version::V2024_11_05, Version::V2025_03_26, Version::V2025_06_18, Version::V2025_11_25];
const METHODS: [&str; 8] = [
    "tools/list",
    "tools/call",
    "prompts/list",
    "prompts/get",
    "resources/list",
    "resources/templates/list",
    "resources/read",
    "completion/complete",
];

/// JSON as somebody might write it: odd numbers, escapes, blanks.
fn raw_json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        select(vec![
            "null",
            "true",
            "0",
            "-0.0",
            "1.50",
            "1E+2",
            "12345678901234567890",
            r#""é""#,
            r#""\u00e9\/""#
        ])
        .prop_map(ToOwned::to_owned),
        "[a-z \"]{0,6}".prop_map(|text| Value::from(text).to_string()),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            (vec(inner.clone(), 0..4), "[ \n]{0,2}")
                .prop_map(|(items, blank)| format!("[{blank}{}{blank}]", items.join(&format!("{blank},")))),
            (btree_map("[a-z]{1,3}", inner, 0..4), "[ \n]{0,2}").prop_map(|(members, blank)| {
                let members: Vec<_> =
                    members.iter().map(|(key, raw)| format!("\"{key}\"{blank}:{raw}")).collect();
                format!("{{{blank}{}}}", members.join(&format!("{blank},{blank}")))
            }),
        ]
    })
}

/// Members that no revision defines.
fn unknown() -> impl Strategy<Value = Vec<String>> {
    btree_map("x[a-z]{1,4}", raw_json(), 0..4)
        .prop_map(|members| members.iter().map(|(key, raw)| format!("\"{key}\" :{raw}")).collect())
}

fn object(members: &[String]) -> String {
    format!("{{{}}}", members.join(" ,"))
}

fn frame(text: impl Into<Bytes>) -> Frame {
    Frame::parse(text.into(), &Limits::client(1 << 20, 64)).unwrap()
}

fn request(id: &str, method: &str, params: &str) -> Frame {
    frame(format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#))
}

fn response(result: &str) -> Frame {
    frame(format!(r#"{{"jsonrpc":"2.0","id":3,"result":{result}}}"#))
}

fn value(text: &[u8]) -> Value {
    serde_json::from_slice(text).unwrap()
}

fn contains(text: &[u8], part: &str) -> bool {
    std::str::from_utf8(text).unwrap().contains(part)
}

fn client(version: Version) -> Client {
    let declared = br#"{"roots":{},"sampling":{},"elicitation":{"form":{},"url":{}}}"#;
    Client {
        version,
        capabilities: to_modern::capabilities(declared, version),
        client_info: Bytes::from_static(br#"{"name":"c","version":"1"}"#),
    }
}

fn modern_result(request: &Frame, legacy: &Frame) -> Frame {
    match to_legacy::answer(request, legacy, INFO, &mut Losses::default()) {
        to_legacy::Answer::Response(bytes) => frame(bytes),
        to_legacy::Answer::UrlsRequired(urls) => panic!("{urls:?}"),
    }
}

fn legacy_result(request: &Frame, modern: &Frame, version: Version) -> Frame {
    match to_modern::answer(request, modern, version, &mut Losses::default()) {
        to_modern::Answer::Response(bytes) => frame(bytes),
        other => panic!("{other:?}"),
    }
}

/// A block of content of any revision.
fn block() -> impl Strategy<Value = String> {
    let known = select(vec![
        r#""type":"text","text":"\u0061 b""#,
        r#""type":"image","data":"AA==","mimeType":"image/png""#,
        r#""type":"audio","data":"AA==","mimeType":"audio/wav""#,
        r#""type":"resource_link","uri":"a:b","name":"n""#,
        r#""type":"resource","resource":{"uri":"a:b","text":"t"}"#,
        r#""type":"future""#,
    ]);
    (known, unknown()).prop_map(|(known, mut members)| {
        members.push(known.to_owned());
        object(&members)
    })
}

proptest! {
    #[test]
    fn members_of_requests_that_nobody_translates_keep_their_bytes(
        method in select(METHODS.to_vec()),
        members in unknown(),
        foreign in unknown(),
        version in select(LEGACY.to_vec()),
        level in select(vec![None, Some("info")]),
    ) {
        let with = |meta: &[&str]| {
            let meta: Vec<_> = meta.iter().map(|member| (*member).to_owned()).chain(foreign.clone()).collect();
            let mut members = members.clone();
            members.insert(members.len() / 2, format!("\"_meta\":{}", object(&meta)));
            request("1.0", method, &object(&members))
        };
        let modern = with(&[
            r#""io.modelcontextprotocol/protocolVersion":"2026-07-28""#,
            r#""io.modelcontextprotocol/clientCapabilities":{}"#,
        ]);
        let down = to_legacy::request(&modern);
        let up = to_modern::request(&with(&[]), b"7", &client(version), level, None);
        for member in members.iter().chain(&foreign) {
            prop_assert!(contains(&down, member), "{member} in {down:?}");
            prop_assert!(contains(&up, member), "{member} in {up:?}");
        }
        prop_assert!(!contains(&down, "io.modelcontextprotocol/"));
        // There and back: the same params but for what says who asks.
        let again = frame(to_modern::request(&frame(down.clone()), b"1.0", &client(version), None, None));
        let there = to_legacy::request(&again);
        prop_assert_eq!(value(&there)["params"].clone(), value(&down)["params"].clone());
        prop_assert_eq!(to_legacy::digest(&again), to_legacy::digest(&modern));
    }

    #[test]
    fn members_of_results_that_nobody_translates_keep_their_bytes(
        method in select(METHODS.to_vec()),
        members in unknown(),
        foreign in unknown(),
        version in select(LEGACY.to_vec()),
    ) {
        let asked = request("\"\\u0061\"", method, r#"{"uri":"a:b"}"#);
        let mut members = members;
        if !foreign.is_empty() {
            members.push(format!("\"_meta\":{}", object(&foreign)));
        }
        let legacy = response(&object(&members));
        let modern = modern_result(&asked, &legacy);
        prop_assert_eq!(modern.raw_id(), asked.raw_id());
        let first = r#""result":{"resultType":"complete""#;
        prop_assert!(contains(modern.bytes(), first));
        for member in members.iter().filter(|member| !member.starts_with("\"_meta\"")).chain(&foreign) {
            prop_assert!(contains(modern.bytes(), member), "{member} in {modern:?}");
        }
        let again = legacy_result(&asked, &modern, version);
        let result = |frame: &Frame| frame.slice(frame.envelope().result.unwrap());
        prop_assert_eq!(result(&again), result(&legacy), "there and back");
    }

    #[test]
    fn content_survives_both_ways(
        blocks in vec(block(), 0..5),
        structured in prop::option::of(raw_json()),
        version in select(LEGACY.to_vec()),
    ) {
        let call = request("1", "tools/call", r#"{"name":"t"}"#);
        let structured_member = structured.iter().map(|raw| format!(r#","structuredContent":{raw}"#));
        let sent = format!(
            r#"{{"resultType":"complete","content":[{}]{}}}"#,
            blocks.join(", "),
            structured_member.collect::<String>()
        );
        let legacy = legacy_result(&call, &response(&sent), version);
        let modern = modern_result(&call, &legacy);
        let result = value(modern.bytes())["result"].clone();
        let content = result["content"].as_array().unwrap();
        for (block, seen) in blocks.iter().zip(content) {
            let sent = value(block.as_bytes());
            let known = match sent["type"].as_str().unwrap() {
                "audio" => version >= Version::V2025_03_26,
                "resource_link" => version >= Version::V2025_06_18,
                _ => true,
            };
            if known {
                prop_assert!(contains(modern.bytes(), block), "{block} in {modern:?}");
            } else {
                prop_assert_eq!(&seen["type"], "text");
            }
        }
        if let Some(raw) = structured {
            let sent = value(raw.as_bytes());
            let as_text = content.iter().filter_map(|block| block["text"].as_str()).any(|text| {
                serde_json::from_str::<Value>(text).is_ok_and(|value| value == sent) || sent == text
            });
            let kept = result.get("structuredContent") == Some(&sent);
            prop_assert!(as_text || kept);
            prop_assert_eq!(kept, sent.is_object() && version >= Version::V2025_06_18);
        }
    }

    #[test]
    fn a_digest_sees_values_and_not_spelling(
        members in btree_map("[a-zé]{1,3}", raw_json(), 0..5),
        order in Just((0..5usize).collect::<Vec<_>>()).prop_shuffle(),
        meta in raw_json(),
        other in raw_json(),
    ) {
        let mut named: Vec<_> = members.iter().map(|(key, raw)| (key.clone(), raw.clone())).collect();
        let encode = |members: &[(String, String)], first: &str| {
            let members: Vec<_> = members.iter().map(|(key, raw)| format!("{}:{raw}", Value::from(&**key))).collect();
            request("1", "tools/call", &format!(r#"{{{first}"arguments":{},"name":"t"}}"#, object(&members)))
        };
        let first = to_legacy::digest(&encode(&named, ""));
        let escaped: Vec<_> = named
            .iter()
            .map(|(key, raw)| (key.clone(), raw.replace('é', "\\u00e9").replace("1.50", "15e-1")))
            .collect();
        prop_assert_eq!(first, to_legacy::digest(&encode(&escaped, &format!(r#""_meta":{meta},"requestState":"s","#))));
        let mut shuffled: Vec<_> = named.into_iter().zip(order).collect();
        shuffled.sort_by_key(|(_, place)| *place);
        named = shuffled.into_iter().map(|(member, _)| member).collect();
        prop_assert_eq!(first, to_legacy::digest(&encode(&named, r#""inputResponses":{},"#)));
        if let Some((_, raw)) = named.first_mut() {
            let (old, new) = (value(raw.as_bytes()), value(other.as_bytes()));
            *raw = other;
            if old != new {
                prop_assert_ne!(first, to_legacy::digest(&encode(&named, "")));
            }
        }
    }
}

/// What may happen to the questions of a call.
#[derive(Debug, Clone)]
enum Happening {
    Ask(u8, &'static str),
    Withdraw(u8),
    /// Answers to open questions, by position; `false` is nonsense.
    Retry(Vec<(usize, bool)>),
}

fn happening() -> impl Strategy<Value = Happening> {
    let method =
        select(vec!["elicitation/create", "sampling/createMessage", "roots/list", "tools/call", "ping"]);
    prop_oneof![
        3 => (0..6u8, method).prop_map(|(id, method)| Happening::Ask(id, method)),
        1 => (0..6u8).prop_map(Happening::Withdraw),
        2 => vec((0..4usize, any::<bool>()), 0..3).prop_map(Happening::Retry),
    ]
}

fn good_answer(method: &str) -> Value {
    match method {
        "elicitation/create" => json!({"action": "decline"}),
        "sampling/createMessage" => json!({"role": "assistant", "model": "m", "content": {"type": "text"}}),
        _ => json!({"roots": []}),
    }
}

proptest! {
    #[test]
    fn every_question_of_a_server_gets_one_response(happenings in vec(happening(), 0..40)) {
        let mut questions = Questions::default();
        // Per id: questions that wait for a response.
        let mut waiting: BTreeMap<i64, i32> = BTreeMap::new();
        let mut keys_seen: BTreeMap<String, Value> = BTreeMap::new();
        let settle = |waiting: &mut BTreeMap<i64, i32>, responses: &[Bytes]| {
            for response in responses {
                let Some(Id::Int(id)) = frame(response.clone()).id() else { panic!("{response:?}") };
                *waiting.entry(id).or_default() -= 1;
            }
        };
        for happening in happenings {
            match happening {
                Happening::Ask(id, method) => {
                    *waiting.entry(id.into()).or_default() += 1;
                    let asked = questions.ask(&request(&id.to_string(), method, "{}"));
                    settle(&mut waiting, asked.err().as_slice());
                }
                Happening::Withdraw(id) => {
                    let text = format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#);
                    if questions.withdraw(&frame(text)) {
                        *waiting.entry(id.into()).or_default() -= 1;
                    }
                }
                Happening::Retry(answers) => {
                    let shown = value(&questions.input_required(b"1", "s", INFO));
                    let none = Map::new();
                    let open = shown["result"]["inputRequests"].as_object().unwrap_or(&none);
                    prop_assert_eq!(open.len(), questions.len());
                    let mut responses = Map::new();
                    for (position, good) in answers {
                        let Some((key, asked)) = open.iter().nth(position) else { continue };
                        let before = keys_seen.insert(key.clone(), asked.clone());
                        prop_assert!(before.is_none_or(|before| before == *asked), "{key} is of one question");
                        let answer = good_answer(asked["method"].as_str().unwrap());
                        responses.insert(key.clone(), if good { answer } else { json!(["no"]) });
                    }
                    let good = responses.values().filter(|value| value.is_object()).count();
                    let params = json!({"inputResponses": responses}).to_string();
                    let sent = questions.answer(&request("1", "tools/call", &params));
                    prop_assert_eq!(sent.len(), good);
                    settle(&mut waiting, &sent);
                }
            }
            let open: i32 = waiting.values().sum();
            prop_assert_eq!(usize::try_from(open).unwrap(), questions.len());
            prop_assert!(waiting.values().all(|waits| (0..=1).contains(waits)), "{waiting:?}");
        }
        let ended = questions.abandon();
        settle(&mut waiting, &ended);
        prop_assert!(waiting.values().all(|waits| *waits == 0), "{waiting:?}");
    }

    #[test]
    fn a_round_is_ready_once_with_every_answer(
        methods in vec(select(vec!["elicitation/create", "sampling/createMessage", "roots/list"]), 0..6),
        order in Just((0..6usize).collect::<Vec<_>>()).prop_shuffle(),
        twice in subsequence((0..6usize).collect::<Vec<_>>(), 0..6),
        version in select(LEGACY.to_vec()),
    ) {
        let asks: Vec<_> = methods
            .iter()
            .enumerate()
            .map(|(index, method)| format!(r#""k{index}":{{"method":"{method}","params":{{}}}}"#))
            .collect();
        let sent = format!(r#"{{"resultType":"input_required","requestState":"s","inputRequests":{{{}}}}}"#, asks.join(","));
        let call = request("1", "tools/call", "{}");
        let required = match to_modern::answer(&call, &response(&sent), version, &mut Losses::default()) {
            to_modern::Answer::InputRequired(required) => required,
            other => panic!("{other:?}"),
        };
        let mut round = Round::new(required, &client(version), &mut Losses::default());
        let mut number = 0;
        let requests = round.requests(&mut || {
            number += 1;
            number
        });
        let mut ready = round.is_ready();
        prop_assert_eq!(ready.is_some(), requests.is_empty());
        for index in order.iter().chain(&twice) {
            let Some((_, asked)) = requests.get(*index) else { continue };
            let asked = value(asked);
            let answer = json!({"jsonrpc": "2.0", "id": asked["id"], "result": good_answer(asked["method"].as_str().unwrap())});
            match round.answered(&frame(answer.to_string())) {
                Step::Ready(responses) => prop_assert!(ready.replace(responses).is_none()),
                Step::Stop(reason) => panic!("{reason}"),
                Step::Waiting | Step::NotMine => {}
            }
        }
        let responses = value(&ready.unwrap());
        prop_assert_eq!(responses.as_object().unwrap().len(), methods.len());
        let retry = to_modern::Retry { responses: &round.is_ready().unwrap(), state: round.state().map(|state| &**state) };
        let sent = value(&to_modern::request(&call, b"2", &client(version), None, Some(retry)));
        prop_assert_eq!(&sent["params"]["requestState"], "s");
        let answered = sent["params"]["inputResponses"].as_object().map_or(0, Map::len);
        prop_assert_eq!(answered, methods.len());
    }
}
