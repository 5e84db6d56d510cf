//! Fields that somebody else owns and keeps: labels and annotations that a user asked for, where another manager says
//! something else. Changes when another field is not worth a quarrel.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bridge_api::GROUP;
use kube::core::Status;

use super::Object;
use crate::desired::{Owned, OwnedKind};

/// The maps whose members may be left to somebody else.
const MAPS: [&str; 2] = ["annotations", "labels"];

/// What was left to others, by object: map and member.
#[derive(Debug, Default)]
pub(super) struct Yielded(HashMap<Object, BTreeSet<(&'static str, String)>>);

impl Yielded {
    /// The document without what was left to others.
    pub(super) fn without(&self, desired: &Owned) -> Owned {
        let mut rest = desired.clone();
        let object = (desired.kind, desired.name.clone());
        for (map, member) in self.0.get(&object).into_iter().flatten() {
            if let Some(map) = rest.document["metadata"][*map].as_object_mut() {
                map.remove(member);
            }
        }
        rest
    }

    /// Whether a conflict over this object may end with yielding.
    pub(super) const fn may(kind: OwnedKind) -> bool {
        // Load balancers of clouds write to Services. Nothing else of ours is anybody else's business.
        matches!(kind, OwnedKind::Service)
    }

    /// Leaves what a conflict is about to others, where that may be; says which fields.
    pub(super) fn learn(&mut self, desired: &Owned, conflict: &Status) -> BTreeMap<String, String> {
        let causes = conflict.details.iter().flat_map(|details| &details.causes);
        let mut fields = BTreeMap::new();
        for cause in causes {
            let member = MAPS.iter().find_map(|map| {
                let member = cause.field.strip_prefix(&format!(".metadata.{map}."))?;
                // Those of ours are how objects are found, and are never left to anybody.
                let ours = member.starts_with(GROUP) || member.starts_with("app.kubernetes.io/");
                (!ours).then_some((*map, member.to_owned()))
            });
            if let Some((map, member)) = member {
                fields.insert(format!("metadata.{map}.{member}"), cause.message.clone());
                self.0.entry((desired.kind, desired.name.clone())).or_default().insert((map, member));
            }
        }
        fields
    }

    /// Forgets objects that are gone.
    pub(super) fn retain(&mut self, exists: impl Fn(&Object) -> bool) {
        self.0.retain(|object, _| exists(object));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::world::ObjectName;

    #[test]
    fn an_annotation_of_somebody_elses_is_left_to_them_and_ours_is_not() {
        let document = json!({"metadata": {"annotations": {"cloud/x": "1", "mcp.bridge/applied-hash": "h"}}, "spec": {"ports": []}});
        let desired = Owned {
            kind: OwnedKind::Service,
            name: ObjectName::new("here", "main"),
            owner: "u".into(),
            generation: None,
            document,
        };
        let conflict: Status = serde_json::from_value(json!({"code": 409, "details": {"causes": [
            {"reason": "FieldManagerConflict", "field": ".metadata.annotations.cloud/x", "message": "conflict with \"cloud\""},
            {"reason": "FieldManagerConflict", "field": ".metadata.annotations.mcp.bridge/applied-hash", "message": "conflict"},
            {"reason": "FieldManagerConflict", "field": ".spec.ports", "message": "conflict"},
        ]}}))
        .unwrap();
        let mut yielded = Yielded::default();
        let fields = yielded.learn(&desired, &conflict);
        assert_eq!(fields.into_keys().collect::<Vec<_>>(), ["metadata.annotations.cloud/x"]);
        let rest = yielded.without(&desired).document;
        assert_eq!(
            rest,
            json!({"metadata": {"annotations": {"mcp.bridge/applied-hash": "h"}}, "spec": {"ports": []}})
        );
    }
}
