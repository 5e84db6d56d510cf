//! Rounds at a legacy client: what it is asked, what it is not, and what comes of its answers.

use super::*;

const ABLE: &str = r#"{"roots":{},"sampling":{},"elicitation":{"form":{},"url":{}}}"#;
const FORM: &str = r#"{"method":"elicitation/create","params":{"message":"Name?","requestedSchema":{"type":"object","properties":{"n":{"type":"string","default":"x","minLength":1.0}}}}}"#;

fn required(requests: &str) -> InputRequired {
    let text = format!(
        r#"{{"jsonrpc":"2.0","id":1,"result":{{"resultType":"input_required","inputRequests":{requests},"requestState":"s\u0074"}}}}"#
    );
    match answer(&call("tools/call", "{}"), &frame(&text), NEWEST, &mut Losses::default()) {
        Answer::InputRequired(required) => required,
        other => panic!("{other:?}"),
    }
}

fn round(requests: &str, version: Version, declared: &str) -> (Round, Vec<Loss>) {
    let mut lost = Losses::default();
    let round = Round::new(required(requests), &client(version, declared), &mut lost);
    (round, lost.iter().collect())
}

fn sent(round: &mut Round) -> Vec<String> {
    let mut number = 6;
    let mut fresh = || {
        number += 1;
        number
    };
    round.requests(&mut fresh).iter().map(|(_, bytes)| text(bytes)).collect()
}

/// The params of the only request.
fn asked(requests: &str, version: Version) -> (Option<Value>, Vec<Loss>) {
    let (mut round, lost) = round(requests, version, ABLE);
    (sent(&mut round).first().map(|request| value(request.as_bytes())["params"].clone()), lost)
}

