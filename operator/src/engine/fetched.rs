//! Values of objects that no watch delivers: they are read. Changes when another kind of object is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bridge_api::meta::WATCH_LABEL;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::ResourceExt;

use crate::compile::Reference;
use crate::watch::revision;
use crate::world::{ObjectName, Objects, World};

/// A value that was read. Absent means that there is no such object.
#[derive(Debug)]
pub enum Fetched {
    /// A Secret.
    Secret(ObjectName, Option<Arc<Secret>>),
    /// A `ConfigMap`.
    ConfigMap(ObjectName, Option<Arc<ConfigMap>>),
}

impl Fetched {
    pub(crate) fn reference(&self) -> Reference {
        match self {
            Self::Secret(name, _) => Reference::Secret(name.clone()),
            Self::ConfigMap(name, _) => Reference::ConfigMap(name.clone()),
        }
    }

    /// The resource version at which it was read; nothing for what is not there.
    pub(super) fn revision(&self) -> u64 {
        match self {
            Self::Secret(_, found) => found.as_deref().map(revision),
            Self::ConfigMap(_, found) => found.as_deref().map(revision),
        }
        .unwrap_or_default()
    }
}

/// What was read. A watch that delivers an object wins.
#[derive(Debug, Default)]
pub(super) struct Unwatched {
    /// Whether anything is read at all.
    reads: bool,
    secrets: Values<Secret>,
    config_maps: Values<ConfigMap>,
}

impl Unwatched {
    pub(super) fn new(reads: bool) -> Self {
        Self { reads, ..Self::default() }
    }

    pub(super) fn read(&mut self, value: Fetched) {
        match value {
            Fetched::Secret(name, found) => drop(self.secrets.0.insert(name, found)),
            Fetched::ConfigMap(name, found) => drop(self.config_maps.0.insert(name, found)),
        }
    }

    /// Nothing refers to anything else any more.
    pub(super) fn forget_all_but(&mut self, references: &BTreeSet<Reference>) {
        self.secrets.0.retain(|name, _| references.contains(&Reference::Secret(name.clone())));
        self.config_maps.0.retain(|name, _| references.contains(&Reference::ConfigMap(name.clone())));
    }

    /// The world as it is watched, with what was read. `before` is what it was completed to the last time.
    pub(super) fn complete(
        &mut self,
        watched: &Arc<World>,
        before: &World,
        references: Option<&BTreeSet<Reference>>,
    ) -> Arc<World> {
        for reference in references.into_iter().flatten().filter(|_| self.reads) {
            match reference {
                Reference::Secret(name) => self.secrets.keep(name, &watched.secrets, &before.secrets),
                Reference::ConfigMap(name) => {
                    self.config_maps.keep(name, &watched.config_maps, &before.config_maps);
                }
            }
        }
        // What a watch has delivered once is newer than what was read before, also when the watch delivers it no more.
        self.secrets.0.retain(|name, _| !watched.secrets.contains_key(name));
        self.config_maps.0.retain(|name, _| !watched.config_maps.contains_key(name));
        let mut world = Arc::clone(watched);
        for (name, secret) in self.secrets.found() {
            Arc::make_mut(&mut world).secrets.insert(name.clone(), Arc::clone(secret));
        }
        for (name, map) in self.config_maps.found() {
            Arc::make_mut(&mut world).config_maps.insert(name.clone(), Arc::clone(map));
        }
        world
    }
}

/// Of one kind. Absent means that there is no such object.
#[derive(Debug)]
struct Values<K>(BTreeMap<ObjectName, Option<Arc<K>>>);

impl<K> Default for Values<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: ResourceExt + Clone> Values<K> {
    /// What a watch delivers no more was deleted, or has lost its label. Until it was read nobody knows, and it stays.
    fn keep(&mut self, name: &ObjectName, watched: &Objects<K>, before: &Objects<K>) {
        if watched.contains_key(name) || self.0.contains_key(name) {
            return;
        }
        let kept = before.get(name).map(|object| {
            let mut object = K::clone(object);
            object.labels_mut().remove(WATCH_LABEL);
            Arc::new(object)
        });
        if kept.is_some() {
            self.0.insert(name.clone(), kept);
        }
    }

    fn found(&self) -> impl Iterator<Item = (&ObjectName, &Arc<K>)> {
        self.0.iter().filter_map(|(name, found)| Some((name, found.as_ref()?)))
    }
}
