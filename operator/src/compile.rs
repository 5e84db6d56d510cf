//! Resources to configuration. Changes when another kind of object decides what pods get. Pure: a [`World`] goes in, what
//! pods and status need comes out.
//!
//! A defective backend is left out with a reason. A defective policy refuses everybody; it is never left out.

mod access;
mod attach;
mod backend;
mod credentials;
mod endpoints;
mod filters;
mod finding;
mod gateway;
mod listeners;
mod material;
mod refs;
mod services;
mod target;
mod tls;

use std::collections::{BTreeMap, BTreeSet};

use bridge_api::condition::{Accepted, ResolvedRefs};
use bridge_api::v1alpha1::backend::BackendState;
use bridge_api::v1alpha1::{McpBackend, McpGateway};
use bridge_snapshot::push::{Entry, Key, Resource, Version};
use kube::ResourceExt as _;

pub use finding::{Finding, Problem};
pub use listeners::ListenerVerdict;
pub use refs::Reference;
pub use services::ServiceNote;
pub(crate) use tls::is_insecure;

use crate::world::{ObjectName, World};
use refs::Lookup;

/// What the installation allows.
#[derive(Debug, Clone)]
pub struct Options {
    /// Class of the gateways that are served.
    pub class: String,
    /// Whether backends may be on the pod's own address or link.
    pub allow_local_endpoints: bool,
    /// Whether backends may say that any certificate passes.
    pub allow_insecure_backends: bool,
}

/// What came of the world.
#[derive(Debug, Default)]
pub struct Compilation {
    /// Gateways of the class.
    pub gateways: BTreeMap<ObjectName, GatewayPlan>,
    /// Every backend.
    pub backends: BTreeMap<ObjectName, BackendVerdict>,
    /// What owners of Services should know.
    pub services: BTreeMap<ObjectName, BTreeSet<ServiceNote>>,
    /// Secrets and `ConfigMap`s that were looked for.
    pub references: BTreeSet<Reference>,
}

/// What the pods of one gateway get, and what there is to say about it.
#[derive(Debug)]
pub struct GatewayPlan {
    /// Who gets in, and how: another one could lock everybody out.
    pub exposure: Version,
    /// Resources for the pods.
    pub entries: BTreeMap<Key, Entry>,
    /// Whether the specification is served as it was meant.
    pub accepted: Finding<Accepted>,
    /// Whether its references lead somewhere.
    pub resolved: Finding<ResolvedRefs>,
    /// Its listeners.
    pub listeners: BTreeMap<String, ListenerVerdict>,
    /// Settings that give up protection.
    pub insecure: Vec<String>,
    /// Fields that it may leave alone without danger, and does.
    pub not_in_force: BTreeSet<&'static str>,
    /// Backends by the name that pods know.
    pub attached: BTreeMap<String, Attached>,
    /// `McpBackend`s and Services that it does not serve although they want it.
    pub left_out: usize,
    /// Services among its backends.
    pub services: usize,
    /// Services that say they are backends, and are none.
    pub ignored: usize,
}

/// Where a backend of a gateway comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// The `McpBackend`; `None` for Services.
    pub backend: Option<ObjectName>,
    /// Endpoints, ready or not.
    pub total: usize,
    /// Of these, ready.
    pub ready: usize,
}

/// What there is to say about an `McpBackend`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendVerdict {
    /// The name by which pods know it.
    pub tool_namespace: String,
    /// Whether it is served by any gateway.
    pub accepted: Finding<Accepted>,
    /// Whether its references lead somewhere.
    pub resolved: Finding<ResolvedRefs>,
    /// Fields that its gateways may leave alone without danger, and do.
    pub not_in_force: BTreeSet<&'static str>,
    /// Its gateways.
    pub gateways: BTreeMap<ObjectName, Finding<Accepted>>,
    /// Endpoints, ready or not.
    pub total: usize,
    /// Of these, ready.
    pub ready: usize,
}

/// Compiles everything. It fails only if a value cannot be encoded, and none of ours can fail to be.
pub fn compile(world: &World, options: &Options) -> Result<Compilation, serde_json::Error> {
    let mut lookup = Lookup::new(world);
    let mut compilation = Compilation::default();
    let mut wanting: BTreeMap<&ObjectName, Vec<(&ObjectName, &McpBackend)>> = BTreeMap::new();
    for (name, backend) in &world.backends {
        let mut verdict = BackendVerdict::of(backend);
        for (gateway, answer) in attach::of_backend(world, &options.class, backend) {
            match answer {
                Ok(()) => {
                    if let Some((gateway, _)) = world.gateways.get_key_value(&gateway) {
                        wanting.entry(gateway).or_default().push((name, backend));
                    }
                }
                Err(refusal) => drop(verdict.gateways.insert(gateway, refusal)),
            }
        }
        compilation.backends.insert(name.clone(), verdict);
    }
    for (name, gateway) in world.gateways_of(&options.class) {
        let mut backends = wanting.remove(name).unwrap_or_default();
        backends.sort_by_key(|(name, backend)| (services::age(*backend), *name));
        let plan = plan(&mut lookup, options, (name, gateway), &backends, &mut compilation)?;
        compilation.gateways.insert(name.clone(), plan);
    }
    compilation.backends.values_mut().for_each(BackendVerdict::conclude);
    compilation.references = lookup.asked;
    Ok(compilation)
}

