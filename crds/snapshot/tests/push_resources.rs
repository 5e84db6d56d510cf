//! Resources of the push protocol and the snapshot that they make.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test, a step that fails is a failed test")]

use std::collections::BTreeMap;
use std::time::Duration;

use bridge_snapshot::push::{
    BackendPart, Credential, Destination, Endpoints, Entry, Key, Rejection, RejectionCode, Resource,
    ResourceType, SecretData, assemble,
};
use bridge_snapshot::{
    Access, Backend, ClientAuth, EraPolicy, Exposure, HttpBackend, Jwt, Limits, Listener, Material, Naming,
    Protocol, Secret, Sessions, Snapshot, Target, TcpBackend, Tls, TlsVersion, UpstreamTls,
};

fn http(url: &str) -> Target {
    Target::Http(HttpBackend { url: url.to_owned(), headers: BTreeMap::new() })
}

fn backend(name: &str, target: Target) -> Backend {
    Backend {
        name: name.to_owned(),
        namespace: name.to_owned(),
        target,
        alternatives: Vec::new(),
        deserted: false,
        era: EraPolicy::Auto,
        connect_timeout: Duration::from_secs(5),
        request_timeout: Duration::from_mins(1),
        max_concurrency: 8,
        exposure: Exposure::default(),
        tls: None,
    }
}

fn part(backend: Backend) -> BackendPart {
    BackendPart { backend, credentials: Vec::new(), rank: 0 }
}

fn gateway() -> Resource {
    Resource::Gateway(Box::new(Snapshot {
        listeners: Vec::new(),
        local: Vec::new(),
        backends: Vec::new(),
        access: Access::Anonymous { explicit: true },
        naming: Naming::OnConflict,
        limits: Limits::default(),
        sessions: Sessions::default(),
        log_level: None,
        refuse_local: false,
    }))
}

fn token(into: Destination) -> Credential {
    let text = |text: &str| text.to_owned();
    Credential { secret: text("team-a/tools"), key: text("token"), prefix: text("Bearer "), into }
}

fn secret() -> Resource {
    let data = BTreeMap::from([("token".to_owned(), Secret::new("hunter2"))]);
    Resource::Secret("team-a/tools".to_owned(), SecretData { data })
}

fn names(resources: &[Resource]) -> Vec<String> {
    let snapshot = assemble(resources).snapshot.unwrap();
    snapshot.backends.into_iter().map(|backend| backend.name).collect()
}

#[test]
fn every_resource_survives_the_wire() {
    let endpoints = Endpoints { targets: vec![http("http://10.0.0.1/mcp")] };
    let credentials = vec![token(Destination::Header("Authorization".to_owned()))];
    let tools = BackendPart { credentials, rank: -3, ..part(backend("tools", http("http://tools/mcp"))) };
    for resource in [
        gateway(),
        secret(),
        Resource::Endpoints("tools".to_owned(), endpoints),
        Resource::Backend(Box::new(tools)),
    ] {
        let entry = resource.encode().unwrap();
        assert_eq!(entry.key, resource.key());
        assert_eq!(Resource::decode(&entry).unwrap(), resource);
        assert_eq!(resource.encode().unwrap().version, entry.version, "the same everywhere");
    }
}

#[test]
fn a_backend_of_an_older_operator_shows_everything() {
    let mut body = serde_json::to_value(part(backend("tools", http("http://tools/mcp")))).unwrap();
    let written = body["backend"].as_object_mut().unwrap();
    assert!(written.remove("exposure").is_none() && written.remove("tls").is_none(), "defaults are not sent");
    let entry = Entry::new(Key::new(ResourceType::Backend, "tools"), &body).unwrap();
    let Resource::Backend(read) = Resource::decode(&entry).unwrap() else { panic!() };
    assert!(read.backend.exposure.is_open() && read.backend.tls.is_none());
}

#[test]
fn a_backend_gets_its_certificates_from_secrets_or_is_left_out() {
    let material = |key: &str| Material::Key { secret: "team-a/tools".to_owned(), key: key.to_owned() };
    let with = |ca: &str| {
        let mut part = part(backend("tools", http("https://tools/mcp")));
        part.backend.tls = Some(UpstreamTls { ca: Some(material(ca)), ..UpstreamTls::default() });
        assert_eq!(part.secrets().collect::<Vec<_>>(), ["team-a/tools"]);
        assemble(&[gateway(), secret(), Resource::Backend(Box::new(part))])
    };
    let backends = with("token").snapshot.unwrap().backends;
    let ca = backends[0].tls.as_ref().unwrap().ca.clone().unwrap();
    assert!(matches!(&ca, Material::Value { origin, .. } if origin == "secret team-a/tools, key token"));
    let assembly = with("none");
    assert!(assembly.snapshot.unwrap().backends.is_empty());
    assert!(
        assembly.left_out[0].reason.starts_with("tls.ca: secret `team-a/tools`"),
        "{:?}",
        assembly.left_out
    );
}

