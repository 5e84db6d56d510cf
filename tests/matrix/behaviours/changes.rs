//! Being told of changes. Changes when clients are told of something else.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::cell::Cell;
use crate::session::Session;

const WATCHED: &str = "test://watched-resource";
const UPDATED: &str = "notifications/resources/updated";
const TAG: &str = "io.modelcontextprotocol/subscriptionId";

/// A tag is for modern clients, and theirs.
fn tagged(session: &Session, subscription: Option<&Value>, notice: &Value) -> Result<()> {
    let tag = notice["params"]["_meta"].get(TAG);
    ensure!(tag == subscription, "{:?}: expected the tag {subscription:?}, got {notice}", session.revision);
    Ok(())
}

pub(super) fn lists(session: &mut Session, _: Cell) -> Result<()> {
    let filter =
        json!({ "toolsListChanged": true, "promptsListChanged": true, "resourcesListChanged": true });
    let subscription = session.watch(&filter)?;
    for (list, key, trigger, notification) in [
        ("tools/list", "tools", "test_trigger_tool_change", "notifications/tools/list_changed"),
        ("prompts/list", "prompts", "test_trigger_prompt_change", "notifications/prompts/list_changed"),
        (
            "resources/list",
            "resources",
            "test_trigger_resource_change",
            "notifications/resources/list_changed",
        ),
    ] {
        let before = session.list(list, key)?.len();
        session.forget();
        session.call(trigger, &json!({}))?;
        let notice = session.notice(notification)?;
        tagged(session, subscription.as_ref(), &notice)?;
        let after = session.list(list, key)?.len();
        ensure!(after != before, "{list} still has {before} items");
    }
    if let Some(id) = subscription {
        session.cancel(&id)?;
    }
    Ok(())
}

pub(super) fn resource(session: &mut Session, _: Cell) -> Result<()> {
    let trigger = |session: &mut Session| session.call("test_trigger_resource_update", &json!({})).map(drop);
    let subscription = session.watch(&json!({ "resourceSubscriptions": [WATCHED] }))?;
    session.forget();
    for _ in 0..2 {
        trigger(session)?;
        let notice = session.notice(UPDATED)?;
        ensure!(notice["params"]["uri"] == WATCHED, "{notice}");
        tagged(session, subscription.as_ref(), &notice)?;
    }
    match subscription {
        Some(id) => session.cancel(&id)?,
        None => session.result("resources/unsubscribe", &json!({ "uri": WATCHED })).map(drop)?,
    }
    trigger(session)?;
    // What is announced after it has come, so it would have come too.
    let later = session.watch(&json!({ "toolsListChanged": true }))?;
    session.call("test_trigger_tool_change", &json!({}))?;
    session.notice("notifications/tools/list_changed")?;
    ensure!(session.seen(UPDATED) == 0, "an update came twice, or after the end of the subscription");
    later.map_or(Ok(()), |id| session.cancel(&id))?;
    if session.revision.is_legacy() {
        let unknown = session.error("resources/subscribe", &json!({ "uri": "test://nothing" }))?;
        ensure!([-32002, -32602].contains(&unknown.code), "{unknown}");
    }
    Ok(())
}
