//! Another installation of the same class, known by what it has written. Changes when installations notice each other in
//! another way. Pure.
//!
//! Each has its Lease in its own namespace, so that one in another namespace is not seen there.

use kube::ResourceExt as _;

use crate::desired::OwnedKind;
use crate::layout;
use crate::world::{ObjectName, World};

/// The other installation to which these gateways belong, if it runs. One that has gone leaves its gateways to whoever comes.
/// As long as one gateway is ours, what others say is an edit like any other: nobody stops an operator with a `ConfigMap`.
pub(super) fn rival<'a>(
    world: &World,
    gateways: impl Iterator<Item = &'a ObjectName>,
    own: &str,
) -> Option<String> {
    let mut found = None;
    for gateway in gateways {
        let name = ObjectName::new(&*gateway.namespace, layout::bootstrap(&gateway.name));
        let Some(map) = world.owned.get(&(OwnedKind::ConfigMap, name)) else { continue };
        match map.annotations().get(layout::INSTALLATION) {
            Some(installation) if installation == own => return None,
            Some(installation) if found.is_none() && runs(world, installation) => {
                found = Some(installation.clone());
            }
            _ => {}
        }
    }
    found
}

/// Whether the Service of an installation has a ready endpoint.
fn runs(world: &World, installation: &str) -> bool {
    let Some((namespace, service)) = installation.split_once('/') else { return false };
    let service = ObjectName::new(namespace, service);
    let mut endpoints = world.slices_of(&service).flat_map(|slice| &slice.endpoints);
    endpoints
        .any(|endpoint| endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    fn gateway(name: &str) -> ObjectName {
        ObjectName::new("here", name)
    }

    fn belongs(world: &mut World, name: &str, installation: Option<&str>) {
        let annotations = installation.map(|installation| json!({ "mcp.bridge/installation": installation }));
        let metadata = json!({ "name": format!("{name}-mcpgw-bootstrap"), "annotations": annotations });
        let map = serde_json::from_value(json!({ "metadata": metadata })).unwrap();
        let key = ObjectName::new("here", format!("{name}-mcpgw-bootstrap"));
        world.owned.insert((OwnedKind::ConfigMap, key), Arc::new(map));
    }

    fn run(world: &mut World, ready: Option<bool>) {
        let endpoint = json!({ "addresses": ["10.0.0.1"], "conditions": { "ready": ready } });
        let labels = json!({ "kubernetes.io/service-name": "mcp-bridge-operator" });
        let metadata = json!({ "name": "x", "namespace": "first", "labels": labels });
        let slice = json!({ "metadata": metadata, "addressType": "IPv4", "endpoints": [endpoint] });
        world.slices.put(serde_json::from_value(slice).unwrap());
    }

    #[test]
    fn gateways_of_an_installation_that_runs_are_left_to_it() {
        const FIRST: &str = "first/mcp-bridge-operator";
        let mut world = World::default();
        let all = [gateway("a"), gateway("b")];
        let found = |world: &World| rival(world, all.iter(), "second/mcp-bridge-operator");
        assert_eq!(found(&world), None, "nothing is there");
        belongs(&mut world, "a", None);
        belongs(&mut world, "b", Some(FIRST));
        assert_eq!(found(&world), None, "it has gone");
        run(&mut world, Some(false));
        assert_eq!(found(&world), None, "none of its replicas serves");
        run(&mut world, Some(true));
        assert_eq!(found(&world).as_deref(), Some(FIRST));
        assert_eq!(rival(&world, all.iter(), FIRST), None, "it does not mind itself");
        belongs(&mut world, "a", Some("second/mcp-bridge-operator"));
        assert_eq!(found(&world), None, "somebody edits what is ours");
        belongs(&mut world, "a", Some("nonsense"));
        assert_eq!(found(&world).as_deref(), Some(FIRST));
    }
}
