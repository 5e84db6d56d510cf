//! The operator's certificate, and the authority that signs it. Changes when pods trust operators for another reason.

use std::sync::Arc;

use k8s_openapi::jiff::Span;
use k8s_openapi::jiff::civil::Date;
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

/// A certificate of an operator is good for so many days; it is renewed every day.
const LEAF_DAYS: i64 = 7;
/// An authority is good for so many days.
pub(super) const AUTHORITY_DAYS: i64 = 365;

/// An authority: a certificate and its key, PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Authority {
    /// The certificate; pods trust it.
    pub certificate: String,
    /// The day on which it was made.
    pub made: Date,
    key: String,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority")
            .field("certificate", &self.certificate)
            .field("made", &self.made)
            .finish_non_exhaustive()
    }
}

impl Authority {
    /// A new one.
    pub fn generate(made: Date) -> Result<Self, CertificateError> {
        let key = KeyPair::generate()?;
        let mut params = params();
        valid(&mut params, made, AUTHORITY_DAYS);
        let certificate = params.self_signed(&key)?;
        Ok(Self { certificate: certificate.pem(), made, key: key.serialize_pem() })
    }

    /// One that was kept.
    pub fn from_pem(certificate: impl Into<String>, key: impl Into<String>, made: Date) -> Self {
        Self { certificate: certificate.into(), made, key: key.into() }
    }

    /// The key, for where it is kept.
    pub fn key(&self) -> &str {
        &self.key
    }
}

/// TLS 1.3 with a new certificate for these names, good from `today` on.
pub fn server_config(
    authority: &Authority,
    names: &[String],
    today: Date,
) -> Result<Arc<ServerConfig>, CertificateError> {
    let issuer = Issuer::new(params(), KeyPair::from_pem(&authority.key)?);
    let mut params = CertificateParams::new(names.to_vec())?;
    params.distinguished_name = name("mcp-bridge operator");
    valid(&mut params, today, LEAF_DAYS);
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

/// Good from a day before `from`, because clocks differ, and for so many days after it.
fn valid(params: &mut CertificateParams, from: Date, days: i64) {
    let day = |offset: i64| {
        let date = from.saturating_add(Span::new().days(offset));
        let (month, day) = (date.month().unsigned_abs(), date.day().unsigned_abs());
        rcgen::date_time_ymd(date.year().into(), month, day)
    };
    (params.not_before, params.not_after) = (day(-1), day(days));
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}
