//! The index with time as an argument: what it does when it does not see the cluster. Changes when it trusts what it knows
//! for another reason.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test, a step that fails is a failed test")]

mod kit;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge_runtime::metrics::Metrics;
use bridge_snapshot::push::{FromPod, PROTOCOL, PodHello, Report, ResourceType, ToPod};
use k8s_openapi::api::core::v1::Pod;
use mcp_operator::engine::{Engine, Event, Fetched, View};
use mcp_operator::metrics::OperatorMetrics;
use mcp_operator::serve::peer::Facts;
use mcp_operator::status::behind;
use mcp_operator::watch::Change;
use mcp_operator::watch::pulse::{BLIND, Pulse, STALE, Sight};
use mcp_operator::world::{ObjectName, World};
use serde_json::json;
use tokio::sync::{mpsc, watch};

/// An index of one watch that has seen a gateway with a backend, and a pod that is connected.
struct Case {
    engine: Engine,
    view: watch::Receiver<Arc<View>>,
    pulse: Pulse,
    watch: Arc<str>,
    start: Instant,
    sent: mpsc::Receiver<ToPod>,
}

fn main() -> ObjectName {
    ObjectName::new("here", "main")
}

fn world(world: &mut World) {
    kit::add(
        world,
        &json!({"kind": "McpGateway", "metadata": {"name": "main", "namespace": "here"}, "spec": {"listeners": [{"name": "http", "protocol": "StreamableHTTP", "port": 8080, "tls": {"mode": "Disabled"}}], "auth": {"anonymous": "Allow"}}}),
    );
    kit::add(
        world,
        &json!({"kind": "McpBackend", "metadata": {"name": "b", "namespace": "here"}, "spec": {"protocol": "StreamableHTTP", "endpoints": [{"url": "http://b.example.com"}]}}),
    );
}

fn hello(pod: &str, uid: &str) -> PodHello {
    PodHello {
        protocol: PROTOCOL,
        gateway: "here/main".into(),
        pod: pod.into(),
        uid: uid.into(),
        build: "1".into(),
        features: Vec::new(),
        epoch: None,
        revision: 0,
        digest: None,
        have: Vec::new(),
        rejected: Vec::new(),
    }
}

impl Case {
    fn new() -> Self {
        let (start, pulse, watch) = (Instant::now(), Pulse::default(), Arc::<str>::from("everything"));
        pulse.beat(&watch, start);
        let metrics = OperatorMetrics::register(&Metrics::new().unwrap()).unwrap();
        let watches = [Arc::clone(&watch)];
        let (engine, view) =
            Engine::new(kit::options(), ("e".into(), 0), (&watches, pulse.clone(), true), metrics, || 0);
        let (sender, sent) = mpsc::channel(8);
        let mut case = Self { engine, view, pulse, watch, start, sent };
        case.change(0, world);
        case.tick(1);
        let now = case.at(1);
        case.engine.event(Event::Connected(main(), 1, sender), now);
        case.engine.event(Event::Message(main(), 1, Box::new(FromPod::Hello(hello("p", "u")))), now);
        case.engine.event(
            Event::Message(main(), 1, Box::new(FromPod::Ack(bridge_snapshot::push::Ack { seq: 1 }))),
            now,
        );
        case.sent();
        case
    }

    fn at(&self, seconds: u64) -> Instant {
        self.start + Duration::from_secs(seconds)
    }

    fn tick(&mut self, seconds: u64) {
        self.engine.tick(self.at(seconds));
    }

    fn change(&mut self, seconds: u64, change: impl FnOnce(&mut World) + Send + 'static) {
        self.change_that(true, seconds, change);
    }

    fn change_that(&mut self, matters: bool, seconds: u64, change: impl FnOnce(&mut World) + Send + 'static) {
        let watch = Arc::clone(&self.watch);
        self.change_of((&*watch, seconds + 1), matters, seconds, change);
    }

