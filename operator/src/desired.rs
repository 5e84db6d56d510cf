//! The objects that a gateway owns, as documents for server-side apply. Changes when a gateway owns another object. Pure.
//!
//! A document says what the operator wants and nothing else: fields that the API server would fill in stay out of it, so
//! that they do not look like somebody's changes.

mod adapter;
mod bootstrap;
mod exposure;
mod merge;
mod pods;
pub mod replicas;
mod scaling;
mod snapshot;

use bridge_api::GROUP;
use bridge_api::meta::{APPLIED_HASH, GATEWAY_LABEL, GATEWAY_UID_LABEL, GENERATION, MANAGER};
use bridge_api::v1alpha1::McpGateway;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt as _;
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

pub use adapter::adapter;
pub(crate) use adapter::replicas as adapter_replicas;
pub(crate) use snapshot::read as read_snapshots;
pub use snapshot::{TooLarge, snapshots};

use crate::world::ObjectName;

/// Kinds of objects that the operator owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OwnedKind {
    /// core/v1.
    ServiceAccount,
    /// core/v1.
    ConfigMap,
    /// core/v1.
    Secret,
    /// core/v1.
    Service,
    /// apps/v1.
    Deployment,
    /// autoscaling/v2.
    HorizontalPodAutoscaler,
    /// policy/v1.
    PodDisruptionBudget,
    /// networking.k8s.io/v1.
    NetworkPolicy,
    /// monitoring.coreos.com/v1, where it is installed.
    ServiceMonitor,
}

impl OwnedKind {
    /// Every kind, in the order in which objects are applied: what is mounted or scaled comes before what mounts or scales.
    pub const ALL: [Self; 9] = [
        Self::ServiceAccount,
        Self::ConfigMap,
        Self::Secret,
        Self::Service,
        Self::NetworkPolicy,
        Self::PodDisruptionBudget,
        Self::Deployment,
        Self::HorizontalPodAutoscaler,
        Self::ServiceMonitor,
    ];

    /// Group, version and name of the kind.
    pub fn resource(self) -> ApiResource {
        let (group, version, kind) = match self {
            Self::ServiceAccount => ("", "v1", "ServiceAccount"),
            Self::ConfigMap => ("", "v1", "ConfigMap"),
            Self::Secret => ("", "v1", "Secret"),
            Self::Service => ("", "v1", "Service"),
            Self::Deployment => ("apps", "v1", "Deployment"),
            Self::HorizontalPodAutoscaler => ("autoscaling", "v2", "HorizontalPodAutoscaler"),
            Self::PodDisruptionBudget => ("policy", "v1", "PodDisruptionBudget"),
            Self::NetworkPolicy => ("networking.k8s.io", "v1", "NetworkPolicy"),
            Self::ServiceMonitor => ("monitoring.coreos.com", "v1", "ServiceMonitor"),
        };
        let plural = match self {
            Self::NetworkPolicy => "networkpolicies".to_owned(),
            _ => format!("{}s", kind.to_ascii_lowercase()),
        };
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), &plural)
    }
}

/// An object as it should be.
#[derive(Debug, Clone, PartialEq)]
pub struct Owned {
    /// Its kind.
    pub kind: OwnedKind,
    /// Its name.
    pub name: ObjectName,
    /// Uid of the object that owns it.
    pub owner: String,
    /// Generation of that object, from which the document was made.
    pub generation: Option<i64>,
    /// The document to apply.
    pub document: Value,
}

impl Owned {
    /// Hash of the document.
    pub fn hash(&self) -> &str {
        self.document["metadata"]["annotations"][APPLIED_HASH].as_str().unwrap_or_default()
    }

    /// What has to be there: the document but for what items of lists do not say, and for the generation of the owner,
    /// which alone is no reason to write.
    pub(crate) fn substance(&self) -> Value {
        let mut document = self.document.clone();
        if let Some(annotations) = document["metadata"]["annotations"].as_object_mut() {
            annotations.remove(GENERATION);
        }
        if let Some(document) = document.as_object_mut() {
            document.retain(|member, _| !["apiVersion", "kind"].contains(&member.as_str()));
        }
        document
    }
}

/// What the installation of the operator gives to every gateway.
#[derive(Debug, Clone)]
pub struct Installation {
    /// What no other installation is called: `namespace/service`.
    pub name: String,
    /// Image of pods that name none, with its tag or digest.
    pub image: String,
    /// Version of the operator.
    pub version: String,
    /// Where pods find operators, as `host:port`.
    pub operators: Vec<String>,
    /// Authorities that vouch for operators, PEM.
    pub authorities: String,
    /// Port of the operators.
    pub port: u16,
    /// Namespace of the operators.
    pub namespace: String,
    /// Whether `ServiceMonitor`s can be made.
    pub service_monitors: bool,
    /// Whether it may look at some namespaces only, and not at what is defined in the cluster.
    pub confined: bool,
}

