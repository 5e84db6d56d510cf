//! Changes of the configuration file are noticed however they are made.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "test code outside of `#[test]` functions")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mcp_gateway::config::{self, ConfigWatch};

fn directory(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("watch-{name}"));
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

async fn notices(watch: &mut ConfigWatch) {
    tokio::time::timeout(Duration::from_secs(20), watch.changed())
        .await
        .expect("the change is noticed")
        .unwrap();
}

/// Makes a change that must be noticed, after one that must not: had the first been noticed, `changed` would return before
/// the content is there.
async fn notices_only(watch: &mut ConfigWatch, path: &Path, content: &str) {
    notices(watch).await;
    assert_eq!(fs::read_to_string(path).unwrap(), content);
}

#[tokio::test]
async fn writing_in_place_and_renaming_over() {
    let directory = directory("rename");
    let path = directory.join("gateway.yaml");
    fs::write(&path, "one").unwrap();
    let mut watch = config::watch(&path).unwrap();
    fs::write(&path, "two").unwrap();
    notices(&mut watch).await;
    fs::write(directory.join("gateway.yaml.tmp"), "three").unwrap();
    fs::rename(directory.join("gateway.yaml.tmp"), &path).unwrap();
    notices(&mut watch).await;
    fs::remove_file(&path).unwrap();
    fs::write(&path, "four").unwrap();
    notices_only(&mut watch, &path, "four").await;
}

#[tokio::test]
async fn kubernetes_swaps_the_data_link() {
    let directory = directory("configmap");
    for (version, content) in [("..v1", "one"), ("..v2", "two"), ("..v3", "three")] {
        fs::create_dir(directory.join(version)).unwrap();
        fs::write(directory.join(version).join("gateway.yaml"), content).unwrap();
    }
    let path = directory.join("gateway.yaml");
    symlink("..v1", directory.join("..data")).unwrap();
    symlink("..data/gateway.yaml", &path).unwrap();
    let mut watch = config::watch(&path).unwrap();
    for (old, new) in [("..v1", "..v2"), ("..v2", "..v3")] {
        symlink(new, directory.join("..data_tmp")).unwrap();
        fs::rename(directory.join("..data_tmp"), directory.join("..data")).unwrap();
        notices(&mut watch).await;
        fs::remove_dir_all(directory.join(old)).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), "three");
}

#[tokio::test]
async fn a_file_behind_a_link_is_followed() {
    let (links, files) = (directory("links"), directory("files"));
    fs::write(files.join("real.yaml"), "one").unwrap();
    let path = links.join("gateway.yaml");
    symlink(files.join("real.yaml"), &path).unwrap();
    let mut watch = config::watch(&path).unwrap();
    fs::write(files.join("real.yaml"), "two").unwrap();
    notices(&mut watch).await;
}

#[tokio::test]
async fn reading_and_rewriting_the_same_content_is_no_change() {
    let directory = directory("same");
    let path = directory.join("gateway.yaml");
    fs::write(&path, "one").unwrap();
    let mut watch = config::watch(&path).unwrap();
    fs::read(&path).unwrap();
    fs::write(&path, "one").unwrap();
    fs::write(directory.join("other.yaml"), "two").unwrap();
    let quiet = tokio::time::timeout(Duration::from_secs(1), watch.changed()).await;
    assert!(quiet.is_err(), "nothing changed");
    fs::write(&path, "two").unwrap();
    notices_only(&mut watch, &path, "two").await;
}

#[tokio::test]
async fn a_directory_that_does_not_exist_is_refused() {
    let error = config::watch(Path::new("/nonexistent/gateway.yaml")).unwrap_err().to_string();
    assert!(error.starts_with("cannot watch /nonexistent for changes: "), "{error}");
    assert!(error.ends_with("send SIGHUP to reload"), "{error}");
}
