//! The operator and the pods it makes, on a real Kubernetes API. `make test-cluster` runs it. Changes when a test or an
//! image is added.

#![allow(clippy::unwrap_used, reason = "in a test, a step that fails is a failed test")]

#[path = "operator/chooses.rs"]
mod chooses;
#[path = "operator/conflicts.rs"]
mod conflicts;
#[path = "operator/crashes.rs"]
mod crashes;
#[path = "operator/defects.rs"]
mod defects;
#[path = "operator/examples.rs"]
mod examples;
#[path = "operator/faulty.rs"]
mod faulty;
#[path = "operator/installed.rs"]
mod installed;
#[path = "operator/meddlers.rs"]
mod meddlers;
#[path = "operator/meets.rs"]
mod meets;
#[path = "operator/objects.rs"]
mod objects;
#[path = "operator/reasons.rs"]
mod reasons;
#[path = "operator/rotates.rs"]
mod rotates;
#[path = "operator/scales.rs"]
mod scales;
#[path = "operator/serves.rs"]
mod serves;
#[path = "operator/stale.rs"]
mod stale;
#[path = "faults/standing.rs"]
#[allow(dead_code, reason = "it belongs to several programs")]
mod standing;
#[path = "operator/tenants.rs"]
mod tenants;
#[path = "operator/writers.rs"]
mod writers;

use std::process::ExitCode;

use anyhow::Result;
use bridge_cluster::{Images, Program, Settings, root, suite, tests};

fn main() -> ExitCode {
    suite::main(
        settings,
        tests![
            chooses::services_come_and_go_with_their_labels_and_with_the_namespaces_that_are_named,
            conflicts::what_somebody_edits_is_put_right_and_a_quarrel_does_not_heat_up,
            crashes::an_operator_that_ends_before_any_of_its_writes_is_continued,
            crashes::an_operator_that_ends_after_any_of_its_writes_is_continued,
            defects::a_gateway_whose_keys_are_missing_lets_nobody_in,
            defects::what_a_pod_cannot_do_is_rejected_by_name_and_the_rest_is_served,
            examples::the_examples_serve_as_they_stand,
            meddlers::a_webhook_that_has_the_last_word_is_told_of_and_not_fought,
            meddlers::files_that_are_applied_again_and_again_are_told_of_and_not_fought,
            meets::pods_of_a_gateway_know_each_other_and_who_takes_the_place_of_one,
            objects::each_object_comes_and_goes_with_the_wish_for_it,
            objects::pods_of_a_stdio_backend_come_and_go_with_it,
            objects::what_the_api_server_does_not_take_is_told_by_its_owner,
            reasons::every_reason_has_a_manifest_that_produces_it,
            rotates::certificates_and_keys_change_without_a_restart_and_without_a_broken_connection,
            scales::the_number_of_pods_never_dips_when_somebody_else_decides,
            serves::a_person_reads_how_things_are,
            serves::a_published_client_calls_a_tool_through_pods_that_the_operator_made,
            serves::an_annotated_service_is_served_while_it_is_annotated,
            stale::a_replica_with_an_old_view_undoes_nothing,
            tenants::an_operator_of_one_namespace_asks_for_nothing_of_another,
        ],
        tests![
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
        .with("shell", Program::command(["sh"]))
        .with("example/weather", examples::weather()?);
    Ok(Settings { images, spare_nodes: 1, ..Settings::new("operator") })
}
