//! Endpoint slices by the Service that they belong to. Changes when something else than their label says to which.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt as _;

use super::{ObjectName, SERVICE_NAME_LABEL, Shared};

/// Endpoint slices. Each belongs to one Service at a time: the one that its label names now.
#[derive(Debug, Clone, Default)]
pub struct Slices {
    by_service: BTreeMap<ObjectName, BTreeMap<String, Arc<EndpointSlice>>>,
    /// Name of the Service of each slice, because an event does not say what its label was before. What its endpoints are
    /// does not change this, and so does not copy it.
    services: Shared<BTreeMap<ObjectName, String>>,
}

impl Slices {
    /// The slices of a Service, by their own names.
    pub fn of<'a>(&'a self, service: &ObjectName) -> impl Iterator<Item = &'a Arc<EndpointSlice>> + use<'a> {
        self.by_service.get(service).into_iter().flat_map(BTreeMap::values)
    }

    /// Puts a slice where its label says, and takes it from where that said before. Whether any Service has it, or had it.
    pub fn put(&mut self, slice: EndpointSlice) -> bool {
        let name = ObjectName::of(&slice);
        let service = slice.labels().get(SERVICE_NAME_LABEL);
        let moves = self.services.get(&name) != service;
        let had = moves && self.remove(&name);
        let Some(service) = service.cloned() else { return had };
        if moves {
            self.services.insert(name.clone(), service.clone());
        }
        let of_service = self.by_service.entry(ObjectName::new(name.namespace, service)).or_default();
        of_service.insert(name.name, Arc::new(slice));
        true
    }

    /// Takes a slice away; whether any Service had it.
    pub fn remove(&mut self, name: &ObjectName) -> bool {
        let Some(service) = self.services.remove(name) else { return false };
        let service = ObjectName::new(&*name.namespace, service);
        if let Some(of_service) = self.by_service.get_mut(&service) {
            of_service.remove(&name.name);
            if of_service.is_empty() {
                self.by_service.remove(&service);
            }
        }
        true
    }

    /// Takes all of these away.
    pub fn forget(&mut self, gone: &BTreeSet<ObjectName>) {
        for name in gone {
            self.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn slice(name: &str, service: Option<&str>) -> EndpointSlice {
        let labels = service.map(|service| json!({ SERVICE_NAME_LABEL: service }));
        let metadata = json!({ "name": name, "namespace": "here", "labels": labels });
        let slice = json!({ "metadata": metadata, "addressType": "IPv4", "endpoints": [] });
        serde_json::from_value(slice).unwrap()
    }

    fn of(slices: &Slices, service: &str) -> Vec<String> {
        slices.of(&ObjectName::new("here", service)).map(|slice| slice.name_any()).collect()
    }

    #[test]
    fn a_slice_with_another_label_leaves_the_service_that_it_was_of() {
        let mut slices = Slices::default();
        assert!(slices.put(slice("one", Some("a"))) && slices.put(slice("two", Some("a"))));
        assert!(slices.put(slice("one", Some("b"))));
        assert_eq!((of(&slices, "a"), of(&slices, "b")), (vec!["two".to_owned()], vec!["one".to_owned()]));
        assert!(slices.put(slice("one", None)), "it was of b");
        assert!(!slices.put(slice("one", None)), "it is of none");
        assert_eq!(of(&slices, "b"), [] as [&str; 0]);
    }

    #[test]
    fn a_slice_that_is_gone_is_of_no_service() {
        let (mut slices, name) = (Slices::default(), |name| ObjectName::new("here", name));
        for (name, service) in [("one", "a"), ("one", "b"), ("two", "b"), ("three", "c")] {
            slices.put(slice(name, Some(service)));
        }
        assert!(slices.remove(&name("one")), "an event may come with the label of before");
        assert!(!slices.remove(&name("one")));
        assert_eq!(of(&slices, "b"), ["two"]);
        slices.forget(&["two", "three", "four"].map(name).into());
        assert!(slices.by_service.is_empty() && slices.services.is_empty(), "{slices:?}");
    }
}
