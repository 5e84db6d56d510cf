//! A change that could lock everybody out goes to one pod first. Changes when the others wait for something else.

use std::time::{Duration, Instant};

use super::StreamId;

/// The others wait for so long after the first pod serves the change: a pod that cannot live with it is gone by then.
const SETTLE: Duration = Duration::from_secs(5);
/// They wait for so long for a pod that does not answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// A change on its way to one pod.
#[derive(Debug)]
pub(super) struct Stage {
    /// Change of the catalogue that has to be served.
    target: u64,
    first: Option<First>,
}

#[derive(Debug)]
struct First {
    stream: StreamId,
    serves: bool,
    until: Instant,
}

impl Stage {
    pub(super) const fn new(target: u64) -> Self {
        Self { target, first: None }
    }

    /// Whether a stream may begin. Whoever asks first goes first.
    pub(super) fn admits(&mut self, stream: StreamId, now: Instant) -> bool {
        let first = self.first.get_or_insert(First { stream, serves: false, until: now + PATIENCE });
        first.stream == stream
    }

    /// A pod serves everything up to change `cursor` of the catalogue.
    pub(super) fn serves(&mut self, stream: StreamId, cursor: u64, now: Instant) {
        let target = self.target;
        let first = self.first.as_mut().filter(|first| first.stream == stream && !first.serves);
        if let Some(first) = first.filter(|_| cursor >= target) {
            (first.serves, first.until) = (true, now + SETTLE);
        }
    }

    /// A stream has ended. When it was the first, another one is.
    pub(super) fn gone(&mut self, stream: StreamId) {
        self.first.take_if(|first| first.stream == stream);
    }

    /// Whether a first pod is to be found.
    pub(super) const fn is_open(&self) -> bool {
        self.first.is_none()
    }

    /// When the others get it.
    pub(super) fn until(&self) -> Option<Instant> {
        self.first.as_ref().map(|first| first.until)
    }
}
