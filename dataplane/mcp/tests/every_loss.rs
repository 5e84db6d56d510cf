//! Each loss of the table comes of a message that crosses. A new one does not compile here without a message of its own.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test, a step that fails is a failed test")]

use bridge_mcp::frame::Frame;
use bridge_mcp::limits::Limits;
use bridge_mcp::merge::ListKind;
use bridge_mcp::translate::losses::{Loss, Losses, unread};
use bridge_mcp::translate::to_legacy::{self, Questions};
use bridge_mcp::translate::to_modern::{self, Client, Round};
use bridge_mcp::version::Version;
use bytes::Bytes;

fn frame(text: &str) -> Frame {
    Frame::parse(Bytes::copy_from_slice(text.as_bytes()), &Limits::backend(1 << 20, 64)).unwrap()
}

fn request(method: &str, params: &str) -> Frame {
    frame(&format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#))
}

fn notification(method: &str) -> Frame {
    frame(&format!(r#"{{"jsonrpc":"2.0","method":"notifications/{method}","params":{{}}}}"#))
}

fn response(member: &str) -> Frame {
    frame(&format!(r#"{{"jsonrpc":"2.0","id":1,{member}}}"#))
}

/// A tool of a legacy server in a list.
fn tool_for_modern(members: &str) -> Losses {
    let mut lost = Losses::default();
    to_legacy::item(ListKind::Tools, format!(r#"{{"name":"t",{members}}}"#).as_bytes(), &mut lost);
    lost
}

/// A tool of a modern server in a list.
fn tool_for_legacy(members: &str) -> Losses {
    let mut lost = Losses::default();
    to_modern::item(ListKind::Tools, format!(r#"{{"name":"t",{members}}}"#).as_bytes(), &mut lost);
    lost
}

/// A question of a legacy server within a call of a client that can be asked everything, and the client's answer.
fn asked(server: Version, question: &Frame, answer: &str) -> Losses {
    let able = r#"{"_meta":{"io.modelcontextprotocol/clientCapabilities":{"sampling":{},"elicitation":{"url":{}}}}}"#;
    let mut questions = Questions::new(&request("tools/call", able), server);
    // What cannot be asked is a loss, too.
    let _ = questions.ask(question);
    let retry = format!(r#"{{"inputResponses":{answer}}}"#);
    questions.answer(&request("tools/call", &retry));
    questions.losses()
}

/// A legacy server's answer to a call.
fn answered_for_modern(member: &str) -> Losses {
    let mut lost = Losses::default();
    to_legacy::answer(&request("tools/call", "{}"), &response(member), b"{}", &mut lost);
    lost
}

/// A modern server's answer to a call of a client of `version`.
fn answered_for_legacy(version: Version, member: &str) -> Losses {
    let mut lost = Losses::default();
    to_modern::answer(&request("tools/call", "{}"), &response(member), version, &mut lost);
    lost
}

/// A modern server's result with one block of content, for a client of `version`.
fn content(version: Version, block: &str) -> Losses {
    answered_for_legacy(version, &format!(r#""result":{{"resultType":"complete","content":[{block}]}}"#))
}

/// A question of a modern server, put to a client of `version`, which refuses.
fn refused(version: Version, question: &str) -> Losses {
    let mut lost = Losses::default();
    let required =
        format!(r#""result":{{"resultType":"input_required","inputRequests":{{"a":{question}}}}}"#);
    let call = request("tools/call", "{}");
    let answer = to_modern::answer(&call, &response(&required), version, &mut lost);
    let to_modern::Answer::InputRequired(required) = answer else { return lost };
    let capabilities = Bytes::from_static(br#"{"sampling":{},"elicitation":{"form":{}}}"#);
    let client = Client { version, capabilities, client_info: Bytes::new() };
    let mut round = Round::new(required, &client, &mut lost);
    for (_, asked) in round.requests(&mut || 1) {
        let id = frame(std::str::from_utf8(&asked).unwrap()).raw_id().map(Bytes::copy_from_slice).unwrap();
        let id = std::str::from_utf8(&id).unwrap();
        let refusal = format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-1,"message":"no"}}}}"#);
        round.answered(&frame(&refusal));
    }
    lost.extend(round.losses());
    lost
}

/// A form with one field.
fn form(field: &str) -> String {
    format!(
        r#"{{"method":"elicitation/create","params":{{"message":"m","requestedSchema":{{"type":"object","properties":{{"f":{field}}}}}}}}}"#
    )
}

/// What is lost of a message made for it.
fn lost(loss: Loss) -> Losses {
    let (oldest, middle, newest) = (Version::V2024_11_05, Version::V2025_06_18, Version::V2025_11_25);
    let sampling = r#"{"method":"sampling/createMessage","params":{"messages":[],"maxTokens":1}}"#;
    match loss {
        Loss::TaskTool => tool_for_modern(r#""execution":{"taskSupport":"required"}"#),
        Loss::TaskSupport => tool_for_modern(r#""execution":{"taskSupport":"optional"}"#),
        Loss::HeaderAnnotation => {
            tool_for_modern(r#""inputSchema":{"properties":{"a":{"type":"string","x-mcp-header":"A"}}}"#)
        }
        Loss::ClientExtensions => to_legacy::undeclared(br#"{"extensions":{}}"#),
        Loss::SamplingBlocks => {
            let blocks = r#"{"sampling-1":{"role":"assistant","model":"m","content":[{"type":"text"},{"type":"text"}]}}"#;
            asked(middle, &request("sampling/createMessage", "{}"), blocks)
        }
        Loss::UndeclaredQuestion => asked(newest, &request("roots/list", "{}"), "{}"),
        Loss::QuestionOutsideCall => to_legacy::stray(&request("roots/list", "{}")),
        Loss::UrlCompletion => to_legacy::unshown(&notification("elicitation/complete"), None),
        Loss::ReservedError => answered_for_modern(r#""error":{"code":-32021,"message":"m"}"#),
        Loss::LooseLog => to_legacy::unshown(&notification("message"), None),
        Loss::SessionList => to_legacy::unshown(&notification("tools/list_changed"), None),
        Loss::CoreTasks => to_modern::unsent(&request("tools/call", r#"{"task":{}}"#)),
        Loss::ServerExtensions => to_modern::unoffered(br#"{"capabilities":{"extensions":{}}}"#),
        Loss::ServerTask => answered_for_legacy(newest, r#""result":{"resultType":"task"}"#),
        Loss::MissingCapability => answered_for_legacy(newest, r#""error":{"code":-32021,"message":"m"}"#),
        Loss::OutputSchema => tool_for_legacy(r#""outputSchema":{"type":"array"}"#),
        Loss::StructuredContent => {
            answered_for_legacy(newest, r#""result":{"content":[],"structuredContent":[1]}"#)
        }
        Loss::AudioContent => content(oldest, r#"{"type":"audio","mimeType":"audio/wav","data":""}"#),
        Loss::ResourceLink => content(oldest, r#"{"type":"resource_link","uri":"a:b","name":"n"}"#),
        Loss::MultiSelect => refused(middle, &form(r#"{"type":"array","items":{"enum":["a"]}}"#)),
        Loss::FormDefaults => refused(middle, &form(r#"{"type":"number","default":1}"#)),
        Loss::UnaskedQuestion => refused(newest, r#"{"method":"roots/list"}"#),
        Loss::RefusedQuestion => refused(newest, sampling),
        Loss::ClientNotice => to_modern::untold(&notification("roots/list_changed")),
        Loss::ServerNotice => to_modern::unshown(&notification("x/y")),
        Loss::UnreadNotice => unread(&notification("progress")),
        Loss::UnreadQuestion => unread(&request("roots/list", "{}")),
    }
}

#[test]
fn each_loss_of_the_table_is_noted_where_it_happens() {
    for loss in Loss::ALL {
        assert!(lost(*loss).iter().eq([*loss]), "{loss:?}: {:?}", lost(*loss).iter().collect::<Vec<_>>());
    }
}

#[test]
fn what_crosses_whole_is_no_loss() {
    let call = request("tools/call", "{}");
    for nothing in [
        to_legacy::undeclared(br#"{"roots":{}}"#),
        to_legacy::unshown(&notification("message"), Some("error")),
        to_legacy::unshown(&notification("cancelled"), None),
        to_legacy::stray(&notification("progress")),
        unread(&response(r#""result":{}"#)),
        to_modern::unsent(&call),
        to_modern::unoffered(br#"{"capabilities":{"tools":{}}}"#),
        to_modern::untold(&notification("cancelled")),
        to_modern::unshown(&notification("subscriptions/acknowledged")),
        answered_for_modern(r#""result":{"content":[]}"#),
        answered_for_legacy(Version::V2025_11_25, r#""result":{"content":[]}"#),
    ] {
        assert!(nothing.is_empty(), "{:?}", nothing.iter().collect::<Vec<_>>());
    }
}
