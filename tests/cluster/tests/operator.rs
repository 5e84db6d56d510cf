//! The operator and the pods it makes, on a real Kubernetes API. `make test-cluster` runs it. Changes when a test or an
//! image is added.

#![allow(clippy::unwrap_used, reason = "in a test, a step that fails is a failed test")]

#[path = "operator/conflicts.rs"]
mod conflicts;
#[path = "operator/defects.rs"]
mod defects;
#[path = "operator/fault_api_server.rs"]
mod fault_api_server;
#[path = "operator/fault_control_plane.rs"]
mod fault_control_plane;
#[path = "operator/fault_definitions.rs"]
mod fault_definitions;
#[path = "operator/fault_deletion.rs"]
mod fault_deletion;
#[path = "operator/fault_frozen_pod.rs"]
mod fault_frozen_pod;
#[path = "operator/fault_leader.rs"]
mod fault_leader;
#[path = "operator/fault_mass_removal.rs"]
mod fault_mass_removal;
#[path = "operator/fault_no_operator.rs"]
mod fault_no_operator;
#[path = "operator/installed.rs"]
mod installed;
#[path = "operator/objects.rs"]
mod objects;
#[path = "operator/rotates.rs"]
mod rotates;
#[path = "operator/scales.rs"]
mod scales;
#[path = "operator/serves.rs"]
mod serves;
#[path = "operator/standing.rs"]
mod standing;
#[path = "operator/writers.rs"]
mod writers;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use bridge_cluster::{Images, Program, Settings, root, suite, tests};

fn main() -> ExitCode {
    suite::main(
        settings,
        tests![
            conflicts::what_somebody_edits_is_put_right_and_a_quarrel_does_not_heat_up,
            defects::a_gateway_whose_keys_are_missing_lets_nobody_in,
            defects::what_a_pod_cannot_do_is_rejected_by_name_and_the_rest_is_served,
            fault_deletion::a_gateway_that_is_deleted_while_it_scales_leaves_nothing,
            fault_deletion::a_namespace_goes_with_everything_in_it,
            objects::each_object_comes_and_goes_with_the_wish_for_it,
            objects::pods_of_a_stdio_backend_come_and_go_with_it,
            rotates::certificates_and_keys_change_without_a_restart_and_without_a_broken_connection,
            scales::the_number_of_pods_never_dips_when_somebody_else_decides,
            serves::a_person_reads_how_things_are,
            serves::a_published_client_calls_a_tool_through_pods_that_the_operator_made,
            serves::an_annotated_service_is_served_while_it_is_annotated,
        ],
        tests![
            fault_api_server::pods_serve_and_operators_catch_up_when_the_api_server_was_away,
            fault_api_server::what_operators_did_not_see_happen_is_served_as_it_is,
            fault_control_plane::operators_ask_for_little_when_a_busy_control_plane_restarts,
            fault_definitions::an_older_definition_is_good_enough,
            fault_definitions::backends_stay_while_their_definition_is_away,
            fault_frozen_pod::a_frozen_pod_is_named_and_keeps_nobody_waiting,
            fault_leader::another_replica_writes_when_the_leader_loses_the_api_server,
            fault_leader::one_replica_writes_at_a_time_when_leaders_keep_dying,
            fault_mass_removal::many_backends_are_let_go_of_only_when_they_stay_away,
            fault_no_operator::new_pods_serve_what_was_saved_while_there_is_no_operator,
            rotates::operators_that_are_replaced_are_known_to_the_pods_that_run,
            writers::a_frozen_leader_is_replaced_and_does_not_write_when_it_thaws,
            writers::clocks_that_disagree_by_minutes_change_nothing,
            // The last, since it looks at what the others made the operator do.
            writers::the_operator_uses_what_it_may_and_is_quiet,
        ],
    )
}

fn settings() -> Result<Settings> {
    let built = |name: &str| Program::at(root().join("target/debug").join(name));
    let images = Images::default()
        .with("mcp-gateway", built("mcp-gateway")?)
        .with("mcp-operator", built("mcp-operator")?)
        .with("mcp-test-server", built("mcp-test-server")?)
        .with("shell", Program::command(["sh"]));
    // Tests stop the API server for some seconds, which is not to be the loss of all nodes.
    let node_grace = Duration::from_secs(50);
    Ok(Settings { images, spare_nodes: 1, node_grace, ..Settings::new("operator") })
}
