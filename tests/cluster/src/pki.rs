//! The certificates of a cluster. Changes when an identity is added.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// A certificate authority with the folder in which it leaves what it issues.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    dir: PathBuf,
}

/// A certificate, good for servers and clients, with its key; both as PEM.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    /// A new authority, whose certificate and key become `NAME.crt` and `NAME.key`.
    pub(crate) fn new(dir: &Path, name: &str) -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let pem = params.self_signed(&key)?.pem();
        write(&dir.join(format!("{name}.crt")), &pem)?;
        write(&dir.join(format!("{name}.key")), &key.serialize_pem())?;
        Ok(Self { issuer: Issuer::new(params, key), pem, dir: dir.to_owned() })
    }

    /// Its own certificate.
    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// Issues to `user` of `group`, reachable as `names`; leaves `FILE.crt` and `FILE.key`.
    pub(crate) fn issue(&self, file: &str, user: &str, group: &str, names: &[String]) -> Result<Identity> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names.to_vec())?;
        params.distinguished_name.push(DnType::CommonName, user);
        if !group.is_empty() {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let identity =
            Identity { certificate: params.signed_by(&key, &self.issuer)?.pem(), key: key.serialize_pem() };
        write(&self.dir.join(format!("{file}.crt")), &identity.certificate)?;
        write(&self.dir.join(format!("{file}.key")), &identity.key)?;
        Ok(identity)
    }

    /// A kubeconfig for `identity` at `server`.
    pub(crate) fn kubeconfig(&self, identity: &Identity, server: &str) -> String {
        let [certificate, key] = [&identity.certificate, &identity.key].map(|pem| STANDARD.encode(pem));
        self.kubeconfig_of(&format!("client-certificate-data: {certificate}, client-key-data: {key}"), server)
    }

    /// A kubeconfig for the bearer of a token.
    pub(crate) fn token_kubeconfig(&self, token: &str, server: &str) -> String {
        self.kubeconfig_of(&format!("token: {token}"), server)
    }

    fn kubeconfig_of(&self, user: &str, server: &str) -> String {
        let authority = STANDARD.encode(&self.pem);
        format!(
            "apiVersion: v1
kind: Config
clusters:
  - name: bridge-cluster
    cluster: {{server: \"{server}\", certificate-authority-data: {authority}}}
users:
  - name: user
    user: {{{user}}}
contexts:
  - name: bridge-cluster
    context: {{cluster: bridge-cluster, user: user}}
current-context: bridge-cluster
"
        )
    }
}

/// The key pair that signs the tokens of service accounts: `sa.key` and `sa.pub`.
pub(crate) fn service_account_keys(dir: &Path) -> Result<()> {
    let key = KeyPair::generate()?;
    write(&dir.join("sa.key"), &key.serialize_pem())?;
    write(&dir.join("sa.pub"), &key.public_key_pem())
}

/// Writes what only we may read.
pub(crate) fn write(path: &Path, text: &str) -> Result<()> {
    let _ = fs::remove_file(path);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| path.display().to_string())?;
    file.write_all(text.as_bytes()).with_context(|| path.display().to_string())
}
