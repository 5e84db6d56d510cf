//! Parts of the cluster, of the operator and of the pods taken away: what clients notice, and what becomes of it.
//! `make test-cluster` runs it. Changes when another fault has to be survived.

#![allow(clippy::unwrap_used, reason = "in a test, a step that fails is a failed test")]

#[path = "faults/api_server.rs"]
mod api_server;
#[path = "faults/control_plane.rs"]
mod control_plane;
#[path = "faults/credentials.rs"]
mod credentials;
#[path = "faults/definitions.rs"]
mod definitions;
#[path = "faults/deletion.rs"]
mod deletion;
#[path = "faults/frozen_pod.rs"]
mod frozen_pod;
#[path = "operator/installed.rs"]
#[allow(dead_code, reason = "it belongs to several programs")]
mod installed;
#[path = "faults/leader.rs"]
mod leader;
#[path = "faults/mass_removal.rs"]
mod mass_removal;
#[path = "faults/no_operator.rs"]
mod no_operator;
#[path = "faults/restored.rs"]
mod restored;
#[path = "faults/slow_pod.rs"]
mod slow_pod;
#[path = "faults/standing.rs"]
#[allow(dead_code, reason = "it belongs to several programs")]
mod standing;
#[path = "faults/versions.rs"]
mod versions;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use bridge_cluster::{Images, Program, Settings, root, suite, tests};

fn main() -> ExitCode {
    suite::main(
        settings,
        tests![
            deletion::a_gateway_that_is_deleted_while_it_scales_leaves_nothing,
            deletion::a_namespace_goes_with_everything_in_it,
        ],
        tests![
            api_server::pods_serve_and_operators_catch_up_when_the_api_server_was_away,
            api_server::what_operators_did_not_see_happen_is_served_as_it_is,
            control_plane::operators_that_the_api_server_has_no_time_for_ask_no_more_than_before,
            control_plane::operators_ask_for_little_when_a_busy_control_plane_restarts,
            credentials::a_pod_shows_its_next_token_when_the_first_has_expired,
            credentials::one_authority_follows_another_and_no_pod_restarts,
            definitions::an_older_definition_is_good_enough,
            definitions::backends_stay_while_their_definition_is_away,
            frozen_pod::a_frozen_pod_is_named_and_keeps_nobody_waiting,
            leader::another_replica_writes_when_the_leader_loses_the_api_server,
            leader::one_replica_writes_at_a_time_when_leaders_keep_dying,
            versions::two_versions_take_turns_and_leave_alone_what_the_other_wrote,
            mass_removal::many_backends_are_let_go_of_only_when_they_stay_away,
            no_operator::new_pods_serve_what_was_saved_while_there_is_no_operator,
            slow_pod::a_pod_with_a_bad_network_gets_what_is_newest_and_costs_nobody_anything,
            restored::pods_serve_what_there_is_after_the_cluster_was_restored,
        ],
    )
}

fn settings() -> Result<Settings> {
    let built = |name: &str| Program::at(root().join("target/debug").join(name));
    let images = Images::default()
        .with("mcp-gateway", built("mcp-gateway")?)
        .with("mcp-operator", built("mcp-operator")?)
        .with("mcp-operator-next", Program::at(versions::NEXT_PROGRAM)?)
        .with("mcp-test-server", built("mcp-test-server")?);
    // Tests stop the API server for some seconds, which is not to be the loss of all nodes.
    let node_grace = Duration::from_secs(50);
    Ok(Settings { images, spare_nodes: 1, node_grace, ..Settings::new("faults") })
}