    fn change_of(
        &mut self,
        (watch, revision): (&str, u64),
        matters: bool,
        seconds: u64,
        change: impl FnOnce(&mut World) + Send + 'static,
    ) {
        let apply = Box::new(move |world: &mut World| {
            change(world);
            matters
        });
        let now = self.at(seconds);
        self.engine.change(Change { watch: watch.into(), revision, apply }, now);
    }

    /// Another backend, brought by the watch of backends.
    fn backend(&mut self, name: &'static str, revision: u64, seconds: u64) {
        self.change_of(("mcpbackends", revision), true, seconds, move |world| {
            kit::add(
                world,
                &json!({"kind": "McpBackend", "metadata": {"name": name, "namespace": "here"}, "spec": {"protocol": "StreamableHTTP", "endpoints": [{"url": "http://c.example.com"}]}}),
            );
        });
        self.tick(seconds + 1);
    }

    /// The pod acknowledges what it was sent.
    fn acknowledges(&mut self, seconds: u64) {
        let now = self.at(seconds);
        for sent in self.sent() {
            let ToPod::Delta(delta) = sent else { continue };
            let ack = FromPod::Ack(bridge_snapshot::push::Ack { seq: delta.seq });
            self.engine.event(Event::Message(main(), 1, Box::new(ack)), now);
        }
        self.tick(seconds + 1);
    }

    /// Whether the pod counts as one that lacks something.
    fn is_behind(&self, seconds: u64) -> bool {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"uid": "u"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        }))
        .unwrap();
        let view = self.view.borrow();
        let facts = view.pods_of(&main(), self.at(seconds));
        !behind([&pod].into_iter(), &facts, &view.published[&main()]).is_empty()
    }

    fn sent(&mut self) -> Vec<ToPod> {
        std::iter::from_fn(|| self.sent.try_recv().ok()).collect()
    }

    /// What a cold start gets: revision and bodies.
    fn saved(&self) -> (u64, Vec<String>) {
        let view = self.view.borrow();
        let (_, revision, entries) = &view.saved[&main()];
        (*revision, entries.iter().map(|entry| entry.body().to_owned()).collect())
    }

    fn sight(&self) -> Sight {
        self.view.borrow().sight.clone()
    }
}

#[test]
fn a_replica_that_sees_nothing_removes_nothing_and_sends_its_pods_away() {
    let mut case = Case::new();
    let stale = STALE.as_secs();
    case.tick(stale - 1);
    assert_eq!((case.sight(), case.sent()), (Sight::Clear, vec![]));
    case.tick(stale);
    assert_eq!(case.sight(), Sight::Stale(Arc::clone(&case.watch)));
    let sent = case.sent();
    assert!(matches!(&*sent, [ToPod::GoAway(_)]), "{sent:?}");
    // An old answer arrives after all: it says that there are no backends.
    case.change(stale + 1, |world| world.backends.clear());
    case.tick(stale + 5);
    assert_eq!(case.sent(), [], "pods are asked once, and nothing is taken from them");
    case.tick(BLIND.as_secs());
    assert_eq!(case.sight(), Sight::Blind(Arc::clone(&case.watch)));
    // The cluster is seen again, and there the backend is.
    let now = case.at(BLIND.as_secs() + 1);
    case.pulse.beat(&case.watch, now);
    case.change(BLIND.as_secs() + 1, world);
    case.tick(BLIND.as_secs() + 2);
    assert_eq!((case.sight(), case.sent()), (Sight::Clear, vec![]));
}

