//! Certificates and keys from PEM files (RFC 7468), with errors that say what is in the file instead.
//! Changes when another file format is accepted.

use std::fs;
use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::TlsError;

/// Certificates and keys are a few kilobytes, bundles of authorities some hundred; a larger file is a mistake.
const MAX_FILE: u64 = 4 * 1024 * 1024;

/// All certificates of a file, at least one.
pub(super) fn certificates(
    file: &Path,
    what: &'static str,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let content = read(file, what)?;
    let certificates = CertificateDer::pem_slice_iter(&content)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| wrong(file, what, format!("this is not valid PEM: {}", explain(&error))))?;
    if certificates.is_empty() {
        let problem = format!("there is no `BEGIN CERTIFICATE` in it{}", found_instead(&content));
        return Err(wrong(file, what, problem));
    }
    Ok(certificates)
}

/// Everybody whose certificates are in a file, to vouch for others.
pub(super) fn authorities(file: &Path, what: &'static str) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for (index, certificate) in certificates(file, what)?.into_iter().enumerate() {
        roots.add(certificate).map_err(|error| {
            wrong(file, what, format!("certificate number {} cannot be used: {error}", index + 1))
        })?;
    }
    Ok(roots)
}

/// The first private key of a file.
pub(super) fn private_key(file: &Path, what: &'static str) -> Result<PrivateKeyDer<'static>, TlsError> {
    let content = read(file, what)?;
    PrivateKeyDer::from_pem_slice(&content).map_err(|error| {
        let problem = match error {
            pem::Error::NoItemsFound if contains(&content, "ENCRYPTED PRIVATE KEY") => {
                "the key is protected by a passphrase; store it without one, readable only by the gateway"
                    .to_owned()
            }
            pem::Error::NoItemsFound => {
                format!("there is no `BEGIN PRIVATE KEY` (or RSA, EC) in it{}", found_instead(&content))
            }
            error => format!("this is not valid PEM: {}", explain(&error)),
        };
        wrong(file, what, problem)
    })
}

pub(super) fn wrong(file: &Path, what: &'static str, problem: String) -> TlsError {
    TlsError::Content { what, file: file.to_owned(), problem }
}

fn read(file: &Path, what: &'static str) -> Result<Vec<u8>, TlsError> {
    let failed = |source| TlsError::Read { what, file: file.to_owned(), source };
    let metadata = fs::metadata(file).map_err(failed)?;
    if !metadata.is_file() {
        return Err(wrong(file, what, "this is not a file".to_owned()));
    }
    if metadata.len() > MAX_FILE {
        return Err(wrong(file, what, format!("{} bytes are too many for a PEM file", metadata.len())));
    }
    fs::read(file).map_err(failed)
}

/// The library's words for some errors quote the input, which may be a key.
fn explain(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a section has no END line",
        pem::Error::IllegalSectionStart { .. } => "a BEGIN line is malformed",
        pem::Error::Base64Decode(_) => "a section is not base64",
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
