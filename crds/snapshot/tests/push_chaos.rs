//! Peers that say anything at any time: nothing panics, nobody answers for ever, and what a pod serves is intact.

#![allow(clippy::panic, clippy::unwrap_used, reason = "in a test, a step that fails is a failed test")]
#![allow(clippy::disallowed_methods, reason = "some instant to begin with; it never passes by itself")]

use std::time::{Duration, Instant};

use bridge_snapshot::push::{
    Ack, Delta, Digest, Effect, Entry, FromPod, GoAway, Have, Held, HeldReason, Identity, Key, Nack, PEERS,
    PROTOCOL, Peer, Peers, PodHello, Publisher, PublisherSettings, Rejection, RejectionCode, Report,
    ResourceType, ServerHello, Step, Subscriber, SubscriberSettings, ToPod, Version,
};
use proptest::prelude::*;

fn key() -> impl Strategy<Value = Key> {
    let kind = prop_oneof![
        Just(ResourceType::Secret),
        Just(ResourceType::Endpoints),
        Just(ResourceType::Backend),
        Just(ResourceType::Gateway),
    ];
    (kind, "[a-c]").prop_map(|(kind, name)| Key::new(kind, name))
}

fn peer(uid: &str) -> Peer {
    Peer { pod: format!("main-{uid}"), uid: uid.to_owned(), addresses: vec![[10, 0, 0, 1].into()] }
}

fn entry() -> impl Strategy<Value = Entry> {
    (key(), 0_u8..4, prop::bool::weighted(0.02)).prop_map(|(key, value, damaged)| {
        let mut entry = Entry::new(key, &value).unwrap();
        if damaged {
            entry.version = Version::of("something else");
        }
        entry
    })
}

fn rejection() -> impl Strategy<Value = Rejection> {
    entry().prop_map(|entry| Rejection::of(&entry, RejectionCode::Invalid, "no"))
}

fn digest() -> impl Strategy<Value = Digest> {
    prop::collection::vec(entry(), 0..2).prop_map(|entries| {
        let mut digest = Digest::default();
        for entry in entries {
            digest.toggle(&entry.key, entry.version);
        }
        digest
    })
}

fn to_pod() -> impl Strategy<Value = ToPod> {
    let delta = (
        (0_u64..6, 0_u64..5, prop::bool::ANY),
        prop::collection::vec(entry(), 0..3),
        prop::collection::vec(key(), 0..3),
        digest(),
    );
    let delta = delta.prop_map(|((seq, revision, last), upsert, remove, digest)| {
        ToPod::Delta(Delta { seq, revision, upsert, remove, last, digest })
    });
    let peers = (
        (0_u64..3, prop::bool::weighted(0.8), prop::bool::weighted(0.8)),
        prop::collection::vec("[t-v]".prop_map(|uid| peer(&uid)), 0..3),
        prop::collection::vec("[t-v]", 0..2),
    );
    let peers = peers.prop_map(|((seq, all, last), upsert, remove)| {
        ToPod::Peers(Peers { seq, all, upsert, remove, last })
    });
    prop_oneof![
        4 => peers,
        4 => (prop_oneof![3 => Just(PROTOCOL), 1 => 0_u32..3], "[ab]").prop_map(|(protocol, epoch)| ToPod::Hello(ServerHello { protocol, epoch })),
        8 => delta,
        1 => Just(ToPod::Recount),
        1 => (0_u64..9).prop_map(|retry_after_ms| ToPod::GoAway(GoAway { retry_after_ms })),
    ]
}

