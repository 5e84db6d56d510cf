//! The last good configuration and the one for a cold start, as files. Changes when they are kept differently.
//!
//! Both hold secrets: the first is written to a memory volume only, the second is a mounted Secret.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use bridge_snapshot::push::{Damage, Saved};

use super::Bootstrap;
use super::standing::Source;

/// Its name in the directory of the bootstrap file's `state_dir`.
const LAST_KNOWN_GOOD: &str = "last-known-good.json";
/// A configuration of ten thousand backends is some ten megabytes.
const MAX_BYTES: u64 = 256 * 1024 * 1024;

/// Why a saved configuration is of no use.
#[derive(Debug, thiserror::Error)]
pub(super) enum SavedError {
    /// There is none.
    #[error("there is none")]
    Absent,
    /// It cannot be read.
    #[error("{0}")]
    Unreadable(#[from] io::Error),
    /// It is none. What the decoder says may quote a secret.
    #[error("it is no saved configuration, or not all of one")]
    NotOne,
    /// It is too large to be one.
    #[error("it is larger than {} MiB", MAX_BYTES >> 20)]
    TooLarge,
    /// It is somebody else's, or damaged.
    #[error(transparent)]
    Damaged(#[from] Damage),
}

/// Where configurations are saved.
#[derive(Debug, Clone)]
pub(super) struct Store {
    gateway: String,
    last: PathBuf,
    cold_start: Option<PathBuf>,
}

impl Store {
    pub(super) fn new(bootstrap: &Bootstrap) -> Self {
        Self {
            gateway: bootstrap.gateway.clone(),
            last: bootstrap.state_dir.join(LAST_KNOWN_GOOD),
            cold_start: bootstrap.cold_start.clone(),
        }
    }

    /// The best that was saved. Logs what is there and of no use.
    pub(super) async fn load(&self) -> Option<(Source, Saved)> {
        let store = self.clone();
        // A panic is reported by the hook; there is nothing then.
        tokio::task::spawn_blocking(move || store.load_blocking()).await.ok().flatten()
    }

    fn load_blocking(&self) -> Option<(Source, Saved)> {
        let last = Some((Source::LastKnownGood, &self.last));
        let cold = self.cold_start.as_ref().map(|path| (Source::ColdStart, path));
        last.into_iter().chain(cold).find_map(|(source, path)| match self.read(path) {
            Ok(saved) => Some((source, saved)),
            Err(SavedError::Absent) => None,
            Err(error) => {
                let path = path.display();
                tracing::error!(source = source.as_str(), %path, %error, "saved configuration ignored");
                None
            }
        })
    }

    fn read(&self, path: &Path) -> Result<Saved, SavedError> {
        let mut text = Vec::new();
        for part in parts(path)? {
            if fs::metadata(&part)?.len() + text.len() as u64 > MAX_BYTES {
                return Err(SavedError::TooLarge);
            }
            text.append(&mut fs::read(&part)?);
        }
        let saved: Saved = serde_json::from_slice(&text).map_err(|_| SavedError::NotOne)?;
        saved.verify(&self.gateway)?;
        Ok(saved)
    }

    /// Replaces the last good configuration in one step.
    pub(super) async fn save(&self, saved: Saved) {
        let path = self.last.clone();
        let written = tokio::task::spawn_blocking(move || write(&path, &saved)).await;
        match written {
            Ok(Ok(())) => tracing::debug!(path = %self.last.display(), "configuration saved"),
            Ok(Err(error)) => {
                let path = self.last.display();
                tracing::error!(%path, %error, "configuration not saved; a restart needs an operator");
            }
            Err(error) => tracing::error!(%error, "configuration not saved"),
        }
    }
}

/// A file, or the files of a directory in the order of their names. Kubernetes keeps its own files behind two dots.
fn parts(path: &Path) -> Result<Vec<PathBuf>, SavedError> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(SavedError::Absent),
        Err(error) => return Err(error.into()),
    };
    if metadata.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let mut parts = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            parts.push(entry.path());
        }
    }
    if parts.is_empty() {
        return Err(SavedError::Absent);
    }
    parts.sort();
    Ok(parts)
}

fn write(path: &Path, saved: &Saved) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let text = serde_json::to_vec(saved)?;
    // One of an attempt that was broken off may be there.
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(&text)?;
    drop(file);
    fs::rename(&fresh, path)
}
