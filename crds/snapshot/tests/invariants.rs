//! What a snapshot must satisfy, and what its hash covers.

#![allow(clippy::expect_used, reason = "test code outside of `#[test]` functions")]

use std::collections::BTreeMap;
use std::time::Duration;

use bridge_snapshot::{
    Access, Backend, EraPolicy, Exposure, HttpBackend, Limits, Listener, Naming, Protocol, Secret, Sessions,
    Snapshot, StdioBackend, Target, WebSocketBackend,
};

fn http(name: &str, token: &str) -> Backend {
    Backend {
        name: name.to_owned(),
        namespace: name.to_owned(),
        target: Target::Http(HttpBackend {
            url: "http://h/mcp".to_owned(),
            headers: BTreeMap::from([("Authorization".to_owned(), Secret::new(token))]),
        }),
        alternatives: Vec::new(),
        deserted: false,
        era: EraPolicy::Auto,
        connect_timeout: Duration::from_secs(10),
        request_timeout: Duration::from_mins(1),
        max_concurrency: 8,
        exposure: Exposure::default(),
        tls: None,
    }
}

fn listener(name: &str, address: &str) -> Listener {
    Listener {
        name: name.to_owned(),
        address: address.parse().expect("an address"),
        protocols: vec![Protocol::StreamableHttp],
        tls: None,
        allowed_origins: Vec::new(),
        allowed_hosts: Vec::new(),
        max_connections: 1,
        max_connections_per_ip: 0,
    }
}

fn snapshot(listeners: Vec<Listener>, backends: Vec<Backend>) -> Snapshot {
    Snapshot {
        listeners,
        local: Vec::new(),
        backends,
        access: Access::Anonymous { explicit: false },
        naming: Naming::OnConflict,
        limits: Limits::default(),
        sessions: Sessions::default(),
        log_level: None,
        refuse_local: false,
    }
}

fn defects(snapshot: &Snapshot) -> Vec<String> {
    snapshot.validate().err().unwrap_or_default().iter().map(ToString::to_string).collect()
}

#[test]
fn names_are_unique_and_printable() {
    let good = snapshot(vec![listener("main", "127.0.0.1:0")], vec![http("a", ""), http("b", "")]);
    assert_eq!(defects(&good), [] as [&str; 0]);
    let twice = snapshot(Vec::new(), vec![http("a", ""), http("a", "")]);
    assert_eq!(
        defects(&twice),
        [
            "backend `a` is defined twice; names must be unique",
            "namespace `a` is defined twice; names must be unique"
        ]
    );
    let long = "x".repeat(64);
    for name in ["", "a b", "a/b", "é", long.as_str()] {
        assert_eq!(defects(&snapshot(Vec::new(), vec![http(name, "")])).len(), 2, "{name}");
    }
    assert!(defects(&snapshot(Vec::new(), vec![http(&"x".repeat(63), "")])).is_empty());
}

#[test]
fn a_process_needs_a_program() {
    for command in [vec![], vec![String::new()]] {
        let target = Target::Stdio(StdioBackend {
            command,
            working_dir: None,
            env: BTreeMap::new(),
            max_processes: 1,
            shared: false,
        });
        let found = defects(&snapshot(Vec::new(), vec![Backend { target, ..http("a", "") }]));
        assert_eq!(found, ["backend `a`: `command` is empty; give the program and its arguments as a list"]);
    }
}

#[test]
fn only_loopback_is_open_without_a_written_policy() {
    for (address, open) in [
        ("127.0.0.1:1", false),
        ("[::1]:1", false),
        ("0.0.0.0:1", true),
        ("[::]:1", true),
        ("10.0.0.1:1", true),
    ] {
        let mut snapshot = snapshot(vec![listener("main", address)], Vec::new());
        assert_eq!(!defects(&snapshot).is_empty(), open, "{address}");
        for access in [Access::Anonymous { explicit: true }, Access::Refuse { reason: "r".to_owned() }] {
            snapshot.access = access;
            assert!(defects(&snapshot).is_empty(), "{address}");
        }
    }
}

#[test]
fn the_hash_covers_everything_secrets_included_and_survives_the_wire() {
    let one = snapshot(vec![listener("main", "127.0.0.1:1")], vec![http("a", "one")]);
    let hash = one.content_hash();
    assert_eq!((hash.as_str().len(), hash.short().len()), (64, 12));
    assert!(hash.as_str().bytes().all(|byte| byte.is_ascii_hexdigit()));
    let wire = serde_json::to_string(&one).expect("encodes");
    let back: Snapshot = serde_json::from_str(&wire).expect("decodes");
    assert_eq!((&back, back.content_hash()), (&one, hash.clone()));
    let mut other = one.clone();
    other.backends = vec![http("a", "two")];
    assert_ne!(other.content_hash(), hash, "another secret is another configuration");
    other = one.clone();
    other.limits.max_depth += 1;
    assert_ne!(other.content_hash(), hash);
    assert!(!format!("{one:?}").contains("one\""), "{one:?}");
}

#[test]
fn a_server_is_the_same_elsewhere_and_for_other_credentials_but_not_under_other_rules() {
    let one = http("web", "first");
    let at = |url: &str| Target::Http(HttpBackend { url: url.to_owned(), headers: BTreeMap::new() });
    let elsewhere =
        Backend { target: at("http://h2/mcp"), alternatives: vec![at("http://h/mcp")], ..one.clone() };
    assert!(one.is_same_server(&elsewhere) && one.is_same_server(&http("web", "second")));
    assert!(one.target.is_same_place(&http("web", "second").target), "the credential is no part of a place");
    assert!(!one.target.is_same_place(&elsewhere.target));
    let others = [
        Backend { namespace: "other".to_owned(), ..one.clone() },
        Backend { era: EraPolicy::Modern, ..one.clone() },
        Backend { request_timeout: Duration::from_secs(1), ..one.clone() },
        Backend { max_concurrency: 9, ..one.clone() },
    ];
    for other in others {
        assert!(!one.is_same_server(&other), "{other:?}");
    }
    let socket = WebSocketBackend { url: "ws://h/mcp".to_owned(), headers: BTreeMap::new() };
    let mixed = Backend { alternatives: vec![Target::WebSocket(socket)], ..one.clone() };
    assert!(!one.is_same_server(&mixed) && !mixed.is_same_server(&one), "it speaks something else");
    let command = |colour: &str| Backend {
        target: Target::Stdio(StdioBackend {
            command: vec!["server".to_owned()],
            working_dir: None,
            env: BTreeMap::from([("COLOUR".to_owned(), Secret::new(colour))]),
            max_processes: 1,
            shared: false,
        }),
        ..one.clone()
    };
    assert!(command("red").is_same_server(&command("red")));
    assert!(!command("red").is_same_server(&command("blue")), "a command is what it is started with");
}
