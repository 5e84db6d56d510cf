//! From a listener's TLS settings to what it presents and accepts. Changes when a TLS setting is added.

use std::sync::Arc;

use bridge_snapshot::{Listener, Material};
use bridge_transport::tls::{self, Pem, TlsError};

/// What a listener of TLS presents and accepts.
pub(crate) fn acceptor(listener: &Listener) -> Result<Option<Arc<tls::Server>>, TlsError> {
    listener.tls.as_ref().map(|tls| tls::Server::load(settings(tls)?).map(Arc::new)).transpose()
}

/// A certificate or key that a configuration names.
pub(crate) fn pem(material: &Material) -> Result<Pem, TlsError> {
    Ok(match material {
        Material::File(file) => Pem::File(file.clone()),
        Material::Value { origin, value } => {
            Pem::Content { origin: origin.clone(), text: value.expose().into() }
        }
        Material::Key { secret, key } => {
            let problem = format!("key `{key}` of the Secret `{secret}` is not here");
            return Err(TlsError::Settings(problem));
        }
        Material::Env(name) => {
            let problem =
                format!("the variable `{name}` is no place for certificates; use a file or a Secret");
            return Err(TlsError::Settings(problem));
        }
    })
}

fn settings(tls: &bridge_snapshot::Tls) -> Result<tls::ServerSettings, TlsError> {
    use bridge_snapshot::{ClientAuth, TlsVersion};
    Ok(tls::ServerSettings {
        certificate: pem(&tls.certificate)?,
        key: pem(&tls.key)?,
        client_ca: tls.client_ca.as_ref().map(pem).transpose()?,
        client_auth: match tls.client_auth {
            ClientAuth::None => tls::ClientAuth::None,
            ClientAuth::Request => tls::ClientAuth::Request,
            ClientAuth::Require => tls::ClientAuth::Require,
        },
        min_version: match tls.min_version {
            TlsVersion::V12 => tls::MinVersion::V12,
            TlsVersion::V13 => tls::MinVersion::V13,
        },
    })
}
