//! Five published servers with places of their own to work in, as backends. Changes when another published server joins.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use parking_lot::{Mutex, MutexGuard};

use crate::config::{Backend, Config};
use crate::peers;
use crate::temp::TempDir;

/// Interpreters start slowly on two cores, and a dozen at once would make each other too late for the gateway's patience.
static TURN: Mutex<()> = Mutex::new(());

/// A directory of files, a git repository with one commit and a memory file, and the servers that work on them. Tests that
/// hold one run one after the other.
#[derive(Debug)]
pub struct Published {
    dir: TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Published {
    /// The backends' names, in the order in which [`Published::add_to`] adds them.
    pub const NAMES: [&str; 5] = ["everything", "files", "memory", "time", "git"];

    /// Waits for its turn and makes the places; starts nothing.
    pub fn new() -> Result<Self> {
        let published = Self { _turn: TURN.lock(), dir: TempDir::new("published")? };
        std::fs::create_dir(published.files())?;
        std::fs::write(published.files().join("hello.txt"), "hello from a file\n")?;
        let repository = published.repository();
        std::fs::create_dir(&repository)?;
        std::fs::write(repository.join("README"), "a repository for tests\n")?;
        git(&repository, &["init", "--quiet", "--initial-branch", "main"])?;
        git(&repository, &["add", "README"])?;
        git(&repository, &["commit", "--quiet", "--message", "The first commit"])?;
        Ok(published)
    }

    /// Adds all five as stdio backends. `era` is `legacy` for what legacy clients shall reach; the last two also speak
    /// `modern`.
    pub fn add_to(&self, config: Config, era: &str) -> Result<Config> {
        let mut config = config;
        for name in Self::NAMES {
            config = config.backend(self.backend(name)?.era(era));
        }
        Ok(config)
    }

    /// One of them as a backend.
    pub fn backend(&self, name: &str) -> Result<Backend> {
        let backend = Backend::stdio(name, &self.command(name)?);
        Ok(if name == "memory" { backend.env("MEMORY_FILE_PATH", &self.memory_file()) } else { backend })
    }

    /// The argument vector of one of them.
    pub fn command(&self, name: &str) -> Result<Vec<String>> {
        match name {
            "everything" => peers::everything(),
            "files" => peers::filesystem(&self.files()),
            "memory" => peers::memory(),
            "time" => peers::time(),
            "git" => peers::git(&self.repository()),
            other => anyhow::bail!("no published server is called {other}"),
        }
    }

    /// The directory that the file server may touch; it holds `hello.txt`.
    pub fn files(&self) -> PathBuf {
        self.dir.path().join("files")
    }

    /// The repository of the git server: branch `main`, one commit, "The first commit".
    pub fn repository(&self) -> PathBuf {
        self.dir.path().join("repository")
    }

    /// Where the memory server keeps its graph.
    pub fn memory_file(&self) -> String {
        self.dir.path().join("memory.json").display().to_string()
    }
}

fn git(dir: &Path, args: &[&str]) -> Result<()> {
    let identity =
        ["-c", "user.name=Tester", "-c", "user.email=tester@localhost", "-c", "commit.gpgSign=false"];
    let output =
        Command::new("git").current_dir(dir).args(identity).args(args).output().context("running git")?;
    ensure!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
