//! Which addresses connections to backends may lead to, judged when they are opened: a name means something else every
//! time it is looked up. Changes when another address is out of bounds.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use tower::Service;

/// The metadata services of clouds at addresses that are not of the link: Alibaba Cloud, Azure, and AWS over IPv6.
const METADATA: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

/// Where connections may lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reach {
    /// Anywhere.
    #[default]
    Anywhere,
    /// Not to the machine itself, its link, or the metadata service of a cloud: whoever names a backend must not reach
    /// through the gateway what only the gateway can reach.
    Elsewhere,
}

impl Reach {
    /// The addresses of a name, or an address, that may be connected to.
    pub async fn resolve(self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        self.admit(tokio::net::lookup_host((host, port)).await?)
    }

    fn admit(self, found: impl Iterator<Item = SocketAddr>) -> io::Result<Vec<SocketAddr>> {
        let mut refused = false;
        let admitted: Vec<_> = found
            .filter(|address| {
                let refuse = self == Self::Elsewhere && is_local(address.ip());
                refused |= refuse;
                !refuse
            })
            .collect();
        if admitted.is_empty() && refused {
            return Err(not_allowed());
        }
        Ok(admitted)
    }
}

fn not_allowed() -> io::Error {
    let text = "addresses of the gateway itself, of its link, and of metadata services are not allowed";
    io::Error::new(io::ErrorKind::PermissionDenied, text)
}

/// Whether an address is the machine itself, its link, or the metadata service of a cloud, in whichever form it is written
/// (RFC 4291 2.5.5.2, RFC 6052 2.1).
fn is_local(address: IpAddr) -> bool {
    let address = address.to_canonical();
    let is_near = match address {
        // All of 0.0.0.0/8 is "this network" (RFC 1122 3.2.1.3).
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local() || v4.octets()[0] == 0,
        IpAddr::V6(v6) => {
            let near = v6.is_loopback() || v6.is_unicast_link_local() || v6.is_unspecified();
            near || translated(v6).is_some_and(|v4| is_local(IpAddr::V4(v4)))
        }
    };
    is_near || METADATA.contains(&address)
}

/// The IPv4 address that a translator on the way makes of one.
fn translated(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [0x64, 0xff9b, 0, 0, 0, 0, high, low] = address.segments() else { return None };
    Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
}

/// Resolves names for [`Connector`].
#[derive(Debug, Clone)]
pub struct Resolver(Reach);

type Doing<T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send>>;
type Failure = Box<dyn std::error::Error + Send + Sync>;

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = Failure;
    type Future = Doing<Self::Response>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let reach = self.0;
        // The connector puts the port in.
        Box::pin(async move { Ok(reach.resolve(name.as_str(), 0).await?.into_iter()) })
    }
}

/// Opens TCP connections for HTTP.
#[derive(Debug, Clone)]
pub struct Connector {
    reach: Reach,
    tcp: HttpConnector<Resolver>,
}

impl Connector {
    pub(crate) fn new(reach: Reach, configure: impl FnOnce(&mut HttpConnector<Resolver>)) -> Self {
        let mut tcp = HttpConnector::new_with_resolver(Resolver(reach));
        configure(&mut tcp);
        Self { reach, tcp }
    }

    /// Whether the host is an address that is out of bounds: addresses are not resolved.
    fn is_refused(&self, uri: &Uri) -> bool {
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        self.reach == Reach::Elsewhere && host.parse().is_ok_and(is_local)
    }
}

impl Service<Uri> for Connector {
    type Response = <HttpConnector<Resolver> as Service<Uri>>::Response;
    type Error = Failure;
    type Future = Doing<Self::Response>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.tcp.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        if self.is_refused(&uri) {
            return Box::pin(async { Err(not_allowed().into()) });
        }
        let connecting = self.tcp.call(uri);
        Box::pin(async move { Ok(connecting.await?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_the_gateway_reaches_is_local_in_every_form() {
        let local = [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "169.254.0.1",
            "100.100.100.200",
            "168.63.129.16",
            "::",
            "::1",
            "fe80::1",
            "febf::1",
            "fd00:ec2::254",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:100.100.100.200",
            "64:ff9b::169.254.169.254",
        ];
        for address in local {
            assert!(is_local(address.parse().unwrap()), "{address}");
        }
        let elsewhere = [
            "10.0.0.1",
            "128.0.0.1",
            "169.253.255.255",
            "100.100.100.201",
            "fd00:ec2::253",
            "fec0::1",
            "2001:db8::1",
            "::ffff:10.0.0.1",
            "64:ff9b::10.0.0.1",
        ];
        for address in elsewhere {
            assert!(!is_local(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn of_several_addresses_those_elsewhere_are_left() {
        let all = ["127.0.0.1:80", "10.0.0.1:80"].map(|address| address.parse().unwrap());
        assert_eq!(Reach::Anywhere.admit(all.into_iter()).unwrap(), all);
        assert_eq!(Reach::Elsewhere.admit(all.into_iter()).unwrap(), all[1..]);
        let refused = Reach::Elsewhere.admit(all.into_iter().take(1)).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn addresses_in_urls_are_judged_as_well() {
        let connector = |reach| Connector::new(reach, |_| {});
        for (url, refused) in [
            ("http://127.0.0.1/", true),
            ("http://[::ffff:127.0.0.1]:8080/", true),
            ("http://10.0.0.1/", false),
        ] {
            let uri = url.parse().unwrap();
            assert_eq!(connector(Reach::Elsewhere).is_refused(&uri), refused, "{url}");
            assert!(!connector(Reach::Anywhere).is_refused(&uri), "{url}");
        }
    }

    #[tokio::test]
    async fn a_name_is_what_it_resolves_to() {
        let refused = Reach::Elsewhere.resolve("localhost", 80).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        assert!(!Reach::Anywhere.resolve("localhost", 80).await.unwrap().is_empty());
    }
}
