//! What we show to users is admitted and says what they see.

#![allow(clippy::panic, clippy::unwrap_used, reason = "in a test, a step that fails is a failed test")]

mod kit;

use std::collections::BTreeMap;
use std::path::Path;

use bridge_api::service;
use kit::{refusals, schema};
use serde_json::Value;

fn examples() -> BTreeMap<String, Vec<Value>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/examples/kubernetes");
    let read = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (
            name,
            serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display())),
        )
    };
    std::fs::read_dir(&folder).unwrap().map(read).collect()
}

#[test]
fn every_example_is_admitted() {
    let mut kinds = BTreeMap::new();
    for (file, objects) in examples() {
        for object in objects {
            let kind = object["kind"].as_str().unwrap().to_owned();
            *kinds.entry(kind.clone()).or_insert(0) += 1;
            if object["apiVersion"] == "mcp.bridge/v1alpha1" {
                let refused = refusals(&schema(&kind), &object, None);
                assert!(refused.is_empty(), "{file}: {kind} {}: {refused:#?}", object["metadata"]["name"]);
            }
        }
    }
    let expected = [("McpBackend", 2), ("McpGateway", 1), ("Service", 1)];
    assert_eq!(kinds, expected.into_iter().map(|(kind, count)| (kind.to_owned(), count)).collect());
}

#[test]
fn the_annotations_of_the_example_are_ones_that_exist() {
    for object in examples().into_values().flatten().filter(|object| object["kind"] == "Service") {
        for name in object["metadata"]["annotations"].as_object().unwrap().keys() {
            assert!(service::is_known(name), "{name}");
        }
    }
}

#[test]
fn what_is_not_written_is_not_there() {
    // With server-side apply a null would mean: I own this field, and it is to be empty.
    for object in examples().into_values().flatten().filter(|object| object["kind"] != "Service") {
        let again = match object["kind"].as_str().unwrap() {
            "McpGateway" => serde_json::to_string(&read::<bridge_api::v1alpha1::McpGateway>(&object)),
            _ => serde_json::to_string(&read::<bridge_api::v1alpha1::McpBackend>(&object)),
        };
        assert!(!again.as_ref().unwrap().contains("null"), "{again:?}");
    }
    let status = [
        serde_json::to_string(&bridge_api::v1alpha1::McpGatewayStatus::default()).unwrap(),
        serde_json::to_string(&bridge_api::v1alpha1::McpBackendStatus::default()).unwrap(),
    ];
    assert_eq!(status, ["{}", "{}"]);
}

fn read<T: serde::de::DeserializeOwned>(object: &Value) -> T {
    serde_json::from_value(object.clone()).unwrap()
}

#[test]
fn every_optional_field_is_left_out_when_it_is_absent() {
    let mut files = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src/v1alpha1")];
    let mut optional = 0;
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        for field in
            text.split("    /// ").filter(|field| field.contains("pub ") && field.contains(": Option<"))
        {
            optional += 1;
            assert!(
                field.contains("skip_serializing_if = \"Option::is_none\""),
                "{}: {field}",
                path.display()
            );
        }
    }
    assert!(optional > 150, "{optional}");
}
