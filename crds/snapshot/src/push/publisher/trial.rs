//! A change that could lock everybody out is tried by one pod before the others get it. Changes when the others wait for
//! something else.
//!
//! ```text
//!            a pod asks          it serves          time
//!     open ─────────────▶ first ───────────▶ proven ─────▶ for everybody
//!      ▲ ▲                  │ │                │
//!      │ ├── it is gone ────┼─┼────────────────┤
//!      │ │                  │ └─ it refuses ─▶ refused ── it is gone ──▶ open
//!      │ └── it is lost ────┤
//!      └────── time ──── stopped: pods were lost with it
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::{Publisher, StreamId};
use crate::push::{Digest, Entry, Key, Version};

/// The others wait for so long after the first pod serves the change: a pod that cannot live with it is gone by then.
const SETTLE: Duration = Duration::from_secs(5);
/// A pod that does not answer for so long counts as lost.
const PATIENCE: Duration = Duration::from_secs(15);
/// One pod may be lost by chance.
const LOST: usize = 2;
/// And so may two, once in a long while.
const AGAIN: Duration = Duration::from_mins(5);

/// What takes the place of other entries; absent for what is gone.
pub(super) type Overlay = BTreeMap<Key, Option<Entry>>;
/// Its versions.
pub(super) type Versions = BTreeMap<Key, Option<Version>>;

/// A change that is tried.
#[derive(Debug)]
pub(super) struct Trial {
    overlay: Overlay,
    state: State,
    /// Pods that were lost with it.
    lost: Vec<String>,
    /// Streams that have not answered. They are not asked again.
    silent: BTreeSet<StreamId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The next pod that can have it gets it.
    Open,
    /// A pod was sent it.
    First(StreamId, Instant),
    /// A pod serves it.
    Proven(StreamId, Instant),
    /// A pod serves what was before.
    Refused(StreamId),
    /// Nobody gets it.
    Stopped(Instant),
}

impl Trial {
    pub(super) fn new(overlay: Overlay) -> Self {
        Self { overlay, state: State::Open, lost: Vec::new(), silent: BTreeSet::new() }
    }

    /// What is tried.
    pub(super) fn overlay(&self) -> &Overlay {
        &self.overlay
    }

    /// What is tried, for everybody.
    pub(super) fn into_overlay(self) -> Overlay {
        self.overlay
    }

    /// Whether a pod has it, or is to.
    pub(super) fn is_for(&self, stream: StreamId) -> bool {
        self.stream() == Some(stream)
    }

    /// Whether a pod could be the one.
    pub(super) fn may_go_to(&self, stream: StreamId) -> bool {
        self.is_open() && !self.silent.contains(&stream)
    }

    /// A pod gets it.
    pub(super) fn goes_to(&mut self, stream: StreamId, now: Instant) {
        self.state = State::First(stream, now + PATIENCE);
    }

    /// The pod that has it, or is to.
    fn stream(&self) -> Option<StreamId> {
        match self.state {
            State::First(stream, _) | State::Proven(stream, _) | State::Refused(stream) => Some(stream),
            State::Open | State::Stopped(_) => None,
        }
    }

    /// A pod has answered a change with which it has these versions of what is tried, but what it `refuses`.
    pub(super) fn answered(
        &mut self,
        stream: StreamId,
        has: &Versions,
        refuses: impl Fn(&Key) -> bool,
        now: Instant,
    ) {
        let waits =
            matches!(self.state, State::First(..) | State::Refused(_)) && self.stream() == Some(stream);
        if !waits || !is_that(has, &self.overlay) {
            return;
        }
        self.state = if self.overlay.keys().any(refuses) {
            State::Refused(stream)
        } else {
            State::Proven(stream, now + SETTLE)
        };
    }

    /// A pod has answered that it does not serve it before `until`.
    pub(super) fn waits(&mut self, stream: StreamId, until: Instant) {
        if let State::First(first, deadline) = &mut self.state
            && *first == stream
        {
            *deadline = until + PATIENCE;
        }
    }

