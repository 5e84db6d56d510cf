//! Each end of the push protocol alone: what it does with a peer that misbehaves, and when it does what.

#![allow(clippy::panic, clippy::unwrap_used, reason = "in a test, a step that fails is a failed test")]
#![allow(clippy::disallowed_methods, reason = "some instant to begin with; it never passes by itself")]

use std::time::{Duration, Instant};

use bridge_snapshot::push::{
    Ack, Damage, Delta, Digest, Effect, Entry, FromPod, GoAway, Identity, Key, Leave, Nack, PROTOCOL,
    PodHello, Publisher, PublisherSettings, Rejection, RejectionCode, Report, ResourceType, Saved,
    ServerHello, Step, Subscriber, SubscriberSettings, ToPod, Version,
};

fn entry(name: &str, value: u32) -> Entry {
    Entry::new(Key::new(ResourceType::Backend, name), &value).unwrap()
}

fn subscriber() -> Subscriber {
    let text = |text: &str| text.to_owned();
    let identity = Identity {
        gateway: text("ns/main"),
        pod: text("main-0"),
        uid: text("u"),
        build: text("1"),
        features: Vec::new(),
    };
    Subscriber::new(identity, &SubscriberSettings::default())
}

fn hello(protocol: u32) -> ToPod {
    ToPod::Hello(ServerHello { protocol, epoch: "e".to_owned() })
}

fn delta(seq: u64, upsert: Vec<Entry>, last: bool) -> Delta {
    let mut digest = Digest::default();
    for entry in &upsert {
        digest.toggle(&entry.key, entry.version);
    }
    Delta { seq, revision: seq, upsert, remove: Vec::new(), last, digest }
}

/// What a pod does with messages on a stream that it has opened.
fn heard(messages: Vec<ToPod>) -> Vec<Step> {
    let (mut pod, now) = (subscriber(), Instant::now());
    assert!(matches!(*pod.connect(1, now), [Step::Send(FromPod::Hello(_))]));
    messages.into_iter().flat_map(|message| pod.receive(1, message, now)).collect()
}

