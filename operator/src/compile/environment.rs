//! Secrets in the environment of a stdio server that runs in pods of its own. Kubelets read them; here they are looked up,
//! to say what is missing, and to notice a change. Changes when an environment comes from something else.

use std::collections::BTreeSet;

use bridge_api::condition::ResolvedRefs;
use bridge_api::v1alpha1::backend::Stdio;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;

use super::finding::Problem;
use super::refs::Lookup;

/// The versions of these Secrets: pods are replaced when one changes. No values and nothing made of them, because it is
/// written where people look who may read no Secrets.
pub(super) fn environment(
    lookup: &mut Lookup<'_>,
    namespace: &str,
    stdio: &Stdio,
) -> Result<BTreeSet<String>, Problem> {
    let mut versions = BTreeSet::new();
    for source in stdio.env_from.iter().flatten() {
        let secret =
            lookup.secret(namespace, &source.name).map_err(|problem| problem.at("spec.stdio.envFrom"))?;
        versions.insert(version(secret));
    }
    for variable in stdio.env.iter().flatten() {
        let Some(reference) = &variable.secret_ref else { continue };
        let at = |problem: Problem| problem.at(format_args!("spec.stdio.env[{}].secretRef", variable.name));
        let secret = lookup.secret(namespace, &reference.name).map_err(at)?;
        if !secret.data.as_ref().is_some_and(|data| data.contains_key(&reference.key)) {
            return Err(at(Problem::reference(
                ResolvedRefs::KeyNotFound,
                format_args!("Secret {} has no key {}", reference.name, reference.key),
            )));
        }
        versions.insert(version(secret));
    }
    Ok(versions)
}

fn version(secret: &Secret) -> String {
    let (uid, version) = (secret.uid().unwrap_or_default(), secret.resource_version().unwrap_or_default());
    format!("{} {uid} {version}", secret.name_any())
}
