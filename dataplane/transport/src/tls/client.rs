//! Connections to backends with TLS: whose certificates they may present, and what we present. Changes when trust gets
//! another source, or a TLS setting of such connections is added.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::Uri;
use hyper_rustls::{DefaultServerNameResolver, HttpsConnector, HttpsConnectorBuilder, ResolveServerName};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::files::{authorities, certificates, private_key};
use super::unverified::Unverified;
use super::{Pem, TlsError, provider};
use crate::backend::reach::{Connector, Reach};

const ROOTS: &str = "CA file";
const CERTIFICATE: &str = "client certificate file";
const KEY: &str = "client private key file";
/// Idle time after which the system probes whether a backend is still there.
const TCP_KEEPALIVE: Duration = Duration::from_mins(1);

/// Where trusted authorities come from. Called at the first https connection, again only if that failed.
#[derive(Clone)]
pub struct Roots(Arc<dyn Fn() -> Result<RootCertStore, String> + Send + Sync>);

impl Roots {
    /// The system's: `SSL_CERT_FILE` and `SSL_CERT_DIR` if set, else where the distribution keeps them.
    pub fn system() -> Self {
        Self(Arc::new(system_roots))
    }

    /// Those of a PEM file, as it is at the first connection.
    pub fn file(file: PathBuf) -> Self {
        let pem = Pem::File(file);
        Self(Arc::new(move || authorities(&pem, ROOTS).map_err(|error| error.to_string())))
    }

    /// Those of a document, as it is now.
    pub fn of(pem: &Pem) -> Result<Self, TlsError> {
        authorities(pem, ROOTS).map(Self::fixed)
    }

    /// Exactly these.
    pub fn fixed(roots: RootCertStore) -> Self {
        Self(Arc::new(move || Ok(roots.clone())))
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Roots")
    }
}

fn system_roots() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (usable, unusable) = roots.add_parsable_certificates(found.certs);
    let errors: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
    if usable == 0 {
        return Err(format!(
            "no trusted certificate authorities were found; install the package ca-certificates, or name a file in \
             SSL_CERT_FILE{}{}",
            if errors.is_empty() { "" } else { ": " },
            errors.join("; ")
        ));
    }
    if unusable > 0 || !errors.is_empty() {
        tracing::warn!(
            usable,
            unusable,
            errors = errors.join("; "),
            "some certificate authorities cannot be used"
        );
    }
    Ok(roots)
}

/// How connections are protected.
#[derive(Debug, Clone)]
pub struct ClientSettings {
    /// Who may vouch for a server; `None` lets any certificate pass.
    pub roots: Option<Roots>,
    /// What is shown to a server that asks.
    pub identity: Option<Identity>,
    /// The name that a server's certificate must have, and that the handshake asks for; the host of the address when
    /// absent.
    pub server_name: Option<ServerName<'static>>,
    /// Where they may lead.
    pub reach: Reach,
}

/// A certificate with its key.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Certificate chain, leaf first.
    pub certificate: Pem,
    /// Private key.
    pub key: Pem,
}

impl From<Roots> for ClientSettings {
    fn from(roots: Roots) -> Self {
        Self { roots: Some(roots), identity: None, server_name: None, reach: Reach::default() }
    }
}

/// Reads the name of a server: of DNS, or an address.
pub fn server_name(text: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(text.to_owned())
        .map_err(|_error| TlsError::Settings(format!("`{text}` is no name of a server")))
}

/// Opens plain and TLS connections to backends, whichever the URL says; HTTP/2 where the backend offers it in TLS.
/// `connect_timeout` bounds each TCP connection attempt. Reads no file: trust is looked up by the first https
/// connection, so a machine without certificate authorities can serve all other backends.
pub fn connector(
    settings: impl Into<ClientSettings>,
    connect_timeout: Duration,
) -> Result<HttpsConnector<Connector>, TlsError> {
    let Parts { config, names, tcp } = Parts::new(settings.into(), connect_timeout)?;
    Ok(HttpsConnectorBuilder::new()
        .with_tls_config(config)
        .https_or_http()
        .with_server_name_resolver(names)
        .enable_all_versions()
        .wrap_connector(tcp))
}

