//! Listeners of the TCP binary protocol and of its health check. Changes when such listeners get another setting.

use std::net::SocketAddr;

use bridge_snapshot::{ClientAuth, Listener, Protocol};

use crate::config::decode::{Context, Located, Problem};
use crate::config::model::server::Server;
use crate::config::values::Port;

/// How far the port is above that of the main listener, unless configured.
const ABOVE_MAIN: u16 = 1000;
/// Port of an additional listener.
pub(super) const FRONTEND_PORT: Port = Port(8444);
/// Health checks are short and few.
const MAX_HEALTH_CHECKS: usize = 256;

/// The listener beside `main`, with its bounds and its encryption.
///
/// The original served plain TCP there whatever it did on the main port, so plain clients come in beside those with TLS;
/// but not where client certificates are asked for, which would be worth nothing.
pub(super) fn beside_main(
    server: &Server,
    main: &Listener,
    cx: &mut Context<'_>,
) -> Option<Located<Listener>> {
    let port = match (server.tcp_port.value, server.port.0) {
        (Some(port), _) => port,
        (None, 0) => Port(0),
        (None, main) => match main.checked_add(ABOVE_MAIN) {
            Some(port) => Port(port),
            None => {
                let problem = Problem::new("there is no port 1000 above `server.port`");
                cx.error(&server.tcp_port.at, problem.remedy("choose the port of the TCP binary listener"));
                return None;
            }
        },
    };
    let plain_too = main.tls.as_ref().is_some_and(|tls| tls.client_auth == ClientAuth::None);
    let listener = Listener {
        name: "tcp".to_owned(),
        address: SocketAddr::new(server.host.0, port.0),
        protocols: vec![Protocol::TcpBinary { plain_too }],
        ..main.clone()
    };
    let place = if server.tcp_port.given { &server.tcp_port.at } else { &server.port.at };
    Some(Located { value: listener, at: place.clone(), given: server.tcp_port.given })
}

/// The listener of health checks, at `port` of the same address as `of`; none for port 0.
pub(super) fn health(of: &Listener, port: &Located<Option<Port>>) -> Option<Located<Listener>> {
    let number = port.value.filter(|port| port.0 != 0)?.0;
    let listener = Listener {
        name: format!("{}-health", of.name),
        address: SocketAddr::new(of.address.ip(), number),
        protocols: vec![Protocol::TcpHealth],
        tls: None,
        max_connections: MAX_HEALTH_CHECKS,
        ..of.clone()
    };
    Some(Located { value: listener, at: port.at.clone(), given: true })
}
