//! Notices that the configuration file changed. Changes when another way of replacing a file has to be understood.
//!
//! Directories are watched, not the file: editors replace a file by renaming another over it, and Kubernetes swaps the
//! symbolic link `..data` beside it. What counts in the end is whether the content differs.

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsString;
use std::hash::{DefaultHasher, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// How long the directory must be quiet before the file is looked at: a writer may need several steps.
const QUIET: Duration = Duration::from_millis(200);
/// Looked at no later than this, however busy the directory is.
const AT_MOST: Duration = Duration::from_secs(2);

/// Why a file cannot be watched. Reloading by signal still works.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The system refused to watch.
    #[error("cannot watch {path} for changes: {source}; send SIGHUP to reload")]
    Refused {
        /// What was to be watched.
        path: PathBuf,
        /// What the system said.
        source: notify::Error,
    },
    /// The watcher is gone.
    #[error("the file watcher stopped; send SIGHUP to reload")]
    Stopped,
}

/// Watches one file. Create it before the file is first read, so that no change falls between.
#[derive(Debug)]
pub struct ConfigWatch {
    path: PathBuf,
    watcher: RecommendedWatcher,
    events: mpsc::Receiver<()>,
    directories: BTreeSet<PathBuf>,
    names: Arc<Mutex<HashSet<OsString>>>,
    seen: Option<u64>,
    debounce: Debounce,
}

/// Starts watching. Reads the file once, blocking.
pub fn watch(path: &Path) -> Result<ConfigWatch, WatchError> {
    let (sender, events) = mpsc::channel(1);
    let names = Arc::new(Mutex::new(HashSet::new()));
    let relevant = Arc::clone(&names);
    let on_event = move |event: notify::Result<notify::Event>| {
        // An error may hide a change, so it counts as one. A full channel already holds the news.
        if event.is_err() || event.is_ok_and(|event| concerns(&event, &relevant.lock())) {
            let _ = sender.try_send(());
        }
    };
    let refused = |source| WatchError::Refused { path: path.to_owned(), source };
    let watcher = notify::recommended_watcher(on_event).map_err(refused)?;
    let seen = std::fs::read(path).ok().map(|content| fingerprint(&content));
    let mut watch = ConfigWatch {
        path: path.to_owned(),
        watcher,
        events,
        directories: BTreeSet::new(),
        names,
        seen,
        debounce: Debounce::default(),
    };
    watch.follow()?;
    Ok(watch)
}

impl ConfigWatch {
    /// Waits until the file exists with another content than before. May be dropped and called again.
    pub async fn changed(&mut self) -> Result<(), WatchError> {
        loop {
            tokio::select! {
                event = self.events.recv() => match event {
                    Some(()) => self.debounce.event(Instant::now()),
                    None => return Err(WatchError::Stopped),
                },
                () = until(self.debounce.deadline()) => {
                    let content = tokio::fs::read(&self.path).await;
                    self.debounce = Debounce::default();
                    self.follow()?;
                    let Ok(content) = content else { continue };
                    let now = Some(fingerprint(&content));
                    if now != self.seen {
                        self.seen = now;
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Watches the directory of the path and that of the file it leads to, which symbolic links can move.
    fn follow(&mut self) -> Result<(), WatchError> {
        let target = std::fs::canonicalize(&self.path).ok();
        let paths: Vec<&Path> =
            [Some(self.path.as_path()), target.as_deref()].into_iter().flatten().collect();
        let name = |path: &&Path| path.file_name().map(std::ffi::OsStr::to_owned);
        *self.names.lock() = paths.iter().filter_map(name).chain([OsString::from("..data")]).collect();
        let wanted: BTreeSet<PathBuf> = paths.iter().map(|path| parent(path)).collect();
        for gone in self.directories.difference(&wanted) {
            // It may be deleted already, which ends the watch as well.
            let _ = self.watcher.unwatch(gone);
        }
        for directory in &wanted {
            // A directory may have been deleted and made again under the same name, so every one is watched anew.
            if let Err(source) = self.watcher.watch(directory, RecursiveMode::NonRecursive) {
                return Err(WatchError::Refused { path: directory.clone(), source });
            }
        }
        self.directories = wanted;
        Ok(())
    }
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Whether an event can mean another content. Reading a file makes events, too; those must not count.
fn concerns(event: &notify::Event, names: &HashSet<OsString>) -> bool {
    let writes = match event.kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        _ => true,
    };
    let ours = |path: &PathBuf| path.file_name().is_some_and(|name| names.contains(name));
    writes && (event.need_rescan() || event.paths.is_empty() || event.paths.iter().any(ours))
}

fn fingerprint(content: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(content);
    hasher.finish()
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// When to look: after the events have paused, or have gone on for too long.
#[derive(Debug, Default)]
struct Debounce {
    burst: Option<(Instant, Instant)>,
}

impl Debounce {
    fn event(&mut self, now: Instant) {
        let first = self.burst.map_or(now, |(first, _)| first);
        self.burst = Some((first, now));
    }

    fn deadline(&self) -> Option<Instant> {
        self.burst.map(|(first, last)| (last + QUIET).min(first + AT_MOST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_when_events_pause_but_not_later_than_the_bound() {
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        let mut debounce = Debounce::default();
        assert_eq!(debounce.deadline(), None);
        debounce.event(after(0));
        debounce.event(after(150));
        assert_eq!(debounce.deadline(), Some(after(350)));
        for millis in (150..5000).step_by(150) {
            debounce.event(after(millis));
        }
        assert_eq!(debounce.deadline(), Some(after(2000)));
    }

    #[test]
    fn reading_the_file_and_other_files_do_not_count() {
        let names = HashSet::from([OsString::from("gateway.yaml"), OsString::from("..data")]);
        let event = |kind, path: &str| notify::Event::new(kind).add_path(PathBuf::from(path));
        let open = EventKind::Access(AccessKind::Open(AccessMode::Any));
        let written = EventKind::Access(AccessKind::Close(AccessMode::Write));
        assert!(!concerns(&event(open, "/etc/g/gateway.yaml"), &names));
        assert!(concerns(&event(written, "/etc/g/gateway.yaml"), &names));
        assert!(concerns(&event(EventKind::Any, "/etc/g/..data"), &names));
        assert!(!concerns(&event(EventKind::Any, "/etc/g/other.yaml"), &names));
    }
}
