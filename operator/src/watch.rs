//! Watches: from the API server into the [`World`]. Changes when another kind of object is watched.
//!
//! A watch that was interrupted lists again and replaces what it had in one step; nothing is removed before.

use std::fmt::Debug;
use std::sync::Arc;

use bridge_api::meta::{GATEWAY_UID_LABEL, MANAGER, WATCH_LABEL};
use bridge_api::v1alpha1::{McpBackend, McpGateway};
use bridge_runtime::tasks;
use futures_util::StreamExt as _;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::core::DynamicObject;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, watcher as watch};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::desired::OwnedKind;
use crate::world::{ObjectName, SERVICE_NAME_LABEL, World};

/// Annotation of `kubectl apply` that repeats the whole object.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
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

/// Something has changed in the cluster.
pub struct Change {
    /// The watch that saw it.
    pub watch: &'static str,
    /// The resource version at which it was seen.
    pub revision: u64,
    /// Makes the same change to the world.
    pub apply: Box<dyn FnOnce(&mut World) + Send>,
}

impl Debug for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.watch, self.revision)
    }
}

/// Starts every watch; gives their names. The world is complete when each has reported once.
pub fn start(
    client: &Client,
    all_secrets: bool,
    changes: &mpsc::Sender<Change>,
    stop: &CancellationToken,
) -> Vec<&'static str> {
    let marked = if all_secrets {
        watcher::Config::default()
    } else {
        watcher::Config::default().labels(&format!("{WATCH_LABEL}=true"))
    };
    let any = watcher::Config::default;
    let mut starter = Starter { client, changes, stop, names: Vec::new() };
    starter.typed::<McpGateway>(
        "mcpgateways",
        any(),
        |world, name, object| set(&mut world.gateways, name, object),
        |world| world.gateways.clear(),
    );
    starter.typed::<McpBackend>(
        "mcpbackends",
        any(),
        |world, name, object| set(&mut world.backends, name, object),
        |world| world.backends.clear(),
    );
    starter.typed::<Service>(
        "services",
        any(),
        |world, name, object| set(&mut world.services, name, object),
        |world| world.services.clear(),
    );
    starter.typed::<Secret>(
        "secrets",
        marked.clone(),
        |world, name, object| set(&mut world.secrets, name, object),
        |world| world.secrets.clear(),
    );
    starter.typed::<ConfigMap>(
        "configmaps",
        marked,
        |world, name, object| set(&mut world.config_maps, name, object),
        |world| world.config_maps.clear(),
    );
    starter.typed::<Pod>(
        "pods",
        any().labels(GATEWAY_UID_LABEL),
        |world, name, object| set(&mut world.pods, name, object),
        |world| world.pods.clear(),
    );
    starter.typed::<HorizontalPodAutoscaler>(
        "horizontalpodautoscalers",
        any(),
        |world, name, object| set(&mut world.autoscalers, name, object),
        |world| world.autoscalers.clear(),
    );
    starter.typed::<Namespace>(
        "namespaces",
        any(),
        |world, name, object| match object {
            Some(namespace) => drop(world.namespaces.insert(name.name, namespace.labels().clone())),
            None => drop(world.namespaces.remove(&name.name)),
        },
        |world| world.namespaces.clear(),
    );
    starter.slices();
    for kind in OWNED {
        starter.owned(kind);
    }
    starter.names
}

fn set<K>(objects: &mut crate::world::Objects<K>, name: ObjectName, object: Option<K>) {
    match object {
        Some(object) => drop(objects.insert(name, Arc::new(object))),
        None => drop(objects.remove(&name)),
    }
}

struct Starter<'a> {
    client: &'a Client,
    changes: &'a mpsc::Sender<Change>,
    stop: &'a CancellationToken,
    names: Vec<&'static str>,
}

