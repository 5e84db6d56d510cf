//! Which cells do not simply work, why, and what they show instead. Changes when a revision or a pair of generations can
//! express more or less.

use std::fmt;
use std::time::Instant;

use anyhow::{Result, ensure};
use bridge_mcp::translate::losses::Loss;
use bridge_tests::Era;
use serde_json::{Value, json};

use crate::behaviours::{text, who};
use crate::cell::Cell;
use crate::client::WAIT;
use crate::generation::Revision;
use crate::session::Session;

/// Why a cell cannot do something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// The project's own table says so.
    Declared(Loss),
    /// The client's revision has no such thing, with whatever server.
    Revision,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Declared(loss) => write!(f, "`{}`: {}; {}", loss.as_str(), loss.feature(), loss.instead()),
            Self::Revision => write!(f, "the client's revision has no such thing"),
        }
    }
}

/// What a cell cannot do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lost {
    pub(crate) why: Why,
    /// Fails unless the cell shows what is declared.
    pub(crate) shown: fn(&mut Session, Cell) -> Result<()>,
}

/// The exception for a behaviour in a cell; usually there is none.
pub(crate) fn lost(behaviour: &str, cell: Cell) -> Option<Lost> {
    use Revision::{V2025_03_26, V2025_06_18, V2025_11_25};
    let declared = |loss, shown| Some(Lost { why: Why::Declared(loss), shown });
    let unknown = |shown| Some(Lost { why: Why::Revision, shown });
    let to_modern = cell.server == Era::Modern;
    if cell.frontend.is_original()
        && let Some(lost) = lost_to_original(behaviour, cell)
    {
        return Some(lost);
    }
    match behaviour {
        "audio" if cell.client < V2025_03_26 && to_modern => declared(Loss::AudioContent, audio_in_words),
        "structured" if cell.client < V2025_06_18 && to_modern => {
            declared(Loss::StructuredContent, structure_in_words)
        }
        "form" | "choices" | "rounds" if cell.client < V2025_06_18 => unknown(form_refused),
        "choices" if cell.client < V2025_11_25 && to_modern => declared(Loss::MultiSelect, choices_cancelled),
        "url" if cell.client < V2025_11_25 => unknown(url_refused),
        _ => None,
    }
}

/// Clients in the original's dialects read answers and nothing else.
fn lost_to_original(behaviour: &str, cell: Cell) -> Option<Lost> {
    let declared = |loss, shown| Some(Lost { why: Why::Declared(loss), shown });
    match behaviour {
        "progress" => declared(Loss::UnreadNotice, progress_unread),
        "log" => declared(Loss::UnreadNotice, log_unread),
        "list change" | "subscription" => declared(Loss::UnreadNotice, changes_unread),
        "sampling" | "form" | "choices" | "url" | "roots" | "rounds" if cell.client.is_legacy() => {
            declared(Loss::UnreadQuestion, question_unread)
        }
        _ => None,
    }
}

/// Shows that the call is answered all the same, with nothing before its answer.
fn unread(session: &mut Session, tool: &str) -> Result<()> {
    session.forget();
    let params = json!({ "name": tool, "_meta": { "progressToken": "unread" } });
    let result = session.result("tools/call", &params)?;
    ensure!(result.get("isError").is_none_or(|is_error| is_error == false), "{tool}: {result}");
    ensure!(session.nothing_came(), "{tool}: a notification came");
    Ok(())
}

fn progress_unread(session: &mut Session, _: Cell) -> Result<()> {
    unread(session, "test_tool_with_progress")
}

fn log_unread(session: &mut Session, _: Cell) -> Result<()> {
    session.log_level("info")?;
    unread(session, "test_tool_with_logging")
}

/// What has changed is seen by who looks.
fn changes_unread(session: &mut Session, _: Cell) -> Result<()> {
    let before = session.list("tools/list", "tools")?.len();
    unread(session, "test_trigger_tool_change")?;
    let deadline = Instant::now() + WAIT;
    while session.list("tools/list", "tools")?.len() == before {
        ensure!(Instant::now() < deadline, "the list has not changed");
    }
    Ok(())
}

fn question_unread(session: &mut Session, _: Cell) -> Result<()> {
    session.answer_with(|_, _| json!({ "action": "accept" }));
    for tool in ["test_sampling", "test_elicitation", "test_input_required_result_list_roots"] {
        let arguments = json!({ "prompt": "a word", "message": "Who?" });
        let refused = match session.request("tools/call", &json!({ "name": tool, "arguments": arguments }))? {
            Ok(result) => result["isError"] == true || text(&result).contains("action=cancel"),
            Err(_) => true,
        };
        ensure!(refused, "{tool} was answered without an answer");
    }
    ensure!(session.questions.is_empty(), "{:?}", session.questions);
    Ok(())
}

fn audio_in_words(session: &mut Session, _: Cell) -> Result<()> {
    let result = session.call("test_audio_content", &json!({}))?;
    ensure!(result["content"][0]["type"] == "text" && text(&result).contains("audio"), "{result}");
    Ok(())
}

fn structure_in_words(session: &mut Session, _: Cell) -> Result<()> {
    let result = session.call("whoami", &json!({}))?;
    ensure!(result.get("structuredContent").is_none(), "{result}");
    let who = who(session)?;
    ensure!(who["protocolVersion"] == Revision::V2026_07_28.as_str(), "{who}");
    let tools = session.list("tools/list", "tools")?;
    ensure!(tools.iter().all(|tool| tool.get("outputSchema").is_none()), "an output schema is listed");
    Ok(())
}

/// The server cannot ask, and says what it misses.
fn refused(session: &mut Session, tool: &str, arguments: &Value) -> Result<()> {
    let result = session.call(tool, arguments)?;
    ensure!(result["isError"] == true && result.to_string().contains("elicitation"), "{tool}: {result}");
    ensure!(session.questions.is_empty(), "{:?}", session.questions);
    Ok(())
}

fn form_refused(session: &mut Session, _: Cell) -> Result<()> {
    session.answer_with(|_, _| json!({ "action": "accept", "content": {} }));
    refused(session, "test_elicitation", &json!({ "message": "Who?" }))?;
    refused(session, "test_elicitation_sep1330_enums", &json!({}))?;
    refused(session, "test_input_required_result_multi_round", &json!({}))
}

fn url_refused(session: &mut Session, _: Cell) -> Result<()> {
    session.answer_with(|_, _| json!({ "action": "accept" }));
    refused(session, "test_elicitation_url", &json!({}))
}

fn choices_cancelled(session: &mut Session, _: Cell) -> Result<()> {
    session.answer_with(|_, _| json!({ "action": "accept", "content": {} }));
    let result = session.call("test_elicitation_sep1330_enums", &json!({}))?;
    ensure!(text(&result).contains("action=cancel"), "{result}");
    ensure!(session.questions.is_empty(), "{:?}", session.questions);
    Ok(())
}
