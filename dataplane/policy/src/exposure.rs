//! What of a backend a client sees and may use: filters and required scopes, ready to judge. Changes when something else of
//! it can be hidden or guarded.

use std::collections::{HashMap, HashSet};

use bridge_mcp::merge::ListKind;
use bridge_snapshot::Pattern;
use regex::{Regex, RegexSet};

use crate::principal::Principal;

/// The rules of one backend. The default shows everything to everybody.
#[derive(Debug, Default)]
pub struct Exposure {
    tools: Filter,
    resources: Filter,
    prompts: Filter,
    required_scopes: HashMap<String, Vec<String>>,
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
        Ok(Self {
            tools: Filter::compile("tools", &rules.tools)?,
            resources: Filter::compile("resources", &rules.resources)?,
            prompts: Filter::compile("prompts", &rules.prompts)?,
            required_scopes: rules.required_scopes.clone().into_iter().collect(),
        })
    }

    /// Whether nothing is hidden or guarded.
    pub fn is_open(&self) -> bool {
        ListKind::ALL.iter().all(|kind| self.shows_all(*kind)) && self.required_scopes.is_empty()
    }

    /// Whether no item of a list is hidden.
    pub fn shows_all(&self, kind: ListKind) -> bool {
        self.filter(kind).is_open()
    }

    /// Whether clients see an item, by its name, URI or URI template, and may use it.
    pub fn shows(&self, kind: ListKind, key: &str) -> bool {
        self.filter(kind).shows(key)
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

/// Whether a challenge can name it (RFC 6749, 3.3: no space, quote or backslash).
fn is_scope(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
}

#[cfg(test)]
mod tests;
