//! The environment and command line of a container. Changes when a value can come from somewhere else.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVarSource, Pod, Secret};
use kube::{Api, Client};

use super::fields;
use super::sandbox::{CommandLine, Sandbox};
use crate::images::Program;
use crate::namespace::KUBERNETES;

/// Where programs are looked for when the container does not say.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a container runs.
///
/// # Errors
/// When a `ConfigMap`, Secret or key is missing that is not optional.
pub(super) async fn command_line(
    client: &Client,
    pod: &Pod,
    container: &Container,
    program: &Program,
    sandbox: &Sandbox,
) -> Result<CommandLine> {
    let variables = variables(client, pod, container, sandbox).await?;
    Ok(CommandLine { words: words(container, program, &variables), variables })
}

/// Name and value of every variable, the last of a name counting.
async fn variables(
    client: &Client,
    pod: &Pod,
    container: &Container,
    sandbox: &Sandbox,
) -> Result<BTreeMap<String, String>> {
    let name = pod.metadata.name.clone().unwrap_or_default();
    let mut all = BTreeMap::from([
        ("PATH".to_owned(), PATH.to_owned()),
        ("HOSTNAME".to_owned(), name),
        ("KUBERNETES_SERVICE_HOST".to_owned(), KUBERNETES.to_string()),
        ("KUBERNETES_SERVICE_PORT".to_owned(), "443".to_owned()),
        ("KUBERNETES_SERVICE_PORT_HTTPS".to_owned(), "443".to_owned()),
    ]);
    let source = Source { client, pod, container, sandbox };
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        let (kind, data) = match (&from.config_map_ref, &from.secret_ref) {
            (Some(reference), _) => (source.config_map(&reference.name).await, reference.optional),
            (None, Some(reference)) => (source.secret(&reference.name).await, reference.optional),
            (None, None) => continue,
        };
        match kind {
            Ok(values) => {
                all.extend(values.into_iter().map(|(key, value)| (format!("{prefix}{key}"), value)));
            }
            Err(_) if data == Some(true) => {}
            Err(error) => return Err(error),
        }
    }
    for variable in container.env.iter().flatten() {
        let value = match &variable.value_from {
            Some(from) => source.value(from).await.with_context(|| format!("variable {}", variable.name))?,
            None => Some(expand(variable.value.as_deref().unwrap_or_default(), &all)),
        };
        if let Some(value) = value {
            all.insert(variable.name.clone(), value);
        }
    }
    Ok(all)
}

/// The container's command or the image's, and the container's arguments.
fn words(container: &Container, program: &Program, variables: &BTreeMap<String, String>) -> Vec<String> {
    let command = container.command.as_ref().filter(|command| !command.is_empty());
    let command = command.unwrap_or(&program.entrypoint).iter();
    command.chain(container.args.iter().flatten()).map(|word| expand(word, variables)).collect()
}

struct Source<'a> {
    client: &'a Client,
    pod: &'a Pod,
    container: &'a Container,
    sandbox: &'a Sandbox,
}

impl Source<'_> {
    fn namespace(&self) -> &str {
        self.pod.metadata.namespace.as_deref().unwrap_or_default()
    }

    async fn config_map(&self, name: &str) -> Result<BTreeMap<String, String>> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), self.namespace());
        let found = api.get(name).await.with_context(|| format!("configmap \"{name}\""))?;
        Ok(found.data.unwrap_or_default())
    }

    async fn secret(&self, name: &str) -> Result<BTreeMap<String, String>> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), self.namespace());
        let found = api.get(name).await.with_context(|| format!("secret \"{name}\""))?;
        let values = found.data.unwrap_or_default().into_iter();
        Ok(values.filter_map(|(key, value)| Some((key, String::from_utf8(value.0).ok()?))).collect())
    }

    async fn value(&self, from: &EnvVarSource) -> Result<Option<String>> {
        if let Some(reference) = &from.field_ref {
            let Sandbox { address, host, .. } = *self.sandbox;
            return fields::field(self.pod, &reference.field_path, address, host).map(Some);
        }
        if let Some(selector) = &from.resource_field_ref {
            return fields::resource(self.pod, Some(self.container), selector).map(Some);
        }
        let (values, key, optional) = if let Some(reference) = &from.config_map_key_ref {
            (self.config_map(&reference.name).await, &reference.key, reference.optional)
        } else if let Some(reference) = &from.secret_key_ref {
            (self.secret(&reference.name).await, &reference.key, reference.optional)
        } else {
            bail!("a value comes from nowhere");
        };
        match values.and_then(|mut values| values.remove(key).with_context(|| format!("no key {key}"))) {
            Ok(value) => Ok(Some(value)),
            Err(_) if optional == Some(true) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Replaces `$(NAME)` where NAME is known; `$$` is a dollar.
fn expand(text: &str, variables: &BTreeMap<String, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|rest| rest.split_once(')')) {
            match variables.get(name) {
                Some(value) => out.push_str(value),
                None => {
                    out.push_str("$(");
                    out.push_str(name);
                    out.push(')');
                }
            }
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_expanded_once() {
        let known = BTreeMap::from([("A".to_owned(), "$(B)".to_owned()), ("B".to_owned(), "b".to_owned())]);
        assert_eq!(expand("$(A)-$(B)-$(C)-$$(B)-$x-$", &known), "$(B)-b-$(C)-$(B)-$x-$");
    }
}
