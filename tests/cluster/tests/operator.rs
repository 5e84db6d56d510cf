//! The operator and the pods it makes, on a real Kubernetes API. `make test-cluster` runs it. Changes when a test or an
//! image is added.

#![allow(clippy::unwrap_used, reason = "in a test, a step that fails is a failed test")]

#[path = "operator/installed.rs"]
mod installed;
#[path = "operator/serves.rs"]
mod serves;

use std::process::ExitCode;

use anyhow::Result;
use bridge_cluster::{Images, Program, Settings, root, suite, tests};

fn main() -> ExitCode {
    suite::main(settings, tests![serves::a_backend_is_served_by_the_pods_of_its_gateway], tests![])
}

fn settings() -> Result<Settings> {
    let built = |name: &str| Program::at(root().join("target/debug").join(name));
    let images = Images::default()
        .with("mcp-gateway", built("mcp-gateway")?)
        .with("mcp-operator", built("mcp-operator")?)
        .with("mcp-test-server", built("mcp-test-server")?)
        .with("shell", Program::command(["sh"]));
    Ok(Settings { images, spare_nodes: 1, ..Settings::new("operator") })
}
