//! A change that could lock everybody out, tried by one pod before the others get it.

#![allow(clippy::panic, clippy::unwrap_used, reason = "in a test, a step that fails is a failed test")]
#![allow(clippy::disallowed_methods, reason = "some instant to begin with; it never passes by itself")]

use std::time::{Duration, Instant};

use bridge_snapshot::push::{
    Ack, Delta, Effect, Entry, FromPod, Held, HeldReason, Key, Nack, PROTOCOL, PodHello, Publisher,
    PublisherSettings, Rejection, RejectionCode, ResourceType, StreamId, ToPod,
};

fn entry(name: &str, value: u32) -> Entry {
    let kind = if name == "gateway" { ResourceType::Gateway } else { ResourceType::Backend };
    Entry::new(Key::new(kind, name), &value).unwrap()
}

fn hello(pod: &str) -> FromPod {
    FromPod::Hello(PodHello {
        protocol: PROTOCOL,
        gateway: "ns/main".to_owned(),
        pod: pod.to_owned(),
        uid: pod.to_owned(),
        build: "1".to_owned(),
        features: Vec::new(),
        epoch: None,
        revision: 0,
        digest: None,
        have: Vec::new(),
        rejected: Vec::new(),
    })
}

/// An operator whose pods serve everything; each answers what it is sent when it is told to.
struct Case {
    operator: Publisher,
    start: Instant,
    sent: Vec<(StreamId, Delta)>,
}

impl Case {
    fn new(pods: StreamId) -> Self {
        let start = Instant::now();
        let mut operator = Publisher::new("e", PublisherSettings::default());
        for name in ["a", "gateway"] {
            operator.set(entry(name, 1).key, Some(entry(name, 1)), 1, start);
        }
        operator.complete(start);
        let mut case = Self { operator, start, sent: Vec::new() };
        for pod in 1..=pods {
            case.connect(pod, 0);
            case.acks(pod, 0);
        }
        case
    }

    fn at(&self, millis: u64) -> Instant {
        self.start + Duration::from_millis(millis)
    }

    fn take(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            if let Effect::Send(stream, ToPod::Delta(delta)) = effect {
                self.sent.push((stream, delta));
            }
        }
    }

    fn connect(&mut self, pod: StreamId, millis: u64) {
        self.operator.connect(pod);
        let effects = self.operator.receive(pod, hello(&pod.to_string()), self.at(millis));
        self.take(effects);
    }

    /// Another value of `name`, which is known 10 ms later; of the gateway it could lock everybody out.
    fn change(&mut self, name: &str, value: u32, millis: u64) {
        let (changed, at) = (entry(name, value), self.at(millis));
        if name == "gateway" {
            self.operator.careful([changed.key.clone()]);
        }
        self.operator.set(changed.key.clone(), Some(changed), u64::from(value), at);
        self.tick(millis + 10);
    }

    fn tick(&mut self, millis: u64) {
        let effects = self.operator.tick(self.at(millis));
        self.take(effects);
    }

    /// What was sent to a pod and is not answered.
    fn got(&mut self, pod: StreamId) -> Delta {
        let at = self.sent.iter().position(|(stream, _)| *stream == pod);
        self.sent.remove(at.unwrap_or_else(|| panic!("{pod} got nothing"))).1
    }

    fn acks(&mut self, pod: StreamId, millis: u64) -> Vec<Entry> {
        let delta = self.got(pod);
        let effects = self.operator.receive(pod, FromPod::Ack(Ack { seq: delta.seq }), self.at(millis));
        self.take(effects);
        delta.upsert
    }

    fn refuses(&mut self, pod: StreamId, code: RejectionCode, millis: u64) {
        let delta = self.got(pod);
        let gateway = delta.upsert.iter().find(|entry| entry.key.kind == ResourceType::Gateway).unwrap();
        let rejected = vec![Rejection::of(gateway, code, "no")];
        let nack = FromPod::Nack(Nack { seq: delta.seq, rejected, held: None });
        let effects = self.operator.receive(pod, nack, self.at(millis));
        self.take(effects);
    }

    fn leaves(&mut self, pod: StreamId, lost: bool, millis: u64) {
        let effects = self.operator.disconnect(pod, lost, self.at(millis));
        self.sent.retain(|(stream, _)| *stream != pod);
        self.take(effects);
    }

    /// The pods that were sent something and have not answered.
    fn asked(&self) -> Vec<StreamId> {
        self.sent.iter().map(|(stream, _)| *stream).collect()
    }

    fn refused(&self, pod: StreamId) -> usize {
        self.operator.streams().find(|stream| stream.stream == pod).unwrap().rejected.len()
    }
}

