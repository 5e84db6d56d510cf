//! Ports for clients. Changes when a frontend or one of its settings is added.

use std::net::SocketAddr;

use bridge_api::condition::ResolvedRefs;
use bridge_api::v1alpha1::McpGatewaySpec;
use bridge_api::v1alpha1::gateway::{Listener, ListenerProtocol, ListenerTls, ListenerTlsMode, TlsVersion};
use bridge_snapshot::{ClientAuth, Protocol, SsePaths, Tls};

use super::credentials::Secrets;
use super::finding::{Finding, Problem};
use super::material;
use super::refs::Lookup;
use crate::{defaults, layout};

/// Keys of a Secret of type `kubernetes.io/tls`.
const TLS_CERTIFICATE: &str = "tls.crt";
const TLS_KEY: &str = "tls.key";

/// What became of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerVerdict {
    /// Whether its certificates can be used. One whose cannot is left out.
    pub resolved: Finding<ResolvedRefs>,
    /// Whether a setting gives up protection, and which.
    pub insecure: Option<String>,
    /// Harmless settings that this version does not act on.
    pub without_effect: Vec<&'static str>,
}

/// A listener for the pods; `None` when it has to be left out.
pub(super) fn listener(
    lookup: &mut Lookup<'_>,
    namespace: &str,
    spec: &McpGatewaySpec,
    listener: &Listener,
    secrets: &mut Secrets,
) -> (Option<bridge_snapshot::Listener>, ListenerVerdict) {
    let origins = listener.allowed_origins.clone().unwrap_or_default();
    let open = origins.iter().any(|origin| origin == "*");
    let mut verdict = ListenerVerdict {
        resolved: Finding::new(ResolvedRefs::ResolvedRefs, ""),
        insecure: open.then(|| format!("spec.listeners[{}].allowedOrigins has *", listener.name)),
        without_effect: without_effect(listener),
    };
    let tls = match tls(lookup, namespace, listener.tls.as_ref(), secrets) {
        Ok(tls) => tls,
        Err(problem) => {
            let reason = match &problem {
                Problem::Reference(finding) => finding.reason,
                Problem::Spec(_) => ResolvedRefs::InvalidCertificate,
            };
            verdict.resolved = Finding::new(reason, format_args!("not opened: {}", problem.message()));
            return (None, verdict);
        }
    };
    let limits = spec.limits.as_ref();
    let connections = limits.and_then(|limits| limits.max_connections).unwrap_or(defaults::MAX_CONNECTIONS);
    let per_ip = limits.and_then(|limits| limits.max_connections_per_ip);
    let compiled = bridge_snapshot::Listener {
        name: listener.name.clone(),
        address: SocketAddr::new(layout::unspecified(spec), listener.port),
        protocols: protocols(listener),
        tls,
        allowed_origins: origins,
        allowed_hosts: Vec::new(),
        max_connections: count(connections),
        max_connections_per_ip: count(per_ip.unwrap_or(defaults::MAX_CONNECTIONS_PER_IP)),
    };
    (Some(compiled), verdict)
}

fn protocols(listener: &Listener) -> Vec<Protocol> {
    let path = listener.path.as_deref().unwrap_or(defaults::path(listener.protocol));
    match listener.protocol {
        ListenerProtocol::WebSocket => {
            vec![Protocol::WebSocket { ping_interval: defaults::PING_INTERVAL }]
        }
        ListenerProtocol::StreamableHTTP => {
            vec![Protocol::StreamableHttp, Protocol::Sse(SsePaths::default())]
        }
        ListenerProtocol::SSE => {
            vec![Protocol::Sse(SsePaths { stream: path.to_owned(), ..SsePaths::default() })]
        }
        ListenerProtocol::TCP => vec![Protocol::TcpBinary { plain_too: false }],
    }
}

fn tls(
    lookup: &mut Lookup<'_>,
    namespace: &str,
    tls: Option<&ListenerTls>,
    secrets: &mut Secrets,
) -> Result<Option<Tls>, Problem> {
    let invalid = |message: &str| Err(Problem::reference(ResolvedRefs::InvalidCertificate, message));
    let Some(tls) = tls else { return invalid("tls is absent") };
    let mode = tls.mode.unwrap_or(ListenerTlsMode::Terminate);
    if mode == ListenerTlsMode::Disabled {
        return Ok(None);
    }
    let certificates = tls.certificate_refs.as_deref().unwrap_or_default();
    let mut pairs = Vec::new();
    for certificate in certificates {
        let pair = lookup.certificate(namespace, &certificate.name);
        let pair = pair.map_err(|problem| problem.at("tls.certificateRefs"))?;
        pairs.push((&certificate.name, pair));
    }
    let Some((name, (chain, key))) = pairs.into_iter().next() else {
        return invalid("tls.certificateRefs is empty");
    };
    let client_ca = match &tls.client_ca_ref {
        Some(reference) => {
            let pem =
                lookup.authorities(namespace, reference).map_err(|problem| problem.at("tls.clientCARef"))?;
            Some(material::of_authorities(secrets, namespace, reference, pem))
        }
        None if mode == ListenerTlsMode::Mutual => return invalid("mode: Mutual needs tls.clientCARef"),
        None => None,
    };
    Ok(Some(Tls {
        certificate: material::of_key(secrets, namespace, (name, TLS_CERTIFICATE), chain),
        key: material::of_key(secrets, namespace, (name, TLS_KEY), key),
        client_auth: match (mode, &client_ca) {
            (ListenerTlsMode::Mutual, _) => ClientAuth::Require,
            (_, Some(_)) => ClientAuth::Request,
            (_, None) => ClientAuth::None,
        },
        client_ca,
        min_version: match tls.min_version.unwrap_or(TlsVersion::V13) {
            TlsVersion::V12 => bridge_snapshot::TlsVersion::V12,
            TlsVersion::V13 => bridge_snapshot::TlsVersion::V13,
        },
    }))
}

fn without_effect(listener: &Listener) -> Vec<&'static str> {
    let tls = listener.tls.as_ref();
    let certificates = tls.and_then(|tls| tls.certificate_refs.as_ref()).map_or(0, Vec::len);
    let own_path = listener.path.as_deref().is_some_and(|path| path != defaults::path(listener.protocol));
    let settings = [
        (own_path && listener.protocol != ListenerProtocol::SSE, "listeners[].path"),
        (certificates > 1, "listeners[].tls.certificateRefs beyond the first"),
        (tls.is_some_and(|tls| tls.cipher_suites.is_some()), "listeners[].tls.cipherSuites"),
    ];
    settings.into_iter().filter_map(|(set, field)| set.then_some(field)).collect()
}

fn count(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
