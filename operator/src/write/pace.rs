//! How often status is written. Changes when a reader needs it more often, or the API server bears less.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::world::ObjectName;

/// Between two writes of one object.
const PAUSE: Duration = Duration::from_secs(2);
/// Between two writes of one object of which only counters are different.
const COUNTERS: Duration = Duration::from_secs(10);
/// Writes of all objects in one second.
const RATE: u32 = 50;

/// How urgent a write is; the most urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Urgency {
    /// A reader would decide differently.
    Conditions,
    /// Numbers that tell how far something is.
    Numbers,
    /// Numbers that move all the time.
    Counters,
}

/// Kind and name of an object.
pub(super) type Subject = (&'static str, ObjectName);

/// Decides about writes. The first one of an object is immediate.
#[derive(Debug, Default)]
pub(super) struct Pace {
    written: HashMap<Subject, Instant>,
    /// Until when the writes of all objects are spent: a write costs a part of a second.
    spent: Option<Instant>,
}

impl Pace {
    /// Takes a write, or says when to ask again.
    pub(super) fn take(&mut self, subject: &Subject, urgency: Urgency, now: Instant) -> Result<(), Instant> {
        let pause = match urgency {
            Urgency::Conditions | Urgency::Numbers => PAUSE,
            Urgency::Counters => COUNTERS,
        };
        if let Some(due) = self.written.get(subject).map(|at| *at + pause).filter(|due| now < *due) {
            return Err(due);
        }
        let spent = self.spent.map_or(now, |spent| spent.max(now));
        let one = Duration::from_secs(1) / RATE;
        // A second's writes may come at once.
        let wait = (spent + one).saturating_duration_since(now + Duration::from_secs(1));
        if !wait.is_zero() {
            return Err(now + wait);
        }
        self.spent = Some(spent + one);
        self.written.insert(subject.clone(), now);
        Ok(())
    }

    /// Forgets objects that are gone.
    pub(super) fn retain(&mut self, exists: impl Fn(&ObjectName) -> bool) {
        self.written.retain(|(_, name), _| exists(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(name: &str) -> Subject {
        ("McpBackend", ObjectName::new("here", name))
    }

    #[test]
    fn one_object_is_written_at_once_and_then_every_two_seconds() {
        let (mut pace, start, a) = (Pace::default(), Instant::now(), subject("a"));
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!(pace.take(&a, Urgency::Counters, at(0)), Ok(()));
        assert_eq!(pace.take(&a, Urgency::Conditions, at(1)), Err(at(2000)));
        assert_eq!(pace.take(&a, Urgency::Counters, at(2000)), Err(at(10_000)));
        assert_eq!(pace.take(&a, Urgency::Numbers, at(2000)), Ok(()));
        assert_eq!(pace.take(&subject("b"), Urgency::Numbers, at(2001)), Ok(()));
    }

    #[test]
    fn all_objects_together_are_written_fifty_times_a_second() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let mut written = 0;
        for second in 0..3 {
            for millis in 0..1000 {
                let now = start + Duration::from_secs(second) + Duration::from_millis(millis);
                let name = subject(&format!("{second}-{millis}"));
                written += u32::from(pace.take(&name, Urgency::Conditions, now).is_ok());
            }
        }
        assert!((RATE * 3..=RATE * 4).contains(&written), "{written}");
    }

    #[test]
    fn objects_that_are_gone_are_forgotten() {
        let (mut pace, now, [a, b]) = (Pace::default(), Instant::now(), ["a", "b"].map(subject));
        assert_eq!(pace.take(&a, Urgency::Conditions, now), Ok(()));
        assert_eq!(pace.take(&b, Urgency::Conditions, now), Ok(()));
        pace.retain(|name| *name == a.1);
        assert!(pace.take(&a, Urgency::Conditions, now).is_err());
        assert_eq!(pace.take(&b, Urgency::Conditions, now), Ok(()), "another object of that name is new");
    }

    #[test]
    fn conditions_come_first() {
        let mut all = [Urgency::Counters, Urgency::Conditions, Urgency::Numbers];
        all.sort();
        assert_eq!(all, [Urgency::Conditions, Urgency::Numbers, Urgency::Counters]);
    }
}
