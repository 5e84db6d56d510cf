//! Events: what a person should notice, once for each change. Changes when there is something else to notice.

use std::sync::Arc;

use bridge_api::condition::ConditionType;
use bridge_api::event::EventReason;
use bridge_api::meta::MANAGER;
use bridge_api::v1alpha1::McpGateway;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource};

use super::Writer;
use crate::compile::Compilation;
use crate::engine::View;

/// Longest note that the API server takes.
const NOTE: usize = 1024;

/// Sends Events.
pub(super) struct Events {
    recorder: Recorder,
}

impl Events {
    pub(super) fn new(client: Client, replica: &str) -> Self {
        let reporter = Reporter { controller: MANAGER.to_owned(), instance: Some(replica.to_owned()) };
        Self { recorder: Recorder::new(client, reporter) }
    }

    /// Tells what has changed in the conditions of an object.
    pub(super) async fn conditions<K: Resource<DynamicType = ()>>(
        &self,
        object: &K,
        before: &[Condition],
        after: &[Condition],
    ) {
        for condition in after {
            let old = before.iter().find(|old| old.type_ == condition.type_);
            let same =
                old.is_some_and(|old| (&old.status, &old.reason) == (&condition.status, &condition.reason));
            if let Some(reason) = reason(condition).filter(|_| !same) {
                self.send(object, reason, &format!("{}: {}", condition.reason, condition.message)).await;
            }
        }
    }

    pub(super) async fn handed(&self, gateway: &McpGateway, decider: &str) {
        let note = format!("the number of pods is now the {decider}'s to decide");
        self.send(gateway, EventReason::ScaledBy, &note).await;
    }

    async fn send<K: Resource<DynamicType = ()>>(&self, object: &K, reason: EventReason, note: &str) {
        self.publish(object, reason.as_str(), reason.is_warning(), note).await;
    }

    pub(super) async fn publish<K: Resource<DynamicType = ()>>(
        &self,
        object: &K,
        reason: &str,
        warning: bool,
        note: &str,
    ) {
        let note = note.get(..note.floor_char_boundary(NOTE)).unwrap_or_default().to_owned();
        let event = Event {
            type_: if warning { EventType::Warning } else { EventType::Normal },
            reason: reason.to_owned(),
            note: Some(note),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        // An Event is a courtesy: whoever needs to know reads the status.
        if let Err(error) = self.recorder.publish(&event, &object.object_ref(&())).await {
            tracing::debug!(%error, reason, "Event not sent");
        }
    }
}

/// The Event that a change of a condition is worth.
fn reason(condition: &Condition) -> Option<EventReason> {
    let is = |type_: ConditionType| condition.type_ == type_.as_str();
    let holds = condition.status == "True";
    match &*condition.reason {
        _ if is(ConditionType::Accepted) && holds => Some(EventReason::Accepted),
        _ if is(ConditionType::Accepted) => Some(EventReason::Rejected),
        "InvalidCertificate" | "RefNotPermitted" if is(ConditionType::ResolvedRefs) => {
            Some(EventReason::RefInvalid)
        }
        _ if is(ConditionType::ResolvedRefs) && !holds => Some(EventReason::RefNotFound),
        "Rejected" if is(ConditionType::Programmed) => Some(EventReason::ConfigRejected),
        _ if is(ConditionType::Programmed) && holds => Some(EventReason::Programmed),
        "StaleConfig" if is(ConditionType::Degraded) => Some(EventReason::StaleConfig),
        _ => None,
    }
}

impl Writer {
    /// Tells owners of Services what is new.
    pub(super) async fn tell_services(&mut self, view: &View, compilation: &Compilation) {
        for (name, notes) in &compilation.services {
            let Some(service) = view.world.services.get(name) else { continue };
            let told = self.told.get(name).cloned().unwrap_or_default();
            for note in notes.difference(&told) {
                if self.applier.check().is_err() {
                    return;
                }
                self.events.publish(&*Arc::clone(service), note.reason, note.warning, &note.message).await;
            }
            self.told.insert(name.clone(), notes.clone());
        }
    }
}
