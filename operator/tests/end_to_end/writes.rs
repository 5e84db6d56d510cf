//! What the operator writes, and what becomes of it: objects that the API server does not take, objects that somebody
//! changes. Changes when another write may go wrong.

use serde_json::{Value, json};

use crate::kit::api::Api;
use crate::{
    BACKENDS, DEPLOYMENTS, GATEWAYS, Running, backend, cluster, condition, eventually, gateway, run_pod,
    wait_condition,
};

const SECRETS: &str = "/v1/secrets";
const POLICIES: &str = "PATCH /apis/networking.k8s.io/v1/namespaces/here/networkpolicies/";

fn count(api: &Api, begin: &str) -> usize {
    api.requests().iter().filter(|line| line.starts_with(begin)).count()
}

/// Waits until the Lease was renewed so often, which takes two seconds each.
async fn renewals(api: &Api, times: usize) {
    let leases = || count(api, "PUT /apis/coordination.k8s.io");
    let before = leases();
    eventually("renewals", || (leases() >= before + times).then_some(())).await;
}

fn guarded(port: u16) -> Value {
    gateway(&json!({"networkPolicy": {"enabled": true, "extraIngress": [{"ports": [{"port": port}]}]}}))
}

fn events(api: &Api, reason: &str) -> Vec<Value> {
    let all = api.all("events.k8s.io/v1/events", "here");
    all.into_iter().filter(|event| event["reason"] == reason).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_api_server_refuses_is_told_and_keeps_nothing_else_from_being_applied() {
    let api = cluster();
    api.fail("PATCH /apis/networking.k8s.io", 422);
    api.put(&guarded(1));
    let operator = Running::start(&api).await;
    let message = wait_condition(&api, GATEWAYS, "main", "Accepted", "Invalid").await;
    assert_eq!(message, "NetworkPolicy here/main-mcpgw is refused: scripted");
    eventually("the Deployment", || api.get(DEPLOYMENTS, "here", "main-mcpgw")).await;
    renewals(&api, 2).await;
    let tried = count(&api, POLICIES);
    assert!((2..=4).contains(&tried), "after one second, two, and four: {tried}");
    let told = events(&api, "Rejected");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0]["note"].as_str().unwrap().contains("is refused: scripted"), "{told:?}");
    api.heal();
    api.put(&guarded(2));
    wait_condition(&api, GATEWAYS, "main", "Accepted", "Accepted").await;
    assert_eq!(count(&api, POLICIES), tried + 1, "tried at once");
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_whose_pods_cannot_be_made_says_why() {
    let api = cluster();
    let mut child = backend("child", "unused");
    child["spec"] = json!({"protocol": "Stdio", "stdio": {"image": "tools:1", "command": ["serve"]}});
    api.put(&child);
    api.put(&json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "mcpbe-child", "namespace": "here"}, "spec": {"ports": [{"port": 1}]}}));
    let operator = Running::start(&api).await;
    let message = wait_condition(&api, BACKENDS, "child", "Accepted", "NameConflict").await;
    assert_eq!(message, "Service here/mcpbe-child exists and belongs to somebody else");
    api.fail("PATCH /apis/apps/v1/namespaces/here/deployments/mcpbe-child", 422);
    api.remove(DEPLOYMENTS, "here", "mcpbe-child");
    api.remove("/v1/services", "here", "mcpbe-child");
    let message = wait_condition(&api, BACKENDS, "child", "Accepted", "Invalid").await;
    assert_eq!(message, "Deployment here/mcpbe-child is refused: scripted");
    assert_eq!(condition(&api, GATEWAYS, "main", "Accepted").unwrap().0, "Accepted");
    api.heal();
    wait_condition(&api, BACKENDS, "child", "Accepted", "Accepted").await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cold_start_secrets_are_put_right_by_what_they_hold() {
    const PART: &str = "main-mcpgw-snapshot-0";
    let api = cluster();
    let first = Running::start(&api).await;
    let part = eventually("a cold start", || api.get(SECRETS, "here", PART)).await;
    let writes = || count(&api, &format!("PATCH /api/v1/namespaces/here/secrets/{PART}"));
    renewals(&api, 2).await;
    assert_eq!(writes(), 1, "it holds what it should");
    api.remove(SECRETS, "here", PART);
    let again = eventually("another one", || api.get(SECRETS, "here", PART)).await;
    assert_eq!(again["data"], part["data"]);
    first.stop().await;
    // Whoever comes next believes what it sees, and not what anybody wrote once.
    let before = writes();
    let second = Running::start(&api).await;
    renewals(&api, 2).await;
    assert_eq!(writes(), before, "it holds what it should");
    api.put(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": PART, "namespace": "here"}, "data": {"part-000": "e30="}}));
    eventually("a correction", || (writes() > before).then_some(())).await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_monitor_is_not_looked_at_at_every_change_of_anything() {
    let api = cluster();
    api.put(&json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "servicemonitors.monitoring.coreos.com"},
        "spec": {"group": "monitoring.coreos.com", "names": {"kind": "ServiceMonitor", "plural": "servicemonitors"}, "scope": "Namespaced", "versions": []}}));
    api.put(&gateway(&json!({"observability": {"metrics": {"serviceMonitor": {"enabled": true}}}})));
    let operator = Running::start(&api).await;
    let monitors = "monitoring.coreos.com/v1/servicemonitors";
    eventually("the monitor", || api.get(monitors, "here", "main-mcpgw")).await;
    eventually("the Deployment", || api.get(DEPLOYMENTS, "here", "main-mcpgw")).await;
    let identity = run_pod(&api);
    let mut pod = operator.connect("good", &identity).await.unwrap();
    for round in 0..5 {
        let wanted = format!("http://b{round}.example.com:80/mcp");
        api.put(&backend("b", &wanted));
        pod.until("the change", |pod| crate::urls(pod) == [&*wanted]).await;
        wait_condition(&api, GATEWAYS, "main", "Programmed", "Programmed").await;
    }
    let looks = count(&api, "GET /apis/monitoring.coreos.com/v1/namespaces/here/servicemonitors/");
    assert!(looks <= 2, "{looks}");
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_monitor_that_nobody_wants_any_more_is_removed_and_not_looked_for_again() {
    let api = cluster();
    api.put(&json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "servicemonitors.monitoring.coreos.com"},
        "spec": {"group": "monitoring.coreos.com", "names": {"kind": "ServiceMonitor", "plural": "servicemonitors"}, "scope": "Namespaced", "versions": []}}));
    let monitored = |enabled: bool| {
        gateway(&json!({"observability": {"metrics": {"serviceMonitor": {"enabled": enabled}}}}))
    };
    api.put(&monitored(true));
    let operator = Running::start(&api).await;
    let monitors = "monitoring.coreos.com/v1/servicemonitors";
    eventually("the monitor", || api.get(monitors, "here", "main-mcpgw")).await;
    api.put(&monitored(false));
    eventually("its removal", || api.get(monitors, "here", "main-mcpgw").is_none().then_some(())).await;
    let looks = |api: &Api| count(api, "GET /apis/monitoring.coreos.com/v1/namespaces/here/servicemonitors/");
    api.put(&backend("b1", "http://b1.example.com/mcp"));
    wait_condition(&api, BACKENDS, "b1", "Accepted", "Accepted").await;
    let before = looks(&api);
    for name in ["b2", "b3"] {
        api.put(&backend(name, "http://b.example.com/mcp"));
        wait_condition(&api, BACKENDS, name, "Accepted", "Accepted").await;
    }
    assert_eq!(looks(&api), before);
    operator.stop().await;
}
