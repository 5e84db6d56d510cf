//! Limits on the source files themselves. Changes when a limit does.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use bridge_tests::cargo;

/// Files aim at 400 lines; past this they have two reasons to change.
const MOST_LINES: usize = 450;

/// Where our Rust sources are.
const TREES: [&str; 4] = ["crds", "dataplane", "operator", "tests"];

#[test]
fn no_source_file_is_longer_than_a_reader_holds_in_mind() -> Result<()> {
    let mut files = Vec::new();
    for tree in TREES.map(|tree| cargo::root().join(tree)).iter().filter(|tree| tree.is_dir()) {
        collect(tree, &mut files)?;
    }
    assert!(files.len() > 20, "the sources are not where this test looks: {files:?}");
    let mut long = Vec::new();
    for file in files {
        let lines = fs::read_to_string(&file).with_context(|| file.display().to_string())?.lines().count();
        if lines > MOST_LINES {
            long.push((lines, file));
        }
    }
    assert!(
        long.is_empty(),
        "more than {MOST_LINES} lines, split them by their reasons to change: {long:#?}"
    );
    Ok(())
}

#[test]
fn every_file_says_first_what_it_is() -> Result<()> {
    let mut files = Vec::new();
    for tree in TREES.map(|tree| cargo::root().join(tree)).iter().filter(|tree| tree.is_dir()) {
        collect(tree, &mut files)?;
    }
    let mut silent = Vec::new();
    // The tests of a module are part of it.
    for file in files.into_iter().filter(|file| !file.ends_with("tests.rs")) {
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        if !text.starts_with("//!") && !text.starts_with("#![") {
            silent.push(file);
        }
    }
    assert!(silent.is_empty(), "the first line of each file is its module documentation: {silent:#?}");
    Ok(())
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() && name != "target" && name != "node_modules" {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}
