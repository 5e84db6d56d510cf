//! The index with time as an argument: what it does when it does not see the cluster. Changes when it trusts what it knows
//! for another reason.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test, a step that fails is a failed test")]

mod kit;
#[path = "engine/pods.rs"]
mod pods;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge_api::meta::GATEWAY_UID_LABEL;
use bridge_runtime::metrics::Metrics;
use bridge_snapshot::push::{Ack, FromPod, PEERS, PROTOCOL, Peers, PodHello, Report, ResourceType, ToPod};
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
    metrics: Metrics,
}

fn main() -> ObjectName {
    ObjectName::new("here", "main")
}

fn world(world: &mut World) {
    kit::add(
        world,
        &json!({"kind": "McpGateway", "metadata": {"name": "main", "namespace": "here", "uid": "g"}, "spec": {"listeners": [{"name": "http", "protocol": "StreamableHTTP", "port": 8080, "tls": {"mode": "Disabled"}}], "auth": {"anonymous": "Allow"}}}),
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
        let metrics = Metrics::new().unwrap();
        let measured = OperatorMetrics::register(&metrics).unwrap();
        let watches = [Arc::clone(&watch)];
        let (engine, view) =
            Engine::new(kit::options(), ("e".into(), 0), (&watches, pulse.clone(), true), measured, || 0);
        let (sender, sent) = mpsc::channel(8);
        let mut case = Self { engine, view, pulse, watch, start, sent, metrics };
        case.change(0, world);
        case.tick(1);
        case.connect(1, &[], sender);
        case.says(1, FromPod::Ack(Ack { seq: 1 }), 1);
        case.sent();
        case
    }

    /// A pod with these features connects and says hello.
    fn connect(&mut self, stream: u64, features: &[&str], sender: mpsc::Sender<ToPod>) {
        let now = self.at(1);
        self.engine.event(Event::Connected(main(), stream, sender), now);
        let features = features.iter().map(|&feature| feature.to_owned()).collect();
        let hello = PodHello { features, ..hello("p", "u") };
        self.says(stream, FromPod::Hello(hello), 1);
    }

    fn says(&mut self, stream: u64, message: FromPod, seconds: u64) {
        let now = self.at(seconds);
        self.engine.event(Event::Message(main(), stream, Box::new(message)), now);
    }

    /// The number that the metrics page shows for a series.
    fn measured(&self, series: &str) -> f64 {
        let page = String::from_utf8(self.metrics.render().unwrap()).unwrap();
        let value = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("{series} in {page}")).parse().unwrap()
    }

    fn at(&self, seconds: u64) -> Instant {
        self.start + Duration::from_secs(seconds)
    }

    fn tick(&mut self, seconds: u64) {
        self.engine.tick(self.at(seconds));
    }

    /// The API server answers.
    fn sees(&mut self, seconds: u64) {
        self.pulse.beat(&self.watch, self.at(seconds));
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
            let ack = FromPod::Ack(Ack { seq: delta.seq });
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
