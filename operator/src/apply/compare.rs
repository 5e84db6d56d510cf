//! What an object says beside what it should say. Changes when the API server writes something in another way. Pure.

use serde_json::Value;

/// Differences that are worth naming.
const NAMED: usize = 8;

/// Lists that the API server merges by a key, with a member that names every item of ours: what others have added to them
/// stays, whatever is applied (`x-kubernetes-list-map-keys` of the API). Other lists are replaced as a whole.
const MERGED: [(&str, &str); 11] = [
    ("containers", "name"),
    ("env", "name"),
    ("hostAliases", "ip"),
    ("imagePullSecrets", "name"),
    ("initContainers", "name"),
    ("ownerReferences", "uid"),
    // Of a container, and of a Service; those of a NetworkPolicy have neither.
    ("ports", "containerPort"),
    ("ports", "targetPort"),
    ("topologySpreadConstraints", "topologyKey"),
    ("volumeMounts", "mountPath"),
    ("volumes", "name"),
];

/// Suffixes of quantities (Kubernetes API, `resource.Quantity`).
const SUFFIXES: [(&str, f64); 15] = [
    ("Ki", 1024.0),
    ("Mi", 1_048_576.0),
    ("Gi", 1_073_741_824.0),
    ("Ti", 1_099_511_627_776.0),
    ("Pi", 1_125_899_906_842_624.0),
    ("Ei", 1_152_921_504_606_846_976.0),
    ("n", 1e-9),
    ("u", 1e-6),
    ("m", 1e-3),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
    ("P", 1e15),
    ("E", 1e18),
];

/// Whether two values that are neither objects nor lists say the same.
type Same = fn(&Value, &Value) -> bool;

/// Whether `live` says everything that `wanted` says. Lists are compared item by item; the API server may add members to
/// items, and others may add items to lists that are merged by a key.
pub fn contains(live: &Value, wanted: &Value) -> bool {
    says("", live, wanted, is_as_written)
}

/// The fields in which `live` does not say what `wanted` says, like `spec.minReadySeconds` or `containers[main].image`.
pub(super) fn differences(live: &Value, wanted: &Value) -> Vec<String> {
    different(live, wanted, is_as_written)
}

/// The fields that somebody has changed between what was `sent` and the `answer` to it. That the API server writes quantities
/// in another way is not one.
pub(super) fn changed_on_the_way(answer: &Value, sent: &Value) -> Vec<String> {
    different(answer, sent, is_as_meant)
}

/// `member` is what the values are called in the object that they are in.
fn says(member: &str, live: &Value, wanted: &Value, same: Same) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => wanted.iter().all(|(member, value)| {
            live.get(member).is_some_and(|there| says(member, there, value, same)) || is_empty(value)
        }),
        (Value::Array(live), Value::Array(wanted)) => {
            let complete = live.len() == wanted.len() || key(member, wanted).is_some();
            let is_there = |item| live.iter().any(|candidate| says("", candidate, item, same));
            complete && wanted.iter().all(is_there)
        }
        (live, wanted) => same(live, wanted),
    }
}

/// What names the items of a list, if others may add some.
fn key(member: &str, items: &[Value]) -> Option<&'static str> {
    let of_list = MERGED.iter().filter(|(list, _)| *list == member);
    of_list.map(|(_, key)| *key).find(|key| items.iter().all(|item| item.get(key).is_some()))
}

fn different(live: &Value, wanted: &Value, same: Same) -> Vec<String> {
    let mut found = Vec::new();
    collect("", "", (live, wanted), same, &mut found);
    found.truncate(NAMED);
    found
}

