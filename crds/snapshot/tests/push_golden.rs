//! The push protocol on the wire: every message as it was first released can still be read, and is still written so.
//! `UPDATE_REFERENCE=1 cargo test -p bridge-snapshot --test push_golden` writes files that are missing, and never one that
//! is there: a message that pods in the field know cannot change.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test, a step that fails is a failed test")]
#![allow(clippy::disallowed_methods, reason = "this test reads and writes files; the crate itself does not")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bridge_snapshot::Secret;
use bridge_snapshot::push::{
    Ack, BackendReport, Delta, Digest, Entry, FromPod, GoAway, Have, Held, HeldReason, Key, ListenerReport,
    Nack, PEERS, PROTOCOL, Peer, Peers, PodHello, Problem, Rejection, RejectionCode, Report, Resource,
    ResourceType, Saved, SecretData, Server, ServerHello, ToPod,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/push")
}

/// `value` is written as the file says, and the file is read as `value`.
fn golden<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(name: &str, value: &T) {
    let path = folder().join(format!("{name}.json"));
    let text = serde_json::to_string(value).unwrap() + "\n";
    if std::env::var_os("UPDATE_REFERENCE").is_some() && !path.exists() {
        std::fs::create_dir_all(folder()).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(there, text, "{name}: what is written has changed");
    assert_eq!(&serde_json::from_str::<T>(&there).unwrap(), value, "{name}: what is read has changed");
}

fn text(text: &str) -> String {
    text.to_owned()
}

fn secret() -> Entry {
    let data = BTreeMap::from([(text("token"), Secret::new("hunter2"))]);
    Resource::Secret(text("team-a/tools"), SecretData { data }).encode().unwrap()
}

fn endpoints() -> Entry {
    Entry::new(Key::new(ResourceType::Endpoints, "tools"), &serde_json::json!({ "targets": [] })).unwrap()
}

fn rejection() -> Rejection {
    Rejection::of(&endpoints(), RejectionCode::Unreadable, "missing field `targets`")
}

fn digest(entries: &[Entry]) -> Digest {
    let mut digest = Digest::default();
    for entry in entries {
        digest.toggle(&entry.key, entry.version);
    }
    digest
}

#[test]
fn messages_to_pods() {
    golden("to_pod_hello", &ToPod::Hello(ServerHello { protocol: PROTOCOL, epoch: text("6b1f") }));
    let upsert = vec![secret(), endpoints()];
    let digest = digest(&upsert);
    let remove = vec![Key::new(ResourceType::Backend, "old"), Key::new(ResourceType::Gateway, "gateway")];
    golden(
        "to_pod_delta",
        &ToPod::Delta(Delta { seq: 1, revision: 812, upsert, remove, last: true, digest }),
    );
    golden("to_pod_recount", &ToPod::Recount);
    golden("to_pod_go_away", &ToPod::GoAway(GoAway { retry_after_ms: 2500 }));
}

#[test]
fn messages_about_other_pods() {
    let addresses = vec!["10.1.2.3".parse().unwrap(), "fd00::1:203".parse().unwrap()];
    let peer = Peer { pod: text("main-mcpgw-1"), uid: text("0b5f"), addresses };
    let all = Peers { seq: 1, all: true, upsert: vec![peer], remove: Vec::new(), last: true };
    golden("to_pod_peers_all", &ToPod::Peers(all));
    let gone = Peers { seq: 2, all: false, upsert: Vec::new(), remove: vec![text("0b5f")], last: true };
    golden("to_pod_peers_gone", &ToPod::Peers(gone));
    golden("from_pod_peers_ack", &FromPod::PeersAck(Ack { seq: 2 }));
    assert_eq!(PEERS, "peers", "the word in `features` is part of the protocol");
}

#[test]
fn messages_from_pods() {
    let first = PodHello {
        protocol: PROTOCOL,
        gateway: text("mcp-system/main"),
        pod: text("main-mcpgw-0"),
        uid: text("0b5e"),
        build: text("0.1.0"),
        features: Vec::new(),
        epoch: None,
        revision: 0,
        digest: None,
        have: Vec::new(),
        rejected: Vec::new(),
    };
    golden("from_pod_hello_first", &FromPod::Hello(first.clone()));
    let back = PodHello {
        epoch: Some(text("6b1f")),
        revision: 812,
        digest: Some(digest(&[secret(), endpoints()])),
        ..first.clone()
    };
    golden("from_pod_hello_back", &FromPod::Hello(back));
    let have = Have { kind: ResourceType::Secret, name: text("team-a/tools"), version: secret().version };
    let again = PodHello {
        features: vec![text("directives")],
        epoch: Some(text("6b1f")),
        revision: 812,
        digest: None,
        have: vec![have],
        rejected: vec![rejection()],
        ..first
    };
    golden("from_pod_hello_again", &FromPod::Hello(again));
    golden("from_pod_ack", &FromPod::Ack(Ack { seq: 1 }));
    let rejected = Nack { seq: 2, rejected: vec![rejection()], held: None };
    golden("from_pod_nack_rejected", &FromPod::Nack(rejected));
    let held = Held { reason: HeldReason::MassRemoval, revision: 812, retry_after_ms: 30_001 };
    let held = Nack { seq: 3, rejected: Vec::new(), held: Some(held) };
    golden("from_pod_nack_held", &FromPod::Nack(held));
    let backend = BackendReport {
        name: text("tools"),
        endpoints: 3,
        healthy: 0,
        ejected: 1,
        problem: Some(Problem::Unauthorized),
        tools: 12,
        exposed: 10,
        filtered: 1,
        conflicts: 1,
        protocol: Some(text("streamable_http")),
        server: Some(Server { name: text("s"), version: text("1.2"), protocol: text("2025-11-25") }),
    };
    let listeners = vec![
        ListenerReport { name: text("http"), error: None },
        ListenerReport { name: text("tcp"), error: Some(text("address in use")) },
    ];
    let report = Report { sessions: 40, dropped: 0, listeners, backends: vec![backend] };
    golden("from_pod_report", &FromPod::Report(report));
}

#[test]
fn what_is_saved() {
    golden("saved", &Saved::new("mcp-system/main", "6b1f", 812, vec![secret(), endpoints()]));
}

#[test]
fn every_file_is_the_one_of_a_message() {
    let count = std::fs::read_dir(folder()).unwrap().count();
    assert_eq!(count, 15, "a file that no test reads, or one that is missing");
}

#[test]
fn what_a_newer_peer_says_is_read_as_far_as_it_is_known() {
    let hello = ToPod::from_json(r#"{"hello":{"protocol":1,"epoch":"e","leader":true}}"#).unwrap();
    assert_eq!(hello, ToPod::Hello(ServerHello { protocol: 1, epoch: text("e") }));
    let nack = r#"{"nack":{"seq":1,"held":{"reason":"full_moon","revision":1,"retry_after_ms":2}}}"#;
    let FromPod::Nack(nack) = FromPod::from_json(nack).unwrap() else { panic!() };
    assert_eq!(nack.held.unwrap().reason, HeldReason::Other);
    let report = r#"{"report":{"backends":[{"name":"a","problem":"tired"}]}}"#;
    let FromPod::Report(report) = FromPod::from_json(report).unwrap() else { panic!() };
    assert_eq!(report.backends[0].problem, Some(Problem::Other));
}

#[test]
fn what_is_not_the_protocol_is_refused() {
    for wrong in [
        "",
        "{}",
        "[]",
        r#"{"ack":{}}"#,
        r#"{"ack":{"seq":-1}}"#,
        r#"{"ack":{"seq":1},"report":{}}"#,
        r#"{"directive":{"drain":true}}"#,
    ] {
        assert!(FromPod::from_json(wrong).is_err(), "{wrong}");
    }
    let delta =
        |digest: &str| format!(r#"{{"delta":{{"seq":1,"revision":1,"last":true,"digest":"{digest}"}}}}"#);
    assert!(ToPod::from_json(&delta("00000000000000000000000000000000")).is_ok());
    for wrong in ["", "0", "zz000000000000000000000000000000", "+0000000000000000000000000000000", "é"] {
        assert!(ToPod::from_json(&delta(wrong)).is_err(), "{wrong}");
    }
}

#[test]
fn no_message_shows_a_secret_in_a_log() {
    let delta = Delta {
        seq: 1,
        revision: 1,
        upsert: vec![secret()],
        remove: Vec::new(),
        last: true,
        digest: Digest::default(),
    };
    assert!(!format!("{:?}", ToPod::Delta(delta)).contains("hunter2"));
    assert!(!format!("{:?}", Saved::new("g", "e", 1, vec![secret()])).contains("hunter2"));
}
