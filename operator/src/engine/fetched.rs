//! Values that no watch delivers, because nobody may watch every Secret: they are read one by one. Changes when another
//! kind of value is read.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};

use super::Engine;
use crate::compile::Reference;
use crate::watch::revision;
use crate::world::{ObjectName, World};

/// A value that was read.
#[derive(Debug)]
pub enum Fetched {
    /// A Secret.
    Secret(ObjectName, Option<Arc<Secret>>),
    /// A `ConfigMap`.
    ConfigMap(ObjectName, Option<Arc<ConfigMap>>),
}

impl Engine {
    /// The world with what was fetched, where no watch knows it.
    pub(super) fn completed(&mut self) -> Arc<World> {
        // What a watch has delivered once is newer than what was read before, also when the watch delivers it no more.
        self.fetched.retain(|_, value| match value {
            Fetched::Secret(name, _) => !self.world.secrets.contains_key(name),
            Fetched::ConfigMap(name, _) => !self.world.config_maps.contains_key(name),
        });
        let mut world = Arc::clone(&self.world);
        for value in self.fetched.values() {
            match value {
                Fetched::Secret(name, Some(secret)) => {
                    Arc::make_mut(&mut world).secrets.insert(name.clone(), Arc::clone(secret));
                }
                Fetched::ConfigMap(name, Some(map)) => {
                    Arc::make_mut(&mut world).config_maps.insert(name.clone(), Arc::clone(map));
                }
                Fetched::Secret(_, None) | Fetched::ConfigMap(_, None) => {}
            }
        }
        world
    }
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
