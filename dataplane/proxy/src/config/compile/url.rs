//! URLs of backends. Changes when another form of URL is accepted.

use crate::config::decode::Problem;

/// Checks the URL of a Streamable HTTP server and adds `/mcp` when it has no path, as the original does.
pub(super) fn http_endpoint(text: &str) -> Result<String, Problem> {
    with_path(text, "/mcp")
}

/// Checks the URL of the event stream of an HTTP+SSE server and adds `/sse`, the usual path, when it has none.
pub(super) fn sse_stream(text: &str) -> Result<String, Problem> {
    with_path(text, "/sse")
}

/// Checks the URL of a WebSocket server.
pub(super) fn websocket_endpoint(text: &str) -> Result<String, Problem> {
    checked(text, "/", [WS, WSS])
}

/// A path behind the URL of a server.
pub(super) fn join(base: &str, path: &str) -> Result<String, Problem> {
    let checked = with_path(base, "/")?;
    if checked.contains('?') {
        return Err(Problem::new("a query cannot stand before a path")
            .remedy("write the whole URL, and leave the path out")
            .showing(without_userinfo(base)));
    }
    with_path(&format!("{}/{}", checked.trim_end_matches('/'), path.trim_start_matches('/')), "/")
}

const HTTP: &str = "http";
const HTTPS: &str = "https";
const WS: &str = "ws";
const WSS: &str = "wss";

/// Checks the URL of an HTTP server and adds `default` when it has no path.
fn with_path(text: &str, default: &str) -> Result<String, Problem> {
    checked(text, default, [HTTP, HTTPS])
}

fn checked(text: &str, default: &str, schemes: [&str; 2]) -> Result<String, Problem> {
    let [plain, secure] = schemes;
    let remedy = format!("allowed: `{plain}://host[:port][/path]` or `{secure}://…`");
    let refused = |what: &str| Problem::new(what).remedy(remedy.as_str()).showing(without_userinfo(text));
    if text.contains('#') {
        return Err(refused("a fragment has no meaning in the URL of a server"));
    }
    let uri: http::Uri = text.parse().map_err(|_| refused("not a URL"))?;
    if !uri.scheme_str().is_some_and(|scheme| schemes.contains(&scheme)) {
        return Err(refused(&format!(
            "not {} `{plain}` or `{secure}` URL",
            if plain == HTTP { "an" } else { "a" }
        )));
    }
    let authority = uri.authority().ok_or_else(|| refused("the URL has no host"))?;
    if authority.as_str().contains('@') {
        return Err(Problem::new("credentials in a URL end up in logs")
            .remedy("put them under `headers`, for example `Authorization: {env: NAME}`")
            .showing(without_userinfo(text)));
    }
    let port = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
    let port_is_usable =
        port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    if authority.host().is_empty() || !port_is_usable {
        return Err(refused("the URL has no usable host and port"));
    }
    let scheme = uri.scheme_str().unwrap_or_default();
    Ok(match (uri.path(), uri.query()) {
        ("" | "/", None) => format!("{scheme}://{authority}{default}"),
        ("" | "/", Some(query)) => format!("{scheme}://{authority}{default}?{query}"),
        _ => text.to_owned(),
    })
}

/// Host and port of a server of the binary protocol, and whether its connections are encrypted.
pub(super) fn tcp_endpoint(text: &str) -> Result<(String, u16, bool), Problem> {
    let remedy = "allowed: `tcp://host:port`, or encrypted `tcps://host:port`";
    let refused = |what: &str| Problem::new(what).remedy(remedy).showing(without_userinfo(text));
    let uri: http::Uri = text.parse().map_err(|_| refused("not a URL"))?;
    let tls = match uri.scheme_str() {
        Some("tcp") => false,
        Some("tcps" | "tcp+tls") => true,
        _ => return Err(refused("not a `tcp` or `tcps` URL")),
    };
    let authority = uri.authority().ok_or_else(|| refused("the URL has no host"))?;
    if authority.as_str().contains('@') {
        return Err(Problem::new("credentials in a URL end up in logs")
            .remedy("put the token under `token`, for example `{env: NAME}`")
            .showing(without_userinfo(text)));
    }
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err(refused("a path has no meaning there"));
    }
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    match authority.port_u16() {
        Some(port) if !host.is_empty() && port != 0 => Ok((host.to_owned(), port, tls)),
        _ => Err(refused("the URL has no usable host and port")),
    }
}

/// The scheme of a URL in lower case, as far as there is one.
pub(super) fn scheme(text: &str) -> Option<String> {
    text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase())
}

/// The text with whatever stands before an `@` and after a `?` left out: both may be secrets.
fn without_userinfo(text: &str) -> String {
    let text = text.split_once('?').map_or(text, |(before, _)| before);
    match (text.split_once("://"), text.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://…@{host}"),
        (None, Some((_, host))) => format!("…@{host}"),
        (_, None) => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_path_becomes_mcp() {
        for (text, expected) in [
            ("http://localhost:8081", "http://localhost:8081/mcp"),
            ("http://localhost:8081/", "http://localhost:8081/mcp"),
            ("https://h?k=v", "https://h/mcp?k=v"),
            ("https://h/mcp", "https://h/mcp"),
            ("https://h/a/b?c=d", "https://h/a/b?c=d"),
            ("http://[::1]:9", "http://[::1]:9/mcp"),
        ] {
            assert_eq!(http_endpoint(text).ok().as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn a_server_of_the_binary_protocol_is_a_host_and_a_port() {
        for (text, host, port, tls) in [
            ("tcp://localhost:8083", "localhost", 8083, false),
            ("tcps://h:1/", "h", 1, true),
            ("tcp+tls://10.0.0.1:2", "10.0.0.1", 2, true),
            ("tcp://[::1]:3", "::1", 3, false),
        ] {
            assert_eq!(tcp_endpoint(text).ok(), Some((host.to_owned(), port, tls)), "{text}");
        }
        for text in
            ["h:1", "http://h:1", "tcp://h", "tcp://h:0", "tcp://:1", "tcp://h:1/x", "tcp://a:hunter2@h:1"]
        {
            let problem = tcp_endpoint(text).unwrap_err();
            assert!(!format!("{problem:?}").contains("hunter2"), "{problem:?}");
        }
    }

    #[test]
    fn paths_are_added_to_the_url_of_a_server() {
        assert_eq!(sse_stream("http://h:1").ok().as_deref(), Some("http://h:1/sse"));
        assert_eq!(sse_stream("http://h:1/events").ok().as_deref(), Some("http://h:1/events"));
        for (base, path, expected) in [
            ("http://h:1", "/events", "http://h:1/events"),
            ("http://h:1/", "events", "http://h:1/events"),
            ("http://h:1/base/", "/api/v1/request", "http://h:1/base/api/v1/request"),
        ] {
            assert_eq!(join(base, path).ok().as_deref(), Some(expected), "{base} {path}");
        }
        assert!(join("http://h?key=1", "/events").is_err());
        assert!(join("http://h", "/a b").is_err());
    }

    #[test]
    fn other_urls_are_refused_without_showing_secrets() {
        for text in [
            "localhost:8081",
            "ws://h",
            "http://",
            "http:///mcp",
            "/mcp",
            "",
            "http://h:99999",
            "http://h/#x",
            "http://user:hunter2@h/mcp",
            "ftp://user:hunter2@h/mcp?token=hunter2",
            "http://h h?hunter2",
        ] {
            let problem = http_endpoint(text).unwrap_err();
            assert!(!format!("{problem:?}").contains("hunter2"), "{problem:?}");
        }
    }
}
