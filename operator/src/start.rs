//! What has to be known before the operator runs: the epoch of the cluster, and the authority that vouches for operators.
//! Changes when another thing has to be.

use std::collections::BTreeMap;

use bridge_api::v1alpha1::McpGateway;
use k8s_openapi::ByteString;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::civil::Date;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Map, Value, json};

use crate::lease;
use crate::rbac::AUTHORITY;
use crate::serve::{Authorities, Authority, CertificateError};
use crate::world::ObjectName;

/// Why the operator cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The API server refused, or was not reached.
    #[error("{what}: {source}")]
    Api {
        /// What was asked for.
        what: &'static str,
        /// What the API server said.
        source: Box<kube::Error>,
    },
    /// The definitions of our resources are missing.
    #[error(
        "the definition mcpgateways.mcp.bridge is missing; install the custom resource definitions first"
    )]
    NoDefinitions,
    /// The authority cannot be made or used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The authority that is kept cannot be used.
    #[error("Secret {AUTHORITY} has no tls.crt and tls.key; delete it and the operator makes another")]
    BrokenAuthority,
    /// Other replicas wrote whenever this one did.
    #[error("Secret {AUTHORITY} changes all the time")]
    Contended,
}

fn failed(what: &'static str) -> impl FnOnce(kube::Error) -> StartError {
    move |source| StartError::Api { what, source: Box::new(source) }
}

/// Which history of the cluster this is, according to the Lease: nothing before it was restored for the first time.
pub async fn history(client: &Client, name: &ObjectName) -> Result<Option<String>, StartError> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), &name.namespace);
    let found = leases.get_opt(&name.name).await.map_err(failed("the Lease"))?;
    Ok(found.as_ref().and_then(lease::history).cloned())
}

/// Names the history of the cluster: another one after it was restored or its definitions were made anew. Whoever is
/// confined to some namespaces goes by its own.
pub async fn epoch(client: &Client, own: Option<&str>, history: Option<&str>) -> Result<String, StartError> {
    let place = place(client, own).await?;
    Ok(history.map_or_else(|| place.clone(), |history| format!("{place}.{history}")))
}

async fn place(client: &Client, own: Option<&str>) -> Result<String, StartError> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    if let Some(own) = own {
        let found = namespaces.get(own).await.map_err(failed("the operator's namespace"))?;
        return Ok(found.uid().unwrap_or_default());
    }
    let system = namespaces.get("kube-system").await.map_err(failed("namespace kube-system"))?;
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let ours = definitions.get_opt("mcpgateways.mcp.bridge").await;
    let ours = ours.map_err(failed("custom resource definitions"))?.ok_or(StartError::NoDefinitions)?;
    Ok(format!("{}.{}", system.uid().unwrap_or_default(), ours.uid().unwrap_or_default()))
}

/// The resource version of the cluster as it is now; 0 when the API server does not say.
pub async fn newest(client: &Client, namespace: Option<&str>) -> Result<u64, StartError> {
    let gateways: Api<McpGateway> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let list =
        gateways.list_metadata(&ListParams::default().limit(1)).await.map_err(failed("McpGateways"))?;
    Ok(list.metadata.resource_version.and_then(|version| version.parse().ok()).unwrap_or_default())
}

/// Whether the Prometheus operator's `ServiceMonitor` is there.
pub async fn has_service_monitors(client: &Client) -> Result<bool, StartError> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let found = definitions.get_opt("servicemonitors.monitoring.coreos.com").await;
    // Whoever is confined to some namespaces may not look, and makes none.
    if matches!(&found, Err(kube::Error::Api(status)) if status.code == 403) {
        return Ok(false);
    }
    Ok(found.map_err(failed("custom resource definitions"))?.is_some())
}

