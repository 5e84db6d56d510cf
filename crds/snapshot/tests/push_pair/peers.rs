//! What pods know of each other, in single stories. Changes when the messages about pods promise something else.

use std::time::Duration;

use super::world::World;

/// A pod with a stream whose operator has looked.
fn acquainted(others: u8) -> World {
    let mut world = World::new();
    (0..others).for_each(|uid| world.turn(uid, true));
    world.look(0);
    world.connect(0, 0);
    deliver(&mut world);
    world.assert_knows_others(0);
    world
}

/// Delivers whatever there is for the first pod.
fn deliver(world: &mut World) {
    world.wait(Duration::from_millis(200));
    for _ in 0..60 {
        world.pod_hears(0, false);
        world.operator_hears(0, false);
        world.settle(0);
    }
}

#[test]
fn a_pod_that_comes_or_goes_is_known_and_changes_nothing_that_is_published() {
    let mut world = acquainted(3);
    let before = world.pods[0].subscriber.revision();
    let digest = world.replicas[0].publisher.published().2;
    world.turn(7, true);
    world.turn(1, false);
    world.look(0);
    deliver(&mut world);
    world.assert_knows_others(0);
    assert_eq!(world.pods[0].subscriber.revision(), before);
    assert_eq!(world.replicas[0].publisher.published().2, digest);
    assert_eq!(world.pods[0].resources_sent, 0);
}

#[test]
fn what_is_known_stays_while_no_stream_is_there_and_is_replaced_by_the_next_one() {
    let mut world = acquainted(3);
    let known = world.pods[0].subscriber.peers().cloned();
    world.cut(0);
    (0..3).for_each(|uid| world.turn(uid, false));
    world.turn(5, true);
    assert_eq!(world.pods[0].subscriber.peers().cloned(), known);
    // Another replica, which never heard of those that went.
    world.look(1);
    world.connect(0, 1);
    world.operator_hears(0, false);
    // The greeting, a change of nothing, the first of four pods.
    (0..3).for_each(|_| world.pod_hears(0, false));
    assert_eq!(world.pods[0].subscriber.peers().cloned(), known, "a part of all is not all");
    deliver(&mut world);
    world.assert_knows_others(0);
}

#[test]
fn a_slow_pod_is_told_the_outcome_and_not_how_it_came_about() {
    let mut world = acquainted(1);
    world.turn(2, true);
    world.look(0);
    // It does not answer, and everybody is replaced more often than anybody remembers.
    for _ in 0..5 {
        for uid in 0..9 {
            world.turn(uid, uid % 2 == 0);
            world.look(0);
            world.turn(uid, uid % 2 == 1);
            world.look(0);
        }
    }
    world.wait(Duration::from_mins(1));
    deliver(&mut world);
    world.assert_knows_others(0);
}

#[test]
fn a_replica_that_starts_anew_takes_no_pod_from_anybody_before_it_has_looked() {
    let mut world = acquainted(3);
    let known = world.pods[0].subscriber.peers().cloned();
    world.restart_replica(0, 0);
    world.connect(0, 0);
    deliver(&mut world);
    assert_eq!(world.pods[0].subscriber.peers().cloned(), known);
    world.turn(0, false);
    world.look(0);
    deliver(&mut world);
    world.assert_knows_others(0);
}
