//! A cluster with replicas of the operator, pods, and wires between them. It checks after each step what must always
//! hold. Changes when something else can go wrong.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bridge_snapshot::push::{
    Change, Effect, Entry, FromPod, HeldReason, Identity, Key, PEERS, Peer, Publisher, PublisherSettings,
    Rejection, RejectionCode, ResourceType, Saved, Step, StreamId, Subscriber, SubscriberSettings, ToPod,
};

use super::Happening;

pub(crate) const PODS: usize = 3;
pub(crate) const REPLICAS: usize = 2;

/// This one and those after it know nothing of messages about pods.
const OLD: usize = 2;
/// Values from here on cannot be served by any pod.
const BAD: u8 = 8;

pub(crate) struct World {
    pub(crate) now: Instant,
    /// Everything that was written, in order. Its length is the revision.
    written: Vec<(Key, Option<Entry>)>,
    /// The pods of the gateway: those that have streams here, and others.
    pub(crate) peers: BTreeMap<String, Peer>,
    pub(crate) replicas: Vec<Replica>,
    pub(crate) pods: Vec<Pod>,
    next: StreamId,
}

pub(crate) struct Replica {
    pub(crate) publisher: Publisher,
    seen: usize,
}

pub(crate) struct Pod {
    pub(crate) subscriber: Subscriber,
    wire: Option<Wire>,
    ended: Vec<Wire>,
    pub(crate) applying: Option<Change>,
    saved: Option<Saved>,
    /// Resources that were put on a wire to the pod.
    pub(crate) resources_sent: usize,
    /// The revision that was served last, over restarts that kept it.
    revision: u64,
}

struct Wire {
    id: StreamId,
    replica: usize,
    greeted: bool,
    /// The operator wants to know all that the pod has.
    asked: bool,
    /// A message about pods is not answered yet.
    telling: bool,
    to_pod: VecDeque<String>,
    to_operator: VecDeque<String>,
}

pub(crate) fn key(name: u8) -> Key {
    let kind = match name % 3 {
        0 => ResourceType::Backend,
        1 => ResourceType::Endpoints,
        _ => ResourceType::Secret,
    };
    Key::new(kind, format!("r{name}"))
}

/// What could lock everybody out, and is tried by one pod.
fn is_careful(key: &Key) -> bool {
    key.kind == ResourceType::Secret
}

/// A pod of the gateway.
pub(crate) fn peer(uid: &str) -> Peer {
    Peer { pod: format!("main-{uid}"), uid: uid.to_owned(), addresses: vec![[10, 0, 0, 1].into()] }
}

fn is_bad(entry: &Entry) -> bool {
    entry.body().parse::<u8>().is_ok_and(|value| value >= BAD)
}

fn publisher(epoch: &str) -> Publisher {
    // Each resource and each pod is a part of its own, and pods begin one after the other.
    let settings = PublisherSettings {
        delta_bytes: 1,
        first_at_once: 1,
        peers_at_once: 1,
        ..PublisherSettings::default()
    };
    Publisher::new(epoch, settings)
}

fn subscriber(pod: usize) -> Subscriber {
    let identity = Identity {
        gateway: "ns/main".to_owned(),
        pod: format!("main-{pod}"),
        uid: pod.to_string(),
        build: "test".to_owned(),
        features: (pod < OLD).then(|| PEERS.to_owned()).into_iter().collect(),
    };
    Subscriber::new(identity, &SubscriberSettings::default())
}

