//! How long ready pods have not had what was published. Changes when a pod that is behind counts differently.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::world::ObjectName;

/// After so long it is worth an Event.
const NOTED: Duration = Duration::from_secs(30);
/// A pod without a stream is named after so long; before, it may be on its way.
const LAGGARD: Duration = Duration::from_mins(1);
/// After so long the gateway is `Degraded`, and a pod without a stream keeps nothing from being `Programmed`.
const STALE: Duration = Duration::from_mins(5);

/// How far behind a pod is, in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lag {
    /// It has just begun.
    Fresh,
    /// 30 seconds.
    Noted,
    /// A minute.
    Laggard,
    /// Five minutes.
    Stale,
}

/// By the uid of the pod.
pub type Lags = BTreeMap<String, Lag>;

impl Lag {
    fn of(age: Duration) -> Self {
        match age {
            age if age >= STALE => Self::Stale,
            age if age >= LAGGARD => Self::Laggard,
            age if age >= NOTED => Self::Noted,
            _ => Self::Fresh,
        }
    }

    /// When it becomes worse.
    fn next(self, since: Instant) -> Option<Instant> {
        match self {
            Self::Fresh => Some(since + NOTED),
            Self::Noted => Some(since + LAGGARD),
            Self::Laggard => Some(since + STALE),
            Self::Stale => None,
        }
    }
}

/// Remembers since when pods have been behind.
#[derive(Debug, Default)]
pub struct Clock {
    since: BTreeMap<ObjectName, BTreeMap<String, Instant>>,
}

impl Clock {
    /// These pods of a gateway are behind now, and no others. How long each has been, and when that says something else.
    pub fn observe(
        &mut self,
        gateway: &ObjectName,
        behind: &[String],
        now: Instant,
    ) -> (Lags, Option<Instant>) {
        let known = self.since.remove(gateway).unwrap_or_default();
        let since: BTreeMap<_, _> =
            behind.iter().map(|uid| (uid.clone(), known.get(uid).copied().unwrap_or(now))).collect();
        let lag = |since: &Instant| Lag::of(now.saturating_duration_since(*since));
        let lags = since.iter().map(|(uid, since)| (uid.clone(), lag(since))).collect();
        let next = since.values().filter_map(|since| lag(since).next(*since)).min();
        if !since.is_empty() {
            self.since.insert(gateway.clone(), since);
        }
        (lags, next)
    }

    /// Forgets gateways that are gone.
    pub fn retain(&mut self, exists: impl Fn(&ObjectName) -> bool) {
        self.since.retain(|gateway, _| exists(gateway));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_behind_since_it_began_and_not_since_somebody_looked() {
        let (mut clock, gateway, start) = (Clock::default(), ObjectName::new("here", "main"), Instant::now());
        let pods = ["a".to_owned()];
        let mut at = |seconds| clock.observe(&gateway, &pods, start + Duration::from_secs(seconds));
        for (seconds, lag, next) in [
            (0, Lag::Fresh, Some(30)),
            (29, Lag::Fresh, Some(30)),
            (30, Lag::Noted, Some(60)),
            (60, Lag::Laggard, Some(300)),
            (300, Lag::Stale, None),
        ] {
            let (lags, due) = at(seconds);
            assert_eq!(lags["a"], lag, "{seconds}");
            assert_eq!(due, next.map(|next| start + Duration::from_secs(next)), "{seconds}");
        }
        assert_eq!(clock.observe(&gateway, &[], start), (Lags::new(), None));
        let (lags, _) = clock.observe(&gateway, &pods, start + Duration::from_secs(301));
        assert_eq!(lags["a"], Lag::Fresh, "it had caught up in between");
    }
}
