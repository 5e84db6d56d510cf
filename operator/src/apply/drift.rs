//! Somebody changes what the operator owns: how often that is put right, and when somebody should know. Changes when the
//! operator insists more or less.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use super::Object;

/// What happened longer ago does not count.
const WINDOW: Duration = Duration::from_mins(10);
/// So many corrections of one field within that are a quarrel.
const QUARREL: usize = 3;
/// In a quarrel the operator waits so long before it puts a field right again.
const WAIT: Duration = Duration::from_mins(2);

/// What to tell about a correction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Correction {
    /// A field was put right for the first time in a while.
    Once(String),
    /// Somebody changes a field again and again.
    Quarrel(String),
    /// A field is not kept as it is written.
    Overruled(String),
    /// It was told already.
    Again,
}

/// Corrections of objects.
#[derive(Debug, Default)]
pub(super) struct Drift {
    corrected: HashMap<Object, BTreeMap<String, Vec<Instant>>>,
}

impl Drift {
    /// When these fields of an object may be put right; `None` for now.
    pub(super) fn wait(&mut self, object: &Object, fields: &[String], now: Instant) -> Option<Instant> {
        let of_object = self.corrected.get_mut(object)?;
        for at in of_object.values_mut() {
            at.retain(|at| now < *at + WINDOW);
        }
        let quarrels =
            fields.iter().filter_map(|field| of_object.get(field)).filter(|at| at.len() >= QUARREL);
        quarrels.filter_map(|at| at.last()).map(|last| *last + WAIT).max().filter(|due| now < *due)
    }

    /// These fields were put right.
    pub(super) fn corrected(&mut self, object: &Object, fields: &[String], now: Instant) -> Correction {
        let of_object = self.corrected.entry(object.clone()).or_default();
        let mut told = Correction::Again;
        for field in fields {
            let at = of_object.entry(field.clone()).or_default();
            at.push(now);
            match at.len() {
                QUARREL => told = Correction::Quarrel(field.clone()),
                1 if told == Correction::Again => told = Correction::Once(field.clone()),
                _ => {}
            }
        }
        told
    }

    /// These fields were written, and the answer says something else: whoever changed them on the way does so every time. That
    /// is a quarrel from the beginning.
    pub(super) fn overruled(&mut self, object: &Object, fields: &[String], now: Instant) -> Correction {
        let of_object = self.corrected.entry(object.clone()).or_default();
        let mut told = Correction::Again;
        for field in fields {
            let at = of_object.entry(field.clone()).or_default();
            if at.len() < QUARREL {
                told = Correction::Overruled(field.clone());
            }
            at.resize((at.len() + 1).max(QUARREL), now);
        }
        told
    }

    /// Forgets objects that are gone.
    pub(super) fn retain(&mut self, exists: impl Fn(&Object) -> bool) {
        self.corrected.retain(|object, _| exists(object));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::OwnedKind;
    use crate::world::ObjectName;

    #[test]
    fn a_quarrel_is_told_once_and_fought_slowly() {
        let (mut drift, start) = (Drift::default(), Instant::now());
        let object = (OwnedKind::Deployment, ObjectName::new("here", "main-mcpgw"));
        let field = ["spec.minReadySeconds".to_owned()];
        let at = |seconds| start + Duration::from_secs(seconds);
        for (second, told) in [
            (0, Correction::Once(field[0].clone())),
            (1, Correction::Again),
            (2, Correction::Quarrel(field[0].clone())),
        ] {
            assert_eq!(drift.wait(&object, &field, at(second)), None);
            assert_eq!(drift.corrected(&object, &field, at(second)), told);
        }
        assert_eq!(drift.wait(&object, &field, at(3)), Some(at(122)));
        assert_eq!(drift.wait(&object, &["spec.strategy".to_owned()], at(3)), None, "another field");
        assert_eq!(drift.wait(&object, &field, at(122)), None);
        assert_eq!(drift.corrected(&object, &field, at(122)), Correction::Again);
        assert_eq!(drift.wait(&object, &field, at(130)), Some(at(242)));
        assert_eq!(drift.wait(&object, &field, at(1000)), None, "forgotten");
        assert_eq!(drift.corrected(&object, &field, at(1000)), Correction::Once(field[0].clone()));
    }

    #[test]
    fn who_has_the_last_word_is_told_of_at_once() {
        let (mut drift, start) = (Drift::default(), Instant::now());
        let object = (OwnedKind::Deployment, ObjectName::new("here", "main-mcpgw"));
        let field = ["spec.minReadySeconds".to_owned()];
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(drift.overruled(&object, &field, at(0)), Correction::Overruled(field[0].clone()));
        assert_eq!(drift.wait(&object, &field, at(1)), Some(at(120)));
        assert_eq!(drift.wait(&object, &field, at(120)), None);
        for round in 1..10 {
            assert_eq!(drift.overruled(&object, &field, at(round * 120)), Correction::Again);
            assert_eq!(drift.wait(&object, &field, at(round * 120 + 1)), Some(at(round * 120 + 120)));
        }
    }
}
