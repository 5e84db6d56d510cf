//! Both ends of the push protocol against each other, over a network that loses, delays, doubles and outlives, with
//! operators and pods that restart. It converges, and a pod never goes back.

#![allow(clippy::panic, clippy::unwrap_used, reason = "in a test, a step that fails is a failed test")]

#[path = "push_pair/peers.rs"]
mod peers;
#[path = "push_pair/scenarios.rs"]
mod scenarios;
#[path = "push_pair/world.rs"]
mod world;

use proptest::prelude::*;

use world::{PODS, REPLICAS, World};

/// What may happen.
#[derive(Debug, Clone)]
enum Happening {
    /// Somebody writes to the cluster: a value, or nothing.
    Write { name: u8, value: Option<u8> },
    /// A replica of the operator sees some more of what was written.
    See { replica: usize, changes: usize },
    /// A pod of the gateway comes, or goes, which has no stream here.
    Turn { uid: u8, there: bool },
    /// A replica sees which pods there are.
    Look { replica: usize },
    /// A pod connects to a replica.
    Connect { pod: usize, replica: usize },
    /// A connection ends; what was on its way is still somewhere.
    Cut { pod: usize },
    /// What was on its way on earlier connections arrives after all.
    Late { pod: usize },
    /// Messages arrive at a pod.
    ToPod { pod: usize, messages: usize },
    /// Messages arrive at the operator.
    ToOperator { pod: usize, messages: usize },
    /// The next message in each direction arrives twice.
    Double { pod: usize },
    /// A pod has put a change into effect.
    Settle { pod: usize },
    /// A replica starts anew, and knows the cluster as it was some changes ago.
    RestartReplica { replica: usize, behind: usize },
    /// A pod starts anew, with what it saved or without.
    RestartPod { pod: usize, saved: bool },
    /// Time passes.
    Wait { millis: u64 },
}

fn happening() -> impl Strategy<Value = Happening> {
    let (pod, replica) = (0..PODS, 0..REPLICAS);
    prop_oneof![
        4 => (0_u8..6, prop::option::weighted(0.8, 0_u8..10)).prop_map(|(name, value)| Happening::Write { name, value }),
        4 => (replica.clone(), 1_usize..4).prop_map(|(replica, changes)| Happening::See { replica, changes }),
        3 => (0_u8..9, prop::bool::ANY).prop_map(|(uid, there)| Happening::Turn { uid, there }),
        3 => replica.clone().prop_map(|replica| Happening::Look { replica }),
        3 => (pod.clone(), replica.clone()).prop_map(|(pod, replica)| Happening::Connect { pod, replica }),
        1 => pod.clone().prop_map(|pod| Happening::Cut { pod }),
        1 => pod.clone().prop_map(|pod| Happening::Late { pod }),
        6 => (pod.clone(), 1_usize..4).prop_map(|(pod, messages)| Happening::ToPod { pod, messages }),
        6 => (pod.clone(), 1_usize..4).prop_map(|(pod, messages)| Happening::ToOperator { pod, messages }),
        1 => pod.clone().prop_map(|pod| Happening::Double { pod }),
        5 => pod.clone().prop_map(|pod| Happening::Settle { pod }),
        1 => (replica, 0_usize..4).prop_map(|(replica, behind)| Happening::RestartReplica { replica, behind }),
        1 => (pod, prop::bool::ANY).prop_map(|(pod, saved)| Happening::RestartPod { pod, saved }),
        3 => prop_oneof![Just(5_u64), Just(20), Just(200), Just(31_000), Just(61_000)]
            .prop_map(|millis| Happening::Wait { millis }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_pods_never_go_back_and_end_with_what_was_written(
        happenings in prop::collection::vec(happening(), 1..120),
    ) {
        let mut world = World::new();
        for happening in happenings {
            world.happen(&happening);
        }
        world.calm_down();
        world.assert_converged();
    }
}
