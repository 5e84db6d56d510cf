//! Our custom resources on a real API server. Changes when they, or their rules, do.

use anyhow::{Context as _, Result, ensure};
use bridge_cluster::Cluster;
use kube::api::{DeleteParams, DynamicObject, PostParams};
use kube::core::GroupVersionKind;
use kube::discovery::pinned_kind;
use kube::{Api, Error};
use serde_json::Value;
use tokio::sync::OnceCell;

#[path = "../../../../crds/api/tests/rules/backend.rs"]
mod of_backends;
#[path = "../../../../crds/api/tests/rules/gateway.rs"]
mod of_gateways;

/// One rule of one field, as `crds/api/tests/rules.rs` has it.
struct Case {
    refusal: &'static str,
    bad: &'static str,
    good: &'static str,
    old: Option<&'static str>,
}

const fn refuses(refusal: &'static str, bad: &'static str, good: &'static str) -> Case {
    Case { refusal, bad, good, old: None }
}

const fn keeps(refusal: &'static str, old: &'static str, bad: &'static str, good: &'static str) -> Case {
    Case { refusal, bad, good, old: Some(old) }
}

/// Installs the definitions once.
pub(crate) async fn definitions(cluster: &Cluster) -> Result<()> {
    static DONE: OnceCell<()> = OnceCell::const_new();
    let install = async {
        cluster.apply_file("crds/manifests/mcp.bridge_mcpbackends.yaml").await?;
        cluster.apply_file("crds/manifests/mcp.bridge_mcpgateways.yaml").await?;
        anyhow::Ok(())
    };
    DONE.get_or_try_init(|| Box::pin(install)).await.copied()
}

pub(crate) async fn the_examples_are_accepted(cluster: &'static Cluster) -> Result<()> {
    definitions(cluster).await?;
    for namespace in ["mcp-system", "team-a"] {
        cluster.namespace(namespace).await?;
    }
    for file in ["gateway", "backends", "annotated-service"] {
        cluster.apply_file(format!("deploy/examples/kubernetes/{file}.yaml")).await?;
    }
    let listed = cluster.kubectl(&["get", "mcpgw,mcpbe", "--all-namespaces"]).await?;
    for name in
        ["mcpgateway.mcp.bridge/main", "mcpbackend.mcp.bridge/k8s-tools", "mcpbackend.mcp.bridge/weather"]
    {
        ensure!(listed.contains(name), "{listed}");
    }
    Ok(())
}

pub(crate) async fn every_rule_of_gateways_holds_on_the_server(cluster: &'static Cluster) -> Result<()> {
    Box::pin(every_rule(cluster, of_gateways::LEAST, &of_gateways::CASES)).await
}

pub(crate) async fn every_rule_of_backends_holds_on_the_server(cluster: &'static Cluster) -> Result<()> {
    Box::pin(every_rule(cluster, of_backends::LEAST, &of_backends::CASES)).await
}

/// Each good object is admitted, each bad one refused with the message of its rule at its field, and nothing else.
async fn every_rule(cluster: &Cluster, least: &str, cases: &[Case]) -> Result<()> {
    definitions(cluster).await?;
    let base = yaml(least)?;
    let kind = GroupVersionKind::gvk("mcp.bridge", "v1alpha1", base["kind"].as_str().context("a kind")?);
    let (resource, _) = pinned_kind(&cluster.client(), &kind).await?;
    // One namespace for each kind, since changes are tried on real objects.
    let namespace = format!("rules-of-{}", resource.plural);
    cluster.namespace(&namespace).await?;
    let api: Api<DynamicObject> = Api::namespaced_with(cluster.client(), &namespace, &resource);
    let trial = PostParams { dry_run: true, ..PostParams::default() };
    let object = |changes: &str, version: Option<&str>| -> Result<DynamicObject> {
        let mut object = base.clone();
        merge(&mut object, &yaml(changes)?);
        object["metadata"]["namespace"] = namespace.clone().into();
        if let Some(version) = version {
            object["metadata"]["resourceVersion"] = version.into();
        }
        Ok(serde_json::from_value(object)?)
    };
    let mut wrong = Vec::new();
    for case in cases {
        let mut before = None;
        if let Some(old) = case.old {
            let made = api.create(&PostParams::default(), &object(old, None)?).await;
            before = Some(made.with_context(|| format!("{old}: what was there before"))?);
        }
        let version = before.as_ref().and_then(|before| before.metadata.resource_version.as_deref());
        let name = before.as_ref().and_then(|before| before.metadata.name.as_deref());
        let mut outcomes = Vec::new();
        for changes in [case.good, case.bad] {
            let wanted = object(changes, version)?;
            outcomes.push(match name {
                Some(name) => api.replace(name, &trial, &wanted).await,
                None => api.create(&trial, &wanted).await,
            });
        }
        if let Some(name) = name {
            api.delete(name, &DeleteParams::default()).await?;
        }
        let bad = outcomes.pop().context("two outcomes")?;
        if let Some(Err(error)) = outcomes.pop() {
            wrong.push(format!("{}: is refused: {error}", case.good));
        }
        match bad {
            Ok(_) => wrong.push(format!("{}: is admitted", case.bad)),
            Err(error) if refusals(&error) == [case.refusal] => {}
            Err(error) => {
                wrong.push(format!("{}: {:?} instead of {:?}", case.bad, refusals(&error), case.refusal));
            }
        }
    }
    ensure!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    Ok(())
}

/// Why the server refused, as `field: message`.
fn refusals(error: &Error) -> Vec<String> {
    let Error::Api(status) = error else { return vec![error.to_string()] };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes
        .map(|cause| {
            // A text is quoted before the message about it.
            let message = cause.message.strip_prefix("Invalid value: ").unwrap_or(&cause.message);
            let stated = message.strip_prefix('"').and_then(|rest| rest.split_once("\": "));
            let message = stated.map_or(message, |(_, message)| message);
            let field = if cause.field == "<nil>" { "" } else { &cause.field };
            format!("{field}: {message}")
        })
        .collect()
}

fn yaml(text: &str) -> Result<Value> {
    serde_saphyr::from_str(text).with_context(|| text.to_owned())
}

/// RFC 7396.
fn merge(target: &mut Value, patch: &Value) {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => {
            for (name, value) in patch {
                if value.is_null() {
                    target.remove(name);
                } else {
                    merge(target.entry(name).or_insert(Value::Null), value);
                }
            }
        }
        (target, patch) => *target = patch.clone(),
    }
}
