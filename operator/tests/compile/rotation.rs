//! Certificates and keys of a gateway: what a new one changes. Changes when they reach pods in another way.

use bridge_snapshot::push::ResourceType;
use bridge_snapshot::{Access, ClientAuth, LogLevel, Material};
use serde_json::json;

use super::{gateway, main_gateway, snapshot, world};

const JWT: &str = "0123456789abcdef0123456789abcdef";

fn secret(name: &str, data: &[(&str, &str)]) -> String {
    let data: serde_json::Map<_, _> =
        data.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect();
    json!({"kind": "Secret", "metadata": {"name": name, "namespace": "here"}, "stringData": data}).to_string()
}

/// A certificate and its key, PEM.
fn pair() -> (String, String) {
    let pair = rcgen::generate_simple_self_signed(["gateway.example.com".to_owned()]).unwrap();
    (pair.cert.pem(), pair.signing_key.serialize_pem())
}

fn spec() -> String {
    gateway(&json!({
        "listeners": [{"name": "ws", "protocol": "WebSocket", "port": 8443, "tls": {"mode": "Mutual",
            "certificateRefs": [{"name": "cert"}], "clientCARef": {"name": "ca"}}}],
        "auth": {"jwt": {"providers": [{"name": "p", "issuer": "i", "hmacSecretRef": {"name": "jwt", "key": "k"}}]}},
        "observability": {"logging": {"level": "debug"}},
    }))
}

#[test]
fn a_new_certificate_or_key_changes_its_secret_and_nothing_else() {
    let ((first, first_key), (second, second_key)) = (pair(), pair());
    let ca = json!({"kind": "ConfigMap", "metadata": {"name": "ca", "namespace": "here"}, "data": {"ca.crt": first}});
    let compiled = |chain: &str, key: &str, jwt: &str| {
        let cert = secret("cert", &[("tls.crt", chain), ("tls.key", key)]);
        world(&[&spec(), &cert, &secret("jwt", &[("k", jwt), ("unused", "u")]), &ca.to_string()])
    };
    let before = compiled(&first, &first_key, JWT);
    for (after, changed) in [
        (compiled(&second, &second_key, JWT), "secret `here/cert`"),
        (compiled(&first, &first_key, &JWT.to_uppercase()), "secret `here/jwt`"),
    ] {
        let (before, after) =
            (&before.gateways[&main_gateway()].entries, &after.gateways[&main_gateway()].entries);
        let different: Vec<_> = after.iter().filter(|(key, entry)| before.get(key) != Some(entry)).collect();
        assert_eq!(different.len(), 1);
        assert_eq!(different[0].0.to_string(), changed);
    }
    let served = snapshot(&before);
    let tls = served.listeners[0].tls.as_ref().unwrap();
    let value = |material: &Material| match material {
        Material::Value { value, .. } => value.expose().to_owned(),
        other => panic!("{other:?}"),
    };
    assert_eq!((value(&tls.certificate), value(&tls.key)), (first.clone(), first_key));
    assert_eq!((tls.client_auth, value(tls.client_ca.as_ref().unwrap())), (ClientAuth::Require, first));
    let Access::Jwt(jwt) = &served.access else { panic!("{:?}", served.access) };
    assert_eq!(value(jwt.secret.as_ref().unwrap()), JWT);
    assert_eq!(served.log_level, Some(LogLevel::Debug));
}

#[test]
fn keys_are_in_secrets_alone() {
    let (chain, key) = pair();
    let cert = secret("cert", &[("tls.crt", &chain), ("tls.key", &key)]);
    let ca = secret("ca", &[("ca.crt", &chain)]);
    let spec = spec().replace(r#"{"name":"ca"}"#, r#"{"kind":"Secret","name":"ca"}"#);
    let compilation = world(&[&spec, &cert, &secret("jwt", &[("k", JWT)]), &ca]);
    let plan = &compilation.gateways[&main_gateway()];
    assert!(plan.resolved.holds(), "{}", plan.resolved.message);
    let line = key.lines().nth(1).unwrap();
    for (name, entry) in &plan.entries {
        let holds = entry.body().contains(line) || entry.body().contains(JWT);
        assert!(!holds || name.kind == ResourceType::Secret, "{name}");
    }
    assert!(!format!("{compilation:?}").contains(JWT));
}
