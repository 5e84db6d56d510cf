//! What of a backend a client sees and may use: filters, required scopes and other names, ready to judge. Changes when
//! something else of it can be hidden, guarded or replaced.

use std::collections::{HashMap, HashSet};

use bridge_mcp::merge::{Dress, Item, ListKind};
use bridge_snapshot::{Annotations, Pattern, ToolOverride};
use regex::{Regex, RegexSet};
use serde_json::Value;

use crate::principal::Principal;

/// The rules of one backend. The default shows everything to everybody.
#[derive(Debug, Default)]
pub struct Exposure {
    tools: Filter,
    resources: Filter,
    prompts: Filter,
    required_scopes: HashMap<String, Vec<String>>,
    /// By the name that the server knows.
    dresses: HashMap<String, Dress>,
    /// The names that the server knows, by the names that clients know instead.
    originals: HashMap<String, String>,
}

/// Why rules cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExposureError {
    /// An expression.
    #[error("exposure.{field}: `{pattern}` is no regular expression of RE2")]
    Regex {
        /// The list that it stands in, for example `tools.include`.
        field: String,
        /// The expression.
        pattern: String,
    },
    /// All expressions of one list.
    #[error("exposure.{field}: the regular expressions are too large")]
    TooLarge {
        /// The list, as above.
        field: String,
    },
    /// Two names that become one.
    #[error("exposure.overrides: two tools are called `{name}`")]
    Renamed {
        /// That one.
        name: String,
    },
    /// A scope.
    #[error("exposure.required_scopes: `{scope}` is no scope (RFC 6749, 3.3)")]
    Scope {
        /// As it was written.
        scope: String,
    },
}

impl Exposure {
    /// Compiles rules.
    pub fn compile(rules: &bridge_snapshot::Exposure) -> Result<Self, ExposureError> {
        let mut scopes = rules.required_scopes.values().flatten();
        if let Some(scope) = scopes.find(|scope| !is_scope(scope)) {
            return Err(ExposureError::Scope { scope: scope.clone() });
        }
        let mut originals = HashMap::new();
        for (original, change) in &rules.overrides {
            if let Some(name) = change.name.as_ref().filter(|name| *name != original)
                && originals.insert(name.clone(), original.clone()).is_some()
            {
                return Err(ExposureError::Renamed { name: name.clone() });
            }
        }
        Ok(Self {
            dresses: rules.overrides.iter().map(|(name, change)| (name.clone(), dress(change))).collect(),
            originals,
            tools: Filter::compile("tools", &rules.tools)?,
            resources: Filter::compile("resources", &rules.resources)?,
            prompts: Filter::compile("prompts", &rules.prompts)?,
            required_scopes: rules.required_scopes.clone().into_iter().collect(),
        })
    }

    /// Whether nothing is hidden or guarded.
    pub fn is_open(&self) -> bool {
        ListKind::ALL.iter().all(|kind| self.shows_as_is(*kind)) && self.required_scopes.is_empty()
    }

    /// Whether a list is shown as the server gives it.
    pub fn shows_as_is(&self, kind: ListKind) -> bool {
        self.filter(kind).is_open() && (kind != ListKind::Tools || self.dresses.is_empty())
    }

    /// An item as clients see it, if they do.
    pub fn present(&self, kind: ListKind, item: Item) -> Option<Item> {
        let is_taken = kind == ListKind::Tools && self.name_of(&item.key) != Some(&item.key);
        let dress = self.dresses.get(&*item.key).filter(|_| kind == ListKind::Tools);
        match dress {
            _ if !self.filter(kind).shows(&item.key) => None,
            Some(dress) if dress.name.is_some() || !is_taken => dress.put_on(&item),
            _ if is_taken => None,
            _ => Some(item),
        }
    }

    /// The key by which the server knows what clients call `key`, if they see it and may use it.
    pub fn original<'a>(&'a self, kind: ListKind, key: &'a str) -> Option<&'a str> {
        let original = if kind == ListKind::Tools { self.name_of(key)? } else { key };
        self.filter(kind).shows(original).then_some(original)
    }

