//! TLS: what listeners present and accept, and whom we trust as backends. Changes when the TLS library changes; nothing
//! outside names it except to pass a configuration on.
//!
//! The cryptography is aws-lc-rs, handed over explicitly: no process-wide default is installed or relied on.

mod client;
mod files;
mod pem;
mod server;
mod unverified;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;

pub use client::{
    ClientSettings, Identity, Roots, client_config, connector, server_name, upgradable_connector,
};
pub use pem::Pem;
pub use server::{ClientAuth, MinVersion, Server, ServerSettings};

/// Why TLS cannot be set up. Each names the file to look at; none contains key material.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {what} `{file}`: {source}")]
    Read {
        /// What the file is for.
        what: &'static str,
        /// As configured.
        file: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A file has the wrong content.
    #[error("{what} `{file}`: {problem}")]
    Content {
        /// What the file is for.
        what: &'static str,
        /// As configured.
        file: PathBuf,
        /// What is wrong and what is expected.
        problem: String,
    },
    /// Certificate and key are not a pair.
    #[error("private key `{key_file}` does not belong to the first certificate in `{cert_file}`")]
    Mismatch {
        /// Certificate chain, leaf first.
        cert_file: PathBuf,
        /// Private key.
        key_file: PathBuf,
    },
    /// Client certificates are to be verified against nothing.
    #[error("client certificates are asked for, but no `client_ca` says whose are accepted")]
    NoClientCa,
    /// The library refused the combination.
    #[error("TLS settings: {0}")]
    Settings(String),
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
