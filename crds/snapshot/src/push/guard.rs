//! What a pod does not do at once, however valid it is. Changes when such a rule does.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::{Key, ResourceType};

/// What becomes of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is applied.
    Pass,
    /// It is applied, although it breaks the rule: the operator insisted long enough.
    Insisted,
    /// It is not applied before this time has passed.
    Hold(Duration),
}

/// Against an operator that saw less of the cluster than the one before it: a revision that is older than what is served
/// waits, because a replica that has caught up will send a newer one. It does not wait for ever, because a restored
/// cluster counts from an older revision on.
#[derive(Debug, Clone)]
pub struct RegressionGuard {
    patience: Duration,
    since: Option<Instant>,
}

impl RegressionGuard {
    /// Older revisions wait for `patience`.
    pub const fn new(patience: Duration) -> Self {
        Self { patience, since: None }
    }

    /// Judges a change to `offered` of somebody who serves `served`.
    pub fn judge(&mut self, offered: u64, served: u64, now: Instant) -> Verdict {
        if offered >= served {
            return Verdict::Pass;
        }
        let waited = now.saturating_duration_since(*self.since.get_or_insert(now));
        match self.patience.checked_sub(waited).filter(|left| !left.is_zero()) {
            Some(left) => Verdict::Hold(left),
            None => Verdict::Insisted,
        }
    }

    /// A change was applied.
    pub fn applied(&mut self) {
        self.since = None;
    }
}

/// Against an operator that lost sight of the cluster: a change that removes more than half of the backends (or of the
/// endpoint sets), and more than ten, waits; so does one that removes the gateway itself. It passes when all that it
/// removes was to be removed that long ago, too.
#[derive(Debug, Clone)]
pub struct RemovalGuard {
    patience: Duration,
    announced: Option<(Instant, BTreeSet<Key>)>,
}

impl RemovalGuard {
    /// Fewer removals than this are everyday life.
    const FEW: usize = 10;

    /// Mass removals wait for `patience`.
    pub const fn new(patience: Duration) -> Self {
        Self { patience, announced: None }
    }

    /// Judges the removal of `removed` from `served`.
    pub fn judge<'a>(
        &mut self,
        removed: &BTreeSet<Key>,
        served: impl Iterator<Item = &'a Key>,
        now: Instant,
    ) -> Verdict {
        let mut counts = [(ResourceType::Backend, 0_usize, 0_usize), (ResourceType::Endpoints, 0, 0)];
        for key in served {
            if let Some((_, all, gone)) = counts.iter_mut().find(|(kind, ..)| *kind == key.kind) {
                *all += 1;
                *gone += usize::from(removed.contains(key));
            }
        }
        let many = counts.iter().any(|&(_, all, gone)| gone > Self::FEW && gone > all / 2);
        let everything = removed.iter().any(|key| key.kind == ResourceType::Gateway);
        if !many && !everything {
            return Verdict::Pass;
        }
        if let Some((since, announced)) = &self.announced
            && removed.is_subset(announced)
        {
            let waited = now.saturating_duration_since(*since);
            return match self.patience.checked_sub(waited).filter(|left| !left.is_zero()) {
                Some(left) => Verdict::Hold(left),
                None => Verdict::Insisted,
            };
        }
        self.announced = Some((now, removed.clone()));
        Verdict::Hold(self.patience)
    }

    /// A change was applied.
    pub fn applied(&mut self) {
        self.announced = None;
    }
}
