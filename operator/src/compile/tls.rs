//! Encryption of connections to a backend. Changes when another setting of it reaches the data plane.

use bridge_api::condition::Accepted;
use bridge_api::v1alpha1::McpBackendSpec;
use bridge_api::v1alpha1::backend::{BackendTls, BackendTlsMode};
use bridge_api::v1alpha1::common::CaRef;
use bridge_snapshot::{Material, TlsIdentity, UpstreamTls};

use super::Options;
use super::credentials::Secrets;
use super::finding::Problem;
use super::material;
use super::refs::Lookup;

/// The settings of a backend; `None` when the system's authorities and the host of each address decide. Values of Secrets
/// that they need go into `secrets`.
pub(super) fn upstream(
    lookup: &mut Lookup<'_>,
    options: &Options,
    namespace: &str,
    spec: &McpBackendSpec,
    secrets: &mut Secrets,
) -> Result<Option<UpstreamTls>, Problem> {
    let Some(tls) = &spec.tls else { return Ok(None) };
    if tls.mode == Some(BackendTlsMode::Disabled) {
        return Ok(None);
    }
    let insecure_skip_verify = is_insecure(tls);
    if insecure_skip_verify && !options.allow_insecure_backends {
        return Err(Problem::spec(
            Accepted::Invalid,
            "spec.tls.insecureSkipVerify: the operator does not allow it; it would with --allow-insecure-backends",
        ));
    }
    let ca = tls.ca_ref.as_ref().map(|reference| authorities(lookup, namespace, reference, secrets));
    let identity =
        tls.client_cert_ref.as_ref().map(|reference| identity(lookup, namespace, &reference.name, secrets));
    // Addresses of pods are in no certificate; the name of their Service is.
    let service = spec.service_ref.as_ref().map(|reference| format!("{}.{namespace}.svc", reference.name));
    let settings = UpstreamTls {
        ca: ca.transpose()?,
        identity: identity.transpose()?,
        server_name: tls.server_name.clone().or(service),
        insecure_skip_verify,
    };
    Ok((settings != UpstreamTls::default()).then_some(settings))
}

/// Whether the connections to a Service are encrypted. A Service has no URL that says so; whoever writes about certificates
/// does.
pub(super) fn encrypts_service(spec: &McpBackendSpec) -> bool {
    spec.tls.as_ref().is_some_and(|tls| tls.mode != Some(BackendTlsMode::Disabled))
}

/// Whether the connections to a URL are encrypted, one whose scheme says `by_scheme`.
pub(super) fn encrypts_url(spec: &McpBackendSpec, by_scheme: bool) -> Result<bool, Problem> {
    let Some(tls) = &spec.tls else { return Ok(by_scheme) };
    let checks = tls.ca_ref.is_some() || tls.server_name.is_some() || tls.insecure_skip_verify.is_some();
    match tls.mode {
        Some(BackendTlsMode::Disabled) if by_scheme => Err(Problem::spec(
            Accepted::Invalid,
            "spec.tls.mode: Disabled contradicts the URL of an endpoint",
        )),
        Some(mode) => Ok(mode != BackendTlsMode::Disabled),
        None if checks && !by_scheme => Err(Problem::spec(
            Accepted::Invalid,
            "spec.tls: the URL of an endpoint is not encrypted, so no certificate would be checked; write an encrypted \
             one, or mode: Simple",
        )),
        None => Ok(by_scheme),
    }
}

/// Whether any certificate passes.
pub(crate) fn is_insecure(tls: &BackendTls) -> bool {
    tls.insecure_skip_verify == Some(true)
}

fn authorities(
    lookup: &mut Lookup<'_>,
    namespace: &str,
    reference: &CaRef,
    secrets: &mut Secrets,
) -> Result<Material, Problem> {
    let pem = lookup.authorities(namespace, reference).map_err(|problem| problem.at("spec.tls.caRef"))?;
    Ok(material::of_authorities(secrets, namespace, reference, pem))
}

fn identity(
    lookup: &mut Lookup<'_>,
    namespace: &str,
    name: &str,
    secrets: &mut Secrets,
) -> Result<TlsIdentity, Problem> {
    let (chain, key) =
        lookup.certificate(namespace, name).map_err(|problem| problem.at("spec.tls.clientCertRef"))?;
    Ok(TlsIdentity {
        certificate: material::of_key(secrets, namespace, (name, "tls.crt"), chain),
        key: material::of_key(secrets, namespace, (name, "tls.key"), key),
    })
}
