//! Two installations of different classes over one API. Changes when they share something else.

use bridge_runtime::tasks;
use mcp_operator::args::Run;
use mcp_operator::run::Operator;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::kit::api::Api;
use crate::{BACKENDS, args, backend, cluster, eventually, gateway};

fn accepted(api: &Api, namespace: &str, name: &str) -> Option<(String, String)> {
    let object = api.get(BACKENDS, namespace, name)?;
    let all = object["status"]["conditions"].as_array()?;
    let found = all.iter().find(|condition| condition["type"] == "Accepted")?;
    Some((found["reason"].as_str()?.to_owned(), found["message"].as_str()?.to_owned()))
}

fn placed(mut object: Value, namespace: &str, name: &str) -> Value {
    object["metadata"]["namespace"] = namespace.into();
    object["metadata"]["name"] = name.into();
    object
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_of_a_backend_is_one_installations_to_write() {
    let api = cluster();
    let any = json!({"className": "other", "backends": {"namespaces": {"from": "All"}}});
    api.put(&placed(gateway(&any), "there", "edge"));
    let plain = || backend("x", "http://b.example.com/mcp");
    let named = |references: Value| {
        let mut document = plain();
        document["spec"]["gatewayRefs"] = references;
        document
    };
    let (main, edge) =
        (json!({"name": "main", "namespace": "here"}), json!({"name": "edge", "namespace": "there"}));
    api.put(&placed(plain(), "there", "near"));
    api.put(&placed(plain(), "nowhere", "alone"));
    api.put(&placed(named(json!([main, edge])), "here", "both"));
    api.put(&placed(named(json!([edge, main])), "here", "reversed"));
    api.put(&placed(named(json!([{"name": "absent"}])), "here", "astray"));

    let stop = CancellationToken::new();
    let other = Run { namespace: "elsewhere".to_owned(), class: "other".to_owned(), ..args() };
    let mut running = Vec::new();
    for args in [args(), other] {
        let mut operator = Operator::start(&args, api.client()).await.unwrap();
        let stop = stop.clone();
        running.push(tasks::spawn("operator", async move {
            tokio::select! {
                fatal = operator.tend() => panic!("{fatal}"),
                () = stop.cancelled() => {}
            }
            operator.stop(std::future::pending()).await;
        }));
    }
    for (namespace, name, reason) in [
        ("here", "b", "Accepted"),
        ("there", "near", "Accepted"),
        ("here", "both", "Accepted"),
        ("here", "reversed", "Accepted"),
        ("nowhere", "alone", "NoMatchingGateway"),
        ("here", "astray", "NoMatchingGateway"),
    ] {
        let settled = || accepted(&api, namespace, name).filter(|found| found.0 == reason);
        eventually(&format!("{reason} of {name}"), settled).await;
    }
    let leases = || api.writes().iter().filter(|line| line.contains("/leases/")).count();
    let renewed = async |times| {
        let before = leases();
        eventually("renewals", || (leases() >= before + times).then_some(())).await;
    };
    // Both have seen what the other wrote.
    renewed(4).await;
    let statuses = || api.writes().into_iter().filter(|line| line.contains("/status")).collect::<Vec<_>>();
    let before = statuses().len();
    renewed(6).await;
    let since = statuses().split_off(before);
    assert!(since.is_empty(), "{since:#?}");
    stop.cancel();
    for task in running {
        task.await.unwrap();
    }
}
