//! Single stories that the random ones would rarely tell. Changes when a promise of the protocol does.

use std::time::Duration;

use bridge_snapshot::push::{Entry, Key, ResourceType};

use super::world::{REPLICAS, World, key};

const SECOND: Duration = Duration::from_secs(1);

/// Delivers whatever there is, without any of the guards' time passing.
fn settle_down(world: &mut World) {
    world.wait(Duration::from_millis(200));
    for _ in 0..200 {
        for pod in 0..world.pods.len() {
            world.pod_hears(pod, false);
            world.operator_hears(pod, false);
            world.settle(pod);
        }
    }
}

fn backend(name: u8) -> Key {
    Key::new(ResourceType::Backend, format!("b{name:02}"))
}

fn served(world: &World, pod: usize) -> usize {
    world.pods[pod].subscriber.served().count()
}

/// A pod with 30 backends.
fn thirty() -> World {
    let mut world = World::new();
    (0..30).for_each(|name| world.write(backend(name), Some(1)));
    (0..REPLICAS).for_each(|replica| world.see(replica, usize::MAX));
    world.connect(0, 0);
    settle_down(&mut world);
    assert_eq!(served(&world, 0), 30);
    world
}

#[test]
fn a_mass_removal_that_is_taken_back_never_happens() {
    let mut world = thirty();
    (0..30).for_each(|name| world.write(backend(name), None));
    world.see(0, usize::MAX);
    settle_down(&mut world);
    assert_eq!(served(&world, 0), 30, "held");
    world.wait(20 * SECOND);
    (0..30).for_each(|name| world.write(backend(name), Some(1)));
    world.see(0, usize::MAX);
    settle_down(&mut world);
    world.wait(60 * SECOND);
    settle_down(&mut world);
    assert_eq!(served(&world, 0), 30);
}

#[test]
fn a_mass_removal_that_is_still_wanted_later_happens() {
    let mut world = thirty();
    (0..30).for_each(|name| world.write(backend(name), None));
    world.see(0, usize::MAX);
    settle_down(&mut world);
    world.wait(29 * SECOND);
    settle_down(&mut world);
    assert_eq!(served(&world, 0), 30, "held");
    world.wait(2 * SECOND);
    settle_down(&mut world);
    assert_eq!(served(&world, 0), 0);
}

#[test]
fn a_mass_removal_by_another_replica_is_held_as_well_and_what_changes_meanwhile_comes_later() {
    let mut world = thirty();
    (0..20).for_each(|name| world.write(backend(name), None));
    world.see(1, usize::MAX);
    world.connect(0, 1);
    settle_down(&mut world);
    assert_eq!(served(&world, 0), 30, "held");
    world.write(backend(25), Some(2));
    world.see(1, usize::MAX);
    world.wait(31 * SECOND);
    settle_down(&mut world);
    assert_eq!(served(&world, 0), 10);
    assert!(world.pods[0].subscriber.served().any(|entry| entry.body() == "2"));
}

#[test]
fn the_gateway_itself_is_not_removed_at_once_however_few_its_backends_are() {
    let mut world = World::new();
    let gateway = Key::new(ResourceType::Gateway, "gateway");
    world.write(gateway.clone(), Some(1));
    world.write(backend(1), Some(1));
    world.see(0, usize::MAX);
    world.connect(0, 0);
    settle_down(&mut world);
    world.write(gateway, None);
    world.write(backend(1), None);
    world.see(0, usize::MAX);
    settle_down(&mut world);
    assert_eq!(served(&world, 0), 2, "held");
    world.wait(31 * SECOND);
    settle_down(&mut world);
    assert_eq!(served(&world, 0), 0);
}

#[test]
fn a_change_sends_what_changed_and_a_pod_that_comes_back_gets_only_what_it_lacks() {
    let mut world = thirty();
    let resources = |world: &mut World| std::mem::take(&mut world.pods[0].resources_sent);
    assert_eq!(resources(&mut world), 30);
    world.write(backend(7), Some(2));
    world.see(0, usize::MAX);
    settle_down(&mut world);
    assert_eq!(resources(&mut world), 1);
    // The same content again is no change.
    world.write(backend(7), Some(2));
    world.see(0, usize::MAX);
    settle_down(&mut world);
    assert_eq!(resources(&mut world), 0);
    // Another replica knows from the pod what it has, even after a restart of the pod.
    world.write(backend(8), Some(2));
    world.see(1, usize::MAX);
    world.restart_pod(0, true);
    world.connect(0, 1);
    settle_down(&mut world);
    assert_eq!(resources(&mut world), 1);
    world.restart_pod(0, false);
    world.connect(0, 1);
    settle_down(&mut world);
    assert_eq!(resources(&mut world), 30);
}

