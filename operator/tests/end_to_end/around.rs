//! What happens around the operator: definitions that go, other installations, a narrow scope, authorities that end. Changes
//! when it lives through something else.

use std::time::Duration;

use mcp_operator::args::Run;
use mcp_operator::lease::Ending;
use mcp_operator::run::Operator;
use serde_json::json;

use crate::kit::api::Api;
use crate::kit::pod::Pod;
use crate::{
    BACKENDS, DEPLOYMENTS, GATEWAYS, Running, args, args_with, backend, cluster, condition, definition,
    eventually, gateway, run_pod, urls, wait_condition,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_that_goes_and_comes_back_takes_nothing_along() {
    const DEFINITIONS: &str = "apiextensions.k8s.io/v1/customresourcedefinitions";
    let api = cluster();
    let operator = Running::start(&api).await;
    eventually("the Deployment", || api.get(DEPLOYMENTS, "here", "main-mcpgw")).await;
    let identity = run_pod(&api);
    let mut pod = operator.connect("good", &identity).await.unwrap();
    pod.until("the configuration", |pod| urls(pod) == ["http://b.example.com:80/mcp"]).await;
    wait_condition(&api, GATEWAYS, "main", "Programmed", "Programmed").await;
    // The API server deletes every object of the kind along with the definition.
    api.remove(DEFINITIONS, "", "mcpbackends.mcp.bridge");
    api.remove(BACKENDS, "here", "b");
    wait_condition(&api, GATEWAYS, "main", "Programmed", "OperatorDegraded").await;
    let deleted = |api: &Api| api.writes().iter().filter(|line| line.starts_with("DELETE")).count();
    assert_eq!(deleted(&api), 0, "{:#?}", api.writes());
    // In this order, because the API in memory does not replay what happens between a list and its watch.
    api.put(&backend("b", "http://back.example.com/mcp"));
    api.put(&definition("mcpbackends", "McpBackend"));
    let all = |pod: &Pod| {
        assert!(!urls(pod).is_empty(), "the backend was never away");
        urls(pod) == ["http://back.example.com:80/mcp"]
    };
    pod.until("the backend of the new definition", all).await;
    assert_eq!(deleted(&api), 0);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_installation_of_the_class_ends_and_says_why() {
    let api = cluster();
    let first = Running::start(&api).await;
    eventually("the Deployment", || api.get(DEPLOYMENTS, "here", "main-mcpgw")).await;
    let args = Run { service: "other".to_owned(), ..args() };
    let mut second = Operator::start(&args, api.client()).await.unwrap();
    let rival = tokio::time::timeout(Duration::from_secs(30), second.tend()).await.unwrap();
    assert!(rival.to_string().contains("system/mcp-bridge-operator serves the same class"), "{rival}");
    second.stop(std::future::ready(())).await;
    let lease = api.get("coordination.k8s.io/v1/leases", "system", "mcp-bridge-operator.mcp-bridge").unwrap();
    assert_ne!(lease["spec"]["holderIdentity"], "", "the first one serves on");
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_of_a_cluster_that_was_restored_ends_and_the_next_one_begins_another_history() {
    const LEASES: &str = "coordination.k8s.io/v1/leases";
    let lease =
        |api: &Api| api.get(LEASES, "system", "mcp-bridge-operator.mcp-bridge").unwrap()["metadata"].clone();
    let api = cluster();
    let mut first = Operator::start(&args(), api.client()).await.unwrap();
    eventually("the Deployment", || api.get(DEPLOYMENTS, "here", "main-mcpgw")).await;
    let (copy, version) = (api.copy(), lease(&api)["resourceVersion"].clone());
    api.put(&backend("c", "http://c.example.com/mcp"));
    wait_condition(&api, BACKENDS, "c", "Accepted", "Accepted").await;
    eventually("a renewal", || (lease(&api)["resourceVersion"] != version).then_some(())).await;
    api.restore(copy);
    let ending = tokio::time::timeout(Duration::from_secs(30), first.tend()).await.unwrap();
    assert_eq!(ending, Ending::Restored);
    first.stop(std::future::ready(())).await;
    assert!(lease(&api)["annotations"]["mcp.bridge/history"].is_string(), "{:#}", lease(&api));

    let identity = run_pod(&api);
    let second = Running::start(&api).await;
    let mut pod = second.connect("good", &identity).await.unwrap();
    pod.until("what there is", |pod| urls(pod) == ["http://b.example.com:80/mcp"]).await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installation_in_another_namespace_takes_over_only_from_one_that_has_gone() {
    const SLICES: &str = "discovery.k8s.io/v1/endpointslices";
    let api = cluster();
    api.put(&json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "x", "namespace": "system", "labels": {"kubernetes.io/service-name": "mcp-bridge-operator"}},
        "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": true}}]}));
    let first = Running::start(&api).await;
    let operators = |api: &Api| {
        let map = api.get("/v1/configmaps", "here", "main-mcpgw-bootstrap")?;
        Some(map["metadata"]["annotations"]["mcp.bridge/installation"].as_str()?.to_owned())
    };
    assert_eq!(eventually("the bootstrap", || operators(&api)).await, "system/mcp-bridge-operator");
    wait_condition(&api, GATEWAYS, "main", "Accepted", "Accepted").await;
    let args = Run { namespace: "elsewhere".to_owned(), ..args() };
    let mut second = Operator::start(&args, api.client()).await.unwrap();
    let fatal = tokio::time::timeout(Duration::from_secs(30), second.tend()).await.unwrap();
    assert!(fatal.to_string().contains("system/mcp-bridge-operator serves the same class"), "{fatal}");
    second.stop(std::future::ready(())).await;
    assert_eq!(operators(&api).unwrap(), "system/mcp-bridge-operator");
    first.stop().await;
    api.remove(SLICES, "system", "x");
    let mut second = Operator::start(&args, api.client()).await.unwrap();
    let moved = || operators(&api).filter(|installation| installation == "elsewhere/mcp-bridge-operator");
    tokio::select! {
        fatal = second.tend() => panic!("{fatal}"),
        _ = eventually("the second one", moved) => {}
    }
    second.stop(std::future::ready(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_confined_to_a_namespace_asks_for_nothing_elsewhere() {
    let api = cluster();
    api.put(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "system"}}));
    api.put(&gateway(&json!({"observability": {"metrics": {"serviceMonitor": {"enabled": true}}}})));
    let mut operator = Operator::start(&args_with("--namespaces here,there"), api.client()).await.unwrap();
    let tending = async { drop(operator.tend().await) };
    tokio::select! {
        () = tending => panic!("it ended"),
        _ = eventually("the Deployment", || api.get(DEPLOYMENTS, "here", "main-mcpgw")) => {}
    }
    operator.stop(std::future::ready(())).await;
    let allowed = ["/namespaces/here/", "/namespaces/there/", "/namespaces/system", "/tokenreviews"];
    for line in api.requests() {
        assert!(allowed.iter().any(|path| line.contains(path)), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_trust_the_authority_that_comes_next_before_anybody_shows_it() {
    let api = cluster();
    let first = Running::start(&api).await;
    eventually("the Deployment", || api.get(DEPLOYMENTS, "here", "main-mcpgw")).await;
    first.stop().await;
    let mut kept = api.get("/v1/secrets", "system", "mcp-bridge-operator-ca").unwrap();
    // As if it had been made eleven months ago.
    let made: k8s_openapi::jiff::civil::Date =
        kept["metadata"]["annotations"]["mcp.bridge/made"].as_str().unwrap().parse().unwrap();
    let earlier = made.saturating_sub(k8s_openapi::jiff::Span::new().days(340));
    kept["metadata"]["annotations"]["mcp.bridge/made"] = earlier.to_string().into();
    kept["apiVersion"] = "v1".into();
    kept["kind"] = "Secret".into();
    api.put(&kept);
    let hash = |api: &Api| {
        let deployment = api.get(DEPLOYMENTS, "here", "main-mcpgw").unwrap();
        deployment["spec"]["template"]["metadata"]["annotations"].clone()
    };
    let before = hash(&api);
    let second = Running::start(&api).await;
    let two = |api: &Api| {
        let map = api.get("/v1/configmaps", "here", "main-mcpgw-bootstrap")?;
        (map["data"]["ca.crt"].as_str()?.matches("BEGIN CERTIFICATE").count() == 2).then_some(())
    };
    eventually("a bundle of two", || two(&api)).await;
    assert_eq!(hash(&api), before, "no pod restarts for it");
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_that_comes_late_is_not_written_over_what_came_since() {
    const STATUS: &str = "PATCH /apis/mcp.bridge/v1alpha1/namespaces/here/mcpbackends/b/status";
    let api = cluster();
    let operator = Running::start(&api).await;
    wait_condition(&api, BACKENDS, "b", "Accepted", "Accepted").await;
    let network = api.hold(STATUS);
    let written = || api.requests().iter().filter(|line| line.starts_with(STATUS)).count();
    let before = written();
    let mut astray = backend("b", "http://b.example.com/mcp");
    astray["spec"]["gatewayRefs"] = json!([{ "name": "absent" }]);
    api.put(&astray);
    eventually("a status that says so", || (written() > before).then_some(())).await;
    api.put(&backend("b", "http://back.example.com/mcp"));
    network.send_replace(true);
    let refused = eventually("a refusal", || api.outdated().pop()).await;
    assert!(refused.starts_with(STATUS), "{refused}");
    assert_eq!(condition(&api, BACKENDS, "b", "Accepted").unwrap().0, "Accepted");
    // What is right now is not held up by that.
    api.put(&astray);
    wait_condition(&api, BACKENDS, "b", "Accepted", "NoMatchingGateway").await;
    operator.stop().await;
}