fn plan(
    lookup: &mut Lookup<'_>,
    options: &Options,
    (name, gateway): (&ObjectName, &McpGateway),
    backends: &[(&ObjectName, &McpBackend)],
    compilation: &mut Compilation,
) -> Result<GatewayPlan, serde_json::Error> {
    let base = gateway::base(lookup, options, &name.namespace, gateway);
    let exposure = (&base.snapshot.listeners, &base.snapshot.access, &base.secrets);
    let exposure = Version::of(&serde_json::to_string(&exposure)?);
    let (mut resources, mut secrets) = (Vec::new(), base.secrets);
    let (mut attached, mut left_out) = (BTreeMap::new(), 0);
    let mut owners: BTreeMap<String, ObjectName> = BTreeMap::new();
    for (backend_name, backend) in backends {
        let namespace = backend::tool_namespace(backend);
        let Some(verdict) = compilation.backends.get_mut(*backend_name) else { continue };
        let accepted = if let Some(older) = owners.get(&namespace) {
            left_out += 1;
            Finding::new(
                Accepted::ToolNamespaceConflict,
                format_args!(
                    "spec.toolNamespace: McpBackend {older} is older and has {namespace} at gateway {name}"
                ),
            )
        } else {
            owners.insert(namespace.clone(), (*backend_name).clone());
            match backend::compile(lookup, options, gateway, backend) {
                Ok(_) if backend.spec.state == BackendState::Disabled => {
                    Finding::new(Accepted::Accepted, "spec.state is Disabled; no pod knows it")
                }
                Ok(compiled) => {
                    let ready = compiled.endpoints.as_ref().map_or(1, |endpoints| endpoints.targets.len());
                    let (backend, total) = (Some((*backend_name).clone()), compiled.total);
                    attached.insert(namespace.clone(), Attached { backend, total, ready });
                    (verdict.total, verdict.ready) = (total, ready);
                    for (secret, values) in compiled.secrets {
                        secrets.entry(secret).or_default().data.extend(values.data);
                    }
                    resources.extend(compiled.endpoints.map(|places| Resource::Endpoints(namespace, places)));
                    resources.push(Resource::Backend(Box::new(compiled.part)));
                    let notes = finding::without_effect(&compiled.without_effect);
                    verdict.not_in_force.extend(compiled.without_effect);
                    Finding::new(Accepted::Accepted, notes.unwrap_or_default())
                }
                Err(Problem::Spec(finding)) => {
                    left_out += 1;
                    finding
                }
                Err(Problem::Reference(finding)) => {
                    left_out += 1;
                    verdict.resolved = finding;
                    Finding::new(Accepted::Accepted, "not served before its references can be used")
                }
            }
        };
        verdict.gateways.insert(name.clone(), accepted);
    }
    let found = services::discover(lookup.world(), name, gateway, |namespace| owners.get(namespace).cloned());
    let services = found.backends.values().map(|backend| backend.services.len()).sum();
    for (namespace, backend) in found.backends {
        let ready = backend.endpoints.targets.len();
        attached.insert(namespace.clone(), Attached { backend: None, total: backend.total, ready });
        resources.push(Resource::Endpoints(namespace, backend.endpoints));
        resources.push(Resource::Backend(Box::new(backend.part)));
    }
    for (service, notes) in found.notes {
        compilation.services.entry(service).or_default().extend(notes);
    }
    resources.extend(secrets.into_iter().map(|(name, data)| Resource::Secret(name, data)));
    resources.push(Resource::Gateway(Box::new(base.snapshot)));
    let entries = resources.iter().map(|resource| Ok((resource.key(), resource.encode()?)));
    Ok(GatewayPlan {
        exposure,
        entries: entries.collect::<Result<_, serde_json::Error>>()?,
        accepted: base.accepted,
        resolved: base.resolved,
        listeners: base.listeners,
        insecure: base.insecure,
        not_in_force: base.without_effect.into_iter().collect(),
        attached,
        left_out: left_out + found.ignored,
        services,
        ignored: found.ignored,
    })
}

impl BackendVerdict {
    fn of(backend: &McpBackend) -> Self {
        Self {
            tool_namespace: backend::tool_namespace(backend),
            accepted: Finding::new(
                Accepted::NoMatchingGateway,
                format_args!(
                    "no gateway of namespace {} takes it; name one in spec.gatewayRefs",
                    backend.namespace().unwrap_or_default()
                ),
            ),
            resolved: Finding::new(ResolvedRefs::ResolvedRefs, ""),
            not_in_force: BTreeSet::new(),
            gateways: BTreeMap::new(),
            total: 0,
            ready: 0,
        }
    }

    /// One gateway that takes it is enough; the others are told one by one.
    fn conclude(&mut self) {
        let taken = self.gateways.values().find(|finding| finding.holds());
        if let Some(finding) = taken.or_else(|| self.gateways.values().next()) {
            self.accepted = finding.clone();
        }
    }
}
