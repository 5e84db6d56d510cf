//! Values of Secrets and `ConfigMap`s that a resource refers to. Changes when another kind of value is referred to.

use bridge_api::condition::ResolvedRefs;
use bridge_api::v1alpha1::common::{CaKind, CaRef, SecretKeyRef};
use k8s_openapi::api::core::v1::{Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::finding::Problem;
use super::memo::Seen;
use crate::layout;
use crate::world::{ObjectName, World};

/// An object that something refers to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reference {
    /// A Secret.
    Secret(ObjectName),
    /// A `ConfigMap`.
    ConfigMap(ObjectName),
}

/// Looks objects up, and remembers them: the outcome is the same for as long as they are.
#[derive(Debug)]
pub(super) struct Lookup<'a> {
    world: &'a World,
    pub(super) seen: Vec<Seen>,
}

impl<'a> Lookup<'a> {
    pub(super) const fn new(world: &'a World) -> Self {
        Self { world, seen: Vec::new() }
    }

    /// A Service.
    pub(super) fn service(&mut self, name: &ObjectName) -> Option<&'a Service> {
        let found = self.world.services.get(name);
        self.seen.push(Seen::Service(name.clone(), found.cloned()));
        found.map(AsRef::as_ref)
    }

    /// The endpoint slices of a Service.
    pub(super) fn slices(
        &mut self,
        service: &ObjectName,
    ) -> impl Iterator<Item = &'a EndpointSlice> + use<'a> {
        let slices = &self.world.slices;
        self.seen.push(Seen::Slices(service.clone(), slices.of(service).cloned().collect()));
        slices.of(service).map(AsRef::as_ref)
    }

    /// A Secret.
    pub(super) fn secret(&mut self, namespace: &str, name: &str) -> Result<&'a Secret, Problem> {
        let name = ObjectName::new(namespace, name);
        let found = self.world.secrets.get(&name);
        self.seen.push(Seen::Secret(name.clone(), found.cloned()));
        found.map(AsRef::as_ref).ok_or_else(|| {
            Problem::reference(
                ResolvedRefs::SecretNotFound,
                format_args!("Secret {name} does not exist, or the operator may not read it"),
            )
        })
    }

    /// The text of one key of a Secret.
    pub(super) fn value(&mut self, namespace: &str, reference: &SecretKeyRef) -> Result<&'a str, Problem> {
        let secret = self.secret(namespace, &reference.name)?;
        text(secret, &reference.name, &reference.key)
    }

    /// Every key of a Secret whose value is text.
    pub(super) fn values(&mut self, namespace: &str, name: &str) -> Result<Vec<(&'a str, &'a str)>, Problem> {
        let data = self.secret(namespace, name)?.data.iter().flatten();
        let text = data.filter_map(|(key, value)| Some((&**key, std::str::from_utf8(&value.0).ok()?)));
        Ok(text.collect())
    }

    /// Certificate and key of a Secret of type `kubernetes.io/tls`, when they are there and belong together.
    pub(super) fn certificate(&mut self, namespace: &str, name: &str) -> Result<(&'a str, &'a str), Problem> {
        let secret = self.secret(namespace, name)?;
        let pem = (text(secret, name, "tls.crt")?, text(secret, name, "tls.key")?);
        let invalid = |what: &str| {
            Problem::reference(
                ResolvedRefs::InvalidCertificate,
                format_args!("Secret {namespace}/{name}: {what}"),
            )
        };
        let chain: Vec<_> = CertificateDer::pem_slice_iter(pem.0.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|_error| invalid("tls.crt is not PEM"))?;
        if chain.is_empty() {
            return Err(invalid("tls.crt holds no certificate"));
        }
        let key = PrivateKeyDer::from_pem_slice(pem.1.as_bytes())
            .map_err(|_error| invalid("tls.key holds no private key as PEM"))?;
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        rustls::sign::CertifiedKey::from_der(chain, key, &provider)
            .map(|_pair| pem)
            .map_err(|_error| invalid("tls.crt and tls.key cannot be used, or do not belong together"))
    }

    /// Certificates of authorities.
    pub(super) fn authorities(&mut self, namespace: &str, reference: &CaRef) -> Result<&'a str, Problem> {
        let key = layout::ca_key(reference);
        let pem = match reference.kind.unwrap_or(CaKind::ConfigMap) {
            CaKind::Secret => text(self.secret(namespace, &reference.name)?, &reference.name, key)?,
            CaKind::ConfigMap => self.config_value(namespace, &reference.name, key)?,
        };
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
        if certificates.is_ok_and(|all| !all.is_empty()) {
            return Ok(pem);
        }
        Err(Problem::reference(
            ResolvedRefs::InvalidCertificate,
            format_args!("{namespace}/{}: key {key} holds no certificates as PEM", reference.name),
        ))
    }

    fn config_value(&mut self, namespace: &str, name: &str, key: &str) -> Result<&'a str, Problem> {
        let object = ObjectName::new(namespace, name);
        let found = self.world.config_maps.get(&object);
        self.seen.push(Seen::ConfigMap(object.clone(), found.cloned()));
        let map = found.ok_or_else(|| {
            Problem::reference(
                ResolvedRefs::SecretNotFound,
                format_args!("ConfigMap {object} does not exist, or the operator may not read it"),
            )
        })?;
        let value = map.data.as_ref().and_then(|data| data.get(key));
        value.map(String::as_str).ok_or_else(|| lacks("ConfigMap", name, key))
    }
}

fn text<'a>(secret: &'a Secret, name: &str, key: &str) -> Result<&'a str, Problem> {
    let value = secret.data.as_ref().and_then(|data| data.get(key));
    let text = value.and_then(|value| std::str::from_utf8(&value.0).ok());
    text.filter(|text| !text.is_empty()).ok_or_else(|| lacks("Secret", name, key))
}

fn lacks(kind: &str, name: &str, key: &str) -> Problem {
    Problem::reference(
        ResolvedRefs::KeyNotFound,
        format_args!("{kind} {name} has no text under the key {key}"),
    )
}
