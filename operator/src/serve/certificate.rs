//! The operator's certificate, and the authority that signs it. Changes when pods trust operators for another reason.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The authority cannot be read or made.
    #[error("the authority of the operators: {0}")]
    Authority(#[from] rcgen::Error),
    /// The certificate cannot be used.
    #[error("the operator's certificate: {0}")]
    Tls(#[from] rustls::Error),
    /// Something is not PEM.
    #[error("the authority of the operators is not PEM")]
    Pem,
}

/// An authority: a certificate and its key, PEM.
#[derive(Clone)]
pub struct Authority {
    /// The certificate; pods trust it.
    pub certificate: String,
    key: String,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

impl Authority {
    /// A new one.
    pub fn generate() -> Result<Self, CertificateError> {
        let key = KeyPair::generate()?;
        let certificate = params().self_signed(&key)?;
        Ok(Self { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// One that was kept.
    pub fn from_pem(certificate: impl Into<String>, key: impl Into<String>) -> Self {
        Self { certificate: certificate.into(), key: key.into() }
    }

    /// The key, for where it is kept.
    pub fn key(&self) -> &str {
        &self.key
    }
}

/// TLS 1.3 with a new certificate for these names.
pub fn server_config(authority: &Authority, names: &[String]) -> Result<Arc<ServerConfig>, CertificateError> {
    let issuer = Issuer::new(params(), KeyPair::from_pem(&authority.key)?);
    let mut params = CertificateParams::new(names.to_vec())?;
    params.distinguished_name = name("mcp-bridge operator");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &issuer)?;
    let authority = CertificateDer::from_pem_slice(authority.certificate.as_bytes());
    let chain = vec![certificate.der().clone(), authority.map_err(|_error| CertificateError::Pem)?];
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let mut config = ServerConfig::builder_with_provider(provider.into())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// What every authority of ours says: with its key that is enough to sign in its name.
fn params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = name("mcp-bridge operators");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}
