//! Resources to the one [`Snapshot`] that the data plane runs on. Changes when resources refer to each other in another
//! way.

use std::collections::BTreeMap;

use super::resource::{BackendPart, Credential, Destination, Endpoints, Resource, SecretData};
use super::{Key, ResourceType};
use crate::{Access, Listener, Material, Secret, Snapshot, Target, UpstreamTls};

/// By name.
type Secrets<'a> = BTreeMap<&'a str, &'a SecretData>;

/// What came of the resources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assembly {
    /// The configuration; absent as long as there is no resource of type `gateway`.
    pub snapshot: Option<Snapshot>,
    /// Backends that are not in it.
    pub left_out: Vec<LeftOut>,
    /// Secrets that its own part needs and that are not here. Listeners that need them are left out; access that needs
    /// one refuses everybody.
    pub missing: Vec<Missing>,
}

/// A value of a Secret that is referred to and not here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {secret} with key `{key}` is not here")]
pub struct Missing {
    /// The field that refers to it.
    pub field: String,
    /// The Secret.
    pub secret: Key,
    /// Key within it.
    pub key: String,
}

/// A backend that cannot be served now. The rest is: what is missing may come any time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Name of the backend.
    pub backend: String,
    /// Why. No secrets.
    pub reason: String,
}

/// Puts resources together. The order of backends is that of their rank and then of their names, whatever the order of
/// `resources`.
pub fn assemble<'a>(resources: impl IntoIterator<Item = &'a Resource>) -> Assembly {
    let (mut gateway, mut parts) = (None, Vec::new());
    let (mut secrets, mut endpoints) = (BTreeMap::new(), BTreeMap::new());
    for resource in resources {
        match resource {
            Resource::Gateway(snapshot) => gateway = Some(snapshot),
            Resource::Backend(part) => parts.push(&**part),
            Resource::Secret(name, data) => {
                secrets.insert(&**name, data);
            }
            Resource::Endpoints(name, places) => {
                endpoints.insert(&**name, places);
            }
        }
    }
    parts.sort_by(|a, b| (a.rank, &a.backend.name).cmp(&(b.rank, &b.backend.name)));
    let (mut backends, mut left_out) = (Vec::new(), Vec::new());
    for part in parts {
        match backend(part, endpoints.get(&*part.backend.name).copied(), &secrets) {
            Ok(backend) => backends.push(backend),
            Err(reason) => left_out.push(LeftOut { backend: part.backend.name.clone(), reason }),
        }
    }
    let mut missing = Vec::new();
    let snapshot = gateway.map(|gateway| {
        let mut snapshot = Snapshot { backends, ..Snapshot::clone(gateway) };
        snapshot.listeners.retain_mut(|listener| keep_listener(listener, &secrets, &mut missing));
        give_access(&mut snapshot.access, &secrets, &mut missing);
        snapshot
    });
    Assembly { snapshot, left_out, missing }
}

/// Gives a listener its certificates. Whether it can be opened.
fn keep_listener(listener: &mut Listener, secrets: &Secrets<'_>, missing: &mut Vec<Missing>) -> bool {
    let Some(tls) = &mut listener.tls else { return true };
    let before = missing.len();
    let parts = [
        ("certificate", Some(&mut tls.certificate)),
        ("key", Some(&mut tls.key)),
        ("client_ca", tls.client_ca.as_mut()),
    ];
    for (part, material) in parts {
        let field = || format!("listeners[{}].tls.{part}", listener.name);
        missing.extend(material.and_then(|material| fill(material, field, secrets).err()));
    }
    missing.len() == before
}

/// Gives access its keys. Without them nobody is let in.
fn give_access(access: &mut Access, secrets: &Secrets<'_>, missing: &mut Vec<Missing>) {
    let keys = access.jwts_mut().iter_mut().filter_map(|jwt| jwt.secret.as_mut());
    let filled: Result<Vec<_>, _> =
        keys.map(|secret| fill(secret, || "access.secret".to_owned(), secrets)).collect();
    if let Err(absent) = filled {
        *access = Access::Refuse { reason: absent.to_string() };
        missing.push(absent);
    }
}

/// Puts the value of a Secret where it is referred to.
fn fill(material: &mut Material, field: impl Fn() -> String, secrets: &Secrets<'_>) -> Result<(), Missing> {
    let Material::Key { secret, key } = material else { return Ok(()) };
    let Some(value) = secrets.get(&**secret).and_then(|secret| secret.data.get(key)) else {
        let secret = Key::new(ResourceType::Secret, &**secret);
        return Err(Missing { field: field(), secret, key: key.clone() });
    };
    *material = Material::Value { origin: format!("secret {secret}, key {key}"), value: value.clone() };
    Ok(())
}

fn backend(
    part: &BackendPart,
    endpoints: Option<&Endpoints>,
    secrets: &Secrets<'_>,
) -> Result<crate::Backend, String> {
    let mut backend = part.backend.clone();
    if let Some(endpoints) = endpoints {
        let mut targets = endpoints.targets.iter().cloned();
        match targets.next() {
            Some(first) => (backend.target, backend.alternatives) = (first, targets.collect()),
            // Most often it is about to come back; its tools are not to vanish from lists meanwhile.
            None => backend.deserted = true,
        }
    }
    for (field, material) in backend.tls.iter_mut().flat_map(UpstreamTls::materials_mut) {
        fill(material, || field.to_owned(), secrets).map_err(|missing| missing.to_string())?;
    }
    for credential in &part.credentials {
        let value = secrets.get(&*credential.secret).and_then(|secret| secret.data.get(&credential.key));
        let value = value.ok_or_else(|| {
            let secret = Key::new(ResourceType::Secret, &*credential.secret);
            format!("{secret} with key `{}` is not here", credential.key)
        })?;
        let value = Secret::new(format!("{}{}", credential.prefix, value.expose()));
        for target in std::iter::once(&mut backend.target).chain(&mut backend.alternatives) {
            put(target, credential, &value)?;
        }
    }
    Ok(backend)
}

fn put(target: &mut Target, credential: &Credential, value: &Secret) -> Result<(), String> {
    let value = value.clone();
    match (target, &credential.into) {
        (Target::Http(http), Destination::Header(name)) => {
            http.headers.insert(name.clone(), value);
        }
        (Target::Sse(sse), Destination::Header(name)) => {
            sse.headers.insert(name.clone(), value);
        }
        (Target::WebSocket(socket), Destination::Header(name)) => {
            socket.headers.insert(name.clone(), value);
        }
        (Target::Detect(detect), Destination::Header(name)) => {
            detect.http.headers.insert(name.clone(), value.clone());
            detect.sse.headers.insert(name.clone(), value);
        }
        (Target::Stdio(child), Destination::Env(name)) => {
            child.env.insert(name.clone(), value);
        }
        (Target::Tcp(tcp), Destination::Token) => tcp.token = Some(value),
        (_, into) => return Err(format!("such a server takes no credential as {into:?}")),
    }
    Ok(())
}
