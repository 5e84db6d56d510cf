//! Certificates and keys from PEM documents, with errors that say what is in them instead. Changes when another format is
//! accepted.

use rustls::RootCertStore;
use rustls::pki_types::pem::{Error as PemError, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{Pem, TlsError};

/// All certificates of a document, at least one.
pub(super) fn certificates(pem: &Pem, what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let content = pem.read(what)?;
    let certificates = CertificateDer::pem_slice_iter(&content)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| pem.wrong(what, format!("this is not valid PEM: {}", explain(&error))))?;
    if certificates.is_empty() {
        let problem = format!("there is no `BEGIN CERTIFICATE` in it{}", found_instead(&content));
        return Err(pem.wrong(what, problem));
    }
    Ok(certificates)
}

/// Everybody whose certificates are in a document, to vouch for others.
pub(super) fn authorities(pem: &Pem, what: &'static str) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for (index, certificate) in certificates(pem, what)?.into_iter().enumerate() {
        roots.add(certificate).map_err(|error| {
            pem.wrong(what, format!("certificate number {} cannot be used: {error}", index + 1))
        })?;
    }
    Ok(roots)
}

/// The first private key of a document.
pub(super) fn private_key(pem: &Pem, what: &'static str) -> Result<PrivateKeyDer<'static>, TlsError> {
    let content = pem.read(what)?;
    PrivateKeyDer::from_pem_slice(&content).map_err(|error| {
        let problem = match error {
            PemError::NoItemsFound if contains(&content, "ENCRYPTED PRIVATE KEY") => {
                "the key is protected by a passphrase; store it without one, readable only by the gateway"
                    .to_owned()
            }
            PemError::NoItemsFound => {
                format!("there is no `BEGIN PRIVATE KEY` (or RSA, EC) in it{}", found_instead(&content))
            }
            error => format!("this is not valid PEM: {}", explain(&error)),
        };
        pem.wrong(what, problem)
    })
}

/// The library's words for some errors quote the input, which may be a key.
fn explain(error: &PemError) -> &'static str {
    match error {
        PemError::MissingSectionEnd { .. } => "a section has no END line",
        PemError::IllegalSectionStart { .. } => "a BEGIN line is malformed",
        PemError::Base64Decode(_) => "a section is not base64",
        _ => "it cannot be decoded",
    }
}

fn found_instead(content: &[u8]) -> &'static str {
    if content.is_empty() {
        "; the file is empty"
    } else if contains(content, "PRIVATE KEY-----") {
        "; it holds a private key (are the two files swapped?)"
    } else if contains(content, "BEGIN CERTIFICATE-----") {
        "; it holds a certificate (are the two files swapped?)"
    } else if content.first() == Some(&0x30) {
        "; it looks like DER, convert it to PEM"
    } else {
        ""
    }
}

fn contains(content: &[u8], text: &str) -> bool {
    memchr::memmem::find(content, text.as_bytes()).is_some()
}
