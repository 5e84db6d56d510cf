//! Origin and Host checks against DNS rebinding (MCP "Streamable HTTP: security"). Changes when the rule changes.

use bridge_snapshot::Listener;

use crate::refusal::Reason;

/// Judges the two headers of one request; a header that is present but not text is given as an empty string.
pub fn check(listener: &Listener, origin: Option<&str>, host: Option<&str>) -> Result<(), Reason> {
    let loopback = listener.address.ip().is_loopback();
    if loopback || !listener.allowed_hosts.is_empty() {
        let allowed = host.is_some_and(|host| {
            (loopback && is_local(host_name(host)))
                || listener.allowed_hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(host))
                || listener.allowed_hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(host_name(host)))
        });
        if !allowed {
            return Err(Reason::ForeignHost);
        }
    }
    let Some(origin) = origin else { return Ok(()) };
    let listed = listener
        .allowed_origins
        .iter()
        .any(|allowed| allowed == "*" || allowed.trim_end_matches('/').eq_ignore_ascii_case(origin));
    let local = loopback && origin_host(origin).is_some_and(is_local);
    if listed || local { Ok(()) } else { Err(Reason::ForeignOrigin) }
}

fn origin_host(origin: &str) -> Option<&str> {
    let rest = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"))?;
    (!rest.contains(['/', '@', '?', '#'])).then(|| host_name(rest))
}

/// Host without its port; brackets of IPv6 kept.
fn host_name(host: &str) -> &str {
    if host.starts_with('[') {
        return host.find(']').and_then(|end| host.get(..=end)).unwrap_or(host);
    }
    host.split(':').next().unwrap_or(host)
}

fn is_local(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost") || name == "127.0.0.1" || name == "[::1]"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(address: &str, origins: &[&str], hosts: &[&str]) -> Listener {
        Listener {
            name: "main".to_owned(),
            address: address.parse().unwrap(),
            protocols: vec![],
            tls: None,
            allowed_origins: origins.iter().map(ToString::to_string).collect(),
            allowed_hosts: hosts.iter().map(ToString::to_string).collect(),
            max_connections: 1,
            max_connections_per_ip: 0,
        }
    }

    #[test]
    fn loopback_serves_local_names_only() {
        let listener = listener("127.0.0.1:80", &[], &[]);
        for host in ["localhost", "localhost:8808", "127.0.0.1:1", "[::1]:8808", "LOCALHOST"] {
            assert_eq!(check(&listener, None, Some(host)), Ok(()), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", ""] {
            assert_eq!(check(&listener, None, Some(host)), Err(Reason::ForeignHost), "{host}");
        }
        assert_eq!(check(&listener, None, None), Err(Reason::ForeignHost));
    }

    #[test]
    fn a_rebound_name_does_not_pass_as_its_own_origin() {
        let listener = listener("127.0.0.1:80", &[], &["gateway.example"]);
        let host = Some("gateway.example");
        assert_eq!(check(&listener, Some("http://gateway.example"), host), Err(Reason::ForeignOrigin));
        assert_eq!(check(&listener, Some("http://localhost:3000"), host), Ok(()));
        assert_eq!(check(&listener, Some("http://localhost@evil.example"), host), Err(Reason::ForeignOrigin));
        assert_eq!(check(&listener, Some("null"), host), Err(Reason::ForeignOrigin));
    }

    #[test]
    fn listed_origins_pass_on_any_address() {
        let listener = listener("10.0.0.1:80", &["https://app.example.com"], &[]);
        let host = Some("anything");
        assert_eq!(check(&listener, Some("https://app.example.com"), host), Ok(()));
        assert_eq!(check(&listener, Some("https://app.example.com.evil"), host), Err(Reason::ForeignOrigin));
        assert_eq!(check(&listener, Some("http://localhost"), host), Err(Reason::ForeignOrigin));
        assert_eq!(check(&listener, None, host), Ok(()));
    }
}
