//! What of a backend clients see, and what they need to use it. Changes when something else of it can be hidden or
//! guarded.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What of a backend is shown, and to whom its tools answer. The default shows everything to everybody.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Exposure {
    /// Tools, by name.
    #[serde(skip_serializing_if = "Filter::is_open")]
    pub tools: Filter,
    /// Resources and templates of resources, by URI.
    #[serde(skip_serializing_if = "Filter::is_open")]
    pub resources: Filter,
    /// Prompts, by name.
    #[serde(skip_serializing_if = "Filter::is_open")]
    pub prompts: Filter,
    /// Scopes that a client needs to call a tool, all of them, by the name of the tool.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub required_scopes: BTreeMap<String, Vec<String>>,
    /// Tools that look different to clients, by the name that the server knows. Filters and scopes mean that name, too.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub overrides: BTreeMap<String, ToolOverride>,
}

/// What clients see of a tool instead of what its server says; what is absent stays.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ToolOverride {
    /// Name. A tool of the server's that has it already is hidden, unless it is renamed itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Members of `annotations`, as MCP spells them.
    #[serde(skip_serializing_if = "Annotations::is_empty")]
    pub annotations: Annotations,
}

/// What a tool does, as far as clients are told.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Annotations {
    /// Title for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Whether it changes nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_only_hint: Option<bool>,
    /// Whether it may destroy something.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destructive_hint: Option<bool>,
    /// Whether a second call changes nothing more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotent_hint: Option<bool>,
    /// Whether it deals with things outside of the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_world_hint: Option<bool>,
}

impl Annotations {
    /// Whether they say nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Which items of one kind are shown. What is excluded stays excluded, whatever includes it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Filter {
    /// What is shown; everything when absent, nothing when empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub include: Option<Vec<Pattern>>,
    /// What is not shown.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<Pattern>,
}

/// Which names are meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pattern {
    /// This one.
    Exact(String),
    /// Those that this regular expression matches as a whole.
    Regex(String),
}

impl Exposure {
    /// Whether nothing is hidden or guarded.
    pub fn is_open(&self) -> bool {
        *self == Self::default()
    }
}

impl Filter {
    /// Whether nothing is hidden.
    pub fn is_open(&self) -> bool {
        *self == Self::default()
    }
}
