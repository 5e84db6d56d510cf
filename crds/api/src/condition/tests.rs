use std::collections::BTreeSet;

use k8s_openapi::jiff::Timestamp;

use super::*;

fn at(second: i64) -> Time {
    Time(Timestamp::from_second(second).unwrap())
}

#[test]
fn a_transition_is_a_change_of_status_and_nothing_else() {
    let first = condition(Programmed::Pending, "0/3", 1, &[], &at(10));
    assert_eq!((&*first.status, &first.last_transition_time), ("Unknown", &at(10)));
    let behind = condition(Programmed::PartiallyAcknowledged, "1/3", 1, &[first], &at(20));
    assert_eq!((&*behind.status, &behind.last_transition_time), ("False", &at(20)));
    let refused = condition(Programmed::Rejected, "no", 2, &[behind], &at(30));
    assert_eq!((&*refused.reason, &refused.last_transition_time), ("Rejected", &at(20)));
    let done = condition(Programmed::Programmed, "3/3", 2, &[refused], &at(40));
    assert_eq!((&*done.status, &done.last_transition_time), ("True", &at(40)));
}

#[test]
fn what_was_said_of_an_older_generation_is_unknown() {
    let known = [condition(Accepted::Accepted, "", 4, &[], &at(0))];
    assert_eq!(read(&known, ConditionType::Accepted, 4), Status::True);
    assert_eq!(read(&known, ConditionType::Accepted, 5), Status::Unknown);
    assert_eq!(read(&known, ConditionType::Ready, 4), Status::Unknown);
    let refused = [condition(Accepted::Invalid, "", 4, &[], &at(0))];
    assert_eq!(read(&refused, ConditionType::Accepted, 4), Status::False);
}

#[test]
fn every_condition_has_a_good_reason_and_bad_ones_and_none_twice() {
    for &type_ in ConditionType::ALL {
        let words: Vec<_> = words().into_iter().filter(|word| word.condition == type_).collect();
        let distinct: BTreeSet<_> = words.iter().map(|word| word.reason).collect();
        assert_eq!(distinct.len(), words.len(), "{type_:?}");
        for verdict in [Verdict::True, Verdict::False] {
            assert!(words.iter().any(|word| word.verdict == verdict), "{type_:?} is never {verdict:?}");
        }
    }
}