    /// The name by which the server knows the tool that clients call `name`; none is called so when it was renamed.
    fn name_of<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        if let Some(original) = self.originals.get(name) {
            return Some(original);
        }
        let renamed = self.dresses.get(name).and_then(|dress| dress.name.as_deref());
        renamed.is_none_or(|new| new == name).then_some(name)
    }

    /// The scopes that a call of `tool` needs, if `caller` lacks any of them. Nobody without a credential has any.
    pub fn lacking(&self, tool: &str, caller: &Principal) -> Option<&[String]> {
        let needed = self.required_scopes.get(tool)?;
        let granted = caller.grant().map_or(&[][..], |grant| &grant.scopes);
        (!needed.iter().all(|scope| granted.contains(scope))).then_some(needed)
    }

    fn filter(&self, kind: ListKind) -> &Filter {
        match kind {
            ListKind::Tools => &self.tools,
            ListKind::Prompts => &self.prompts,
            ListKind::Resources | ListKind::Templates => &self.resources,
        }
    }
}

/// A filter, ready to judge.
#[derive(Debug, Default)]
struct Filter {
    include: Option<Names>,
    exclude: Option<Names>,
}

impl Filter {
    fn compile(list: &str, rules: &bridge_snapshot::Filter) -> Result<Self, ExposureError> {
        let include = rules.include.as_ref().map(|all| Names::compile(&format!("{list}.include"), all));
        let exclude =
            (!rules.exclude.is_empty()).then(|| Names::compile(&format!("{list}.exclude"), &rules.exclude));
        Ok(Self { include: include.transpose()?, exclude: exclude.transpose()? })
    }

    fn is_open(&self) -> bool {
        self.include.is_none() && self.exclude.is_none()
    }

    fn shows(&self, key: &str) -> bool {
        self.include.as_ref().is_none_or(|names| names.contain(key))
            && !self.exclude.as_ref().is_some_and(|names| names.contain(key))
    }
}

/// A set of names.
#[derive(Debug)]
struct Names {
    exact: HashSet<String>,
    expressions: RegexSet,
}

impl Names {
    fn compile(field: &str, patterns: &[Pattern]) -> Result<Self, ExposureError> {
        let (mut exact, mut expressions) = (HashSet::new(), Vec::new());
        for pattern in patterns {
            match pattern {
                Pattern::Exact(name) => drop(exact.insert(name.clone())),
                Pattern::Regex(pattern) => expressions.push(whole(pattern).ok_or_else(|| {
                    ExposureError::Regex { field: field.to_owned(), pattern: pattern.clone() }
                })?),
            }
        }
        let expressions = RegexSet::new(expressions)
            .map_err(|_error| ExposureError::TooLarge { field: field.to_owned() })?;
        Ok(Self { exact, expressions })
    }

    fn contain(&self, name: &str) -> bool {
        self.exact.contains(name) || self.expressions.is_match(name)
    }
}

/// The expression that matches a name as a whole. The inner one is tried alone first: a stray parenthesis must not find its
/// partner in what is added.
fn whole(pattern: &str) -> Option<String> {
    let whole = format!(r"\A(?:{pattern})\z");
    (Regex::new(pattern).is_ok() && Regex::new(&whole).is_ok()).then_some(whole)
}

fn dress(change: &ToolOverride) -> Dress {
    let Annotations { title, read_only_hint, destructive_hint, idempotent_hint, open_world_hint } =
        &change.annotations;
    let members = [
        ("title", title.clone().map(Value::from)),
        ("readOnlyHint", read_only_hint.map(Value::from)),
        ("destructiveHint", destructive_hint.map(Value::from)),
        ("idempotentHint", idempotent_hint.map(Value::from)),
        ("openWorldHint", open_world_hint.map(Value::from)),
    ];
    let members = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Dress {
        name: change.name.clone(),
        description: change.description.clone(),
        annotations: members.collect(),
    }
}

/// Whether a challenge can name it (RFC 6749, 3.3: no space, quote or backslash).
fn is_scope(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
}

#[cfg(test)]
mod tests;