fn misbehaviour(messages: Vec<ToPod>) -> &'static str {
    match heard(messages).pop() {
        Some(Step::Leave(Leave::Misbehaviour(how))) => how,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_pod_leaves_an_operator_that_does_not_keep_to_the_protocol() {
    let to_pod = ToPod::Delta;
    assert_eq!(misbehaviour(vec![to_pod(delta(1, vec![], true))]), "a change before the operator said hello");
    assert_eq!(
        misbehaviour(vec![hello(PROTOCOL), to_pod(delta(1, vec![], false)), to_pod(delta(3, vec![], true))]),
        "a message is missing"
    );
    assert_eq!(
        misbehaviour(vec![hello(PROTOCOL), to_pod(delta(1, vec![], true)), to_pod(delta(2, vec![], true))]),
        "a change before the one before was answered"
    );
    let mut damaged = entry("a", 1);
    damaged.version = Version::of("2");
    assert_eq!(
        misbehaviour(vec![hello(PROTOCOL), to_pod(delta(1, vec![damaged], true))]),
        "a resource is not the one that its version was made of"
    );
    assert_eq!(heard(vec![hello(7)]), [Step::Leave(Leave::Protocol(7))]);
    let away = ToPod::GoAway(GoAway { retry_after_ms: 5 });
    assert_eq!(heard(vec![hello(PROTOCOL), away]), [Step::Leave(Leave::Asked(Duration::from_millis(5)))]);
}

#[test]
fn a_pod_says_once_what_it_has_when_the_operator_believes_something_else() {
    let wrong =
        |seq| ToPod::Delta(Delta { digest: Digest::default(), ..delta(seq, vec![entry("a", 1)], true) });
    let steps = heard(vec![hello(PROTOCOL), wrong(1), wrong(2)]);
    assert!(matches!(
        *steps,
        [Step::Send(FromPod::Hello(_)), Step::Leave(Leave::Misbehaviour(how))] if how.starts_with("the digest")
    ));
}

#[test]
fn a_change_is_applied_when_all_its_parts_are_there() {
    let (mut pod, now) = (subscriber(), Instant::now());
    pod.connect(1, now);
    let whole = delta(2, vec![entry("a", 1), entry("b", 2)], true);
    let first = Delta { seq: 1, last: false, upsert: vec![entry("b", 2)], ..whole.clone() };
    let second = Delta { upsert: vec![entry("a", 1)], ..whole };
    assert_eq!(pod.receive(1, hello(PROTOCOL), now), []);
    assert_eq!(pod.receive(1, ToPod::Delta(first), now), [Step::Send(FromPod::Ack(Ack { seq: 1 }))]);
    let steps = pod.receive(1, ToPod::Delta(second), now);
    let [Step::Apply(change)] = &*steps else { panic!("{steps:?}") };
    assert_eq!(change.upsert, [entry("a", 1), entry("b", 2)]);
    assert_eq!(pod.served().count(), 0, "not before it is settled");
    assert_eq!(pod.settle(Vec::new()), [Step::Send(FromPod::Ack(Ack { seq: 2 }))]);
    assert_eq!((pod.served().count(), pod.revision()), (2, 2));
}

#[test]
fn a_change_that_outlives_its_stream_is_part_of_the_next_hello() {
    let (mut pod, now) = (subscriber(), Instant::now());
    pod.connect(1, now);
    pod.receive(1, hello(PROTOCOL), now);
    assert!(matches!(
        *pod.receive(1, ToPod::Delta(delta(1, vec![entry("a", 1)], true)), now),
        [Step::Apply(_)]
    ));
    pod.disconnect(1);
    assert_eq!(pod.connect(2, now), [], "what it has is not known yet");
    let steps = pod.settle(Vec::new());
    let [Step::Send(FromPod::Hello(hello))] = &*steps else { panic!("{steps:?}") };
    assert_eq!(hello.digest, Some(delta(1, vec![entry("a", 1)], true).digest));
    assert_eq!(told(&mut pod, 2).have.len(), 1);
}

/// What a pod says when it is asked for everything that it has.
fn told(pod: &mut Subscriber, stream: u64) -> PodHello {
    match pod.receive(stream, ToPod::Recount, Instant::now()).pop() {
        Some(Step::Send(FromPod::Hello(hello))) => hello,
        other => panic!("{other:?}"),
    }
}

#[test]
fn reports_are_the_latest_and_not_too_many() {
    let (mut pod, start) = (subscriber(), Instant::now());
    let report = |sessions| Report { sessions, ..Report::default() };
    let sent = |sessions| vec![Step::Send(FromPod::Report(report(sessions)))];
    assert_eq!(pod.report(report(1), start), [], "nobody listens");
    assert_eq!(pod.connect(1, start)[1..], sent(1));
    let later = |millis| start + Duration::from_millis(millis);
    assert_eq!(pod.report(report(2), later(300)), []);
    assert_eq!(pod.report(report(3), later(600)), []);
    assert_eq!(pod.next_tick(), Some(later(1000)));
    assert_eq!(pod.tick(later(1000)), sent(3));
    assert_eq!(pod.next_tick(), None);
}

#[test]
fn a_pod_begins_with_what_was_saved_if_it_is_whole_and_its_own() {
    let saved = Saved::new("ns/main", "e", 7, vec![entry("a", 1), entry("b", 2)]);
    let text = serde_json::to_string(&saved).unwrap();
    let read = |text: &str| serde_json::from_str::<Saved>(text).unwrap();
    let mut pod = subscriber();
    let unusable = Rejection::of(&entry("b", 2), RejectionCode::Invalid, "too large");
    pod.restore(read(&text), vec![unusable]).unwrap();
    assert_eq!(pod.served().cloned().collect::<Vec<_>>(), [entry("a", 1)]);
    let [Step::Send(FromPod::Hello(hello))] = &*pod.connect(1, Instant::now()) else { panic!() };
    assert_eq!((hello.epoch.as_deref(), hello.revision), (Some("e"), 7));
    let hello = told(&mut pod, 1);
    assert_eq!((hello.have.len(), hello.rejected.len()), (1, 1));

    for damaged in [text.replace(":1}", ":3}"), text.replace(r#""b""#, r#""c""#)] {
        assert_ne!(damaged, text);
        assert_eq!(subscriber().restore(read(&damaged), Vec::new()), Err(Damage::Content));
    }
    let other = Saved { gateway: "ns/other".to_owned(), ..saved };
    assert!(matches!(subscriber().restore(other, Vec::new()), Err(Damage::OtherGateway { .. })));
}

/// Of what a pod answers to a change: who is rejected.
fn rejected(steps: &[Step]) -> Vec<&str> {
    match steps {
        [Step::Send(FromPod::Nack(nack))] => nack.rejected.iter().map(|one| &*one.name).collect(),
        [Step::Send(FromPod::Ack(_))] => Vec::new(),
        _ => panic!("{steps:?}"),
    }
}

/// A pod that says it has `a` and `b`, and an operator that has nothing to add.
fn restored() -> (Subscriber, Delta, Rejection) {
    let (mut pod, now) = (subscriber(), Instant::now());
    let all = vec![entry("a", 1), entry("b", 2)];
    pod.restore(Saved::new("ns/main", "e", 7, all.clone()), Vec::new()).unwrap();
    pod.connect(1, now);
    pod.receive(1, hello(PROTOCOL), now);
    let nothing = Delta { upsert: Vec::new(), revision: 7, ..delta(1, all, true) };
    (pod, nothing, Rejection::of(&entry("b", 2), RejectionCode::Invalid, "it has never worked"))
}

#[test]
fn what_was_saved_and_turns_out_to_be_unusable_is_rejected() {
    let (mut pod, nothing, unusable) = restored();
    let now = Instant::now();
    assert!(matches!(*pod.receive(1, ToPod::Delta(nothing.clone()), now), [Step::Apply(_)]));
    // What was saved is tried together with the first change.
    let other = Rejection { version: Version::of("3"), ..unusable.clone() };
    assert_eq!(rejected(&pod.settle(vec![other])), [""; 0], "it was never sent");
    let again = Delta { seq: 2, ..nothing };
    assert!(matches!(*pod.receive(1, ToPod::Delta(again), now), [Step::Apply(_)]));
    assert_eq!(rejected(&pod.settle(vec![unusable])), ["b"]);
    assert_eq!(pod.served().cloned().collect::<Vec<_>>(), [entry("a", 1)]);
    pod.disconnect(1);
    pod.connect(2, now);
    let hello = told(&mut pod, 2);
    assert_eq!((hello.have.len(), hello.rejected.len()), (1, 1));
}

#[test]
fn what_could_not_be_had_is_asked_for_again_and_stays_saved() {
    let (mut pod, nothing, invalid) = restored();
    let (now, taken) = (Instant::now(), Rejection { code: RejectionCode::Unavailable, ..invalid });
    assert_eq!(pod.ask_again(), [], "nothing is rejected");
    assert!(matches!(*pod.receive(1, ToPod::Delta(nothing.clone()), now), [Step::Apply(_)]));
    assert_eq!(rejected(&pod.settle(vec![taken.clone()])), ["b"]);
    assert_eq!(pod.served().count(), 2, "it may work after a restart");
    let [Step::Send(FromPod::Hello(asks))] = &*pod.ask_again() else { panic!() };
    let have: Vec<_> = asks.have.iter().map(|have| &*have.name).collect();
    assert_eq!((have.as_slice(), asks.rejected.len()), (["a"].as_slice(), 0));
    // It fails once more, then it does not.
    for (seq, outcome) in [(2, vec![taken]), (3, Vec::new())] {
        let again = Delta { seq, upsert: vec![entry("b", 2)], ..nothing.clone() };
        assert!(matches!(*pod.receive(1, ToPod::Delta(again), now), [Step::Apply(_)]), "{seq}");
        assert_eq!(rejected(&pod.settle(outcome.clone())).len(), outcome.len());
        assert_eq!(pod.rejected().count(), outcome.len());
    }
    assert_eq!((pod.served().count(), pod.ask_again()), (2, Vec::new()));
}

#[test]
fn an_older_version_that_serves_on_does_not_hide_that_a_newer_one_was_rejected() {
    let (mut pod, nothing, invalid) = restored();
    let now = Instant::now();
    let newer = entry("b", 3);
    let mut digest = nothing.digest;
    digest.toggle(&newer.key, entry("b", 2).version);
    digest.toggle(&newer.key, newer.version);
    let change = Delta { upsert: vec![newer.clone()], digest, ..nothing };
    assert!(matches!(*pod.receive(1, ToPod::Delta(change.clone()), now), [Step::Apply(_)]));
    let refused = Rejection::of(&newer, RejectionCode::Invalid, "no");
    assert_eq!(rejected(&pod.settle(vec![refused])), ["b"]);
    let nothing = Delta { seq: 2, upsert: Vec::new(), ..change };
    assert!(matches!(*pod.receive(1, ToPod::Delta(nothing), now), [Step::Apply(_)]));
    let older = Rejection { code: RejectionCode::Unavailable, ..invalid };
    assert_eq!(rejected(&pod.settle(vec![older])), ["b"]);
    assert_eq!(pod.rejected().map(|one| one.version).collect::<Vec<_>>(), [newer.version]);
}

#[test]
fn what_was_saved_and_rejected_while_the_operator_was_silent_is_told_with_the_first_answer() {
    let (mut pod, nothing, unusable) = restored();
    let now = Instant::now();
    let saved = pod.save().unwrap();
    pod.restore(saved, vec![unusable]).unwrap();
    assert!(matches!(*pod.receive(1, ToPod::Delta(nothing.clone()), now), [Step::Apply(_)]));
    assert_eq!(rejected(&pod.settle(Vec::new())), ["b"]);
    pod.receive(1, ToPod::Delta(Delta { seq: 2, ..nothing }), now);
    assert_eq!(rejected(&pod.settle(Vec::new())), [""; 0], "once");
}

fn pod_hello(pod: &str) -> FromPod {
    let text = |text: &str| text.to_owned();
    FromPod::Hello(PodHello {
        protocol: PROTOCOL,
        gateway: text("ns/main"),
        pod: text(pod),
        uid: text(pod),
        build: text("1"),
        features: Vec::new(),
        epoch: None,
        revision: 0,
        digest: None,
        have: Vec::new(),
        rejected: Vec::new(),
    })
}

fn deltas(effects: &[Effect]) -> Vec<(u64, &Delta)> {
    let delta = |effect| match effect {
        &Effect::Send(stream, ToPod::Delta(ref delta)) => Some((stream, delta)),
        _ => None,
    };
    effects.iter().filter_map(delta).collect()
}

#[test]
fn an_operator_sends_nothing_before_it_knows_everything() {
    let (mut operator, now) = (Publisher::new("e", PublisherSettings::default()), Instant::now());
    operator.connect(1);
    assert!(matches!(*operator.receive(1, pod_hello("a"), now), [Effect::Send(1, ToPod::Hello(_))]));
    operator.set(entry("a", 1).key, Some(entry("a", 1)), 3, now);
    assert_eq!(operator.next_tick(), None);
    assert_eq!(operator.tick(now + Duration::from_secs(9)), []);
    let effects = operator.complete(now);
    let [(1, delta)] = *deltas(&effects) else { panic!("{effects:?}") };
    assert_eq!((delta.revision, delta.upsert.len(), delta.last), (3, 1, true));
}

#[test]
fn many_changes_are_one_publication_which_does_not_wait_for_ever() {
    let (mut operator, start) = (Publisher::new("e", PublisherSettings::default()), Instant::now());
    operator.connect(1);
    operator.complete(start);
    operator.receive(1, pod_hello("a"), start);
    operator.receive(1, FromPod::Ack(Ack { seq: 1 }), start);
    let at = |millis| start + Duration::from_millis(millis);
    let mut sent = Vec::new();
    for millis in 0..250_u32 {
        let now = at(u64::from(millis));
        operator.set(entry("a", millis).key, Some(entry("a", millis)), 1, now);
        let effects = operator.tick(now);
        for (stream, delta) in deltas(&effects) {
            sent.push((millis, delta.upsert[0].body().to_owned()));
            operator.receive(stream, FromPod::Ack(Ack { seq: delta.seq }), now);
        }
    }
    assert_eq!(sent, [(100, "100".to_owned()), (201, "201".to_owned())]);
    assert_eq!(operator.next_tick(), Some(at(259)), "10 ms after the last");
}

#[test]
fn pods_get_their_first_change_a_few_at_a_time() {
    let settings = PublisherSettings { first_at_once: 2, ..PublisherSettings::default() };
    let (mut operator, now) = (Publisher::new("e", settings), Instant::now());
    operator.complete(now);
    let mut served = Vec::new();
    for stream in 1..=5 {
        operator.connect(stream);
        let effects = operator.receive(stream, pod_hello(&stream.to_string()), now);
        served.extend(deltas(&effects).iter().map(|(stream, _)| *stream));
    }
    assert_eq!(served, [1, 2]);
    let effects = operator.receive(2, FromPod::Ack(Ack { seq: 1 }), now);
    assert_eq!(deltas(&effects).iter().map(|(stream, _)| *stream).collect::<Vec<_>>(), [3]);
    let effects = operator.disconnect(1, true, now);
    assert_eq!(deltas(&effects).iter().map(|(stream, _)| *stream).collect::<Vec<_>>(), [4]);
    let effects = operator.disconnect(5, true, now);
    assert_eq!(effects, [], "it was waiting");
}

#[test]
fn an_operator_closes_streams_that_do_not_keep_to_the_protocol() {
    let (mut operator, now) = (Publisher::new("e", PublisherSettings::default()), Instant::now());
    operator.complete(now);
    let mut closed = |messages: Vec<FromPod>| {
        operator.connect(1);
        let mut effects = Vec::new();
        for message in messages {
            effects.extend(operator.receive(1, message, now));
        }
        assert_eq!(operator.streams().count(), 0);
        match effects.pop() {
            Some(Effect::Close(1, why)) => why,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(closed(vec![FromPod::Ack(Ack { seq: 1 })]), "an answer to what was never sent");
    let nack = FromPod::Nack(Nack { seq: 9, rejected: Vec::new(), held: None });
    assert_eq!(closed(vec![pod_hello("a"), nack]), "an answer to what was never sent");
    let FromPod::Hello(other) = pod_hello("a") else { panic!() };
    let other = FromPod::Hello(PodHello { protocol: 9, ..other });
    assert_eq!(closed(vec![other]), "another version of the protocol");
}

#[test]
fn a_restored_cluster_begins_anew() {
    let (mut operator, now) = (Publisher::new("e", PublisherSettings::default()), Instant::now());
    operator.complete(now);
    operator.connect(1);
    operator.receive(1, pod_hello("a"), now);
    assert_eq!(operator.restore("f", 2), [Effect::Close(1, "the epoch has changed")]);
    assert_eq!(operator.published().0, "f");

    // The pod takes an older revision of another history at once.
    let mut pod = subscriber();
    pod.restore(Saved::new("ns/main", "e", 900, vec![entry("a", 1)]), Vec::new()).unwrap();
    pod.connect(1, now);
    let other = ServerHello { protocol: PROTOCOL, epoch: "f".to_owned() };
    pod.receive(1, ToPod::Hello(other), now);
    let steps = pod.receive(1, ToPod::Delta(delta(1, vec![entry("a", 2)], true)), now);
    assert!(matches!(*steps, [Step::Apply(_)]), "{steps:?}");
}
