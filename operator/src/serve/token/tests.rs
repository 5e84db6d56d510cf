use serde_json::{Value, json};

use super::*;

fn status(user: &str, extra: &Value, audiences: &Value) -> TokenReviewStatus {
    let user = json!({ "username": user, "extra": extra });
    serde_json::from_value(json!({ "authenticated": true, "user": user, "audiences": audiences })).unwrap()
}

fn bound() -> Value {
    json!({
        "authentication.kubernetes.io/pod-name": ["main-1"],
        "authentication.kubernetes.io/pod-uid": ["p1"],
    })
}

#[test]
fn the_token_says_which_pod_of_which_gateway_it_is() {
    let ours = json!([layout::AUDIENCE]);
    let good = peer(&status("system:serviceaccount:here:main-mcpgw", &bound(), &ours)).unwrap();
    let expected = Peer { gateway: ObjectName::new("here", "main"), pod: "main-1".into(), uid: "p1".into() };
    assert_eq!(good, expected);
    for (user, extra, audiences) in [
        ("system:serviceaccount:here:main-mcpgw", bound(), json!(["https://kubernetes.default.svc"])),
        ("system:serviceaccount:here:main-mcpgw", bound(), json!(null)),
        ("system:serviceaccount:here:main-mcpgw", json!({}), ours.clone()),
        ("system:serviceaccount:here:default", bound(), ours.clone()),
        ("main-mcpgw", bound(), ours.clone()),
    ] {
        assert!(peer(&status(user, &extra, &audiences)).is_err(), "{user} {extra} {audiences}");
    }
    assert!(peer(&TokenReviewStatus { error: Some("no".into()), ..TokenReviewStatus::default() }).is_err());
}

#[test]
fn the_token_of_a_pod_that_is_gone_or_of_another_gateway_is_worth_nothing() {
    let mut world = World::default();
    let gateway = json!({
        "metadata": { "name": "main", "namespace": "here", "uid": "g1" },
        "spec": { "listeners": [] },
    });
    let gateway: bridge_api::v1alpha1::McpGateway = serde_json::from_value(
        json!({ "apiVersion": "mcp.bridge/v1alpha1", "kind": "McpGateway", "metadata": gateway["metadata"], "spec": gateway["spec"] }),
    )
    .unwrap();
    world.gateways.insert(ObjectName::of(&gateway), Arc::new(gateway));
    let who = Peer { gateway: ObjectName::new("here", "main"), pod: "main-1".into(), uid: "p1".into() };
    let mut put = |uid: &str, of: &str| {
        let metadata = json!({ "name": "main-1", "namespace": "here", "uid": uid, "labels": { "mcp.bridge/gateway-uid": of } });
        let pod: k8s_openapi::api::core::v1::Pod =
            serde_json::from_value(json!({ "metadata": metadata })).unwrap();
        world.pods.insert(ObjectName::of(&pod), Arc::new(pod));
        check(&world, &who)
    };
    assert_eq!(put("p1", "g1"), Ok(()));
    assert!(put("p2", "g1").is_err(), "a later pod of the same name");
    assert!(put("p1", "g2").is_err(), "a pod of another gateway");
    assert!(check(&World::default(), &who).is_err());
}

#[test]
fn a_token_is_not_remembered_for_longer_than_it_is_good() {
    let now = Timestamp::from_second(1000).unwrap();
    let until = |exp: i64| {
        let claims = URL_SAFE_NO_PAD.encode(json!({ "exp": exp, "sub": "x" }).to_string());
        good_for(&format!("header.{claims}.signature"), now)
    };
    assert_eq!(until(1020), Duration::from_secs(20));
    assert_eq!(until(9000), CACHED);
    assert_eq!(until(900), Duration::ZERO);
    assert_eq!(good_for("opaque", now), CACHED);
}
