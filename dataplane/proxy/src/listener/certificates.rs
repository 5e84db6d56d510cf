//! From a listener's TLS settings to what it presents and accepts. Changes when a TLS setting is added.

use std::sync::Arc;

use bridge_snapshot::Listener;
use bridge_transport::tls::{self, TlsError};

/// What a listener of TLS presents and accepts; its files are read.
pub(crate) fn acceptor(listener: &Listener) -> Result<Option<Arc<tls::Server>>, TlsError> {
    listener.tls.as_ref().map(|tls| tls::Server::load(tls_files(tls)).map(Arc::new)).transpose()
}

fn tls_files(tls: &bridge_snapshot::Tls) -> tls::ServerSettings {
    use bridge_snapshot::{ClientAuth, TlsVersion};
    tls::ServerSettings {
        cert_file: tls.cert_file.clone(),
        key_file: tls.key_file.clone(),
        client_ca_file: tls.client_ca_file.clone(),
        client_auth: match tls.client_auth {
            ClientAuth::None => tls::ClientAuth::None,
            ClientAuth::Request => tls::ClientAuth::Request,
            ClientAuth::Require => tls::ClientAuth::Require,
        },
        min_version: match tls.min_version {
            TlsVersion::V12 => tls::MinVersion::V12,
            TlsVersion::V13 => tls::MinVersion::V13,
        },
    }
}
