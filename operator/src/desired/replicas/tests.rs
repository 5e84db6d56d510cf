use super::*;

/// A Deployment, its managers and its autoscaler, as the API server would treat them.
#[derive(Debug, Clone)]
struct Cluster {
    deployment: Option<Live>,
    autoscaler: Autoscaler,
    /// The smallest number that the Deployment ever had.
    least: u32,
}

impl Cluster {
    fn new() -> Self {
        Self { deployment: None, autoscaler: Autoscaler::Absent, least: u32::MAX }
    }

    fn pass(&mut self, wanted: Wanted) -> Step {
        let step = step(wanted, self.deployment, self.autoscaler);
        let mut live =
            self.deployment.unwrap_or(Live { replicas: 1, ours: false, held: false, scaled: false });
        if let Hold::Number(number) = step.hold {
            // Another number takes the field from whoever owned it.
            let changed = live.replicas != number;
            live = Live {
                replicas: number,
                ours: live.ours && !changed,
                held: true,
                scaled: live.scaled && !changed,
            };
        }
        live = Self::apply(live, step.replicas);
        if step.hold == Hold::Release {
            live.held = false;
        }
        match step.scaler {
            Scaler::Apply if self.autoscaler == Autoscaler::Absent => self.autoscaler = Autoscaler::Ours,
            Scaler::Delete => self.autoscaler = Autoscaler::Absent,
            _ => {}
        }
        self.deployment = Some(live);
        self.least = self.least.min(live.replicas);
        step
    }

    /// An apply of the operator's document: whoever leaves the number out, and owned it alone, resets it to 1.
    fn apply(mut live: Live, replicas: Option<u32>) -> Live {
        match replicas {
            Some(number) => {
                let changed = live.replicas != number;
                (live.replicas, live.ours) = (number, true);
                live.held &= !changed;
                live.scaled &= !changed;
            }
            None => {
                if live.ours && !live.held && !live.scaled {
                    live.replicas = 1;
                }
                live.ours = false;
            }
        }
        live
    }

    /// The autoscaler sets a number, and takes it from whoever owned it.
    fn scale(&mut self, number: u32) {
        if let Some(live) = &mut self.deployment {
            *live = Live { replicas: number, ours: false, held: false, scaled: true };
        }
    }

    fn settle(&mut self, wanted: Wanted) -> Live {
        for _ in 0..10 {
            self.pass(wanted);
        }
        let settled = self.deployment.unwrap();
        let step = self.pass(wanted);
        assert_eq!((self.deployment.unwrap(), step.handed), (settled, None), "it never comes to rest");
        settled
    }
}

#[test]
fn the_number_never_falls_while_it_is_handed_over() {
    let mut cluster = Cluster::new();
    assert_eq!(cluster.settle(Wanted::Fixed(5)).replicas, 5);
    cluster.least = u32::MAX;
    let handed = cluster.settle(Wanted::Scaled(3));
    assert_eq!((handed.replicas, handed.ours, cluster.autoscaler), (5, false, Autoscaler::Ours));
    cluster.scale(8);
    assert_eq!(cluster.settle(Wanted::Scaled(3)).replicas, 8);
    assert_eq!(cluster.settle(Wanted::Fixed(8)).replicas, 8);
    assert_eq!((cluster.least, cluster.autoscaler), (5, Autoscaler::Absent));
    assert_eq!(cluster.settle(Wanted::Fixed(2)).replicas, 2);
}

#[test]
fn a_new_gateway_with_an_autoscaler_begins_with_its_minimum() {
    let mut cluster = Cluster::new();
    assert_eq!(cluster.pass(Wanted::Scaled(3)).replicas, Some(3));
    let settled = cluster.settle(Wanted::Scaled(3));
    assert_eq!((settled.replicas, settled.ours, cluster.least), (3, false, 3));
}

#[test]
fn somebody_elses_autoscaler_is_left_alone() {
    let mut cluster = Cluster::new();
    cluster.settle(Wanted::Fixed(4));
    cluster.autoscaler = Autoscaler::Foreign;
    let settled = cluster.settle(Wanted::Fixed(4));
    assert_eq!((settled.replicas, settled.ours, cluster.autoscaler), (4, false, Autoscaler::Foreign));
    cluster.scale(9);
    assert_eq!(cluster.settle(Wanted::Fixed(4)).replicas, 9);
}

#[test]
fn no_pods_are_a_wish_even_with_somebody_elses_autoscaler() {
    let mut cluster = Cluster::new();
    cluster.settle(Wanted::Fixed(4));
    cluster.autoscaler = Autoscaler::Foreign;
    cluster.settle(Wanted::Fixed(4));
    cluster.scale(9);
    assert_eq!(cluster.settle(Wanted::Fixed(0)).replicas, 0);
    assert_eq!(cluster.settle(Wanted::Fixed(3)).replicas, 3);
    cluster.scale(7);
    assert_eq!(cluster.settle(Wanted::Fixed(3)).replicas, 7);
    cluster.scale(0);
    assert_eq!(cluster.settle(Wanted::Fixed(3)).replicas, 0, "it has scaled to nothing itself");
}

#[test]
fn the_number_is_owned_as_it_is_before_another_one_is_written() {
    let mut cluster = Cluster::new();
    cluster.settle(Wanted::Scaled(2));
    cluster.scale(9);
    cluster.autoscaler = Autoscaler::Absent;
    let first = cluster.pass(Wanted::Fixed(3));
    assert_eq!((first.replicas, first.handed), (Some(9), Some("operator")));
    let second = cluster.pass(Wanted::Fixed(3));
    assert_eq!((second.replicas, second.handed), (Some(3), None));
}

#[test]
fn an_autoscaler_begins_from_nothing_only_with_help() {
    let mut cluster = Cluster::new();
    cluster.settle(Wanted::Fixed(0));
    assert_eq!(cluster.settle(Wanted::Scaled(2)).replicas, 2);
}

#[test]
fn an_operator_that_restarts_in_the_middle_goes_on() {
    for stop in 0..6 {
        let mut cluster = Cluster::new();
        cluster.settle(Wanted::Fixed(5));
        cluster.least = u32::MAX;
        for _ in 0..stop {
            cluster.pass(Wanted::Scaled(3));
        }
        // It changes its mind half way.
        assert_eq!(cluster.settle(Wanted::Fixed(5)).replicas, 5, "after {stop}");
        assert_eq!(cluster.least, 5, "after {stop}");
    }
}
