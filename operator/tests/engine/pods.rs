//! What the index knows of pods, and what they hear of each other. Changes when pods are judged by another fact.

use super::*;

#[test]
fn a_pod_has_a_change_when_it_has_acknowledged_it_whatever_other_watches_have_seen() {
    let mut case = Case::new();
    case.acknowledges(2);
    case.change_of(("pods", 900), false, 3, |_| ());
    case.change_of(("services", 901), true, 3, |_| ());
    case.tick(4);
    case.acknowledges(4);
    assert!(!case.is_behind(5));
    // It is older than what the other watches brought before it.
    case.backend("c", 500, 6);
    assert!(case.is_behind(7), "what was sent is not served");
    case.acknowledges(8);
    assert!(!case.is_behind(9));
}

#[test]
fn a_replica_that_misses_a_backend_does_not_vouch_for_it_because_it_saw_something_newer() {
    let (mut here, mut there) = (Case::new(), Case::new());
    let now = here.at(2);
    here.engine.event(Event::Disconnected(main(), 1), now);
    there.acknowledges(2);
    let tell = |here: &mut Case, there: &Case, seconds| {
        let facts = Facts::of("there", &there.view.borrow());
        let now = here.at(seconds);
        here.engine.event(Event::Peer(Box::new(facts)), now);
        here.tick(seconds + 1);
    };
    tell(&mut here, &there, 3);
    assert!(!here.is_behind(4), "both have the same");
    here.backend("c", 20, 5);
    // There the watch of backends stands still, and another goes on.
    there.change_of(("services", 50), true, 5, |world| {
        let gateway = Arc::make_mut(world.gateways.get_mut(&main()).unwrap());
        gateway.spec.listeners[0].port = 8081;
    });
    there.tick(6);
    there.acknowledges(7);
    tell(&mut here, &there, 8);
    assert!(here.is_behind(9));
    there.backend("c", 20, 10);
    tell(&mut here, &there, 11);
    assert!(here.is_behind(12), "it was sent and is not acknowledged");
    there.acknowledges(13);
    tell(&mut here, &there, 14);
    assert!(!here.is_behind(15), "it has more than is known here, and all that is");
}

#[test]
fn a_secret_that_is_replaced_by_another_goes_with_the_gateway_that_names_it_and_not_before() {
    let mut case = Case::new();
    case.acknowledges(2);
    let named = |name: &'static str| {
        move |world: &mut World| {
            let data = json!({"k": "0123456789abcdef0123456789abcdef"});
            kit::add(
                world,
                &json!({"kind": "Secret", "metadata": {"name": name, "namespace": "here"}, "stringData": data}),
            );
            let gateway = Arc::make_mut(world.gateways.get_mut(&main()).unwrap());
            let jwt = json!({"jwt": {"providers": [{"name": "p", "issuer": "i", "hmacSecretRef": {"name": name, "key": "k"}}]}});
            gateway.spec.auth = serde_json::from_value(jwt).unwrap();
        }
    };
    case.change(3, named("jwt"));
    case.tick(4);
    case.acknowledges(4);
    let (sender, mut other) = mpsc::channel(8);
    let now = case.at(5);
    case.engine.event(Event::Connected(main(), 2, sender), now);
    case.engine.event(Event::Message(main(), 2, Box::new(FromPod::Hello(hello("q", "v")))), now);
    case.engine.event(Event::Message(main(), 2, Box::new(FromPod::Ack(Ack { seq: 1 }))), now);
    case.tick(6);
    while other.try_recv().is_ok() {}
    case.change(7, named("jwt-2"));
    case.tick(8);
    assert!(!case.sent().is_empty(), "one tries it");
    assert_eq!(other.try_recv().ok(), None, "the other keeps the key that it names");
}

#[test]
fn what_one_pod_tries_is_served_by_nobody_until_everybody_has_it() {
    let mut case = Case::new();
    case.acknowledges(2);
    let (sender, mut other) = mpsc::channel(8);
    let now = case.at(3);
    case.engine.event(Event::Connected(main(), 2, sender), now);
    case.engine.event(Event::Message(main(), 2, Box::new(FromPod::Hello(hello("q", "v")))), now);
    let ack = |seq| Box::new(FromPod::Ack(Ack { seq }));
    case.engine.event(Event::Message(main(), 2, ack(1)), now);
    case.tick(4);
    while other.try_recv().is_ok() {}
    case.change(5, |world| {
        let gateway = Arc::make_mut(world.gateways.get_mut(&main()).unwrap());
        gateway.spec.listeners[0].port = 8081;
    });
    case.backend("c", 7, 5);
    case.acknowledges(7);
    let gateway = |sent: &ToPod| match sent {
        ToPod::Delta(delta) => delta.upsert.iter().any(|entry| entry.key.kind == ResourceType::Gateway),
        _ => false,
    };
    let got = other.try_recv().unwrap();
    assert!(matches!(&got, ToPod::Delta(delta) if delta.upsert.len() == 2) && !gateway(&got), "{got:?}");
    case.engine.event(Event::Message(main(), 2, ack(2)), case.at(8));
    case.tick(9);
    assert!(case.is_behind(9), "one pod serves it, and it is not decided whether another will");
    let (_, saved) = case.saved();
    assert!(saved.iter().any(|entry| entry.contains("8080")), "whoever starts now is not the one to try");
    case.tick(13);
    assert!(gateway(&other.try_recv().unwrap()));
    case.acknowledges(14);
    assert!(!case.is_behind(15));
    assert!(case.saved().1.iter().any(|entry| entry.contains("8081")));
}

