//! Which program stands for an image. Changes when an image needs more than a program and files.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// What a container of an image runs: programs of this machine, on the root file system of this machine.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// Programs that the image has in `/usr/local/bin`.
    pub(crate) programs: Vec<PathBuf>,
    /// More files and folders of this machine, read-only, with their place in the image.
    pub(crate) files: Vec<(PathBuf, PathBuf)>,
    /// What runs when the container names no command.
    pub(crate) entrypoint: Vec<String>,
}

impl Program {
    /// An image whose entry point is this one program.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn at(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let path =
            path.canonicalize().with_context(|| format!("the program of an image: {}", path.display()))?;
        let name = path.file_name().context("a program has a name")?.to_string_lossy().into_owned();
        Ok(Self { programs: vec![path], files: Vec::new(), entrypoint: vec![name] })
    }

    /// An image that runs this command line of this machine.
    pub fn command<const N: usize>(words: [&str; N]) -> Self {
        Self { entrypoint: words.map(str::to_owned).into(), ..Self::default() }
    }

    /// With a file or folder of this machine at `place`.
    #[must_use]
    pub fn file(mut self, path: impl Into<PathBuf>, place: impl Into<PathBuf>) -> Self {
        self.files.push((path.into(), place.into()));
        self
    }
}

/// The registry of a cluster. An image that is not here cannot be pulled.
#[derive(Clone, Debug, Default)]
pub struct Images(Vec<(String, Program)>);

impl Images {
    /// With a program for a name: a full reference, a repository (any tag), or the last part of one (any registry).
    #[must_use]
    pub fn with(mut self, name: &str, program: Program) -> Self {
        self.0.push((name.to_owned(), program));
        self
    }

    pub(crate) fn find(&self, image: &str) -> Option<&Program> {
        let undigested = image.split_once('@').map_or(image, |(name, _)| name);
        let repository = match undigested.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => repository,
            _ => undigested,
        };
        let last = repository.rsplit('/').next().unwrap_or(repository);
        [image, repository, last]
            .into_iter()
            .find_map(|name| self.0.iter().find(|(known, _)| known == name))
            .map(|(_, program)| program)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_found_by_reference_repository_or_name() {
        let images = Images::default()
            .with("registry:5000/team/tool:2", Program::command(["exact"]))
            .with("registry:5000/team/tool", Program::command(["repository"]))
            .with("tool", Program::command(["name"]));
        let found = |image: &str| images.find(image).map(|program| program.entrypoint[0].clone());
        assert_eq!(found("registry:5000/team/tool:2").as_deref(), Some("exact"));
        assert_eq!(found("registry:5000/team/tool:3@sha256:00").as_deref(), Some("repository"));
        assert_eq!(found("other/tool").as_deref(), Some("name"));
        assert_eq!(found("toolbox"), None);
    }
}