fn from_pod() -> impl Strategy<Value = FromPod> {
    let whole = prop::option::of(digest());
    let features = prop::collection::vec(prop_oneof![Just(PEERS), Just("else")], 0..3);
    let features = features.prop_map(|features| features.into_iter().map(str::to_owned).collect());
    let hello = (
        (0_u32..3, features),
        prop::collection::vec(entry(), 0..3),
        prop::collection::vec(rejection(), 0..2),
        whole,
    );
    let hello = hello.prop_map(|((protocol, features), have, rejected, digest)| {
        let text = |text: &str| text.to_owned();
        let have = have.into_iter().map(|entry| Have {
            kind: entry.key.kind,
            name: entry.key.name.clone(),
            version: entry.version,
        });
        FromPod::Hello(PodHello {
            protocol,
            gateway: text("ns/main"),
            pod: text("main-0"),
            uid: text("u"),
            build: text("1"),
            features,
            epoch: None,
            revision: 0,
            digest,
            have: have.collect(),
            rejected,
        })
    });
    let held = prop::option::of((0_u64..5, 0_u64..u64::MAX).prop_map(|(revision, retry_after_ms)| Held {
        reason: HeldReason::Older,
        revision,
        retry_after_ms,
    }));
    let nack = (0_u64..6, prop::collection::vec(rejection(), 0..2), held);
    prop_oneof![
        2 => hello,
        4 => (0_u64..6).prop_map(|seq| FromPod::Ack(Ack { seq })),
        2 => (0_u64..4).prop_map(|seq| FromPod::PeersAck(Ack { seq })),
        3 => nack.prop_map(|(seq, rejected, held)| FromPod::Nack(Nack { seq, rejected, held })),
        1 => Just(FromPod::Report(Report::default())),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_pod_survives_any_operator(
        messages in prop::collection::vec((1_u64..3, to_pod(), prop::bool::ANY), 0..40),
    ) {
        let text = |text: &str| text.to_owned();
        let identity = Identity {
            gateway: text("ns/main"),
            pod: text("main-0"),
            uid: text("u"),
            build: text("1"),
            features: Vec::new(),
        };
        let mut pod = Subscriber::new(identity, &SubscriberSettings::default());
        let mut now = Instant::now();
        let mut stream = 0;
        for (id, message, settle) in messages {
            now += Duration::from_secs(7);
            if id != stream {
                stream = id;
                let _ = pod.connect(id, now);
            }
            let mut steps = pod.receive(id, message, now);
            prop_assert!(steps.len() <= 1, "{:?}", steps);
            if let Some(Step::Apply(change)) = steps.pop() {
                let first = change.upsert.first().filter(|_| settle);
                let rejected = first.map(|entry| Rejection::of(entry, RejectionCode::Invalid, "no"));
                prop_assert!(pod.settle(rejected.into_iter().collect()).len() <= 1);
            }
            prop_assert!(pod.served().all(Entry::is_intact));
            prop_assert!(pod.peers().is_none_or(|peers| !peers.contains_key("u")), "it is not one of the others");
            if let Some(saved) = pod.save() {
                prop_assert_eq!(saved.verify("ns/main"), Ok(()));
            }
        }
    }

    #[test]
    fn an_operator_survives_any_pod(
        messages in prop::collection::vec((1_u64..4, from_pod(), entry(), prop::bool::ANY), 0..40),
    ) {
        let settings = PublisherSettings { delta_bytes: 1, first_at_once: 2, ..PublisherSettings::default() };
        let mut operator = Publisher::new("e", settings);
        let mut now = Instant::now();
        operator.complete(now);
        for (stream, message, entry, gone) in messages {
            now += Duration::from_millis(400);
            operator.set(entry.key.clone(), (!gone).then_some(entry), 1, now);
            let mut effects = operator.tick(now + Duration::from_millis(200));
            if operator.streams().all(|state| state.stream != stream) {
                operator.connect(stream);
            }
            effects.extend(operator.peers((!gone).then(|| peer(&stream.to_string()))));
            effects.extend(operator.receive(stream, message, now));
            let deltas = |id| {
                let to = move |effect: &&Effect| matches!(effect, Effect::Send(to, ToPod::Delta(_)) if *to == id);
                effects.iter().filter(to).count()
            };
            let peers = |id| {
                let to = move |effect: &&Effect| matches!(effect, Effect::Send(to, ToPod::Peers(_)) if *to == id);
                effects.iter().filter(to).count()
            };
            // One when the operator has something new, one when the pod has answered.
            prop_assert!((1..4).all(|id| deltas(id) <= 2 && peers(id) <= 2), "{:?}", effects);
        }
    }
}
