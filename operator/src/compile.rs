//! Resources to configuration. Changes when another kind of object decides what pods get. Pure: a [`World`] goes in, what
//! pods and status need comes out.
//!
//! A defective backend is left out with a reason. A defective policy refuses everybody; it is never left out.

mod access;
mod admit;
mod attach;
mod backend;
mod credentials;
mod endpoints;
mod environment;
mod filters;
mod finding;
mod gateway;
mod listeners;
mod material;
mod memo;
mod refs;
mod services;
mod target;
mod tls;
mod unused;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bridge_api::condition::{Accepted, ResolvedRefs};
use bridge_api::v1alpha1::backend::BackendState;
use bridge_api::v1alpha1::{McpBackend, McpGateway};
use bridge_snapshot::Access;
use bridge_snapshot::push::{Entry, Key, Resource, ResourceType, Version};
use kube::ResourceExt as _;

pub use attach::StatusOwner;
pub use finding::{Finding, Problem};
pub use listeners::ListenerVerdict;
pub use memo::Memo;
pub use refs::Reference;
pub use services::ServiceNote;
pub(crate) use tls::is_insecure;

use crate::world::{ObjectName, World};
use memo::{Encoded, OfGateway, Outcome, Seen};
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
    /// The resources that say so.
    pub guards: BTreeSet<Key>,
    /// Resources for the pods.
    pub entries: BTreeMap<Key, Entry>,
    /// Whether the specification is served as it was meant.
    pub accepted: Finding<Accepted>,
    /// Whether its references lead somewhere.
    pub resolved: Finding<ResolvedRefs>,
    /// Its listeners.
    pub listeners: BTreeMap<String, ListenerVerdict>,
    /// Why everybody is refused, if that is so.
    pub refuses: Option<String>,
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
    /// Versions of the Secrets in the environment of its pods, once all are there; for stdio servers in pods of their own.
    pub environment: Option<BTreeSet<String>>,
    /// Which installation writes its status.
    pub status_owner: StatusOwner,
}

