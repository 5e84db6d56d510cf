//! Objects that could not be written: when each is tried again, and what is said of it until then. Changes when the operator
//! insists more or less. Pure.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bridge_api::condition::Accepted;

use super::pace::Subject;
use crate::apply::Object;
use crate::compile::Finding;

/// After the first failure.
const FIRST: Duration = Duration::from_secs(1);
/// Longest wait for what the API server refuses: it will most likely do so again.
const REFUSED: Duration = Duration::from_mins(5);
/// Longest wait after any other failure: it may be over at any time.
const FAILED: Duration = Duration::from_secs(30);

/// What is tried: the hash of a document, and the generation of its owner. Another one is tried at once.
pub(super) type Attempt = (String, Option<i64>);

/// Failures by object.
#[derive(Debug, Default)]
pub(super) struct Backoff(HashMap<Object, Failure>);

/// The last failure of an object, and those before it.
#[derive(Debug)]
pub(super) struct Failure {
    attempt: Attempt,
    owner: Subject,
    failures: u32,
    /// When it is tried again.
    pub(super) due: Instant,
    /// What its owner is told, if only a person can help.
    pub(super) obstacle: Option<Finding<Accepted>>,
}

impl Backoff {
    /// Why this is not tried at `now`.
    pub(super) fn holds(&self, object: &Object, attempt: &Attempt, now: Instant) -> Option<&Failure> {
        self.0.get(object).filter(|failure| failure.attempt == *attempt && now < failure.due)
    }

    /// It failed; says when it is tried again.
    pub(super) fn failed(
        &mut self,
        (object, attempt): (Object, Attempt),
        owner: Subject,
        obstacle: Option<Finding<Accepted>>,
        now: Instant,
    ) -> Instant {
        let before = self.0.remove(&object).filter(|before| before.attempt == attempt);
        let failures = before.map_or(0, |before| before.failures);
        let refused = obstacle.as_ref().is_some_and(|obstacle| obstacle.reason == Accepted::Invalid);
        let most = if refused { REFUSED } else { FAILED };
        let due = now + FIRST.saturating_mul(2_u32.saturating_pow(failures)).min(most);
        let failures = failures.saturating_add(1);
        self.0.insert(object, Failure { attempt, owner, failures, due, obstacle });
        due
    }

    /// It did not fail.
    pub(super) fn worked(&mut self, object: &Object) {
        self.0.remove(object);
    }

    /// Forgets the objects of owners that are gone.
    pub(super) fn retain(&mut self, exists: impl Fn(&Subject) -> bool) {
        self.0.retain(|_, failure| exists(&failure.owner));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::OwnedKind;
    use crate::world::ObjectName;

    fn object() -> Object {
        (OwnedKind::NetworkPolicy, ObjectName::new("here", "main-mcpgw"))
    }

    fn owner() -> Subject {
        ("McpGateway", ObjectName::new("here", "main"))
    }

    fn waits(obstacle: Option<&Finding<Accepted>>, times: usize) -> Vec<u64> {
        let (mut backoff, mut now) = (Backoff::default(), Instant::now());
        let attempt = ("hash".to_owned(), Some(1));
        let waits = (0..times).map(|_| {
            let due = backoff.failed((object(), attempt.clone()), owner(), obstacle.cloned(), now);
            assert!(backoff.holds(&object(), &attempt, now).is_some());
            assert!(backoff.holds(&object(), &attempt, due).is_none());
            let wait = due - now;
            now = due;
            wait.as_secs()
        });
        waits.collect()
    }

    #[test]
    fn what_is_refused_is_tried_less_and_less_often() {
        let refused = Finding::new(Accepted::Invalid, "spec.ingress");
        assert_eq!(waits(Some(&refused), 11), [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(waits(None, 7), [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(waits(None, 40).last(), Some(&30), "and nothing overflows");
    }

    #[test]
    fn another_document_or_another_specification_is_tried_at_once() {
        let (mut backoff, now) = (Backoff::default(), Instant::now());
        let attempt = |hash: &str, generation| (hash.to_owned(), Some(generation));
        let fail = |backoff: &mut Backoff, hash, generation| {
            backoff.failed((object(), attempt(hash, generation)), owner(), None, now) - now
        };
        fail(&mut backoff, "a", 1);
        assert_eq!(fail(&mut backoff, "a", 1), 2 * FIRST);
        assert!(backoff.holds(&object(), &attempt("b", 1), now).is_none());
        assert!(backoff.holds(&object(), &attempt("a", 2), now).is_none());
        assert_eq!(fail(&mut backoff, "b", 2), FIRST, "and its failures are counted anew");
        backoff.worked(&object());
        assert!(backoff.holds(&object(), &attempt("b", 2), now).is_none());
    }

    #[test]
    fn objects_of_owners_that_are_gone_are_forgotten() {
        let (mut backoff, now) = (Backoff::default(), Instant::now());
        backoff.failed((object(), (String::new(), None)), owner(), None, now);
        backoff.retain(|subject| *subject == owner());
        assert_eq!(backoff.0.len(), 1);
        backoff.retain(|_| false);
        assert!(backoff.0.is_empty());
    }
}
