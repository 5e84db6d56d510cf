//! What the gateway shows to a backend: references to Secrets, and where their values go. Changes when another kind of proof
//! reaches the data plane.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bridge_api::condition::Accepted;
use bridge_api::v1alpha1::McpBackendSpec;
use bridge_api::v1alpha1::backend::{BackendAuth, BackendAuthType, BackendProtocol, Stdio};
use bridge_api::v1alpha1::common::SecretKeyRef;
use bridge_snapshot::Secret;
use bridge_snapshot::push::{Credential, Destination, SecretData};

use super::finding::Problem;
use super::refs::Lookup;
use crate::defaults;
use crate::world::ObjectName;

/// Key of the value that is made of the keys `username` and `password`. No Secret has a key with a colon.
const BASIC: &str = "username:password";

/// Secrets by name, with the values that are needed of them.
pub(super) type Secrets = BTreeMap<String, SecretData>;

/// Collects what one backend shows.
#[derive(Debug, Default)]
pub(super) struct Credentials {
    pub(super) list: Vec<Credential>,
    pub(super) secrets: Secrets,
    /// Headers that are no secrets.
    pub(super) headers: BTreeMap<String, Secret>,
}

impl Credentials {
    /// Of a server that is reached over the network.
    pub(super) fn of(
        lookup: &mut Lookup<'_>,
        namespace: &str,
        spec: &McpBackendSpec,
    ) -> Result<Self, Problem> {
        let mut all = Self::default();
        for header in spec.headers.iter().flat_map(|headers| headers.set.iter().flatten()) {
            if spec.protocol == BackendProtocol::TCP {
                return Err(Problem::spec(Accepted::Invalid, "spec.headers: protocol TCP has no headers"));
            }
            match (&header.value, &header.secret_ref) {
                (Some(value), _) => drop(all.headers.insert(header.name.clone(), Secret::new(value))),
                (None, Some(reference)) => {
                    all.add(lookup, namespace, reference, "", Destination::Header(header.name.clone()))
                        .map_err(|problem| {
                            problem.at(format_args!("spec.headers.set[{}].secretRef", header.name))
                        })?;
                }
                (None, None) => {}
            }
        }
        if let Some(auth) = &spec.auth {
            all.prove(lookup, namespace, spec.protocol, auth)?;
        }
        Ok(all)
    }

    /// Of a child process.
    pub(super) fn of_child(lookup: &mut Lookup<'_>, namespace: &str, stdio: &Stdio) -> Result<Self, Problem> {
        let mut all = Self::default();
        for source in stdio.env_from.iter().flatten() {
            let values =
                lookup.values(namespace, &source.name).map_err(|problem| problem.at("spec.stdio.envFrom"))?;
            let keys: Vec<_> = values.iter().map(|(key, _)| (*key).to_owned()).collect();
            for key in keys {
                let reference = SecretKeyRef { name: source.name.clone(), key: key.clone() };
                all.add(lookup, namespace, &reference, "", Destination::Env(key))?;
            }
        }
        for variable in stdio.env.iter().flatten() {
            if let Some(reference) = &variable.secret_ref {
                all.add(lookup, namespace, reference, "", Destination::Env(variable.name.clone())).map_err(
                    |problem| problem.at(format_args!("spec.stdio.env[{}].secretRef", variable.name)),
                )?;
            }
        }
        Ok(all)
    }

    fn prove(
        &mut self,
        lookup: &mut Lookup<'_>,
        namespace: &str,
        protocol: BackendProtocol,
        auth: &BackendAuth,
    ) -> Result<(), Problem> {
        let authorization = || Destination::Header("authorization".to_owned());
        let missing =
            |block: &str| Problem::spec(Accepted::Invalid, format_args!("spec.auth.{block} is absent"));
        match auth.kind {
            BackendAuthType::None => Ok(()),
            BackendAuthType::Bearer => {
                let bearer = auth.bearer.as_ref().ok_or_else(|| missing("bearer"))?;
                let (prefix, into) = match protocol {
                    BackendProtocol::TCP => ("", Destination::Token),
                    _ => ("Bearer ", authorization()),
                };
                self.add(lookup, namespace, &bearer.secret_ref, prefix, into)
                    .map_err(|problem| problem.at("spec.auth.bearer.secretRef"))
            }
            _ if protocol == BackendProtocol::TCP => {
                Err(Problem::spec(Accepted::Invalid, "spec.auth.type: protocol TCP takes Bearer alone"))
            }
            BackendAuthType::APIKey => {
                let key = auth.api_key.as_ref().ok_or_else(|| missing("apiKey"))?;
                let header = key.header.as_deref().unwrap_or(defaults::API_KEY_HEADER).to_owned();
                self.add(lookup, namespace, &key.secret_ref, "", Destination::Header(header))
                    .map_err(|problem| problem.at("spec.auth.apiKey.secretRef"))
            }
            BackendAuthType::Basic => {
                let basic = auth.basic.as_ref().ok_or_else(|| missing("basic"))?;
                let secret = &basic.secret_ref.name;
                let mut part = |key: &str| {
                    let reference = SecretKeyRef { name: secret.clone(), key: key.to_owned() };
                    let value = lookup.value(namespace, &reference);
                    value.map_err(|problem| problem.at("spec.auth.basic.secretRef"))
                };
                let (user, password) = (part("username")?, part("password")?);
                let value = Secret::new(STANDARD.encode(format!("{user}:{password}")));
                self.put(&ObjectName::new(namespace, &**secret), BASIC, value, ("Basic ", authorization()));
                Ok(())
            }
            BackendAuthType::OAuth2ClientCredentials
            | BackendAuthType::TokenExchange
            | BackendAuthType::Passthrough => Err(Problem::unsupported(
                &format!("spec.auth.type: {}", auth.kind.as_str()),
                "the backend is not served",
            )),
        }
    }

    fn add(
        &mut self,
        lookup: &mut Lookup<'_>,
        namespace: &str,
        reference: &SecretKeyRef,
        prefix: &str,
        into: Destination,
    ) -> Result<(), Problem> {
        let value = Secret::new(lookup.value(namespace, reference)?.trim_end_matches(['\r', '\n']));
        let secret = ObjectName::new(namespace, &*reference.name);
        self.put(&secret, &reference.key, value, (prefix, into));
        Ok(())
    }

    /// Sends a value to the pods, and says where it goes there.
    fn put(&mut self, secret: &ObjectName, key: &str, value: Secret, (prefix, into): (&str, Destination)) {
        let secret = secret.to_string();
        self.secrets.entry(secret.clone()).or_default().data.insert(key.to_owned(), value);
        self.list.push(Credential { secret, key: key.to_owned(), prefix: prefix.to_owned(), into });
    }
}
