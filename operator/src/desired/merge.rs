//! Merging documents the way strategic merge patches do. Changes when another list of pods has a key.

use serde_json::Value;

/// Lists whose items are told apart by a member, by the name of the list (core/v1, `patchMergeKey`).
const KEYS: [(&str, &str); 10] = [
    ("containers", "name"),
    ("initContainers", "name"),
    ("ephemeralContainers", "name"),
    ("env", "name"),
    ("volumes", "name"),
    ("volumeMounts", "mountPath"),
    ("ports", "containerPort"),
    ("imagePullSecrets", "name"),
    ("hostAliases", "ip"),
    ("topologySpreadConstraints", "topologyKey"),
];

/// Puts `over` over `base`: objects member by member, lists with a key item by item, everything else as a whole. A `null`
/// removes.
pub(super) fn merge(base: &mut Value, over: &Value) {
    merge_at("", base, over);
}

fn merge_at(name: &str, base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (member, value) in over {
                if value.is_null() {
                    base.remove(member);
                } else {
                    merge_at(member, base.entry(member).or_insert(Value::Null), value);
                }
            }
        }
        (Value::Array(base), Value::Array(over)) => match KEYS.iter().find(|(list, _)| *list == name) {
            Some((_, key)) => merge_items(key, base, over),
            None => base.clone_from(over),
        },
        (base, over) => base.clone_from(over),
    }
}

fn merge_items(key: &str, base: &mut Vec<Value>, over: &[Value]) {
    for item in over {
        let same = |candidate: &&mut Value| item.get(key).is_some() && candidate.get(key) == item.get(key);
        match base.iter_mut().find(same) {
            Some(there) => merge_at("", there, item),
            None => base.push(item.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn containers_are_merged_by_name_and_commands_replaced() {
        let mut base = json!({"containers": [{"name": "a", "args": ["1"], "env": [{"name": "X", "value": "1"}]}], "gone": 1});
        let over = json!({
            "containers": [
                {"name": "a", "args": ["2"], "env": [{"name": "X", "value": "2"}, {"name": "Y", "value": "3"}]},
                {"name": "side"},
            ],
            "gone": null,
            "hostNetwork": true,
        });
        merge(&mut base, &over);
        let env = json!([{"name": "X", "value": "2"}, {"name": "Y", "value": "3"}]);
        let expected = json!({
            "containers": [{"name": "a", "args": ["2"], "env": env}, {"name": "side"}],
            "hostNetwork": true,
        });
        assert_eq!(base, expected);
    }
}
