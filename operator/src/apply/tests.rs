use std::convert::Infallible;

use super::*;

#[tokio::test]
async fn an_older_document_is_somebody_elses_doing_only_for_whoever_wrote_the_newer_one() {
    let document = |hash: &str| json!({ "metadata": { "name": "x", "annotations": { APPLIED_HASH: hash } } });
    let wanted = Owned {
        kind: OwnedKind::Deployment,
        name: ObjectName::new("here", "x"),
        owner: "u".into(),
        generation: None,
        document: document("new"),
    };
    let live: DynamicObject = serde_json::from_value(document("old")).unwrap();
    let nobody = tower::service_fn(|_: http::Request<kube::client::Body>| {
        std::future::pending::<Result<http::Response<kube::client::Body>, Infallible>>()
    });
    let mut applier = Applier::new(
        Client::new(nobody, "here"),
        watch::Sender::new(Claim::default()).subscribe(),
        Pulse::default(),
    );
    assert!(applier.changed_by_others(&wanted, &live).is_empty(), "it may be about to be written first");
    applier.written.insert((wanted.kind, wanted.name.clone()), "new".to_owned());
    assert_eq!(applier.changed_by_others(&wanted, &live), ["metadata.annotations.mcp.bridge/applied-hash"]);
    applier.follow();
    assert!(applier.changed_by_others(&wanted, &live).is_empty(), "another leader may have written it");
}