/// Compiles everything; what `memo` knows of the time before is not compiled again. It fails only if a value cannot be
/// encoded, and none of ours can fail to be.
pub fn compile(world: &World, options: &Options, memo: &mut Memo) -> Result<Compilation, serde_json::Error> {
    let mut compilation = Compilation::default();
    let speaker = attach::speaker(world);
    let mut wanting: BTreeMap<&ObjectName, Vec<(&ObjectName, &Arc<McpBackend>)>> = BTreeMap::new();
    for (name, backend) in world.backends.iter() {
        let mut verdict = BackendVerdict::of(backend);
        verdict.status_owner = attach::status_owner(world, (&options.class, speaker), backend);
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
    let mut made = HashMap::new();
    for (name, gateway) in world.gateways_of(&options.class) {
        let mut backends = wanting.remove(name).unwrap_or_default();
        backends.sort_by_cached_key(|(name, backend)| (services::age(&***backend), *name));
        let (mut before, mut now) = memo.take(name, gateway);
        let known = (&mut before, &mut now);
        let plan = plan((world, options), (name, gateway), &backends, known, &mut compilation)?;
        made.insert(name.clone(), now);
        compilation.gateways.insert(name.clone(), plan);
    }
    memo.replace(made);
    services::tell_refused(world, &options.class, &mut compilation.services);
    compilation.backends.values_mut().for_each(BackendVerdict::conclude);
    Ok(compilation)
}

fn plan(
    (world, options): (&World, &Options),
    (name, gateway): (&ObjectName, &Arc<McpGateway>),
    backends: &[(&ObjectName, &Arc<McpBackend>)],
    (before, now): (&mut OfGateway, &mut OfGateway),
    compilation: &mut Compilation,
) -> Result<GatewayPlan, serde_json::Error> {
    let make = || {
        let mut lookup = Lookup::new(world);
        let base = gateway::base(&mut lookup, options, &name.namespace, gateway);
        (base, lookup.seen)
    };
    let (base, seen) = now.base(before, world, make);
    compilation.references.extend(seen.iter().filter_map(Seen::reference));
    let exposure = (&base.snapshot.listeners, &base.snapshot.access, &base.secrets);
    let exposure = Version::of(&serde_json::to_string(&exposure)?);
    let (mut entries, mut secrets) = (BTreeMap::new(), base.secrets.clone());
    let (mut attached, mut left_out) = (BTreeMap::new(), 0);
    let mut owners: BTreeMap<String, ObjectName> = BTreeMap::new();
    // Of names that only defective backends have. The next backend gets such a name; a Service, which nothing guards, does not.
    let mut claimed: BTreeMap<String, ObjectName> = BTreeMap::new();
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
            let make = || encoded(world, options, gateway, backend);
            let (outcome, seen) = now.backend(before, world, (*backend_name, *backend), make)?;
            compilation.references.extend(seen.iter().filter_map(Seen::reference));
            // One whose references are missing is as good as served: it must not find its name taken when they come.
            let names = if matches!(*outcome, Err(Problem::Spec(_))) { &mut claimed } else { &mut owners };
            names.entry(namespace.clone()).or_insert_with(|| (*backend_name).clone());
            match &*outcome {
                Ok(compiled) if backend.spec.state == BackendState::Disabled => {
                    verdict.environment.clone_from(&compiled.environment);
                    Finding::new(Accepted::Accepted, "spec.state is Disabled; no pod knows it")
                }
                Ok(compiled) => {
                    let (total, ready) = (compiled.total, compiled.ready);
                    attached
                        .insert(namespace, Attached { backend: Some((*backend_name).clone()), total, ready });
                    (verdict.total, verdict.ready) = (total, ready);
                    verdict.environment.clone_from(&compiled.environment);
                    for (secret, values) in &compiled.secrets {
                        secrets.entry(secret.clone()).or_default().data.extend(values.data.clone());
                    }
                    entries.extend(compiled.entries.iter().map(|entry| (entry.key.clone(), entry.clone())));
                    verdict.not_in_force.extend(&compiled.without_effect);
                    let notes = finding::without_effect(&compiled.without_effect);
                    Finding::new(Accepted::Accepted, notes.unwrap_or_default())
                }
                Err(Problem::Spec(finding)) => {
                    left_out += 1;
                    finding.clone()
                }
                Err(Problem::Reference(finding)) => {
                    left_out += 1;
                    verdict.resolved = finding.clone();
                    Finding::new(Accepted::Accepted, "not served before its references can be used")
                }
            }
        };
        verdict.gateways.insert(name.clone(), accepted);
    }
    let found = services::discover(world, options, name, gateway, |namespace| {
        owners.get(namespace).or_else(|| claimed.get(namespace)).cloned()
    });
    let services = found.backends.values().map(|backend| backend.services).sum();
    let mut resources = Vec::new();
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
    let itself = Resource::Gateway(Box::new(base.snapshot.clone()));
    let keys = base.secrets.keys().map(|secret| Key::new(ResourceType::Secret, &**secret));
    let guards = keys.chain([itself.key()]).collect();
    resources.push(itself);
    for resource in resources {
        entries.insert(resource.key(), resource.encode()?);
    }
    Ok(GatewayPlan {
        exposure,
        guards,
        entries,
        accepted: base.accepted.clone(),
        resolved: base.resolved.clone(),
        listeners: base.listeners.clone(),
        refuses: match &base.snapshot.access {
            Access::Refuse { reason } => Some(reason.clone()),
            _ => None,
        },
        insecure: base.insecure.clone(),
        not_in_force: base.without_effect.iter().copied().collect(),
        attached,
        left_out: left_out + found.ignored,
        services,
        ignored: found.ignored,
    })
}

/// Compiles one backend for one gateway; also gives what was looked up for it.
fn encoded(
    world: &World,
    options: &Options,
    gateway: &McpGateway,
    backend: &McpBackend,
) -> Result<(Outcome, Vec<Seen>), serde_json::Error> {
    let mut lookup = Lookup::new(world);
    let outcome = match backend::compile(&mut lookup, options, gateway, backend) {
        Ok(compiled) => {
            let ready = compiled.endpoints.as_ref().map_or(1, |endpoints| endpoints.targets.len());
            let name = compiled.part.backend.name.clone();
            let places = compiled.endpoints.map(|places| Resource::Endpoints(name, places));
            let resources = places.into_iter().chain([Resource::Backend(Box::new(compiled.part))]);
            Ok(Encoded {
                entries: resources.map(|resource| resource.encode()).collect::<Result<_, _>>()?,
                secrets: compiled.secrets,
                total: compiled.total,
                ready,
                without_effect: compiled.without_effect,
                environment: compiled.environment,
            })
        }
        Err(problem) => Err(problem),
    };
    Ok((outcome, lookup.seen))
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
            environment: None,
            status_owner: StatusOwner::default(),
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