fn reply(number: i64, member: &str) -> Frame {
    frame(&format!(r#"{{"jsonrpc":"2.0","id":"mcp-bridge-{number}",{member}}}"#))
}

#[test]
fn questions_become_requests_and_answers_the_retry() {
    let (mut round, lost) =
        round(&format!(r#"{{"who\"":{FORM},"where":{{"method":"roots/list"}}}}"#), NEWEST, ABLE);
    assert_eq!((lost, round.state().map(text)), (vec![], Some(r#""s\u0074""#.to_owned())));
    assert_eq!(round.is_ready(), None);
    let requests = sent(&mut round);
    let params = FORM.split_once("\"params\":").unwrap().1;
    assert_eq!(
        requests[0],
        format!(r#"{{"jsonrpc":"2.0","id":"mcp-bridge-7","method":"elicitation/create","params":{params}"#)
    );
    assert_eq!(requests[1], r#"{"jsonrpc":"2.0","id":"mcp-bridge-8","method":"roots/list","params":{}}"#);
    assert_eq!(round.open(), [7, 8]);
    assert!(sent(&mut round).is_empty(), "each is asked once");
    assert_eq!(round.answered(&reply(8, r#""result":{"roots":[]}"#)), Step::Waiting);
    assert_eq!(round.answered(&reply(8, r#""result":{"roots":[]}"#)), Step::NotMine, "twice");
    for stranger in [
        r#"{"jsonrpc":"2.0","id":7,"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":"mcp-bridge-07","result":{}}"#,
        r#"{"jsonrpc":"2.0","id":"mcp-bridge-9","result":{}}"#,
        r#"{"jsonrpc":"2.0","id":"mcp-bridge-7","method":"ping"}"#,
        r#"{"jsonrpc":"2.0","error":{"code":-1}}"#,
    ] {
        assert_eq!(round.answered(&frame(stranger)), Step::NotMine, "{stranger}");
    }
    let withdrawn =
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"mcp-bridge-7"}}"#;
    assert_eq!(round.withdrawals(), [withdrawn]);
    let step = round.answered(&reply(7, r#""result":{ "action":"accept","content":{"n":1.0}}"#));
    assert_eq!(
        step,
        Step::Ready(Bytes::from(
            r#"{"who\"":{ "action":"accept","content":{"n":1.0}},"where":{"roots":[]}}"#
        ))
    );
    assert!(round.open().is_empty());
}

#[test]
fn a_round_that_asks_nothing_is_ready_at_once() {
    let (mut round, _) = round("{}", NEWEST, "{}");
    assert!(sent(&mut round).is_empty());
    assert_eq!(round.is_ready().unwrap(), "{}");
    assert_eq!(round.refused(), None);
}

#[test]
fn a_refusal_cancels_a_form_and_stops_anything_else() {
    for refusal in [r#""error":{"code":-1,"message":"no"}"#, r#""result":{"action":"odd"}"#] {
        let (mut round, _) = round(&format!(r#"{{"a":{FORM}}}"#), NEWEST, ABLE);
        sent(&mut round);
        assert_eq!(
            round.answered(&reply(7, refusal)),
            Step::Ready(Bytes::from(r#"{"a":{"action":"cancel"}}"#))
        );
    }
    let sampling = r#"{"a":{"method":"sampling/createMessage","params":{"messages":[],"maxTokens":1}}}"#;
    for (refusal, reason) in [
        (r#""error":{"code":-1,"message":"no"}"#, "the client refused sampling: no"),
        (r#""result":{"text":"hi"}"#, "the client did not answer sampling in the right form"),
    ] {
        let (mut round, _) = round(sampling, NEWEST, ABLE);
        sent(&mut round);
        assert_eq!(round.answered(&reply(7, refusal)), Step::Stop(reason.to_owned()));
    }
}

#[test]
fn a_client_is_never_asked_what_it_did_not_declare() {
    let (mut form, lost) = round(&format!(r#"{{"a":{FORM}}}"#), NEWEST, r#"{"elicitation":{"url":{}}}"#);
    assert!(sent(&mut form).is_empty());
    assert_eq!(
        (form.is_ready().unwrap(), lost),
        (Bytes::from(r#"{"a":{"action":"cancel"}}"#), vec![Loss::UnaskedQuestion])
    );
    let url =
        r#"{"a":{"method":"elicitation/create","params":{"mode":"url","url":"https://a","message":"m"}}}"#;
    assert_eq!(asked(url, Version::V2025_06_18), (None, vec![Loss::UnaskedQuestion]));
    for (method, params) in [("roots/list", "{}"), ("sampling/createMessage", r#"{"tools":[]}"#)] {
        let (mut round, _) = round(
            &format!(r#"{{"a":{{"method":"{method}","params":{params}}}}}"#),
            NEWEST,
            r#"{"sampling":{}}"#,
        );
        assert!(sent(&mut round).is_empty());
        assert!(round.refused().unwrap().starts_with("the client cannot be asked for"));
        assert_eq!(round.is_ready().unwrap(), "{}", "the server asks again");
    }
}

#[test]
fn pages_get_an_id_of_the_legacy_revision() {
    let url =
        r#"{"a":{"method":"elicitation/create","params":{"mode":"url","url":"https://a","message":"m"}}}"#;
    let (params, lost) = asked(url, NEWEST);
    assert_eq!(
        params.unwrap(),
        json!({"mode":"url","url":"https://a","message":"m","elicitationId":"mcp-bridge-7"})
    );
    assert_eq!(lost, []);
}

#[test]
fn forms_of_2025_06_18_are_what_that_revision_knows() {
    let field = |field: &str, version| {
        let ask = format!(
            r#"{{"a":{{"method":"elicitation/create","params":{{"message":"m","requestedSchema":{{"type":"object","properties":{{"f":{field}}}}}}}}}}}"#
        );
        let (params, lost) = asked(&ask, version);
        (params.map(|params| params["requestedSchema"]["properties"]["f"].to_string()), lost)
    };
    for (from, to, lost) in [
        (r#"{"enum":["a"],"type":"string"}"#, Some(r#"{"enum":["a"],"type":"string"}"#), vec![]),
        (r#"{"default":true,"type":"boolean"}"#, Some(r#"{"default":true,"type":"boolean"}"#), vec![]),
        (r#"{"default":1.0,"type":"number"}"#, Some(r#"{"type":"number"}"#), vec![Loss::FormDefaults]),
        (
            r#"{"default":"a","oneOf":[{"const":"a","title":"A"},{"const":"b"}],"type":"string"}"#,
            Some(r#"{"enum":["a","b"],"enumNames":["A","b"],"type":"string"}"#),
            vec![Loss::FormDefaults],
        ),
        (r#"{"oneOf":[{"pattern":"x"}],"type":"string"}"#, None, vec![Loss::UnaskedQuestion]),
        (r#"{"items":{"enum":["a"]},"type":"array"}"#, None, vec![Loss::MultiSelect]),
    ] {
        assert_eq!(field(from, Version::V2025_06_18), (to.map(ToOwned::to_owned), lost), "{from}");
        assert_eq!(field(from, NEWEST).0.as_deref(), Some(from), "{from}");
    }
}

#[test]
fn an_old_client_samples_one_block_per_message() {
    let messages = |messages: &str, version| {
        let ask =
            format!(r#"{{"a":{{"method":"sampling/createMessage","params":{{"messages":{messages}}}}}}}"#);
        let (params, lost) = asked(&ask, version);
        (params.map(|params| params["messages"].to_string()), lost)
    };
    let old = Version::V2025_06_18;
    let two = r#"[{"content":[{"text":"a","type":"text"},{"text":"b","type":"text"}],"role":"user"}]"#;
    let split = r#"[{"content":{"text":"a","type":"text"},"role":"user"},{"content":{"text":"b","type":"text"},"role":"user"}]"#;
    assert_eq!(messages(two, old), (Some(split.to_owned()), vec![]));
    assert_eq!(messages(two, NEWEST).0.as_deref(), Some(two));
    let one = r#"[{"content":{"text":"a","type":"text"},"role":"user"},{"role":"user"},7]"#;
    assert_eq!(messages(one, old).0.as_deref(), Some(one));
    for tools in [
        r#"[{"content":[{"type":"tool_use"}],"role":"assistant"}]"#,
        r#"[{"content":{"type":"tool_result"}}]"#,
    ] {
        assert_eq!(messages(tools, old), (None, vec![Loss::UnaskedQuestion]));
    }
    let (audio, lost) =
        messages(r#"[{"content":{"type":"audio","mimeType":"a/b"},"role":"user"}]"#, Version::V2024_11_05);
    assert!(audio.unwrap().contains("[audio, a/b"));
    assert_eq!(lost, [Loss::AudioContent]);
}