/// The authorities of the operators of a namespace; the first replica makes them, and whoever comes first on the day replaces
/// them.
pub async fn authorities(client: &Client, namespace: &str, today: Date) -> Result<Authorities, StartError> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let failed = || failed("the Secret of the authority");
    let params = PostParams::default();
    // Once more when another replica was faster.
    for _ in 0..3 {
        let written = match secrets.get_opt(AUTHORITY).await.map_err(failed())? {
            Some(kept) => {
                let authorities = read(&kept, today)?;
                let Some(after) = authorities.step(today)? else { return Ok(authorities) };
                let change = Patch::Merge(change(&kept, &after));
                secrets.patch(AUTHORITY, &PatchParams::default(), &change).await.map(|_| after)
            }
            None => {
                let fresh = Authorities::generate(today)?;
                let metadata = ObjectMeta {
                    name: Some(AUTHORITY.to_owned()),
                    annotations: Some(days(&fresh)),
                    ..ObjectMeta::default()
                };
                let secret = Secret {
                    metadata,
                    data: Some(data(&fresh)),
                    type_: Some("kubernetes.io/tls".to_owned()),
                    ..Secret::default()
                };
                secrets.create(&params, &secret).await.map(|_| fresh)
            }
        };
        match written {
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            written => return written.map_err(failed()),
        }
    }
    Err(StartError::Contended)
}

/// Annotations: the days on which authorities were made.
const MADE: &str = "mcp.bridge/made";
const NEXT_MADE: &str = "mcp.bridge/next-made";
const PREVIOUS_MADE: &str = "mcp.bridge/previous-made";

/// What is different, for exactly the Secret that was read.
fn change(kept: &Secret, after: &Authorities) -> Value {
    let (data, days) = (data(after), days(after));
    // What is absent stays as it is; what is null goes.
    let gone = |key: &str| (key.to_owned(), Value::Null);
    let old =
        kept.data.iter().flatten().filter(|(key, _)| !data.contains_key(*key)).map(|(key, _)| gone(key));
    let mut values: Map<String, Value> = old.collect();
    values.extend(data.iter().map(|(key, value)| (key.clone(), json!(value))));
    let forgotten = [MADE, NEXT_MADE, PREVIOUS_MADE].into_iter().filter(|name| !days.contains_key(*name));
    let mut annotations: Map<String, Value> = forgotten.map(gone).collect();
    annotations.extend(days.into_iter().map(|(name, day)| (name, day.into())));
    json!({
        "metadata": { "resourceVersion": kept.resource_version(), "annotations": annotations },
        "data": values,
    })
}

fn data(authorities: &Authorities) -> BTreeMap<String, ByteString> {
    let Authorities { current, next, previous } = authorities;
    let next = next.iter().flat_map(|next| [("next.crt", &*next.certificate), ("next.key", next.key())]);
    let previous = previous.iter().map(|(certificate, _)| ("previous.crt", &**certificate));
    let all = [("tls.crt", &*current.certificate), ("tls.key", current.key())];
    let all = all.into_iter().chain(next).chain(previous);
    all.map(|(key, value)| (key.to_owned(), ByteString(value.as_bytes().to_vec()))).collect()
}

fn days(authorities: &Authorities) -> BTreeMap<String, String> {
    let Authorities { current, next, previous } = authorities;
    let next = next.iter().map(|next| (NEXT_MADE, next.made));
    let previous = previous.iter().map(|(_, made)| (PREVIOUS_MADE, *made));
    let all = std::iter::once((MADE, current.made)).chain(next).chain(previous);
    all.map(|(name, made)| (name.to_owned(), made.to_string())).collect()
}

/// One of which nobody knows when it was made counts from today.
fn read(secret: &Secret, today: Date) -> Result<Authorities, StartError> {
    let value = |key: &str| {
        let value = secret.data.as_ref().and_then(|data| data.get(key));
        value.and_then(|value| String::from_utf8(value.0.clone()).ok())
    };
    let made = |name: &str| secret.annotations().get(name).and_then(|day| day.parse().ok()).unwrap_or(today);
    let pair = |certificate: &str, key: &str, day: &str| {
        let (certificate, key) = value(certificate).zip(value(key))?;
        Some(Authority::from_pem(certificate, key, made(day)))
    };
    Ok(Authorities {
        current: pair("tls.crt", "tls.key", MADE).ok_or(StartError::BrokenAuthority)?,
        next: pair("next.crt", "next.key", NEXT_MADE),
        previous: value("previous.crt").map(|certificate| (certificate, made(PREVIOUS_MADE))),
    })
}
