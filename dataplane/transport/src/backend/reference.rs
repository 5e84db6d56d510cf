//! URI references that a server sends, resolved against the URL that it was asked at (RFC 3986 section 5). Changes when
//! another form of reference is accepted.
//!
//! What a server names is only followed to its own origin: anything else would let it point the gateway at others (MCP
//! "Security best practices: server-side request forgery").

use http::Uri;

/// Why a reference is not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// Not a URI reference.
    #[error("it is no URI")]
    Malformed,
    /// Another scheme, host or port.
    #[error("it has another origin than the URL that named it")]
    ForeignOrigin,
}

/// The absolute URI that `reference` means at `base`, which is an absolute `http` or `https` URL. A fragment means nothing
/// to a server and is left out.
pub fn resolve(base: &Uri, reference: &str) -> Result<Uri, ReferenceError> {
    let reference = reference.split_once('#').map_or(reference, |(before, _)| before);
    let (path, query) = match reference.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (reference, None),
    };
    let scheme = base.scheme_str().unwrap_or_default();
    let authority = base.authority().map(http::uri::Authority::as_str).unwrap_or_default();
    let text = if has_scheme(path) {
        reference.to_owned()
    } else if path.starts_with("//") {
        format!("{scheme}:{reference}")
    } else {
        let (path, query) = match (path, query) {
            ("", None) => (base.path().to_owned(), base.query()),
            ("", query) => (base.path().to_owned(), query),
            (path, query) if path.starts_with('/') => (without_dots(path), query),
            (path, query) => {
                let directory = base.path().rsplit_once('/').map_or("", |(directory, _)| directory);
                (without_dots(&format!("{directory}/{path}")), query)
            }
        };
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        format!("{scheme}://{authority}{path}{query}")
    };
    let uri: Uri = text.parse().map_err(|_| ReferenceError::Malformed)?;
    let named = uri.authority().ok_or(ReferenceError::Malformed)?;
    // Credentials in a URL would be sent, and hide the host from a reader.
    if named.as_str().contains('@') || origin(&uri) != origin(base) {
        return Err(ReferenceError::ForeignOrigin);
    }
    Ok(uri)
}

/// Whether a reference begins with a scheme. A colon behind the first slash is part of the path.
fn has_scheme(path: &str) -> bool {
    let Some((scheme, _)) = path.split_once(':') else { return false };
    scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

/// Scheme, host and port; two URIs with the same three reach the same server.
fn origin(uri: &Uri) -> Option<(String, String, u16)> {
    let scheme = uri.scheme_str()?.to_ascii_lowercase();
    let default = match scheme.as_str() {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    Some((scheme, uri.host()?.to_ascii_lowercase(), uri.port_u16().unwrap_or(default)))
}

/// RFC 3986 section 5.2.4, for a path that begins with a slash.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if last {
                    kept.push("");
                }
            }
            segment => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(base: &str, reference: &str) -> Result<String, ReferenceError> {
        resolve(&base.parse().unwrap(), reference).map(|uri| uri.to_string())
    }

    #[test]
    fn references_are_resolved_as_browsers_do() {
        let base = "http://host:3001/a/sse?x=1";
        for (reference, expected) in [
            ("/messages?sessionId=7", "http://host:3001/messages?sessionId=7"),
            ("messages", "http://host:3001/a/messages"),
            ("./messages/", "http://host:3001/a/messages/"),
            ("../m?q", "http://host:3001/m?q"),
            ("../../../m", "http://host:3001/m"),
            ("/b/./c/../d", "http://host:3001/b/d"),
            ("/b/..", "http://host:3001/"),
            ("?sessionId=7", "http://host:3001/a/sse?sessionId=7"),
            ("", "http://host:3001/a/sse?x=1"),
            ("/m?u=http://other/", "http://host:3001/m?u=http://other/"),
            ("/m#fragment", "http://host:3001/m"),
            ("http://host:3001/m", "http://host:3001/m"),
            ("HTTP://HOST:3001/m", "http://HOST:3001/m"),
            ("//host:3001/m", "http://host:3001/m"),
            ("a/b:c", "http://host:3001/a/a/b:c"),
        ] {
            assert_eq!(at(base, reference).as_deref(), Ok(expected), "{reference}");
        }
        assert_eq!(at("https://host", "https://host:443/m").as_deref(), Ok("https://host:443/m"));
        assert_eq!(at("http://[::1]:9/sse", "m").as_deref(), Ok("http://[::1]:9/m"));
    }

    #[test]
    fn no_reference_leads_to_another_origin() {
        let base = "http://host:3001/sse";
        for reference in [
            "http://other:3001/m",
            "https://host:3001/m",
            "http://host/m",
            "http://host:3002/m",
            "//other/m",
            "///other/m",
            "http://host:3001@other/m",
            "http://user:password@host:3001/m",
            "http://host:3001.other/m",
            "http://169.254.169.254/latest",
            "file:///etc/passwd",
            "javascript:alert(1)",
            "ftp://host:3001/m",
            "\\\\other\\m",
            "http:\\\\other/m",
            "/m\r\nHost: other",
            "http:///m",
            "mailto:x",
        ] {
            if let Ok(uri) = at(base, reference) {
                assert!(uri.starts_with("http://host:3001/"), "{reference} leads to {uri}");
            }
        }
        assert_eq!(at(base, "http://other/m"), Err(ReferenceError::ForeignOrigin));
        assert_eq!(at(base, "https://host:3001/m"), Err(ReferenceError::ForeignOrigin));
        assert_eq!(at(base, "http://host:3001@other/m"), Err(ReferenceError::ForeignOrigin));
        assert_eq!(at(base, "file:///etc/passwd"), Err(ReferenceError::Malformed));
        assert_eq!(at(base, "/m\r\nHost: other"), Err(ReferenceError::Malformed));
    }
}
