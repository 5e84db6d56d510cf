//! Statuses that this replica has written and that its view does not show yet. Changes when a write has to know something else
//! of the one before it.
//!
//! A status is written to one version of its object. The next one would be computed from the version before the write, and
//! refused, until the watch has brought the write back, which takes as long as the cluster is not seen.

use std::collections::HashMap;
use std::sync::Arc;

use kube::core::DynamicObject;
use kube::core::object::HasStatus;
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::pace::Subject;
use crate::world::{ObjectName, World};

/// Writes by object.
#[derive(Debug, Default)]
pub(super) struct Unseen(HashMap<Subject, Write>);

#[derive(Debug)]
struct Write {
    /// The version that the view has.
    over: String,
    /// What came of it.
    version: String,
    status: Value,
}

impl Unseen {
    /// A status was written to this version of its object.
    pub(super) fn wrote(&mut self, subject: Subject, to: Option<&str>, written: &DynamicObject) {
        let (Some(to), Some(version)) = (to, written.resource_version()) else { return };
        let before = self.0.remove(&subject).filter(|before| before.version == to);
        let over = before.map_or_else(|| to.to_owned(), |before| before.over);
        let status = written.data.get("status").cloned().unwrap_or_default();
        self.0.insert(subject, Write { over, version, status });
    }

    /// An object of the view, with what was written to it.
    pub(super) fn newest<K>(&self, kind: &'static str, seen: &Arc<K>) -> Arc<K>
    where
        K: Resource<DynamicType = ()> + HasStatus<Status: DeserializeOwned> + Clone,
    {
        let write = self.0.get(&(kind, ObjectName::of(&**seen)));
        let write = write.filter(|write| seen.meta().resource_version.as_ref() == Some(&write.over));
        let status = write.map(|write| (write, serde_json::from_value(write.status.clone())));
        let Some((write, Ok(status))) = status else { return Arc::clone(seen) };
        let mut newest = K::clone(seen);
        newest.meta_mut().resource_version = Some(write.version.clone());
        *newest.status_mut() = Some(status);
        Arc::new(newest)
    }

    /// Forgets what the view shows.
    pub(super) fn retain(&mut self, world: &World) {
        self.0.retain(|(kind, name), write| {
            let seen = match *kind {
                "McpGateway" => world.gateways.get(name).and_then(|seen| seen.resource_version()),
                _ => world.backends.get(name).and_then(|seen| seen.resource_version()),
            };
            seen.as_ref() == Some(&write.over)
        });
    }
}

#[cfg(test)]
mod tests {
    use bridge_api::v1alpha1::McpBackend;
    use serde_json::json;

    use super::*;

    fn seen(version: &str, tools: u32) -> Arc<McpBackend> {
        Arc::new(serde_json::from_value(object(version, tools)).unwrap())
    }

    fn object(version: &str, tools: u32) -> Value {
        json!({
            "apiVersion": "mcp.bridge/v1alpha1", "kind": "McpBackend",
            "metadata": { "name": "b", "namespace": "here", "resourceVersion": version },
            "spec": { "protocol": "StreamableHTTP" },
            "status": { "tools": { "discovered": tools, "exposed": 0, "filtered": 0 } },
        })
    }

    fn wrote(unseen: &mut Unseen, to: &str, version: &str, tools: u32) {
        let subject = ("McpBackend", ObjectName::new("here", "b"));
        unseen.wrote(subject, Some(to), &serde_json::from_value(object(version, tools)).unwrap());
    }

    fn newest(unseen: &Unseen, seen: &Arc<McpBackend>) -> (String, Option<i32>) {
        let newest = unseen.newest("McpBackend", seen);
        let tools = newest.status.as_ref().and_then(|status| Some(status.tools.as_ref()?.discovered));
        (newest.resource_version().unwrap(), tools)
    }

    #[test]
    fn what_was_written_counts_until_the_view_shows_something_newer() {
        let mut unseen = Unseen::default();
        assert_eq!(newest(&unseen, &seen("1", 0)), ("1".to_owned(), Some(0)));
        wrote(&mut unseen, "1", "2", 20);
        wrote(&mut unseen, "2", "3", 30);
        assert_eq!(newest(&unseen, &seen("1", 0)), ("3".to_owned(), Some(30)));
        assert_eq!(newest(&unseen, &seen("2", 20)), ("2".to_owned(), Some(20)));
        assert_eq!(newest(&unseen, &seen("4", 40)), ("4".to_owned(), Some(40)));
        wrote(&mut unseen, "4", "5", 50);
        assert_eq!(newest(&unseen, &seen("1", 0)), ("1".to_owned(), Some(0)), "it has moved on");
        assert_eq!(newest(&unseen, &seen("4", 40)), ("5".to_owned(), Some(50)));
    }

    #[test]
    fn what_the_view_shows_is_forgotten() {
        let mut unseen = Unseen::default();
        wrote(&mut unseen, "1", "2", 20);
        let mut world = World::default();
        let known = |world: &mut World, version| {
            world.backends.insert(ObjectName::new("here", "b"), seen(version, 0));
        };
        known(&mut world, "1");
        unseen.retain(&world);
        assert_eq!(newest(&unseen, &seen("1", 0)).0, "2");
        known(&mut world, "2");
        unseen.retain(&world);
        assert_eq!(newest(&unseen, &seen("1", 0)).0, "1");
    }
}
