//! What the paths of an HTTP+SSE frontend lead to. Changes when that frontend gets other paths.

use super::Scope;

/// The usual path of the event stream, and below it of one backend's.
pub const STREAM: &str = "/sse";
/// The usual path for messages.
pub const MESSAGES: &str = "/messages";

/// A stream and where the messages for it go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paths<'a> {
    /// Path of the event stream.
    pub stream: &'a str,
    /// Path for messages.
    pub messages: &'a str,
}

impl Paths<'static> {
    /// What every client of 2024-11-05 finds, wherever the frontend is.
    pub const USUAL: Self = Self { stream: STREAM, messages: MESSAGES };
}

/// What one path leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// The event stream of an endpoint.
    Stream(Scope),
    /// Messages for a stream.
    Messages,
}

/// Reads a path. The stream's own path serves all backends, one segment more a single one.
pub fn route(path: &str, paths: Paths<'_>) -> Option<Endpoint> {
    let path = path.strip_suffix('/').unwrap_or(path);
    if path == paths.messages {
        return Some(Endpoint::Messages);
    }
    let below = path.strip_prefix(paths.stream.strip_suffix('/').unwrap_or(paths.stream))?;
    if below.is_empty() {
        return Some(Endpoint::Stream(Scope::Merged));
    }
    let namespace = below.strip_prefix('/')?;
    let is_one = !namespace.is_empty() && !namespace.contains('/');
    is_one.then(|| Endpoint::Stream(Scope::One(namespace.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_streams_and_their_messages() {
        let one = |name: &str| Some(Endpoint::Stream(Scope::One(name.to_owned())));
        for (path, expected) in [
            ("/sse", Some(Endpoint::Stream(Scope::Merged))),
            ("/sse/", Some(Endpoint::Stream(Scope::Merged))),
            ("/sse/fs", one("fs")),
            ("/sse/fs/", one("fs")),
            ("/sse/fs/x", None),
            ("/sse//", None),
            ("/ssex", None),
            ("/messages", Some(Endpoint::Messages)),
            ("/messages/", Some(Endpoint::Messages)),
            ("/messages/x", None),
            ("/", None),
            ("", None),
        ] {
            assert_eq!(route(path, Paths::USUAL), expected, "{path}");
        }
        let original = Paths { stream: "/events", messages: "/api/v1/request" };
        assert_eq!(route("/events", original), Some(Endpoint::Stream(Scope::Merged)));
        assert_eq!(route("/events/fs", original), one("fs"));
        assert_eq!(route("/api/v1/request", original), Some(Endpoint::Messages));
        assert_eq!(route("/sse", original), None);
    }

    #[test]
    fn messages_may_go_below_the_stream() {
        let nested = Paths { stream: "/a", messages: "/a/in" };
        assert_eq!(route("/a/in", nested), Some(Endpoint::Messages));
        assert_eq!(route("/a/fs", nested), Some(Endpoint::Stream(Scope::One("fs".to_owned()))));
    }
}
