//! Which pods count, and for what.

use std::sync::Arc;

use bridge_api::condition::ConditionType;
use bridge_api::v1alpha1::gateway::GatewayConfig;
use bridge_snapshot::push::{Report, ResourceType};
use serde_json::json;

use super::{Case, Lag, object, plain, pod};

impl Case {
    /// Pod 2 is not ready.
    fn unready(self) -> Self {
        self.change(|case| case.pods[1].status = None)
    }

    /// What one pod reports.
    fn reports_of(self, pod: &str, change: impl FnOnce(&mut Report)) -> Self {
        self.change(|case| {
            change(Arc::make_mut(case.facts.get_mut(pod).unwrap().report.as_mut().unwrap()));
        })
    }

    fn config(&self) -> GatewayConfig {
        self.gateway_status().config.unwrap()
    }
}

fn counts(config: &GatewayConfig) -> (i32, i32, i32) {
    (config.pods, config.acked, config.nacked)
}

#[test]
fn who_refuses_a_part_is_not_with_everything_whatever_its_fingerprint() {
    let same = |case: &mut Case| case.facts.values_mut().for_each(|fact| fact.digest = Some("d".into()));
    assert_eq!(counts(&plain().change(same).config()), (2, 2, 0));
    let refused = plain().change(same).refuses("1", ResourceType::Backend, "no");
    assert_eq!(counts(&refused.config()), (2, 1, 1));
    refused.is(ConditionType::Programmed, "Rejected");
}

#[test]
fn a_pod_that_is_about_to_end_is_nobodys_business() {
    let ends = |case: &mut Case| {
        let mut ending = pod("3");
        ending.metadata.deletion_timestamp = Some(object(json!("2026-01-01T00:00:00Z")));
        case.pods.push(ending);
    };
    assert_eq!(counts(&plain().change(ends).config()), (2, 2, 0));
    plain().change(ends).lag("3", Lag::Stale).is(ConditionType::Degraded, "AsExpected");
    let talks = |case: &mut Case| drop(case.facts.insert("3".into(), case.facts["1"].clone()));
    let refused = plain().change(ends).change(talks).refuses("3", ResourceType::Backend, "no");
    assert_eq!(counts(&refused.config()), (2, 2, 0));
}

#[test]
fn what_a_pod_says_that_is_not_ready_counts_only_where_it_refuses() {
    let more = |report: &mut Report| report.backends[0].tools = 9;
    let tools = |case: Case| case.gateway_status().tools.unwrap().discovered;
    assert_eq!(tools(plain().reports_of("2", more)), 9);
    assert_eq!(tools(plain().reports_of("2", more).unready()), 4);
    plain().lag("2", Lag::Stale).is(ConditionType::Degraded, "StaleConfig");
    plain().lag("2", Lag::Stale).unready().is(ConditionType::Degraded, "AsExpected");
    // It may be what keeps it from being ready.
    let refused = plain().refuses("2", ResourceType::Gateway, "no").unready();
    assert_eq!(counts(&refused.config()), (1, 1, 1));
    refused.is(ConditionType::Programmed, "Rejected");
}

#[test]
fn pods_see_the_same_servers_and_each_its_own_endpoints() {
    assert_eq!(plain().gateway_status().tools.unwrap().discovered, 4, "not one for each pod");
    let ejects = |number| move |report: &mut Report| report.backends[0].ejected = number;
    let case = plain().reports_of("1", ejects(2)).reports_of("2", ejects(1));
    assert_eq!(case.backend_status().endpoints.unwrap().ejected, 2, "the most of one pod");
    let available = |case: Case| case.gateway_status().backends.unwrap().available;
    let away = |report: &mut Report| report.backends[0].healthy = 0;
    assert_eq!(available(plain()), 1);
    assert_eq!(available(plain().reports_of("2", away)), 0, "half of the pods are not most of them");
}
