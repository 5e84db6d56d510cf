//! The pods of a gateway and the objects around them. Changes when another property of the workload can be chosen.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::choice::choice;
use crate::schema;
use crate::v1alpha1::common::Preserved;

/// Scaling by load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "!has(self.minReplicas) || self.minReplicas <= self.maxReplicas",
    "minReplicas must not be greater than maxReplicas"
))]
pub struct Autoscaling {
    /// Fewest pods. Default: 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub min_replicas: Option<u32>,
    /// Most pods.
    #[schemars(range(min = 1, max = 1000))]
    pub max_replicas: u32,
    /// Use of CPU, as a percentage of what is requested, that scaling aims at. Default: 70.
    #[serde(rename = "targetCPUUtilizationPercent", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub target_cpu_utilization_percent: Option<u32>,
    /// Sessions per pod that scaling aims at. Needs a provider of custom metrics in the cluster. Default: not used.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub target_sessions_per_pod: Option<u32>,
    /// Further metrics of the HorizontalPodAutoscaler (autoscaling/v2), appended as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::preserved_list::<16>")]
    pub metrics: Option<Vec<Preserved>>,
    /// Behavior of the HorizontalPodAutoscaler (autoscaling/v2). Default: out at once, in slowly, because sessions stay
    /// where they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::preserved")]
    pub behavior: Option<Preserved>,
}

/// Image of the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// Repository with registry. Default: the operator's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255), regex(pattern = "^[a-z0-9][a-zA-Z0-9._:/-]*$"))]
    pub repository: Option<String>,
    /// Tag. Default: the operator's own version.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = "^[A-Za-z0-9_][A-Za-z0-9_.-]*$"))]
    pub tag: Option<String>,
    /// Digest, which wins over the tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 71), regex(pattern = "^sha256:[0-9a-f]{64}$"))]
    pub digest: Option<String>,
    /// When the image is pulled: Always, IfNotPresent or Never. Default: as Kubernetes chooses by the tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pull_policy: Option<PullPolicy>,
}

choice! {
    /// When an image is pulled.
    pub enum PullPolicy {
        /// At each start.
        Always,
        /// When the node has none.
        IfNotPresent,
        /// Never.
        Never,
    }
}

/// The Service for clients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "!has(self.loadBalancerClass) || (has(self.type) && self.type == 'LoadBalancer')",
    "loadBalancerClass has a meaning with type: LoadBalancer only"
))]
#[x_kube(validation = (
    "!has(self.externalTrafficPolicy) || (has(self.type) && self.type != 'ClusterIP')",
    "externalTrafficPolicy has a meaning with type: NodePort or LoadBalancer only"
))]
pub struct GatewayService {
    /// ClusterIP, NodePort or LoadBalancer. Default: ClusterIP.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<ServiceType>,
    /// Annotations of the Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::strings::<64, 4096>")]
    pub annotations: Option<BTreeMap<String, String>>,
    /// Labels of the Service, beside the operator's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::strings::<64, 63>")]
    pub labels: Option<BTreeMap<String, String>>,
    /// Implementation of the load balancer. Default: that of the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub load_balancer_class: Option<String>,
    /// Whether traffic from outside stays on its node, which keeps the client's address: Cluster or Local. Default:
    /// Cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_traffic_policy: Option<TrafficScope>,
    /// Families of addresses of the Service, the first one preferred: IPv4, IPv6. Pods listen on both unless IPv4 stands
    /// alone. Default: that of the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2), extend("x-kubernetes-list-type" = "atomic"))]
    pub ip_families: Option<Vec<IpFamily>>,
    /// Whether a client stays with one pod: None or ClientIP. Default: ClientIP, since a pod keeps its sessions in memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_affinity: Option<SessionAffinity>,
}

choice! {
    /// How a Service is reached.
    pub enum ServiceType {
        /// From within the cluster.
        ClusterIP,
        /// On a port of every node.
        NodePort,
        /// Through a load balancer.
        LoadBalancer,
    }
}

choice! {
    /// Where traffic from outside may go.
    pub enum TrafficScope {
        /// To pods on all nodes.
        Cluster,
        /// To pods on the node where it came.
        Local,
    }
}

choice! {
    /// A family of addresses.
    pub enum IpFamily {
        /// RFC 791.
        IPv4,
        /// RFC 8200.
        IPv6,
    }
}

choice! {
    /// Whether a client stays with one pod.
    pub enum SessionAffinity {
        /// It need not.
        None,
        /// By its address.
        ClientIP,
    }
}

/// How a pod leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "!has(self.minSeconds) || !has(self.timeoutSeconds) || self.minSeconds <= self.timeoutSeconds",
    "minSeconds must not be greater than timeoutSeconds"
))]
pub struct Drain {
    /// Seconds for which a pod serves as before, until load balancers know that it leaves. Default: 5.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 300))]
    pub min_seconds: Option<u32>,
    /// Seconds, after minSeconds, after which what is left is closed. Kubernetes ends the pod 15 seconds later. Default: 60.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3600))]
    pub timeout_seconds: Option<u32>,
}

/// How many pods may leave at once for the sake of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "[has(self.minAvailable), has(self.maxUnavailable), has(self.disabled) && self.disabled].filter(x, x).size() == 1",
    "exactly one of minAvailable, maxUnavailable and disabled: true must be set"
))]
pub struct Disruption {
    /// Pods that must stay, as a number or a percentage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::pods_or_percentage")]
    pub min_available: Option<IntOrString>,
    /// Pods that may be away, as a number or a percentage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::pods_or_percentage")]
    pub max_unavailable: Option<IntOrString>,
    /// Whether there is no PodDisruptionBudget at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
}

/// Who may connect to the pods, and where they may connect to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NetworkPolicy {
    /// Whether there is a NetworkPolicy for the pods. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Further ingress rules (networking.k8s.io/v1), appended as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::preserved_list::<32>")]
    pub extra_ingress: Option<Vec<Preserved>>,
    /// Further egress rules (networking.k8s.io/v1), appended as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::preserved_list::<32>")]
    pub extra_egress: Option<Vec<Preserved>>,
}