#[test]
fn what_was_missed_is_made_up_for_when_the_cluster_is_seen_again() {
    let mut case = Case::new();
    case.tick(STALE.as_secs());
    case.sent();
    case.change(STALE.as_secs() + 1, |world| world.backends.clear());
    let now = case.at(STALE.as_secs() + 2);
    case.pulse.beat(&case.watch, now);
    case.tick(STALE.as_secs() + 3);
    let sent = case.sent();
    let [ToPod::Delta(delta)] = &*sent else { panic!("{sent:?}") };
    assert_eq!((delta.upsert.len(), delta.remove.len()), (0, 2), "the backend and its endpoints");
}

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
fn what_one_pod_tries_is_served_by_nobody_until_everybody_has_it() {
    let mut case = Case::new();
    case.acknowledges(2);
    let (sender, mut other) = mpsc::channel(8);
    let now = case.at(3);
    case.engine.event(Event::Connected(main(), 2, sender), now);
    case.engine.event(Event::Message(main(), 2, Box::new(FromPod::Hello(hello("q", "v")))), now);
    let ack = |seq| Box::new(FromPod::Ack(bridge_snapshot::push::Ack { seq }));
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

#[test]
fn a_secret_that_loses_its_label_is_known_until_it_was_read() {
    let mut case = Case::new();
    let labels = json!({"mcp.bridge/watch": "true"});
    case.change(2, move |world| {
        let data = json!({"k": "0123456789abcdef0123456789abcdef"});
        kit::add(world, &json!({"kind": "Secret", "metadata": {"name": "jwt", "namespace": "here", "labels": labels}, "stringData": data}));
        let gateway = Arc::make_mut(world.gateways.get_mut(&main()).unwrap());
        let jwt = json!({"jwt": {"providers": [{"name": "p", "issuer": "i", "hmacSecretRef": {"name": "jwt", "key": "k"}}]}});
        gateway.spec.auth = serde_json::from_value(jwt).unwrap();
    });
    case.tick(3);
    let refuses = |case: &Case| {
        let view = case.view.borrow().clone();
        view.compilation.as_ref().unwrap().gateways[&main()].refuses.clone()
    };
    assert_eq!(refuses(&case), None);
    // The watch says the same when the label was taken away as when the Secret was deleted.
    case.change(4, |world| world.secrets.clear());
    case.tick(5);
    assert_eq!(refuses(&case), None, "nobody is locked out before that is known");
    let name = ObjectName::new("here", "jwt");
    let labels = case.view.borrow().world.secrets[&name].metadata.labels.clone();
    assert_eq!(labels.unwrap_or_default().len(), 0, "so it is looked for");
    let now = case.at(6);
    case.engine.event(Event::Fetched(vec![Fetched::Secret(name, None)]), now);
    case.tick(7);
    assert!(refuses(&case).is_some(), "it was deleted");
}

#[test]
fn what_pods_do_not_get_is_shown_and_not_compiled() {
    let mut case = Case::new();
    let before = case.view.borrow().compilation.clone().unwrap();
    case.change_that(false, 2, |world| world.pods.clear());
    case.change_that(false, 2, |world| drop(world.pods.insert(main(), Arc::default())));
    case.tick(3);
    let view = case.view.borrow().clone();
    assert!(view.world.pods.contains_key(&main()), "whoever writes status looks at pods");
    assert!(Arc::ptr_eq(&before, view.compilation.as_ref().unwrap()), "nothing is different for pods");
    // What is not compiled yet is not shown either: its status would be that of another outcome.
    case.change(4, |world| world.backends.clear());
    case.change_that(false, 4, |world| world.pods.clear());
    let now = case.at(4);
    case.engine.event(Event::Disconnected(main(), 7), now);
    case.tick(5);
    let view = case.view.borrow().clone();
    assert!(view.world.backends.is_empty() && view.world.pods.is_empty());
    assert!(view.compilation.as_ref().unwrap().backends.is_empty());
}

#[test]
fn what_a_pod_said_when_it_left_is_known_for_a_minute() {
    let mut case = Case::new();
    let now = case.at(2);
    let report = Report { dropped: 3, ..Report::default() };
    case.engine.event(Event::Message(main(), 1, Box::new(FromPod::Report(report))), now);
    case.engine.event(Event::Disconnected(main(), 1), now);
    case.tick(3);
    let parted = |case: &Case| {
        let view = case.view.borrow().clone();
        view.pods[&main()]
            .get("u")
            .map(|fact| (fact.parted.clone(), fact.report.as_ref().map(|it| it.dropped)))
    };
    assert_eq!(parted(&case), Some((Some("p".to_owned()), Some(3))));
    let later = case.at(63);
    case.engine.event(Event::Disconnected(main(), 7), later);
    case.tick(64);
    assert_eq!(parted(&case), None);
}
