//! What has to be known before the operator runs: the epoch of the cluster, and the authority that vouches for operators.
//! Changes when another thing has to be.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt as _};

use crate::rbac::AUTHORITY;
use crate::serve::{Authority, CertificateError};

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
}

fn failed(what: &'static str) -> impl FnOnce(kube::Error) -> StartError {
    move |source| StartError::Api { what, source: Box::new(source) }
}

/// Names the history of the cluster: another one after it was restored or its definitions were made anew.
pub async fn epoch(client: &Client) -> Result<String, StartError> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let system = namespaces.get("kube-system").await.map_err(failed("namespace kube-system"))?;
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let ours = definitions.get_opt("mcpgateways.mcp.bridge").await;
    let ours = ours.map_err(failed("custom resource definitions"))?.ok_or(StartError::NoDefinitions)?;
    Ok(format!("{}.{}", system.uid().unwrap_or_default(), ours.uid().unwrap_or_default()))
}

/// Whether the Prometheus operator's `ServiceMonitor` is there.
pub async fn has_service_monitors(client: &Client) -> Result<bool, StartError> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let found = definitions.get_opt("servicemonitors.monitoring.coreos.com").await;
    Ok(found.map_err(failed("custom resource definitions"))?.is_some())
}

/// The authority of the operators of a namespace; the first replica makes it.
pub async fn authority(client: &Client, namespace: &str) -> Result<Authority, StartError> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    if let Some(kept) = secrets.get_opt(AUTHORITY).await.map_err(failed("the Secret of the authority"))? {
        return read(&kept);
    }
    let fresh = Authority::generate()?;
    let data = BTreeMap::from([
        ("tls.crt".to_owned(), ByteString(fresh.certificate.clone().into_bytes())),
        ("tls.key".to_owned(), ByteString(fresh.key().as_bytes().to_vec())),
    ]);
    let metadata = ObjectMeta { name: Some(AUTHORITY.to_owned()), ..ObjectMeta::default() };
    let secret = Secret {
        metadata,
        data: Some(data),
        type_: Some("kubernetes.io/tls".to_owned()),
        ..Secret::default()
    };
    match secrets.create(&PostParams::default(), &secret).await {
        Ok(_) => Ok(fresh),
        // Another replica was faster.
        Err(kube::Error::Api(status)) if status.code == 409 => {
            read(&secrets.get(AUTHORITY).await.map_err(failed("the Secret of the authority"))?)
        }
        Err(error) => Err(failed("the Secret of the authority")(error)),
    }
}

fn read(secret: &Secret) -> Result<Authority, StartError> {
    let value = |key: &str| {
        let value = secret.data.as_ref().and_then(|data| data.get(key));
        value.and_then(|value| String::from_utf8(value.0.clone()).ok())
    };
    let (certificate, key) = value("tls.crt").zip(value("tls.key")).ok_or(StartError::BrokenAuthority)?;
    Ok(Authority::from_pem(certificate, key))
}