impl Starter<'_> {
    fn typed<K>(
        &mut self,
        watch: &'static str,
        config: watcher::Config,
        put: fn(&mut World, ObjectName, Option<K>),
        clear: fn(&mut World),
    ) where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    {
        let put = move |world: &mut World, object: K, gone: bool| {
            let name = ObjectName::of(&object);
            put(world, name, (!gone).then_some(object));
        };
        self.run(watch, Api::<K>::all(self.client.clone()), config, put, clear);
    }

    fn slices(&mut self) {
        let put = |world: &mut World, slice: EndpointSlice, gone: bool| {
            let Some(service) = slice.labels().get(SERVICE_NAME_LABEL).cloned() else { return };
            let service = ObjectName::new(slice.namespace().unwrap_or_default(), service);
            let of_service = world.slices.entry(service.clone()).or_default();
            if gone {
                of_service.remove(&slice.name_any());
            } else {
                of_service.insert(slice.name_any(), Arc::new(slice));
            }
            if of_service.is_empty() {
                world.slices.remove(&service);
            }
        };
        let api = Api::<EndpointSlice>::all(self.client.clone());
        let config = watcher::Config::default().labels(SERVICE_NAME_LABEL);
        self.run("endpointslices", api, config, put, |world| world.slices.clear());
    }

    fn owned(&mut self, kind: OwnedKind) {
        let api = Api::<DynamicObject>::all_with(self.client.clone(), &kind.resource());
        let config = watcher::Config::default().labels(&format!("app.kubernetes.io/managed-by={MANAGER}"));
        let put = move |world: &mut World, object: DynamicObject, gone: bool| {
            let key = (kind, ObjectName::of(&object));
            if gone {
                world.owned.remove(&key);
            } else {
                world.owned.insert(key, Arc::new(object));
            }
        };
        let clear = move |world: &mut World| world.owned.retain(|(owned, _), _| *owned != kind);
        let name = match kind {
            OwnedKind::ConfigMap => "owned configmaps",
            OwnedKind::Secret => "owned secrets",
            OwnedKind::Service => "owned services",
            OwnedKind::Deployment => "owned deployments",
            OwnedKind::HorizontalPodAutoscaler => "owned horizontalpodautoscalers",
            OwnedKind::PodDisruptionBudget => "owned poddisruptionbudgets",
            OwnedKind::NetworkPolicy => "owned networkpolicies",
            OwnedKind::ServiceAccount | OwnedKind::ServiceMonitor => return,
        };
        self.run(name, api, config, put, clear);
    }

    fn run<K>(
        &mut self,
        name: &'static str,
        api: Api<K>,
        config: watcher::Config,
        put: impl Fn(&mut World, K, bool) + Clone + Send + Sync + 'static,
        clear: impl Fn(&mut World) + Clone + Send + Sync + 'static,
    ) where
        K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    {
        self.names.push(name);
        let (changes, stop) = (self.changes.clone(), self.stop.clone());
        // Managed fields say who owns the number of pods; of anything else they are only weight.
        let keep_managers = name == "owned deployments";
        let stream = watch(api, config).default_backoff().modify(move |object| slim(object, keep_managers));
        tasks::spawn("watch", async move {
            let mut stream = std::pin::pin!(stream);
            let (mut listed, mut newest) = (Vec::new(), 0);
            loop {
                let event = tokio::select! {
                    event = stream.next() => event,
                    () = stop.cancelled() => return,
                };
                let Some(event) = event else { return };
                let (put, clear) = (put.clone(), clear.clone());
                let apply: Box<dyn FnOnce(&mut World) + Send> = match event {
                    Ok(Event::Init) => {
                        listed.clear();
                        continue;
                    }
                    Ok(Event::InitApply(object)) => {
                        newest = newest.max(revision(&object));
                        listed.push(object);
                        continue;
                    }
                    Ok(Event::InitDone) => {
                        let all = std::mem::take(&mut listed);
                        Box::new(move |world| {
                            clear(world);
                            for object in all {
                                put(world, object, false);
                            }
                        })
                    }
                    Ok(Event::Apply(object)) => {
                        newest = newest.max(revision(&object));
                        Box::new(move |world| put(world, object, false))
                    }
                    Ok(Event::Delete(object)) => {
                        newest = newest.max(revision(&object));
                        Box::new(move |world| put(world, object, true))
                    }
                    Err(error) => {
                        tracing::warn!(watch = name, %error, "watch interrupted; what is known stays");
                        continue;
                    }
                };
                if changes.send(Change { watch: name, revision: newest, apply }).await.is_err() {
                    return;
                }
            }
        });
    }
}

/// The number in a resource version. They are opaque to most; that they grow is promised since Kubernetes 1.35, and held
/// before.
pub(crate) fn revision(object: &impl ResourceExt) -> u64 {
    object.resource_version().and_then(|version| version.parse().ok()).unwrap_or_default()
}

/// Leaves out what nobody here reads.
fn slim(object: &mut impl ResourceExt, keep_managers: bool) {
    if !keep_managers {
        object.managed_fields_mut().clear();
    }
    object.annotations_mut().remove(LAST_APPLIED);
}
