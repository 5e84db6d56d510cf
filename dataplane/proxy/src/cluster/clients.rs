//! What requests to backends are made with. Changes when connections to backends are protected differently.

use std::time::Duration;

use bridge_snapshot::{Backend, UpstreamTls};
use bridge_transport::backend::http::HttpClient;
use bridge_transport::backend::reach::Reach;
use bridge_transport::backend::tcp::TcpConnector;
use bridge_transport::tls::{self, ClientSettings, Identity, Roots, TlsError};

use crate::listener::pem;

/// Time for one TCP connection to a backend.
const CONNECT: Duration = Duration::from_secs(5);

/// Connections, which are shared by whoever shares these.
pub(crate) struct Clients {
    /// For requests.
    pub(crate) http: HttpClient,
    /// Those that become something else.
    pub(crate) upgradable: HttpClient,
    /// Byte streams.
    pub(crate) tcp: TcpConnector,
}

impl Clients {
    /// For all backends that say nothing else.
    pub(crate) fn shared(reach: Reach) -> Result<Self, TlsError> {
        Self::new(&ClientSettings { reach, ..Roots::system().into() })
    }

    /// For one backend that says how its connections are protected. Nothing is shared with it: a connection that trusts
    /// other authorities, or shows a certificate, is none for others.
    pub(super) fn of(backend: &Backend, reach: Reach) -> Result<Option<Self>, TlsError> {
        backend.tls.as_ref().map(|tls| Self::new(&settings(tls, reach)?)).transpose()
    }

    fn new(settings: &ClientSettings) -> Result<Self, TlsError> {
        Ok(Self {
            http: HttpClient::new(tls::connector(settings.clone(), CONNECT)?),
            upgradable: HttpClient::new(tls::upgradable_connector(settings.clone(), CONNECT)?),
            tcp: TcpConnector::new(settings.clone())?,
        })
    }
}

fn settings(tls: &UpstreamTls, reach: Reach) -> Result<ClientSettings, TlsError> {
    let roots = match &tls.ca {
        _ if tls.insecure_skip_verify => None,
        Some(ca) => Some(Roots::of(&pem(ca)?)?),
        None => Some(Roots::system()),
    };
    let identity = tls
        .identity
        .as_ref()
        .map(|identity| Ok(Identity { certificate: pem(&identity.certificate)?, key: pem(&identity.key)? }));
    Ok(ClientSettings {
        roots,
        identity: identity.transpose()?,
        server_name: tls.server_name.as_deref().map(tls::server_name).transpose()?,
        reach,
    })
}
