//! Where the programs of the control plane are. Changes when they come from somewhere else.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

/// A folder with `etcd`, `kube-apiserver`, `kube-controller-manager`, `kube-scheduler` and `kubectl`.
#[derive(Clone, Debug)]
pub(crate) struct Binaries(PathBuf);

impl Binaries {
    /// `KUBEBUILDER_ASSETS` when set, else what `tests/cluster/control-plane/build` made.
    pub(crate) fn find() -> Result<Self> {
        let (dir, advice) = match env::var_os("KUBEBUILDER_ASSETS") {
            Some(dir) => (PathBuf::from(dir), "KUBEBUILDER_ASSETS names a folder without it"),
            None => (root().join("target/cluster/bin"), "make cluster-binaries builds it"),
        };
        for name in ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"] {
            ensure!(dir.join(name).is_file(), "{} is missing: {advice}", dir.join(name).display());
        }
        Ok(Self(dir))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

/// The root of the working tree.
pub fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().and_then(Path::parent).unwrap_or(here)
}
