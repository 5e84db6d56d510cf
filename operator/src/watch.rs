//! Watches: from the API server into the [`World`]. Changes when another kind of object is watched.
//!
//! A watch that was interrupted lists again and replaces what it had in one step; nothing is removed before.

mod feed;
pub mod pulse;
mod relist;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Instant;

use bridge_api::meta::{GATEWAY_UID_LABEL, MANAGER, WATCH_LABEL};
use bridge_api::v1alpha1::{McpBackend, McpGateway};
use bridge_runtime::tasks;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::core::DynamicObject;
use kube::runtime::watcher;
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::desired::OwnedKind;
use crate::world::{ObjectName, Objects, SERVICE_NAME_LABEL, World};
use feed::{Definition, Feed};
use pulse::Pulse;

/// Kinds of owned objects that are watched. The others are looked at when they are applied.
const OWNED: [OwnedKind; 7] = [
    OwnedKind::ConfigMap,
    OwnedKind::Secret,
    OwnedKind::Service,
    OwnedKind::Deployment,
    OwnedKind::HorizontalPodAutoscaler,
    OwnedKind::PodDisruptionBudget,
    OwnedKind::NetworkPolicy,
];

/// What is watched.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// These namespaces; all of them when there is none.
    pub namespaces: Vec<String>,
    /// Every Secret and `ConfigMap`, not only those with the label.
    pub all_secrets: bool,
}

/// Something has changed in the cluster.
pub struct Change {
    /// The watch that saw it.
    pub watch: Arc<str>,
    /// The resource version at which it was seen.
    pub revision: u64,
    /// Makes the same change to the world; whether that may change what pods get.
    pub apply: Box<dyn FnOnce(&mut World) -> bool + Send>,
}

impl Debug for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.watch, self.revision)
    }
}

/// Starts every watch; gives their names. The world is complete when each has reported once.
pub fn start(
    client: &Client,
    scope: &Scope,
    changes: &mpsc::Sender<Change>,
    pulse: &Pulse,
    stop: &CancellationToken,
) -> Vec<Arc<str>> {
    let marked = if scope.all_secrets {
        watcher::Config::default()
    } else {
        watcher::Config::default().labels(&format!("{WATCH_LABEL}=true"))
    };
    let any = watcher::Config::default;
    let mut starter = Starter { client, scope, changes, pulse, stop, names: Vec::new() };
    // Its status is written by the operator itself, once for each thing that a pod says.
    let gateway = |old: &McpGateway, new: &McpGateway| old.spec != new.spec || is_other(old, new);
    let backend = |old: &McpBackend, new: &McpBackend| old.spec != new.spec || is_other(old, new);
    starter.typed::<McpGateway>("mcpgateways", &any(), |world| &mut world.gateways, Some(gateway));
    starter.typed::<McpBackend>("mcpbackends", &any(), |world| &mut world.backends, Some(backend));
    starter.typed::<Service>("services", &any(), |world| &mut world.services, Some(|_, _| true));
    starter.typed::<Secret>("secrets", &marked, |world| &mut world.secrets, Some(|_, _| true));
    starter.typed::<ConfigMap>("configmaps", &marked, |world| &mut world.config_maps, Some(|_, _| true));
    // These decide about status and owned objects, and about nothing that pods get.
    let pods = any().labels(GATEWAY_UID_LABEL);
    starter.typed::<Pod>("pods", &pods, |world| &mut world.pods, None);
    starter.typed::<HorizontalPodAutoscaler>(
        "horizontalpodautoscalers",
        &any(),
        |world| &mut world.autoscalers,
        None,
    );
    starter.namespaces();
    starter.slices();
    for kind in OWNED {
        starter.owned(kind);
    }
    starter.names
}

struct Starter<'a> {
    client: &'a Client,
    scope: &'a Scope,
    changes: &'a mpsc::Sender<Change>,
    pulse: &'a Pulse,
    stop: &'a CancellationToken,
    names: Vec<Arc<str>>,
}

