//! A pod that comes back, and one that says more than it should: what it costs the operator.

#![allow(clippy::panic, clippy::unwrap_used, reason = "in a test, a step that fails is a failed test")]
#![allow(clippy::disallowed_methods, reason = "some instant to begin with; it never passes by itself")]

use std::time::{Duration, Instant};

use bridge_snapshot::push::{
    Ack, Delta, Effect, Entry, FromPod, Held, HeldReason, Identity, Key, ListenerReport, Nack, PodHello,
    Publisher, PublisherSettings, Rejection, RejectionCode, Report, ResourceType, Step, StreamId, Subscriber,
    SubscriberSettings, ToPod,
};

const LONG: usize = 5000;

fn entry(name: &str, value: u32) -> Entry {
    Entry::new(Key::new(ResourceType::Backend, name), &value).unwrap()
}

fn pod(name: &str) -> Subscriber {
    let text = |text: &str| text.to_owned();
    let identity = Identity {
        gateway: text("ns/main"),
        pod: text(name),
        uid: text(name),
        build: text("1"),
        features: Vec::new(),
    };
    Subscriber::new(identity, &SubscriberSettings::default())
}

fn operator(now: Instant, settings: PublisherSettings) -> Publisher {
    let mut operator = Publisher::new("e", settings);
    for name in ["a", "b", "c"] {
        operator.set(entry(name, 1).key, Some(entry(name, 1)), 1, now);
    }
    operator.complete(now);
    operator
}

/// Lets both talk until they have nothing more to say; what went to the pod, and what came from it.
fn talk(
    operator: &mut Publisher,
    (stream, pod): (StreamId, &mut Subscriber),
    now: Instant,
) -> (Vec<Delta>, Vec<PodHello>) {
    let (mut deltas, mut hellos) = (Vec::new(), Vec::new());
    operator.connect(stream);
    let mut steps = pod.connect(stream, now);
    while let Some(step) = (!steps.is_empty()).then(|| steps.remove(0)) {
        assert!(hellos.len() < 10, "they find no end: {hellos:?}");
        match step {
            Step::Send(message) => {
                hellos.extend(match &message {
                    FromPod::Hello(hello) => Some(hello.clone()),
                    _ => None,
                });
                for effect in operator.receive(stream, message, now) {
                    let Effect::Send(_, message) = effect else { continue };
                    deltas.extend(match &message {
                        ToPod::Delta(delta) => Some(delta.clone()),
                        _ => None,
                    });
                    steps.extend(pod.receive(stream, message, now));
                }
            }
            Step::Apply(_) => steps.extend(pod.settle(Vec::new())),
            Step::Leave(leave) => panic!("{leave:?}"),
        }
    }
    (deltas, hellos)
}

#[test]
fn a_pod_that_has_everything_names_nothing_and_one_that_does_not_gets_what_it_lacks() {
    let now = Instant::now();
    let (mut operator, mut pod) = (operator(now, PublisherSettings::default()), pod("p"));
    let (deltas, hellos) = talk(&mut operator, (1, &mut pod), now);
    assert_eq!((deltas.len(), deltas[0].upsert.len()), (1, 3));
    assert_eq!(hellos.len(), 1, "a pod with nothing has nothing to name");

    operator.disconnect(1, false, now);
    let (deltas, hellos) = talk(&mut operator, (2, &mut pod), now);
    assert_eq!((hellos.len(), hellos[0].have.len()), (1, 0));
    assert_eq!((deltas.len(), deltas[0].upsert.len() + deltas[0].remove.len()), (1, 0));
    assert!(operator.streams().all(|stream| stream.current));

    operator.disconnect(2, false, now);
    operator.set(entry("b", 2).key, Some(entry("b", 2)), 2, now);
    operator.set(entry("c", 1).key, None, 2, now);
    operator.tick(now + Duration::from_secs(1));
    let (deltas, hellos) = talk(&mut operator, (3, &mut pod), now);
    assert_eq!((hellos.len(), hellos[1].have.len()), (2, 3));
    assert_eq!((&*deltas[0].upsert, &*deltas[0].remove), (&[entry("b", 2)][..], &[entry("c", 1).key][..]));
    assert_eq!(pod.served().cloned().collect::<Vec<_>>(), [entry("a", 1), entry("b", 2)]);
}

#[test]
fn a_pod_is_asked_once_what_it_has() {
    let now = Instant::now();
    let (mut operator, mut pod) = (operator(now, PublisherSettings::default()), pod("p"));
    talk(&mut operator, (1, &mut pod), now);
    operator.disconnect(1, false, now);
    operator.set(entry("b", 2).key, Some(entry("b", 2)), 2, now);
    operator.tick(now + Duration::from_secs(1));
    operator.connect(2);
    let asked = operator.receive(2, hello(&mut pod), now);
    assert!(matches!(&*asked, [.., Effect::Send(2, ToPod::Recount)]), "{asked:?}");
    // It has not answered yet when there is more to tell.
    operator.set(entry("b", 3).key, Some(entry("b", 3)), 3, now);
    let told = operator.tick(now + Duration::from_secs(2));
    assert!(told.is_empty(), "{told:?}");
}

