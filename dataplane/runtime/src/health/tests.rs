use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::drain::Drain;

struct Fixed(Vec<BackendHealth>);

impl HealthSource for Fixed {
    fn backends(&self) -> Vec<BackendHealth> {
        self.0.clone()
    }
}

fn backend(name: &str, state: BackendState) -> BackendHealth {
    BackendHealth {
        name: name.to_owned(),
        namespace: format!("ns-{name}"),
        state,
        reason: None,
        protocol: Some("stdio"),
        generations: vec!["legacy"],
        endpoints: 1,
        failing_endpoints: 0,
    }
}

fn health(drain: &Drain, backends: Vec<BackendHealth>) -> (Health, Readiness) {
    let readiness = Readiness::new(drain.clone());
    (Health::new(readiness.clone(), Arc::new(Fixed(backends)), "1.2.3"), readiness)
}

fn page(health: &Health, path: &str) -> (u16, String) {
    let reply = health.respond(path, UNIX_EPOCH + Duration::from_millis(1_795_339_800_123)).unwrap();
    (reply.status, reply.body)
}

fn report(health: &Health) -> (u16, Value) {
    let (status, body) = page(health, "/health");
    (status, serde_json::from_str(&body).unwrap())
}

#[test]
fn probes_follow_the_life_of_the_process_and_ignore_backends() {
    let drain = Drain::new();
    let (health, readiness) = health(&drain, vec![backend("a", BackendState::Unhealthy)]);
    let gate = readiness.gate("listener");
    assert_eq!(page(&health, "/healthz"), (200, "OK".to_owned()));
    assert_eq!(page(&health, "/ready"), (503, "Not ready".to_owned()));
    gate.release();
    assert_eq!(page(&health, "/ready"), (200, "Ready".to_owned()));
    drain.start();
    assert_eq!(page(&health, "/ready"), (503, "Not ready".to_owned()));
    assert_eq!(page(&health, "/healthz"), (200, "OK".to_owned()));
}

#[test]
fn the_report_has_both_shapes_of_the_original() {
    let mut failing = backend("b", BackendState::Unhealthy);
    failing.reason = Some("connection refused".to_owned());
    let (health, _) = health(&Drain::new(), vec![backend("a", BackendState::Healthy), failing]);
    let (status, body) = report(&health);
    assert_eq!(status, 200);
    for key in ["healthy", "message", "checks", "version", "subsystems", "details"] {
        assert!(!body[key].is_null(), "{key} is missing in {body}");
    }
    assert_eq!(body["healthy"], true);
    assert_eq!(body["status"], "healthy");
    assert_eq!(body["message"], "1 of 2 backends are failing");
    assert_eq!(body["endpoints"], 2);
    assert_eq!(body["healthy_endpoints"], 1);
    assert_eq!(body["namespaces"], json!(["ns-a", "ns-b"]));
    assert_eq!(body["timestamp"], "2026-11-22T09:30:00.123Z");
    assert_eq!(body["version"], "1.2.3");
    assert_eq!(body["checks"]["endpoints"]["healthy"], true);
    assert_eq!(body["details"]["healthy_endpoints"], 1);
    let b = &body["subsystems"]["backends"]["b"];
    assert_eq!(b["state"], "unhealthy");
    assert_eq!(b["reason"], "connection refused");
    assert_eq!((&b["protocol"], &b["generations"]), (&json!("stdio"), &json!(["legacy"])));
    assert_eq!((&b["endpoints"], &b["failing_endpoints"]), (&json!(1), &json!(0)));
    assert_eq!(body["details"]["subsystems"], body["subsystems"]);
}

#[test]
fn the_report_fails_only_when_nothing_can_be_served() {
    use BackendState::{Healthy, Unhealthy, Unknown};
    for (states, status) in [
        (vec![], 200),
        (vec![Unknown], 200),
        (vec![Unknown, Unhealthy], 200),
        (vec![Healthy, Unhealthy], 200),
        (vec![Unhealthy, Unhealthy], 503),
    ] {
        let backends =
            states.iter().enumerate().map(|(index, state)| backend(&index.to_string(), *state)).collect();
        let (health, _) = health(&Drain::new(), backends);
        let (got, body) = report(&health);
        assert_eq!(got, status, "{states:?}");
        assert_eq!(body["healthy"], status == 200, "{states:?}");
    }
}

/// A pod of an operator.
struct Configured(Option<OtherPods>);

impl HealthSource for Configured {
    fn backends(&self) -> Vec<BackendHealth> {
        Vec::new()
    }

    fn configuration(&self) -> Option<Configuration> {
        let message = "revision 7 of the operator".to_owned();
        Some(Configuration { healthy: true, source: Some("stream"), message, peers: self.0.clone() })
    }
}

#[test]
fn the_report_names_other_pods_when_an_operator_has() {
    let page = |peers| {
        let readiness = Readiness::new(Drain::new());
        report(&Health::new(readiness, Arc::new(Configured(peers)), "1.2.3")).1["subsystems"].clone()
    };
    assert_eq!(page(None).get("peers"), None);
    let peers = page(Some(OtherPods { count: 12, some: vec!["main-1".to_owned()] }))["peers"].clone();
    assert_eq!((&peers["count"], &peers["pods"]), (&json!(12), &json!(["main-1"])));
    assert_eq!(peers["healthy"], true, "to be alone is no fault");
}

#[test]
fn the_report_names_what_startup_waits_for() {
    let (health, readiness) = health(&Drain::new(), vec![]);
    let _gate = readiness.gate("listener main");
    let (status, body) = report(&health);
    assert_eq!(status, 503);
    assert_eq!(body["status"], "unhealthy");
    assert_eq!(body["message"], "starting, waiting for listener main");
}

#[test]
fn other_paths_are_not_health_pages() {
    let (health, _) = health(&Drain::new(), vec![]);
    for path in ["/", "/mcp", "/healthz/", "/health/x"] {
        assert_eq!(health.respond(path, UNIX_EPOCH), None, "{path}");
    }
}
