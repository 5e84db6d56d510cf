//! What an object says beside what it should say. Changes when the API server writes something in another way. Pure.

use serde_json::Value;

/// Differences that are worth naming.
const NAMED: usize = 8;

/// Whether `live` says everything that `wanted` says. Lists are compared item by item; the API server may add members to
/// items, and items of its own to no list of ours.
pub fn contains(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => wanted.iter().all(|(member, value)| {
            live.get(member).is_some_and(|there| contains(there, value)) || is_empty(value)
        }),
        (Value::Array(live), Value::Array(wanted)) => {
            live.len() == wanted.len()
                && wanted.iter().all(|item| live.iter().any(|candidate| contains(candidate, item)))
        }
        (live, wanted) => live == wanted || same_quantity(live, wanted),
    }
}

/// The fields in which `live` does not say what `wanted` says, like `spec.minReadySeconds`. Lists are named as a whole.
pub(super) fn differences(live: &Value, wanted: &Value) -> Vec<String> {
    let mut found = Vec::new();
    collect("", live, wanted, &mut found);
    found.truncate(NAMED);
    found
}

fn collect(path: &str, live: &Value, wanted: &Value, found: &mut Vec<String>) {
    match (live, wanted) {
        (live, wanted) if contains(live, wanted) => {}
        (Value::Object(live), Value::Object(wanted)) => {
            for (member, value) in wanted {
                let path = if path.is_empty() { member.clone() } else { format!("{path}.{member}") };
                match live.get(member) {
                    Some(there) => collect(&path, there, value, found),
                    None if is_empty(value) => {}
                    None => found.push(path),
                }
            }
        }
        _ => found.push(path.to_owned()),
    }
}

fn is_empty(value: &Value) -> bool {
    value.as_object().is_some_and(serde_json::Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
}

/// The API server writes quantities as text.
fn same_quantity(live: &Value, wanted: &Value) -> bool {
    matches!((live, wanted), (Value::String(live), Value::Number(wanted)) if *live == wanted.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_difference_is_named_by_its_field() {
        let wanted = json!({"spec": {"a": 1, "list": [{"x": 1}], "deep": {"b": 2, "c": 3}}, "metadata": {}});
        assert_eq!(differences(&wanted, &wanted), Vec::<String>::new());
        let live = json!({"spec": {"a": 2, "list": [], "deep": {"b": 2}, "more": true}});
        assert_eq!(differences(&live, &wanted), ["spec.a", "spec.deep.c", "spec.list"]);
    }
}
