//! Events: what a person should notice, once for each change. Changes when there is something else to notice.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bridge_api::condition::ConditionType;
use bridge_api::event::EventReason;
use bridge_api::meta::MANAGER;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};

use crate::apply::Correction;

/// Longest note that the API server takes.
const NOTE: usize = 1024;
/// Between two Events that say that the same gateway is programmed.
const PROGRAMMED: Duration = Duration::from_mins(1);

/// Sends Events.
pub(super) struct Events {
    recorder: Recorder,
    /// When a gateway was last said to be programmed, by uid.
    programmed: HashMap<String, Instant>,
}

impl Events {
    pub(super) fn new(client: Client, replica: &str) -> Self {
        let reporter = Reporter { controller: MANAGER.to_owned(), instance: Some(replica.to_owned()) };
        Self { recorder: Recorder::new(client, reporter), programmed: HashMap::new() }
    }

    /// Tells what has changed in the conditions of an object.
    pub(super) async fn conditions(
        &mut self,
        object: &ObjectReference,
        before: &[Condition],
        after: &[Condition],
        now: Instant,
    ) {
        for (reason, note) in changes(before, after) {
            if reason == EventReason::Programmed && !self.may_be_programmed(object, now) {
                continue;
            }
            self.send(object, reason, &note).await;
        }
    }

    fn may_be_programmed(&mut self, object: &ObjectReference, now: Instant) -> bool {
        // Backends are many, and their gateway says it for them.
        if object.kind.as_deref() != Some("McpGateway") {
            return false;
        }
        self.programmed.retain(|_, at| now < *at + PROGRAMMED);
        let uid = object.uid.clone().unwrap_or_default();
        let first = !self.programmed.contains_key(&uid);
        self.programmed.entry(uid).or_insert(now);
        first
    }

    pub(super) async fn corrected(&self, of: &ObjectReference, what: &str, correction: &Correction) {
        match correction {
            Correction::Once(field) => {
                let note = format!("{what}: {field} was changed by somebody, and put right");
                self.send(of, EventReason::DriftCorrected, &note).await;
            }
            Correction::Quarrel(field) => {
                let note = format!(
                    "{what}: {field} is changed again and again; it is put right less often from now on"
                );
                self.send(of, EventReason::DriftLoop, &note).await;
            }
            Correction::Overruled(field) => {
                let note = format!(
                    "{what}: {field} is not kept as it is written: something, like an admission webhook, changes it on the way; it is tried again now and then"
                );
                self.send(of, EventReason::DriftLoop, &note).await;
            }
            Correction::Again => {}
        }
    }

    pub(super) async fn send(&self, object: &ObjectReference, reason: EventReason, note: &str) {
        self.publish(object, reason.as_str(), reason.is_warning(), note).await;
    }

    pub(super) async fn publish(&self, object: &ObjectReference, reason: &str, warning: bool, note: &str) {
        let note = note.get(..note.floor_char_boundary(NOTE)).unwrap_or_default().to_owned();
        let event = Event {
            type_: if warning { EventType::Warning } else { EventType::Normal },
            reason: reason.to_owned(),
            note: Some(note),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        // An Event is a courtesy: whoever needs to know reads the status.
        if let Err(error) = self.recorder.publish(&event, object).await {
            tracing::debug!(%error, reason, "Event not sent");
        }
    }
}

/// What is new in conditions, and worth an Event.
fn changes(before: &[Condition], after: &[Condition]) -> Vec<(EventReason, String)> {
    let is_new = |condition: &&Condition| {
        let old = before.iter().find(|old| old.type_ == condition.type_);
        old.is_none_or(|old| {
            // Another missing reference has the same reason and other words. Counts of pods have other words, too.
            let words = condition.status == "False"
                && [ConditionType::Accepted, ConditionType::ResolvedRefs]
                    .iter()
                    .any(|type_| type_.as_str() == condition.type_);
            (&old.status, &old.reason) != (&condition.status, &condition.reason)
                || (words && old.message != condition.message)
        })
    };
    let told = after.iter().filter(is_new).filter_map(|condition| {
        Some((reason(condition)?, format!("{}: {}", condition.reason, condition.message)))
    });
    told.collect()
}

/// The Event that a change of a condition is worth.
fn reason(condition: &Condition) -> Option<EventReason> {
    let is = |type_: ConditionType| condition.type_ == type_.as_str();
    let holds = condition.status == "True";
    match &*condition.reason {
        _ if is(ConditionType::Accepted) && holds => Some(EventReason::Accepted),
        _ if is(ConditionType::Accepted) => Some(EventReason::Rejected),
        "InvalidCertificate" if is(ConditionType::ResolvedRefs) => Some(EventReason::RefInvalid),
        _ if is(ConditionType::ResolvedRefs) && !holds => Some(EventReason::RefNotFound),
        "Rejected" if is(ConditionType::Programmed) => Some(EventReason::ConfigRejected),
        _ if is(ConditionType::Programmed) && holds => Some(EventReason::Programmed),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
