//! Conditions of resources: how one is written, and how it is read. Changes when the rules of status change; the words
//! are in the module below.

mod reasons;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

pub use reasons::{
    Accepted, Available, Degraded, Programmed, Ready, Reason, ResolvedRefs, SessionStorage, Verdict, Word,
    words,
};

use crate::choice::choice;

choice! {
    /// What a condition is about. True is good, except for `Degraded`.
    #[derive(PartialOrd, Ord, Hash)]
    pub enum ConditionType {
        /// The specification is valid, and ours to serve.
        Accepted,
        /// Everything that is referred to exists and can be used.
        ResolvedRefs,
        /// Every ready pod serves a configuration that contains this generation.
        Programmed,
        /// Clients of a gateway are served.
        Ready,
        /// A backend has a healthy endpoint on most pods.
        Available,
        /// Sessions of a gateway survive their pod, or need not.
        SessionStorage,
        /// It works, but less than it should.
        Degraded,
    }
}

/// What a reader may believe of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It holds.
    True,
    /// It does not.
    False,
    /// Nothing is known about this generation.
    Unknown,
}

/// A condition of `generation` for `reason`. The time of the last transition is that of `previous` if the status is the
/// same, else `now`: nothing else of a condition moves by itself, so that equal facts give equal status.
pub fn condition<R: Reason>(
    reason: R,
    message: impl Into<String>,
    generation: i64,
    previous: &[Condition],
    now: &Time,
) -> Condition {
    let type_ = R::TYPE.as_str();
    let status = match reason.verdict() {
        Verdict::True => "True",
        Verdict::False => "False",
        Verdict::Unknown => "Unknown",
    };
    let same = previous.iter().find(|old| old.type_ == type_ && old.status == status);
    Condition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: reason.as_str().to_owned(),
        message: message.into(),
        observed_generation: Some(generation),
        last_transition_time: same.map_or_else(|| now.clone(), |old| old.last_transition_time.clone()),
    }
}

/// What `conditions` say about `type_` for `generation`. What was said of an older generation is unknown for this one.
pub fn read(conditions: &[Condition], type_: ConditionType, generation: i64) -> Status {
    let known = conditions.iter().find(|known| known.type_ == type_.as_str());
    match known.filter(|known| known.observed_generation == Some(generation)).map(|known| &*known.status) {
        Some("True") => Status::True,
        Some("False") => Status::False,
        _ => Status::Unknown,
    }
}

#[cfg(test)]
mod tests;
