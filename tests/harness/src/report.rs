//! Compares what two runs of a published client reported. Changes with what counts as the same for a client's user.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

/// The progress of calls: some clients stop to listen when the answer arrives, so that how much they see is chance.
pub const PROGRESS: &str = "notifications/progress";

/// What arrived, without the tokens and ids that each connection chooses for itself.
pub fn events(report: &Value) -> Vec<Value> {
    let mut events = report["events"].as_array().cloned().unwrap_or_default();
    for event in &mut events {
        if let Some(params) = event["params"].as_object_mut() {
            params.remove("_meta");
        }
    }
    events
}

/// How many events of one method arrived.
pub fn count(report: &Value, method: &str) -> usize {
    events(report).iter().filter(|event| event["method"] == method).count()
}

/// The text of a step's result: of its first content, wherever that kind of result keeps it.
pub fn text(report: &Value, step: usize) -> &str {
    let result = &report["steps"][step]["result"];
    [&result["content"][0]["text"], &result["contents"][0]["text"], &result["messages"][0]["content"]["text"]]
        .into_iter()
        .find_map(Value::as_str)
        .unwrap_or_default()
}

/// Fails at the first step of the plan whose outcomes differ.
///
/// # Panics
/// When the two differ.
pub fn assert_same_steps(through: &Value, direct: &Value, plan: &Value, who: &str) {
    for (index, step) in plan["steps"].as_array().into_iter().flatten().enumerate() {
        assert_same(&through["steps"][index], &direct["steps"][index], &format!("{who}: {step}"));
    }
}

/// Fails with the first place where the two differ, not with both documents.
///
/// # Panics
/// When the two differ.
pub fn assert_same(through: &Value, direct: &Value, what: &str) {
    let difference = difference(through, direct, "");
    assert!(
        difference.is_none(),
        "{what}: through the gateway and directly differ {}",
        difference.unwrap_or_default()
    );
}

fn difference(left: &Value, right: &Value, at: &str) -> Option<String> {
    match (left, right) {
        (Value::Object(left), Value::Object(right)) => {
            let keys: BTreeSet<_> = left.keys().chain(right.keys()).collect();
            let member = |object: &Map<String, Value>, key: &str| {
                object.get(key).cloned().unwrap_or(json!("(absent)"))
            };
            keys.into_iter()
                .find_map(|key| difference(&member(left, key), &member(right, key), &format!("{at}/{key}")))
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => left
            .iter()
            .zip(right)
            .enumerate()
            .find_map(|(index, (l, r))| difference(l, r, &format!("{at}/{index}"))),
        _ => (left != right).then(|| format!("at {at}: {left} and {right}")),
    }
}
