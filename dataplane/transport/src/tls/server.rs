//! The TLS side of a listener. Changes when a TLS setting is added.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::server::{ServerConfig, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{Error, RootCertStore, SupportedProtocolVersion};

use super::{Pem, TlsError, files, provider};

const CERTIFICATE: &str = "certificate file";
const KEY: &str = "private key file";
const CLIENT_CA: &str = "client CA file";

/// What a listener presents and accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSettings {
    /// Certificate chain, leaf first.
    pub certificate: Pem,
    /// Private key.
    pub key: Pem,
    /// Certificates that sign client certificates; not read when none are asked for.
    pub client_ca: Option<Pem>,
    /// Whether clients present certificates.
    pub client_auth: ClientAuth,
    /// Oldest version offered.
    pub min_version: MinVersion,
}

/// Whether clients present certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// Not asked for.
    None,
    /// Asked for, verified when presented.
    Request,
    /// Required and verified.
    Require,
}

/// Oldest TLS version offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MinVersion {
    /// TLS 1.2 and 1.3.
    V12,
    /// TLS 1.3 only.
    V13,
}

/// The settings in force on a listener; shared with whoever reloads them.
#[derive(Debug)]
pub struct Server {
    settings: ServerSettings,
    current: ArcSwap<ServerConfig>,
}

impl Server {
    /// Reads the files.
    pub fn load(settings: ServerSettings) -> Result<Self, TlsError> {
        let config = read(&settings)?;
        Ok(Self { settings, current: ArcSwap::from(config) })
    }

    /// What the next connection is to use.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }

    /// Reads the files again. On an error everything stays as it is; open connections stay in any case. Clients cannot
    /// resume sessions across a reload, because the authorities that vouched for them may have changed.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.current.store(read(&self.settings)?);
        Ok(())
    }
}

fn read(settings: &ServerSettings) -> Result<Arc<ServerConfig>, TlsError> {
    let versions: &[&SupportedProtocolVersion] = match settings.min_version {
        MinVersion::V12 => &[&TLS13, &TLS12],
        MinVersion::V13 => &[&TLS13],
    };
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .map_err(|error| TlsError::Settings(error.to_string()))?;
    let builder = match client_authorities(settings)? {
        None => builder.with_no_client_auth(),
        Some((roots, pem)) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
            let verifier = match settings.client_auth {
                ClientAuth::Require => verifier,
                ClientAuth::None | ClientAuth::Request => verifier.allow_unauthenticated(),
            };
            let verifier = verifier.build().map_err(|error| pem.wrong(CLIENT_CA, error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(OneCertificate(certified_key(settings)?)));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The certificate for every name that a client may ask for.
#[derive(Debug)]
struct OneCertificate(Arc<CertifiedKey>);

impl rustls::server::ResolvesServerCert for OneCertificate {
    fn resolve(&self, _hello: rustls::server::ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

fn certified_key(settings: &ServerSettings) -> Result<Arc<CertifiedKey>, TlsError> {
    let chain = files::certificates(&settings.certificate, CERTIFICATE)?;
    let key = files::private_key(&settings.key, KEY)?;
    let key = provider()
        .key_provider
        .load_private_key(key)
        .map_err(|error| settings.key.wrong(KEY, format!("the key cannot be used: {error}")))?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        // `Unknown`: this kind of key cannot tell its public half; the first handshake will.
        Ok(()) | Err(Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(Arc::new(certified)),
        Err(Error::InconsistentKeys(_)) => Err(TlsError::Mismatch {
            cert_file: settings.certificate.origin(),
            key_file: settings.key.origin(),
        }),
        Err(error) => {
            let problem = format!("the first certificate cannot be used: {error}");
            Err(settings.certificate.wrong(CERTIFICATE, problem))
        }
    }
}

fn client_authorities(settings: &ServerSettings) -> Result<Option<(RootCertStore, &Pem)>, TlsError> {
    if settings.client_auth == ClientAuth::None {
        return Ok(None);
    }
    let pem = settings.client_ca.as_ref().ok_or(TlsError::NoClientCa)?;
    Ok(Some((files::authorities(pem, CLIENT_CA)?, pem)))
}