#[test]
fn pods_that_wait_for_others_do_not_keep_the_operator_awake() {
    let start = Instant::now();
    let mut operator =
        operator(start, PublisherSettings { first_at_once: 1, ..PublisherSettings::default() });
    let held = |seq| {
        let held = Held { reason: HeldReason::MassRemoval, revision: 9, retry_after_ms: 100 };
        FromPod::Nack(Nack { seq, rejected: Vec::new(), held: Some(held) })
    };
    for stream in 1..=3 {
        operator.connect(stream);
        let FromPod::Hello(hello) = hello(&mut pod(&stream.to_string())) else { panic!() };
        operator.receive(stream, FromPod::Hello(PodHello { digest: None, ..hello }), start);
        // The next one may begin as soon as this one has held its first change.
        operator.receive(stream, held(1), start);
    }
    let later = start + Duration::from_millis(200);
    operator.tick(later);
    assert!(operator.next_tick().is_none_or(|tick| tick > later), "{:?}", operator.next_tick());
    // One has begun again; the others follow, one after the other.
    let (mut seqs, mut served) = (vec![2, 2, 2], 0);
    for stream in [1, 2, 3, 1, 2, 3] {
        let effects = operator.receive(stream, FromPod::Ack(Ack { seq: seqs[0] }), later);
        served += effects.iter().filter(|effect| matches!(effect, Effect::Serves(..))).count();
        seqs.rotate_left(1);
    }
    assert_eq!(served, 3);
}

fn hello(pod: &mut Subscriber) -> FromPod {
    match pod.connect(1, Instant::now()).pop() {
        Some(Step::Send(hello)) => hello,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_pod_says_is_short_and_about_what_it_was_sent() {
    let now = Instant::now();
    let (mut operator, mut pod) = (operator(now, PublisherSettings::default()), pod("p"));
    talk(&mut operator, (1, &mut pod), now);
    operator.set(entry("a", 2).key, Some(entry("a", 2)), 2, now);
    operator.tick(now + Duration::from_secs(1));
    let text = format!("\u{1b}[31m{}", "é".repeat(LONG));
    let rejection = |entry: &Entry| Rejection {
        message: text.clone(),
        ..Rejection::of(entry, RejectionCode::Invalid, "")
    };
    let invented = (0..100).map(|number| rejection(&entry(&format!("x{number}"), 1)));
    let rejected = invented.chain([rejection(&entry("a", 2))]).collect();
    operator.receive(1, FromPod::Nack(Nack { seq: 2, rejected, held: None }), now);
    let state = operator.streams().next().unwrap();
    let [only] = &*state.rejected else { panic!("{:?}", state.rejected) };
    assert_eq!(only.name, "a");
    assert!(only.message.len() <= 1024 && !only.message.contains(char::is_control), "{}", only.message);

    let listeners = vec![ListenerReport { name: "http".to_owned(), error: Some(text) }];
    let report = Report { listeners, ..Report::default() };
    let effects = operator.receive(1, FromPod::Report(report), now);
    let [Effect::Reported(1, report)] = &*effects else { panic!("{effects:?}") };
    assert!(report.listeners[0].error.as_ref().is_some_and(|error| error.len() <= 1024));
}

/// Carries the pod's steps to the operator and what it answers back, until an outcome is asked for; gives the change.
fn until_it_applies(operator: &mut Publisher, pod: &mut Subscriber, steps: Vec<Step>, now: Instant) -> usize {
    let mut steps = steps;
    while let Some(step) = (!steps.is_empty()).then(|| steps.remove(0)) {
        match step {
            Step::Send(message) => {
                for effect in operator.receive(1, message, now) {
                    let Effect::Send(_, message) = effect else { continue };
                    steps.extend(pod.receive(1, message, now));
                }
            }
            Step::Apply(change) => return change.upsert.len(),
            Step::Leave(leave) => panic!("{leave:?}"),
        }
    }
    panic!("nothing was sent")
}

#[test]
fn a_pod_that_tries_again_what_it_could_not_have_still_refuses_it_until_it_can() {
    let now = Instant::now();
    let (mut operator, mut pod) = (operator(now, PublisherSettings::default()), pod("p"));
    let refused = |operator: &Publisher| {
        operator.streams().next().unwrap().rejected.iter().map(|one| one.name.clone()).collect::<Vec<_>>()
    };
    operator.connect(1);
    let hello = pod.connect(1, now);
    assert_eq!(until_it_applies(&mut operator, &mut pod, hello, now), 3);
    let taken = Rejection::of(&entry("b", 1), RejectionCode::Unavailable, "the port is in use");
    for step in pod.settle(vec![taken]) {
        let Step::Send(message) = step else { continue };
        operator.receive(1, message, now);
    }
    assert_eq!(refused(&operator), ["b"]);
    let asks = pod.ask_again();
    assert_eq!(until_it_applies(&mut operator, &mut pod, asks, now), 1);
    assert_eq!(refused(&operator), ["b"], "nobody has said otherwise");
    for step in pod.settle(Vec::new()) {
        let Step::Send(message) = step else { continue };
        operator.receive(1, message, now);
    }
    assert_eq!(refused(&operator), [""; 0]);
}

#[test]
fn what_is_gone_is_refused_no_more() {
    let now = Instant::now();
    let (mut operator, mut pod) = (operator(now, PublisherSettings::default()), pod("p"));
    operator.connect(1);
    let hello = pod.connect(1, now);
    until_it_applies(&mut operator, &mut pod, hello, now);
    let taken = Rejection::of(&entry("b", 1), RejectionCode::Unavailable, "the port is in use");
    for step in pod.settle(vec![taken]) {
        let Step::Send(message) = step else { continue };
        operator.receive(1, message, now);
    }
    operator.set(entry("b", 1).key, None, 2, now);
    operator.tick(now + Duration::from_secs(1));
    // It asks for it before it hears that it is gone.
    for step in pod.ask_again() {
        let Step::Send(message) = step else { continue };
        operator.receive(1, message, now);
    }
    let refused: Vec<_> = operator.streams().next().unwrap().rejected.iter().map(|one| &*one.name).collect();
    assert_eq!(refused, [""; 0]);
}
