//! Worlds from YAML, and golden files. Changes when a test needs another kind of object.
#![allow(dead_code, reason = "each test uses a part of it")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test, a step that fails is a failed test")]

pub(crate) mod api;
pub(crate) mod pod;

use std::path::PathBuf;
use std::sync::Arc;

use kube::ResourceExt as _;
use mcp_operator::compile::{Compilation, Memo, Options, compile};
use mcp_operator::desired::OwnedKind;
use mcp_operator::world::{ObjectName, World};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A world of the objects in YAML documents.
pub(crate) fn world(yaml: &str) -> World {
    let mut world = World::default();
    for document in yaml.split("\n---").filter(|text| !text.trim().is_empty()) {
        let value: Value =
            serde_saphyr::from_str(document).unwrap_or_else(|error| panic!("{error}: {document}"));
        add(&mut world, &value);
    }
    world
}

/// Puts an object into the world.
pub(crate) fn add(world: &mut World, value: &Value) {
    fn into<K: DeserializeOwned>(value: &Value) -> Arc<K> {
        Arc::new(serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{error}: {value}")))
    }
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (kind, name) = (text("/kind"), ObjectName::new(text("/metadata/namespace"), text("/metadata/name")));
    match &*kind {
        "McpGateway" => drop(world.gateways.insert(name, into(value))),
        "McpBackend" => drop(world.backends.insert(name, into(value))),
        "Service" => drop(world.services.insert(name, into(value))),
        "Secret" => {
            // The API server turns stringData into data.
            let mut secret: Arc<k8s_openapi::api::core::v1::Secret> = into(value);
            let inner = Arc::make_mut(&mut secret);
            let plain = inner.string_data.take().unwrap_or_default();
            let data =
                plain.into_iter().map(|(key, value)| (key, k8s_openapi::ByteString(value.into_bytes())));
            inner.data.get_or_insert_default().extend(data);
            drop(world.secrets.insert(name, secret));
        }
        "ConfigMap" => drop(world.config_maps.insert(name, into(value))),
        "Pod" => drop(world.pods.insert(name, into(value))),
        "Deployment" => drop(world.owned.insert((OwnedKind::Deployment, name), into(value))),
        "HorizontalPodAutoscaler" => drop(world.autoscalers.insert(name, into(value))),
        "Namespace" => {
            let namespace: Arc<k8s_openapi::api::core::v1::Namespace> = into(value);
            drop(world.namespaces.insert(name.name, namespace.labels().clone()));
        }
        "EndpointSlice" => {
            let slice = serde_json::from_value(value.clone());
            assert!(world.slices.put(slice.unwrap_or_else(|error| panic!("{error}: {value}"))), "{value}");
        }
        other => panic!("{other} is not part of a world"),
    }
}

pub(crate) fn options() -> Options {
    Options { class: "mcp-bridge".to_owned(), allow_local_endpoints: false, allow_insecure_backends: false }
}

pub(crate) fn compiled(yaml: &str) -> Compilation {
    compile(&world(yaml), &options(), &mut Memo::default()).unwrap()
}

/// What a compilation says, as text that a person can review.
pub(crate) fn describe(compilation: &Compilation) -> Value {
    let gateways = compilation.gateways.iter().map(|(name, plan)| {
        let resources = plan
            .entries
            .iter()
            .map(|(key, entry)| (key.to_string(), serde_json::from_str(entry.body()).unwrap_or(Value::Null)));
        let value = serde_json::json!({
            "resources": resources.collect::<serde_json::Map<_, _>>(),
            "accepted": format!("{:?}: {}", plan.accepted.reason, plan.accepted.message),
            "resolved": format!("{:?}: {}", plan.resolved.reason, plan.resolved.message),
            "insecure": plan.insecure,
            "leftOut": plan.left_out,
        });
        (name.to_string(), value)
    });
    let backends = compilation.backends.iter().map(|(name, verdict)| {
        let value = serde_json::json!({
            "accepted": format!("{:?}: {}", verdict.accepted.reason, verdict.accepted.message),
            "resolved": format!("{:?}: {}", verdict.resolved.reason, verdict.resolved.message),
            "endpoints": format!("{}/{}", verdict.ready, verdict.total),
        });
        (name.to_string(), value)
    });
    let services = compilation.services.iter().map(|(name, notes)| {
        let notes = notes.iter().map(|note| format!("{}: {}", note.reason, note.message));
        (name.to_string(), notes.collect::<Vec<_>>().into())
    });
    serde_json::json!({
        "gateways": gateways.collect::<serde_json::Map<_, _>>(),
        "backends": backends.collect::<serde_json::Map<_, _>>(),
        "services": services.collect::<serde_json::Map<String, Value>>(),
    })
}

/// Compares with the golden file of this name. `UPDATE_REFERENCE=1` writes it instead; review the difference.
pub(crate) fn assert_golden(name: &str, value: &Value) {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "golden", name].iter().collect();
    let text = format!("{value:#}\n");
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, golden, "{} differs; UPDATE_REFERENCE=1 writes it", path.display());
}
