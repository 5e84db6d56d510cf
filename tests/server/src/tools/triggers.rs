//! Tools that change the lists or a resource, so that clients are notified. Changes when a notification is added.

use crate::call::text;
use crate::changes::Change;
use crate::resources;

use super::{Entry, entry, no_arguments};

pub(super) fn tools() -> Vec<Entry> {
    vec![
        entry("test_trigger_tool_change", "Adds or removes a tool", no_arguments(), |call| {
            Box::pin(async move {
                let shared = &call.shared;
                shared.world.extra_tool.add()?;
                shared.world.announce(&shared.hub, Change::Tools).await;
                text("The tool list changed.")
            })
        }),
        entry("test_trigger_prompt_change", "Adds or removes a prompt", no_arguments(), |call| {
            Box::pin(async move {
                let shared = &call.shared;
                shared.world.extra_prompt.add()?;
                shared.world.announce(&shared.hub, Change::Prompts).await;
                text("The prompt list changed.")
            })
        }),
        entry("test_trigger_resource_change", "Adds or removes a resource", no_arguments(), |call| {
            Box::pin(async move {
                let shared = &call.shared;
                shared.world.extra_resource.add()?;
                shared.world.announce(&shared.hub, Change::Resources).await;
                text("The resource list changed.")
            })
        }),
        entry("test_trigger_resource_update", "Changes the watched resource", no_arguments(), |call| {
            Box::pin(async move {
                let shared = &call.shared;
                let revision = shared.world.revision.add()?;
                shared.world.announce(&shared.hub, Change::Updated(resources::WATCHED.to_owned())).await;
                text(format!("The watched resource is at revision {revision}."))
            })
        }),
    ]
}