#[test]
fn half_of_the_backends_may_go_at_once() {
    let mut world = thirty();
    (0..15).for_each(|name| world.write(backend(name), None));
    world.see(0, usize::MAX);
    settle_down(&mut world);
    assert_eq!(served(&world, 0), 15);
}

#[test]
fn an_operator_that_lags_behind_is_heard_when_it_has_caught_up() {
    let mut world = World::new();
    world.write(key(0), Some(1));
    (0..REPLICAS).for_each(|replica| world.see(replica, usize::MAX));
    world.write(key(0), Some(2));
    world.see(0, usize::MAX);
    world.connect(0, 0);
    settle_down(&mut world);
    world.connect(0, 1);
    settle_down(&mut world);
    let body = |world: &World| world.pods[0].subscriber.served().next().map(|entry| entry.body().to_owned());
    assert_eq!(body(&world).as_deref(), Some("2"), "the older one waits");
    world.write(key(0), Some(3));
    world.see(1, usize::MAX);
    settle_down(&mut world);
    assert_eq!(body(&world).as_deref(), Some("3"), "no need to wait for the guard");
}

#[test]
fn an_operator_that_insists_on_an_older_state_is_heard_after_a_minute() {
    let mut world = World::new();
    world.write(key(0), Some(1));
    (0..REPLICAS).for_each(|replica| world.see(replica, usize::MAX));
    world.write(key(0), Some(2));
    world.see(0, usize::MAX);
    world.connect(0, 0);
    settle_down(&mut world);
    world.connect(0, 1);
    settle_down(&mut world);
    let body = |world: &World| world.pods[0].subscriber.served().next().map(|entry| entry.body().to_owned());
    world.wait(58 * SECOND);
    settle_down(&mut world);
    assert_eq!(body(&world).as_deref(), Some("2"));
    world.wait(3 * SECOND);
    settle_down(&mut world);
    assert_eq!(body(&world).as_deref(), Some("1"));
}

#[test]
fn a_slow_pod_skips_what_is_outdated() {
    let mut world = World::new();
    world.connect(0, 0);
    settle_down(&mut world);
    for value in 0..8 {
        world.write(key(0), Some(value));
        world.see(0, usize::MAX);
        world.wait(SECOND);
    }
    // It was sent the first value at once, and the last when it had answered.
    let mut bodies = Vec::new();
    for _ in 0..20 {
        world.pod_hears(0, false);
        world.settle(0);
        bodies.extend(world.pods[0].subscriber.served().map(|entry| entry.body().to_owned()));
        world.operator_hears(0, false);
    }
    bodies.dedup();
    assert_eq!(bodies, ["0", "7"]);
}

#[test]
fn what_nobody_can_serve_is_sent_once_and_the_last_good_stays() {
    let mut world = World::new();
    for value in [1, 9] {
        world.write(key(0), Some(value));
        world.see(0, usize::MAX);
        world.connect(0, 0);
        settle_down(&mut world);
    }
    assert_eq!(world.pods[0].subscriber.served().map(Entry::body).collect::<Vec<_>>(), ["1"]);
    // Another replica hears of it from the pod, and sends nothing.
    world.see(1, usize::MAX);
    world.connect(0, 1);
    settle_down(&mut world);
    let state = world.replicas[1].publisher.streams().next().unwrap();
    assert!(state.current);
    assert_eq!(state.rejected.len(), 1);
    // The next version is taken.
    world.write(key(0), Some(2));
    world.see(1, usize::MAX);
    settle_down(&mut world);
    assert_eq!(world.pods[0].subscriber.served().map(Entry::body).collect::<Vec<_>>(), ["2"]);
    assert_eq!(world.pods[0].subscriber.rejected().count(), 0);
}
