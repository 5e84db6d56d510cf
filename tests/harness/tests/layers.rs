//! The layers of `docs/architecture.md`, enforced. Changes when a package is added or a rule of the layout changes.

use std::collections::BTreeSet;

use anyhow::Result;
use bridge_tests::cargo;

/// Every package of ours with its layer. An edge goes to a lower layer, or to [`SHARED`].
const LAYERS: [(&str, u8); 13] = [
    ("bridge-mcp", 0),
    ("bridge-snapshot", 0),
    ("bridge-policy", 1),
    ("bridge-api", 1),
    ("bridge-auth", 2),
    ("bridge-runtime", 2),
    ("bridge-transport", 2),
    ("mcp-gateway", 3),
    ("mcp-operator", 3),
    ("bridge-bench", 4),
    ("bridge-tests", 4),
    ("mcp-test-server", 4),
    ("bridge-cluster", 5),
];

/// Packages that their own layer may use: they use nothing of ours.
const SHARED: [&str; 1] = ["bridge-runtime"];

/// Packages without tasks, sockets, clocks or randomness of their own.
const PURE: [&str; 3] = ["bridge-mcp", "bridge-policy", "bridge-snapshot"];

/// Crates that would give a pure package what it must be handed as an argument.
const IMPURE: [&str; 13] = [
    "chrono",
    "fastrand",
    "getrandom",
    "hyper",
    "mio",
    "notify",
    "parking_lot",
    "rand",
    "rustix",
    "socket2",
    "tokio",
    "tracing",
    "uuid",
];

#[test]
fn every_package_has_a_layer() -> Result<()> {
    let listed: BTreeSet<_> = LAYERS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let present: BTreeSet<_> = cargo::workspace()?.into_keys().collect();
    assert_eq!(present, listed, "LAYERS must list exactly the packages of the workspace");
    Ok(())
}

#[test]
fn imports_go_down_only() -> Result<()> {
    let layer = |name: &str| LAYERS.iter().find(|(listed, _)| *listed == name).map(|(_, layer)| *layer);
    for (package, imports) in cargo::workspace()? {
        assert!(
            !SHARED.contains(&package.as_str()) || imports.is_empty(),
            "{package} is shared within its layer and must use nothing of ours, but uses {imports:?}"
        );
        for import in imports {
            let down = layer(&import) < layer(&package);
            let shared = SHARED.contains(&import.as_str()) && layer(&import) == layer(&package);
            assert!(
                down || shared,
                "{package} (layer {:?}) must not use {import} ({:?})",
                layer(&package),
                layer(&import)
            );
        }
    }
    Ok(())
}

#[test]
fn pure_packages_reach_no_clock_no_socket_and_no_randomness() -> Result<()> {
    for package in PURE {
        assert_none(package, "normal,build", &IMPURE)?;
    }
    Ok(())
}

#[test]
fn the_resources_are_types_without_a_client() -> Result<()> {
    assert_none("bridge-api", "normal,build", &["hyper", "kube-client", "kube-runtime", "rustls", "tokio"])
}

#[test]
fn the_data_plane_ships_no_test_oracle_and_no_kubernetes() -> Result<()> {
    assert_none(
        "mcp-gateway",
        "normal,build",
        &["bridge-api", "k8s-openapi", "kube", "kube-client", "kube-core", "kube-runtime", "rmcp"],
    )
}

fn assert_none(package: &str, edges: &str, forbidden: &[&str]) -> Result<()> {
    let reached: Vec<_> = cargo::closure(Some(package), edges)?
        .into_iter()
        .map(|dependency| dependency.name)
        .filter(|name| forbidden.contains(&name.as_str()))
        .collect();
    assert!(
        reached.is_empty(),
        "{package} must not reach {reached:?}; see: cargo tree -p {package} -e {edges} -i {}",
        reached[0]
    );
    Ok(())
}
