//! A person's shell with the cluster's kubectl and the charts' Helm. Changes when a person needs another program.

use std::path::PathBuf;
use std::process::Output;
use std::{env, fs};

use anyhow::{Context as _, Result, ensure};
use bridge_cluster::{Cluster, PATIENCE, root};
use tokio::process::Command;
use tokio::time::timeout;

/// Another person comes, whose programs remember nothing of this cluster: kubectl keeps what kinds there are.
pub(crate) fn newcomer(cluster: &Cluster) -> Result<()> {
    let home = home(cluster);
    if home.exists() {
        fs::remove_dir_all(&home)?;
    }
    Ok(fs::create_dir(&home)?)
}

fn home(cluster: &Cluster) -> PathBuf {
    cluster.logs().join("home")
}

/// What a script prints.
///
/// # Errors
/// With everything that it said, when one of its commands fails.
pub(crate) async fn sh(cluster: &Cluster, script: &str) -> Result<String> {
    let output = run(cluster, script).await?;
    let (said, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{script}\n{}: {said}{complained}", output.status);
    Ok(said.into_owned())
}

/// What a script that must fail complains of.
pub(crate) async fn refused(cluster: &Cluster, script: &str) -> Result<String> {
    let output = run(cluster, script).await?;
    ensure!(!output.status.success(), "{script}\ndid not fail");
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

async fn run(cluster: &Cluster, script: &str) -> Result<Output> {
    let kubectl = cluster.kubectl_path();
    let before = env::var_os("PATH").unwrap_or_default();
    let path = kubectl.parent().map(PathBuf::from).into_iter().chain(env::split_paths(&before));
    let helm = env::var_os("HELM").map_or_else(|| root().join("target/cluster/bin/helm"), PathBuf::from);
    let mut command = Command::new("sh");
    command
        .args(["-euc", &format!("helm() {{ \"$HELM\" \"$@\"; }}\n{script}")])
        .current_dir(root())
        .env("PATH", env::join_paths(path)?)
        .env("HELM", helm)
        .env("KUBECONFIG", cluster.kubeconfig())
        .env("HOME", home(cluster))
        .kill_on_drop(true);
    // A script waits for several things, each of which may take that long.
    let output = timeout(PATIENCE * 2, command.output()).await;
    output.with_context(|| format!("{script}\ntakes too long"))?.context("a shell")
}