fn collect(path: &str, member: &str, (live, wanted): (&Value, &Value), same: Same, found: &mut Vec<String>) {
    match (live, wanted) {
        (live, wanted) if says(member, live, wanted, same) => {}
        (Value::Object(live), Value::Object(wanted)) => {
            for (member, value) in wanted {
                let path = if path.is_empty() { member.clone() } else { format!("{path}.{member}") };
                match live.get(member) {
                    Some(there) => collect(&path, member, (there, value), same, found),
                    None if is_empty(value) => {}
                    None => found.push(path),
                }
            }
        }
        (Value::Array(live), Value::Array(wanted)) => match key(member, wanted) {
            Some(key) => {
                for item in wanted {
                    let name = item[key].as_str().map_or_else(|| item[key].to_string(), str::to_owned);
                    let path = format!("{path}[{name}]");
                    match live.iter().find(|candidate| candidate[key] == item[key]) {
                        Some(there) => collect(&path, "", (there, item), same, found),
                        None => found.push(path),
                    }
                }
            }
            None => found.push(path.to_owned()),
        },
        _ => found.push(path.to_owned()),
    }
}

fn is_empty(value: &Value) -> bool {
    value.as_object().is_some_and(serde_json::Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
}

/// The API server writes numbers that are quantities as text.
fn is_as_written(live: &Value, wanted: &Value) -> bool {
    live == wanted
        || matches!((live, wanted), (Value::String(live), Value::Number(wanted)) if *live == wanted.to_string())
}

/// The API server writes every quantity in one way: `0.5` as `500m`.
fn is_as_meant(live: &Value, wanted: &Value) -> bool {
    let same = |(live, wanted): (f64, f64)| (live - wanted).abs() <= live.abs().max(wanted.abs()) * 1e-9;
    is_as_written(live, wanted) || quantity(live).zip(quantity(wanted)).is_some_and(same)
}

fn quantity(value: &Value) -> Option<f64> {
    let Value::String(text) = value else { return value.as_f64() };
    let scaled =
        |(suffix, scale): &(&str, f64)| Some(text.strip_suffix(suffix)?.parse::<f64>().ok()? * scale);
    let plain = || text.parse::<f64>().ok();
    SUFFIXES.iter().find_map(scaled).or_else(plain).filter(|number| number.is_finite())
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

    #[test]
    fn what_others_add_to_a_list_that_is_merged_is_theirs() {
        let ours = json!({"containers": [{"name": "main", "image": "a", "args": ["x"]}]});
        let mut live = json!({"containers": [
            {"name": "proxy", "image": "b"},
            {"name": "main", "image": "a", "args": ["x"], "env": [{"name": "MESH"}]},
        ]});
        assert!(contains(&live, &ours));
        live["containers"][1]["image"] = "c".into();
        live["containers"][1]["args"] = json!(["x", "y"]);
        assert_eq!(differences(&live, &ours), ["containers[main].args", "containers[main].image"]);
        live["containers"][1]["name"] = "other".into();
        assert_eq!(differences(&live, &ours), ["containers[main]"]);
        // A port that somebody opens is not one that somebody may add.
        let ours = json!({"ingress": [{"ports": [{"port": 1, "protocol": "TCP"}]}]});
        let live = json!({"ingress": [{"ports": [{"port": 1, "protocol": "TCP"}, {"port": 2}]}]});
        assert_eq!(differences(&live, &ours), ["ingress"]);
        assert_eq!(
            differences(&json!({"ports": [{"containerPort": 2}]}), &json!({"ports": [{"containerPort": 1}]})),
            ["ports[1]"]
        );
    }

    #[test]
    fn a_quantity_in_other_words_was_not_changed() {
        let changed = |answer: Value, sent: Value| {
            !changed_on_the_way(&json!({"x": answer}), &json!({"x": sent})).is_empty()
        };
        for (answer, sent) in [
            ("500m", json!(0.5)),
            ("500m", json!("0.5")),
            ("1", json!("1000m")),
            ("512Mi", json!("0.5Gi")),
            ("1k", json!("1e3")),
            ("2", json!(2)),
        ] {
            assert!(!changed(answer.into(), sent.clone()), "{answer} {sent}");
        }
        for (answer, sent) in
            [("500m", json!("5")), ("1Gi", json!("1G")), ("inf", json!("infinity")), ("a", json!("b"))]
        {
            assert!(changed(answer.into(), sent.clone()), "{answer} {sent}");
        }
        assert!(changed(json!(7), json!(40)));
        assert!(
            !differences(&json!({"x": "500m"}), &json!({"x": "0.5"})).is_empty(),
            "it is not as it was written"
        );
    }
}
