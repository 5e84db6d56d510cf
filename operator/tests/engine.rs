//! The index with time as an argument: what it does when it does not see the cluster. Changes when it trusts what it knows
//! for another reason.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test, a step that fails is a failed test")]

mod kit;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge_api::meta::GATEWAY_UID_LABEL;
use bridge_runtime::metrics::Metrics;
use bridge_snapshot::push::{Ack, FromPod, PEERS, PROTOCOL, Peers, PodHello, Report, ToPod};
use mcp_operator::engine::{Engine, Event, View};
use mcp_operator::metrics::OperatorMetrics;
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

impl Case {
    fn new() -> Self {
        let (start, pulse, watch) = (Instant::now(), Pulse::default(), Arc::<str>::from("everything"));
        pulse.beat(&watch, start);
        let metrics = Metrics::new().unwrap();
        let measured = OperatorMetrics::register(&metrics).unwrap();
        let watches = [Arc::clone(&watch)];
        let (engine, view) =
            Engine::new(kit::options(), "e".into(), (&watches, pulse.clone()), measured, || 0);
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
        let hello = PodHello {
            protocol: PROTOCOL,
            gateway: "here/main".into(),
            pod: "p".into(),
            uid: "u".into(),
            build: "1".into(),
            features: features.iter().map(|&feature| feature.to_owned()).collect(),
            epoch: None,
            revision: 0,
            digest: None,
            have: Vec::new(),
            rejected: Vec::new(),
        };
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
        let apply = Box::new(move |world: &mut World| {
            change(world);
            matters
        });
        let change = Change { watch: Arc::clone(&self.watch), revision: seconds + 1, apply };
        let now = self.at(seconds);
        self.engine.change(change, now);
    }

    fn sent(&mut self) -> Vec<ToPod> {
        std::iter::from_fn(|| self.sent.try_recv().ok()).collect()
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