#[test]
fn one_pod_tries_it_for_some_seconds_before_the_others_get_it() {
    let mut case = Case::new(3);
    case.change("gateway", 2, 0);
    assert_eq!(case.asked(), [1]);
    assert_eq!(case.acks(1, 1000), [entry("gateway", 2)]);
    case.tick(5999);
    assert_eq!(case.asked(), [0; 0]);
    assert_eq!(case.operator.tried().collect::<Vec<_>>(), [&entry("gateway", 2).key]);
    case.tick(6000);
    assert_eq!(case.operator.tried().count(), 0);
    assert_eq!(case.acks(2, 6001), [entry("gateway", 2)]);
    assert_eq!(case.acks(3, 6001), [entry("gateway", 2)]);
    assert_eq!(case.acks(1, 6001).len(), 0, "it has it");
    assert_eq!(case.operator.next_tick(), None);
}

#[test]
fn whatever_else_changes_meanwhile_reaches_everybody() {
    let mut case = Case::new(2);
    case.change("gateway", 2, 0);
    case.change("a", 2, 1000);
    assert_eq!(case.acks(2, 1020), [entry("a", 2)]);
    assert_eq!(case.acks(1, 1020), [entry("gateway", 2)]);
    let delta = case.got(1);
    assert_eq!(delta.upsert, [entry("a", 2)]);
    assert_eq!(delta.digest, case.operator.wanted(), "it also has what it tries");
    case.connect(3, 1100);
    assert_eq!(case.acks(3, 1200), [entry("a", 2), entry("gateway", 1)], "who begins is not the one to try");
}

#[test]
fn what_a_pod_refuses_stays_with_that_pod() {
    let mut case = Case::new(3);
    case.change("gateway", 2, 0);
    case.refuses(1, RejectionCode::Invalid, 100);
    case.tick(600_000);
    assert_eq!((case.asked(), case.refused(1)), (vec![], 1));
    // Another change of it is another matter; the one who refused hears of it, too.
    case.change("gateway", 3, 600_000);
    assert_eq!(case.acks(1, 600_100), [entry("gateway", 3)]);
    case.tick(605_100);
    assert_eq!(case.acks(2, 605_200), [entry("gateway", 3)]);
    assert_eq!(case.refused(1), 0);
}

#[test]
fn the_next_pod_tries_it_when_the_one_that_refused_goes() {
    let mut case = Case::new(3);
    case.change("gateway", 2, 0);
    case.refuses(1, RejectionCode::Unavailable, 100);
    case.leaves(1, true, 1000);
    assert_eq!(case.asked(), [2], "it served what was before, so nothing was lost with it");
    case.acks(2, 1100);
    case.tick(6100);
    assert_eq!(case.asked(), [2, 3]);
}

#[test]
fn no_third_pod_follows_two_that_were_lost_with_it() {
    let mut case = Case::new(3);
    case.change("gateway", 2, 0);
    case.acks(1, 100);
    case.leaves(1, true, 200);
    assert_eq!(case.asked(), [2], "it may have been by chance");
    assert_eq!(case.operator.stopped(), None);
    case.leaves(2, true, 300);
    assert_eq!(case.asked(), [0; 0]);
    assert_eq!(case.operator.stopped().unwrap(), ["1", "2"]);
    // What else happens still reaches those that are left, and those that come back serve what was before.
    case.change("a", 2, 1000);
    assert_eq!(case.acks(3, 1100), [entry("a", 2)]);
    case.connect(4, 1200);
    assert_eq!(case.acks(4, 1300), [entry("a", 2), entry("gateway", 1)]);
    assert_eq!(case.asked(), [0; 0]);
    // It is tried again once in a while.
    case.tick(300_299);
    assert_eq!(case.asked(), [0; 0]);
    case.tick(300_300);
    assert_eq!((case.asked(), case.operator.stopped()), (vec![3], None));
}

