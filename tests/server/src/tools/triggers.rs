//! Tools that change the lists or a resource, so that clients are notified. Changes when a notification is added.

use std::sync::atomic::Ordering;

use crate::call::text;
use crate::changes::Change;
use crate::resources;

use super::{Entry, entry, no_arguments};

pub(super) fn tools() -> Vec<Entry> {
    vec![
        entry("test_trigger_tool_change", "Adds or removes a tool", no_arguments(), |call| {
            Box::pin(async move {
                call.shared.extra_tool.flip();
                call.shared.hub.announce(Change::Tools).await;
                text("The tool list changed.")
            })
        }),
        entry("test_trigger_prompt_change", "Adds or removes a prompt", no_arguments(), |call| {
            Box::pin(async move {
                call.shared.extra_prompt.flip();
                call.shared.hub.announce(Change::Prompts).await;
                text("The prompt list changed.")
            })
        }),
        entry("test_trigger_resource_change", "Adds or removes a resource", no_arguments(), |call| {
            Box::pin(async move {
                call.shared.extra_resource.flip();
                call.shared.hub.announce(Change::Resources).await;
                text("The resource list changed.")
            })
        }),
        entry("test_trigger_resource_update", "Changes the watched resource", no_arguments(), |call| {
            Box::pin(async move {
                let revision = call.shared.watched_revision.fetch_add(1, Ordering::AcqRel) + 1;
                call.shared.hub.announce(Change::Updated(resources::WATCHED.to_owned())).await;
                text(format!("The watched resource is at revision {revision}."))
            })
        }),
    ]
}
