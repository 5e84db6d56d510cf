//! The files of a volume, replaced all at once. Changes when the layout of such volumes does.
//!
//! `..data` is a link to a folder with one state of the files, and each visible name is a link through it: a reader sees
//! the old files or the new ones. Programs watch for the replacement of `..data`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Component, Path};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::KeyToPath;

/// One file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct File {
    pub(super) bytes: Vec<u8>,
    /// Its own permissions, else those of the volume.
    pub(super) mode: Option<i32>,
}

/// The files by relative path.
pub(super) type Payload = BTreeMap<String, File>;

/// Adds all of `data`, or the keys that `items` name, at their paths.
///
/// # Errors
/// When a named key is missing and the source is not optional.
pub(super) fn select(
    payload: &mut Payload,
    mut data: BTreeMap<String, Vec<u8>>,
    items: Option<&[KeyToPath]>,
    optional: Option<bool>,
) -> Result<()> {
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        payload.extend(data.into_iter().map(|(key, bytes)| (key, File { bytes, mode: None })));
        return Ok(());
    };
    for item in items {
        match data.remove(&item.key) {
            Some(bytes) => _ = payload.insert(item.path.clone(), File { bytes, mode: item.mode }),
            None => ensure!(optional == Some(true), "references non-existent key: {}", item.key),
        }
    }
    Ok(())
}

/// Makes `dir` hold exactly `payload`; does nothing when it does.
pub(super) fn write(dir: &Path, payload: &Payload, mode: u32, group: Option<u32>) -> Result<()> {
    fs::create_dir_all(dir)?;
    let data = dir.join("..data");
    let current = fs::read_link(&data).ok();
    if let Some(current) = &current
        && same(&dir.join(current), payload)
    {
        return Ok(());
    }
    let number: u64 = current
        .as_ref()
        .and_then(|name| name.to_str()?.strip_prefix("..")?.parse().ok())
        .map_or(0, |number: u64| number + 1);
    let next = format!("..{number}");
    fs::create_dir(dir.join(&next))?;
    for (path, file) in payload {
        let inner = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
        ensure!(inner, "{path} leads out of the volume");
        let target = dir.join(&next).join(path);
        fs::create_dir_all(target.parent().unwrap_or(dir))?;
        fs::write(&target, &file.bytes).with_context(|| target.display().to_string())?;
        let mut mode = file.mode.map_or(Ok(mode), u32::try_from)?;
        if group.is_some() {
            chown(&target, None, group)?;
            // The group may read what the owner may.
            mode |= (mode & 0o400) >> 3;
        }
        fs::set_permissions(&target, Permissions::from_mode(mode))?;
    }
    let pending = dir.join("..data_tmp");
    let _ = fs::remove_file(&pending);
    symlink(&next, &pending)?;
    fs::rename(&pending, &data)?;
    links(dir, payload)?;
    if let Some(current) = current {
        fs::remove_dir_all(dir.join(current))?;
    }
    Ok(())
}

/// One link for each first part of a path, and none for what is gone.
fn links(dir: &Path, payload: &Payload) -> Result<()> {
    let first = |path: &str| path.split('/').next().unwrap_or_default().to_owned();
    let wanted: BTreeSet<_> = payload.keys().map(|path| first(path)).collect();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !name.starts_with("..") && !wanted.contains(&name) {
            fs::remove_file(dir.join(name))?;
        }
    }
    for name in wanted {
        let link = dir.join(&name);
        if fs::symlink_metadata(&link).is_err() {
            symlink(Path::new("..data").join(name), link)?;
        }
    }
    Ok(())
}

fn same(current: &Path, payload: &Payload) -> bool {
    fn count(dir: &Path) -> usize {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        entries.map(|entry| if entry.path().is_dir() { count(&entry.path()) } else { 1 }).sum()
    }
    count(current) == payload.len()
        && payload
            .iter()
            .all(|(path, file)| fs::read(current.join(path)).is_ok_and(|bytes| bytes == file.bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(files: &[(&str, &str)]) -> Payload {
        let file = |text: &str| File { bytes: text.into(), mode: None };
        files.iter().map(|(path, text)| ((*path).to_owned(), file(text))).collect()
    }

    #[test]
    fn an_update_replaces_everything_at_once() -> Result<()> {
        let dir = std::env::temp_dir().join(format!("bridge-cluster-payload-{}", std::process::id()));
        write(&dir, &payload(&[("a", "1"), ("sub/b", "1")]), 0o644, None)?;
        let before = fs::read_link(dir.join("..data"))?;
        write(&dir, &payload(&[("a", "1"), ("sub/b", "1")]), 0o644, None)?;
        assert_eq!(fs::read_link(dir.join("..data"))?, before, "nothing changed");
        write(&dir, &payload(&[("sub/b", "2"), ("c", "2")]), 0o644, None)?;
        assert_eq!(fs::read_to_string(dir.join("sub/b"))?, "2");
        assert_eq!(fs::read_to_string(dir.join("c"))?, "2");
        assert!(!dir.join("a").exists() && fs::symlink_metadata(dir.join("a")).is_err());
        assert!(!dir.join(before).exists(), "the old state is removed");
        assert!(write(&dir, &payload(&[("../x", "2")]), 0o644, None).is_err());
        fs::remove_dir_all(&dir)?;
        Ok(())
    }
}