    /// A stream has ended. `name` is the pod's, if it was not to end.
    pub(super) fn gone(&mut self, stream: StreamId, name: Option<&str>, now: Instant) {
        let was = self.stream() == Some(stream);
        match (self.state, name) {
            (State::First(..) | State::Proven(..), Some(name)) if was => self.lose(name.to_owned(), now),
            _ if was => self.state = State::Open,
            _ => {}
        }
    }

    fn lose(&mut self, name: String, now: Instant) {
        self.lost.push(name);
        self.state = if self.lost.len() < LOST { State::Open } else { State::Stopped(now + AGAIN) };
    }

    /// Something happens by itself; whether the others may have it. `name` is the name of a stream's pod.
    pub(super) fn is_over(&mut self, name: impl Fn(StreamId) -> String, now: Instant) -> bool {
        match self.state {
            State::Proven(_, until) => return until <= now,
            State::First(stream, until) if until <= now => {
                self.silent.insert(stream);
                self.lose(name(stream), now);
            }
            State::Stopped(until) if until <= now => {
                self.lost.clear();
                self.silent.clear();
                self.state = State::Open;
            }
            _ => {}
        }
        false
    }

    /// When something happens by itself.
    pub(super) fn until(&self) -> Option<Instant> {
        match self.state {
            State::First(_, until) | State::Proven(_, until) | State::Stopped(until) => Some(until),
            State::Open | State::Refused(_) => None,
        }
    }

    /// Whether the next pod that can have it gets it.
    pub(super) fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// The pods with which it ended, when nobody gets it any more.
    pub(super) fn stopped(&self) -> Option<&[String]> {
        matches!(self.state, State::Stopped(_)).then_some(&*self.lost)
    }
}

impl Publisher {
    /// What is tried and not published yet.
    pub fn tried(&self) -> impl Iterator<Item = &Key> {
        self.trial.iter().flat_map(|trial| trial.overlay().keys())
    }

    /// Fingerprint of everything, with what is tried.
    pub fn wanted(&self) -> Digest {
        let all = self.catalogue.digest();
        let of = |trial: &Trial| digest(all, trial.overlay(), |key| self.catalogue.version(key));
        self.trial.as_ref().map_or(all, of)
    }

    /// The pods that were lost with what is tried, when no other pod gets it for that.
    pub fn stopped(&self) -> Option<&[String]> {
        self.trial.as_ref().and_then(Trial::stopped)
    }

    /// Where one pod serves, nobody else can be spared.
    pub(super) fn are_several(&self) -> bool {
        self.streams.values().filter(|stream| stream.name().is_some()).count() > 1
    }

    /// What is tried is for everybody.
    pub(super) fn try_no_more(&mut self) {
        for (key, entry) in self.trial.take().map(Trial::into_overlay).unwrap_or_default() {
            self.catalogue.set(key, entry);
        }
    }
}

/// The versions of an overlay.
pub(super) fn versions(overlay: &Overlay) -> Versions {
    overlay.iter().map(|(key, entry)| (key.clone(), entry.as_ref().map(|entry| entry.version))).collect()
}

/// Whether these are the versions of an overlay.
pub(super) fn is_that(has: &Versions, overlay: &Overlay) -> bool {
    let version = |(key, entry)| (key, Option::<&Entry>::map(Option::as_ref(entry), |entry| entry.version));
    has.iter().map(|(key, version)| (key, *version)).eq(overlay.iter().map(version))
}

/// The fingerprint of everything with an overlay, where `version` is what it covers.
pub(super) fn digest(
    mut all: Digest,
    overlay: &Overlay,
    version: impl Fn(&Key) -> Option<Version>,
) -> Digest {
    for (key, entry) in overlay {
        for version in version(key).into_iter().chain(entry.as_ref().map(|entry| entry.version)) {
            all.toggle(key, version);
        }
    }
    all
}