impl Starter<'_> {
    fn typed<K>(
        &mut self,
        kind: &'static str,
        config: &watcher::Config,
        objects: fn(&mut World) -> &mut Objects<K>,
        matters: Option<fn(&K, &K) -> bool>,
    ) where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + Debug
            + Send
            + Sync
            + 'static,
    {
        let put = move |world: &mut World, object: K, gone: bool| {
            let (name, objects) = (ObjectName::of(&object), objects(world));
            let object = Arc::new(object);
            let old = if gone { objects.remove(&name) } else { objects.insert(name, Arc::clone(&object)) };
            matters.is_some_and(|matters| gone || old.is_none_or(|old| matters(&old, &object)))
        };
        let forget = move |world: &mut World, gone: &BTreeSet<ObjectName>| {
            objects(world).retain(|name, _| !gone.contains(name));
        };
        let api = |client: Client, namespace: Option<&str>| match namespace {
            Some(namespace) => Api::<K>::namespaced(client, namespace),
            None => Api::all(client),
        };
        self.everywhere(kind, api, config, put, forget);
    }

    /// Labels of namespaces. Who is confined to some of them cannot list them, and admits none by its labels.
    fn namespaces(&mut self) {
        if !self.scope.namespaces.is_empty() {
            return;
        }
        let put = |world: &mut World, namespace: Namespace, gone: bool| {
            if gone {
                world.namespaces.remove(&namespace.name_any());
            } else {
                world.namespaces.insert(namespace.name_any(), namespace.labels().clone());
            }
            true
        };
        let forget = |world: &mut World, gone: &BTreeSet<ObjectName>| {
            world.namespaces.retain(|name, _| !gone.contains(&ObjectName::new("", &**name)));
        };
        let api = |client: Client, _: Option<&str>| Api::all(client);
        self.everywhere("namespaces", api, &watcher::Config::default(), put, forget);
    }

    fn slices(&mut self) {
        let put = |world: &mut World, slice: EndpointSlice, gone: bool| {
            if gone { world.slices.remove(&ObjectName::of(&slice)) } else { world.slices.put(slice) }
        };
        let forget = |world: &mut World, gone: &BTreeSet<ObjectName>| world.slices.forget(gone);
        let api = |client: Client, namespace: Option<&str>| match namespace {
            Some(namespace) => Api::<EndpointSlice>::namespaced(client, namespace),
            None => Api::all(client),
        };
        let config = watcher::Config::default().labels(SERVICE_NAME_LABEL);
        self.everywhere("endpointslices", api, &config, put, forget);
    }

    fn owned(&mut self, kind: OwnedKind) {
        let resource = kind.resource();
        let api = |client: Client, namespace: Option<&str>| match namespace {
            Some(namespace) => Api::<DynamicObject>::namespaced_with(client, namespace, &resource),
            None => Api::all_with(client, &resource),
        };
        let config = watcher::Config::default().labels(&format!("app.kubernetes.io/managed-by={MANAGER}"));
        let put = move |world: &mut World, object: DynamicObject, gone: bool| {
            let key = (kind, ObjectName::of(&object));
            if gone {
                world.owned.remove(&key);
            } else {
                world.owned.insert(key, Arc::new(object));
            }
            false
        };
        let forget = move |world: &mut World, gone: &BTreeSet<ObjectName>| {
            world.owned.retain(|(of, name), _| *of != kind || !gone.contains(name));
        };
        self.everywhere(&format!("owned {}", resource.plural), api, &config, put, forget);
    }

    /// Starts the watches of one kind: one, or one for each namespace.
    fn everywhere<K>(
        &mut self,
        kind: &str,
        api: impl Fn(Client, Option<&str>) -> Api<K>,
        config: &watcher::Config,
        put: impl Fn(&mut World, K, bool) -> bool + Clone + Send + Sync + 'static,
        forget: impl Fn(&mut World, &BTreeSet<ObjectName>) + Clone + Send + Sync + 'static,
    ) where
        K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    {
        let namespaces: Vec<_> = match &*self.scope.namespaces {
            [] => vec![None],
            some => some.iter().map(|namespace| Some(namespace.as_str())).collect(),
        };
        // Whoever is confined may not look at definitions.
        let definition = ["mcpgateways.mcp.bridge", "mcpbackends.mcp.bridge"]
            .into_iter()
            .find(|name| name.split_once('.').is_some_and(|(plural, _)| plural == kind))
            .filter(|_| self.scope.namespaces.is_empty());
        let definition = definition.map(|name| Definition { api: Api::all(self.client.clone()), name });
        // Short enough that a watch without an answer is noticed; the API server ends it in time.
        let seconds = u32::try_from(pulse::ROUND.as_secs()).unwrap_or(u32::MAX);
        for namespace in namespaces {
            let name: Arc<str> = match namespace {
                Some(namespace) => format!("{kind} in {namespace}").into(),
                None => kind.into(),
            };
            self.pulse.beat(&name, Instant::now());
            let feed = Feed {
                api: api(self.pulse.client(self.client, &name), namespace),
                config: config.clone().timeout(seconds),
                definition: definition.clone(),
                keep_managers: kind == "owned deployments",
                changes: self.changes.clone(),
                pulse: self.pulse.clone(),
                stop: self.stop.clone(),
                name: Arc::clone(&name),
            };
            self.names.push(name);
            tasks::spawn("watch", feed.run(put.clone(), forget.clone()));
        }
    }
}

/// Whether what a resource is called and labelled is different, or it is about to go.
fn is_other<K: Resource>(old: &K, new: &K) -> bool {
    let of = |object: &K| {
        let meta = object.meta();
        (
            meta.uid.clone(),
            meta.labels.clone(),
            meta.creation_timestamp.clone(),
            meta.deletion_timestamp.clone(),
        )
    };
    of(old) != of(new)
}

/// The number in a resource version. They are opaque to most; that they grow is promised since Kubernetes 1.35, and held
/// before.
pub(crate) fn revision(object: &impl ResourceExt) -> u64 {
    object.resource_version().and_then(|version| version.parse().ok()).unwrap_or_default()
}