#[test]
fn pods_that_are_to_end_are_not_lost() {
    let mut case = Case::new(4);
    case.change("gateway", 2, 0);
    for (pod, next) in [(1, 2), (2, 3)] {
        case.acks(pod, 100);
        case.leaves(pod, false, 200);
        assert_eq!(case.asked(), [next]);
    }
    assert_eq!(case.operator.stopped(), None);
}

#[test]
fn a_pod_that_does_not_answer_is_not_waited_for_and_gets_back_what_was_before() {
    let mut case = Case::new(3);
    case.change("gateway", 2, 0);
    case.tick(15_010);
    assert_eq!(case.asked(), [1, 2]);
    assert_eq!(case.acks(1, 15_100), [entry("gateway", 2)], "after all");
    assert_eq!(case.acks(1, 15_200), [entry("gateway", 1)]);
    case.acks(2, 15_100);
    case.tick(20_100);
    assert_eq!(case.acks(1, 20_200), [entry("gateway", 2)]);
    assert_eq!(case.acks(3, 20_200), [entry("gateway", 2)]);
}

#[test]
fn what_is_put_back_meanwhile_is_tried_no_more() {
    let mut case = Case::new(2);
    case.change("gateway", 2, 0);
    case.acks(1, 100);
    case.change("gateway", 1, 200);
    assert_eq!(case.operator.tried().count(), 0);
    assert_eq!(case.acks(1, 300), [entry("gateway", 1)]);
    assert_eq!(case.asked(), [0; 0], "nothing is different for the other");
}

#[test]
fn where_one_pod_serves_there_is_nobody_to_try_it() {
    let mut case = Case::new(1);
    case.change("gateway", 2, 0);
    assert_eq!(case.operator.tried().count(), 0);
    assert_eq!(case.acks(1, 100), [entry("gateway", 2)]);
}

#[test]
fn a_pod_that_holds_it_is_waited_for_and_what_it_held_is_forgotten_when_it_is_put_back() {
    let mut case = Case::new(3);
    case.change("gateway", 2, 0);
    let seq = case.got(1).seq;
    let held = Held { reason: HeldReason::Older, revision: 9, retry_after_ms: 60_000 };
    let nack = FromPod::Nack(Nack { seq, rejected: Vec::new(), held: Some(held) });
    let effects = case.operator.receive(1, nack, case.at(100));
    case.take(effects);
    case.tick(16_000);
    assert_eq!(case.asked(), [0; 0], "it has answered");
    case.change("gateway", 1, 20_000);
    case.tick(61_000);
    assert_eq!((case.asked(), case.operator.next_tick()), (vec![], None), "nobody is kept awake");
}

#[test]
fn pods_that_did_not_answer_are_asked_again_after_a_while() {
    let mut case = Case::new(2);
    case.change("gateway", 2, 0);
    case.tick(15_010);
    case.tick(30_010);
    assert_eq!(case.operator.stopped().unwrap(), ["1", "2"]);
    for pod in [1, 2] {
        assert_eq!(case.acks(pod, 31_000), [entry("gateway", 2)]);
        assert_eq!(case.acks(pod, 31_000), [entry("gateway", 1)]);
    }
    case.tick(330_010);
    assert_eq!(case.acks(1, 330_100), [entry("gateway", 2)]);
    case.tick(335_100);
    assert_eq!(case.acks(2, 335_200), [entry("gateway", 2)]);
}

#[test]
fn pods_that_were_asked_to_leave_are_not_lost() {
    let mut case = Case::new(4);
    case.change("gateway", 2, 0);
    case.operator.go_away(|_| 0);
    case.acks(1, 100);
    case.leaves(1, true, 200);
    case.leaves(2, true, 200);
    assert_eq!((case.asked(), case.operator.stopped()), (vec![3], None));
}

#[test]
fn the_last_pod_gets_it_as_it_is() {
    let mut case = Case::new(2);
    case.change("gateway", 2, 0);
    case.leaves(1, false, 100);
    assert_eq!(case.operator.tried().count(), 0);
    assert_eq!(case.acks(2, 200), [entry("gateway", 2)]);
}
