//! What keeps a replica that knows an old spec from undoing a newer one: every object says from which generation of its
//! owner it was made. Changes when another order of writers counts.

use bridge_api::meta::GENERATION;
use kube::ResourceExt as _;
use kube::core::DynamicObject;

/// Whether an object was made from a newer version of its owner than `generation`. One that does not say is not.
pub(super) fn is_newer(live: &DynamicObject, generation: Option<i64>) -> bool {
    let made = live.annotations().get(GENERATION).and_then(|made| made.parse::<i64>().ok());
    made.zip(generation).is_some_and(|(made, known)| known < made)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::apply::{Decision, decide};
    use crate::desired::{Owned, OwnedKind};
    use crate::world::ObjectName;

    #[test]
    fn a_new_generation_alone_is_no_reason_to_write() {
        let document = |replicas: u32, generation: &str| {
            json!({
                "metadata": {
                    "name": "x",
                    "annotations": { GENERATION: generation },
                    "ownerReferences": [{ "apiVersion": "v1", "kind": "k", "name": "n", "uid": "u" }],
                },
                "spec": { "replicas": replicas },
            })
        };
        let live: DynamicObject = serde_json::from_value(document(2, "1")).unwrap();
        let wanted = |replicas| Owned {
            kind: OwnedKind::Deployment,
            name: ObjectName::new("here", "x"),
            owner: "u".into(),
            generation: Some(2),
            document: document(replicas, "2"),
        };
        assert_eq!(decide(&wanted(2), Some(&live)), Decision::Nothing);
        assert_eq!(decide(&wanted(3), Some(&live)), Decision::Apply);
    }

    #[test]
    fn what_was_made_from_a_newer_spec_is_not_for_an_older_one() {
        let made = |from: Option<&str>| -> DynamicObject {
            let annotations = from.map(|from| json!({ GENERATION: from }));
            serde_json::from_value(json!({ "metadata": { "name": "x", "annotations": annotations } }))
                .unwrap()
        };
        assert!(is_newer(&made(Some("10")), Some(9)));
        assert!(!is_newer(&made(Some("10")), Some(10)));
        assert!(!is_newer(&made(Some("10")), Some(11)));
        // Made before objects said so, or by somebody who broke it: the next write puts it right.
        assert!(!is_newer(&made(None), Some(1)));
        assert!(!is_newer(&made(Some("new")), Some(1)));
    }
}
