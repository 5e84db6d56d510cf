//! Certificates and keys of a gateway: references in its own part of the configuration, values in Secrets beside it. A new
//! value reaches running pods over the stream (ADR 0017). Changes when values reach pods in another way.

use bridge_api::v1alpha1::common::{CaKind, CaRef, SecretKeyRef};
use bridge_snapshot::{Material, Secret};

use super::credentials::Secrets;
use crate::layout;
use crate::world::ObjectName;

/// One key of a Secret; its value goes into `secrets`.
pub(super) fn of_key(
    secrets: &mut Secrets,
    namespace: &str,
    (secret, key): (&str, &str),
    value: &str,
) -> Material {
    let secret = ObjectName::new(namespace, secret).to_string();
    secrets.entry(secret.clone()).or_default().data.insert(key.to_owned(), Secret::new(value));
    Material::Key { secret, key: key.to_owned() }
}

/// What a reference names.
pub(super) fn of_secret(
    secrets: &mut Secrets,
    namespace: &str,
    reference: &SecretKeyRef,
    value: &str,
) -> Material {
    of_key(secrets, namespace, (&reference.name, &reference.key), value)
}

/// Certificates of authorities. Those of a `ConfigMap` are no secret, and stand where they are needed.
pub(super) fn of_authorities(
    secrets: &mut Secrets,
    namespace: &str,
    reference: &CaRef,
    pem: &str,
) -> Material {
    let key = layout::ca_key(reference);
    match reference.kind.unwrap_or(CaKind::ConfigMap) {
        CaKind::Secret => of_key(secrets, namespace, (&reference.name, key), pem),
        CaKind::ConfigMap => Material::Value {
            origin: format!("ConfigMap {namespace}/{}, key {key}", reference.name),
            value: Secret::new(pem),
        },
    }
}
