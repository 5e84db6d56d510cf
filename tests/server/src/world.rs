//! What tools change: in memory, or in a directory that the processes of one server share. Changes when tools can change
//! something else.
//!
//! A gateway may run a stdio server in several processes at once. Real ones then still see one world (a file system, a
//! database); with a directory this one does too.

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::changes::{Change, Hub};
use crate::resources;

/// How soon a process sees what another one has changed.
const LOOK: Duration = Duration::from_millis(20);

/// Everything that tools change.
pub(crate) struct World {
    dir: Option<PathBuf>,
    /// An odd count means that the entry is there.
    pub(crate) extra_tool: Counter,
    pub(crate) extra_prompt: Counter,
    pub(crate) extra_resource: Counter,
    /// Updates of the watched resource; part of its text.
    pub(crate) revision: Counter,
    /// Calls of `sleep` so far.
    pub(crate) started_sleeps: Counter,
    /// Those that ended by cancellation.
    pub(crate) cancelled_sleeps: Counter,
    /// What users have agreed to on a page, by the key of `test_url_required`.
    agreed: Mutex<HashSet<String>>,
}

impl World {
    /// In `dir`, or in memory.
    pub(crate) fn new(dir: Option<&Path>) -> Self {
        let counter = |name: &str| Counter { file: dir.map(|dir| dir.join(name)), memory: AtomicU64::new(0) };
        Self {
            dir: dir.map(Path::to_owned),
            extra_tool: counter("extra-tool"),
            extra_prompt: counter("extra-prompt"),
            extra_resource: counter("extra-resource"),
            revision: counter("revision"),
            started_sleeps: counter("started-sleeps"),
            cancelled_sleeps: counter("cancelled-sleeps"),
            agreed: Mutex::default(),
        }
    }

    /// Notes an agreement. `false` when it was there already.
    pub(crate) fn agree(&self, key: &str) -> io::Result<bool> {
        let Some(dir) = &self.dir else { return Ok(self.agreed.lock().insert(key.to_owned())) };
        let name = key.bytes().fold(String::from("agreed-"), |name, byte| format!("{name}{byte:02x}"));
        match OpenOptions::new().write(true).create_new(true).open(dir.join(name)) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Tells listeners of a change. With a directory, [`World::watch`] of each process does that instead.
    pub(crate) async fn announce(&self, hub: &Hub, change: Change) {
        if self.dir.is_none() {
            hub.announce(change).await;
        }
    }

    /// Announces what any process changes in the directory. Does not end.
    pub(crate) async fn watch(&self, hub: &Hub) {
        if self.dir.is_none() {
            return std::future::pending().await;
        }
        let watched = [
            (&self.revision, Change::Updated(resources::WATCHED.to_owned())),
            (&self.extra_tool, Change::Tools),
            (&self.extra_prompt, Change::Prompts),
            (&self.extra_resource, Change::Resources),
        ];
        let mut seen = watched.each_ref().map(|(counter, _)| counter.get());
        loop {
            tokio::time::sleep(LOOK).await;
            for ((counter, change), seen) in watched.iter().zip(&mut seen) {
                let now = counter.get();
                if now != *seen {
                    *seen = now;
                    hub.announce(change.clone()).await;
                }
            }
        }
    }
}

/// Counts up: the length of a file, which grows by one write at a time, or a number in memory.
pub(crate) struct Counter {
    file: Option<PathBuf>,
    memory: AtomicU64,
}

impl Counter {
    pub(crate) fn get(&self) -> u64 {
        match &self.file {
            Some(file) => fs::metadata(file).map_or(0, |metadata| metadata.len()),
            None => self.memory.load(Ordering::Acquire),
        }
    }

    /// Adds one and returns the sum.
    pub(crate) fn add(&self) -> io::Result<u64> {
        let Some(file) = &self.file else { return Ok(self.memory.fetch_add(1, Ordering::AcqRel) + 1) };
        OpenOptions::new().append(true).create(true).open(file)?.write_all(b".")?;
        Ok(self.get())
    }

    /// Whether the count is odd.
    pub(crate) fn is_on(&self) -> bool {
        self.get() % 2 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_processes_of_one_directory_see_one_world() {
        let dir = std::env::temp_dir().join(format!("mcp-test-server-world-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let (here, there) = (World::new(Some(&dir)), World::new(Some(&dir)));
        assert_eq!(here.revision.add().unwrap(), 1);
        assert_eq!(there.revision.add().unwrap(), 2);
        assert!(here.extra_tool.add().is_ok_and(|count| count == 1) && there.extra_tool.is_on());
        assert!(here.agree("a/b").unwrap() && !there.agree("a/b").unwrap() && there.agree("other").unwrap());
        fs::remove_dir_all(&dir).unwrap();

        let (one, other) = (World::new(None), World::new(None));
        one.extra_tool.add().unwrap();
        assert!(one.extra_tool.is_on() && !other.extra_tool.is_on());
    }
}
