//! Which backends an endpoint path serves. Changes when endpoints get other shapes.

pub mod sse;

/// What one endpoint serves.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scope {
    /// All backends, lists merged, names mapped.
    Merged,
    /// One backend by its namespace, nothing renamed.
    One(String),
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Merged => f.write_str("/mcp"),
            Self::One(namespace) => write!(f, "/mcp/{namespace}"),
        }
    }
}

/// What a request path leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// An MCP endpoint.
    Mcp(Scope),
    /// A health page, by path.
    Health,
    /// Nothing.
    Unknown,
}

/// Reads a path.
pub fn route(path: &str) -> Route {
    let path = path.strip_suffix('/').unwrap_or(path);
    match path {
        "/mcp" => Route::Mcp(Scope::Merged),
        "/health" | "/healthz" | "/ready" => Route::Health,
        _ => match path.strip_prefix("/mcp/") {
            Some(namespace) if !namespace.is_empty() && !namespace.contains('/') => {
                Route::Mcp(Scope::One(namespace.to_owned()))
            }
            _ => Route::Unknown,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_their_endpoints() {
        assert_eq!(route("/mcp"), Route::Mcp(Scope::Merged));
        assert_eq!(route("/mcp/"), Route::Mcp(Scope::Merged));
        assert_eq!(route("/mcp/fs"), Route::Mcp(Scope::One("fs".to_owned())));
        assert_eq!(route("/mcp/fs/x"), Route::Unknown);
        assert_eq!(route("/mcpx"), Route::Unknown);
        assert_eq!(route("/ready"), Route::Health);
        assert_eq!(route("/"), Route::Unknown);
    }
}
