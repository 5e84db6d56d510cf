//! What every cell of the matrix has to do. Changes when the table gets another column.

mod changes;
mod offers;
mod questions;
mod streams;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::cell::Cell;
use crate::session::Session;

/// One column of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Behaviour {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&mut Session, Cell) -> Result<()>,
}

/// All columns, in order.
pub(crate) const ALL: [Behaviour; 22] = [
    Behaviour { name: "list", run: offers::list },
    Behaviour { name: "call", run: offers::call },
    Behaviour { name: "structured", run: offers::structured },
    Behaviour { name: "image", run: offers::image },
    Behaviour { name: "audio", run: offers::audio },
    Behaviour { name: "resource", run: offers::resource },
    Behaviour { name: "prompt", run: offers::prompt },
    Behaviour { name: "error", run: offers::error },
    Behaviour { name: "completion", run: offers::completion },
    Behaviour { name: "progress", run: streams::progress },
    Behaviour { name: "log", run: streams::log },
    Behaviour { name: "cancel", run: streams::cancel },
    Behaviour { name: "list change", run: changes::lists },
    Behaviour { name: "subscription", run: changes::resource },
    Behaviour { name: "sampling", run: questions::sampling },
    Behaviour { name: "form", run: questions::form },
    Behaviour { name: "choices", run: questions::choices },
    Behaviour { name: "url", run: questions::url },
    Behaviour { name: "roots", run: questions::roots },
    Behaviour { name: "rounds", run: questions::rounds },
    Behaviour { name: "large", run: streams::large },
    Behaviour { name: "100 at once", run: streams::concurrent },
];

/// The text of a tool's result.
pub(crate) fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap_or_default()
}

/// What the server says of itself. It is in words too: some revisions know no structured content.
pub(crate) fn who(session: &mut Session) -> Result<Value> {
    let result = session.call("whoami", &json!({}))?;
    serde_json::from_str(text(&result)).with_context(|| format!("whoami says {result}"))
}
