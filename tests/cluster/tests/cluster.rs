//! What needs a Kubernetes cluster. `make test-cluster` runs it. Changes when a test or an image is added.

#![allow(clippy::unwrap_used, reason = "in a test, a step that fails is a failed test")]

#[path = "cluster/access.rs"]
mod access;
#[path = "cluster/adapter.rs"]
mod adapter;
#[path = "cluster/faults.rs"]
mod faults;
#[path = "cluster/mistakes.rs"]
mod mistakes;
#[path = "cluster/pods.rs"]
mod pods;
#[path = "cluster/resources.rs"]
mod resources;
#[path = "cluster/volumes.rs"]
mod volumes;
#[path = "cluster/workloads.rs"]
mod workloads;

use std::process::ExitCode;

use anyhow::Result;
use bridge_cluster::{Images, Program, Settings, root, suite, tests};

fn main() -> ExitCode {
    suite::main(
        settings,
        tests![
            access::a_person_reads_logs_and_runs_commands,
            access::a_service_account_may_do_what_its_roles_say,
            access::an_autoscaler_sees_load,
            adapter::a_stdio_server_is_served_from_a_pod_of_its_own,
            faults::a_pod_that_is_cut_off_is_left_out_until_it_is_back,
            faults::the_pods_of_a_lost_node_are_made_elsewhere,
            mistakes::kubectl_names_the_field_and_what_it_takes,
            pods::a_container_that_fails_is_started_again,
            pods::a_container_that_is_not_alive_is_started_again,
            pods::a_pod_has_time_to_end,
            pods::a_sidecar_outlives_what_it_is_beside,
            pods::an_image_that_is_nowhere_is_reported,
            pods::readiness_follows_its_probe,
            resources::every_rule_of_backends_holds_on_the_server,
            resources::every_rule_of_gateways_holds_on_the_server,
            resources::the_examples_are_accepted,
            volumes::a_changed_secret_reaches_a_running_pod,
            volumes::a_pod_sees_its_volumes,
            workloads::a_deleted_pod_is_replaced,
            workloads::a_deployment_serves_behind_its_service,
            workloads::a_rolling_update_loses_no_request,
        ],
        tests![faults::pods_serve_while_the_control_plane_is_away],
    )
}

fn settings() -> Result<Settings> {
    let images = Images::default()
        .with("mcp-gateway", Program::at(root().join("target/debug/mcp-gateway"))?)
        .with("mcp-test-server", Program::at(root().join("target/debug/mcp-test-server"))?)
        .with("shell", Program::command(["sh"]));
    Ok(Settings { images, spare_nodes: 1, ..Settings::new("test") })
}
