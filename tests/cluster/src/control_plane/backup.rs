//! A copy of everything that the cluster has stored, and the way back to it. Changes when the cluster stores something elsewhere.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use tokio::process::Command;

use super::{ControlPlane, Program};
use crate::faults::send;
use crate::namespace::STATE;

/// The order in which programs start.
const ORDER: [&str; 4] = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"];

/// The data of etcd, and its copy.
fn places() -> (PathBuf, PathBuf) {
    let state = Path::new(STATE);
    (state.join("etcd"), state.join("etcd-copy"))
}

async fn copy(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    let copied = Command::new("cp").args(["-a", "--sparse=always"]).arg(from).arg(to).status().await?;
    ensure!(copied.success(), "copying {}", from.display());
    Ok(())
}

impl ControlPlane {
    /// Copies the data of etcd, as it would be found after a power cut.
    pub(crate) async fn save(&self) -> Result<()> {
        let ((data, kept), etcd) = (places(), self.pid("etcd")?);
        send(etcd, Signal::STOP)?;
        let copied = copy(&data, &kept).await;
        send(etcd, Signal::CONT)?;
        copied
    }

    /// Ends all programs, puts the copy in the place of the data, and starts them again.
    pub(crate) async fn restore(&self) -> Result<()> {
        let mut programs = std::mem::take(&mut *self.programs.lock());
        programs.sort_by_key(|program| ORDER.iter().position(|name| *name == program.name));
        for program in programs.iter_mut().rev() {
            program.child.kill().await.with_context(|| format!("ending {}", program.name))?;
        }
        let (data, kept) = places();
        copy(&kept, &data).await?;
        for Program { name, path, flags, log, .. } in programs {
            self.programs.lock().push(Program::start(name, path, flags, log)?);
            if name == "kube-apiserver" {
                self.ready().await?;
            }
        }
        Ok(())
    }
}
