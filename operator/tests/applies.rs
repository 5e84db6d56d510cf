//! One object against an API in memory, with a watch that lags behind. Changes when applying does.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test, a step that fails is a failed test")]

mod kit;

use std::sync::Arc;
use std::time::{Duration, Instant};

use kit::api::Api;
use kube::core::DynamicObject;
use mcp_operator::apply::{Applier, Outcome};
use mcp_operator::desired::{Owned, OwnedKind};
use mcp_operator::lease::Claim;
use mcp_operator::watch::pulse::Pulse;
use mcp_operator::world::ObjectName;
use serde_json::json;
use tokio::sync::watch;

fn wanted() -> Owned {
    let owner =
        json!({"apiVersion": "mcp.bridge/v1alpha1", "kind": "McpGateway", "name": "main", "uid": "u"});
    let document = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {
            "name": "x", "namespace": "here", "ownerReferences": [owner],
            "annotations": {"mcp.bridge/applied-hash": "1"},
        },
        "data": {"a": "1"},
    });
    let name = ObjectName::new("here", "x");
    Owned { kind: OwnedKind::ConfigMap, name, owner: "u".into(), generation: None, document }
}

fn live(api: &Api) -> Arc<DynamicObject> {
    Arc::new(serde_json::from_value(api.get("/v1/configmaps", "here", "x").unwrap()).unwrap())
}

fn patches(api: &Api) -> usize {
    api.writes().iter().filter(|line| line.starts_with("PATCH")).count()
}

#[tokio::test]
async fn an_edit_is_put_right_and_counted_once_however_late_the_watch_is() {
    let api = Api::default();
    let claim = watch::Sender::new(Claim::until(Instant::now() + Duration::from_mins(10)));
    let mut applier = Applier::new(api.client(), claim.subscribe(), Pulse::default());
    let wanted = wanted();
    let now = Instant::now();
    let first = applier.apply(&wanted, None, now).await.unwrap();
    assert_eq!(first, Outcome::Applied { correction: None, yielded: [].into() });
    let right = live(&api);
    // Somebody edits it, and takes the edit back before the operator looks: only the watch has seen it.
    let mut edited = DynamicObject::clone(&right);
    edited.data["data"]["a"] = "2".into();
    edited.metadata.resource_version = Some("0".into());
    let (edited, before) = (Arc::new(edited), patches(&api));
    for _ in 0..5 {
        assert_eq!(applier.apply(&wanted, Some(&edited), now).await.unwrap(), Outcome::Nothing);
    }
    assert_eq!(patches(&api), before, "it is right already");
    let looks = api.requests().iter().filter(|line| line.starts_with("GET")).count();
    assert_eq!(looks, 2, "once without a watch, and once for the version that the watch shows");
    // An edit of which the watch shows the correction late.
    let owner =
        json!([{"apiVersion": "mcp.bridge/v1alpha1", "kind": "McpGateway", "name": "main", "uid": "u"}]);
    api.put(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": "here", "ownerReferences": owner}, "data": {"a": "3"}}));
    let edited = live(&api);
    let told = applier.apply(&wanted, Some(&edited), now).await.unwrap();
    // The API in memory gives the last word to the person, which is not what this is about.
    assert!(matches!(told, Outcome::Applied { .. }), "{told:?}");
    for _ in 0..5 {
        assert_eq!(applier.apply(&wanted, Some(&edited), now).await.unwrap(), Outcome::Nothing);
    }
    assert_eq!(patches(&api), before + 1);
}
