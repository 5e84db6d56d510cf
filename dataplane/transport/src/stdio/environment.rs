//! What a child sees of the gateway's environment. Changes when a variable turns out to be needed by servers in general.
//!
//! Nothing but this list and what the backend's configuration sets: the gateway's own environment may hold secrets.

use std::ffi::{OsStr, OsString};

/// Passed on when set.
const ALLOWED: &[&str] = &[
    // Who and where
    "HOME",
    "LOGNAME",
    "PATH",
    "SHELL",
    "TERM",
    "TMPDIR",
    "TZ",
    "USER",
    // Language
    "LANG",
    "LANGUAGE",
    // Certificate authorities
    "NODE_EXTRA_CA_CERTS",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
];

/// Passed on when the name begins like this.
const ALLOWED_PREFIXES: &[&str] = &["LC_", "XDG_"];

/// Passed on when set and free of credentials; compared without regard to case, both spellings are in use.
const PROXIES: &[&str] = &["ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"];

/// The part of `environment` that every child may see.
pub(super) fn inherited(
    environment: impl Iterator<Item = (OsString, OsString)>,
) -> impl Iterator<Item = (OsString, OsString)> {
    environment.filter(|(name, value)| is_inherited(name, value))
}

/// Whether every child sees this variable of the gateway's own environment.
pub fn is_inherited(name: &OsStr, value: &OsStr) -> bool {
    name.to_str().is_some_and(|name| is_allowed(name, value))
}

fn is_allowed(name: &str, value: &OsStr) -> bool {
    ALLOWED.contains(&name)
        || ALLOWED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || (PROXIES.iter().any(|proxy| proxy.eq_ignore_ascii_case(name)) && !has_user_info(value))
}

/// Whether a proxy address may contain `user:password@` (RFC 3986 section 3.2.1).
fn has_user_info(value: &OsStr) -> bool {
    value.to_str().is_none_or(|value| value.contains('@'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_the_gateway_stay_with_it() {
        let environment = [
            ("PATH", "/bin"),
            ("LC_ALL", "C.UTF-8"),
            ("XDG_CACHE_HOME", "/c"),
            ("https_proxy", "http://proxy:3128"),
            ("HTTP_PROXY", "http://me:secret@proxy:3128"),
            ("AWS_SECRET_ACCESS_KEY", "x"),
            ("MCP_AUTH_TOKEN", "x"),
            ("LD_PRELOAD", "x.so"),
            ("path", "/wrong/case"),
            ("PATHOLOGY", "x"),
        ];
        let kept: Vec<String> =
            inherited(environment.iter().map(|(name, value)| (name.into(), value.into())))
                .map(|(name, _)| name.into_string().unwrap())
                .collect();
        assert_eq!(kept, ["PATH", "LC_ALL", "XDG_CACHE_HOME", "https_proxy"]);
    }
}
