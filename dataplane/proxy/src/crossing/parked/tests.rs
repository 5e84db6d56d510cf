use std::time::{Duration, Instant, SystemTime};

use bridge_policy::principal::Grant;

use super::*;

const LIMITS: ParkedLimits = ParkedLimits {
    ttl: Duration::from_secs(10),
    all: Bound { calls: 4, bytes: 100 },
    of_one: Bound { calls: 3, bytes: 60 },
};

fn party(name: &str) -> Principal {
    Principal::authenticated(Grant {
        issuer: String::new(),
        subject: name.to_owned(),
        scopes: Vec::new(),
        expires_at: SystemTime::UNIX_EPOCH,
        token_id: None,
        rate_limit: None,
    })
}

fn entry(name: &str, bytes: usize, expires: Instant) -> Entry<()> {
    let claim = Claim { principal: party(name), backend: "b".into(), request: [0; 32] };
    Entry { claim, expires, bytes, call: () }
}

/// Puts calls of `(whose, bytes)` in, and says which found room.
fn parked(calls: &[(&str, usize)]) -> (Waiting<()>, Vec<bool>) {
    let (mut waiting, now) = (Waiting::default(), Instant::now());
    let found = (0..)
        .zip(calls)
        .map(|(wait, (name, bytes))| waiting.insert(wait, entry(name, *bytes, now), LIMITS).is_ok());
    let found = found.collect();
    (waiting, found)
}

#[test]
fn calls_are_bounded_in_number_and_in_bytes_for_all_and_for_each() {
    for (calls, found) in [
        (&[("a", 1), ("a", 1), ("a", 1), ("a", 1)][..], &[true, true, true, false][..]),
        (&[("a", 1), ("b", 1), ("c", 1), ("d", 1), ("e", 1)], &[true, true, true, true, false]),
        (&[("a", 60), ("a", 0), ("a", 1)], &[true, true, false]),
        (&[("a", 61)], &[false]),
        (&[("a", 50), ("b", 50), ("c", 1), ("c", 0)], &[true, true, false, true]),
        (&[("a", usize::MAX), ("a", 60)], &[false, true]),
    ] {
        assert_eq!(parked(calls).1, found, "{calls:?}");
    }
}

#[test]
fn what_leaves_makes_room_and_the_last_one_leaves_nothing() {
    let (mut waiting, _) = parked(&[("a", 60), ("b", 40)]);
    assert_eq!(waiting.used, Bound { calls: 2, bytes: 100 });
    assert!(waiting.remove(0).is_some());
    assert!(waiting.remove(0).is_none(), "once");
    let now = Instant::now();
    assert!(waiting.insert(2, entry("a", 60, now), LIMITS).is_ok());
    assert!(waiting.insert(3, entry("b", 1, now), LIMITS).is_err());
    assert_eq!(waiting.expire(now).len(), 2);
    assert_eq!(waiting.used, Bound::default());
    assert!(waiting.by_principal.is_empty() && waiting.calls.is_empty());
}

#[test]
fn only_what_is_over_expires() {
    let (mut waiting, now) = (Waiting::default(), Instant::now());
    assert!(waiting.insert(1, entry("a", 10, now), LIMITS).is_ok());
    assert!(waiting.insert(2, entry("a", 20, now + LIMITS.ttl), LIMITS).is_ok());
    assert_eq!(waiting.expire(now).len(), 1);
    assert_eq!(waiting.used, Bound { calls: 1, bytes: 20 });
    assert_eq!(waiting.by_principal[&party("a")], waiting.used);
}
