//! Sockets for connections from outside. Changes when an address means other interfaces.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use rustix::io::Errno;
use rustix::net::sockopt::set_ipv6_v6only;
use tokio::net::{TcpListener, TcpSocket};

/// Connections that wait to be accepted; the system may allow fewer.
const BACKLOG: u32 = 1024;

/// Listens on an address. `[::]` is every address of both families, whatever the system's default is; where the kernel has
/// no IPv6 at all it is every address of IPv4, which is logged. Any other address is only itself.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    if address.ip() != Ipv6Addr::UNSPECIFIED {
        return TcpListener::bind(address).await;
    }
    match bind_both(address) {
        Err(error) if is_without_ipv6(&error) => {
            tracing::warn!(%address, %error, "no IPv6 here: listening on IPv4 alone");
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        bound => bound,
    }
}

fn bind_both(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v6()?;
    socket.set_reuseaddr(true)?;
    set_ipv6_v6only(&socket, false)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Whether the kernel knows no IPv6, or has no address of it.
fn is_without_ipv6(error: &io::Error) -> bool {
    let code = Errno::from_io_error(error);
    matches!(code, Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_unspecified_address_is_reached_over_both_families() {
        let listener = bind((Ipv6Addr::UNSPECIFIED, 0).into()).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, address.port())).await.unwrap();
        let (_, peer) = listener.accept().await.unwrap();
        assert_eq!(peer.ip().to_canonical(), Ipv4Addr::LOCALHOST);
        if address.is_ipv6() {
            tokio::net::TcpStream::connect((Ipv6Addr::LOCALHOST, address.port())).await.unwrap();
        }
    }

    #[test]
    fn only_an_absent_family_is_no_failure() {
        for (code, absent) in
            [(Errno::AFNOSUPPORT, true), (Errno::ADDRNOTAVAIL, true), (Errno::ADDRINUSE, false)]
        {
            assert_eq!(is_without_ipv6(&code.into()), absent, "{code:?}");
        }
    }
}
