//! The table of tools: what is listed and what runs. Changes when a group of tools is added.

mod content;
mod extras;
mod input;
mod long_running;
mod mrtr;
mod rounds;
mod schemas;
mod streaming;
mod triggers;
mod urls;

use std::borrow::Cow;
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;

use rmcp::model::{ErrorData, JsonObject, Tool, ToolAnnotations, object};
use serde_json::{Value, json};

use crate::call::{Call, Reply, Stop, text};
use crate::state::Shared;

/// The tool that a trigger adds and removes.
const EXTRA: &str = "test_extra_tool";

type Running = Pin<Box<dyn Future<Output = Reply> + Send>>;

/// One tool: its listing and its behaviour.
struct Entry {
    tool: Tool,
    run: fn(Call) -> Running,
}

/// A tool without arguments, or with the properties of `schema`.
fn entry(
    name: impl Into<Cow<'static, str>>,
    description: &'static str,
    schema: Value,
    run: fn(Call) -> Running,
) -> Entry {
    Entry { tool: Tool::new(name, description, object(schema)), run }
}

/// The schema of a tool without arguments.
fn no_arguments() -> Value {
    json!({ "type": "object", "properties": {} })
}

/// The schema of a tool with required arguments, as pairs of name and JSON type.
fn arguments(fields: &[(&str, &str)]) -> Value {
    let properties: JsonObject =
        fields.iter().map(|(name, kind)| ((*name).to_owned(), json!({ "type": kind }))).collect();
    let required: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
    json!({ "type": "object", "properties": properties, "required": required })
}

/// All tools of this server.
pub(crate) struct Registry {
    entries: Vec<Entry>,
    by_name: HashMap<String, usize>,
    extra: Entry,
}

impl Registry {
    /// With `echo` under these names, too.
    pub(crate) fn new(more: &[String]) -> Self {
        let mut entries: Vec<Entry> = [
            content::tools(),
            streaming::tools(),
            input::tools(),
            mrtr::tools(),
            rounds::tools(),
            urls::tools(),
            long_running::tools(),
            schemas::tools(),
            triggers::tools(),
            extras::tools(),
        ]
        .into_iter()
        .flatten()
        .chain(more.iter().map(|name| extras::echo(name.clone())))
        .collect();
        for entry in &mut entries {
            let harmless = entry.tool.name != extras::CRASH;
            entry.tool.annotations = Some(ToolAnnotations::new().destructive(!harmless).open_world(false));
        }
        let by_name = entries.iter().enumerate().map(|(index, e)| (e.tool.name.to_string(), index)).collect();
        let extra = entry(EXTRA, "Comes and goes with test_trigger_tool_change", no_arguments(), |_| {
            Box::pin(async { text("The extra tool.") })
        });
        Self { entries, by_name, extra }
    }

    /// All listed tools, in a fixed order.
    pub(crate) fn list(&self, shared: &Shared) -> Vec<Tool> {
        let extra = shared.world.extra_tool.is_on().then_some(&self.extra);
        self.entries.iter().chain(extra).map(|entry| entry.tool.clone()).collect()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Tool> {
        self.by_name.get(name).map(|index| &self.entries[*index].tool)
    }

    /// Runs one tool. An unknown name is `-32602`.
    pub(crate) async fn run(&self, name: &str, call: Call) -> Reply {
        let entry = match self.by_name.get(name) {
            Some(index) => &self.entries[*index],
            None if name == EXTRA && call.shared.world.extra_tool.is_on() => &self.extra,
            None => {
                return Err(Stop::Protocol(ErrorData::invalid_params(format!("unknown tool: {name}"), None)));
            }
        };
        (entry.run)(call).await
    }
}