#[test]
fn what_cannot_be_read_is_rejected_with_the_field_and_without_secrets() {
    let of =
        |kind, body: serde_json::Value| Resource::decode(&Entry::new(Key::new(kind, "a"), &body).unwrap());
    let missing = of(ResourceType::Endpoints, serde_json::json!({})).unwrap_err();
    assert_eq!(missing.code, RejectionCode::Unreadable);
    assert!(missing.message.starts_with("missing field `targets`"), "{}", missing.message);
    let secret = of(ResourceType::Secret, serde_json::json!({ "data": "hunter2" })).unwrap_err();
    assert!(secret.message.starts_with("invalid type, expected a map at line 1"), "{}", secret.message);
    for body in [serde_json::json!("hunter2"), serde_json::json!({ "targets": ["a, expected hunter2"] })] {
        let message = of(ResourceType::Endpoints, body).unwrap_err().message;
        assert!(!message.contains("hunter2"), "{message}");
    }
    let entry = Entry::new(Key::new(ResourceType::Backend, "a"), &1).unwrap();
    assert_eq!(Rejection::of(&entry, RejectionCode::Invalid, "é".repeat(2000)).message.len(), 1024);
    let other = serde_json::to_value(part(backend("b", http("http://b")))).unwrap();
    let other = of(ResourceType::Backend, other).unwrap_err();
    assert_eq!((other.code, &*other.message), (RejectionCode::Invalid, "the body is that of backend `b`"));
}

#[test]
fn backends_stand_in_the_order_of_rank_and_name() {
    let ranked = |name, rank| {
        Resource::Backend(Box::new(BackendPart { rank, ..part(backend(name, http("http://x"))) }))
    };
    let mut resources = vec![ranked("b", 0), ranked("c", -1), gateway(), ranked("a", 0)];
    assert_eq!(names(&resources), ["c", "a", "b"]);
    resources.reverse();
    assert_eq!(names(&resources), ["c", "a", "b"]);
}

#[test]
fn endpoints_take_the_place_of_a_backends_own_targets() {
    let tools = Resource::Backend(Box::new(part(backend("tools", http("http://tools/mcp")))));
    let with = |targets: Vec<Target>| {
        let endpoints = Resource::Endpoints("tools".to_owned(), Endpoints { targets });
        assemble(&[gateway(), tools.clone(), endpoints])
    };
    let own = assemble(&[gateway(), tools.clone()]).snapshot.unwrap();
    assert_eq!(own.backends[0].target, http("http://tools/mcp"));
    let two = with(vec![http("http://10.0.0.1"), http("http://10.0.0.2")]).snapshot.unwrap();
    assert_eq!(two.backends[0].targets().cloned().collect::<Vec<_>>().len(), 2);
    let none = with(Vec::new());
    let [nowhere] = &*none.snapshot.unwrap().backends else { panic!("it is still the gateway's backend") };
    assert_eq!((nowhere.targets().count(), none.left_out.len()), (0, 0));
    assert!(nowhere.is_same_server(&two.backends[0]) && two.backends[0].is_same_server(nowhere));
}

