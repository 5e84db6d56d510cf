//! What to believe of a list that comes after an interruption. Changes when another list is doubted.
//!
//! A list that lacks most of what was there may come from an API server that has lost its own view; the first list of a
//! definition that was made anew lacks what is still to be applied again. Such a list adds at once; it takes away only what a
//! second list, [`CONFIRM`] later, lacks as well.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::world::ObjectName;

/// Time between a list that is doubted and the one that confirms it.
pub(super) const CONFIRM: Duration = Duration::from_secs(30);
/// Fewer objects than this disappear in everyday life.
const FEW: usize = 10;

/// What to do with a list.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Belief {
    /// These are gone.
    Gone(BTreeSet<ObjectName>),
    /// So many are missing; nothing is gone yet.
    Doubt(usize),
}

/// The objects that one watch knows.
#[derive(Debug, Default)]
pub(super) struct Known {
    names: BTreeSet<ObjectName>,
    doubted: Option<(Instant, BTreeSet<ObjectName>)>,
}

impl Known {
    pub(super) fn saw(&mut self, name: ObjectName) {
        self.names.insert(name);
    }

    pub(super) fn lost(&mut self, name: &ObjectName) {
        self.names.remove(name);
    }

    /// Whether a list lacks something of what is known.
    pub(super) fn lacks(&self, listed: &BTreeSet<ObjectName>) -> bool {
        !self.names.is_subset(listed)
    }

    /// When to list again.
    pub(super) fn confirm_at(&self) -> Option<Instant> {
        self.doubted.as_ref().map(|(since, _)| *since + CONFIRM)
    }

    /// A whole list has come; the first one of a definition that is back.
    pub(super) fn listed_anew(&mut self, listed: &BTreeSet<ObjectName>, now: Instant) -> Belief {
        self.believe(listed, true, now)
    }

    /// A whole list has come.
    pub(super) fn listed(&mut self, listed: &BTreeSet<ObjectName>, now: Instant) -> Belief {
        self.believe(listed, false, now)
    }

    fn believe(&mut self, listed: &BTreeSet<ObjectName>, anew: bool, now: Instant) -> Belief {
        let gone: BTreeSet<_> = self.names.difference(listed).cloned().collect();
        let all = gone.len() == self.names.len();
        let many = gone.len() > FEW && gone.len() > self.names.len() / 2;
        self.names.extend(listed.iter().cloned());
        let doubted = self.doubted.as_ref().is_some_and(|(_, doubted)| gone.is_subset(doubted));
        if !gone.is_empty() && (all || many || anew || doubted) {
            let since = match &self.doubted {
                Some((since, doubted)) if gone.is_subset(doubted) => *since,
                _ => now,
            };
            if now < since + CONFIRM {
                let missing = gone.len();
                self.doubted = Some((since, gone));
                return Belief::Doubt(missing);
            }
        }
        self.doubted = None;
        self.names.retain(|name| !gone.contains(name));
        Belief::Gone(gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(range: std::ops::Range<u32>) -> BTreeSet<ObjectName> {
        range.map(|number| ObjectName::new("here", number.to_string())).collect()
    }

    fn known(range: std::ops::Range<u32>) -> Known {
        let mut known = Known::default();
        assert_eq!(known.listed(&names(range), Instant::now()), Belief::Gone(BTreeSet::new()));
        known
    }

    #[test]
    fn a_list_is_short_when_something_known_is_not_in_it() {
        assert!(known(0..3).lacks(&names(1..9)));
        assert!(!known(0..3).lacks(&names(0..9)));
    }

    #[test]
    fn a_few_may_go_at_once() {
        assert_eq!(known(0..100).listed(&names(9..100), Instant::now()), Belief::Gone(names(0..9)));
        assert_eq!(known(0..3).listed(&names(2..3), Instant::now()), Belief::Gone(names(0..2)));
    }

    #[test]
    fn an_empty_list_is_believed_when_a_second_one_confirms_it() {
        let (mut known, start) = (known(0..1), Instant::now());
        assert_eq!(known.listed(&names(0..0), start), Belief::Doubt(1));
        assert_eq!(known.confirm_at(), Some(start + CONFIRM));
        assert_eq!(known.listed(&names(0..0), start + CONFIRM / 2), Belief::Doubt(1));
        assert_eq!(known.listed(&names(0..0), start + CONFIRM), Belief::Gone(names(0..1)));
        assert_eq!(known.confirm_at(), None);
    }

    #[test]
    fn what_is_back_was_never_gone() {
        let (mut known, start) = (known(0..30), Instant::now());
        assert_eq!(known.listed(&names(0..5), start), Belief::Doubt(25));
        assert_eq!(known.listed(&names(0..30), start + CONFIRM), Belief::Gone(BTreeSet::new()));
        assert_eq!(known.confirm_at(), None);
    }

    #[test]
    fn a_list_that_lacks_something_else_confirms_nothing() {
        let (mut known, start) = (known(0..40), Instant::now());
        assert_eq!(known.listed(&names(30..40), start), Belief::Doubt(30));
        assert_eq!(known.listed(&names(0..10), start + CONFIRM), Belief::Doubt(30));
    }

    #[test]
    fn the_first_list_of_a_definition_that_is_back_takes_nothing_away() {
        let (mut known, start) = (known(0..30), Instant::now());
        assert_eq!(known.listed_anew(&names(0..29), start), Belief::Doubt(1));
        assert_eq!(known.listed(&names(0..29), start + CONFIRM / 2), Belief::Doubt(1));
        assert_eq!(known.listed(&names(0..29), start + CONFIRM), Belief::Gone(names(29..30)));
    }

    #[test]
    fn what_was_deleted_one_by_one_is_not_missed() {
        let mut known = known(0..1);
        known.lost(&ObjectName::new("here", "0"));
        assert_eq!(known.listed(&names(0..0), Instant::now()), Belief::Gone(BTreeSet::new()));
    }
}
