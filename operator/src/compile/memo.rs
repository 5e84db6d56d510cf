//! What was compiled before, for as long as everything that it was made of is the same. Changes when the outcome depends on
//! another kind of object. A change of one backend among ten thousand is to cost the compilation of one.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use bridge_api::v1alpha1::{McpBackend, McpGateway};
use bridge_snapshot::push::Entry;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::credentials::Secrets;
use super::finding::Problem;
use super::gateway::Base;
use super::refs::Reference;
use crate::world::{ObjectName, World};

/// Outcomes of the compilation before.
#[derive(Debug, Default)]
pub struct Memo {
    gateways: HashMap<ObjectName, OfGateway>,
}

/// Outcomes that one gateway had a part in.
#[derive(Debug)]
pub(super) struct OfGateway {
    gateway: Arc<McpGateway>,
    base: Option<Made<Base>>,
    backends: HashMap<ObjectName, (Arc<McpBackend>, Made<Outcome>)>,
}

/// An outcome, and what was looked up on the way.
#[derive(Debug)]
struct Made<T> {
    seen: Vec<Seen>,
    outcome: Arc<T>,
}

/// A backend as pods get it, or why it is left out.
pub(super) type Outcome = Result<Encoded, Problem>;

/// A backend as pods get it.
#[derive(Debug)]
pub(super) struct Encoded {
    /// The backend, and where it is unless it is a process of the pod.
    pub(super) entries: Vec<Entry>,
    pub(super) secrets: Secrets,
    pub(super) total: usize,
    pub(super) ready: usize,
    pub(super) without_effect: Vec<&'static str>,
    pub(super) environment: Option<BTreeSet<String>>,
}

/// An object that was looked up, as it was. Another one, or the same one with another content, is another allocation.
#[derive(Debug)]
pub(super) enum Seen {
    Secret(ObjectName, Option<Arc<Secret>>),
    ConfigMap(ObjectName, Option<Arc<ConfigMap>>),
    Service(ObjectName, Option<Arc<Service>>),
    Slices(ObjectName, Vec<Arc<EndpointSlice>>),
}

impl Seen {
    /// What has to be fetched where no watch delivers it.
    pub(super) fn reference(&self) -> Option<Reference> {
        match self {
            Self::Secret(name, _) => Some(Reference::Secret(name.clone())),
            Self::ConfigMap(name, _) => Some(Reference::ConfigMap(name.clone())),
            Self::Service(..) | Self::Slices(..) => None,
        }
    }

    /// Whether somebody who looks it up now finds the same.
    fn is_current(&self, world: &World) -> bool {
        fn same<K>(one: Option<&Arc<K>>, other: Option<&Arc<K>>) -> bool {
            match (one, other) {
                (Some(one), Some(other)) => Arc::ptr_eq(one, other),
                (one, other) => one.is_none() && other.is_none(),
            }
        }
        match self {
            Self::Secret(name, found) => same(found.as_ref(), world.secrets.get(name)),
            Self::ConfigMap(name, found) => same(found.as_ref(), world.config_maps.get(name)),
            Self::Service(name, found) => same(found.as_ref(), world.services.get(name)),
            Self::Slices(name, found) => {
                found.iter().map(Arc::as_ptr).eq(world.slices.of(name).map(Arc::as_ptr))
            }
        }
    }
}

impl<T> Made<T> {
    fn is_current(&self, world: &World) -> bool {
        self.seen.iter().all(|seen| seen.is_current(world))
    }
}

impl Memo {
    /// What is known of a gateway, taken out: what is not put back is forgotten. Another specification of it makes
    /// everything another.
    pub(super) fn take(&mut self, name: &ObjectName, gateway: &Arc<McpGateway>) -> (OfGateway, OfGateway) {
        let known = self
            .gateways
            .remove(name)
            .filter(|known| Arc::ptr_eq(&known.gateway, gateway) || known.gateway.spec == gateway.spec);
        let empty = || OfGateway { gateway: Arc::clone(gateway), base: None, backends: HashMap::new() };
        (known.unwrap_or_else(empty), empty())
    }

    /// Begins anew with these.
    pub(super) fn replace(&mut self, gateways: HashMap<ObjectName, OfGateway>) {
        self.gateways = gateways;
    }
}

impl OfGateway {
    /// The part that is not of its backends.
    pub(super) fn base(
        &mut self,
        before: &mut Self,
        world: &World,
        compile: impl FnOnce() -> (Base, Vec<Seen>),
    ) -> (Arc<Base>, &[Seen]) {
        let made = before.base.take().filter(|made| made.is_current(world)).unwrap_or_else(|| {
            let (base, seen) = compile();
            Made { seen, outcome: Arc::new(base) }
        });
        let made = self.base.insert(made);
        (Arc::clone(&made.outcome), &made.seen)
    }

    /// One of its backends.
    pub(super) fn backend<E>(
        &mut self,
        before: &mut Self,
        world: &World,
        (name, backend): (&ObjectName, &Arc<McpBackend>),
        compile: impl FnOnce() -> Result<(Outcome, Vec<Seen>), E>,
    ) -> Result<(Arc<Outcome>, &[Seen]), E> {
        let known = before.backends.remove_entry(name).filter(|(_, (old, made))| {
            (Arc::ptr_eq(old, backend) || old.spec == backend.spec) && made.is_current(world)
        });
        let (name, made) = match known {
            Some((name, (_, made))) => (name, made),
            None => {
                let (outcome, seen) = compile()?;
                (name.clone(), Made { seen, outcome: Arc::new(outcome) })
            }
        };
        let (_, made) = self.backends.entry(name).insert_entry((Arc::clone(backend), made)).into_mut();
        Ok((Arc::clone(&made.outcome), &made.seen))
    }
}