#[test]
fn secrets_reach_every_target_and_nothing_else() {
    let header = token(Destination::Header("Authorization".to_owned()));
    let mut tools = part(backend("tools", http("http://a")));
    tools.backend.alternatives = vec![http("http://b")];
    tools.credentials = vec![header];
    let tools = Resource::Backend(Box::new(tools));
    let assembly = assemble(&[gateway(), tools.clone(), secret()]);
    assert!(!format!("{assembly:?}").contains("hunter2"));
    for target in assembly.snapshot.unwrap().backends[0].targets() {
        let Target::Http(http) = target else { panic!() };
        assert_eq!(http.headers["Authorization"].expose(), "Bearer hunter2");
    }
    let missing = assemble(&[gateway(), tools]);
    assert_eq!(missing.left_out[0].reason, "secret `team-a/tools` with key `token` is not here");
    let tcp = TcpBackend { host: "h".to_owned(), port: 1, tls: true, token: None };
    let mut tcp = part(backend("tcp", Target::Tcp(tcp)));
    tcp.credentials = vec![token(Destination::Env("TOKEN".to_owned()))];
    let wrong = assemble(&[gateway(), secret(), Resource::Backend(Box::new(tcp))]);
    assert_eq!(wrong.left_out[0].reason, r#"such a server takes no credential as Env("TOKEN")"#);
}

fn guarded() -> Resource {
    let material = |key: &str| Material::Key { secret: "team-a/tools".to_owned(), key: key.to_owned() };
    let tls = Tls {
        certificate: material("token"),
        key: Material::File("/k".into()),
        client_ca: None,
        client_auth: ClientAuth::None,
        min_version: TlsVersion::V13,
    };
    let listener = |name: &str, tls| Listener {
        name: name.to_owned(),
        address: ([127, 0, 0, 1], 1).into(),
        protocols: vec![Protocol::StreamableHttp],
        tls,
        allowed_origins: Vec::new(),
        allowed_hosts: Vec::new(),
        max_connections: 1,
        max_connections_per_ip: 0,
    };
    let Resource::Gateway(mut gateway) = gateway() else { panic!() };
    gateway.listeners = vec![listener("plain", None), listener("tls", Some(tls))];
    gateway.access = Access::Jwt(Jwt {
        issuer: None,
        audience: None,
        secret: Some(material("token")),
        public_key_file: None,
        per_message: false,
        cache_ttl: Duration::ZERO,
    });
    Resource::Gateway(gateway)
}

#[test]
fn secrets_reach_listeners_and_access() {
    let assembly = assemble(&[guarded(), secret()]);
    assert_eq!(assembly.missing, []);
    assert!(!format!("{assembly:?}").contains("hunter2"));
    let snapshot = assembly.snapshot.unwrap();
    let value = Material::Value {
        origin: "secret team-a/tools, key token".to_owned(),
        value: Secret::new("hunter2"),
    };
    assert_eq!(snapshot.listeners[1].tls.as_ref().unwrap().certificate, value);
    assert!(matches!(snapshot.access, Access::Jwt(jwt) if jwt.secret == Some(value)));
}

#[test]
fn without_its_secret_a_listener_is_not_opened_and_access_refuses() {
    let assembly = assemble(&[guarded()]);
    let missing: Vec<_> = assembly.missing.iter().map(ToString::to_string).collect();
    assert_eq!(
        missing,
        [
            "listeners[tls].tls.certificate: secret `team-a/tools` with key `token` is not here",
            "access.secret: secret `team-a/tools` with key `token` is not here",
        ]
    );
    let snapshot = assembly.snapshot.unwrap();
    assert_eq!(snapshot.listeners.iter().map(|listener| &*listener.name).collect::<Vec<_>>(), ["plain"]);
    assert!(matches!(snapshot.access, Access::Refuse { .. }));
}

#[test]
fn without_a_gateway_there_is_nothing_to_serve() {
    assert_eq!(assemble(&[secret()]).snapshot, None);
}

#[test]
fn each_of_several_policies_gets_its_secret_or_nobody_is_let_in() {
    let jwt = |key: &str| Jwt {
        issuer: Some(key.to_owned()),
        audience: None,
        secret: Some(Material::Key { secret: "team-a/tools".to_owned(), key: key.to_owned() }),
        public_key_file: None,
        per_message: false,
        cache_ttl: Duration::ZERO,
    };
    let access = |keys: &[&str]| {
        let Resource::Gateway(mut gateway) = gateway() else { panic!() };
        gateway.access = Access::AnyJwt { any_of: keys.iter().map(|key| jwt(key)).collect() };
        let entry = Resource::Gateway(gateway).encode().unwrap();
        let assembly = assemble(&[Resource::decode(&entry).unwrap(), secret()]);
        (assembly.snapshot.unwrap().access, assembly.missing.len())
    };
    let (all, missing) = access(&["token", "token"]);
    assert_eq!(missing, 0);
    assert!(all.jwts().iter().all(|jwt| matches!(jwt.secret, Some(Material::Value { .. }))), "{all:?}");
    let (half, missing) = access(&["token", "none"]);
    assert!(matches!(half, Access::Refuse { .. }) && missing == 1, "{half:?}");
}
