//! Lists of the merged endpoint: the items of every backend's list, side by side, byte for byte but for renamed names.
//! Changes when what a list result holds, or how lists of several backends become one, changes.
//!
//! Source: MCP 2026-07-28, "Pagination", "Caching"; the same item lists exist in every earlier revision.

mod dress;
mod extract;
mod list;
mod rewrite;

use crate::method::Method;
use crate::param_headers::{ParamHeaders, Violation};

pub use dress::Dress;
pub use extract::{Item, ListError, ListLimits, ListPage, items_from_result};
pub use list::{LeftOut, MergedItem, MergedList, ModernFields, Page, PageLimits};
pub use rewrite::rewrite_items;

/// A list that is merged over backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ListKind {
    /// `tools/list`
    Tools,
    /// `prompts/list`
    Prompts,
    /// `resources/list`
    Resources,
    /// `resources/templates/list`
    Templates,
}

impl ListKind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Tools, Self::Prompts, Self::Resources, Self::Templates];

    /// The kind that a request asks for.
    pub fn of_method(method: Method) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.method() == method)
    }

    /// The method that asks for it.
    pub fn method(self) -> Method {
        match self {
            Self::Tools => Method::ToolsList,
            Self::Prompts => Method::PromptsList,
            Self::Resources => Method::ResourcesList,
            Self::Templates => Method::ResourceTemplatesList,
        }
    }

    /// Member of the result that holds the items.
    pub fn member(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources => "resources",
            Self::Templates => "resourceTemplates",
        }
    }

    /// Member of an item that identifies it.
    pub fn key(self) -> &'static str {
        match self {
            Self::Tools | Self::Prompts => "name",
            Self::Resources => "uri",
            Self::Templates => "uriTemplate",
        }
    }
}

/// Who may share a cached result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheScope {
    /// Anybody.
    Public,
    /// The one authorization context that it was given to.
    Private,
}

/// Cache hints of a result, as sent; `None` when absent or not usable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheHints {
    /// `ttlMs`, milliseconds.
    pub ttl_ms: Option<u64>,
    /// `cacheScope`
    pub scope: Option<CacheScope>,
}

impl CacheHints {
    /// The hints of a result made of `parts`: the shortest time, 0 when a part names none; private when a part is, or
    /// does not say that it is public, since a list must never reach somebody it was not meant for. Nothing at all is
    /// not to be cached.
    pub fn merged(parts: impl IntoIterator<Item = Self>) -> Self {
        let all = parts.into_iter().reduce(|all, part| Self {
            ttl_ms: all.ttl_ms.zip(part.ttl_ms).map(|(a, b)| a.min(b)),
            scope: if all.scope == part.scope { all.scope } else { None },
        });
        let all = all.unwrap_or_default();
        Self { ttl_ms: Some(all.ttl_ms.unwrap_or(0)), scope: Some(all.scope.unwrap_or(CacheScope::Private)) }
    }
}

/// A tool that was taken out of a catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedTool {
    /// Its name.
    pub name: Box<str>,
    /// Why.
    pub violation: Violation,
}

/// Takes out the tools that break the rules for `x-mcp-header`, as an HTTP client of 2026-07-28 must, and gives the
/// annotations of the others in their order. For catalogues of backends that are reached so.
pub fn reject_invalid_tools(items: &mut Vec<Item>) -> (Vec<ParamHeaders>, Vec<RejectedTool>) {
    let (mut headers, mut rejected) = (Vec::new(), Vec::new());
    items.retain(|item| match ParamHeaders::of_tool(&item.raw) {
        Ok(found) => {
            headers.push(found);
            true
        }
        Err(violation) => {
            rejected.push(RejectedTool { name: item.key.clone(), violation });
            false
        }
    });
    (headers, rejected)
}

#[cfg(test)]
mod tests;
