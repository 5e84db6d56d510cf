//! Installing from nothing, by the commands of `docs/install.md` and by the charts. `make test-cluster` runs it. Each test
//! has a cluster without any definition of ours, and leaves it so. Changes when there is another way to install.

#![allow(clippy::unwrap_used, reason = "in a test, a step that fails is a failed test")]

#[path = "install/charts.rs"]
mod charts;
#[path = "install/page.rs"]
mod page;
#[path = "install/shell.rs"]
mod shell;

use std::process::ExitCode;

use anyhow::Result;
use bridge_cluster::{Images, Program, Settings, root, suite, tests};

fn main() -> ExitCode {
    suite::main(
        settings,
        tests![charts::the_charts_are_in_order, charts::the_installation_is_made_from_the_charts],
        tests![
            charts::every_render_is_valid_on_the_server,
            page::kubectl_installs_from_nothing_to_a_tool_call,
            page::helm_installs_from_nothing_to_a_tool_call,
        ],
    )
}

fn settings() -> Result<Settings> {
    let built = |name: &str| Program::at(root().join("target/debug").join(name));
    let images = Images::default()
        .with("mcp-gateway", built("mcp-gateway")?)
        .with("mcp-operator", built("mcp-operator")?)
        .with("mcp-test-server", built("mcp-test-server")?)
        .with("redis", Program::command(["redis-server"]));
    Ok(Settings { images, ..Settings::new("install") })
}