impl World {
    #[allow(clippy::disallowed_methods, reason = "some instant to begin with; it never passes by itself")]
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        let pod = |pod| Pod {
            subscriber: subscriber(pod),
            wire: None,
            ended: Vec::new(),
            applying: None,
            saved: None,
            resources_sent: 0,
            revision: 0,
        };
        let mut world = Self {
            now,
            written: Vec::new(),
            peers: (0..PODS).map(|pod| (pod.to_string(), peer(&pod.to_string()))).collect(),
            replicas: Vec::new(),
            pods: (0..PODS).map(pod).collect(),
            next: 0,
        };
        for _ in 0..REPLICAS {
            let mut publisher = publisher("epoch");
            assert!(publisher.complete(now).is_empty(), "there is nobody to send to");
            world.replicas.push(Replica { publisher, seen: 0 });
        }
        world
    }

    pub(crate) fn happen(&mut self, happening: &Happening) {
        match *happening {
            // What nobody can serve is not tried here, because it never reaches everybody.
            Happening::Write { name, value } if is_careful(&key(name)) => {
                self.write(key(name), value.map(|value| value % BAD));
            }
            Happening::Write { name, value } => self.write(key(name), value),
            Happening::See { replica, changes } => self.see(replica, changes),
            Happening::Turn { uid, there } => self.turn(uid, there),
            Happening::Look { replica } => self.look(replica),
            Happening::Connect { pod, replica } => self.connect(pod, replica),
            Happening::Cut { pod } => self.cut(pod),
            Happening::Late { pod } => self.late(pod),
            Happening::ToPod { pod, messages } => (0..messages).for_each(|_| self.pod_hears(pod, false)),
            Happening::ToOperator { pod, messages } => {
                (0..messages).for_each(|_| self.operator_hears(pod, false));
            }
            Happening::Double { pod } => {
                self.pod_hears(pod, true);
                self.operator_hears(pod, true);
            }
            Happening::Settle { pod } => self.settle(pod),
            Happening::RestartReplica { replica, behind } => self.restart_replica(replica, behind),
            Happening::RestartPod { pod, saved } => self.restart_pod(pod, saved),
            Happening::Wait { millis } => self.wait(Duration::from_millis(millis)),
        }
    }

    pub(crate) fn write(&mut self, key: Key, value: Option<u8>) {
        let entry = value.map(|value| Entry::new(key.clone(), &value).unwrap());
        self.written.push((key, entry));
    }

    pub(crate) fn see(&mut self, replica: usize, changes: usize) {
        let Replica { publisher, seen } = &mut self.replicas[replica];
        for (key, entry) in self.written.iter().skip(*seen).take(changes) {
            *seen += 1;
            if is_careful(key) && !entry.as_ref().is_some_and(is_bad) {
                publisher.careful([key.clone()]);
            }
            publisher.set(key.clone(), entry.clone(), *seen as u64, self.now);
        }
        publisher.observe(*seen as u64, self.now);
    }

    /// A pod without a stream comes or goes; one that has come back is another one.
    pub(crate) fn turn(&mut self, uid: u8, there: bool) {
        let uid = format!("other-{uid}");
        if there {
            self.peers.insert(uid.clone(), peer(&uid));
        } else {
            self.peers.remove(&uid);
        }
    }

    pub(crate) fn look(&mut self, replica: usize) {
        let effects = self.replicas[replica].publisher.peers(self.peers.values().cloned());
        self.put(replica, effects);
    }

    pub(crate) fn connect(&mut self, pod: usize, replica: usize) {
        self.cut(pod);
        self.next += 1;
        let id = self.next;
        self.replicas[replica].publisher.connect(id);
        self.pods[pod].wire = Some(Wire {
            id,
            replica,
            greeted: false,
            asked: false,
            telling: false,
            to_pod: VecDeque::new(),
            to_operator: VecDeque::new(),
        });
        let steps = self.pods[pod].subscriber.connect(id, self.now);
        self.take(pod, steps);
    }

    pub(crate) fn cut(&mut self, pod: usize) {
        let Some(wire) = self.pods[pod].wire.take() else { return };
        self.pods[pod].subscriber.disconnect(wire.id);
        let effects = self.replicas[wire.replica].publisher.disconnect(wire.id, wire.id % 2 == 0, self.now);
        let replica = wire.replica;
        self.pods[pod].ended.push(wire);
        self.put(replica, effects);
    }

    /// Whatever an ended connection still delivers has no effect.
    fn late(&mut self, pod: usize) {
        for wire in std::mem::take(&mut self.pods[pod].ended) {
            for text in wire.to_pod {
                let steps =
                    self.pods[pod].subscriber.receive(wire.id, ToPod::from_json(&text).unwrap(), self.now);
                assert_eq!(steps, [], "from a connection that has ended");
            }
            for text in wire.to_operator {
                let publisher = &mut self.replicas[wire.replica].publisher;
                let effects = publisher.receive(wire.id, FromPod::from_json(&text).unwrap(), self.now);
                assert_eq!(effects, [], "from a connection that has ended");
            }
        }
    }

    pub(crate) fn pod_hears(&mut self, pod: usize, twice: bool) {
        let Some(wire) = &mut self.pods[pod].wire else { return };
        let Some(text) = wire.to_pod.pop_front() else { return };
        let id = wire.id;
        // Whoever is asked twice answers twice; the transport keeps the count of questions.
        let twice = twice && ToPod::from_json(&text).unwrap() != ToPod::Recount;
        for _ in 0..=usize::from(twice) {
            let message = ToPod::from_json(&text).unwrap();
            let steps = self.pods[pod].subscriber.receive(id, message, self.now);
            self.take(pod, steps);
        }
    }

    pub(crate) fn operator_hears(&mut self, pod: usize, twice: bool) {
        let Some(wire) = &mut self.pods[pod].wire else { return };
        let Some(text) = wire.to_operator.pop_front() else { return };
        let (id, replica) = (wire.id, wire.replica);
        // A hello that comes twice would be a second one; the transport keeps order and count of the first message.
        let twice = twice && !text.starts_with(r#"{"hello""#);
        for _ in 0..=usize::from(twice) {
            let message = FromPod::from_json(&text).unwrap();
            if let (FromPod::PeersAck(_), Some(wire)) = (&message, &mut self.pods[pod].wire) {
                wire.telling = false;
            }
            let effects = self.replicas[replica].publisher.receive(id, message, self.now);
            self.put(replica, effects);
        }
    }

    /// The pod has put into effect what it was given, except for what it cannot serve.
    pub(crate) fn settle(&mut self, pod: usize) {
        let Some(change) = self.pods[pod].applying.take() else { return };
        let bad = change.upsert.iter().filter(|entry| is_bad(entry));
        let rejected: Vec<_> =
            bad.map(|entry| Rejection::of(entry, RejectionCode::Invalid, "too large")).collect();
        let steps = self.pods[pod].subscriber.settle(rejected);
        let Pod { subscriber, revision, .. } = &mut self.pods[pod];
        assert!(
            subscriber.revision() >= *revision || change.despite == Some(HeldReason::Older),
            "pod {pod} went from revision {revision} back to {}",
            subscriber.revision()
        );
        *revision = subscriber.revision();
        assert!(subscriber.served().all(|entry| !is_bad(entry)), "what is rejected is not served");
        self.pods[pod].saved = self.pods[pod].subscriber.save();
        self.take(pod, steps);
    }

    pub(crate) fn restart_replica(&mut self, replica: usize, behind: usize) {
        for pod in 0..PODS {
            if self.pods[pod].wire.as_ref().is_some_and(|wire| wire.replica == replica) {
                self.cut(pod);
            }
        }
        let seen = self.written.len().saturating_sub(behind);
        let mut known = BTreeMap::new();
        known.extend(self.written[..seen].iter().cloned());
        let mut publisher = publisher("epoch");
        for (key, entry) in known {
            publisher.set(key, entry, seen as u64, self.now);
        }
        publisher.observe(seen as u64, self.now);
        assert_eq!(publisher.complete(self.now), []);
        self.replicas[replica] = Replica { publisher, seen };
    }

    pub(crate) fn restart_pod(&mut self, pod: usize, keep: bool) {
        self.cut(pod);
        let state = &mut self.pods[pod];
        state.subscriber = subscriber(pod);
        state.applying = None;
        state.revision = 0;
        state.ended.clear();
        state.saved.take_if(|_| !keep);
        if let Some(saved) = state.saved.clone() {
            state.revision = saved.revision;
            state.subscriber.restore(saved, Vec::new()).unwrap();
        }
    }

    pub(crate) fn wait(&mut self, time: Duration) {
        self.now += time;
        for replica in 0..REPLICAS {
            let publisher = &mut self.replicas[replica].publisher;
            if publisher.next_tick().is_some_and(|tick| tick <= self.now) {
                let effects = publisher.tick(self.now);
                self.put(replica, effects);
            }
            let next = self.replicas[replica].publisher.next_tick();
            assert!(next.is_none_or(|tick| tick > self.now), "whoever waits for {next:?} never waits");
        }
    }

    /// The operators see everything, pods are connected, nothing more is written: everything is delivered.
    pub(crate) fn calm_down(&mut self) {
        for replica in 0..REPLICAS {
            self.see(replica, usize::MAX);
            self.look(replica);
        }
        for round in 0..500 {
            // A change that pods seem to have been lost with is tried again.
            if round == 50 || round == 250 {
                self.wait(Duration::from_secs(301));
            }
            for pod in 0..PODS {
                if self.pods[pod].wire.is_none() {
                    self.connect(pod, pod % REPLICAS);
                }
                self.pod_hears(pod, false);
                self.operator_hears(pod, false);
                self.settle(pod);
            }
            self.wait(Duration::from_millis(500));
        }
    }

    pub(crate) fn truth(&self) -> BTreeMap<Key, Entry> {
        let latest: BTreeMap<_, _> = self.written.iter().cloned().collect();
        latest.into_iter().filter_map(|(key, entry)| Some((key, entry?))).collect()
    }

    pub(crate) fn assert_converged(&self) {
        let truth = self.truth();
        for (index, pod) in self.pods.iter().enumerate() {
            let served: BTreeMap<_, _> =
                pod.subscriber.served().map(|entry| (entry.key.clone(), entry.clone())).collect();
            for (key, entry) in &truth {
                if is_bad(entry) {
                    let told = pod.subscriber.rejected().any(|rejection| rejection.version == entry.version);
                    assert!(told, "pod {index} says nothing of {key}");
                } else {
                    assert_eq!(served.get(key), Some(entry), "pod {index}: {key}");
                }
            }
            for key in served.keys() {
                assert!(truth.contains_key(key), "pod {index} still serves {key}");
            }
            self.assert_knows_others(index);
            let replica = &self.replicas[pod.wire.as_ref().unwrap().replica];
            let state = replica.publisher.streams().find(|state| state.uid == index.to_string()).unwrap();
            assert!(state.current, "the operator does not know that pod {index} is current");
            let rejected: Vec<_> = pod.subscriber.rejected().collect();
            assert_eq!(state.rejected, rejected, "what the operator knows (left) and pod {index} says");
        }
    }

    pub(crate) fn assert_knows_others(&self, pod: usize) {
        let mut others = self.peers.clone();
        others.remove(&pod.to_string());
        let known = self.pods[pod].subscriber.peers();
        assert_eq!(known, (pod < OLD).then_some(&others), "what pod {pod} knows of others (left)");
    }

    fn take(&mut self, pod: usize, steps: Vec<Step>) {
        for step in steps {
            match step {
                Step::Send(message) => {
                    if let Some(wire) = &mut self.pods[pod].wire {
                        if matches!(message, FromPod::Hello(_)) {
                            let again = std::mem::replace(&mut wire.greeted, true);
                            let asked = std::mem::take(&mut wire.asked);
                            assert!(
                                !again || asked,
                                "operator and pod {pod} do not agree on what the pod has"
                            );
                        }
                        wire.to_operator.push_back(message.to_json().unwrap());
                    }
                }
                Step::Apply(change) => {
                    let earlier = self.pods[pod].applying.replace(change);
                    assert_eq!(earlier, None, "one change at a time");
                }
                Step::Leave(leave) => panic!("nobody misbehaves here: {leave:?}"),
            }
        }
    }

    fn put(&mut self, replica: usize, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send(id, message) => {
                    let on = |wire: &Wire| wire.id == id && wire.replica == replica;
                    let pod = self.pods.iter_mut().find(|pod| pod.wire.as_ref().is_some_and(on));
                    let Some(Pod { wire: Some(wire), resources_sent, .. }) = pod else {
                        panic!("a message on a stream that has ended")
                    };
                    wire.asked |= message == ToPod::Recount;
                    if let ToPod::Delta(delta) = &message {
                        *resources_sent += delta.upsert.len() + delta.remove.len();
                    }
                    let delta = |text: &String| text.starts_with(r#"{"delta""#);
                    if let ToPod::Peers(_) = &message {
                        let before = std::mem::replace(&mut wire.telling, true);
                        assert!(!before, "two messages about pods on their way to a pod");
                    }
                    let text = message.to_json().unwrap();
                    assert!(
                        !(delta(&text) && wire.to_pod.iter().any(delta)),
                        "two changes on their way to a pod"
                    );
                    wire.to_pod.push_back(text);
                }
                Effect::Close(_, why) => panic!("nobody misbehaves here: {why}"),
                Effect::Serves(..) | Effect::Holds(..) | Effect::Reported(..) => {}
            }
        }
    }
}