/// A pod of the gateway, or of another one.
fn pod(number: usize, gateway: &str, going: bool) -> serde_json::Value {
    let name = format!("main-{number}");
    let mut pod = json!({
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "here", "uid": format!("uid-{number}"), "labels": {GATEWAY_UID_LABEL: gateway}},
        "status": {"phase": "Running", "podIP": format!("10.0.0.{number}"), "podIPs": [{"ip": format!("10.0.0.{number}")}]},
    });
    if going {
        pod["metadata"]["deletionTimestamp"] = "2026-11-26T20:00:00Z".into();
    }
    pod
}

#[test]
fn pods_of_a_gateway_are_told_of_each_other_and_nothing_is_published_for_it() {
    let mut case = Case::new();
    case.change_that(false, 2, |world| (1..4).for_each(|number| kit::add(world, &pod(number, "g", false))));
    case.change_that(false, 2, |world| kit::add(world, &pod(9, "another", false)));
    case.tick(3);
    assert_eq!(case.sent(), [], "a pod that does not announce it is told nothing");
    let (sender, mut sent) = mpsc::channel(8);
    case.connect(2, &[PEERS], sender);
    let mut told = || std::iter::from_fn(|| sent.try_recv().ok()).collect::<Vec<_>>();
    let first = told();
    let [ToPod::Hello(_), ToPod::Delta(_), ToPod::Peers(peers)] = &*first else { panic!("{first:?}") };
    let names = |peers: &Peers| peers.upsert.iter().map(|peer| peer.pod.clone()).collect::<Vec<_>>();
    assert_eq!(
        (peers.all, peers.last, names(peers)),
        (true, true, ["main-1", "main-2", "main-3"].map(String::from).to_vec())
    );
    case.says(2, FromPod::PeersAck(Ack { seq: 1 }), 3);
    case.says(2, FromPod::Ack(Ack { seq: 1 }), 3);
    // One comes, one is about to end, and one is seen again as it was.
    case.change_that(false, 4, |world| {
        kit::add(world, &pod(4, "g", false));
        kit::add(world, &pod(2, "g", true));
        kit::add(world, &pod(1, "g", false));
    });
    case.tick(5);
    let second = told();
    let [ToPod::Peers(peers)] = &*second else { panic!("{second:?}") };
    assert_eq!(
        (peers.all, names(peers), &*peers.remove),
        (false, vec!["main-4".to_owned()], &["uid-2".to_owned()][..])
    );
    let text = second[0].to_json().unwrap();
    assert!(text.len() < 150, "{text}");
    // A replica that sees nothing takes nobody away.
    case.view.borrow_and_update();
    case.says(2, FromPod::PeersAck(Ack { seq: 2 }), 6);
    case.tick(7);
    assert!(!case.view.has_changed().unwrap(), "nobody has to look at the world for an answer about others");
    case.tick(STALE.as_secs() + 6);
    told();
    case.change_that(false, STALE.as_secs() + 7, |world| world.pods.clear());
    case.tick(STALE.as_secs() + 8);
    assert_eq!(told(), []);
}

#[test]
fn the_metrics_say_how_long_a_change_takes_and_how_many_pods_lack_it() {
    let series =
        |what: &str, stage: &str| format!(r#"operator_config_propagation_seconds_{what}{{stage="{stage}"}}"#);
    let mut case = Case::new();
    case.tick(2);
    assert!((case.measured("operator_config_lag_pods")).abs() < 0.5);
    case.change(10, |world| {
        kit::add(
            world,
            &json!({"kind": "McpBackend", "metadata": {"name": "c", "namespace": "here"}, "spec": {"protocol": "StreamableHTTP", "endpoints": [{"url": "http://c.example.com"}]}}),
        );
    });
    case.tick(13);
    let count = |case: &Case, stage: &str| case.measured(&series("count", stage));
    assert!((count(&case, "compiled") - 1.0).abs() < 0.5, "what the gateway began with is not counted");
    assert!(case.measured(&series("sum", "compiled")) >= 3.0, "from the event on");
    assert!((case.measured("operator_config_lag_pods") - 1.0).abs() < 0.5);
    case.says(1, FromPod::Ack(Ack { seq: 2 }), 600);
    case.says(1, FromPod::Report(Report::default()), 601);
    case.sees(602);
    case.tick(602);
    assert!((count(&case, "acknowledged") - 1.0).abs() < 0.5, "once");
    let took = case.measured(&series("sum", "acknowledged"));
    assert!((500.0..587.5).contains(&took), "from the publication on: {took}");
    assert!((case.measured("operator_config_lag_pods")).abs() < 0.5);
    // What changes nothing for pods is no change.
    case.sees(700);
    case.change(700, |_| {});
    case.tick(701);
    assert_eq!(case.sight(), Sight::Clear);
    assert!((count(&case, "compiled") - 1.0).abs() < 0.5);
}
