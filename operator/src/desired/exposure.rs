//! How a gateway is reached and watched: Services, `NetworkPolicy`, `ServiceMonitor`. Changes when another object exposes
//! it.

use bridge_api::v1alpha1::gateway::{GatewayService, SessionAffinity};
use serde_json::{Value, json};

use super::merge::merge;
use super::{Owned, OwnedKind, Subject, bootstrap};

/// The Service for clients.
pub(super) fn service(subject: &Subject<'_>) -> Owned {
    let default = GatewayService {
        kind: None,
        annotations: None,
        labels: None,
        load_balancer_class: None,
        external_traffic_policy: None,
        ip_families: None,
        session_affinity: None,
    };
    let own = subject.gateway.spec.service.as_ref().unwrap_or(&default);
    let ports = subject.gateway.spec.listeners.iter().map(|listener| {
        json!({ "name": listener.name, "port": listener.port, "targetPort": listener.name, "protocol": "TCP" })
    });
    let mut spec = json!({ "selector": subject.selector(), "ports": ports.collect::<Vec<_>>() });
    let families = own.ip_families.as_ref();
    let policy = families.map(|all| if all.len() > 1 { "RequireDualStack" } else { "SingleStack" });
    for (member, value) in [
        ("type", own.kind.map(|kind| json!(kind))),
        ("loadBalancerClass", own.load_balancer_class.as_ref().map(|class| json!(class))),
        ("externalTrafficPolicy", own.external_traffic_policy.map(|policy| json!(policy))),
        // Another pod does not know the session of a client.
        ("sessionAffinity", Some(json!(own.session_affinity.unwrap_or(SessionAffinity::ClientIP)))),
        ("ipFamilies", families.map(|families| json!(families))),
        ("ipFamilyPolicy", policy.map(|policy| json!(policy))),
    ] {
        if let Some(value) = value {
            merge(&mut spec, &json!({ member: value }));
        }
    }
    let mut body = json!({ "spec": spec });
    for (member, map) in [("annotations", &own.annotations), ("labels", &own.labels)] {
        if let Some(map) = map {
            merge(&mut body, &json!({ "metadata": { member: map } }));
        }
    }
    // A user's label cannot take the place of one by which the operator finds its objects.
    if own.labels.is_some() {
        merge(&mut body, &json!({ "metadata": { "labels": subject.labels() } }));
    }
    subject.own(OwnedKind::Service, &subject.name.name, &body)
}

/// The headless Service that names every pod, for metrics and for pods that look for each other.
pub(super) fn pods(subject: &Subject<'_>) -> Owned {
    let spec = json!({
        "clusterIP": "None",
        "publishNotReadyAddresses": true,
        "selector": subject.selector(),
        "ports": [{
            "name": "metrics",
            "port": bootstrap::metrics_port(subject),
            "targetPort": "metrics",
            "protocol": "TCP",
        }],
    });
    subject.own(OwnedKind::Service, &format!("{}-pods", subject.workload()), &json!({ "spec": spec }))
}

/// Clients and monitors get in. Where a pod goes is restricted only when the gateway lists where it may go.
pub(super) fn network_policy(subject: &Subject<'_>) -> Option<Owned> {
    let own = subject.gateway.spec.network_policy.as_ref().filter(|own| own.enabled == Some(true))?;
    let listeners = subject.gateway.spec.listeners.iter().map(|listener| listener.port);
    let open = listeners.chain([bootstrap::metrics_port(subject), crate::layout::HEALTH_PORT]);
    let ports: Vec<_> = open.map(|port| json!({ "port": port, "protocol": "TCP" })).collect();
    let mut ingress = vec![json!({ "ports": ports })];
    ingress.extend(own.extra_ingress.iter().flatten().map(|rule| json!(rule)));
    let mut spec = json!({
        "podSelector": { "matchLabels": subject.selector() },
        "policyTypes": ["Ingress"],
        "ingress": ingress,
    });
    if let Some(extra) = own.extra_egress.as_ref().filter(|extra| !extra.is_empty()) {
        let installation = subject.installation;
        let namespace = json!({ "matchLabels": { "kubernetes.io/metadata.name": installation.namespace } });
        let mut egress: Vec<Value> = vec![
            json!({ "ports": [{ "port": 53, "protocol": "UDP" }, { "port": 53, "protocol": "TCP" }] }),
            json!({
                "to": [{ "namespaceSelector": namespace }],
                "ports": [{ "port": installation.port, "protocol": "TCP" }],
            }),
        ];
        egress.extend(extra.iter().map(|rule| json!(rule)));
        merge(&mut spec, &json!({ "policyTypes": ["Ingress", "Egress"], "egress": egress }));
    }
    Some(subject.own(OwnedKind::NetworkPolicy, &subject.workload(), &json!({ "spec": spec })))
}

/// Where the Prometheus operator is installed.
pub(super) fn service_monitor(subject: &Subject<'_>) -> Option<Owned> {
    let metrics = subject.gateway.spec.observability.as_ref()?.metrics.as_ref()?;
    let own = metrics.service_monitor.as_ref().filter(|own| own.enabled == Some(true))?;
    if !subject.installation.service_monitors {
        return None;
    }
    let mut endpoint = json!({ "port": "metrics", "path": "/metrics" });
    if let Some(interval) = &own.interval {
        merge(&mut endpoint, &json!({ "interval": interval.as_str() }));
    }
    let mut body = json!({
        "spec": { "selector": { "matchLabels": subject.selector() }, "endpoints": [endpoint] },
    });
    if let Some(labels) = &own.labels {
        merge(&mut body, &json!({ "metadata": { "labels": labels } }));
        merge(&mut body, &json!({ "metadata": { "labels": subject.labels() } }));
    }
    Some(subject.own(OwnedKind::ServiceMonitor, &subject.workload(), &body))
}
