//! What the operator knows of the cluster: the objects that decide something, by kind and name. Changes when another kind
//! of object matters. Data only; who fills it is in `watch.rs`.

mod slices;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use bridge_api::meta::{DEFAULT_CLASS, GATEWAY_UID_LABEL};
use bridge_api::v1alpha1::{McpBackend, McpGateway};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use kube::core::DynamicObject;

pub use slices::Slices;

use crate::desired::OwnedKind;

/// Label of an `EndpointSlice`: the Service that it belongs to.
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// Namespace and name of an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl ObjectName {
    /// A name in a namespace.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The name of a namespaced object.
    pub fn of(object: &impl ResourceExt) -> Self {
        Self::new(object.namespace().unwrap_or_default(), object.name_any())
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Something that is shared until it is changed, so that a change of one kind copies nothing of another.
#[derive(Debug, Clone, Default)]
pub struct Shared<T>(Arc<T>);

impl<T> Shared<T> {
    /// Whether nothing was changed since one was made from the other.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Clone> DerefMut for Shared<T> {
    fn deref_mut(&mut self) -> &mut T {
        Arc::make_mut(&mut self.0)
    }
}

/// Objects of one kind.
pub type Objects<K> = BTreeMap<ObjectName, Arc<K>>;

/// What is known of the cluster.
#[derive(Debug, Clone, Default)]
pub struct World {
    /// Every gateway, those of other classes, too.
    pub gateways: Shared<Objects<McpGateway>>,
    /// Every backend.
    pub backends: Shared<Objects<McpBackend>>,
    /// Services.
    pub services: Shared<Objects<Service>>,
    /// Endpoint slices of Services.
    pub slices: Shared<Slices>,
    /// Labels of namespaces.
    pub namespaces: Shared<BTreeMap<String, BTreeMap<String, String>>>,
    /// Secrets that are watched or were asked for.
    pub secrets: Shared<Objects<Secret>>,
    /// `ConfigMap`s that are watched or were asked for.
    pub config_maps: Shared<Objects<ConfigMap>>,
    /// Pods of gateways.
    pub pods: Shared<Objects<Pod>>,
    /// Objects that have the label of the operator, as they are.
    pub owned: Shared<BTreeMap<(OwnedKind, ObjectName), Arc<DynamicObject>>>,
    /// Autoscalers, those of others, too: one of them may scale a Deployment of ours.
    pub autoscalers: Shared<Objects<HorizontalPodAutoscaler>>,
}

impl World {
    /// The gateways of `class`.
    pub fn gateways_of<'a>(
        &'a self,
        class: &'a str,
    ) -> impl Iterator<Item = (&'a ObjectName, &'a Arc<McpGateway>)> {
        self.gateways.iter().filter(move |(_, gateway)| class_of(gateway) == class)
    }

    /// The gateways of a namespace, of every class.
    pub fn gateways_in<'a>(
        &'a self,
        namespace: &'a str,
    ) -> impl Iterator<Item = (&'a ObjectName, &'a Arc<McpGateway>)> {
        let first = ObjectName::new(namespace, "");
        self.gateways.range(first..).take_while(move |(name, _)| name.namespace == namespace)
    }

    /// An object of the operator's, as its own type.
    pub fn owned_as<K: serde::de::DeserializeOwned>(&self, kind: OwnedKind, name: &ObjectName) -> Option<K> {
        let object = self.owned.get(&(kind, name.clone()))?;
        serde_json::to_value(&**object).ok().and_then(|value| serde_json::from_value(value).ok())
    }

    /// The pods of the gateway with this uid.
    pub fn pods_of<'a>(&'a self, uid: &'a str) -> impl Iterator<Item = &'a Pod> {
        let labelled =
            move |pod: &&Pod| pod.labels().get(GATEWAY_UID_LABEL).is_some_and(|label| label == uid);
        self.pods.values().map(Arc::as_ref).filter(labelled)
    }

    /// The endpoint slices of a Service.
    pub fn slices_of(&self, service: &ObjectName) -> impl Iterator<Item = &EndpointSlice> {
        self.slices.of(service).map(Arc::as_ref)
    }
}

/// The installation that serves a gateway.
pub fn class_of(gateway: &McpGateway) -> &str {
    gateway.spec.class_name.as_deref().unwrap_or(DEFAULT_CLASS)
}
