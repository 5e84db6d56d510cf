//! Which frontends run, from the two keys that say so. Changes when a frontend starts to work.

use bridge_snapshot::{Protocol, SsePaths};

use crate::config::model::server::{FrontendProtocol, FrontendSet, Server};

/// Frontends that are on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Served {
    http: bool,
    websocket: bool,
    sse: bool,
    tcp: bool,
    stdio: bool,
}

impl Served {
    /// What `server.protocols` lists, or else what `server.protocol` means.
    pub(super) fn of(server: &Server) -> Self {
        let none = Self::default();
        let Some(list) = &server.protocols.value else {
            let web = Self { http: true, websocket: true, sse: true, ..none };
            return match *server.protocol {
                FrontendSet::Web => web,
                FrontendSet::Http => Self { http: true, ..none },
                FrontendSet::WebSocket => Self { websocket: true, ..none },
                FrontendSet::Tcp => Self { tcp: true, ..none },
                FrontendSet::Both => Self { websocket: true, tcp: true, ..none },
                FrontendSet::Universal => Self { tcp: true, ..web },
                FrontendSet::Stdio => Self { stdio: true, ..none },
            };
        };
        list.0.iter().fold(none, |served, protocol| match protocol.value {
            FrontendProtocol::Http => Self { http: true, ..served },
            FrontendProtocol::WebSocket => Self { websocket: true, ..served },
            FrontendProtocol::Sse => Self { sse: true, ..served },
            FrontendProtocol::TcpBinary => Self { tcp: true, ..served },
            FrontendProtocol::Stdio => Self { stdio: true, ..served },
        })
    }

    /// What the main listener speaks.
    pub(super) fn on_main_port(self, server: &Server) -> Vec<Protocol> {
        let http = self.http.then_some(Protocol::StreamableHttp);
        let websocket = Protocol::WebSocket { ping_interval: server.ping_interval.0 };
        let sse = self.sse.then(|| Protocol::Sse(SsePaths::default()));
        http.into_iter().chain(self.websocket.then_some(websocket)).chain(sse).collect()
    }

    /// Whether there is a listener of the TCP binary protocol beside the main one.
    pub(super) fn has_tcp_port(self) -> bool {
        self.tcp
    }

    /// Whether local clients are asked for, also without a section about them.
    pub(super) fn has_stdio(self) -> bool {
        self.stdio
    }

    /// Whether a section about local clients counts: a list of protocols has the last word.
    pub(super) fn may_have_stdio(self, server: &Server) -> bool {
        self.stdio || server.protocols.value.is_none()
    }

    /// Whether there is a main listener at all. It has the health pages, too.
    pub(super) fn has_main_port(self) -> bool {
        self != Self { stdio: true, ..Self::default() }
    }
}
