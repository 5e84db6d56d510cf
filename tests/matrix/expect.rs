//! Which cells do not simply work, why, and what they show instead. Changes when a pair of generations can express more or
//! less.

use anyhow::{Result, ensure};
use bridge_tests::Era;
use serde_json::json;

use crate::cell::{Cell, Frontend, Transport};
use crate::generation::Revision;
use crate::session::Session;

/// What a cell cannot do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lost {
    pub(crate) why: &'static str,
    /// Fails unless the cell shows what is declared.
    pub(crate) shown: fn(&mut Session, Cell) -> Result<()>,
}

/// The exception for a behaviour in a cell; usually there is none.
pub(crate) fn lost(behaviour: &str, cell: Cell) -> Option<Lost> {
    match behaviour {
        "list change" if lists_another_process(cell) => Some(Lost {
            why: "merged lists come from a process of the gateway's own, and what a session changes in its process is not in them",
            shown: no_change,
        }),
        _ => None,
    }
}

/// A legacy session has a child process of its own, and the fixture's changes stay in the process that was called.
fn lists_another_process(cell: Cell) -> bool {
    cell.frontend == Frontend::HttpMerged
        && cell.client == Revision::Legacy
        && cell.transport == Transport::Stdio
        && cell.server == Era::Legacy
}

fn no_change(session: &mut Session, _: Cell) -> Result<()> {
    let before = session.list("tools/list", "tools")?;
    session.forget();
    session.call("test_trigger_tool_change", &json!({}))?;
    ensure!(session.list("tools/list", "tools")? == before, "the list has changed");
    ensure!(
        session.seen("notifications/tools/list_changed") == 0,
        "a change was announced that nobody can see"
    );
    Ok(())
}
