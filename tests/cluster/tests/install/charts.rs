//! The charts as Helm sees them, and what the API server says about what Helm makes of them. Changes when the charts get
//! another kind of value.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use bridge_cluster::{Cluster, root};

use crate::shell::{refused, sh};

const VALUES: &str = "charts/mcp-bridge/ci";

pub(crate) async fn the_charts_are_in_order(cluster: &'static Cluster) -> Result<()> {
    sh(cluster, "helm lint --strict charts/mcp-bridge charts/mcp-bridge-crds").await?;
    for values in values()? {
        sh(cluster, &format!("helm lint --strict charts/mcp-bridge --values {values}")).await?;
    }
    for (wrong, words) in [
        ("replica=3", "additional properties 'replica' not allowed"),
        ("image.digest=latest", "does not match pattern"),
        ("log.format=xml", "value must be one of 'json', 'text'"),
        ("class=Bad_Class", "does not match pattern"),
        ("gateway.name=2nd", "does not match pattern"),
        (r"'commonLabels.app\.kubernetes\.io/name=x'", "app.kubernetes.io/name"),
    ] {
        let said = refused(cluster, &format!("helm template x charts/mcp-bridge --set {wrong}")).await?;
        ensure!(said.contains(words), "{wrong}: {said}");
    }
    // Without the definitions the operator does not start, and whoever installs it is told.
    let notes = sh(cluster, "helm install x charts/mcp-bridge --dry-run=client").await?;
    ensure!(notes.contains("WARNING: the custom resource definitions are missing"), "{notes}");
    Ok(())
}

pub(crate) async fn the_installation_is_made_from_the_charts(cluster: &'static Cluster) -> Result<()> {
    let made = sh(cluster, "deploy/install/render \"$HELM\"").await?;
    let there = fs::read_to_string(root().join("deploy/install.yaml"))?;
    ensure!(made == there, "deploy/install.yaml is out of date; run: make install-yaml");
    let sample = "helm template a charts/mcp-bridge --values charts/mcp-bridge/ci/everything-values.yaml";
    ensure!(sh(cluster, sample).await? == sh(cluster, sample).await?, "two renders are different");
    Ok(())
}

/// Both ways to apply are tried, because they find different mistakes: one asks the server to merge by its schema, the other
/// keeps the whole object in an annotation.
pub(crate) async fn every_render_is_valid_on_the_server(cluster: &'static Cluster) -> Result<()> {
    sh(cluster, "helm upgrade --install crds charts/mcp-bridge-crds").await?;
    sh(cluster, "kubectl wait --for=condition=Established crd/mcpgateways.mcp.bridge").await?;
    for values in values()? {
        let render = format!("helm template x charts/mcp-bridge --namespace default --values {values}");
        for how in ["", "--server-side"] {
            let apply = format!("{render} | kubectl apply --dry-run=server --validate=strict {how} -f -");
            sh(cluster, &apply).await.with_context(|| values.clone())?;
        }
    }
    sh(cluster, "kubectl create namespace mcp-system").await?;
    for how in ["", "--server-side"] {
        sh(
            cluster,
            &format!("kubectl apply --dry-run=server --validate=strict {how} -f deploy/install.yaml"),
        )
        .await?;
    }
    // The definitions outlive their chart, and what they define with them.
    sh(cluster, "helm uninstall crds && kubectl get crd mcpgateways.mcp.bridge mcpbackends.mcp.bridge")
        .await?;
    sh(cluster, "kubectl delete crd mcpgateways.mcp.bridge mcpbackends.mcp.bridge").await?;
    sh(cluster, "kubectl delete namespace mcp-system").await?;
    Ok(())
}

fn values() -> Result<Vec<String>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(root().join(VALUES))? {
        all.push(format!("{VALUES}/{}", entry?.file_name().to_string_lossy()));
    }
    all.sort();
    ensure!(all.len() > 2, "{all:?}");
    Ok(all)
}