/// The same for connections that become something else, which only those of HTTP/1 can.
pub fn upgradable_connector(
    settings: impl Into<ClientSettings>,
    connect_timeout: Duration,
) -> Result<HttpsConnector<Connector>, TlsError> {
    let Parts { config, names, tcp } = Parts::new(settings.into(), connect_timeout)?;
    Ok(HttpsConnectorBuilder::new()
        .with_tls_config(config)
        .https_or_http()
        .with_server_name_resolver(names)
        .enable_http1()
        .wrap_connector(tcp))
}

struct Parts {
    config: ClientConfig,
    names: Names,
    tcp: Connector,
}

impl Parts {
    fn new(settings: ClientSettings, connect_timeout: Duration) -> Result<Self, TlsError> {
        let (names, reach) = (Names(settings.server_name.clone()), settings.reach);
        let config = client_config(settings)?;
        let tcp = Connector::new(reach, |tcp| {
            tcp.enforce_http(false);
            tcp.set_nodelay(true);
            tcp.set_keepalive(Some(TCP_KEEPALIVE));
            tcp.set_connect_timeout(Some(connect_timeout));
        });
        Ok(Self { config, names, tcp })
    }
}

/// The name to ask a server for: always this one, or the host of the URL.
struct Names(Option<ServerName<'static>>);

impl ResolveServerName for Names {
    fn resolve(&self, uri: &Uri) -> Result<ServerName<'static>, Box<dyn std::error::Error + Send + Sync>> {
        match &self.0 {
            Some(name) => Ok(name.clone()),
            None => DefaultServerNameResolver::default().resolve(uri),
        }
    }
}

/// What a connection to a TLS server that speaks no HTTP uses; trust is looked up as in [`connector`].
pub fn client_config(settings: impl Into<ClientSettings>) -> Result<ClientConfig, TlsError> {
    let ClientSettings { roots, identity, .. } = settings.into();
    let provider = provider();
    let verifier: Arc<dyn ServerCertVerifier> = match roots {
        Some(roots) => {
            Arc::new(LazyVerifier { roots, provider: Arc::clone(&provider), loaded: OnceLock::new() })
        }
        None => Arc::new(Unverified(Arc::clone(&provider))),
    };
    let failed = |error: Error| TlsError::Settings(error.to_string());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(failed)?
        .dangerous() // The name of the method: certificates are verified unless the settings say otherwise.
        .with_custom_certificate_verifier(verifier);
    let Some(Identity { certificate, key }) = identity else { return Ok(builder.with_no_client_auth()) };
    let chain = certificates(&certificate, CERTIFICATE)?;
    let secret = private_key(&key, KEY)?;
    builder.with_client_auth_cert(chain, secret).map_err(|error| match error {
        Error::InconsistentKeys(_) => {
            TlsError::Mismatch { cert_file: certificate.origin(), key_file: key.origin() }
        }
        error => failed(error),
    })
}

/// The library's verifier, made when it is first needed.
#[derive(Debug)]
struct LazyVerifier {
    roots: Roots,
    provider: Arc<CryptoProvider>,
    loaded: OnceLock<Arc<WebPkiServerVerifier>>,
}

impl LazyVerifier {
    fn verifier(&self) -> Result<&WebPkiServerVerifier, Error> {
        if let Some(verifier) = self.loaded.get() {
            return Ok(verifier);
        }
        let roots = (self.roots.0)().map_err(Error::General)?;
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider))
                .build()
                .map_err(|error| Error::General(error.to_string()))?;
        // Two first connections at once may both load; either result will do.
        Ok(self.loaded.get_or_init(|| verifier))
    }
}

impl ServerCertVerifier for LazyVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verifier()?.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier()?.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier()?.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