/// Everything that a gateway owns but its Secrets, in the order of application. `replicas` is what the Deployment says
/// about the number of pods; `scaled` whether there is an autoscaler of ours.
pub fn owned(
    gateway: &McpGateway,
    installation: &Installation,
    replicas: Option<u32>,
    scaled: bool,
) -> Vec<Owned> {
    let subject = Subject::new(gateway, installation);
    let bootstrap = bootstrap::text(&subject);
    let mut all = vec![
        subject.own(
            OwnedKind::ServiceAccount,
            &subject.workload(),
            &json!({ "automountServiceAccountToken": false }),
        ),
        bootstrap::config_map(&subject, &bootstrap),
        exposure::service(&subject),
        exposure::pods(&subject),
        pods::deployment(&subject, replicas, &bootstrap),
    ];
    all.extend(exposure::network_policy(&subject));
    all.extend(exposure::service_monitor(&subject));
    all.extend(scaling::disruption_budget(&subject));
    if scaled {
        all.extend(scaling::autoscaler(&subject));
    }
    all.sort_by_key(|owned| OwnedKind::ALL.iter().position(|kind| *kind == owned.kind));
    all
}

/// A gateway whose objects are made.
struct Subject<'a> {
    gateway: &'a McpGateway,
    installation: &'a Installation,
    name: ObjectName,
    uid: String,
}

impl<'a> Subject<'a> {
    fn new(gateway: &'a McpGateway, installation: &'a Installation) -> Self {
        let uid = gateway.uid().unwrap_or_default();
        Self { gateway, installation, name: ObjectName::of(gateway), uid }
    }

    fn workload(&self) -> String {
        crate::layout::workload(&self.name.name)
    }

    /// What selects the pods, and nothing else ever.
    fn selector(&self) -> Value {
        json!({ GATEWAY_UID_LABEL: self.uid })
    }

    fn labels(&self) -> Value {
        json!({
            "app.kubernetes.io/name": "mcp-gateway",
            "app.kubernetes.io/instance": self.name.name,
            "app.kubernetes.io/component": "data-plane",
            "app.kubernetes.io/managed-by": MANAGER,
            pods::VERSION_LABEL: self.installation.version,
            GATEWAY_LABEL: self.name.name,
            GATEWAY_UID_LABEL: self.uid,
        })
    }

    /// An object of the gateway with these members besides its metadata.
    fn own(&self, kind: OwnedKind, name: &str, body: &Value) -> Owned {
        let owner = owner("McpGateway", &self.gateway.metadata);
        document(kind, ObjectName::new(&*self.name.namespace, name), owner, &self.labels(), body)
    }
}

/// The object that an object belongs to.
#[derive(Clone, Copy)]
struct Owner<'a> {
    kind: &'a str,
    name: &'a str,
    uid: &'a str,
    generation: Option<i64>,
}

fn owner<'a>(kind: &'a str, metadata: &'a ObjectMeta) -> Owner<'a> {
    let (name, uid) = (metadata.name.as_deref(), metadata.uid.as_deref());
    Owner {
        kind,
        name: name.unwrap_or_default(),
        uid: uid.unwrap_or_default(),
        generation: metadata.generation,
    }
}

/// An object with its owner. Owners are controllers and do not block deletion, so no finalizer has to be permitted.
fn document(kind: OwnedKind, name: ObjectName, owner: Owner<'_>, labels: &Value, body: &Value) -> Owned {
    let resource = kind.resource();
    let mut document = json!({
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {
            "name": name.name,
            "namespace": name.namespace,
            "labels": labels,
            "ownerReferences": [{
                "apiVersion": format!("{GROUP}/v1alpha1"),
                "kind": owner.kind,
                "name": owner.name,
                "uid": owner.uid,
                "controller": true,
            }],
        },
    });
    merge::merge(&mut document, body);
    let hash = pods::hash(&document.to_string());
    let mut notes = json!({ APPLIED_HASH: hash });
    if let Some(generation) = owner.generation {
        notes[GENERATION] = generation.to_string().into();
    }
    merge::merge(&mut document, &json!({ "metadata": { "annotations": notes } }));
    Owned { kind, name, owner: owner.uid.to_owned(), generation: owner.generation, document }
}
