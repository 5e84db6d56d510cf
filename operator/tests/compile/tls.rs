//! What compiling makes of the encryption of connections to backends.

use bridge_api::condition::ResolvedRefs;
use bridge_snapshot::push::{Key, Resource, ResourceType};
use bridge_snapshot::{Material, UpstreamTls};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::{Value, json};

use super::{Compilation, OPEN, ObjectName, backend, main_gateway, world};

fn pair() -> (String, String) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["server.internal".to_owned()]).unwrap();
    (cert.pem(), signing_key.serialize_pem())
}

fn object(kind: &str, name: &str, data: &Value) -> String {
    let member = if kind == "Secret" { "stringData" } else { "data" };
    json!({"kind": kind, "metadata": {"name": name, "namespace": "here"}, member: data}).to_string()
}

fn https(tls: &Value) -> String {
    backend("b", &json!({"endpoints": [{"url": "https://mcp.example.com"}], "tls": tls}))
}

fn settings(compilation: &Compilation) -> Option<UpstreamTls> {
    let entry = &compilation.gateways[&main_gateway()].entries[&Key::new(ResourceType::Backend, "b")];
    match Resource::decode(entry).unwrap() {
        Resource::Backend(part) => part.backend.tls,
        other => panic!("{other:?}"),
    }
}

#[test]
fn keys_travel_as_secrets_and_public_certificates_where_they_are_needed() {
    let (cert, key) = pair();
    let authorities = object("ConfigMap", "ca", &json!({"ca.crt": cert}));
    let client = object("Secret", "client", &json!({"tls.crt": cert, "tls.key": key}));
    let spec = json!({
        "mode": "Mutual", "caRef": {"name": "ca"}, "clientCertRef": {"name": "client"},
        "serverName": "server.internal",
    });
    let compilation = world(&[OPEN, &https(&spec), &authorities, &client]);
    let tls = settings(&compilation).unwrap();
    assert_eq!(tls.server_name.as_deref(), Some("server.internal"));
    let Some(Material::Value { origin, value }) = &tls.ca else { panic!("{tls:?}") };
    assert_eq!((&**origin, value.expose()), ("ConfigMap here/ca, key ca.crt", &*cert));
    let identity = tls.identity.unwrap();
    assert_eq!(identity.key, Material::Key { secret: "here/client".to_owned(), key: "tls.key".to_owned() });
    let secret =
        &compilation.gateways[&main_gateway()].entries[&Key::new(ResourceType::Secret, "here/client")];
    assert!(secret.body().contains("tls.crt") && secret.body().contains("PRIVATE KEY"));
    let backends = &compilation.gateways[&main_gateway()].entries;
    assert!(!backends[&Key::new(ResourceType::Backend, "b")].body().contains("PRIVATE KEY"));
}

#[test]
fn authorities_may_be_in_a_secret() {
    let (cert, _) = pair();
    let spec = json!({"caRef": {"kind": "Secret", "name": "ca", "key": "root.pem"}});
    let compilation =
        world(&[OPEN, &https(&spec), &object("Secret", "ca", &json!({"root.pem": cert, "other": "x"}))]);
    let key = Material::Key { secret: "here/ca".to_owned(), key: "root.pem".to_owned() };
    assert_eq!(settings(&compilation).unwrap().ca, Some(key));
    let secret = &compilation.gateways[&main_gateway()].entries[&Key::new(ResourceType::Secret, "here/ca")];
    assert!(!secret.body().contains("other"), "a value that nobody refers to is sent");
}

#[test]
fn pods_of_a_service_are_known_by_its_name() {
    let service = "kind: Service\nmetadata: {name: s, namespace: here}\nspec: {ports: [{port: 443}]}";
    let of = |tls: Value| {
        let spec = json!({"serviceRef": {"name": "s", "port": 443}, "tls": tls});
        settings(&world(&[OPEN, service, &backend("b", &spec)]))
    };
    assert_eq!(of(json!({"mode": "Simple"})).unwrap().server_name.as_deref(), Some("s.here.svc"));
    assert_eq!(of(json!({"mode": "Simple", "serverName": "x"})).unwrap().server_name.as_deref(), Some("x"));
    assert_eq!(of(json!({"mode": "Disabled"})), None);
}

#[test]
fn whoever_writes_about_certificates_means_encryption() {
    let service = "kind: Service\nmetadata: {name: s, namespace: here}\nspec: {ports: [{port: 443}]}";
    let slice = json!({"kind": "EndpointSlice", "addressType": "IPv4", "ports": [{"port": 8443}],
        "metadata": {"name": "s-1", "namespace": "here", "labels": {"kubernetes.io/service-name": "s"}},
        "endpoints": [{"addresses": ["10.0.0.1"]}]})
    .to_string();
    let (cert, _) = pair();
    let ca = object("ConfigMap", "ca", &json!({"ca.crt": cert}));
    for tls in [json!({"caRef": {"name": "ca"}}), json!({"serverName": "x"}), json!({})] {
        let spec = json!({"serviceRef": {"name": "s", "port": 443}, "tls": tls});
        let compilation = world(&[OPEN, service, &slice, &ca, &backend("b", &spec)]);
        let plan = &compilation.gateways[&main_gateway()];
        let places = plan.entries[&Key::new(ResourceType::Endpoints, "b")].body();
        assert!(places.contains("https://s.here.svc:443/"), "{tls}: {places}");
    }
    for url in ["http://mcp.example.com", "HTTP://mcp.example.com"] {
        let spec = json!({"endpoints": [{ "url": url }], "tls": {"caRef": {"name": "ca"}}});
        let found = super::accepted(&world(&[OPEN, &ca, &backend("b", &spec)]), "b");
        assert_eq!(found.0, bridge_api::condition::Accepted::Invalid, "{url}: {}", found.1);
    }
}

#[test]
fn what_cannot_be_used_is_told_and_the_backend_is_left_out() {
    let (cert, key) = pair();
    let (other, _) = pair();
    let mutual = json!({"mode": "Mutual", "clientCertRef": {"name": "client"}});
    let cases = [
        (json!({"caRef": {"name": "none"}}), String::new(), ResolvedRefs::SecretNotFound),
        (
            json!({"caRef": {"name": "ca"}}),
            object("ConfigMap", "ca", &json!({"ca.crt": "no PEM"})),
            ResolvedRefs::InvalidCertificate,
        ),
        (
            mutual.clone(),
            object("Secret", "client", &json!({"tls.crt": other, "tls.key": key})),
            ResolvedRefs::InvalidCertificate,
        ),
        (mutual, object("Secret", "client", &json!({"tls.crt": cert})), ResolvedRefs::KeyNotFound),
    ];
    for (tls, around, reason) in cases {
        let compilation = world(&[OPEN, &https(&tls), &around]);
        let verdict = &compilation.backends[&ObjectName::new("here", "b")];
        assert_eq!(verdict.resolved.reason, reason, "{tls}: {}", verdict.resolved.message);
        assert_eq!(compilation.gateways[&main_gateway()].left_out, 1);
    }
}
