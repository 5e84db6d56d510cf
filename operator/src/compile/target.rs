//! One place where a server is reached: from an address, a protocol and a path to what the data plane connects to. Changes
//! when a protocol is added.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bridge_api::condition::Accepted;
use bridge_api::v1alpha1::backend::BackendProtocol;
use bridge_api::v1alpha1::gateway::ListenerProtocol;
use bridge_snapshot::{DetectBackend, HttpBackend, Secret, SseBackend, Target, TcpBackend, WebSocketBackend};
use http::Uri;

use super::finding::Problem;
use crate::defaults;

/// What all places of one backend have in common.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    pub(super) protocol: BackendProtocol,
    /// The path where the address has none.
    pub(super) path: Option<String>,
    /// Headers whose values are no secrets.
    pub(super) headers: BTreeMap<String, Secret>,
}

/// Where one endpoint is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Name or address, in brackets if it is of IPv6.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) encrypted: bool,
    /// Its own path.
    pub(super) path: Option<String>,
}

impl Shape {
    pub(super) fn at(&self, place: &Place) -> Target {
        let path = |default: ListenerProtocol| {
            let own = place.path.as_deref().or(self.path.as_deref());
            own.unwrap_or(defaults::path(default)).to_owned()
        };
        let url = |plain: &str, secure: &str, path: &str| {
            let scheme = if place.encrypted { secure } else { plain };
            format!("{scheme}://{}:{}{path}", place.host, place.port)
        };
        let http = || HttpBackend {
            url: url("http", "https", &path(ListenerProtocol::StreamableHTTP)),
            headers: self.headers.clone(),
        };
        let sse = || SseBackend {
            url: url("http", "https", &path(ListenerProtocol::SSE)),
            request_url: None,
            headers: self.headers.clone(),
        };
        match self.protocol {
            BackendProtocol::StreamableHTTP | BackendProtocol::Stdio => Target::Http(http()),
            BackendProtocol::SSE => Target::Sse(sse()),
            BackendProtocol::Auto => Target::Detect(DetectBackend { http: http(), sse: sse() }),
            BackendProtocol::WebSocket => Target::WebSocket(WebSocketBackend {
                url: url("ws", "wss", &path(ListenerProtocol::WebSocket)),
                headers: self.headers.clone(),
            }),
            BackendProtocol::TCP => Target::Tcp(TcpBackend {
                host: place.host.trim_matches(['[', ']']).to_owned(),
                port: place.port,
                tls: place.encrypted,
                token: None,
            }),
        }
    }
}

/// Reads the URL of an endpoint. The protocol that its scheme stands for, where the backend leaves that open.
pub(super) fn parse(url: &str, allow_local: bool) -> Result<(Place, Option<BackendProtocol>), Problem> {
    let invalid = |what: &str| {
        Problem::spec(Accepted::Invalid, format_args!("spec.endpoints: {what}: {}", without_user(url)))
    };
    let uri: Uri = url.parse().map_err(|_error| invalid("not a URL"))?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(invalid("not an absolute URL"));
    };
    if authority.as_str().contains('@') {
        return Err(invalid("a URL must not hold a credential; use spec.auth"));
    }
    let (encrypted, standard, protocol) = match scheme {
        "http" => (false, Some(80), None),
        "https" => (true, Some(443), None),
        "ws" => (false, Some(80), Some(BackendProtocol::WebSocket)),
        "wss" => (true, Some(443), Some(BackendProtocol::WebSocket)),
        "tcp" => (false, None, Some(BackendProtocol::TCP)),
        "tls" => (true, None, Some(BackendProtocol::TCP)),
        _ => return Err(invalid("allowed are http, https, ws, wss, tcp and tls")),
    };
    let port = authority.port_u16().or(standard).ok_or_else(|| invalid("the port is missing"))?;
    let host = authority.host();
    if !allow_local && is_local(host) {
        return Err(invalid("addresses of the pod itself and of its node are not allowed"));
    }
    let path = uri
        .path_and_query()
        .map(http::uri::PathAndQuery::as_str)
        .filter(|path| !path.is_empty() && *path != "/");
    let place = Place { host: host.to_owned(), port, encrypted, path: path.map(ToOwned::to_owned) };
    Ok((place, protocol))
}

/// Metadata services that are not on the link: Alibaba Cloud, Azure.
const METADATA_V4: [Ipv4Addr; 2] = [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(168, 63, 129, 16)];
/// That of AWS: `fd00:ec2::254`.
const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x254);
/// That of Google Cloud, which others imitate.
const METADATA_NAMES: [&str; 3] = ["metadata", "metadata.goog", "metadata.google.internal"];

/// Whether a host is the pod itself, its link, or the metadata service of a cloud: places that the pod reaches and the
/// author of a backend must not reach through it.
pub(super) fn is_local(host: &str) -> bool {
    let bare = host.trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase();
    match bare.parse::<IpAddr>() {
        Ok(address) => match address.to_canonical() {
            IpAddr::V4(v4) => {
                v4.is_loopback() || v4.is_link_local() || v4.is_unspecified() || METADATA_V4.contains(&v4)
            }
            IpAddr::V6(v6) => {
                v6.is_loopback() || v6.is_unicast_link_local() || v6.is_unspecified() || v6 == METADATA_V6
            }
        },
        Err(_name) => {
            // `127.1` and `0x7f000001` are no addresses here, but resolvers take them for some.
            let last = bare.rsplit('.').next().unwrap_or_default();
            let numeric = last.starts_with("0x") || last.bytes().all(|byte| byte.is_ascii_digit());
            numeric || bare == "localhost" || bare.ends_with(".localhost") || METADATA_NAMES.contains(&&*bare)
        }
    }
}

/// A URL as it may be shown.
fn without_user(url: &str) -> String {
    match url.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?.1))) {
        Some((scheme, rest)) => format!("{scheme}://{rest}"),
        None => url.to_owned(),
    }
}
