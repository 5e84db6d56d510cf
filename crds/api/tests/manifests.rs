//! `crds/manifests/` is what the types say, and small enough to be applied by a client.

#![allow(clippy::unwrap_used, reason = "in a test, a step that fails is a failed test")]

use std::collections::BTreeSet;
use std::path::Path;

use bridge_api::{manifest, reference};
use serde_json::{Value, json};

/// `kubectl apply` stores the object in an annotation, and all annotations have 256 KiB; the rest is for other tools.
const MOST_BYTES: usize = 100 * 1024;

#[test]
fn the_manifests_are_the_types() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests");
    let files = manifest::files().unwrap();
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::create_dir_all(&folder).unwrap();
        for (name, text) in &files {
            std::fs::write(folder.join(name), text).unwrap();
        }
        return;
    }
    for (name, text) in &files {
        assert!(
            std::fs::read_to_string(folder.join(name)).is_ok_and(|there| there == *text),
            "crds/manifests/{name} is out of date; run: make crds"
        );
    }
    let present: BTreeSet<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(present, files.into_iter().map(|(name, _)| name).collect(), "files that no type stands for");
}

#[test]
fn the_page_of_the_resources_is_the_types() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/resources.md");
    let page = reference::page().unwrap();
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::write(&path, page).unwrap();
        return;
    }
    let there = std::fs::read_to_string(&path);
    assert!(there.is_ok_and(|there| there == page), "docs/resources.md is out of date; run: make crds");
}

#[test]
fn each_definition_is_small() {
    for definition in manifest::definitions().unwrap() {
        let kind = &definition["spec"]["names"]["kind"];
        let bytes = serde_json::to_string(&definition).unwrap().len();
        assert!(bytes < MOST_BYTES, "{kind} has {bytes} bytes");
    }
    for (name, text) in manifest::files().unwrap() {
        assert!(text.len() < MOST_BYTES, "{name} has {} bytes", text.len());
    }
}

#[test]
fn a_manifest_reads_as_its_definition() {
    let read: Vec<Value> =
        manifest::files().unwrap().iter().map(|(_, text)| serde_saphyr::from_str(text).unwrap()).collect();
    assert_eq!(read, manifest::definitions().unwrap());
}

#[test]
fn kubectl_finds_the_kinds_by_short_names_and_categories_of_ours() {
    let names: Vec<_> = manifest::definitions()
        .unwrap()
        .iter()
        .map(|definition| {
            let names = &definition["spec"]["names"];
            let version = &definition["spec"]["versions"][0];
            assert_eq!(names["categories"], json!(["mcp", "mcp-bridge"]));
            assert_eq!((&version["name"], &version["storage"]), (&json!("v1alpha1"), &json!(true)));
            assert!(version["subresources"]["status"].is_object());
            let columns = version["additionalPrinterColumns"].as_array().unwrap();
            let columns: Vec<_> = columns.iter().map(|column| column["name"].as_str().unwrap()).collect();
            // A condition is found by its type; its place in the list means nothing.
            let paths = version["additionalPrinterColumns"].to_string();
            assert!(!paths.contains("conditions[0") && !paths.contains("conditions[-"), "{paths}");
            format!("{} {} {}", names["kind"], names["shortNames"], columns.join(" "))
        })
        .collect();
    assert_eq!(
        names,
        [
            r#""McpBackend" ["mcpbe"] Protocol Endpoints Tools Accepted Available Age"#,
            r#""McpGateway" ["mcpgw"] Replicas Backends Tools Programmed Ready Config Age"#,
        ]
    );
}
