//! How many pods there are, and how many may leave at once. Changes when another rule decides that.

use bridge_api::v1alpha1::gateway::Disruption;
use serde_json::{Value, json};

use super::{Owned, OwnedKind, Subject};
use crate::defaults;

/// The autoscaler. Long-lived connections cost no CPU, so sessions count beside it where they are measured.
pub(super) fn autoscaler(subject: &Subject<'_>) -> Option<Owned> {
    let own = subject.gateway.spec.autoscaling.as_ref()?;
    let minimum = own.min_replicas.unwrap_or(defaults::MIN_REPLICAS.min(own.max_replicas));
    let percent = own.target_cpu_utilization_percent.unwrap_or(defaults::CPU_PERCENT);
    let mut metrics = vec![json!({
        "type": "ContainerResource",
        "containerResource": {
            "name": "cpu",
            "container": "gateway",
            "target": { "type": "Utilization", "averageUtilization": percent },
        },
    })];
    metrics.extend(own.target_sessions_per_pod.map(|sessions| {
        json!({
            "type": "Pods",
            "pods": {
                "metric": { "name": "mcp_gateway_sessions_active" },
                "target": { "type": "AverageValue", "averageValue": sessions.to_string() },
            },
        })
    }));
    metrics.extend(own.metrics.iter().flatten().map(|metric| json!(metric)));
    let spec = json!({
        "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": subject.workload() },
        "minReplicas": minimum,
        "maxReplicas": own.max_replicas,
        "metrics": metrics,
        "behavior": own.behavior.as_ref().map_or_else(behavior, |own| json!(own)),
    });
    Some(subject.own(OwnedKind::HorizontalPodAutoscaler, &subject.workload(), &json!({ "spec": spec })))
}

/// Up at once, down slowly: whoever is connected to a pod that leaves has to connect again.
fn behavior() -> Value {
    json!({
        "scaleUp": {
            "stabilizationWindowSeconds": 0,
            "selectPolicy": "Max",
            "policies": [
                { "type": "Percent", "value": 100, "periodSeconds": 30 },
                { "type": "Pods", "value": 4, "periodSeconds": 30 },
            ],
        },
        "scaleDown": {
            "stabilizationWindowSeconds": 600,
            "selectPolicy": "Min",
            "policies": [
                { "type": "Pods", "value": 1, "periodSeconds": 60 },
                { "type": "Percent", "value": 10, "periodSeconds": 60 },
            ],
        },
    })
}

/// The disruption budget. One pod alone gets none: it would keep its node from ever being drained.
pub(super) fn disruption_budget(subject: &Subject<'_>) -> Option<Owned> {
    let spec = &subject.gateway.spec;
    let most = match &spec.autoscaling {
        Some(own) => own.max_replicas,
        None => spec.replicas.unwrap_or(defaults::REPLICAS),
    };
    let nothing = Disruption { min_available: None, max_unavailable: None, disabled: None };
    let own = spec.disruption.as_ref().unwrap_or(&nothing);
    if most < 2 || own.disabled == Some(true) {
        return None;
    }
    let (member, value) = match (&own.min_available, &own.max_unavailable) {
        (Some(minimum), _) => ("minAvailable", json!(minimum)),
        (None, Some(most)) => ("maxUnavailable", json!(most)),
        (None, None) => ("maxUnavailable", json!(1)),
    };
    let budget = json!({
        "selector": { "matchLabels": subject.selector() },
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
        member: value,
    });
    Some(subject.own(OwnedKind::PodDisruptionBudget, &subject.workload(), &json!({ "spec": budget })))
}
