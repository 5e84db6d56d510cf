use bridge_api::condition::{Accepted, Programmed, Reason, ResolvedRefs, condition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::*;

fn says<R: Reason>(reason: R, message: &str) -> Condition {
    condition(reason, message, 1, &[], &Time(Timestamp::UNIX_EPOCH))
}

fn reasons(before: &[&Condition], after: &[&Condition]) -> Vec<EventReason> {
    let own = |all: &[&Condition]| all.iter().map(|one| (*one).clone()).collect::<Vec<_>>();
    changes(&own(before), &own(after)).into_iter().map(|(reason, _)| reason).collect()
}

#[test]
fn only_a_change_is_told() {
    let accepted = says(Accepted::Accepted, "");
    assert_eq!(reasons(&[], &[&accepted]), [EventReason::Accepted]);
    assert_eq!(reasons(&[&accepted], &[&accepted]), []);
    let refused = says(Accepted::Invalid, "spec.a");
    assert_eq!(reasons(&[&accepted], &[&refused]), [EventReason::Rejected]);
    assert_eq!(reasons(&[&refused], &[&says(Accepted::Invalid, "spec.b")]), [EventReason::Rejected]);
    assert_eq!(reasons(&[&refused], &[&refused]), []);
}

#[test]
fn each_missing_reference_is_told_once() {
    let missing = |name: &str| says(ResolvedRefs::SecretNotFound, name);
    assert_eq!(reasons(&[], &[&missing("a")]), [EventReason::RefNotFound]);
    assert_eq!(reasons(&[&missing("a")], &[&missing("b")]), [EventReason::RefNotFound]);
    assert_eq!(reasons(&[&missing("b")], &[&missing("b")]), []);
    assert_eq!(
        reasons(&[&missing("b")], &[&says(ResolvedRefs::InvalidCertificate, "b")]),
        [EventReason::RefInvalid]
    );
    assert_eq!(reasons(&[&missing("b")], &[&says(ResolvedRefs::ResolvedRefs, "")]), []);
}

#[test]
fn a_count_of_pods_that_moves_is_not_told() {
    let one = says(Programmed::Rejected, "1 of 2 pods refuse");
    let two = says(Programmed::Rejected, "2 of 2 pods refuse");
    assert_eq!(reasons(&[], &[&one]), [EventReason::ConfigRejected]);
    assert_eq!(reasons(&[&one], &[&two]), []);
}
