//! Calls that a server of 2025-11-25 refuses until pages were visited.

use super::*;

const ERROR: &str = r#"{"jsonrpc":"2.0","id":4,"error":{"code":-32042,"message":"m","data":{"elicitations":[{"mode":"url","url":"https://a","message":"A","elicitationId":"1","z":1.0},{"url":"https://b","message":"B"}]}}}"#;

fn tool(capabilities: &str) -> Frame {
    call(
        "tools/call",
        &format!(r#"{{"name":"t","_meta":{{"io.modelcontextprotocol/clientCapabilities":{capabilities}}}}}"#),
    )
}

#[test]
fn pages_to_visit_are_asked_for_and_the_call_made_again() {
    let mut lost = Losses::default();
    let asked = answer(&tool(r#"{"elicitation":{"url":{}}}"#), &frame(ERROR), INFO, &mut lost);
    let Answer::UrlsRequired(urls) = asked else { panic!("{asked:?}") };
    assert!(lost.iter().eq([Loss::UrlCompletion]));
    assert_eq!(
        urls,
        [
            r#"{"mode":"url","url":"https://a","message":"A","z":1.0}"#,
            r#"{"mode":"url","url":"https://b","message":"B"}"#
        ]
    );
    let shown = value(&urls_required(b"2", &urls, "s", INFO));
    let asked = &shown["result"]["inputRequests"]["url-2"];
    assert_eq!(
        *asked,
        json!({"method":"elicitation/create","params":{"mode":"url","url":"https://b","message":"B"}})
    );
    for (responses, outcome) in [
        (r#"{"url-1":{"action":"accept"},"url-2":{"action":"accept"}}"#, UrlAnswer::Accepted),
        (r#"{"url-1":{"action":"accept"},"url-2":{"action":"cancel"}}"#, UrlAnswer::Declined),
        (r#"{"url-2":{"action":"decline"}}"#, UrlAnswer::Declined),
        (r#"{"url-1":{"action":"accept"},"url-2":{"action":"x"}}"#, UrlAnswer::Missing),
        ("[]", UrlAnswer::Missing),
    ] {
        let retry = call("tools/call", &format!(r#"{{"inputResponses":{responses}}}"#));
        assert_eq!(urls_answered(&retry, 2), outcome, "{responses}");
    }
    assert_eq!(urls_answered(&call("tools/call", "{}"), 2), UrlAnswer::Missing);
}

#[test]
fn a_client_that_shows_no_pages_learns_what_is_missing() {
    let (text, _) = response(&tool(r#"{"elicitation":{}}"#), ERROR);
    let error = &value(text.as_bytes())["error"];
    assert_eq!(
        (&error["code"], &error["data"]["requiredCapabilities"]),
        (&json!(-32021), &json!({"elicitation":{"url":{}}}))
    );
}

#[test]
fn pages_that_cannot_be_asked_for_are_an_error() {
    let able = tool(r#"{"elicitation":{"url":{}}}"#);
    for broken in [
        ERROR.replace("\"https://b\"", "5"),
        ERROR.replace("message\":\"B", "text\":\"B"),
        ERROR.replace("[{", "[1,{"),
    ] {
        let (text, lost) = response(&able, &broken);
        assert_eq!(
            (&value(text.as_bytes())["error"]["code"], lost),
            (&json!(-32603), vec![Loss::ReservedError])
        );
    }
    let (text, _) = response(&call("completion/complete", "{}"), ERROR);
    assert_eq!(value(text.as_bytes())["error"]["code"], -32603, "only three methods may ask");
}

#[test]
fn a_person_who_declines_ends_the_call() {
    let result = value(&urls_declined(&tool("{}")));
    assert_eq!(
        (&result["result"]["isError"], &result["result"]["resultType"]),
        (&json!(true), &json!("complete"))
    );
    assert_eq!(value(&urls_declined(&call("prompts/get", "{}")))["error"]["code"], -32603);
}
